"""Print the table of all benchmarks: `python -m benchmarks`, or `make bench`."""

import importlib
import sys

import pandas as pd

SUITES = ("similarity", "trajectories", "training", "interdependence", "sparsity")


def main() -> None:
    chosen = sys.argv[1:] or SUITES
    rows = [row for suite in chosen for row in importlib.import_module(f"benchmarks.{suite}").rows()]
    with pd.option_context("display.width", 200, "display.max_colwidth", 90):
        print(pd.DataFrame(rows).to_string(index=False, float_format="%.3g"))


if __name__ == "__main__":
    main()

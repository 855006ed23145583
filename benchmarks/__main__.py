"""Print the table of benchmarks: `python -m benchmarks`, with the names of suites for some of them."""

import argparse
import importlib

import pandas as pd

SUITES = ("similarity", "trajectories", "training", "interdependence", "sparsity")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Print the table of benchmarks."
    )
    parser.add_argument(
        "suites", nargs="*", metavar="suite", help=f"{', '.join(SUITES)}; all where none is given"
    )
    chosen = parser.parse_args().suites or SUITES
    unknown = set(chosen).difference(SUITES)
    if unknown:
        parser.error(f"no suite named {', '.join(sorted(unknown))}; there are {', '.join(SUITES)}")
    rows = [row for suite in chosen for row in importlib.import_module(f"benchmarks.{suite}").rows()]
    with pd.option_context("display.width", 200, "display.max_colwidth", 90):
        print(pd.DataFrame(rows).to_string(index=False, float_format="%.3g"))


if __name__ == "__main__":
    main()

"""Train the runs of a pack at once: `python -m lmdynamics.models.together PACK FOLDER --way graphs`.

Needs PyTorch and the core of this library alone. Runs stand in FOLDER/runs; what is there already is not
trained again, and what was cut off by the time goes on from its last whole epoch.
"""

import argparse
import math
import time
from collections.abc import Sequence

from lmdynamics.ground import grid, paths
from lmdynamics.models.runs import Run
from lmdynamics.models.together import packing, ways


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, and print what each run reached and how fast all were."""
    parser = argparse.ArgumentParser(
        prog="python -m lmdynamics.models.together", description="Train the runs of a pack at once."
    )
    parser.add_argument("pack", type=paths.path, help="a file that `packing.pack` wrote")
    parser.add_argument("folder", type=paths.path, help="runs stand in the folder `runs` of it")
    parser.add_argument("--way", choices=ways.WAYS, required=True)
    parser.add_argument("--minutes", type=float, default=math.inf, help="for training; default: no limit")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda; default: auto")
    given = parser.parse_args(arguments)
    try:
        jobs, device = packing.read(given.pack), grid.device(given.device)
    except ValueError as error:
        parser.error(str(error))
    folder, start = given.folder / "runs", time.monotonic()
    before = {path.parent.name: _epochs(Run(path.parent)) for path in folder.glob("*/settings.json")}
    trained = ways.train(jobs, way=given.way, folder=folder, device=str(device), minutes=given.minutes)
    seconds = time.monotonic() - start
    tokens = 0
    for run, (settings, _) in zip(trained, jobs, strict=True):
        epochs, wanted = _epochs(run), settings.training.epochs
        tokens += (epochs - before.get(run.fingerprint, 0)) * run.settings["tokens"]
        print(
            f"{run.fingerprint} {settings.about}, seed {settings.seed}: {epochs} of {wanted} epochs, "
            f"dev loss {run.epochs[-1].dev_loss:.4f}"
        )
    print(
        f"{tokens:,} tokens in {seconds:.0f} s, in whole epochs: {tokens / seconds:,.0f} tokens/s on {device}"
    )


def _epochs(run: Run) -> int:
    """Passes over the training part, which the untrained model has none of."""
    return max(len(run.epochs) - 1, 0)


if __name__ == "__main__":
    main()

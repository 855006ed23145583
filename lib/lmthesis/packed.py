"""Pack what a chapter trains, for a machine with a GPU: `python -m lmthesis.packed chapter_4 gpu PACK`.

`python -m lmdynamics.models.together` trains it there.
"""

import argparse
import importlib
from collections.abc import Sequence
from dataclasses import replace

from lmdynamics.ground import paths
from lmdynamics.models.together import packing
from lmthesis import recorded
from lmthesis.scales import NAMES


def main(arguments: Sequence[str] | None = None) -> None:
    """Prepare the texts of a scale and write all that its runs are trained from into one file."""
    parser = argparse.ArgumentParser(
        prog="python -m lmthesis.packed", description="Pack what a chapter trains at a scale."
    )
    parser.add_argument("chapter", choices=recorded.chapters())
    parser.add_argument("scale", choices=NAMES)
    parser.add_argument("pack", type=paths.path, help="the file to write")
    parser.add_argument("--seeds", type=int, nargs="+", help="default: all seeds of the scale")
    parser.add_argument("--corpus", help="to read in place of the scale's own")
    parser.add_argument("--articles", type=int, help="to read of it, from its beginning")
    given = parser.parse_args(arguments)
    chapter = f"lmthesis.{given.chapter}"
    try:
        scale = importlib.import_module(f"{chapter}.settings").scale(
            given.scale, corpus=given.corpus, articles=given.articles
        )
        scale = replace(scale, seeds=tuple(given.seeds or scale.seeds))
    except ValueError as error:
        parser.error(str(error))
    jobs = importlib.import_module(f"{chapter}.study").trainings(scale)
    packing.pack(jobs, given.pack)
    size = given.pack.stat().st_size / 2**20
    print(f"{len(jobs)} runs in {given.pack}, {size:.1f} MiB")


if __name__ == "__main__":
    main()

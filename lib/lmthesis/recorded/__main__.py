"""The command that records slices."""

import argparse
import importlib
import os
from dataclasses import replace

from lmdynamics.ground import paths
from lmthesis import ledger, recorded
from lmthesis.recorded import drift
from lmthesis.recorded.recording import Recording
from lmthesis.scales import NAMES

ALL = "all"
"""In place of a chapter's name: every chapter."""
NICENESS = 10
"""What a recording yields to others."""


def main() -> None:
    """Record slices, from the command line."""
    parser = argparse.ArgumentParser(
        description="Measure chapters at a scale and keep their tables, a seed at a time. What is kept "
        "already is not measured again; what is killed goes on where it was."
    )
    parser.add_argument("chapter", choices=(*recorded.chapters(), ALL))
    parser.add_argument("scale", help=f"one of {', '.join(NAMES)}")
    parser.add_argument("--seed", type=int, help="record it alone; default: all seeds of the scale")
    parser.add_argument("--corpus", help="to read in place of the scale's own")
    parser.add_argument("--articles", type=int, help="to read of it, from its beginning")
    parser.add_argument("--folder", type=paths.path, default=recorded.RESULTS, help="default: data/results")
    parser.add_argument("--plan", action="store_true", help="say what is to be done, and do nothing")
    parser.add_argument("--again", action="store_true", help="also what is kept already")
    parser.add_argument(
        "--check", action="store_true", help="measure what is kept again, and only compare; 1 if it differs"
    )
    call = parser.parse_args()
    given = {"corpus": call.corpus, "articles": call.articles}
    try:
        scales = {
            name: importlib.import_module(f"lmthesis.{name}.settings").scale(call.scale, **given)
            for name in (recorded.chapters() if call.chapter == ALL else (call.chapter,))
        }
        if call.seed is not None:
            scales = {name: replace(scale, seeds=(call.seed,)) for name, scale in scales.items()}
    except ValueError as error:
        parser.error(str(error))
    work = Recording(scales, call.folder, corpus=call.corpus, articles=call.articles)
    if call.plan:
        print(work.plan(again=call.again))
        return
    if call.check:
        parser.exit(_check(work))
    os.nice(NICENESS)
    for home in work.record(again=call.again):
        print(f"recorded in {home}", flush=True)
    if call.folder == recorded.RESULTS:
        ledger.write_readme()


def _check(work: Recording) -> int:
    """Measure slices that are kept again, print how far both are apart, and return the exit status."""
    status = 0
    for slice_, kept, measured in work.measured_again():
        table = drift.difference_table(kept, measured)
        shown = table[~table["agrees"]] if not table["agrees"].all() else table.nlargest(5, "typical")
        verdict = (
            "agrees with what was recorded" if table["agrees"].all() else "differs from what was recorded"
        )
        print(
            f"{slice_.chapter}, seed {slice_.scale.seeds[0]}: {verdict}; differences, as shares of standard"
        )
        print(f"deviations (at most {drift.UNTRAINED:g} untrained, {drift.TRAINED:g} typically):")
        print(shown.to_string(index=False))
        status |= not table["agrees"].all()
    return status


if __name__ == "__main__":
    main()

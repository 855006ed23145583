"""What chapters took."""

from collections import namedtuple

import pandas as pd
import pytest

from lmdynamics.ground import grid
from lmdynamics.ground.grid import Cost
from lmthesis import costs

Epoch = namedtuple("Epoch", "epoch seconds")
Run = namedtuple("Run", "settings epochs")


def test_training_and_jobs_are_added_up_by_seed():
    runs = [Run({"seed": seed}, [Epoch(n, n + seed) for n in range(4)]) for seed in (0, 1)]
    spent = [Cost("job", 5.0, 0), Cost("job", 2.0, 0), Cost("job", 1.0, 1)]
    table = costs.table.__wrapped__({"models": [(run, 2) for run in runs]}, spent, {"job": "words"})
    rows = table.set_index(["seed", "work"])["seconds"].to_dict()
    assert rows == {
        (0, "training: models"): 3.0,
        (1, "training: models"): 6.0,
        (0, "observing: words"): 7.0,
        (1, "observing: words"): 1.0,
    }
    shares = costs.shares(table).set_index("work")["share"]
    assert shares["training: models"] == pytest.approx(9 / 17)


def test_chapters_without_costs_are_left_out():
    table = pd.DataFrame({"seed": [0], "work": ["training"], "seconds": [3.0]})
    shown = costs.by_chapter({"chapter_4": {"costs": table}, "chapter_5": {}})
    assert shown.to_dict("records") == [
        {"chapter": "chapter 4", "work": "training", "seconds": 3.0, "share": 1.0}
    ]


def number_table(seed: int) -> pd.DataFrame:
    """One row."""
    return pd.DataFrame({"seed": [seed], "number": [1]})


def test_the_grid_says_what_jobs_took_when_they_were_done(kept):
    with grid.costs() as first:
        grid.table(number_table, [(3,), (4,)])
    with grid.costs() as again:
        grid.table(number_table, [(3,), (4,)])
    assert again == first
    assert [(each.function, each.seed) for each in first] == [("number_table", 3), ("number_table", 4)]
    grid.table(number_table, [(3,)])
    assert len(first) == 2, "nothing is collected afterwards"

"""A slice that is measured again, beside the one that was recorded."""

import numpy as np
import pandas as pd
import pytest

from lmthesis.recorded import drift

EPOCHS = np.repeat([0, 1, 2], 40)
NUMBERS = np.random.default_rng(0).normal(size=120)
TABLE = pd.DataFrame({"layer": "h1", "seed": 0, "epoch": EPOCHS, "svcca": NUMBERS, "seconds": NUMBERS})


def compared(**columns):
    return drift.difference_table({"similarities": TABLE}, {"similarities": TABLE.assign(**columns)})


def test_the_same_numbers_agree_and_times_are_not_compared():
    table = compared(seconds=7.0)
    assert table["column"].tolist() == ["svcca"]
    assert table[["untrained", "typical"]].to_numpy().tolist() == [[0.0, 0.0]]
    assert table["agrees"].all()


def test_what_another_processor_changes_in_training_agrees_and_in_an_untrained_network_does_not():
    noise = 0.1 * np.random.default_rng(1).normal(size=120)
    assert compared(svcca=NUMBERS + noise * (EPOCHS > 0))["agrees"].all()
    assert not compared(svcca=NUMBERS + noise)["agrees"].any()


def test_numbers_that_have_nothing_to_do_with_what_was_recorded_differ():
    other = np.where(EPOCHS > 0, np.random.default_rng(1).permutation(NUMBERS), NUMBERS)
    assert not compared(svcca=other)["agrees"].any()


def test_other_rows_are_an_error():
    with pytest.raises(ValueError, match=r"table similarities needs the 120 rows .* got 119 or others"):
        drift.difference_table({"similarities": TABLE}, {"similarities": TABLE.iloc[1:]})
    with pytest.raises(ValueError, match="by layer, seed, epoch"):
        compared(layer="h2")


def test_tables_of_when_and_how_long_are_not_compared():
    assert drift.difference_table({"costs": TABLE}, {"costs": TABLE.assign(svcca=0.0)}).empty

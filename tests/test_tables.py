import pandas as pd
import pytest
from conftest import never

from lmdynamics.ground import grid as tables

TABLE = pd.DataFrame({"epoch": [0, 1], "svcca": [0.25, 1.0]})
CODE = "lmdynamics.ground.grid"


def test_a_table_is_computed_once_for_what_it_depends_on(tmp_path):
    calls = []

    def compute():
        calls.append(1)
        return TABLE

    for key in ({"seed": 1}, {"seed": 1}, {"seed": 2}):
        pd.testing.assert_frame_equal(tables.cached("t", key, compute, code=CODE, folder=tmp_path), TABLE)
    assert len(calls) == 2


def test_other_code_computes_the_table_anew(tmp_path, monkeypatch):
    tables.cached("t", 1, lambda: TABLE, code=CODE, folder=tmp_path)
    monkeypatch.setattr(tables, "code_fingerprint", lambda code: "edited")
    assert len(tables.cached("t", 1, lambda: TABLE[:1], code=CODE, folder=tmp_path)) == 1


def test_a_failing_computation_leaves_nothing_behind(tmp_path):
    with pytest.raises(ZeroDivisionError):
        tables.cached("t", 1, lambda: 1 / 0, code=CODE, folder=tmp_path)
    assert not list(tmp_path.glob("*.parquet"))


def test_each_damaged_byte_of_a_table_is_an_error_that_names_it(tmp_path):
    tables.cached("t", 1, lambda: TABLE, code=CODE, folder=tmp_path)
    (path,) = tmp_path.glob("*.parquet")
    whole = path.read_bytes()
    flipped = (whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :] for at in range(0, len(whole), 7))
    for damaged in (b"", whole[:-1], *flipped):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=f"{path.name} is a damaged table"):
            tables.cached("t", 1, never, code=CODE, folder=tmp_path)
    path.write_bytes(whole)
    pd.testing.assert_frame_equal(tables.cached("t", 1, never, code=CODE, folder=tmp_path), TABLE)


def test_a_table_that_was_kept_without_a_hash_is_computed_anew(tmp_path):
    tables.cached("t", 1, lambda: TABLE[:1], code=CODE, folder=tmp_path)
    (path,) = tmp_path.glob("*.parquet")
    path.rename(path.with_stem(path.stem.rpartition("-")[0]))
    assert len(tables.cached("t", 1, lambda: TABLE, code=CODE, folder=tmp_path)) == len(TABLE)

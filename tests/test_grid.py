"""Jobs: done once, kept by themselves, side by side; and what is left when somebody pulls the plug."""

import contextlib
import errno
import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import joblib
import numpy as np
import pandas as pd
import psutil
import pytest
import torch
from conftest import never

from lmdynamics.ground import grid, storage
from lmdynamics.ground.grid import TableError, identity
from lmdynamics.ground.storage import StorageError


def squares(seed: int, numbers: list[int]) -> pd.DataFrame:
    """One row per number."""
    return pd.DataFrame({"seed": seed, "number": numbers, "square": [n**2 + 0.5 for n in numbers]})


def two_tables(seed: int, last: bool) -> dict[str, pd.DataFrame]:
    """One table always, another for the last alone."""
    found = {"always": pd.DataFrame({"seed": [seed]})}
    return {**found, "sometimes": pd.DataFrame({"seed": [seed]})} if last else found


def noted(folder: str, seed: int, seconds: float) -> pd.DataFrame:
    """A table, and a line in a file of each that was begun and ended."""
    notes = Path(folder, "notes")
    with notes.open("a") as file:
        file.write(f"begun {seed}\n")
    time.sleep(seconds)
    with notes.open("a") as file:
        file.write(f"ended {seed}\n")
    return pd.DataFrame({"seed": [seed], "pid": [os.getpid()]})


def threads() -> pd.DataFrame:
    """How many threads PyTorch uses here."""
    return pd.DataFrame({"threads": [torch.get_num_threads()]})


def failing(seed: int) -> pd.DataFrame:
    """A table for even seeds alone."""
    return pd.DataFrame({"seed": [seed // (1 - seed % 2)]})


def pid(number: int) -> int:
    """The process of a call."""
    return os.getpid()


def within(numbers: int) -> list[int]:
    """The processes of calls within a call."""
    return [*grid.results(pid, [(number,) for number in range(numbers)]), os.getpid()]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache."""
    monkeypatch.setenv("LMDYNAMICS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "tables"


def homes(cache):
    return sorted(path.parent for path in cache.glob("*/job.json"))


def notes(folder, kind):
    path = folder / "notes"
    return [line.split()[1] for line in path.read_text().splitlines() if line.startswith(kind)]


def test_rows_come_in_the_order_of_the_calls():
    table = grid.table(squares, [(2, [5, 1]), (0, [3])])
    assert table["seed"].tolist() == [2, 2, 0]
    assert table["square"].tolist() == [25.5, 1.5, 9.5]
    assert table.index.tolist() == [0, 1, 2]


def test_a_job_is_done_once_and_one_more_seed_is_one_more_job(tmp_path, cache):
    calls = [(str(tmp_path), seed, 0.0) for seed in range(3)]
    for some in (calls[:2], calls[:2], calls):
        grid.table(noted, some)
    assert sorted(notes(tmp_path, "begun")) == ["0", "1", "2"]
    assert len(homes(cache)) == 3


def test_equal_jobs_are_one(tmp_path):
    table = grid.table(noted, [(str(tmp_path), 7, 0.0)] * 2)
    assert table["seed"].tolist() == [7, 7]
    assert notes(tmp_path, "begun") == ["7"]


def test_a_table_that_some_jobs_lack_is_put_together_from_the_others():
    tables = grid.tables(two_tables, [(0, False), (1, True), (2, True)])
    assert tables["always"]["seed"].tolist() == [0, 1, 2]
    assert tables["sometimes"]["seed"].tolist() == [1, 2]


def test_what_decides_a_job_stands_beside_its_tables(cache):
    grid.table(squares, [(4, [1])])
    (home,) = homes(cache)
    about = json.loads((home / "job.json").read_text())
    assert about["function"] == f"{__name__}.squares"
    assert about["arguments"] == [4, [1]]
    assert {"code", "date", "torch", "seconds"} <= about.keys()


def test_other_code_does_the_job_anew(tmp_path, monkeypatch):
    home = tmp_path / "elsewhere"
    home.mkdir()
    (home / "made_up_jobs.py").write_text(
        "import pandas as pd\nBASE = 1\ndef job(x: int) -> pd.DataFrame:\n"
        "    '''Add.'''\n    return pd.DataFrame({'sum': [x + BASE]})\n"
    )
    script = (
        "from lmdynamics.ground import grid; import made_up_jobs as made; "
        "print(grid.table(made.job, [(1,)])['sum'][0])"
    )

    def printed():
        run = subprocess.run(
            [sys.executable, "-B", "-c", script], cwd=home, capture_output=True, text=True, check=True
        )
        return run.stdout.strip()

    assert printed() == "2"
    path = home / "made_up_jobs.py"
    path.write_text(path.read_text().replace("'''Add.'''", "'''Add it.'''"))
    assert printed() == "2"
    path.write_text(path.read_text().replace("BASE = 1", "BASE = 2"))
    assert printed() == "3"


def test_a_failing_job_leaves_nothing_behind_and_takes_no_other_with_it(cache):
    with pytest.raises(ZeroDivisionError):
        grid.table(failing, [(0,), (1,), (2,)])
    assert {json.loads((home / "job.json").read_text())["arguments"][0] for home in homes(cache)} <= {0, 2}
    assert not list(cache.glob(".being-written-*"))
    assert grid.table(failing, [(0,), (2,)])["seed"].tolist() == [0, 2]


def test_each_damaged_byte_of_a_table_is_an_error_that_names_it(cache):
    grid.table(squares, [(0, [1])])
    (home,) = homes(cache)
    path = home / "table.parquet"
    whole = path.read_bytes()
    flipped = (whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :] for at in range(0, len(whole), 31))
    for damaged in (b"", whole[:-1], *flipped):
        path.write_bytes(damaged)
        with pytest.raises(TableError, match=f"{home.name} holds damaged tables .* delete it and run again"):
            grid.table(squares, [(0, [1])])
    path.unlink()
    with pytest.raises(TableError, match="holds damaged tables"):
        grid.table(squares, [(0, [1])])


def test_kept_tables_are_read_from_a_disk_that_cannot_be_written(monkeypatch):
    made = grid.table(squares, [(0, [1])])
    for name in ("lock", "write_folder"):
        monkeypatch.setattr(storage, name, never)
    pd.testing.assert_frame_equal(grid.table(squares, [(0, [1])]), made)


def test_a_full_disk_is_an_error_that_names_the_table_and_leaves_nothing(cache, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    cache.mkdir(parents=True)
    with (
        joblib.parallel_config("sequential"),
        pytest.raises(StorageError, match=r"tables/test_grid-squares-\w+ \(No space left.*LMDYNAMICS_CACHE"),
    ):
        grid.table(squares, [(0, [1])])
    assert [path.suffix for path in cache.iterdir()] == [".lock"]


def test_numbers_do_not_depend_on_how_many_processes_there_are(cache):
    calls = [(seed, [seed, 3]) for seed in range(4)]
    several = grid.table(squares, calls)
    for home in homes(cache):
        for path in home.iterdir():
            path.unlink()
        home.rmdir()
    with joblib.parallel_config("sequential"):
        pd.testing.assert_frame_equal(grid.table(squares, calls), several)


def test_each_job_has_one_processor_and_the_process_its_own_again():
    before = torch.get_num_threads()
    with joblib.parallel_config("sequential"):
        assert grid.table(threads, [()])["threads"].tolist() == [1]
    assert torch.get_num_threads() == before


def test_results_are_not_kept(cache):
    assert grid.results(squares, [(0, [2])])[0]["square"].tolist() == [4.5]
    assert not cache.exists()


def test_no_jobs_are_no_tables():
    assert grid.tables(two_tables, []) == {}
    assert grid.results(squares, []) == []


def test_threads_share_calls_and_their_results_come_in_order():
    together = threading.Barrier(3)

    def waiting(number, seconds):
        together.wait(10)
        time.sleep(seconds)
        return number, threading.get_ident()

    results = list(grid.thread_stream(waiting, [(1, 0.05), (2, 0.0), (3, 0.0)], threads=3))
    assert [number for number, _ in results] == [1, 2, 3]
    assert len({thread for _, thread in results} - {threading.get_ident()}) == 3


def test_an_error_in_a_thread_ends_the_stream_when_calls_that_run_have_ended():
    begun, ended = [], []

    def waiting(number):
        begun.append(number)
        if number == 0:
            raise ValueError("the first")
        time.sleep(0.1)
        ended.append(number)

    with pytest.raises(ValueError, match="the first"):
        list(grid.thread_stream(waiting, ((number,) for number in range(100)), threads=2))
    assert sorted(begun) == [0, *sorted(ended)]
    assert len(begun) < 10


def test_a_stream_comes_in_order_and_asks_for_no_more_than_it_needs():
    asked, limit = [], grid.WINDOW * joblib.cpu_count()

    def calls():
        for seed in range(3 * limit + 1):
            asked.append(seed)
            yield seed, [1]

    with contextlib.closing(grid.stream(squares, calls())) as stream:
        for each in range(3 * limit + 1):
            assert next(stream)["seed"].tolist() == [each]
            assert len(asked) <= (each // limit + 1) * limit
        assert next(stream, None) is None


def test_a_function_that_was_edited_since_is_refused(monkeypatch):
    monkeypatch.setattr(grid, "code_fingerprint", lambda function: "before the edit")
    with (
        joblib.parallel_config("sequential"),
        pytest.raises(RuntimeError, match=rf"{__name__}\.squares, or what it needs, was edited since"),
    ):
        grid.results(squares, [(0, [1])])


class Pair(NamedTuple):
    left: int
    right: int


@dataclass(frozen=True)
class Plain:
    a: int
    b: tuple[int, ...]


@dataclass(frozen=True)
class Named:
    fingerprint: str
    rest: object = None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 2),
        (None, False),
        ("a", "b"),
        ((1, 2), (2, 1)),
        ({"a": 1, "b": 2}, {"a": 2, "b": 1}),
        (np.arange(3), np.arange(4)),
        (np.arange(3), np.arange(3.0)),
        (np.zeros((2, 3)), np.zeros((3, 2))),
        (Pair(1, 2), Plain(1, (2,))),
        (Plain(1, (2,)), Plain(1, (3,))),
        (Named("x"), Named("y")),
        (pd.DataFrame({"a": [1]}), pd.DataFrame({"a": [2]})),
        (np.float32(0.5), 0.5),
        (np.float64(0.5), 0.5),
        ({}, []),
        ({"a": 1}, [["a", 1]]),
        (Path("a"), "a"),
    ],
)
def test_other_arguments_have_another_identity(one, other):
    assert json.dumps(identity(one)) != json.dumps(identity(other))
    assert json.dumps(identity(one)) == json.dumps(identity(one))


def test_a_fingerprint_stands_for_the_rest():
    assert identity(Named("x", object())) == identity(Named("x"))


@pytest.mark.parametrize(
    "value", [object(), np.array([["a"], []], object), np.ma.masked_array([1, 2], [0, 1]), np.complex64(1)]
)
def test_an_argument_without_an_identity_is_refused(value):
    name = type(value).__name__
    with pytest.raises(TypeError, match=f"an argument of a job needs an identity, got {name}; give it"):
        grid.table(squares, [(0, [value])])


@pytest.mark.parametrize(("function", "calls", "number"), [(squares, [], 0), (two_tables, [(0, True)], 2)])
def test_one_table_is_what_calls_return_that_return_one_each(function, calls, number):
    with pytest.raises(ValueError, match=f"need calls of {function.__name__} .* got {number} tables"):
        grid.table(function, calls)


def test_jobs_within_a_job_have_its_processor():
    nested = grid.results(within, [(2,), (3,)])
    assert all(len(set(pids)) == 1 for pids in nested)


def test_tables_that_workers_keep_elsewhere_are_told_as_such(monkeypatch, tmp_path):
    monkeypatch.setattr(grid, "_keep", lambda *job: None)
    with (
        joblib.parallel_config("sequential"),
        pytest.raises(RuntimeError, match="one cache directory for all"),
    ):
        grid.table(squares, [(0, [1])])


@pytest.mark.parametrize("name", ["tpu", "cuda:0"])
def test_a_device_that_is_not_there_is_refused(name, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match=rf"device.*{name}"):
        grid.device(name)
    assert grid.device().type == "cpu"


def test_one_gpu_serves_several_jobs_by_threads(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a GPU")
    pids = grid.table(noted, [(str(tmp_path), seed, 0.3) for seed in range(4)])["pid"]
    assert set(pids) == {os.getpid()}
    assert [line.split()[0] for line in (tmp_path / "notes").read_text().splitlines()[:4]] == ["begun"] * 4


STUDY = """
import sys
sys.path.insert(0, {tests!r})
from lmdynamics.ground import grid
import test_grid
grid.table(test_grid.noted, [({folder!r}, seed, 0.5) for seed in range(6)])
"""


def test_a_study_that_was_killed_ends_its_workers_and_goes_on_with_the_jobs_that_it_lacks(tmp_path, cache):
    script = STUDY.format(tests=str(Path(__file__).parent), folder=str(tmp_path))
    study = subprocess.Popen([sys.executable, "-c", script])
    deadline = time.monotonic() + 60
    while len(homes(cache)) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    children = psutil.Process(study.pid).children(recursive=True)
    study.kill()
    study.wait()
    _, alive = psutil.wait_procs(children, timeout=10)
    assert not alive
    kept = {json.loads((home / "job.json").read_text())["arguments"][1] for home in homes(cache)}
    assert 2 <= len(kept) < 6
    (tmp_path / "notes").unlink()
    table = grid.table(noted, [(str(tmp_path), seed, 0.5) for seed in range(6)])
    assert table["seed"].tolist() == list(range(6))
    assert {int(seed) for seed in notes(tmp_path, "begun")} == set(range(6)) - kept


@pytest.mark.parametrize(("parent", "status"), [("os.getppid()", 0), ("os.getpid()", 1)])
def test_a_process_goes_on_while_its_parent_is_the_one_that_it_should_be(parent, status):
    script = (
        f"import os, time; from lmdynamics.ground import lifetime; lifetime.end_with({parent}); time.sleep(1)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == status


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("how", ["by the address of its scheduler", "by joblib's own setting"])
def test_a_cluster_that_loses_two_workers_gives_all_tables(tmp_path, cache, monkeypatch, how):
    from distributed import Client, LocalCluster

    calls = [(str(tmp_path), seed, 0.3) for seed in range(16)]
    with (
        LocalCluster(n_workers=3, threads_per_worker=2, processes=True, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        script = KILLER.format(notes=str(tmp_path / "notes"), pids=list(client.run(os.getpid).values())[:2])
        killer = subprocess.Popen([sys.executable, "-c", script])
        if how.startswith("by the address"):
            monkeypatch.setenv(grid.CLUSTER, cluster.scheduler_address)
            table = grid.table(noted, calls)
        else:
            with joblib.parallel_config("dask"):
                table = grid.table(noted, calls)
    assert killer.wait() == 0
    assert table["seed"].tolist() == list(range(16))
    assert len(homes(cache)) == 16
    assert os.getpid() not in set(table["pid"])
    assert sorted(set(notes(tmp_path, "ended")), key=int) == [str(seed) for seed in range(16)]


KILLER = """
import os, signal, time
from pathlib import Path
notes = Path({notes!r})
while not notes.exists() or notes.read_text().count("ended") < 4:
    time.sleep(0.02)
for pid in {pids}:
    os.kill(pid, signal.SIGKILL)
"""


def test_a_cluster_without_its_package_says_what_to_install(monkeypatch):
    monkeypatch.setenv(grid.CLUSTER, "tcp://nowhere:1")
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'lmdynamics\[cluster\]'"):
        grid.table(squares, [(0, [1])])

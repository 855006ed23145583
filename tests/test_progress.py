import io

import pytest

from lmdynamics.ground import progress
from lmdynamics.ground.progress import Line, Progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Clock:
    """Time that passes only when told to."""

    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def test_a_line_states_what_is_done_how_fast_and_what_is_left(clock):
    work = Progress("LM, seed 1", 480_000, clock=clock)
    work.done, clock.now = 120_000, 12.0
    expected = "LM, seed 1, epoch 2 of 8: 120,000 of 480,000 tokens, 10,000 tokens/s, 0:36 left"
    assert work.text("epoch 2 of 8") == expected


def test_what_was_done_before_a_run_was_resumed_does_not_count_as_speed(clock):
    work = Progress("LM", 200, done=100, clock=clock)
    work.done, clock.now = 150, 1.0
    assert work.text() == "LM: 150 of 200 tokens, 50 tokens/s, 0:01 left"


def test_work_that_has_not_begun_promises_no_time(clock):
    assert "left" not in Progress("LM", 200, clock=clock).text()


def test_hours_are_written_out(clock):
    work = Progress("LM", 7_323, clock=clock)
    work.done, clock.now = 1, 1.0
    assert work.text().endswith("2:02:02 left")


def test_a_line_follows_another_only_after_a_while(clock):
    stream = io.StringIO()
    line = Line(stream, clock=clock)
    for clock.now in range(25):
        line.show(f"second {clock.now}")
    assert stream.getvalue().splitlines() == ["second 0", "second 10", "second 20"]


def test_a_terminal_shows_one_line_that_overwrites_itself(clock):
    stream = Terminal()
    line = Line(stream, clock=clock)
    line.show("one")
    clock.now = 1.0
    line.show("two")
    line.clear()
    assert stream.getvalue() == "\r\x1b[Kone\r\x1b[Ktwo\r\x1b[K"


def test_a_line_is_never_wider_than_the_terminal(clock, monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    stream = Terminal()
    Line(stream, clock=clock).show("x" * 50)
    assert stream.getvalue() == "\r\x1b[K" + "x" * 19


def test_with_a_file_named_nothing_is_printed(tmp_path, monkeypatch, capfd):
    monkeypatch.setenv(progress.VARIABLE, str(tmp_path / "lines"))
    with Progress("LM", 10) as work:
        work.advance(4)
    assert (tmp_path / "lines").read_text().startswith("LM: 4 of 10 tokens")
    assert capfd.readouterr() == ("", "")


def test_a_file_that_cannot_be_written_stops_no_work(tmp_path, monkeypatch, capfd):
    monkeypatch.setenv(progress.VARIABLE, str(tmp_path / "no" / "folder"))
    progress.report("still going")
    assert capfd.readouterr() == ("", "")


def test_without_a_file_lines_go_to_standard_error(monkeypatch, capsys):
    monkeypatch.delenv(progress.VARIABLE, raising=False)
    progress.report("here")
    assert capsys.readouterr() == ("", "here\n")

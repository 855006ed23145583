"""Where the time of a chapter goes: training, and observing with measuring."""

from collections.abc import Iterable, Mapping

import pandas as pd

from lmdynamics.ground.grid import Cost
from lmdynamics.models.runs import Run


def table(
    trained: Mapping[str, Iterable[tuple[Run, int]]], spent: Iterable[Cost], observed: Mapping[str, str]
) -> pd.DataFrame:
    """Return what a study took, in seconds of one processor when it was done.

    Parameters
    ----------
    trained
        Runs and their epochs, by what they are called.
    spent
        What its jobs took.
    observed
        What each function of a job does, by its name.

    Returns
    -------
    pandas.DataFrame
        A row for each seed and kind of `work`: `seed`, `work`, `seconds`.
    """
    rows = [
        (run.settings["seed"], f"training: {name}", epoch.seconds)
        for name, some in trained.items()
        for run, last in some
        for epoch in run.epochs
        if epoch.epoch <= last
    ]
    rows += [(each.seed, f"observing: {observed[each.function]}", each.seconds) for each in spent]
    table = pd.DataFrame(rows, columns=["seed", "work", "seconds"])
    return table.groupby(["seed", "work"], sort=False)["seconds"].sum().reset_index()


def shares(costs: pd.DataFrame) -> pd.DataFrame:
    """Return a table of costs over all seeds.

    Returns
    -------
    pandas.DataFrame
        A row for each kind of `work`: `seconds` and its `share` of all.
    """
    seconds = costs.groupby("work", sort=False)["seconds"].sum().sort_values(ascending=False).reset_index()
    return seconds.assign(share=seconds["seconds"] / seconds["seconds"].sum())


def by_chapter(results: Mapping[str, Mapping[str, pd.DataFrame]]) -> pd.DataFrame:
    """Return what each chapter took, of those whose tables say so.

    Returns
    -------
    pandas.DataFrame
        A row for each chapter and kind of `work`: `seconds`, and their `share` of the chapter's.
    """
    parts = [
        shares(tables["costs"]).assign(chapter=name.replace("_", " "))
        for name, tables in results.items()
        if "costs" in tables
    ]
    return pd.concat(parts, ignore_index=True)[["chapter", "work", "seconds", "share"]]

"""Ways to train many models at once, by name, and their runs on disk."""

import math
import time
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from pathlib import Path

from lmdynamics.ground import grid
from lmdynamics.models import runs
from lmdynamics.models.recurrent import RecurrentModel
from lmdynamics.models.runs import Run, RunSettings
from lmdynamics.models.together.captured import Captured
from lmdynamics.models.together.company import Company
from lmdynamics.models.together.single import Single
from lmdynamics.models.together.stack import Stack
from lmdynamics.models.together.steps import Steps
from lmdynamics.models.training import TrainingSettings
from lmdynamics.text.streams import Parts

Job = tuple[RunSettings, Parts]
"""What a run is trained from."""


def streams(models: Sequence[RecurrentModel], settings: TrainingSettings) -> Steps:
    """Return the steps of one model, launched one kernel after another."""
    return Single(models, settings)


def graphs(models: Sequence[RecurrentModel], settings: TrainingSettings) -> Steps:
    """Return the steps of one model, each launched whole."""
    return Captured(Single(models, settings))


def stacked(models: Sequence[RecurrentModel], settings: TrainingSettings) -> Steps:
    """Return the steps of equal models in one, each launched whole."""
    return Captured(Stack(models, settings))


WAYS: dict[str, Callable[[Sequence[RecurrentModel], TrainingSettings], Steps]] = {
    each.__name__: each for each in (streams, graphs, stacked)
}
"""By the name that users give."""


def train(
    jobs: Sequence[Job],
    *,
    way: str,
    folder: Path | None = None,
    device: str = "auto",
    minutes: float = math.inf,
) -> list[Run]:
    """Train what many runs lack, all at once on one device, each run in a thread with a stream of its own.

    Parameters
    ----------
    jobs
        What `runs.train` would be called with. Models that can be stacked are, where the way does that.
    way
        Of `WAYS`. Each has runs of its own; they are kept as `runs.train` keeps them.
    folder, device
        As of `runs.train`.
    minutes
        After so many no step is taken; runs end with their last whole epoch then, and can go on another time.

    Returns
    -------
    list[Run]
        In the order of the jobs.

    Raises
    ------
    ValueError
        If there is no such way. This and the errors of `runs.train` come when all other runs are trained.
    """
    if way not in WAYS:
        raise ValueError(f"a way to train at once is one of {', '.join(WAYS)}, got {way!r}")
    until = time.monotonic() + 60 * minutes
    names = [runs.name(*job, way=Company(WAYS[way])) for job in jobs]
    different = dict(zip(names, jobs, strict=True))  # equal jobs are one run, which is trained once
    groups: dict[Hashable, list[str]] = defaultdict(list)
    for name, job in different.items():
        groups[_shape(job) if way == stacked.__name__ else name].append(name)
    calls = []
    for members in groups.values():
        company = Company(WAYS[way], len(members), until=until)
        calls += [(*different[name], company, folder, device) for name in members]
    trained = list(grid.thread_stream(_train, calls, threads=len(calls) or 1))
    if errors := [each for each in trained if isinstance(each, Exception)]:
        raise errors[0]
    by_name = {run.folder.name: run for run in trained}
    return [by_name[name] for name in names]


def _train(
    settings: RunSettings, parts: Parts, company: Company, folder: Path | None, device: str
) -> Run | Exception:
    """Return a run, or why there is none: the others go on."""
    with grid.gpu_stream(grid.device(device)):
        try:
            return runs.train(settings, parts, folder=folder, device=device, way=company)
        except Exception as error:
            return error
        finally:
            company.leave()


def _shape(job: Job) -> Hashable:
    """What models must have in common to be stacked."""
    settings, parts = job
    training = replace(settings.training, epochs=0, learning_rate=1.0, decay=1.0)
    tokens = len(parts.train.inputs) // training.batch
    return settings.model, training, len(settings.words), len(settings.classes), tokens

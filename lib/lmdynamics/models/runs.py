"""Runs on disk: the training of one model, stored epoch by epoch.

A run is a folder named by the hash of what defines it: settings, seed, the examples themselves and the code
that trains. It holds `settings.json`, `vocabulary.txt`, `log.json` (one row per epoch) and one checkpoint per
epoch, `epoch-000.safetensors` first. The number of epochs is not part of the name: a run of ten epochs is the
beginning of a run of fifty. Every file appears whole or not at all, and the log holds the SHA-256 of each
checkpoint and, in each row, the hash of all rows so far, so that a run that was killed goes on from its last
whole epoch to the same bits, and a damaged file is an error that names it. Rows of early runs lack that hash.
What is deleted because it is damaged is made again, a checkpoint from the epoch before it, to the same bits;
without the log the whole run is trained again.

A run may also hold snapshots within its first epoch, after 1, 2, 4, ... steps, as public suites of
checkpoints do: `step-0000001.safetensors` and so on, and `snapshots.json` with the SHA-256 of each. They are
to be looked at; training never goes on from them.
"""

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import pandas as pd
import safetensors.torch

from lmdynamics.ground import grid, storage
from lmdynamics.ground.paths import cache_directory
from lmdynamics.ground.progress import Progress
from lmdynamics.ground.provenance import code_fingerprint
from lmdynamics.models import training
from lmdynamics.models.recurrent import ModelSettings, RecurrentModel
from lmdynamics.models.training import Epoch, TrainingSettings
from lmdynamics.text.streams import Parts

NOT_IN_NUMBERS = ("RunError", "_append", "_content", "_damage_error", "_remedy")  # how a run is kept


class RunError(RuntimeError):
    """A run cannot be read or made again."""


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """The settings of a run: the model, its training and its words."""

    model: ModelSettings
    training: TrainingSettings
    words: Sequence[str]
    """The vocabulary that the inputs index."""
    classes: Sequence[str]
    """What the targets index: the vocabulary again for a language model, tags for a tagger."""
    seed: int = 0
    about: str = ""
    """What a reader of `settings.json` should know of the examples: corpus, task."""
    snapshots: bool = False
    """Whether to keep snapshots within the first epoch; no part of the run's name."""


class Checkpoint(NamedTuple):
    """A moment of training at which the model was kept."""

    epoch: float | int
    """Passes over the training part; between 0 and 1 for a snapshot."""
    step: int
    """Steps of optimisation since the beginning."""
    tokens_read: int
    """Tokens of the training part that the model has read, each as often as it read it."""


class Run:
    """A trained model, epoch by epoch.

    Parameters
    ----------
    folder
        Where `train` left it.

    Raises
    ------
    RunError
        If there is no run in the folder, or its settings or log are damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.settings: dict[str, Any] = _read_json(folder / "settings.json")
        if _hash(self.settings) != folder.name:
            raise _damage_error(folder / "settings.json", "its hash is not the name of the folder")
        log = folder / "log.json"
        self._log: list[dict[str, Any]] = _read_json(log) if log.exists() else []
        columns = {field.name for field in fields(Epoch)} | {"sha256"}
        rows = self._log if isinstance(self._log, list) else [None]
        if any(not isinstance(row, dict) or set(row) - {"so_far"} != columns for row in rows):
            raise _damage_error(log, f"it needs a list of rows of {', '.join(sorted(columns))}")
        for at, row in enumerate(self._log):
            if "so_far" in row and row["so_far"] != _row_hash(self._log[:at], row):
                raise _damage_error(log, f"row {at} or one before it is not as it was written")

    @property
    def fingerprint(self) -> str:
        """The hash of the run's definition, which is also the name of its folder."""
        return self.folder.name

    @property
    def epochs(self) -> list[Epoch]:
        """The epochs of the run, the untrained epoch 0 first."""
        return [Epoch(**{field.name: row[field.name] for field in fields(Epoch)}) for row in self._log]

    @property
    def log(self) -> pd.DataFrame:
        """The epochs as a table, one row each, with the seed."""
        return pd.DataFrame([asdict(epoch) for epoch in self.epochs]).assign(seed=self.settings["seed"])

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """The words that the model reads, in the order of their ids."""
        path = self.folder / "vocabulary.txt"
        try:
            *words, end = path.read_bytes().decode().split("\n")
        except (OSError, ValueError) as error:
            raise _damage_error(path, str(error)) from error
        if end or _fingerprint(words) != self.settings["vocabulary"]:
            raise _damage_error(path, "its words are not those that settings.json names by their hash")
        return tuple(words)

    def checkpoints(self, epochs: int = -1) -> tuple[Checkpoint, ...]:
        """Return the moments at which the model was kept, in order: epochs, and snapshots if it has any.

        Parameters
        ----------
        epochs
            The last epoch; negative numbers count from the end.
        """
        whole = self.settings["tokens"]
        how = self.settings["training"]
        per_step = how["batch"] * how["steps_back"]
        chosen = self.epochs[: epochs % len(self._log) + 1]
        kept = [Checkpoint(each.epoch, each.steps, each.epoch * whole) for each in chosen]
        early = [Checkpoint(step * per_step / whole, step, step * per_step) for step in self._snapshots]
        return (*kept[:1], *early, *kept[1:]) if len(kept) > 1 else tuple(kept)

    @property
    def _snapshots(self) -> dict[int, str]:
        """The SHA-256 of each snapshot by step."""
        path = self.folder / "snapshots.json"
        return {int(step): str(digest) for step, digest in _read_json(path).items()} if path.exists() else {}

    def path(self, epoch: int) -> Path:
        """Return the path of an epoch's checkpoint."""
        return self.folder / f"epoch-{epoch:03}.safetensors"

    def snapshot_path(self, step: int) -> Path:
        """Return the path of a snapshot."""
        return self.folder / f"step-{step:07}.safetensors"

    def sha256(self, epoch: int) -> str:
        """Return the SHA-256 of an epoch's checkpoint as it was written."""
        return str(self._log[epoch]["sha256"])

    def model(
        self, epoch: int = -1, *, device: str = "auto", words: Sequence[str] | None = None
    ) -> RecurrentModel:
        """Load the model as it was after an epoch.

        Parameters
        ----------
        epoch
            0 is the untrained model; negative numbers count from the end.
        device
            Where to put it: `auto` (CUDA where there is one), `cpu` or `cuda`.
        words
            The vocabulary of the text to be run, where it should be checked.

        Raises
        ------
        RunError
            If the run has no such epoch, the file is damaged, or the vocabulary is another.
        """
        if not -len(self._log) <= epoch < len(self._log):
            known = f"epochs 0 to {len(self._log) - 1}" if self._log else "no epoch yet"
            raise RunError(f"{self.folder} has {known}, got {epoch}; choose one of them or train it longer")
        if words is not None and _fingerprint(words) != self.settings["vocabulary"]:
            raise RunError(
                f"{self.folder} was trained on a vocabulary of {self.settings['words']} words, "
                f"got another, of {len(words)}; prepare the text with the run's own vocabulary"
            )
        epoch %= len(self._log)
        return self._load(self.path(epoch), self.sha256(epoch), "log.json", device)

    def at(self, checkpoint: Checkpoint, *, device: str = "auto") -> RecurrentModel:
        """Load the model as it was at a moment of `checkpoints`; device and errors as of `model`."""
        if checkpoint.epoch == int(checkpoint.epoch):
            return self.model(int(checkpoint.epoch), device=device)
        snapshots = self._snapshots
        if checkpoint.step not in snapshots:
            raise RunError(
                f"{self.folder} has snapshots after {', '.join(map(str, snapshots)) or 'no'} steps, got "
                f"{checkpoint.step}; train it with snapshots, or choose one of them"
            )
        path = self.snapshot_path(checkpoint.step)
        return self._load(path, snapshots[checkpoint.step], "snapshots.json", device)

    def _load(self, path: Path, digest: str, where: str, device: str) -> RecurrentModel:
        """Load the model of a file with a SHA-256, which stands in another file."""
        try:
            content = path.read_bytes()
        except FileNotFoundError as error:
            raise RunError(f"{path} is missing; {_remedy()}") from error
        if hashlib.sha256(content).hexdigest() != digest:
            raise RunError(
                f"{path} is damaged: its SHA-256 is not the one in {where}; delete it, and {_remedy()}"
            )
        model = _initial_model(self.settings)
        model.load_state_dict(safetensors.torch.load(content))
        return model.to(grid.device(device)).eval()


@runtime_checkable
class Way(Protocol):
    """A way to train other than `training.epochs`; it has runs of its own."""

    name: str
    """Stands in the run's definition."""

    @property
    def code(self) -> str:
        """The fingerprint of the code that the weights depend on."""

    def epochs(
        self,
        model: RecurrentModel,
        parts: Parts,
        settings: TrainingSettings,
        *,
        seed: int,
        past: Sequence[Epoch] = (),
        progress: Callable[[int], None],
        after_step: Callable[[int], None],
    ) -> Iterator[Epoch]:
        """Train the model as `training.epochs` does; an end before the last epoch is an end of time."""


def train(
    settings: RunSettings,
    parts: Parts,
    *,
    folder: Path | None = None,
    device: str = "auto",
    way: Way | None = None,
) -> Run:
    """Train the epochs that a run does not have yet, and return the run.

    A checkpoint that was deleted is made again from the epoch before it, and must have the bits that it had.

    Parameters
    ----------
    settings
        What to train.
    parts
        The examples.
    folder
        Where runs are kept; None for `runs` in the cache directory.
    device
        `auto`, `cpu` or `cuda`.
    way
        How to train; None for `training.epochs`.

    Returns
    -------
    Run
        With at least `settings.training.epochs` epochs after epoch 0; with fewer if a way has no more time.

    Raises
    ------
    RunError
        If a file that is needed to go on is damaged, or a checkpoint is made again with other bits.
    lmdynamics.ground.storage.StorageError
        If a file cannot be written. Epochs before are kept.
    lmdynamics.models.training.TrainingError
        If the loss is no longer finite. Epochs before are kept.
    ValueError
        If an id is outside the vocabulary or the classes, a word holds a line break, a part is empty or lacks
        a target, or the training part is shorter than the batch.
    """
    _check_ids(settings, parts)
    definition = _definition(settings, parts, way)
    home = (folder or cache_directory() / "runs") / _hash(definition)
    with contextlib.suppress(RunError):
        run = Run(home)  # whole already: no need to wait for whoever trains it further
        wanted = [home / "vocabulary.txt", *map(run.path, range(settings.training.epochs + 1))]
        whole = len(run.epochs) > settings.training.epochs and all(path.exists() for path in wanted)
        if whole and not _lacks_snapshots(run, settings, parts):
            return run
    with storage.lock(home / "lock", label=_label(settings)):
        vocabulary = "".join(f"{word}\n" for word in settings.words).encode()
        for name, content in (("vocabulary.txt", vocabulary), ("settings.json", _json(definition))):
            if not (home / name).exists():
                storage.write(home / name, content)
        run = Run(home)
        for epoch in range(min(len(run.epochs), settings.training.epochs + 1)):
            if not run.path(epoch).exists():
                _restore(run, epoch, settings, parts, device=device, way=way)
        if len(run.epochs) > 1 and _lacks_snapshots(run, settings, parts):
            _restore(run, 1, settings, parts, device=device, way=way)
        _extend(run, settings, parts, device=device, way=way)
    return run


class _Snapshots:
    """The snapshots of a model while it is trained; without any to keep, nothing happens."""

    def __init__(self, run: Run, model: RecurrentModel, settings: RunSettings, parts: Parts) -> None:
        self._run, self._model = run, model
        self._wanted = snapshot_steps(settings, parts)
        self._digests: dict[int, str] = {}

    def after_step(self, steps: int) -> None:
        """Keep the model if this is a moment to do so."""
        if steps in self._wanted:
            content = _content(self._model)
            storage.write(self._run.snapshot_path(steps), content)
            self._digests[steps] = hashlib.sha256(content).hexdigest()

    def finish(self) -> None:
        """Say which snapshots are whole, once all are."""
        if self._digests:
            storage.write(self._run.folder / "snapshots.json", _json(self._digests))


def snapshot_steps(settings: RunSettings, parts: Parts) -> tuple[int, ...]:
    """Return after which steps snapshots are kept: the powers of two within the first epoch."""
    if not settings.snapshots or not settings.training.epochs:
        return ()
    end = training.steps_per_epoch(parts.train, settings.training)
    return tuple(2**power for power in range(end.bit_length()) if 2**power < end)


def _lacks_snapshots(run: Run, settings: RunSettings, parts: Parts) -> bool:
    wanted, there = snapshot_steps(settings, parts), run._snapshots
    return any(step not in there or not run.snapshot_path(step).exists() for step in wanted)


def name(settings: RunSettings, parts: Parts, *, way: Way | None = None) -> str:
    """Return the name of the folder of a run, the hash of what defines it; the way as of `train`."""
    return _hash(_definition(settings, parts, way))


def kept(settings: RunSettings, parts: Parts, *, folder: Path | None = None) -> Run | None:
    """Return what there is of a run, None if nothing; nothing is trained."""
    home = (folder or cache_directory() / "runs") / name(settings, parts)
    return Run(home) if (home / "settings.json").exists() else None


def seconds(settings: RunSettings, parts: Parts, *, folder: Path | None = None) -> float:
    """Return how long training took, as far as the run is kept and no longer than asked for."""
    run = kept(settings, parts, folder=folder)
    return sum(each.seconds for each in run.epochs if each.epoch <= settings.training.epochs) if run else 0.0


def _restore(
    run: Run, epoch: int, settings: RunSettings, parts: Parts, *, device: str, way: Way | None
) -> None:
    """Make the checkpoint of an epoch again, to the same bits; of the first, its snapshots too."""
    model, path = _model_before(run, epoch, device), run.path(epoch)
    snapshots = _Snapshots(run, model, settings, parts)
    with Progress(f"{_label(settings)}, epoch {epoch} again", _tokens(settings, parts)) as progress:
        again = (way.epochs if way else training.epochs)(
            model,
            parts,
            settings.training,
            seed=settings.seed,
            past=run.epochs[:epoch],
            progress=progress.advance,
            after_step=snapshots.after_step,
        )
        if next(again, None) is None:
            raise RunError(f"{path} could not be made again in the time that was given; give it more")
    content = _content(model)
    if hashlib.sha256(content).hexdigest() != run.sha256(epoch):
        raise RunError(
            f"{path} was made again with other bits than log.json names, as other machines and versions of "
            f"PyTorch do; put the file back, or delete {run.folder} to train the whole run again"
        )
    snapshots.finish()
    storage.write(path, content)


def _extend(run: Run, settings: RunSettings, parts: Parts, *, device: str, way: Way | None) -> None:
    """Train the epochs that the run does not have yet."""
    past, tokens = run.epochs, _tokens(settings, parts)
    missing = settings.training.epochs + 1 - len(past)
    if missing <= 0:
        return
    model = _model_before(run, len(past), device)
    snapshots = _Snapshots(run, model, settings, parts)
    done = max(len(past) - 1, 0) * tokens
    note = ""
    with Progress(_label(settings), settings.training.epochs * tokens, done=done) as progress:
        steps = (way.epochs if way else training.epochs)(
            model,
            parts,
            settings.training,
            seed=settings.seed,
            past=past,
            progress=lambda amount: progress.advance(amount, note=note),
            after_step=snapshots.after_step,
        )
        for _ in range(missing):
            note = f"epoch {len(run.epochs)} of {settings.training.epochs}"
            epoch = next(steps, None)
            if epoch is None:
                return
            if epoch.epoch == 1:
                snapshots.finish()
            _append(run, epoch, model)


def _append(run: Run, epoch: Epoch, model: RecurrentModel) -> None:
    """Write the model after one more epoch to the run's folder."""
    content = _content(model)
    row = {**asdict(epoch), "sha256": hashlib.sha256(content).hexdigest()}
    row["so_far"] = _row_hash(run._log, row)
    storage.write(run.path(epoch.epoch), content)
    storage.write(run.folder / "log.json", _json([*run._log, row]))
    run._log.append(row)


def _model_before(run: Run, epoch: int, device: str) -> RecurrentModel:
    """Return the model with which an epoch begins."""
    return (run.model(epoch - 1) if epoch else _initial_model(run.settings)).to(grid.device(device))


def _content(model: RecurrentModel) -> bytes:
    """Return the content of a checkpoint."""
    return safetensors.torch.save({k: v.contiguous().cpu() for k, v in model.state_dict().items()})


def _tokens(settings: RunSettings, parts: Parts) -> int:
    """Return the number of tokens that an epoch trains on."""
    return len(parts.train.inputs) // settings.training.batch * settings.training.batch


def _label(settings: RunSettings) -> str:
    return f"{settings.about}, seed {settings.seed}"


def _initial_model(definition: dict[str, Any]) -> RecurrentModel:
    shape = ModelSettings(**definition["model"])
    return RecurrentModel(
        shape, words=definition["words"], classes=definition["classes"], seed=definition["seed"]
    )


def _definition(settings: RunSettings, parts: Parts, way: Way | None) -> dict[str, Any]:
    """All that decides the weights, less the number of epochs."""
    how = asdict(settings.training)
    del how["epochs"]
    return {
        "about": settings.about,
        "seed": settings.seed,
        "model": asdict(settings.model),
        "training": how,
        "words": len(settings.words),
        "classes": len(settings.classes),
        "tokens": _tokens(settings, parts),
        "vocabulary": _fingerprint(settings.words),
        "class_names": _fingerprint(settings.classes),
        "examples": _examples_fingerprint(parts),
        **({"way": way.name, "code": way.code} if way else {"code": code_fingerprint(training.epochs)}),
    }


def _check_ids(settings: RunSettings, parts: Parts) -> None:
    if broken := [word for word in settings.words if "\n" in word]:
        raise ValueError(f"a word has no line break in it, got {broken[0]!r}; clean the text")
    for part, examples in parts._asdict().items():
        if examples is None:
            continue
        counts = len(examples.inputs), len(examples.targets)
        if counts[0] != counts[1]:
            raise ValueError(
                f"the {part} part needs a target for each input, got {counts[1]} for {counts[0]}; "
                "`Examples.next_word` cuts a text into both"
            )
        for what, ids, known in zip(
            ("inputs", "targets"), examples, (settings.words, settings.classes), strict=True
        ):
            if len(ids) == 0:
                raise ValueError(f"the {part} part needs {what}, got none; use more text")
            if ids.min() < 0 or ids.max() >= len(known):
                raise ValueError(
                    f"the {part} {what} need ids from 0 to {len(known) - 1}, got {ids.min()} to {ids.max()}; "
                    "encode them with the vocabulary that the settings name"
                )
    if len(parts.train.inputs) < settings.training.batch:
        raise ValueError(
            f"a batch of {settings.training.batch} streams needs at least {settings.training.batch} tokens, "
            f"got {len(parts.train.inputs)}; use more text"
        )


def _remedy() -> str:
    return (
        "train the run once more, by the chapter that did or by `runs.train` with the same settings and "
        "examples: it is made again, a checkpoint from the epoch before it, to the same bits"
    )


def _damage_error(path: Path, why: str) -> RunError:
    if path.name == "log.json":  # without it nobody knows what the checkpoints should be
        return RunError(f"{path} is damaged ({why}); delete {path.parent} to train it again")
    return RunError(f"{path} is damaged ({why}); delete it, and {_remedy()}")


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RunError(f"{path.parent} is not a run: it has no {path.name}") from error
    except (ValueError, OSError) as error:
        raise _damage_error(path, str(error)) from error


def _json(content: Any) -> bytes:
    return (json.dumps(content, indent=1) + "\n").encode()


def _hash(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def _row_hash(rows: list[dict[str, Any]], row: dict[str, Any]) -> str:
    return _hash([*rows, {name: value for name, value in row.items() if name != "so_far"}])


def _fingerprint(names: Sequence[str]) -> str:
    return _hash(list(names))


def _examples_fingerprint(parts: Parts) -> str:
    digest = hashlib.sha256()
    for examples in parts:
        for column in examples or ():
            digest.update(f"{len(column)} ".encode())
            digest.update(np.ascontiguousarray(column, np.int64).tobytes())
    return digest.hexdigest()[:16]

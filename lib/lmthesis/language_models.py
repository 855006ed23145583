"""The language models that the chapters share, one per seed, trained once for all of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from lmdynamics.ground import grid
from lmdynamics.ground.progress import report
from lmdynamics.models import runs
from lmdynamics.models.runs import Checkpoint, Run, RunSettings
from lmdynamics.models.training import mean_loss
from lmdynamics.text import vocabulary
from lmdynamics.text.streams import Examples, Parts
from lmdynamics.text.vocabulary import PreparedText
from lmthesis.scales import Settings


@dataclass(frozen=True)
class LanguageModels:
    """A text and the models that were trained on it."""

    text: PreparedText
    runs: tuple[Run, ...]
    epochs: int
    """Passes over the training part; a run on disk may hold more."""

    def of_seed(self, seed: int) -> Run:
        """Return the run of a seed."""
        (run,) = (run for run in self.runs if run.settings["seed"] == seed)
        return run

    @property
    def tokens(self) -> int:
        """That a model reads in an epoch."""
        return int(self.runs[0].settings["tokens"])

    @property
    def seeds(self) -> tuple[int, ...]:
        """Of the models, in their order."""
        return tuple(run.settings["seed"] for run in self.runs)


def trained(scale: Settings) -> LanguageModels:
    """Return the language models of a scale, one run for each of its seeds, training what is missing.

    Independent trainings run side by side, one processor each: so the result does not depend on how many
    processors there are.
    """
    text = prepared(scale)
    return LanguageModels(text, tuple(grid.results(runs.train, jobs(scale, text))), scale.epochs)


def jobs(scale: Settings, text: PreparedText) -> list[tuple[RunSettings, Parts]]:
    """What `runs.train` is to be called with, once for each seed."""
    parts = Parts(*(Examples.next_word(part.ids) for part in (text.train, text.dev, text.test)))
    words = text.vocabulary.words
    return [
        (
            RunSettings(
                model=scale.model,
                training=scale.training,
                words=words,
                classes=words,
                seed=seed,
                about=f"language model of {text.corpus.name}",
                snapshots=True,
            ),
            parts,
        )
        for seed in scale.seeds
    ]


def prepared(scale: Settings) -> PreparedText:
    """Return the text of a scale, split and encoded."""

    def progress(done: int, total: int | None) -> None:
        report(f"reading {scale.corpus}: {done} of {total or 'unknown number of'} articles")

    return vocabulary.prepare(scale.text, progress=progress)


def loss_table(models: LanguageModels) -> pd.DataFrame:
    """Return the losses of each seed after each epoch.

    Returns
    -------
    pandas.DataFrame
        One row per seed and epoch: `seed, epoch, steps, learning_rate, rescaled, train_loss, dev_loss,
        test_loss` (nats per token) and `test_perplexity`.
    """
    logs = pd.concat([run.log for run in models.runs], ignore_index=True)
    logs = logs[logs["epoch"] <= models.epochs].drop(columns="seconds")
    return logs.assign(test_perplexity=np.exp(logs["test_loss"])).reset_index(drop=True)


def early_loss_table(models: LanguageModels) -> pd.DataFrame:
    """Return the loss on the test part at the snapshots within the first epoch.

    Returns
    -------
    pandas.DataFrame
        One row per seed and snapshot: `seed, epoch` (below 1)`, steps, tokens_read, test_loss` and
        `test_perplexity`.
    """
    examples = Examples.next_word(models.text.test.ids)
    losses = grid.table(early_losses, [(run, examples) for run in models.runs])
    return losses.assign(test_perplexity=np.exp(losses["test_loss"]))


def early_losses(run: Run, examples: Examples) -> pd.DataFrame:
    """Return the loss of one model at its snapshots, on some examples: rows of `early_loss_table`."""
    rows = []
    for moment in early(run):
        report(f"loss within the first epoch, seed {run.settings['seed']}, step {moment.step}")
        rows.append({**about(run, moment), "test_loss": mean_loss(run.at(moment), examples)})
    return pd.DataFrame(rows, columns=["seed", "epoch", "steps", "tokens_read", "test_loss"])


def early(run: Run) -> list[Checkpoint]:
    """The snapshots of a run within its first epoch."""
    return [moment for moment in run.checkpoints() if 0 < moment.epoch < 1]


def about(run: Run, moment: Checkpoint) -> dict[str, Any]:
    """The columns that name a moment of a run: `seed, epoch, steps, tokens_read`."""
    return {
        "seed": run.settings["seed"],
        "epoch": moment.epoch,
        "steps": moment.step,
        "tokens_read": moment.tokens_read,
    }


def on_axis(tables: Mapping[str, pd.DataFrame], tokens: int) -> dict[str, pd.DataFrame]:
    """Return tables with a column `tokens_read` beside that of epochs, where they have one.

    Parameters
    ----------
    tables
        By name.
    tokens
        That a model reads in an epoch.
    """
    with_tokens = {}
    for name, table in tables.items():
        if "epoch" in table and "tokens_read" not in table:
            columns = list(table.columns)
            at = columns.index("epoch") + 1
            table = table.assign(tokens_read=table["epoch"].astype(np.int64) * tokens)
            table = table[[*columns[:at], "tokens_read", *columns[at:]]]
        with_tokens[name] = table
    return with_tokens


def properties(scale: Settings, paper: Settings, text: PreparedText) -> dict[str, tuple[str, str]]:
    """What a scale trains, beside the paper's own numbers (thesis chapter 4, section 3).

    Returns
    -------
    dict of str to pair of str
        By property: what this run has, and what the paper reports.
    """
    both = (scale, paper)
    return {
        "text": (text.corpus.name, "English Wikipedia"),
        "tokens to train on": (f"{len(text.train.ids):,}", "227 million"),
        "tokens to test on": (f"{len(text.test.ids):,}", "not stated; a fifth of its text"),
        "vocabulary": (f"{len(text.vocabulary):,} words", "20 thousand words"),
        "rarest word kept": _of(both, lambda each: f"{each.min_count} tokens"),
        "sentences with rarer words": _of(
            both, lambda each: "left out" if each.drop_rare_sentences else "kept, the words as <unk>"
        ),
        "sentences with a formula or unread template": (f"{text.corpus.left_out:,} left out", "not stated"),
        "LSTM layers × units": _of(both, lambda each: f"{each.layers} × {each.units}"),
        "dropout": _of(both, lambda each: f"{each.dropout}"),
        "batch × backpropagation": _of(both, lambda each: f"{each.batch} × {each.steps_back} tokens"),
        "first learning rate": _of(both, lambda each: f"{each.learning_rate:g}"),
        "largest gradient norm": _of(both, lambda each: f"{each.clip:g}"),
        "epochs": _of(both, lambda each: f"{each.epochs}"),
        "scale": (scale.name, paper.name),
    }


def _of(both: tuple[Settings, Settings], say: Any) -> tuple[str, str]:
    one, other = map(say, both)
    return one, other

"""The language models that the chapters share, one per seed, trained once for all of them."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import joblib
import numpy as np
import pandas as pd
import torch
from jaxtyping import Int32
from joblib.externals.loky import get_reusable_executor

from lmdynamics.ground.progress import report
from lmdynamics.ground.provenance import code_fingerprint, require_code
from lmdynamics.models import runs
from lmdynamics.models.runs import Run, RunSettings
from lmdynamics.observe import activations
from lmdynamics.text import vocabulary
from lmdynamics.text.streams import Examples, Parts
from lmdynamics.text.vocabulary import PreparedText
from lmthesis.scales import THESIS, Scale

Settings = TypeVar("Settings", bound=Any)


@dataclass(frozen=True)
class LanguageModels:
    """A text and the models that were trained on it."""

    text: PreparedText
    runs: tuple[Run, ...]
    epochs: int
    """Passes over the training part; a run on disk may hold more."""
    compared_tokens: int | None = None
    """Of a test part on which layers are compared; None for all."""

    def compared(self, text: PreparedText) -> Int32[np.ndarray, " tokens"]:
        """Return the tokens of a text's test part on which layers are compared."""
        return activations.spread(text.test.ids, self.compared_tokens)

    def of_seed(self, seed: int) -> Run:
        """Return the run of a seed."""
        (found,) = (run for run in self.runs if run.settings["seed"] == seed)
        return found


def trained(scale: Scale) -> LanguageModels:
    """Return the language models of a scale, one run for each of its seeds, training what is missing.

    Independent trainings run side by side, one processor each: so the result does not depend on how many
    processors there are.
    """
    text = prepared(scale)
    found = parallel(runs.train, jobs(scale, text))
    return LanguageModels(text, tuple(found), scale.training.epochs, scale.compared_tokens)


def jobs(scale: Scale, text: PreparedText) -> list[tuple[RunSettings, Parts]]:
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
            ),
            parts,
        )
        for seed in scale.seeds
    ]


def prepared(scale: Scale) -> PreparedText:
    """Return the text of a scale, split and encoded."""

    def progress(done: int, total: int | None) -> None:
        report(f"reading {scale.corpus.corpus}: {done} of {total or 'unknown number of'} articles")

    return vocabulary.prepare(scale.corpus, progress=progress)


def described(scale: Scale) -> pd.DataFrame:
    """What a scale trains, beside the paper's own numbers (thesis chapter 4, section 3).

    Returns
    -------
    pandas.DataFrame
        One row per property: `this run` and `paper`, as text.
    """
    text, paper = prepared(scale), THESIS
    rows = {
        "text": (text.corpus.name, "English Wikipedia"),
        "tokens to train on": (f"{len(text.train.ids):,}", "227 million"),
        "tokens to test on": (f"{len(text.test.ids):,}", "not stated; a fifth of its text"),
        "tokens to compare layers on": (
            f"{len(activations.spread(text.test.ids, scale.compared_tokens)):,}",
            "191 thousand, with taggers",
        ),
        "vocabulary": (f"{len(text.vocabulary):,} words", "20 thousand words"),
        "rarest word kept": tuple(f"{each.corpus.min_count} tokens" for each in (scale, paper)),
        "sentences with rarer words": tuple(
            "left out" if each.corpus.drop_rare_sentences else "kept, the words as <unk>"
            for each in (scale, paper)
        ),
        "LSTM layers × units": tuple(f"{each.model.layers} × {each.model.units}" for each in (scale, paper)),
        "dropout": tuple(f"{each.model.dropout}" for each in (scale, paper)),
        "batch × backpropagation": tuple(
            f"{each.training.batch} × {each.training.steps_back} tokens" for each in (scale, paper)
        ),
        "first learning rate": tuple(f"{each.training.learning_rate:g}" for each in (scale, paper)),
        "largest gradient norm": tuple(f"{each.training.clip:g}" for each in (scale, paper)),
        "epochs": tuple(f"{each.training.epochs}" for each in (scale, paper)),
        "seeds": (", ".join(map(str, scale.seeds)), "two models"),
        "scale": (scale.name, paper.name),
    }
    return pd.DataFrame.from_dict(rows, orient="index", columns=["this run", "paper"])


def varied(
    scale: Scale,
    *,
    corpus: str | None = None,
    articles: int | None = None,
    epochs: int | None = None,
    seeds: Sequence[int] | None = None,
    min_count: int | None = None,
    tagger_epochs: int | None = None,
    topics: int | None = None,
) -> Scale:
    """Return a scale with some settings exchanged; None keeps the scale's own."""
    return _exchanged(
        scale,
        corpus=_exchanged(scale.corpus, corpus=corpus, articles=articles, min_count=min_count),
        training=_exchanged(scale.training, epochs=epochs),
        tasks=_exchanged(scale.tasks, epochs=tagger_epochs, topics=topics),
        seeds=None if seeds is None else tuple(seeds),
    )


def _exchanged(settings: Settings, **values: Any) -> Settings:
    return replace(settings, **{name: value for name, value in values.items() if value is not None})


def parallel(function: Callable[..., Any], arguments: Iterable[tuple[Any, ...]]) -> list[Any]:
    """Call a function with each tuple of arguments, each call on one processor, or all on one GPU.

    Raises
    ------
    RuntimeError
        If the function was edited since this process imported it: other processes would run it as it is now.
    """
    arguments, code = list(arguments), code_fingerprint(function.__module__)
    jobs = 1 if torch.cuda.is_available() else min(len(arguments), joblib.cpu_count())
    found = joblib.Parallel(n_jobs=jobs)(joblib.delayed(_on_one)(function, each, code) for each in arguments)
    get_reusable_executor().shutdown()  # idle workers hold memory, and warn when the interpreter ends
    return found


def _on_one(function: Callable[..., Any], arguments: tuple[Any, ...], code: str | None = None) -> Any:
    if code is not None:
        require_code(code, function.__module__)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return function(*arguments)
    finally:
        torch.set_num_threads(before)

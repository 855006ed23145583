"""Chapter 6: how sparse the layers of language models and their gradients are, word by word, over training.

One pass over some text for each checkpoint: χ and its companions of each layer and of its gradient at every
token, summed by target word and by input word, and correlated with the frequency of the words (thesis chapter
6, section 3). The same is done to control models: of other widths, and of text whose words stand in random
order.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from lmdynamics.ground import grid
from lmdynamics.ground.progress import report
from lmdynamics.measures import sparsity, trees, words
from lmdynamics.measures.words import Correlation, WordSums
from lmdynamics.models import runs
from lmdynamics.models.recurrent import RecurrentModel
from lmdynamics.models.runs import Checkpoint, Run, RunSettings
from lmdynamics.observe import activations, gradients
from lmdynamics.observe.gradients import LOGITS, GradientError
from lmdynamics.text.streams import Examples, Parts
from lmdynamics.text.vocabulary import PreparedText
from lmthesis import language_models
from lmthesis.chapter_6.settings import Settings
from lmthesis.language_models import LanguageModels

MAIN = "language model"
"""The models of chapter 4, beside which others are controls."""
SHUFFLED = "shuffled text"
"""Models that were trained, and are measured, on words in random order."""
SIDES = ("target", "input")
"""Whether a token's representation is that of the word which it is to predict, or of the word just read."""
CLASSES = ("open", "closed", "other")
"""Of words, by the part of speech of most of their tokens."""
GROUPS = ("all", "open", "closed", "open, matched", "closed, matched")
"""Over which words a correlation is taken."""
TAXICAB = "taxicab"
"""The norm ‖·‖₁, among the names of measures."""
FREQUENT = 100_000 / 227e6
"""Share of all tokens from which on a word is frequent (thesis chapter 6, figure 2)."""
LEAST_TOKENS = (1, 2, 5, 10, 20, 50, 100)
"""Tokens that words are asked to have, to see how noise in the means of rare ones counts."""
STREAMS = 40
"""Pieces of text that are read side by side."""


@dataclass(frozen=True)
class MeasuredText:
    """The text that one kind of model is measured on, and what is known of its words."""

    examples: Examples
    frequency: Int64[np.ndarray, " words"]
    """Tokens of each word in the training part."""
    classes: Int64[np.ndarray, " words"]
    """Index into `CLASSES`; -1 for `<unk>`, which is left out."""
    groups: dict[str, Bool[np.ndarray, " words"]]
    """Words of each of `GROUPS` that has any."""
    steps_back: int


@dataclass(frozen=True)
class SparseModels:
    """Language models, their controls, and the texts on which both are measured."""

    models: LanguageModels
    controls: dict[str, tuple[Run, ...]]
    texts: dict[str, MeasuredText]
    """By kind of model; those of other widths are measured on the same text as `MAIN`."""
    control_epochs: int


def trained(scale: Settings, text: PreparedText) -> SparseModels:
    """Return the language models of a scale on its text, and their controls, training what is missing."""
    texts = {MAIN: measured_text(scale, text), SHUFFLED: measured_text(scale, text, shuffled=True)}
    controls = dict(_control_jobs(scale, text))
    kinds = [language_models.jobs(scale, text), *controls.values()]
    every_run = iter(grid.results(runs.train, [job for jobs in kinds for job in jobs]))
    main, *others = (tuple(next(every_run) for _ in jobs) for jobs in kinds)
    return SparseModels(
        LanguageModels(text, main, scale.epochs),
        dict(zip(controls, others, strict=True)),
        texts,
        control_epochs(scale),
    )


def jobs(scale: Settings, text: PreparedText) -> list[tuple[RunSettings, Parts]]:
    """What `runs.train` is to be called with, for language models and controls."""
    controls = [job for _, of_kind in _control_jobs(scale, text) for job in of_kind]
    return [*language_models.jobs(scale, text), *controls]


def control_epochs(scale: Settings) -> int:
    """Passes of the control models over the training part."""
    return min(scale.control_epochs, scale.epochs)


def _control_jobs(
    scale: Settings, text: PreparedText
) -> Iterator[tuple[str, list[tuple[RunSettings, Parts]]]]:
    """What the controls are called, and how they are trained."""
    shorter = replace(scale, epochs=control_epochs(scale))
    mixed = _shuffled(text)
    about = f"language model of {text.corpus.name}, {SHUFFLED}"
    yield (
        SHUFFLED,
        [(replace(one, about=about), mixed) for one, _ in language_models.jobs(shorter, text)],
    )
    for units in scale.widths:
        yield f"{units} units", language_models.jobs(replace(shorter, units=units), text)


def _shuffled(text: PreparedText) -> Parts:
    """Each part with its words in random order."""
    random = np.random.default_rng(0)
    return Parts(
        *(Examples.next_word(random.permutation(part.ids)) for part in (text.train, text.dev, text.test))
    )


def measured_text(scale: Settings, text: PreparedText, *, shuffled: bool = False) -> MeasuredText:
    """Return the text of a scale on which sparsity is measured.

    Raises
    ------
    ValueError
        If the corpus has no tags of part of speech.
    """
    if "pos" not in text.corpus.tags:
        raise ValueError(
            f"classes of words need a corpus with parts of speech, got {text.corpus.name!r} without; "
            "set annotate=True in its settings"
        )
    size = len(text.vocabulary)
    part = getattr(text, scale.part)
    examples = getattr(_shuffled(text), scale.part) if shuffled else Examples.next_word(part.ids)
    tags = text.corpus.tags["pos"]
    tag = words.majority_class(
        text.train.ids, tags.codes[text.train.source], words=size, least=scale.min_count
    )
    classes = np.where(tag >= 0, trees.word_classes(tags.values)[tag], 2)
    classes[0] = -1
    frequency = np.array(text.vocabulary.counts)
    return MeasuredText(
        Examples(*(activations.spread(each, scale.tokens, streams=STREAMS) for each in examples)),
        frequency,
        classes,
        _groups(frequency, classes, scale.matched),
        scale.steps_back,
    )


def _groups(
    frequency: Int64[np.ndarray, " words"], classes: Int64[np.ndarray, " words"], size: int
) -> dict[str, Bool[np.ndarray, " words"]]:
    """Words of each group; those that are matched are missing where there are too few."""
    groups = {"all": classes >= 0, **{name: classes == CLASSES.index(name) for name in CLASSES[:2]}}
    places = [np.flatnonzero(groups[name]) for name in CLASSES[:2]]
    if min(map(len, places)) >= size:
        chosen = words.matched(frequency[places[0]], frequency[places[1]], size)
        for name, place, at in zip(CLASSES, places, chosen, strict=False):
            groups[f"{name}, matched"] = np.isin(np.arange(len(classes)), place[at])
    return groups


def tables(sparse: SparseModels) -> dict[str, pd.DataFrame]:
    """Return how sparse layers and gradients are, by word and over words.

    Returns
    -------
    dict[str, pandas.DataFrame]
        Rows of all begin with `seed` and `epoch`, and those of all but `words` name the `model` (`MAIN`,
        `SHUFFLED` or a width); controls have one epoch only.

        `words`, of `MAIN` alone: one row per `seed`, `epoch`, `side` (of `SIDES`) and `word` (its id): number
        of `tokens` measured, their mean χ by layer, ``activation e`` to ``gradient logits``, and the mean
        norm of the gradient at the top layer, ``taxicab gradient h2``.
        `rho`: the `correlation` over the `words` of a `group` with their frequency, by `how` it is taken,
        `side`, `layer`, `kind` (activation, gradient, or own: the gradient of the token's own loss, after
        the last epoch) and `measure`; `low` and `high` end its interval over words, whose `mean` is there
        too. For groups other than all words: of the gradient at the top layer, by target, alone.
        `class_effects`: of least squares of a word's χ of the gradient at the top layer, over target words of
        open and closed classes: the `coefficient` of a `feature`, its being of a closed class, beside a
        constant for each half octave of frequency; `low` and `high` end its interval over words.
        `levels`: the `mean` over all tokens by `layer`, `kind` and `measure`, and the number of `units`.
        `noise`: the `correlation` of χ of the gradient at the top layer with target frequency, over `words`
        with `least` tokens or more, each with all its `tokens` or with just as many as `least`.
        `undefined`: the `number` of zero vectors by `layer` and `kind`.

        What has an interval over words is there over some samples of them too, and so are means of matched
        groups: see `bootstrap.sample_columns`. A sample is of the same words in all tables.
    """
    last = sparse.models.epochs
    jobs = [
        (MAIN, sparse.texts[MAIN], run, epoch, epoch == last)
        for epoch in reversed(range(last + 1))
        for run in sparse.models.runs
    ]
    jobs += [
        (name, sparse.texts[SHUFFLED if name == SHUFFLED else MAIN], run, sparse.control_epochs, False)
        for name, of_name in sparse.controls.items()
        for run in of_name
    ]
    by_name = grid.tables(sparsities, jobs)
    keys = {
        name: [key for key in ("model", "seed", "epoch") if key in rows] for name, rows in by_name.items()
    }
    return {
        name: rows.sort_values(keys[name], kind="stable", ignore_index=True) for name, rows in by_name.items()
    }


def measures_of(layer: str) -> tuple[str, ...]:
    """What is measured of a layer; of the many logits only what needs no sorting."""
    sorting = () if layer == LOGITS else ("gini", "spare_units")
    return ("chi", "hoyer", *sorting, TAXICAB)


def measures(layer: str, values: Float[Tensor, "tokens units"]) -> Float[Tensor, "tokens measures"]:
    """Measure each token's vector, of a layer or of a gradient: `measures_of` the layer, side by side."""
    taxicab, euclidean = (norm.to(values.dtype) for norm in sparsity.norms(values))
    chi = euclidean / taxicab
    by_measure = {"chi": chi, "hoyer": sparsity.stretched(chi, values.shape[-1]), TAXICAB: taxicab}
    return torch.stack(
        [
            by_measure[name] if name in by_measure else sparsity.MEASURES[name](values)
            for name in measures_of(layer)
        ],
        -1,
    )


def sparsities(name: str, text: MeasuredText, run: Run, epoch: int, own: bool) -> dict[str, pd.DataFrame]:
    """Return how sparse one model is after one epoch: rows of the `tables`.

    Parameters
    ----------
    name
        Of the kind of model: `MAIN`, `SHUFFLED` or a width.
    text
        On which it is measured.
    run, epoch
        The model.
    own
        Whether to measure the gradient of each token's own loss too, and how noise counts.
    """
    seed = run.settings["seed"]
    label = name if name == MAIN else f"{MAIN} ({name})"
    report(f"sparsity of the {label}, seed {seed}, epoch {epoch}")
    try:
        sums, noise = _sums(text, run, run.checkpoints(epoch)[-1], own=own)
    except GradientError as error:
        raise GradientError(f"the {label} of seed {seed} after epoch {epoch}: {error}") from error
    tables = {
        "rho": pd.concat([_rho(sums[side], side, text, run) for side in SIDES], ignore_index=True),
        "class_effects": _class_effects(sums["target"], text, run),
        "levels": _levels(sums[SIDES[0]], run),
        "undefined": _undefined_table(sums[SIDES[0]]),
    }
    if noise:
        tables["noise"] = _noise_table(noise, sums["target"], text, run)
    about: dict[str, Any] = {"model": name, "seed": seed, "epoch": epoch}
    tables = {name: table.assign(**about)[[*about, *table.columns]] for name, table in tables.items()}
    if name == MAIN:
        table = pd.concat([_by_word(sums[side], side, run) for side in SIDES], ignore_index=True)
        # many rows: small numbers in few bytes
        small = {key: np.min_scalar_type(about[key]).type(about[key]) for key in ("seed", "epoch")}
        tables["words"] = table.assign(**small)[[*small, *table.columns]]
    return tables


def early_table(sparse: SparseModels) -> pd.DataFrame:
    """Return what correlates with frequency at snapshots within the first epoch.

    Returns
    -------
    pandas.DataFrame
        Rows as in `rho` of `tables`, of χ alone, with `steps` and `tokens_read`.
    """
    jobs = [
        (sparse.texts[MAIN], run, moment)
        for run in sparse.models.runs
        for moment in language_models.early(run)
    ]
    if not jobs:
        return pd.DataFrame(
            columns=["model", "seed", "epoch", "steps", "tokens_read", "side", "layer", "kind"]
        )
    return grid.table(early_sparsities, jobs)


def early_sparsities(text: MeasuredText, run: Run, moment: Checkpoint) -> pd.DataFrame:
    """Return what correlates with frequency in one model at a snapshot: rows of `early_table`."""
    about = {"model": MAIN, **language_models.about(run, moment)}
    report(f"sparsity of the {MAIN}, seed {about['seed']}, step {moment.step}")
    sums, _ = _sums(text, run, moment, own=False)
    table = pd.concat([_rho(sums[side], side, text, run) for side in SIDES], ignore_index=True)
    table = table.loc[table["measure"] == "chi", ~table.columns.str.contains("_sample_")]
    return table.assign(**about)[[*about, *table.columns]]


def top_layer(run: Run) -> str:
    """Name of the layer that the decoder reads."""
    return f"h{run.settings['model']['layers']}"


def _column(kind: str, layer: str, measure: str) -> str:
    return f"{kind}/{layer}/{measure}"


def columns_of(model: RecurrentModel, *, own: bool = False) -> list[str]:
    """Names of what is measured of a token, in the order of `values_of`: kind, layer and measure."""
    layers = {layer: measures_of(layer) for layer in (*model.layers, LOGITS)}
    kinds = {"activation": layers, "gradient": layers}
    if own:
        kinds["own"] = {layer: layers[layer] for layer in model.layers}
        kinds["later"] = dict.fromkeys(model.layers, ("share",))
    return [
        _column(kind, layer, measure)
        for kind, of_kind in kinds.items()
        for layer, measures in of_kind.items()
        for measure in measures
    ]


def values_of(block: gradients.Block) -> Float[Tensor, "tokens columns"]:
    """All that was measured of the tokens of a block, side by side."""
    later = {layer: share[:, None] for layer, share in block.later.items()}
    parts = (block.activations, block.gradients, block.own, later)
    return torch.cat([values for part in parts for values in part.values()], 1)


def _sums(
    text: MeasuredText, run: Run, moment: Checkpoint, *, own: bool
) -> tuple[dict[str, WordSums], dict[int, WordSums]]:
    """Sums by target and by input word; and by target over a few random tokens of each word."""
    model = run.at(moment)
    columns = columns_of(model, own=own)
    sums = {side: WordSums(len(text.frequency), columns) for side in SIDES}
    top = columns.index(_column("gradient", top_layer(run), "chi"))
    which = torch.from_numpy(words.occurrences(text.examples.targets, seed=0))
    noise = {least: WordSums(len(text.frequency), ["chi"]) for least in LEAST_TOKENS} if own else {}
    inputs, targets = (torch.from_numpy(each.astype(np.int64)) for each in text.examples)
    for block in gradients.blocks(
        model,
        text.examples,
        measure=measures,
        own=own,
        streams=STREAMS,
        steps_back=text.steps_back,
        name=f"step {moment.step} in {run.folder.name}",
    ):
        values = values_of(block)
        sums["target"].update(targets[block.tokens], values)
        sums["input"].update(inputs[block.tokens], values)
        for least, few in noise.items():
            chosen = which[block.tokens] < least
            few.update(targets[block.tokens][chosen], values[chosen.to(values.device), top, None])
    return sums, noise


def _rho(sums: WordSums, side: str, text: MeasuredText, run: Run) -> pd.DataFrame:
    means, top = sums.means(), f"gradient/{top_layer(run)}/"
    parts = []
    for group, chosen in text.groups.items():
        if group != "all" and side != "target":
            continue
        columns = [
            n
            for n, column in enumerate(sums.columns)
            if not column.startswith("later/") and (group == "all" or column.startswith(top))
        ]
        own = np.where(chosen[:, None], means[:, columns], np.nan)
        for how in get_args(Correlation):
            rows = _correlations(own, text.frequency, [sums.columns[n] for n in columns], how)
            if how != "pearson" or "matched" not in group:  # means are compared there alone
                rows = rows.loc[:, ~rows.columns.str.startswith("mean_sample")]
            parts.append(rows.assign(side=side, group=group, how=how))
    table = pd.concat(parts, ignore_index=True)
    table[["kind", "layer", "measure"]] = table.pop("column").str.split("/", expand=True).to_numpy()
    place = ["side", "layer", "kind", "measure", "group", "how"]
    return table[[*place, *table.columns.drop(place)]]


def _correlations(
    means: np.ndarray, frequency: np.ndarray, columns: Sequence[str], how: Correlation
) -> pd.DataFrame:
    """Correlations of the columns that vary over three words or more; a word counts where it is not NaN."""
    finite = np.isfinite(means)
    kept = [
        n
        for n, own in enumerate(finite.T)
        if own.sum() > 2 and all(len(np.unique(each[own])) > 1 for each in (means[:, n], frequency))
    ]
    if not kept:
        return pd.DataFrame(columns=["column", "words", "mean", "correlation", "low", "high"])
    return words.correlations(means[:, kept], frequency, [columns[n] for n in kept], how=how)


def _class_effects(sums: WordSums, text: MeasuredText, run: Run) -> pd.DataFrame:
    values = sums.means()[:, sums.columns.index(_column("gradient", top_layer(run), "chi"))]
    chosen = np.isin(text.classes, (0, 1)) & np.isfinite(values)
    closed = text.classes == CLASSES.index("closed")
    half_octave = np.floor(2 * np.log2(np.maximum(text.frequency, 1))).astype(int)
    bins = {
        f"frequency {each}": (half_octave == each).astype(float) for each in np.unique(half_octave[chosen])
    }
    shared = np.intersect1d(half_octave[chosen & closed], half_octave[chosen & ~closed])
    if not len(shared) or chosen.sum() < len(bins) + 3:
        return pd.DataFrame(columns=["feature", "coefficient", "low", "high"])
    features = {"closed class": closed.astype(float), **bins}
    table = words.coefficients(np.where(chosen, values, np.nan), features)
    return table[table["feature"] == "closed class"]


def _levels(sums: WordSums, run: Run) -> pd.DataFrame:
    rows = [
        {
            **dict(zip(("kind", "layer", "measure"), column.split("/"), strict=True)),
            "units": run.settings["classes"] if f"/{LOGITS}/" in column else run.settings["model"]["units"],
            "mean": mean,
        }
        for column, mean in sums.overall().items()
    ]
    return pd.DataFrame(rows)


def _undefined_table(sums: WordSums) -> pd.DataFrame:
    rows = [
        {**dict(zip(("kind", "layer"), column.split("/"), strict=False)), "number": number}
        for column, number in sums.undefined.items()
        if column.endswith("/chi")
    ]
    return pd.DataFrame(rows)


def _by_word(sums: WordSums, side: str, run: Run) -> pd.DataFrame:
    means, counts = sums.means(), sums.counts().max(1)
    kept = np.flatnonzero(counts)
    chosen = {
        column: f"{column.split('/')[0]} {column.split('/')[1]}"
        for column in sums.columns
        if column.endswith("/chi") and not column.startswith("own/")
    }
    chosen[_column("gradient", top_layer(run), TAXICAB)] = f"{TAXICAB} gradient {top_layer(run)}"
    values = {
        label: means[kept, sums.columns.index(column)].astype(np.float32) for column, label in chosen.items()
    }
    return pd.DataFrame(
        {"side": side, "word": kept.astype(np.int32), "tokens": counts[kept].astype(np.int32), **values}
    ).astype({"side": pd.CategoricalDtype(list(SIDES))})


def _noise_table(noise: dict[int, WordSums], whole: WordSums, text: MeasuredText, run: Run) -> pd.DataFrame:
    at = whole.columns.index(_column("gradient", top_layer(run), "chi"))
    counts = whole.counts()[:, at]
    parts = []
    for least, few in noise.items():
        chosen = text.groups["all"] & (counts >= least)
        for tokens, means in (("all", whole.means()[:, at]), ("as many", few.means()[:, 0])):
            for how in get_args(Correlation):
                own = np.where(chosen, means, np.nan)[:, None]
                rows = _correlations(own, text.frequency, ["chi"], how)
                rows = rows.loc[:, ~rows.columns.str.startswith(("column", "mean"))]
                parts.append(rows.assign(least=least, tokens=tokens, how=how))
    table = pd.concat(parts, ignore_index=True)
    place = ["least", "tokens", "how"]
    return table[[*place, *table.columns.drop(place)]]


def frequent(words: pd.DataFrame) -> pd.DataFrame:
    """Rows of the table `words` of words that are frequent targets."""
    rows = words[words["side"] == "target"]
    whole = rows.groupby(["seed", "epoch"])["tokens"].transform("sum")
    return rows[(rows["tokens"] >= FREQUENT * whole) & (rows["word"] > 0)]


def frequent_table(words: pd.DataFrame) -> pd.DataFrame:
    """Return mean χ of the gradient at the top layer over frequent target words.

    Returns
    -------
    pandas.DataFrame
        One row per `seed` and `epoch`: the `mean`, and over how many `words`.
    """
    top = next(column for column in map(str, words) if column.startswith(TAXICAB)).removeprefix(f"{TAXICAB} ")
    groups = frequent(words).astype({top: float}).groupby(["seed", "epoch"])[top]
    return groups.agg(mean="mean", words="size").reset_index()


def excluded_table(sparse: SparseModels, matched: int) -> pd.DataFrame:
    """What was left out of the correlations, and how often.

    Returns
    -------
    pandas.DataFrame
        One row per reason: `left out`, `number`.
    """
    text, vocabulary = sparse.texts[MAIN], len(sparse.models.text.vocabulary)
    seen = {
        side: np.bincount(each, minlength=vocabulary)[1:]
        for side, each in zip(reversed(SIDES), text.examples, strict=True)
    }
    rows = {
        f"words that are never the {side} in the measured text": (seen[side] == 0).sum() for side in SIDES
    }
    rows["tokens to predict that are unknown words"] = (text.examples.targets == 0).sum()
    rows["words of neither open nor closed class (in the comparison of classes)"] = (
        text.classes == CLASSES.index("other")
    ).sum()
    if GROUPS[-1] not in text.groups:
        few = min(int(text.groups[name].sum()) for name in CLASSES[:2])
        rows[f"words of the smaller class: too few for a matched sample of {matched}"] = few
    return pd.DataFrame({"left out": list(rows), "number": [int(n) for n in rows.values()]})

"""Findings of chapter 4: layers, seeds, probes and taggers."""

from pathlib import Path

import numpy as np
import pandas as pd

from lmdynamics.claims import Claims, Margins, OutOfReachError, Threshold, within

CLAIMS = Claims(dates=Path(__file__).with_name("rules.csv"))
"""By name."""
FLAT = Threshold(
    0.05,
    tried=(0.01, 0.02, 0.03, 0.07, 0.1, 0.15),
    meaning="largest change of an accuracy that is called none",
)
MOVED = Threshold(
    0.05, tried=(0.01, 0.02, 0.1, 0.2, 0.3, 0.4), meaning="least change of a similarity that is called one"
)
WELL_BELOW = Threshold(
    0.8,
    tried=(0.5, 0.6, 0.64, 0.7, 0.9, 0.95),
    meaning="similarity below which two layers are far from alike",
)
SHARED_SHAPE = Threshold(
    0.5,
    tried=(0.1, 0.3, 0.7, 0.8, 0.9),
    meaning="least correlation of curves that are called of similar shape",
)
RECURRENT = ("h1", "h2")
"""Layers that know more than the word."""


def _last(table: pd.DataFrame) -> int:
    return int(table["epoch"].max())


def _need_epochs(table: pd.DataFrame, count: int) -> None:
    if _last(table) < count:
        raise OutOfReachError(f"it takes {count} epochs, and models were trained for {_last(table)}")


def _compared(table: pd.DataFrame, comparison: str, *, epoch: int | None = None) -> "pd.Series[float]":
    """Mean SVCCA over seeds of one comparison, by layer or pair of layers; by epoch where none is asked."""
    rows = table[table["comparison"] == comparison]
    rows = rows.assign(
        layer=rows["layer"].where(
            rows["layer"] == rows["other_layer"], rows["layer"] + "–" + rows["other_layer"]
        )
    )
    if epoch is not None:
        return rows[rows["epoch"] == epoch].groupby("layer")["svcca"].mean()
    return rows.groupby(["layer", "epoch"])["svcca"].mean()


def _growth(similarities: pd.DataFrame, comparison: str) -> "pd.Series[float]":
    """Rise from epoch 1 to the last, by layer or pair of layers."""
    _need_epochs(similarities, 2)
    first, last = (_compared(similarities, comparison, epoch=at) for at in (1, _last(similarities)))
    return last - first


def _rescaled_seeds(losses: pd.DataFrame) -> pd.DataFrame:
    """Only seeds with an epoch that follows a rescaling."""
    last = losses["epoch"].max()
    seeds = losses.loc[losses["rescaled"] & (losses["epoch"] < last), "seed"]
    if seeds.empty:
        raise OutOfReachError("no step was rescaled before the last epoch")
    return losses[losses["seed"].isin(seeds)]


def _likeness(trajectories: pd.DataFrame, **wanted: object) -> pd.DataFrame:
    """Mean SVCCA over seeds, by layer and epoch (rows) and task (columns), after training has begun.

    On the language model's own text and with output taggers of true tags, unless something else is wanted.
    """
    wanted = {"shared": True, "tagger": "output", "labels": "true", **wanted}
    kept = np.logical_and.reduce([trajectories[column] == each for column, each in wanted.items()])
    rows = trajectories[kept & (trajectories["epoch"] > 0)]
    return rows.groupby(["layer", "epoch", "task"])["svcca"].mean().unstack("task")


def _at(curves: pd.DataFrame, epoch: int) -> pd.DataFrame:
    """What `_likeness` gives, after one epoch: a row for each layer."""
    return curves[curves.index.get_level_values("epoch") == epoch].droplevel("epoch")


def _at_last(trajectories: pd.DataFrame, **wanted: object) -> pd.DataFrame:
    """Likeness after the last epoch: a row for each recurrent layer."""
    return _at(_likeness(trajectories, **wanted), _last(trajectories)).loc[list(RECURRENT)]


def _need_tasks(curves: pd.DataFrame, *tasks: str) -> None:
    if missing := [task for task in tasks if task not in curves]:
        raise OutOfReachError(f"it takes taggers of {' and '.join(missing)}, which this run has no text for")


def _more_than_others(last: pd.DataFrame, task: str) -> pd.DataFrame:
    """How far one task is above each other, by layer."""
    _need_tasks(last, task)
    return -last.drop(columns=task).sub(last[task], axis=0)


def _unsettled(trajectories: pd.DataFrame) -> "pd.Series[float]":
    """Distance of each task's curve from its end, by its greatest; mean over epochs and recurrent layers."""
    curves = _likeness(trajectories).loc[list(RECURRENT)]
    away = (curves - curves.groupby("layer").transform("last")).abs()
    return (away / away.groupby("layer").transform("max")).mean()


def on_both_texts(trajectories: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows of `trajectories` on a text of the tagger's own, and those on as many tokens of the shared one."""
    own = trajectories[trajectories["own"] & ~trajectories["shared"]]
    beside = trajectories[~trajectories["own"]].merge(own[["task", "tokens"]].drop_duplicates())
    return own, beside


def _likeness_on_both(trajectories: pd.DataFrame, tagger: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Likeness at recurrent layers on a text of their own and on as many tokens of the shared one."""
    own, beside = on_both_texts(trajectories)
    if own.empty:
        raise OutOfReachError("no tagger has a text of its own in this run")
    both = _likeness(own, shared=False, tagger=tagger), _likeness(beside.assign(shared=True), tagger=tagger)
    return both[0].loc[list(RECURRENT)], both[1].loc[list(RECURRENT)]


@CLAIMS.finding("thesis chapter 4, figure 2", rows=_rescaled_seeds)
def loss_dips_when_rescaled(losses: pd.DataFrame) -> Margins:
    """Loss dips when the step of optimisation is rescaled.

    Margin: how far the test loss falls below its best so far in the epoch after a rescaling, in nats per
    token; mean of means by seed.
    """
    ordered = losses.sort_values(["seed", "epoch"])
    by_seed = ordered.groupby("seed")
    best = by_seed["test_loss"].cummin().groupby(ordered["seed"]).shift()
    after = by_seed["rescaled"].shift(fill_value=False).astype(bool)
    return (best - ordered["test_loss"]).where(after).groupby(ordered["seed"]).mean().mean()


@CLAIMS.finding("thesis chapter 4, section 4 and figure 3")
def h2_settles_before_h1(similarities: pd.DataFrame) -> Margins:
    """The upper layer h2 settles slightly before the lower one, h1.

    Margin: similarity to the own final state, h2 less h1, mean over the epochs between.
    """
    _need_epochs(similarities, 2)
    between = similarities[similarities["epoch"].between(1, _last(similarities) - 1)]
    by_layer = _compared(between, "final").groupby("layer").mean()
    return by_layer["h2"] - by_layer["h1"]


@CLAIMS.finding("thesis chapter 4, section 4 and figure 4, where the highest is near 0.64")
def seeds_share_far_from_all(similarities: pd.DataFrame, *, well_below: float = WELL_BELOW) -> Margins:
    """After training, one layer of two models that differ in their seed alone is well below 1.

    Margin: {well_below} less the similarity between seeds after the last epoch, by layer.
    """
    return well_below - _compared(similarities, "other seed", epoch=_last(similarities))


@CLAIMS.finding("thesis chapter 4, section 4 and figure 4")
def seeds_grow_alike(similarities: pd.DataFrame) -> Margins:
    """Models of two seeds grow more alike over training, in every layer.

    Margin: rise from epoch 1 to the last, by layer.

    Reported: a rise to near 0.64 at most.
    """
    return _growth(similarities, "other seed")


@CLAIMS.finding("thesis chapter 4, section 4 and figure 5")
def near_layers_are_more_alike(similarities: pd.DataFrame) -> Margins:
    """Neighbouring layers of a model are more alike than layers further apart.

    Margin: e–h1 and h1–h2, each less e–h2, after the last epoch.
    """
    pairs = _compared(similarities, "other layer", epoch=_last(similarities))
    return pairs[["e–h1", "h1–h2"]] - pairs["e–h2"]


@CLAIMS.finding("thesis chapter 4, section 4, figures 4 and 5")
def layers_differ_more_than_seeds(similarities: pd.DataFrame) -> Margins:
    """Two layers of one model are less alike than one layer of two models.

    Margin: similarity between seeds, by layer, less that between two layers, by pair, after the last epoch.

    Reported: near 0.64 at most between seeds.
    """
    last = _last(similarities)
    seeds, pairs = (_compared(similarities, name, epoch=last) for name in ("other seed", "other layer"))
    return pd.DataFrame({f"than {pair}": seeds - alike for pair, alike in pairs.items()})


@CLAIMS.finding("thesis chapter 4, section 4 and figure 5")
def layers_grow_alike(similarities: pd.DataFrame) -> Margins:
    """The layers of a model grow more alike over training.

    Margin: rise from epoch 1 to the last, by pair of layers.
    """
    return _growth(similarities, "other layer")


@CLAIMS.finding("thesis chapter 4, section 4 and figures 6 and 7")
def probes_stay_flat(
    probes: pd.DataFrame, similarities: pd.DataFrame, *, flat: float = FLAT, moved: float = MOVED
) -> Margins:
    """Diagnostic classifiers score alike over training while what they read changes.

    Margin: {flat} less the change of accuracy from epoch 1 to each later one, up and down, at h1 and h2, of
    each task, of the word read and of that to come; and 1 less the similarity of h1 and h2 after epoch 1 to
    their final state, less {moved}.
    """
    _need_epochs(probes, 2)
    rows = probes[probes["hidden"] & (probes["labels"] == "true") & probes["layer"].isin(RECURRENT)]
    scores = rows.groupby(["epoch", "layer", "predicts", "task"])["accuracy"].mean().unstack("epoch")
    change = scores.loc[:, 2:].sub(scores[1], axis=0)
    what_is_read = 1 - _compared(similarities, "final", epoch=1)[list(RECURRENT)] - moved
    return pd.concat([within(change, flat), what_is_read], keys=["accuracy", "what is read"])


@CLAIMS.finding("thesis chapter 4, section 4 and figures 4 and 8")
def taggers_below_ceiling(ceiling: pd.DataFrame, trajectories: pd.DataFrame) -> Margins:
    """No output tagger is nearer to a recurrent layer than the same layer of another seed is.

    Margin: similarity between seeds less that to a tagger, on the same tokens, after the last epoch, at h1
    and h2 for each task.

    Reported: near 0.64 at most between seeds.
    """
    seeds = ceiling.groupby("layer")["svcca"].mean().reindex(list(RECURRENT))  # without pairs, none
    return -_at_last(trajectories).sub(seeds, axis=0)


@CLAIMS.finding("thesis chapter 4, sections 1 and 5")
def probing_takes_longer(trajectories: pd.DataFrame, probes: pd.DataFrame) -> Margins:
    """Diagnostic classifiers take longer than comparing with taggers that are there.

    Margin: seconds that probes took, divided by those of running models beside taggers and of SVCCA, less
    1.

    Reported: days, against hours with taggers.
    """
    observing = trajectories.groupby(["corpus", "tokens", "seed"])["observing_seconds"].first().sum()
    probing = probes.groupby(["corpus", "seed"])["seconds"].first().sum()
    return probing / (observing + trajectories["svcca_seconds"].sum()) - 1


@CLAIMS.finding("thesis chapter 4, abstract and section 4.1, figure 8")
def recurrent_layers_grow_alike(trajectories: pd.DataFrame) -> Margins:
    """Recurrent layers grow more similar to those of a tagger over training, for every task.

    Margin: rise from epoch 1 to the last, at h1 and h2 for each task.
    """
    _need_epochs(trajectories, 2)
    return _at_last(trajectories) - _at(_likeness(trajectories), 1).loc[list(RECURRENT)]


@CLAIMS.finding("thesis chapter 4, abstract, section 1 and figure 8")
def pos_settles_first(trajectories: pd.DataFrame) -> Margins:
    """Similarity to UDP POS, the most local property, is the first to settle.

    Margin: mean distance of the curve from its end, as a share of its greatest, over h1 and h2: each other
    task less UDP POS.
    """
    _need_epochs(trajectories, 2)
    unsettled = _unsettled(trajectories)
    return unsettled.drop("UDP POS") - unsettled["UDP POS"]


@CLAIMS.finding("thesis chapter 4, section 4.1 and figure 8")
def universal_pos_nearest(trajectories: pd.DataFrame) -> Margins:
    """Of output taggers, UDP POS is nearest to the recurrent layers.

    Margin: similarity to UDP POS less that to each other task, after the last epoch, at h1 and h2.
    """
    return _more_than_others(_at_last(trajectories), "UDP POS")


@CLAIMS.finding("thesis chapter 4, section 4.1 and figure 8")
def pos_nearest(trajectories: pd.DataFrame) -> Margins:
    """Of output taggers, UDP POS is nearer to the recurrent layers than semantic tags are, after every
    epoch.

    Margin: similarity to UDP POS less that to each kind of semantic tags, at h1 and h2 after each epoch
    from 1 on.
    """
    curves = _likeness(trajectories).loc[list(RECURRENT)]
    semantic = curves.filter(like="SEM")
    if semantic.empty:
        raise OutOfReachError("it takes taggers of semantic tags, which this run has no text for")
    return -semantic.sub(curves["UDP POS"], axis=0)


@CLAIMS.finding("thesis chapter 4, section 4.1 and figure 8")
def topic_farthest(trajectories: pd.DataFrame) -> Margins:
    """Of output taggers, topic is farthest from the recurrent layers.

    Margin: similarity to each other task less that to topic, after the last epoch, at h1 and h2.
    """
    return -_more_than_others(_at_last(trajectories), "topic")


@CLAIMS.finding("thesis chapter 4, section 4.1 and figure 8")
def topic_settles_last(trajectories: pd.DataFrame) -> Margins:
    """Similarity to topic is the last to settle.

    Margin: mean distance of the curve from its end, as a share of its greatest, over h1 and h2: topic less
    each other task.
    """
    _need_epochs(trajectories, 2)
    unsettled = _unsettled(trajectories)
    return unsettled["topic"] - unsettled.drop("topic")


@CLAIMS.finding("thesis chapter 4, section 4.1 and figure 8")
def shuffled_topic_nearer(trajectories: pd.DataFrame) -> Margins:
    """A tagger of true topics is farther from the language model than one of shuffled topics.

    Margin: similarity to shuffled topic less that to topic, mean over epochs, at h1 and h2.
    """
    true, shuffled = (_likeness(trajectories, labels=labels)["topic"] for labels in ("true", "shuffled"))
    return (shuffled - true).groupby("layer").mean()[list(RECURRENT)]


@CLAIMS.finding("thesis chapter 4, section 4.1 and figure 8")
def encoder_falls(trajectories: pd.DataFrame) -> Margins:
    """Similarity between encoders declines over training, for every task.

    Margin: fall of e from epoch 1 to the last, by task.
    """
    _need_epochs(trajectories, 2)
    curves = _likeness(trajectories).loc["e"]
    return curves.loc[1] - curves.loc[_last(trajectories)]


@CLAIMS.finding("thesis chapter 4, section 4.1 and figure 8")
def encoder_nearest(trajectories: pd.DataFrame) -> Margins:
    """Encoders stay more similar to the language model's than recurrent layers, for every task.

    Margin: similarity at e less that at h1 and h2, by task and epoch from 1 on.
    """
    curves = _likeness(trajectories)
    return pd.concat({f"than {layer}": curves.loc["e"] - curves.loc[layer] for layer in RECURRENT})


@CLAIMS.finding("thesis chapter 4, section 4.1 and figure 8")
def h1_dips_early(trajectories: pd.DataFrame) -> Margins:
    """At h1 similarity falls at first, for every task.

    Margin: fall of h1 from epoch 1 to epoch 2, by task.
    """
    _need_epochs(trajectories, 3)
    curves = _likeness(trajectories).loc["h1"]
    return curves.loc[1] - curves.loc[2]


@CLAIMS.finding("thesis chapter 4, section 4.1 and figure 8")
def h1_rises_after(trajectories: pd.DataFrame) -> Margins:
    """At h1 similarity rises again, for every task.

    Margin: rise of h1 from epoch 2 to the last, by task.
    """
    _need_epochs(trajectories, 3)
    curves = _likeness(trajectories).loc["h1"]
    return curves.loc[_last(trajectories)] - curves.loc[2]


@CLAIMS.finding("thesis chapter 4, section 4.2 and figure 9")
def fine_pos_nearest_for_input(trajectories: pd.DataFrame) -> Margins:
    """Of input taggers, PTB POS is nearest to the recurrent layers.

    Margin: similarity to PTB POS less that to each other task, after the last epoch, at h1 and h2.
    """
    return _more_than_others(_at_last(trajectories, tagger="input"), "PTB POS")


@CLAIMS.finding("thesis chapter 4, section 4.2 and figure 9")
def universal_pos_loses_most_for_input(trajectories: pd.DataFrame) -> Margins:
    """From output to input taggers similarity to UDP POS falls, and falls more than that to any other task.

    Margin: the fall of UDP POS, and that fall less that of each other task, after the last epoch, at h1 and
    h2.
    """
    fall = _at_last(trajectories) - _at_last(trajectories, tagger="input")
    more = _more_than_others(fall, "UDP POS").add_prefix("more than ")
    return more.assign(falls=fall["UDP POS"])


@CLAIMS.finding("thesis chapter 4, appendix A and figures 10 and 11")
def nearer_on_own_text(trajectories: pd.DataFrame) -> Margins:
    """On the text that a tagger was trained on, it is in general more similar to the language model.

    Margin: similarity on its own test part less that on as many tokens of the language model's, mean over
    tasks, output and input taggers, h1, h2 and epochs.
    """
    both = (_likeness_on_both(trajectories, tagger) for tagger in ("output", "input"))
    return pd.concat([own - shared for own, shared in both]).to_numpy().mean()


@CLAIMS.finding("thesis chapter 4, appendix A and figures 10 and 11")
def same_shape_on_own_text(trajectories: pd.DataFrame, *, shared_shape: float = SHARED_SHAPE) -> Margins:
    """On either text the curves have similar shapes.

    Margin: correlation over epochs of the curves on both texts, less {shared_shape}, by task and tagger, at
    h1 and h2.
    """
    _need_epochs(trajectories, 3)
    shapes = {}
    for tagger in ("output", "input"):
        own, shared = _likeness_on_both(trajectories, tagger)
        for layer in RECURRENT:
            shapes[f"{tagger}, {layer}"] = own.loc[layer].corrwith(shared.loc[layer])
    return pd.DataFrame(shapes) - shared_shape

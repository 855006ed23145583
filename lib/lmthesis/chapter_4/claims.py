"""Findings of chapter 4: layers, seeds, probes and taggers."""

from collections.abc import Callable

import numpy as np
import pandas as pd

from lmdynamics.claims import Claim, Claims, Margin


def _compared(table: pd.DataFrame, comparison: str, *, epoch: int | None = None) -> pd.Series:
    """Mean SVCCA over seeds of one comparison, by epoch, layer and other layer; at one epoch where asked."""
    rows = table[table["comparison"] == comparison]
    if epoch is not None:
        rows = rows[rows["epoch"] == epoch]
    return rows.groupby(["epoch", "layer", "other_layer"])["svcca"].mean()


def _last(table: pd.DataFrame) -> int:
    return int(table["epoch"].max())


def _settles_sooner(table: pd.DataFrame) -> float:
    between = table[table["epoch"].between(1, _last(table) - 1)]
    layers = _compared(between, "final").groupby("layer").mean()
    return layers.get("h2", np.nan) - layers.get("h1", np.nan)


def _below_ceiling(table: pd.DataFrame) -> float:
    return WELL_BELOW - _compared(table, "other seed", epoch=_last(table)).max()


def _rise(comparison: str) -> Callable[[pd.DataFrame], float]:
    """Smallest rise from epoch 1 to the last, over layers or pairs of layers."""

    def margin(table: pd.DataFrame) -> float:
        if _last(table) <= 1:
            return np.nan
        first, last = (_compared(table, comparison, epoch=at).droplevel("epoch") for at in (1, _last(table)))
        return (last - first).min()

    return margin


def _near_above_far(table: pd.DataFrame) -> float:
    pairs = _compared(table, "other layer", epoch=_last(table)).droplevel("epoch")
    return min(pairs["e", "h1"], pairs["h1", "h2"]) - pairs["e", "h2"]


def _layers_below_seeds(table: pd.DataFrame) -> float:
    layers = _compared(table, "other layer", epoch=_last(table)).max()
    return _compared(table, "other seed", epoch=_last(table)).min() - layers


def _rescaled_seeds(table: pd.DataFrame) -> pd.DataFrame:
    """Only seeds with an epoch that follows a rescaling."""
    rescaled = table["rescaled"] & (table["epoch"] < _last(table)) if len(table) else table["rescaled"]
    return table[table["seed"].isin(table.loc[rescaled, "seed"])]


def _dip(table: pd.DataFrame) -> float:
    """How far test loss falls below its best so far in the epoch after a rescaling, mean of means by seed."""
    ordered = table.sort_values(["seed", "epoch"])
    by_seed = ordered.groupby("seed")
    best = by_seed["test_loss"].cummin().groupby(ordered["seed"]).shift()
    after = by_seed["rescaled"].shift(fill_value=False).astype(bool)
    return (best - ordered["test_loss"]).where(after).groupby(ordered["seed"]).mean().mean()


FLAT = 0.05
"""Change, of an accuracy or of a similarity, that is called none; ours, for the thesis names none."""
WELL_BELOW = 0.8
"""What a similarity that is well below 1 stays under; ours, for the thesis says only how far its own went."""
SHARED_SHAPE = 0.5
"""Least correlation of curves of similar shape; ours, for the thesis names none."""
RECURRENT = ("h1", "h2")
"""Layers that know more than the word."""


def _likeness(table: pd.DataFrame, **wanted: object) -> pd.DataFrame:
    """Mean SVCCA over seeds, by layer and epoch (rows) and task (columns), after training has begun.

    On the language model's own text and with output taggers of true tags, unless something else is wanted.
    """
    wanted = {"shared": True, "tagger": "output", "labels": "true", **wanted}
    kept = np.logical_and.reduce([table[column] == each for column, each in wanted.items()])
    rows = table[kept & (table["epoch"] > 0)]
    return rows.groupby(["layer", "epoch", "task"])["svcca"].mean().unstack("task")


def _at_last(curves: pd.DataFrame) -> pd.DataFrame:
    """The last epoch of what `_likeness` gives: a row for each recurrent layer."""
    epochs = curves.index.get_level_values("epoch")
    return curves[epochs == epochs.max()].droplevel("epoch").loc[list(RECURRENT)]


def _grown(layers: tuple[str, ...], since: int, **wanted: object) -> Margin:
    """Rise from an epoch to the last, in the task and layer where it is smallest."""

    def margin(table: pd.DataFrame) -> float:
        if _last(table) <= since:
            return np.nan
        curves = _likeness(table, **wanted).loc[list(layers)]
        at = curves.index.get_level_values("epoch")
        first, last = (curves[at == epoch].droplevel("epoch") for epoch in (since, _last(table)))
        return (last - first).min().min()

    return margin


def _semantic(curves: pd.DataFrame) -> pd.DataFrame:
    return curves.filter(like="SEM")


def _nearest(task: str, others: Callable[[pd.DataFrame], pd.DataFrame], **wanted: object) -> Margin:
    """How far a task is above others after the last epoch, in the layer where it is least so."""

    def margin(table: pd.DataFrame) -> float:
        last = _at_last(_likeness(table, **wanted))
        rivals = others(last).drop(columns=task, errors="ignore")
        return (last[task] - rivals.max(axis=1)).min() if rivals.size and task in last else np.nan

    return margin


def _topic_farthest(table: pd.DataFrame) -> float:
    last = _at_last(_likeness(table))
    return (last.drop(columns="topic").min(axis=1) - last["topic"]).min()


def _unsettled(table: pd.DataFrame) -> pd.Series:
    """Distance of each task's curve from its end, by its greatest; mean over epochs and recurrent layers."""
    curves = _likeness(table).loc[list(RECURRENT)]
    away = (curves - curves.groupby("layer").transform("last")).abs()
    return (away / away.groupby("layer").transform("max")).mean()


def _topic_settles_last(table: pd.DataFrame) -> float:
    unsettled = _unsettled(table)
    return unsettled["topic"] - unsettled.drop("topic").max()


def _pos_settles_first(table: pd.DataFrame) -> float:
    unsettled = _unsettled(table)
    return unsettled.drop("UDP POS").min() - unsettled["UDP POS"]


def _above_semantic(table: pd.DataFrame) -> float:
    curves = _likeness(table).loc[list(RECURRENT)]
    semantic = _semantic(curves)
    return (curves["UDP POS"] - semantic.max(axis=1)).min() if semantic.size else np.nan


def _shuffled_topic_nearer(table: pd.DataFrame) -> float:
    true, shuffled = (_likeness(table, labels=labels)["topic"] for labels in ("true", "shuffled"))
    return (shuffled - true).groupby("layer").mean().loc[list(RECURRENT)].min()


def _encoder_falls(table: pd.DataFrame) -> float:
    curves = _likeness(table).loc["e"]
    return (curves.iloc[0] - curves.iloc[-1]).min()


def _encoder_nearest(table: pd.DataFrame) -> float:
    curves = pd.DataFrame(_likeness(table).unstack("layer").stack("task", future_stack=True))
    return (curves["e"] - curves[list(RECURRENT)].max(axis=1)).min()


def _h1_dips(table: pd.DataFrame) -> float:
    curves = _likeness(table).loc["h1"]
    return (curves.iloc[0] - curves.iloc[1]).min() if len(curves) > 2 else np.nan


def _universal_pos_loses_most(table: pd.DataFrame) -> float:
    output, read = (_at_last(_likeness(table, tagger=tagger)) for tagger in ("output", "input"))
    lost = output - read
    others = lost.drop(columns="UDP POS").max(axis=1)
    return min(lost["UDP POS"].min(), (lost["UDP POS"] - others).min())


def on_both_texts(table: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows of `trajectories` on a text of the tagger's own, and those on as many tokens of the shared one."""
    own = table[table["own"] & ~table["shared"]]
    return own, table[~table["own"]].merge(own[["task", "tokens"]].drop_duplicates())


def _likeness_on_both(table: pd.DataFrame, tagger: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Likeness on a text of their own and on as many tokens of the shared one, of tasks that have one."""
    own, beside = on_both_texts(table)
    return _likeness(own, shared=False, tagger=tagger), _likeness(beside.assign(shared=True), tagger=tagger)


def _nearer_on_own_text(table: pd.DataFrame) -> float:
    both = (_likeness_on_both(table, tagger) for tagger in ("output", "input"))
    nearer = pd.concat([own - shared for own, shared in both])
    return float(nearer.loc[list(RECURRENT)].to_numpy().mean()) if nearer.size else np.nan


def _same_shape_on_own_text(table: pd.DataFrame) -> float:
    shapes = []
    for tagger in ("output", "input"):
        own, shared = _likeness_on_both(table, tagger)
        if not own.size or _last(table) < 3:
            return np.nan
        shapes += [own.loc[layer].corrwith(shared.loc[layer]).min() for layer in RECURRENT]
    return min(shapes) - SHARED_SHAPE


def _probes_flat(probes: pd.DataFrame, similarities: pd.DataFrame) -> float:
    """How far the range of accuracies since epoch 1 is below `FLAT`, and that of the layer above it."""
    last = _last(probes)
    if last <= 1:
        return np.nan
    rows = probes[probes["hidden"] & (probes["labels"] == "true") & probes["epoch"].between(1, last)]
    rows = rows[rows["layer"].isin(RECURRENT)]
    scores = rows.pivot_table(index="epoch", columns=["layer", "predicts", "task"], values="accuracy")
    alike = _compared(similarities, "final", epoch=1).groupby("layer").mean().loc[list(RECURRENT)].max()
    return min(FLAT - (scores.max() - scores.min()).max(), 1 - alike - FLAT)


def _taggers_below_ceiling(ceiling: pd.DataFrame, trajectories: pd.DataFrame) -> float:
    """Likeness of one layer of two seeds less that to the nearest tagger; the smaller recurrent layer's."""
    seeds = ceiling.groupby("layer")["svcca"].mean()
    return (seeds - _at_last(_likeness(trajectories)).max(axis=1)).loc[list(RECURRENT)].min()


def _probes_take_longer(trajectories: pd.DataFrame, probes: pd.DataFrame) -> float:
    """Seconds of probes by those of running language models beside taggers and SVCCA, less 1."""
    observing = trajectories.groupby(["corpus", "tokens", "seed"])["observing_seconds"].first().sum()
    probing = probes.groupby(["corpus", "seed"])["seconds"].first().sum()
    return probing / (observing + trajectories["svcca_seconds"].sum()) - 1


CLAIMS = Claims(
    loss_dips_when_rescaled=Claim(
        statement="Loss dips when the step of optimisation is rescaled.",
        source="thesis chapter 4, figure 2",
        tables=("losses",),
        margin=_dip,
        among=_rescaled_seeds,
        measured_as="how far the test loss falls below its best so far in the epoch after a rescaling, in "
        "nats per token",
    ),
    h2_settles_before_h1=Claim(
        statement="The upper layer h2 settles slightly before the lower one, h1.",
        source="thesis chapter 4, section 4 and figure 3",
        tables=("similarities",),
        margin=_settles_sooner,
        measured_as="similarity to the own final state, h2 less h1, mean over the epochs between",
    ),
    seeds_share_far_from_all=Claim(
        statement="After training, one layer of two models that differ in their seed alone is well below 1.",
        source="thesis chapter 4, section 4 and figure 4, where the highest is near 0.64",
        tables=("similarities",),
        margin=_below_ceiling,
        measured_as=f"{WELL_BELOW} less the highest similarity between seeds after the last epoch",
    ),
    seeds_grow_alike=Claim(
        statement="Models of two seeds grow more alike over training, in every layer.",
        source="thesis chapter 4, section 4 and figure 4",
        tables=("similarities",),
        margin=_rise("other seed"),
        measured_as="rise from epoch 1 to the last, in the layer where it is smallest",
    ),
    near_layers_are_more_alike=Claim(
        statement="Neighbouring layers of a model are more alike than layers further apart.",
        source="thesis chapter 4, section 4 and figure 5",
        tables=("similarities",),
        margin=_near_above_far,
        measured_as="the lower of e–h1 and h1–h2, less e–h2, after the last epoch",
    ),
    layers_differ_more_than_seeds=Claim(
        statement="Two layers of one model are less alike than one layer of two models.",
        source="thesis chapter 4, section 4, figures 4 and 5",
        tables=("similarities",),
        margin=_layers_below_seeds,
        measured_as="lowest similarity between seeds less highest between layers, after the last epoch",
    ),
    layers_grow_alike=Claim(
        statement="The layers of a model grow more alike over training.",
        source="thesis chapter 4, section 4 and figure 5",
        tables=("similarities",),
        margin=_rise("other layer"),
        measured_as="rise from epoch 1 to the last, in the pair where it is smallest",
    ),
    probes_stay_flat=Claim(
        statement="Diagnostic classifiers score alike over training while what they read changes.",
        source="thesis chapter 4, section 4 and figures 6 and 7",
        tables=("probes", "similarities"),
        margin=_probes_flat,
        measured_as=f"the smaller of two, at h1 or h2: {FLAT} less the widest range of a task's accuracy "
        "from epoch 1 on, of the word read or to come; 1 less the similarity of epoch 1 to the final state, "
        f"less {FLAT}",
    ),
    taggers_below_ceiling=Claim(
        statement="No output tagger is nearer to a recurrent layer than the same layer of another seed is.",
        source="thesis chapter 4, section 4 and figures 4 and 8",
        tables=("ceiling", "trajectories"),
        margin=_taggers_below_ceiling,
        measured_as="similarity between seeds less that to the nearest tagger, on the same tokens, after the "
        "last epoch, at h1 or h2",
    ),
    probing_takes_longer=Claim(
        statement="Diagnostic classifiers take longer than comparing with taggers that are there.",
        source="thesis chapter 4, sections 1 and 5",
        tables=("trajectories", "probes"),
        margin=_probes_take_longer,
        measured_as="seconds that probes took, divided by those of running models beside taggers and of "
        "SVCCA, less 1",
    ),
    recurrent_layers_grow_alike=Claim(
        statement="Recurrent layers grow more similar to those of a tagger over training, for every task.",
        source="thesis chapter 4, abstract and section 4.1, figure 8",
        tables=("trajectories",),
        margin=_grown(RECURRENT, since=1),
        measured_as="rise from epoch 1 to the last, in the task and recurrent layer where it is smallest",
    ),
    pos_settles_first=Claim(
        statement="Similarity to UDP POS, the most local property, is the first to settle.",
        source="thesis chapter 4, abstract, section 1 and figure 8",
        tables=("trajectories",),
        margin=_pos_settles_first,
        measured_as="mean distance of the curve from its end, as a share of its greatest, over h1 and h2: "
        "the least of the other tasks less UDP POS",
    ),
    universal_pos_nearest=Claim(
        statement="Of output taggers, UDP POS is nearest to the recurrent layers.",
        source="thesis chapter 4, section 4.1 and figure 8",
        tables=("trajectories",),
        margin=_nearest("UDP POS", lambda last: last),
        measured_as="similarity to UDP POS less the highest of another task, after the last epoch, at h1 or "
        "h2",
    ),
    pos_nearest=Claim(
        statement="Of output taggers, UDP POS is nearer to the recurrent layers than semantic tags are, "
        "after every epoch.",
        source="thesis chapter 4, section 4.1 and figure 8",
        tables=("trajectories",),
        margin=_above_semantic,
        measured_as="similarity to UDP POS less the higher of both SEM, in the recurrent layer and the epoch "
        "from 1 on where it is smallest",
    ),
    topic_farthest=Claim(
        statement="Of output taggers, topic is farthest from the recurrent layers.",
        source="thesis chapter 4, section 4.1 and figure 8",
        tables=("trajectories",),
        margin=_topic_farthest,
        measured_as="lowest similarity to another task less that to topic, after the last epoch, at h1 or h2",
    ),
    topic_settles_last=Claim(
        statement="Similarity to topic is the last to settle.",
        source="thesis chapter 4, section 4.1 and figure 8",
        tables=("trajectories",),
        margin=_topic_settles_last,
        measured_as="mean distance of the curve from its end, as a share of its greatest, over h1 and h2: "
        "topic less the greatest of the other tasks",
    ),
    shuffled_topic_nearer=Claim(
        statement="A tagger of true topics is farther from the language model than one of shuffled topics.",
        source="thesis chapter 4, section 4.1 and figure 8",
        tables=("trajectories",),
        margin=_shuffled_topic_nearer,
        measured_as="similarity to shuffled topic less that to topic, mean over epochs, at h1 or h2",
    ),
    encoder_falls=Claim(
        statement="Similarity between encoders declines over training, for every task.",
        source="thesis chapter 4, section 4.1 and figure 8",
        tables=("trajectories",),
        margin=_encoder_falls,
        measured_as="fall of e from epoch 1 to the last, in the task where it is smallest",
    ),
    encoder_nearest=Claim(
        statement="Encoders stay more similar to the language model's than recurrent layers, for every task.",
        source="thesis chapter 4, section 4.1 and figure 8",
        tables=("trajectories",),
        margin=_encoder_nearest,
        measured_as="similarity at e less that at h1 or h2, in the task and the epoch from 1 on where it is "
        "smallest",
    ),
    h1_dips_early=Claim(
        statement="At h1 similarity falls at first, for every task.",
        source="thesis chapter 4, section 4.1 and figure 8",
        tables=("trajectories",),
        margin=_h1_dips,
        measured_as="fall of h1 from epoch 1 to epoch 2, in the task where it is smallest",
    ),
    h1_rises_after=Claim(
        statement="At h1 similarity rises again, for every task.",
        source="thesis chapter 4, section 4.1 and figure 8",
        tables=("trajectories",),
        margin=_grown(("h1",), since=2),
        measured_as="rise of h1 from epoch 2 to the last, in the task where it is smallest",
    ),
    fine_pos_nearest_for_input=Claim(
        statement="Of input taggers, PTB POS is nearest to the recurrent layers.",
        source="thesis chapter 4, section 4.2 and figure 9",
        tables=("trajectories",),
        margin=_nearest("PTB POS", lambda last: last, tagger="input"),
        measured_as="similarity to PTB POS less the highest of another task, after the last epoch, "
        "at h1 or h2",
    ),
    universal_pos_loses_most_for_input=Claim(
        statement="From output to input taggers similarity to UDP POS falls, and falls more than that to any "
        "other task.",
        source="thesis chapter 4, section 4.2 and figure 9",
        tables=("trajectories",),
        margin=_universal_pos_loses_most,
        measured_as="the smaller of two, after the last epoch, at h1 or h2: the fall of UDP POS; that fall "
        "less the greatest of another task",
    ),
    nearer_on_own_text=Claim(
        statement="On the text that a tagger was trained on, it is in general more similar to the language "
        "model.",
        source="thesis chapter 4, appendix A and figures 10 and 11",
        tables=("trajectories",),
        margin=_nearer_on_own_text,
        measured_as="similarity on its own test part less that on as many tokens of the language model's, "
        "mean over tasks, output and input taggers, h1, h2 and epochs",
    ),
    same_shape_on_own_text=Claim(
        statement="On either text the curves have similar shapes.",
        source="thesis chapter 4, appendix A and figures 10 and 11",
        tables=("trajectories",),
        margin=_same_shape_on_own_text,
        measured_as="correlation over epochs of the curves on both texts, in the tagger and recurrent layer "
        f"where it is smallest, less {SHARED_SHAPE}",
    ),
)
"""By name."""

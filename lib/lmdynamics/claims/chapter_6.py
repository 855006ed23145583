"""Findings of chapter 6: frequency, sparsity of layers and gradients, and where the loss changes."""

from collections.abc import Callable

import numpy as np
import pandas as pd

from lmdynamics.claims.chapter_5 import CLEAR
from lmdynamics.judging import Claim

MAIN = "language model"
"""The models of chapter 4 in the column `model`; the others are controls."""
FREQUENT = 100_000 / 227e6
"""Share of all tokens from which on a word is frequent (thesis chapter 6, figure 2)."""
WEAK = 0.1
"""Correlations nearer to 0 are weak (thesis chapter 6, section 4)."""
FEW_TOKENS = 10
"""Tokens of each word over which a mean is taken where all words are to have equally many."""
OTHERS = (
    ("e", "activation"), ("h1", "activation"), ("h2", "activation"), ("e", "gradient"), ("h1", "gradient"),
)  # fmt: skip
"""Layers and their gradients that are not the gradient at the top layer."""


def rho(
    table: pd.DataFrame,
    side: str,
    layer: str,
    kind: str,
    *,
    group: str = "all",
    measure: str = "chi",
    value: str = "correlation",
) -> "pd.Series[float]":
    """One curve of the table `rho`: mean over the seeds of the language models, by epoch."""
    wanted = {
        "model": MAIN, "side": side, "layer": layer, "kind": kind, "group": group, "measure": measure,
        "how": "pearson",
    }  # fmt: skip
    rows = table[np.logical_and.reduce([table[column] == each for column, each in wanted.items()])]
    return rows.groupby("epoch")[value].mean()


def frequent(words: pd.DataFrame) -> pd.DataFrame:
    """Rows of the table `words` of words that are frequent targets."""
    rows = words[words["side"] == "target"]
    whole = rows.groupby(["seed", "epoch"])["tokens"].transform("sum")
    return rows[(rows["tokens"] >= FREQUENT * whole) & (rows["word"] > 0)]


def _top_gradient(table: pd.DataFrame, **of: str) -> "pd.Series[float]":
    return rho(table, "target", "h2", "gradient", **of)


def _last(curve: "pd.Series[float]") -> float:
    """After the last epoch; NaN for a curve that was not measured."""
    return curve.iloc[-1] if len(curve) else np.nan


def _rise(curve: "pd.Series[float]") -> float:
    """From after the first epoch to after the last; NaN where that is one."""
    return curve.iloc[-1] - curve.loc[1] if len(curve) > 2 else np.nan


def _sparser_with_training(words: pd.DataFrame) -> float:
    return _rise(frequent(words).groupby("epoch")["gradient h2"].mean())


def _alone_strong(table: pd.DataFrame) -> float:
    others = [abs(_last(rho(table, "target", layer, kind))) for layer, kind in OTHERS]
    return _last(_top_gradient(table)) - max(others)


def _flat_activations(table: pd.DataFrame) -> float:
    return CLEAR - abs(_last(rho(table, "target", "h2", "activation")))


def _closed_first(matched: str) -> Callable[[pd.DataFrame], float]:
    def margin(table: pd.DataFrame) -> float:
        curves = [_top_gradient(table, group=f"{name}{matched}") for name in ("closed", "open")]
        return curves[0].loc[1] - curves[1].loc[1] if all(map(len, curves)) else np.nan

    return margin


def _open_goes_on(matched: str) -> Callable[[pd.DataFrame], float]:
    def margin(table: pd.DataFrame) -> float:
        curves = [_top_gradient(table, group=f"{name}{matched}") for name in ("open", "closed")]
        return _rise(curves[0]) - _rise(curves[1]) if all(map(len, curves)) else np.nan

    return margin


def _closed_sparser(table: pd.DataFrame) -> float:
    levels = [_top_gradient(table, group=f"{name}, matched", value="mean") for name in ("closed", "open")]
    return _last(levels[0]) - _last(levels[1])


def _first_layer_first(table: pd.DataFrame) -> float:
    h1, e = (rho(table, "input", layer, "activation") for layer in ("h1", "e"))
    return h1.loc[1] - e.loc[1]


def _embedding_overtakes(table: pd.DataFrame) -> float:
    e, h1 = (rho(table, "input", layer, "activation") for layer in ("e", "h1"))
    return _last(e) - _last(h1)


def _gradients_ignore_input(table: pd.DataFrame) -> float:
    curves = [rho(table, "input", layer, "gradient").loc[1:] for layer in ("e", "h1", "h2")]
    return CLEAR - max(curve.abs().max() for curve in curves)


def _up_after_rescaling(table: pd.DataFrame, log: pd.DataFrame) -> float:
    last, rises = table["epoch"].max(), []
    for seed, rows in log[log["rescaled"] & (log["epoch"] < last)].groupby("seed"):
        own = table[table["seed"] == seed]
        curves = [rho(own, "input", layer, "activation") for layer in ("e", "h1", "h2")]
        rises += [curve.loc[last] - curve.loc[rows["epoch"].min()] for curve in curves]
    return float(np.mean(rises)) if rises else np.nan


def _rescaled_in_time(table: pd.DataFrame) -> pd.DataFrame:
    """Of the table `log`, the seeds whose step was rescaled before the last epoch; other tables whole."""
    if "rescaled" not in table:
        return table
    early = table["rescaled"] & (table["epoch"] < table["epoch"].max())
    return table[table["seed"].isin(table.loc[early, "seed"])]


def _not_by_size(table: pd.DataFrame) -> float:
    return WEAK + _top_gradient(table, measure="taxicab").loc[1:].min()


def _not_by_logits(table: pd.DataFrame) -> float:
    return _last(_top_gradient(table)) - _last(rho(table, "target", "logits", "gradient"))


def _more_than_untrained(table: pd.DataFrame) -> float:
    curve = _top_gradient(table)
    return _last(curve) - abs(curve.loc[0])


def _of_control(table: pd.DataFrame, model: str) -> "pd.Series[float]":
    """The gradient at the top layer of a kind of control models, by their one epoch."""
    return _top_gradient(table[table["model"] == model].assign(model=MAIN))


def _more_than_shuffled(table: pd.DataFrame) -> float:
    control = _of_control(table, "shuffled text")
    if control.empty:
        return np.nan
    return _top_gradient(table).loc[control.index[-1]] - control.iloc[-1]


def _at_other_widths(table: pd.DataFrame) -> float:
    names = [name for name in table["model"].unique() if name.endswith(" units")]
    return min((_last(_of_control(table, name)) for name in names), default=np.nan)


def _not_by_noise(noise: pd.DataFrame) -> float:
    rows = noise[
        (noise["least"] == FEW_TOKENS) & (noise["tokens"] == "as many") & (noise["how"] == "pearson")
    ]
    return rows["correlation"].mean() if len(rows) else np.nan


def _just_over_half(allocated: pd.DataFrame) -> float:
    rows = allocated[allocated["method"] == "Simpson"]
    return rows["helping"].sum() / rows["moved"].sum() - 0.5


def _concentrate_together(layer: str) -> Callable[[pd.DataFrame], float]:
    def margin(concentration: pd.DataFrame) -> float:
        rows = concentration[(concentration["layer"] == layer) & (concentration["how"] == "pearson")]
        return rows["correlation"].mean()

    return margin


CLAIMS = {
    "gradient_sparser_with_frequency": Claim(
        statement="The more frequent a target word, the sparser the gradient at the top layer.",
        source="thesis chapter 6, section 3 and figures 2 and 3a",
        tables=("rho",),
        margin=lambda table: _last(_top_gradient(table)),
        measured_as="correlation of χ of the gradient at h2 with target frequency after the last epoch",
    ),
    "gradient_sparser_with_training": Claim(
        statement="The gradient of frequent target words at the top layer grows sparser over training.",
        source="thesis chapter 6, section 3 and figure 2",
        tables=("words",),
        margin=_sparser_with_training,
        measured_as="rise of their mean χ from epoch 1 to the last",
    ),
    "top_gradient_alone": Claim(
        statement="Only the gradient at the top layer is strongly correlated with target frequency.",
        source="thesis chapter 6, section 3 and figure 3a",
        tables=("rho",),
        margin=_alone_strong,
        measured_as="its correlation less the greatest absolute one of any other layer or gradient, after "
        "the last epoch",
    ),
    "top_gradient_rising": Claim(
        statement="The correlation of the gradient's sparsity with target frequency rises over training.",
        source="thesis chapter 6, section 3 and figure 3a",
        tables=("rho",),
        margin=lambda table: _rise(_top_gradient(table)),
        measured_as="rise of the correlation at h2 from epoch 1 to the last",
    ),
    "top_activations_flat": Claim(
        statement="Sparse gradients do not come from sparse activations: those of the top layer are not "
        "correlated with target frequency.",
        source="thesis chapter 6, section 3 and figure 3a",
        tables=("rho",),
        margin=_flat_activations,
        measured_as=f"{CLEAR} less the absolute correlation at h2 after the last epoch",
    ),
    "closed_classes_first": Claim(
        statement="Among closed classes, frequent words have sparse gradients from the beginning.",
        source="thesis chapter 6, section 3 and figure 4",
        tables=("rho",),
        margin=_closed_first(""),
        measured_as="correlation after epoch 1, closed classes less open ones",
    ),
    "closed_classes_first_matched": Claim(
        statement="That holds between words of the same frequency too.",
        source="thesis chapter 6, section 3 and figure 4, samples of like frequency",
        tables=("rho",),
        margin=_closed_first(", matched"),
        measured_as="correlation after epoch 1, closed classes less open ones, matched samples",
    ),
    "open_classes_go_on": Claim(
        statement="Closed classes soon level off, while frequent words of open classes go on to have ever "
        "sparser gradients.",
        source="thesis chapter 6, section 3 and figure 4",
        tables=("rho",),
        margin=_open_goes_on(""),
        measured_as="rise of the correlation from epoch 1 to the last, open classes less closed ones",
    ),
    "open_classes_go_on_matched": Claim(
        statement="So do they between words of the same frequency.",
        source="thesis chapter 6, section 3 and figure 4, samples of like frequency",
        tables=("rho",),
        margin=_open_goes_on(", matched"),
        measured_as="rise of the correlation from epoch 1 to the last, open less closed, matched samples",
    ),
    "function_words_sparser": Claim(
        statement="Gradients of function words are sparser than those of content words of like frequency.",
        source="thesis chapter 6, abstract",
        tables=("rho",),
        margin=_closed_sparser,
        measured_as="mean χ of the gradient at h2 after the last epoch, closed less open, matched samples",
    ),
    "first_layer_first": Claim(
        statement="The lower recurrent layer soon has sparse representations of frequent input words.",
        source="thesis chapter 6, section 3 and figure 3b",
        tables=("rho",),
        margin=_first_layer_first,
        measured_as="correlation with input frequency after epoch 1, h1 less e",
    ),
    "embedding_overtakes": Claim(
        statement="Later the embedding overtakes it.",
        source="thesis chapter 6, section 3 and figure 3b",
        tables=("rho",),
        margin=_embedding_overtakes,
        measured_as="correlation with input frequency after the last epoch, e less h1",
    ),
    "gradients_ignore_input": Claim(
        statement="Sparsity of gradients is not correlated with the frequency of input words.",
        source="thesis chapter 6, section 3 and figure 3b",
        tables=("rho",),
        margin=_gradients_ignore_input,
        measured_as=f"{CLEAR} less the greatest absolute correlation of any layer at any epoch",
    ),
    "up_after_rescaling": Claim(
        statement="Once the step is first rescaled, correlations with input frequency go up.",
        source="thesis chapter 6, section 3 and figure 3b",
        tables=("rho", "log"),
        margin=_up_after_rescaling,
        measured_as="rise from the first rescaling to the last epoch, mean over the layers",
        among=_rescaled_in_time,
    ),
    "not_by_size": Claim(
        statement="Gradients of frequent words are not small ones: their size is hardly anti-correlated with "
        "frequency.",
        source="thesis chapter 6, section 4",
        tables=("rho",),
        margin=_not_by_size,
        measured_as=f"{WEAK} plus the lowest correlation of ‖·‖₁ at h2 with target frequency at any epoch",
    ),
    "not_by_logits": Claim(
        statement="Sparse gradients at the logits do not explain those at the top layer.",
        source="thesis chapter 6, section 4",
        tables=("rho",),
        margin=_not_by_logits,
        measured_as="correlation with target frequency after the last epoch, h2 less logits",
    ),
    "more_than_untrained": Claim(
        statement="It is learnt: an untrained model has no such correlation.",
        source="beyond the thesis; compare chapter 6, figure 3a",
        tables=("rho",),
        margin=_more_than_untrained,
        measured_as="correlation at h2 after the last epoch less its absolute value at epoch 0",
    ),
    "more_than_shuffled": Claim(
        statement="It takes text: models of words in random order have less of it.",
        source="beyond the thesis; compare chapter 6, figure 3a",
        tables=("rho",),
        margin=_more_than_shuffled,
        measured_as="correlation at h2, true less shuffled text, after equally many epochs",
    ),
    "at_other_widths": Claim(
        statement="It shows in narrower models too.",
        source="beyond the thesis; compare chapter 6, figure 3a",
        tables=("rho",),
        margin=_at_other_widths,
        measured_as="smallest correlation at h2 among models of other widths",
    ),
    "not_by_noise": Claim(
        statement="It is no effect of noisy means of rare words.",
        source="beyond the thesis; compare chapter 6, figure 3a",
        tables=("noise",),
        margin=_not_by_noise,
        measured_as=f"correlation at h2 over words with {FEW_TOKENS} tokens or more, means over {FEW_TOKENS} "
        "tokens of each",
    ),
    "just_over_half_help": Claim(
        statement="In a step of training, more than half of the parameters that move help.",
        source="thesis chapter 6, section 6.1.1 (Lan et al. 2019)",
        tables=("allocated",),
        margin=_just_over_half,
        measured_as="share of moves to which a fall of loss is allocated, by Simpson's rule, less one half",
    ),
    "loss_change_concentrates_e": Claim(
        statement="Where an input word's gradient at the embedding is concentrated, so is the change of loss "
        "that its embedding brings.",
        source="beyond the thesis; suggested in chapter 6, section 6.1.1",
        tables=("concentration",),
        margin=_concentrate_together("e"),
        measured_as="correlation of χ of loss change with χ of the gradient over words, mean over epochs",
    ),
    "loss_change_concentrates_h2": Claim(
        statement="Where a target word's gradient at the top layer is concentrated, so is the change of loss "
        "that its row of the decoder brings.",
        source="beyond the thesis; suggested in chapter 6, section 6.1.1",
        tables=("concentration",),
        margin=_concentrate_together("h2"),
        measured_as="correlation of χ of loss change with χ of the gradient over words, mean over epochs",
    ),
}
"""By name."""

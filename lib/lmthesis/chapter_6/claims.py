"""Findings of chapter 6: frequency, sparsity of layers and gradients, and where the loss changes."""

from collections.abc import Callable

import numpy as np
import pandas as pd

from lmdynamics.claims import CLEAR, Claim, Claims

MAIN = "language model"
"""The models of chapter 4 in the column `model`; the others are controls."""
WEAK = 0.1
"""Correlations nearer to 0 are weak (thesis chapter 6, section 4)."""
FEW_TOKENS = 10
"""Tokens of each word over which a mean is taken where all words are to have equally many."""
MANY_TOKENS = 50
"""Tokens from which on a word counts as one of the more frequent ones among those measured."""
RARE = 0.05
"""What happens in fewer steps is called an exception; ours, for the thesis names no number."""
LAYERS = ("e", "h1", "h2", "decoder")
"""Of parameters."""
OTHERS = (
    ("e", "activation"), ("h1", "activation"), ("h2", "activation"), ("logits", "activation"),
    ("e", "gradient"), ("h1", "gradient"), ("logits", "gradient"),
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
    place = {
        "model": MAIN, "side": side, "layer": layer, "kind": kind, "group": group, "measure": measure,
        "how": "pearson",
    }  # fmt: skip
    rows = table[np.logical_and.reduce([table[column] == each for column, each in place.items()])]
    return rows.groupby("epoch")[value].mean()


def _top_gradient(table: pd.DataFrame, **of: str) -> "pd.Series[float]":
    return rho(table, "target", "h2", "gradient", **of)


def _last(curve: "pd.Series[float]") -> float:
    """After the last epoch; NaN for a curve that was not measured."""
    return curve.iloc[-1] if len(curve) else np.nan


def _rise(curve: "pd.Series[float]") -> float:
    """From after the first epoch to after the last; NaN where that is one."""
    return curve.iloc[-1] - curve.loc[1] if len(curve) > 2 else np.nan


def _sparser_with_training(frequent: pd.DataFrame) -> float:
    return _rise(frequent.groupby("epoch")["mean"].mean())


def _alone_strong(table: pd.DataFrame) -> float:
    others = [abs(_last(rho(table, "target", layer, kind))) for layer, kind in OTHERS]
    return _last(_top_gradient(table)) - max(others)


def _alone_rising(table: pd.DataFrame) -> float:
    own, others = _rise(_top_gradient(table)), [_rise(rho(table, "target", *other)) for other in OTHERS]
    return min(own, own - max(others))


def _stronger_among_frequent(noise: pd.DataFrame) -> float:
    rows = noise[(noise["tokens"] == "all") & (noise["how"] == "pearson")]
    means = rows.groupby("least")["correlation"].mean()
    return means.loc[MANY_TOKENS] - means.loc[1] if MANY_TOKENS in means.index else np.nan


def _dispersed(table: pd.DataFrame) -> float:
    return -_last(rho(table, "target", "h2", "activation")) - WEAK


def _flat_activations(table: pd.DataFrame) -> float:
    return CLEAR - abs(_last(rho(table, "target", "h2", "activation")))


def _closed_first(matched: str) -> Callable[[pd.DataFrame], float]:
    def margin(table: pd.DataFrame) -> float:
        curves = [_top_gradient(table, group=f"{name}{matched}") for name in ("closed", "open")]
        if not all(map(len, curves)):
            return np.nan
        closed, open_ = (curve.loc[1] for curve in curves)
        return min(closed, closed - open_)

    return margin


def _open_goes_on(matched: str) -> Callable[[pd.DataFrame], float]:
    def margin(table: pd.DataFrame) -> float:
        curves = [_top_gradient(table, group=f"{name}{matched}") for name in ("open", "closed")]
        if not all(map(len, curves)):
            return np.nan
        open_, closed = map(_rise, curves)
        return min(open_, open_ - closed)

    return margin


def _closed_sparser(table: pd.DataFrame) -> float:
    levels = [_top_gradient(table, group=f"{name}, matched", value="mean") for name in ("closed", "open")]
    return _last(levels[0]) - _last(levels[1])


def _function_words_sparser(class_effects: pd.DataFrame) -> float:
    rows = class_effects[(class_effects["model"] == MAIN) & (class_effects["feature"] == "closed class")]
    return rows.loc[rows["epoch"] == rows["epoch"].max(), "coefficient"].mean()


def _frequent_inputs_sparse(table: pd.DataFrame) -> float:
    return min(_last(rho(table, "input", layer, "activation")) for layer in ("e", "h1"))


def _lower_layer_sparser(levels: pd.DataFrame) -> float:
    rows = levels[(levels["model"] == MAIN) & (levels["kind"] == "activation") & (levels["measure"] == "chi")]
    means = rows[rows["epoch"] == rows["epoch"].max()].groupby("layer")["mean"].mean()
    return means["h1"] - means["h2"]


def _first_layer_first(table: pd.DataFrame) -> float:
    h1, e = (rho(table, "input", layer, "activation") for layer in ("h1", "e"))
    return h1.loc[1] - e.loc[1]


def _embedding_overtakes(table: pd.DataFrame) -> float:
    e, h1 = (rho(table, "input", layer, "activation") for layer in ("e", "h1"))
    ahead = e - h1
    return min(_last(ahead), -ahead.loc[1:].min())


def _gradients_ignore_input(table: pd.DataFrame) -> float:
    curves = [rho(table, "input", layer, "gradient").loc[1:] for layer in ("e", "h1", "h2")]
    return CLEAR - max(curve.abs().max() for curve in curves)


def _up_after_rescaling(table: pd.DataFrame, log: pd.DataFrame) -> float:
    last, bends = table["epoch"].max(), []
    for seed, rows in log[log["rescaled"] & (log["epoch"] > 1) & (log["epoch"] < last)].groupby("seed"):
        at, own = rows["epoch"].min(), table[table["seed"] == seed]
        for layer in ("e", "h1", "h2"):
            curve = rho(own, "input", layer, "activation")
            before, after = curve.loc[at] - curve.loc[1], curve.loc[last] - curve.loc[at]
            bends.append(after / (last - at) - before / (at - 1))
    return float(np.mean(bends)) if bends else np.nan


def _rescaled_in_time(table: pd.DataFrame) -> pd.DataFrame:
    """Of the table `log`, the seeds whose step was rescaled between the first epoch and the last."""
    if "rescaled" not in table:
        return table
    early = table["rescaled"] & table["epoch"].between(2, table["epoch"].max() - 1)
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


def _more_than_half(allocated: pd.DataFrame) -> float:
    rows = allocated[allocated["method"] == "Simpson"]
    return rows["helping"].sum() / rows["felt"].sum() - 0.5


def _more_than_half_below(allocated: pd.DataFrame) -> float:
    rows = allocated[allocated["layer"] != "decoder"]
    return _more_than_half(rows[rows["epoch"] > 0] if (rows["epoch"] > 0).any() else rows)


def _layers_against(steps: pd.DataFrame) -> float:
    falling = steps.loc[steps["change"] < 0, [*LAYERS]]
    return float((falling > 0).any(axis=1).mean()) - RARE if len(falling) else np.nan


def _changes_where_gradients_are(among: str, layer: str) -> Callable[[pd.DataFrame], float]:
    def margin(concentration: pd.DataFrame) -> float:
        chosen = (concentration["among"] == among) & (concentration["layer"] == layer)
        return concentration.loc[chosen & (concentration["how"] == "pearson"), "correlation"].mean()

    return margin


CLAIMS = Claims(
    gradient_sparser_with_frequency=Claim(
        statement="The more frequent a target word, the sparser the gradient at the top layer.",
        source="thesis chapter 6, section 3 and figures 2 and 3a",
        tables=("rho",),
        margin=lambda table: _last(_top_gradient(table)),
        measured_as="correlation of χ of the gradient at h2 with target frequency after the last epoch",
    ),
    gradient_clearly_sparser=Claim(
        statement="Sparsity of the top layer's gradient is clearly correlated with target frequency.",
        source="thesis chapter 6, section 3, which calls the correlation strong",
        tables=("rho",),
        margin=lambda table: _last(_top_gradient(table)) - CLEAR,
        measured_as=f"the same correlation less {CLEAR}",
    ),
    gradient_sparser_with_training=Claim(
        statement="The gradient of frequent target words at the top layer grows sparser over training.",
        source="thesis chapter 6, section 3 and figure 2",
        tables=("frequent",),
        margin=_sparser_with_training,
        measured_as="rise of their mean χ from epoch 1 to the last",
    ),
    top_gradient_alone=Claim(
        statement="No other layer and no other gradient is as correlated with target frequency as the "
        "gradient at the top layer.",
        source="thesis chapter 6, section 3 and figure 3a",
        tables=("rho",),
        margin=_alone_strong,
        measured_as="its correlation less the greatest absolute one of any other, after the last epoch",
    ),
    top_gradient_rising=Claim(
        statement="The correlation of the top layer's gradient with target frequency rises over training, "
        "and no other rises as much.",
        source="thesis chapter 6, section 3 and figure 3a",
        tables=("rho",),
        margin=_alone_rising,
        measured_as="rise of the gradient's correlation at h2 from epoch 1 to the last, or what it has more "
        "of it than any other layer or gradient, whichever is less",
    ),
    top_activations_flat=Claim(
        statement="Sparse gradients do not come from sparse activations: those of the top layer are not "
        "clearly correlated with target frequency.",
        source="thesis chapter 6, section 3 and figure 3a",
        tables=("rho",),
        margin=_flat_activations,
        measured_as=f"{CLEAR} less the absolute correlation at h2 after the last epoch",
    ),
    frequent_targets_dispersed=Claim(
        statement="Frequent target words come with dispersed activations.",
        source="thesis chapter 6, abstract of the paper; compare its section 3, which finds no correlation",
        tables=("rho",),
        margin=_dispersed,
        measured_as="negative correlation of χ of activations at h2 with target frequency after the last "
        f"epoch, less {WEAK}",
    ),
    closed_classes_first=Claim(
        statement="After one epoch, sparse gradients go with frequency among closed classes, more so than "
        "among open ones.",
        source="thesis chapter 6, section 3 and figure 4",
        tables=("rho",),
        margin=_closed_first(""),
        measured_as="correlation among closed classes after epoch 1, or what it is more than among open "
        "ones, whichever is less",
    ),
    closed_classes_first_matched=Claim(
        statement="After one epoch, sparse gradients go with frequency among closed classes, more so than "
        "among open ones, in matched samples too.",
        source="thesis chapter 6, section 3 and figure 4, matched samples",
        tables=("rho",),
        margin=_closed_first(", matched"),
        measured_as="as before, in matched samples",
    ),
    open_classes_go_on=Claim(
        statement="After the first epoch, the correlation of sparse gradients with frequency goes on rising "
        "among open classes, and more than among closed ones.",
        source="thesis chapter 6, section 3 and figure 4",
        tables=("rho",),
        margin=_open_goes_on(""),
        measured_as="rise of the correlation among open classes from epoch 1 to the last, or what it is "
        "more than among closed ones, whichever is less",
    ),
    open_classes_go_on_matched=Claim(
        statement="After the first epoch, the correlation of sparse gradients with frequency goes on rising "
        "among open classes, and more than among closed ones, in matched samples too.",
        source="thesis chapter 6, section 3 and figure 4, matched samples",
        tables=("rho",),
        margin=_open_goes_on(", matched"),
        measured_as="as before, in matched samples",
    ),
    function_words_sparser=Claim(
        statement="Gradients of function words are sparser than those of content words with like mean "
        "frequency.",
        source="thesis chapter 6, abstract of the paper",
        tables=("rho",),
        margin=_closed_sparser,
        measured_as="mean χ of the gradient at h2 after the last epoch, closed less open, matched samples",
    ),
    function_words_sparser_at_frequency=Claim(
        statement="Gradients of function words are sparser than those of content words of like frequency.",
        source="beyond the thesis; on the abstract of the paper",
        tables=("class_effects",),
        margin=_function_words_sparser,
        measured_as="difference in χ of the gradient at h2 after the last epoch, closed less open, among all "
        "words of the same half octave of frequency",
    ),
    stronger_among_frequent=Claim(
        statement="The correlation at the top layer is higher among more frequent words.",
        source="thesis chapter 6, section 3",
        tables=("noise",),
        margin=_stronger_among_frequent,
        measured_as=f"correlation over words with {MANY_TOKENS} measured tokens or more less that over all",
    ),
    frequent_inputs_sparse=Claim(
        statement="Frequent input words have sparse activations in the embedding and in the lower layer.",
        source="thesis chapter 6, abstract of the paper and figure 3b",
        tables=("rho",),
        margin=_frequent_inputs_sparse,
        measured_as="lower of the correlations of χ at e and at h1 with input frequency after the last epoch",
    ),
    first_layer_first=Claim(
        statement="After one epoch, sparsity follows input frequency more closely in the lower LSTM layer "
        "than in the embedding.",
        source="thesis chapter 6, section 3 and figure 3b",
        tables=("rho",),
        margin=_first_layer_first,
        measured_as="correlation with input frequency after epoch 1, h1 less e",
    ),
    embedding_overtakes=Claim(
        statement="The embedding's correlation with input frequency overtakes that of the lower LSTM layer.",
        source="thesis chapter 6, section 3 and figure 3b",
        tables=("rho",),
        margin=_embedding_overtakes,
        measured_as="correlation of e less that of h1 after the last epoch, or the lead that h1 once had, "
        "whichever is less",
    ),
    gradients_ignore_input=Claim(
        statement="Sparsity of gradients is not correlated with the frequency of input words.",
        source="thesis chapter 6, section 3 and figure 3b",
        tables=("rho",),
        margin=_gradients_ignore_input,
        measured_as=f"{CLEAR} less the greatest absolute correlation of any layer at any epoch",
    ),
    up_after_rescaling=Claim(
        statement="When the step is first rescaled, correlations with input frequency begin to go up.",
        source="thesis chapter 6, section 3 and figure 3b",
        tables=("rho", "log"),
        margin=_up_after_rescaling,
        measured_as="change per epoch after the first rescaling less that before it, mean over the layers",
        among=_rescaled_in_time,
    ),
    lower_layer_sparser=Claim(
        statement="Activations are sparser in the lower LSTM layer than in the upper.",
        source="thesis chapter 6, section 3, of Li et al. (2016)",
        tables=("levels",),
        margin=_lower_layer_sparser,
        measured_as="mean χ over all tokens after the last epoch, h1 less h2",
    ),
    not_by_size=Claim(
        statement="The size of gradients at the top layer is hardly anti-correlated with target frequency.",
        source="thesis chapter 6, section 4",
        tables=("rho",),
        margin=_not_by_size,
        measured_as=f"{WEAK} plus the lowest correlation of ‖·‖₁ at h2 with target frequency at any epoch",
    ),
    not_by_logits=Claim(
        statement="Gradients at the logits are less correlated with target frequency than those at the top "
        "layer.",
        source="thesis chapter 6, section 4",
        tables=("rho",),
        margin=_not_by_logits,
        measured_as="correlation of χ with target frequency after the last epoch, h2 less logits",
    ),
    more_than_untrained=Claim(
        statement="The correlation at the top layer is learnt: an untrained model has less of it.",
        source="beyond the thesis; on chapter 6, figure 3a",
        tables=("rho",),
        margin=_more_than_untrained,
        measured_as="correlation at h2 after the last epoch less its absolute value at epoch 0",
    ),
    more_than_shuffled=Claim(
        statement="The correlation at the top layer takes text: models of words in random order have less "
        "of it.",
        source="beyond the thesis; on chapter 6, figure 3a",
        tables=("rho",),
        margin=_more_than_shuffled,
        measured_as="correlation at h2, true less shuffled text, after equally many epochs",
    ),
    at_other_widths=Claim(
        statement="The correlation at the top layer shows in models of other widths.",
        source="beyond the thesis; on chapter 6, figure 3a",
        tables=("rho",),
        margin=_at_other_widths,
        measured_as="smallest correlation at h2 among models of other widths",
    ),
    not_by_noise=Claim(
        statement="The correlation at the top layer remains where each word gives equally many tokens.",
        source="beyond the thesis; on chapter 6, figure 3a",
        tables=("noise",),
        margin=_not_by_noise,
        measured_as=f"correlation at h2 over words with {FEW_TOKENS} tokens or more, means over "
        f"{FEW_TOKENS} tokens of each",
    ),
    more_than_half_help=Claim(
        statement="In a step of training, more than half of the parameters help.",
        source="thesis chapter 6, section 6.1.1.1 (Lan et al. 2019)",
        tables=("allocated",),
        margin=_more_than_half,
        measured_as="share of felt moves to which a fall of loss is allocated, by Simpson's rule, less one "
        "half",
    ),
    more_than_half_help_below=Claim(
        statement="More than half of the parameters help below the decoder, too, once training has begun.",
        source="beyond the thesis; on chapter 6, section 6.1.1.1",
        tables=("allocated",),
        margin=_more_than_half_below,
        measured_as="the same without the decoder and without the first steps of all",
    ),
    layers_against=Claim(
        statement="In steps that lower the loss, a whole layer may work against it.",
        source="thesis chapter 6, section 6.1.1.1 (Lan et al. 2019)",
        tables=("steps",),
        margin=_layers_against,
        measured_as="share of these steps that allocate a rise to a layer, embedding and decoder counted, "
        f"less {RARE}",
    ),
    loss_change_where_gradients_are=Claim(
        statement="Units of the top layer that receive large gradients are those whose parameters change "
        "the loss.",
        source="beyond the thesis; on chapter 6, section 6.1.1",
        tables=("concentration",),
        margin=_changes_where_gradients_are("units", "h2"),
        measured_as="correlation over units of h2 of the size of gradients with that of loss change, mean "
        "over epochs",
    ),
    loss_change_as_concentrated=Claim(
        statement="Where an input word's gradient at the embedding is concentrated, so is the change of "
        "loss that its embedding brings.",
        source="beyond the thesis; on chapter 6, section 6.1.1",
        tables=("concentration",),
        margin=_changes_where_gradients_are("words", "e"),
        measured_as="correlation over words of χ of the gradient with χ of loss change, mean over epochs",
    ),
)
"""By name."""

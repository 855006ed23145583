"""Findings of chapter 6: frequency, sparsity of layers and gradients, and where the loss changes."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from lmdynamics.claims import CLEAR, Claims, Margins, OutOfReachError, Threshold, within

CLAIMS = Claims(dates=Path(__file__).with_name("rules.csv"))
"""By name."""
MAIN = "language model"
"""The models of chapter 4 in the column `model`; the others are controls."""
WEAK = 0.1
"""Correlations nearer to 0 are weak (thesis chapter 6, section 4)."""
FEW_TOKENS = 10
"""Tokens of each word over which a mean is taken where all words are to have equally many."""
MANY_TOKENS = 50
"""Tokens from which on a word counts as one of the more frequent ones among those measured."""
RARE = Threshold(
    0.05,
    tried=(0.01, 0.02, 0.1, 0.2, 0.3, 0.5),
    meaning="share of steps up to which what happens in them is an exception",
)
LAYERS = ("e", "h1", "h2", "decoder")
"""Of parameters."""
PLACE = ("side", "layer", "kind", "group", "measure")
"""Columns of the table `rho` that say, beside the model, what a curve is of."""
OTHERS = (
    ("e", "activation"), ("h1", "activation"), ("h2", "activation"), ("logits", "activation"),
    ("e", "gradient"), ("h1", "gradient"), ("logits", "gradient"),
)  # fmt: skip
"""Layers and their gradients that are not the gradient at the top layer."""


def _places(table: pd.DataFrame) -> pd.DataFrame:
    """Of the table `rho`, Pearson's correlations, with one label for all that a curve is of."""
    if "side" not in table:
        return table
    rows = table[table["how"] == "pearson"]
    label = rows["model"].str.cat(rows[[*PLACE]], sep="/")
    return rows.drop(columns=[*PLACE, "how"]).assign(place=label.astype("category"))


def _curve(
    table: pd.DataFrame,
    side: str,
    layer: str,
    kind: str,
    *,
    model: str = MAIN,
    group: str = "all",
    measure: str = "chi",
    value: str = "correlation",
) -> "pd.Series[float]":
    """One curve of the table `rho` by `_places`: mean over seeds, by epoch."""
    rows = table["place"] == "/".join((model, side, layer, kind, group, measure))
    return table.loc[rows, ["epoch", value]].groupby("epoch")[value].mean()


def _top_gradient(table: pd.DataFrame, **of: str) -> "pd.Series[float]":
    return _curve(table, "target", "h2", "gradient", **of)


def _activation(table: pd.DataFrame, side: str, layer: str) -> "pd.Series[float]":
    return _curve(table, side, layer, "activation")


def _last(curve: "pd.Series[float]") -> float:
    """After the last epoch; NaN for a curve that was not measured."""
    return curve.iloc[-1] if len(curve) else np.nan


def _rise(curve: "pd.Series[float]") -> float:
    """From after the first epoch to after the last; NaN for a curve that was not measured."""
    if curve.empty:
        return np.nan
    if curve.index[-1] < 2:
        raise OutOfReachError("it takes 2 epochs, and models were trained for 1")
    return curve.iloc[-1] - curve.loc[1]


def _of_others(table: pd.DataFrame, number: "Callable[[pd.Series[float]], float]") -> "pd.Series[float]":
    """A number of the curve of each other layer or gradient."""
    return pd.Series(
        {f"{kind} {layer}": number(_curve(table, "target", layer, kind)) for layer, kind in OTHERS}
    )


def _classes(table: pd.DataFrame, matched: str, **of: str) -> "tuple[pd.Series[float], pd.Series[float]]":
    """Curves of the gradient at the top layer, of closed classes and of open ones."""
    closed, open_ = (_top_gradient(table, group=f"{name}{matched}", **of) for name in ("closed", "open"))
    if closed.empty or open_.empty:
        raise OutOfReachError("too few words of either class were measured")
    return closed, open_


def _closed_first(table: pd.DataFrame, matched: str) -> "pd.Series[float]":
    closed, open_ = (curve.loc[1] for curve in _classes(table, matched))
    return pd.Series({"closed classes": closed, "more than open ones": closed - open_})


def _open_goes_on(table: pd.DataFrame, matched: str) -> "pd.Series[float]":
    closed, open_ = map(_rise, _classes(table, matched))
    return pd.Series({"open classes": open_, "more than closed ones": open_ - closed})


def _rescaled_in_time(table: pd.DataFrame) -> pd.DataFrame:
    """Of the table `log`, the seeds whose step was rescaled between the first epoch and the last."""
    if "rescaled" not in table:
        return _places(table)
    early = table["rescaled"] & table["epoch"].between(2, table["epoch"].max() - 1)
    if not early.any():
        raise OutOfReachError("no step was rescaled between the first epoch and the last")
    return table[table["seed"].isin(table.loc[early, "seed"])]


def _more_than_half(allocated: pd.DataFrame) -> float:
    rows = allocated[allocated["method"] == "Simpson"]
    return rows["helping"].sum() / rows["felt"].sum() - 0.5


def _changes_where_gradients_are(concentration: pd.DataFrame, among: str, layer: str) -> float:
    chosen = (concentration["among"] == among) & (concentration["layer"] == layer)
    return concentration.loc[chosen & (concentration["how"] == "pearson"), "correlation"].mean()


@CLAIMS.finding("thesis chapter 6, section 3 and figures 2 and 3a", rows=_places)
def gradient_sparser_with_frequency(rho: pd.DataFrame) -> Margins:
    """The more frequent a target word, the sparser the gradient at the top layer.

    Margin: correlation of χ of the gradient at h2 with target frequency after the last epoch.
    """
    return _last(_top_gradient(rho))


@CLAIMS.finding("thesis chapter 6, section 3, which calls the correlation strong", rows=_places)
def gradient_clearly_sparser(rho: pd.DataFrame, *, clear: float = CLEAR) -> Margins:
    """Sparsity of the top layer's gradient is clearly correlated with target frequency.

    Margin: the same correlation less {clear}.
    """
    return _last(_top_gradient(rho)) - clear


@CLAIMS.finding("thesis chapter 6, section 3 and figure 2")
def gradient_sparser_with_training(frequent: pd.DataFrame) -> Margins:
    """The gradient of frequent target words at the top layer grows sparser over training.

    Margin: rise of their mean χ from epoch 1 to the last.
    """
    return _rise(frequent.groupby("epoch")["mean"].mean())


@CLAIMS.finding("thesis chapter 6, section 3 and figure 3a", rows=_places)
def top_gradient_alone(rho: pd.DataFrame) -> Margins:
    """No other layer and no other gradient is as correlated with target frequency as the gradient at the
    top layer.

    Margin: its correlation less that of each other, and plus it, after the last epoch.
    """
    return within(_of_others(rho, _last), _last(_top_gradient(rho)))


@CLAIMS.finding("thesis chapter 6, section 3 and figure 3a", rows=_places)
def top_gradient_rising(rho: pd.DataFrame) -> Margins:
    """The correlation of the top layer's gradient with target frequency rises over training, and no other
    rises as much.

    Margin: rise of the gradient's correlation at h2 from epoch 1 to the last, and what it has more of it
    than each other layer and gradient.
    """
    own = _rise(_top_gradient(rho))
    more = own - _of_others(rho, _rise)
    return pd.concat([pd.Series({"rise": own}), more.rename(lambda other: f"more than {other}")])


@CLAIMS.finding("thesis chapter 6, section 3 and figure 3a", rows=_places)
def top_activations_flat(rho: pd.DataFrame, *, clear: float = CLEAR) -> Margins:
    """Sparse gradients do not come from sparse activations: those of the top layer are not clearly
    correlated with target frequency.

    Margin: {clear} less the correlation at h2 after the last epoch, and plus it.
    """
    return within(pd.Series({"h2": _last(_activation(rho, "target", "h2"))}), clear)


@CLAIMS.finding(
    "thesis chapter 6, abstract of the paper; compare its section 3, which finds no correlation", rows=_places
)
def frequent_targets_dispersed(rho: pd.DataFrame) -> Margins:
    """Frequent target words come with dispersed activations.

    Margin: negative correlation of χ of activations at h2 with target frequency after the last epoch, less
    0.1.
    """
    return -_last(_activation(rho, "target", "h2")) - WEAK


@CLAIMS.finding("thesis chapter 6, section 3 and figure 4", rows=_places)
def closed_classes_first(rho: pd.DataFrame) -> Margins:
    """After one epoch, sparse gradients go with frequency among closed classes, more so than among open
    ones.

    Margin: correlation among closed classes after epoch 1, and what it is more than among open ones.
    """
    return _closed_first(rho, "")


@CLAIMS.finding("thesis chapter 6, section 3 and figure 4, matched samples", rows=_places)
def closed_classes_first_matched(rho: pd.DataFrame) -> Margins:
    """After one epoch, sparse gradients go with frequency among closed classes, more so than among open
    ones, in matched samples too.

    Margin: as before, in matched samples.
    """
    return _closed_first(rho, ", matched")


@CLAIMS.finding("thesis chapter 6, section 3 and figure 4", rows=_places)
def open_classes_go_on(rho: pd.DataFrame) -> Margins:
    """After the first epoch, the correlation of sparse gradients with frequency goes on rising among open
    classes, and more than among closed ones.

    Margin: rise of the correlation among open classes from epoch 1 to the last, and what it is more than
    among closed ones.
    """
    return _open_goes_on(rho, "")


@CLAIMS.finding("thesis chapter 6, section 3 and figure 4, matched samples", rows=_places)
def open_classes_go_on_matched(rho: pd.DataFrame) -> Margins:
    """After the first epoch, the correlation of sparse gradients with frequency goes on rising among open
    classes, and more than among closed ones, in matched samples too.

    Margin: as before, in matched samples.
    """
    return _open_goes_on(rho, ", matched")


@CLAIMS.finding("thesis chapter 6, abstract of the paper", rows=_places)
def function_words_sparser(rho: pd.DataFrame) -> Margins:
    """Gradients of function words are sparser than those of content words with like mean frequency.

    Margin: mean χ of the gradient at h2 after the last epoch, closed less open, matched samples.
    """
    closed, open_ = _classes(rho, ", matched", value="mean")
    return _last(closed) - _last(open_)


@CLAIMS.finding("beyond the thesis; on the abstract of the paper")
def function_words_sparser_at_frequency(class_effects: pd.DataFrame) -> Margins:
    """Gradients of function words are sparser than those of content words of like frequency.

    Margin: difference in χ of the gradient at h2 after the last epoch, closed less open, among all words of
    the same half octave of frequency.
    """
    rows = class_effects[(class_effects["model"] == MAIN) & (class_effects["feature"] == "closed class")]
    return rows.loc[rows["epoch"] == rows["epoch"].max(), "coefficient"].mean()


@CLAIMS.finding("thesis chapter 6, section 3")
def stronger_among_frequent(noise: pd.DataFrame) -> Margins:
    """The correlation at the top layer is higher among more frequent words.

    Margin: correlation over words with 50 measured tokens or more less that over all.
    """
    rows = noise[(noise["tokens"] == "all") & (noise["how"] == "pearson")]
    means = rows.groupby("least")["correlation"].mean()
    if MANY_TOKENS not in means.index:
        raise OutOfReachError(f"too few words have {MANY_TOKENS} measured tokens")
    return means.loc[MANY_TOKENS] - means.loc[1]


@CLAIMS.finding("thesis chapter 6, abstract of the paper and figure 3b", rows=_places)
def frequent_inputs_sparse(rho: pd.DataFrame) -> Margins:
    """Frequent input words have sparse activations in the embedding and in the lower layer.

    Margin: correlation of χ with input frequency after the last epoch, at e and at h1.
    """
    return pd.Series({layer: _last(_activation(rho, "input", layer)) for layer in ("e", "h1")})


@CLAIMS.finding("thesis chapter 6, section 3 and figure 3b", rows=_places)
def first_layer_first(rho: pd.DataFrame) -> Margins:
    """After one epoch, sparsity follows input frequency more closely in the lower LSTM layer than in the
    embedding.

    Margin: correlation with input frequency after epoch 1, h1 less e.
    """
    return _activation(rho, "input", "h1").loc[1] - _activation(rho, "input", "e").loc[1]


@CLAIMS.finding("thesis chapter 6, section 3 and figure 3b", rows=_places)
def embedding_overtakes(rho: pd.DataFrame) -> Margins:
    """The embedding's correlation with input frequency overtakes that of the lower LSTM layer.

    Margin: correlation of h1 less that of e after epoch 1, and of e less that of h1 after the last.
    """
    lead = _activation(rho, "input", "e") - _activation(rho, "input", "h1")
    return pd.Series({"behind after epoch 1": -lead.loc[1], "ahead after the last": lead.iloc[-1]})


@CLAIMS.finding("thesis chapter 6, section 3 and figure 3b", rows=_places)
def gradients_ignore_input(rho: pd.DataFrame, *, clear: float = CLEAR) -> Margins:
    """Sparsity of gradients is not correlated with the frequency of input words.

    Margin: {clear} less the correlation, and plus it, by layer and epoch from 1 on.
    """
    curves = {layer: _curve(rho, "input", layer, "gradient").loc[1:] for layer in ("e", "h1", "h2")}
    return within(pd.concat(curves), clear)


@CLAIMS.finding("thesis chapter 6, section 3 and figure 3b", rows=_rescaled_in_time)
def up_after_rescaling(rho: pd.DataFrame, log: pd.DataFrame) -> Margins:
    """When the step is first rescaled, correlations with input frequency begin to go up.

    Margin: change per epoch after the first rescaling less that before it, mean over the layers.
    """
    last, bends = rho["epoch"].max(), []
    for seed, rows in log[log["rescaled"] & (log["epoch"] > 1) & (log["epoch"] < last)].groupby("seed"):
        at, own = rows["epoch"].min(), rho[rho["seed"] == seed]
        for layer in ("e", "h1", "h2"):
            curve = _activation(own, "input", layer)
            before, after = curve.loc[at] - curve.loc[1], curve.loc[last] - curve.loc[at]
            bends.append(after / (last - at) - before / (at - 1))
    return float(np.mean(bends)) if bends else np.nan


@CLAIMS.finding("thesis chapter 6, section 3, of Li et al. (2016)")
def lower_layer_sparser(levels: pd.DataFrame) -> Margins:
    """Activations are sparser in the lower LSTM layer than in the upper.

    Margin: mean χ over all tokens after the last epoch, h1 less h2.
    """
    rows = levels[(levels["model"] == MAIN) & (levels["kind"] == "activation") & (levels["measure"] == "chi")]
    means = rows[rows["epoch"] == rows["epoch"].max()].groupby("layer")["mean"].mean()
    return means["h1"] - means["h2"]


@CLAIMS.finding("thesis chapter 6, section 4", rows=_places)
def not_by_size(rho: pd.DataFrame) -> Margins:
    """The size of gradients at the top layer is hardly anti-correlated with target frequency.

    Margin: 0.1 plus the correlation of ‖·‖₁ at h2 with target frequency, by epoch from 1 on.

    Reported: a correlation above −0.1.
    """
    return WEAK + _top_gradient(rho, measure="taxicab").loc[1:]


@CLAIMS.finding("thesis chapter 6, section 4", rows=_places)
def not_by_logits(rho: pd.DataFrame) -> Margins:
    """Gradients at the logits are less correlated with target frequency than those at the top layer.

    Margin: correlation of χ with target frequency after the last epoch, h2 less logits.
    """
    return _last(_top_gradient(rho)) - _last(_curve(rho, "target", "logits", "gradient"))


@CLAIMS.finding("beyond the thesis; on chapter 6, figure 3a", rows=_places)
def more_than_untrained(rho: pd.DataFrame) -> Margins:
    """The correlation at the top layer is learnt: an untrained model has less of it.

    Margin: correlation at h2 after the last epoch less that at epoch 0, and plus it.
    """
    curve = _top_gradient(rho)
    return within(pd.Series({"untrained": curve.loc[0]}), _last(curve))


@CLAIMS.finding("beyond the thesis; on chapter 6, figure 3a", rows=_places)
def more_than_shuffled(rho: pd.DataFrame) -> Margins:
    """The correlation at the top layer takes text: models of words in random order have less of it.

    Margin: correlation at h2, true less shuffled text, after equally many epochs.
    """
    control = _top_gradient(rho, model="shuffled text")
    if control.empty:
        raise OutOfReachError("no models of shuffled text were trained")
    return _top_gradient(rho).loc[control.index[-1]] - control.iloc[-1]


@CLAIMS.finding("beyond the thesis; on chapter 6, figure 3a", rows=_places)
def at_other_widths(rho: pd.DataFrame) -> Margins:
    """The correlation at the top layer shows in models of other widths.

    Margin: correlation at h2, by width.
    """
    names = [name for name in rho["model"].unique() if name.endswith(" units")]
    if not names:
        raise OutOfReachError("no models of other widths were trained")
    return pd.Series({name: _last(_top_gradient(rho, model=name)) for name in names})


@CLAIMS.finding("beyond the thesis; on chapter 6, figure 3a")
def not_by_noise(noise: pd.DataFrame) -> Margins:
    """The correlation at the top layer remains where each word gives equally many tokens.

    Margin: correlation at h2 over words with 10 tokens or more, means over 10 tokens of each.
    """
    rows = noise[
        (noise["least"] == FEW_TOKENS) & (noise["tokens"] == "as many") & (noise["how"] == "pearson")
    ]
    if rows.empty:
        raise OutOfReachError(f"too few words have {FEW_TOKENS} measured tokens")
    return rows["correlation"].mean()


@CLAIMS.finding("thesis chapter 6, section 6.1.1.1 (Lan et al. 2019)")
def more_than_half_help(allocated: pd.DataFrame) -> Margins:
    """In a step of training, more than half of the parameters help.

    Margin: share of felt moves to which a fall of loss is allocated, by Simpson's rule, less one half.

    Reported: a little over half of all parameters.
    """
    return _more_than_half(allocated)


@CLAIMS.finding("beyond the thesis; on chapter 6, section 6.1.1.1")
def more_than_half_help_below(allocated: pd.DataFrame) -> Margins:
    """More than half of the parameters help below the decoder, too, once training has begun.

    Margin: the same without the decoder and without the first steps of all.
    """
    rows = allocated[allocated["layer"] != "decoder"]
    return _more_than_half(rows[rows["epoch"] > 0] if (rows["epoch"] > 0).any() else rows)


@CLAIMS.finding("thesis chapter 6, section 6.1.1.1 (Lan et al. 2019)")
def layers_against(steps: pd.DataFrame, *, rare: float = RARE) -> Margins:
    """In steps that lower the loss, a whole layer may work against it.

    Margin: share of these steps that allocate a rise to a layer, embedding and decoder counted, less
    {rare}.
    """
    falling = steps.loc[steps["change"] < 0, [*LAYERS]]
    if falling.empty:
        raise OutOfReachError("no step that was followed lowered the loss")
    return float((falling > 0).any(axis=1).mean()) - rare


@CLAIMS.finding("beyond the thesis; on chapter 6, section 6.1.1")
def loss_change_where_gradients_are(concentration: pd.DataFrame) -> Margins:
    """Units of the top layer that receive large gradients are those whose parameters change the loss.

    Margin: correlation over units of h2 of the size of gradients with that of loss change, mean over
    epochs.
    """
    return _changes_where_gradients_are(concentration, "units", "h2")


@CLAIMS.finding("beyond the thesis; on chapter 6, section 6.1.1")
def loss_change_as_concentrated(concentration: pd.DataFrame) -> Margins:
    """Where an input word's gradient at the embedding is concentrated, so is the change of loss that its
    embedding brings.

    Margin: correlation over words of χ of the gradient with χ of loss change, mean over epochs.
    """
    return _changes_where_gradients_are(concentration, "words", "e")

"""Similarity of the layers of checkpoints to those of one of them, from sums alone.

One pass over the text for each checkpoint, side by side with the checkpoint that all are compared to. Nothing
but sums is kept, and of models that are loaded by a function no more than two: memory grows neither with the
text nor with the number of checkpoints.
"""

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from lmdynamics.measures import similarity
from lmdynamics.measures.moments import JointMoments
from lmdynamics.models.observable import Observable
from lmdynamics.observe.activations import STEPS, STREAMS, Block, id_array, observe

MEASURES = {
    "svcca": similarity.svcca,
    "pwcca": similarity.pwcca,
    "cka": similarity.cka,
    "cca": similarity.cca,
}
"""The measures that need only sums, by name."""
TARGET, PERMUTED = " of the target", " of the target, permuted"
"""The ends of a view's name, after the name of its layer."""

Model = nn.Module | Observable
Source = Model | Callable[[], Model]
"""A model, or a function that loads it."""


def trajectory(
    checkpoints: Mapping[Any, Source] | Iterable[Any],
    ids: np.ndarray | Tensor,
    *,
    layers: str | Sequence[str] | None = None,
    to: Any,
    measures: Sequence[str] = ("svcca", "cka"),
    chance: bool = False,
    seed: int = 0,
    streams: int = STREAMS,
    steps: int = STEPS,
) -> pd.DataFrame:
    """Compare each layer of some checkpoints with the same layer of one of them.

    Parameters
    ----------
    checkpoints
        Models by step; or anything that gives them one by one, as pairs of step and model, or as the package
        `lm-checkpoints` does: an object with a `model` and a `step`, which may stand in a dict `config`; or
        model, config, tokenizer and step. A function in place of a model is called when its turn comes.
    ids
        The text, one id after another; of a vocabulary that all checkpoints share.
    layers
        Names of layers, or patterns such as ``"gpt_neox.layers.*"``; None for all layers of models that name
        theirs, as those of this library and of `pretrained.hooked` do.
    to
        The step that all are compared to, or a model. A step is looked for from the beginning: where
        checkpoints come one by one, and loading takes long, a model is better.
    measures
        Of `MEASURES`.
    chance
        Whether to measure each layer also with the rows of the target in random order.
    seed
        Of that order.
    streams, steps
        How the text is laid out: see `activations.blocks`. Of context, a Transformer knows only the `steps`
        tokens that it reads at once.

    Returns
    -------
    pandas.DataFrame
        One row per checkpoint, layer and measure: `step, layer, measure`, the `value`, that by `chance` (rows
        in random order within each block of ``streams * steps`` tokens; NaN without `chance`), and the number
        of `tokens`.

    Raises
    ------
    ValueError
        If a measure is unknown; if no checkpoint is at the step `to`, or two are at one step; if a layer is
        missing in one of them, or an id in the vocabulary of one; or as the measures do.

    Warns
    -----
    similarity.FewTokensWarning
        As the measures do.
    """
    if unknown := [name for name in measures if name not in MEASURES]:
        raise ValueError(f"measures are {', '.join(MEASURES)}, got {', '.join(unknown)}")
    text, target = id_array(ids), _target(checkpoints, to)
    tables: dict[Hashable, pd.DataFrame] = {}
    for step, source in _sources(checkpoints):
        if step in tables:
            raise ValueError(f"need one checkpoint at each step, got two at {step}; give those of one model")
        model = target if step == to else _model(source)
        try:
            pairs = observe([model, target], text, layers=layers, streams=streams, steps=steps)
            tables[step] = _table(step, _moments(pairs, seed if chance else None), measures)
        except ValueError as error:
            raise ValueError(f"step {step} beside the target: {error}") from error
        del model, source  # before the next one is loaded
    return pd.concat(tables.values(), ignore_index=True)


def _moments(pairs: Iterator[tuple[Block, ...]], seed: int | None) -> JointMoments:
    """Return the sums of each layer with that of the target and, with a seed, with its permuted rows."""
    first = next(pairs)
    own, target = (block.layers.keys() for block in first)
    if alone := own ^ target:
        raise ValueError(f"need the same layers in both, got {', '.join(sorted(alone))} in one alone")
    sides = (TARGET,) if seed is None else (TARGET, PERMUTED)
    moments = JointMoments([(name, name + side) for name in own for side in sides])
    generator = torch.Generator().manual_seed(seed or 0)
    for block, beside in chain([first], pairs):
        order = torch.randperm(len(block.tokens), generator=generator)
        device = next(iter(block.layers.values())).device
        views = {name: rows.to(device) for name, rows in block.layers.items()}
        for name, rows in beside.layers.items():
            views[name + TARGET] = rows.to(device)
            views[name + PERMUTED] = views[name + TARGET][order.to(device)]
        moments.update({name: views[name] for name in moments.views})
    return moments


def _table(step: Hashable, moments: JointMoments, measures: Sequence[str]) -> pd.DataFrame:
    """Return the rows of one checkpoint."""
    permuted = {layer: view for layer, view in moments.pairs if view == layer + PERMUTED}
    return pd.DataFrame(
        {
            "step": step,
            "layer": layer,
            "measure": measure,
            "value": MEASURES[measure](moments[layer, view]),
            "chance": MEASURES[measure](moments[layer, permuted[layer]]) if permuted else np.nan,
            "tokens": moments.count,
        }
        for layer, view in moments.pairs
        if view == layer + TARGET
        for measure in measures
    )


def _target(checkpoints: Mapping[Any, Source] | Iterable[Any], to: Any) -> Model:
    """Return the model that all are compared to."""
    if isinstance(to, nn.Module | Observable):
        return to
    if iter(checkpoints) is checkpoints:
        raise ValueError(f"need a model as the target of checkpoints that come only once, got {to!r}")
    before = []
    for step, source in _sources(checkpoints):
        if step == to:
            return _model(source)
        before.append(str(step))
        del source
    raise ValueError(f"need a model or one of the steps {', '.join(before)} as the target, got {to!r}")


def _sources(checkpoints: Mapping[Any, Source] | Iterable[Any]) -> Iterator[tuple[Any, Any]]:
    """Yield steps and models one by one; none is held here while the next is loaded."""
    for each in checkpoints.items() if isinstance(checkpoints, Mapping) else checkpoints:
        match each:
            case (
                object(model=model, step=step)
                | object(model=model, config={"step": step})
                | (model, _, _, step)
                | (step, model)
            ):
                yield step, model
            case _:
                raise ValueError(f"need checkpoints with a step and a model, got {type(each).__name__}")
        del each, model


def _model(source: Source) -> Model:
    return source if isinstance(source, nn.Module | Observable) else source()

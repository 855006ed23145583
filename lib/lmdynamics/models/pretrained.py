"""Any `torch.nn.Module` as an `Observable`, by forward hooks; and folders of checkpoints.

Models of the package `transformers` are such modules; it is imported only to load a folder.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from lmdynamics.ground import paths
from lmdynamics.models.observable import Observable, Observed, State, matching


class Pass(NamedTuple):
    """The result of one pass through a module, with the axes of the module."""

    layers: dict[str, Tensor]
    """Output of each hooked layer by name; where gradients are enabled, with its graph."""
    output: Tensor
    """What the module returns, of several tensors the first: the logits of a language model."""
    state: State
    """After the last step, if the module is recurrent."""


def hooked(
    module: nn.Module,
    layers: str | Sequence[str],
    words: int | None = None,
    *,
    batch_first: bool | None = None,
    recurrent: bool = False,
) -> "Hooked":
    """Return a model that can be observed from a module, which itself stays as it is.

    Parameters
    ----------
    module
        Called with word ids alone, or if `recurrent` with ids and a state.
    layers
        Names of submodules, or patterns such as ``"gpt_neox.layers.*"``, whose ``*`` crosses no dot. Layers
        come in the order of the module. Of a layer that returns several tensors, the first is observed.
    words
        Size of the vocabulary; None for `vocab_size` in the module's `config`, or else that of its only
        embedding.
    batch_first
        Whether the axes of ids and layers are (batch, steps) or (steps, batch). None for what PyTorch's
        recurrent and attention layers in the module say; without any, (batch, steps), as in the package
        `transformers`.
    recurrent
        Whether ``module(ids, state)`` returns its output and the state after it; the state is None at the
        beginning of a text. Otherwise nothing is handed on, as in all Transformers: each stretch of text that
        is read at once is a context of its own.

    Raises
    ------
    ValueError
        If a pattern matches no submodule, or if the size of the vocabulary or the order of axes is not clear.
    """
    names = [name for name, _ in module.named_modules() if name]
    if batch_first is None:
        batch_first = _batch_first(module)
    return Hooked(module, matching(names, layers), words or _words(module), batch_first, recurrent)


@dataclass(frozen=True)
class Hooked:
    """A module that can be observed; `hooked` makes one."""

    module: nn.Module
    layers: tuple[str, ...]
    words: int
    batch_first: bool
    recurrent: bool

    def read(self, ids: Int[Tensor, "steps batch"], state: State | None = None) -> Observed:
        """Read a stretch of text without gradients and without dropout; see `observable.Observable`.

        Raises
        ------
        ValueError
            If the stretch is longer than the positions that the module has; or if a layer does not run
            exactly once, or gives anything but a vector for each token.
        """
        with torch.no_grad():
            layers, _, after = self.forward(ids, state)
        return Observed({name: self.time_first(values) for name, values in layers.items()}, after)

    def forward(self, ids: Int[Tensor, "steps batch"], state: State | None = None) -> Pass:
        """Read like `read`, with the same errors, but keep the graph where gradients are enabled."""
        most = getattr(getattr(self.module, "config", None), "max_position_embeddings", None) or len(ids)
        if 0 < most < len(ids):
            raise ValueError(f"the module has {most} positions, got {len(ids)} steps; set fewer steps")
        weight = next(self.module.parameters(), ids)
        input_ids = (ids.T.contiguous() if self.batch_first else ids).to(weight.device)
        with _layer_outputs(self.module, self.layers) as layers:
            result = self.module(input_ids, state) if self.recurrent else (self.module(input_ids), None)
        if not isinstance(result, tuple) or len(result) != 2:
            raise ValueError(f"a recurrent module returns (output, state), got {type(result).__name__}")
        output, after = result
        for name in self.layers:
            _check(name, layers.get(name), input_ids)
        return Pass({name: layers[name] for name in self.layers}, _first(output), after)

    def time_first(self, values: Float[Tensor, "_ _ units"]) -> Float[Tensor, "steps batch units"]:
        """Return a tensor of the module with its steps on the first axis."""
        return values.transpose(0, 1) if self.batch_first else values


def observable(
    model: nn.Module | Observable, layers: str | Sequence[str] | None
) -> tuple[Observable, tuple[str, ...]]:
    """Return a model that can be observed, and the names of its layers that match the patterns.

    Raises
    ------
    ValueError
        If a pattern matches no layer, or there is none for a module that does not name its layers; and as
        `hooked` does.
    """
    if isinstance(model, Observable):
        return model, model.layers if layers is None else matching(model.layers, layers)
    hooked_model = hooked(model, [] if layers is None else layers)
    return hooked_model, hooked_model.layers


def checkpoints(
    folder: Path | str, load: Callable[[Path], nn.Module] | None = None
) -> dict[int, Callable[[], nn.Module]]:
    """Return a function that loads each checkpoint of a local folder, by step.

    Parameters
    ----------
    folder
        Holds ``step0``, ``step512``, ... (or ``checkpoint-512``, ...), each as `save_pretrained` leaves it.
    load
        Loads one of them; None for `AutoModelForCausalLM` of the package `transformers`, from local files
        alone.

    Raises
    ------
    ValueError
        If the folder has no name, there is no such folder, or two are of the same step.
    """
    folders = [
        (int(name[1]), path)
        for path in paths.path(folder).glob("*/")
        if (name := re.fullmatch(r"(?:step|checkpoint)[-_]?(\d+)", path.name))
    ]
    if not folders or len(dict(folders)) < len(folders):
        names = ", ".join(sorted(path.name for _, path in folders)) or "none"
        raise ValueError(f"need folders step0, step512, ..., one of each step, in {folder}; got {names}")
    return {step: partial(load or _causal, path) for step, path in sorted(folders)}


def _causal(path: Path) -> nn.Module:
    try:
        from transformers import AutoModelForCausalLM
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"loading {path} needs the package transformers; pip install 'lmdynamics[pretrained]'"
        ) from error
    return AutoModelForCausalLM.from_pretrained(path, local_files_only=True)


def _words(module: nn.Module) -> int:
    size = getattr(getattr(module, "config", None), "vocab_size", None)
    sizes = {size} if size else {e.num_embeddings for e in module.modules() if isinstance(e, nn.Embedding)}
    if len(sizes) != 1:
        raise ValueError(f"need a config, or embeddings of one size, got {len(sizes)}; set words")
    return sizes.pop()


def _batch_first(module: nn.Module) -> bool:
    orders = {each.batch_first for each in module.modules() if hasattr(each, "batch_first")}
    if len(orders) > 1:
        raise ValueError("need layers with one order of axes, got some with batch first; set batch_first")
    return bool(orders.pop()) if orders else True


@contextmanager
def _layer_outputs(module: nn.Module, names: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """Collect the outputs of some layers while the module runs without dropout."""
    layers: dict[str, Tensor] = {}

    def gather(name: str, layer: nn.Module, arguments: Any, output: Any) -> Tensor | None:
        if name in layers:
            raise ValueError(f"layer {name} runs more than once in one reading; hook layers that run once")
        values = _first(output)
        if not torch.is_grad_enabled():
            layers[name] = values.clone()  # what follows may change it in place
            return None
        layers[name] = values if values.requires_grad else values.requires_grad_()
        return values.clone() if output is values else None  # likewise

    training = {each: each.training for each in module.modules()}
    handles = [module.get_submodule(name).register_forward_hook(partial(gather, name)) for name in names]
    module.eval()
    try:
        yield layers
    finally:
        for handle in handles:
            handle.remove()
        for each, was in training.items():
            each.training = was


def _first(output: Any) -> Tensor:
    """Return the first tensor of a module's output."""
    while not isinstance(output, Tensor):
        output = next(iter(output.values() if isinstance(output, Mapping) else output))
    return output


def _check(name: str, values: Tensor | None, ids: Tensor) -> None:
    if values is None:
        raise ValueError(f"layer {name} does not run when the module reads; hook another")
    if values.dim() != 3 or values.shape[:2] != ids.shape or not values.is_floating_point():
        raise ValueError(
            f"layer {name} needs a vector for each token, got shape {tuple(values.shape)} of {values.dtype} "
            f"for ids of shape {tuple(ids.shape)}; set batch_first to what the module reads, or hook another"
        )

"""The training dynamics of language models: models, observation, measures, claims.

``import lmdynamics as lm``, then ``lm.trajectory(...)``: the names that people outside this project use are
imported when they are first asked for. All else is in the packages below.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lmdynamics.models.observable import Observable, Observed
    from lmdynamics.models.pretrained import checkpoints, hooked
    from lmdynamics.observe.activations import observe
    from lmdynamics.observe.by_word import sparsity_by_word
    from lmdynamics.observe.trajectory import trajectory

__all__ = [
    "Observable",
    "Observed",
    "checkpoints",
    "hooked",
    "observe",
    "sparsity_by_word",
    "trajectory",
]

_HOMES = {
    "Observable": "models.observable",
    "Observed": "models.observable",
    "checkpoints": "models.pretrained",
    "hooked": "models.pretrained",
    "sparsity_by_word": "observe.by_word",
    "trajectory": "observe.trajectory",
}
"""Where each name is defined. `observe` is a package that can be called: see there."""


def __getattr__(name: str) -> Any:
    """Import a name when it is first asked for."""
    if name == "observe":
        return import_module(f"{__name__}.observe")
    if name not in _HOMES:
        raise AttributeError(f"lmdynamics offers {', '.join(__all__)}, and packages to import; got {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    """All names, whether they were imported already or not."""
    return sorted({*globals(), *__all__})

"""Observation of models: hidden states, gradients, contributions of words and parameters.

The package itself can be called: ``lmdynamics.observe(models, ids)`` is `activations.observe`.
"""

import sys
from types import ModuleType
from typing import Any


class _Callable(ModuleType):
    """A package that can be called like a function of its own name."""

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        from lmdynamics.observe import activations  # not before it is needed: it imports PyTorch

        return activations.observe(*arguments, **options)


sys.modules[__name__].__class__ = _Callable

"""Steps that are captured once as a CUDA graph and then replayed; on the CPU they are taken as they are."""

import threading
from collections.abc import Sequence

import torch
from jaxtyping import Int
from torch import Tensor

from lmdynamics.models.together.steps import Pass, Steps

_CAPTURE = threading.Lock()
"""Only one capture can be underway in a process."""
_WARM_UP = 3  # steps before a capture: libraries choose and allocate


class Captured:
    """The steps of some models, a whole step launched as one.

    Parameters
    ----------
    steps
        What to capture. Its step must not wait for the device, and read and write the same memory each time.
    """

    def __init__(self, steps: Steps) -> None:
        self._steps = steps
        self.rates, self.losses, self.generators = steps.rates, steps.losses, steps.generators
        self._graph: torch.cuda.CUDAGraph | None = None
        self._passes: Sequence[Pass] = ()

    def begin(self, passes: Sequence[Pass]) -> None:
        """Take over the models' weights."""
        self._steps.begin(passes)

    def reset(self, passes: Sequence[Pass]) -> None:
        """Set the rates and seeds of the passes, and losses and states to zero."""
        self._passes = passes
        self._steps.reset(passes)

    def step(
        self, words: Int[Tensor, "models steps batch"], targets: Int[Tensor, "models steps batch"]
    ) -> None:
        """Take one step; the first on a GPU is captured, and those of its shape replay it."""
        if words.is_cuda and self._graph is None:
            self._capture(words, targets)
        if self._graph is None or words.shape != self._words.shape:  # the rest at the end of an epoch
            return self._steps.step(words, targets)
        self._words.copy_(words)
        self._targets.copy_(targets)
        self._graph.replay()

    def finish(self) -> None:
        """Give the weights back."""
        self._steps.finish()

    def _capture(self, words: Tensor, targets: Tensor) -> None:
        """Capture a step before the first, and leave no trace of it: with a rate of 0 no weight moves."""
        self._words, self._targets = words.clone(), targets.clone()
        self.rates.zero_()
        graph, stream = torch.cuda.CUDAGraph(), torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        for generator in self.generators:
            graph.register_generator_state(generator)
        with _CAPTURE:
            with torch.cuda.stream(stream):  # the same as in the capture: libraries allocate by stream
                for _ in range(_WARM_UP):
                    self._steps.step(self._words, self._targets)
            # other threads go on with other models meanwhile
            with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
                self._steps.step(self._words, self._targets)
        torch.cuda.current_stream().wait_stream(stream)
        self._graph = graph
        self._steps.reset(self._passes)

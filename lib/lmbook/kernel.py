"""What the kernel of a chapter loads as it starts, by `jupyter/kernels/python3/kernel.json`."""

import os
from typing import Any

from lmdynamics.ground import lifetime


def load_ipython_extension(shell: Any) -> None:
    """Let the kernel end with the process that started it."""
    lifetime.end_with(os.getppid())

"""Errors that say which extra of this distribution installs a missing package."""

from collections.abc import Iterator
from contextlib import contextmanager

NOT_IN_NUMBERS = ("*",)  # words of an error


@contextmanager
def extra(name: str) -> Iterator[None]:
    """Tell how to install a package whose import fails in this context.

    Parameters
    ----------
    name
        The extra, such as ``text``.

    Raises
    ------
    ModuleNotFoundError
        If a package is not installed; the message says what to install.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"need the package {error.name}, which is not installed; pip install 'lmdynamics[{name}]'",
            name=error.name,
        ) from error

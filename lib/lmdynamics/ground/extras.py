"""Packages that come with an extra of this distribution: what to install where one is absent."""

from collections.abc import Iterator
from contextlib import contextmanager

NOT_IN_NUMBERS = ("*",)  # words of an error


@contextmanager
def extra(name: str) -> Iterator[None]:
    """Around imports of packages that only an extra brings.

    Parameters
    ----------
    name
        The extra, such as ``text``.

    Raises
    ------
    ModuleNotFoundError
        If one of them is not installed; says what to install.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"need the package {error.name}, which is not installed; pip install 'lmdynamics[{name}]'",
            name=error.name,
        ) from error

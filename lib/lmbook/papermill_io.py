"""Plain papermill on a chapter: `papermill chapters/<chapter>.md out.ipynb -p epochs 5`."""

import atexit
import os
import warnings
from contextlib import ExitStack
from pathlib import Path

import nbformat

from lmbook import chapters
from lmbook.following import following
from lmdynamics.ground import storage

# Papermill expects the text of a notebook to be called .ipynb.
warnings.filterwarnings("ignore", message=r"The specified file \(chapters/.*\) does not end in")

_open = ExitStack()
atexit.register(_open.close)  # papermill never says when it is done; later no thread can be joined any more


class ChapterHandler:
    """Reads `chapters/...` as text for papermill, and readies what a chapter's kernel expects around it."""

    @classmethod
    def read(cls, path: str) -> str:
        """Return a chapter as the JSON of a notebook."""
        text = Path(path).read_text(encoding="utf-8")
        if path.endswith(".ipynb"):
            return text
        _open.enter_context(chapters.environment(chapters.project_root(Path(path))))
        _open.enter_context(following(Path(path).stem))
        return nbformat.writes(chapters.read(text))

    @classmethod
    def write(cls, text: str, path: str) -> None:
        """Write an executed notebook."""
        storage.write(Path(path), text.encode())

    @classmethod
    def listdir(cls, path: str) -> list[str]:
        """Return the names in a folder."""
        return os.listdir(path)  # noqa: PTH208

    @classmethod
    def pretty_path(cls, path: str) -> str:
        """Return how papermill shows a path."""
        return path

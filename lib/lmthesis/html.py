"""Tables and paragraphs of a page, in which every text is shown as it is written.

Names of files and corpora, titles, words and tags are anybody's, and may look like markup or mathematics.
Nothing else in the book or its experiments turns a table into HTML.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from typing import Any

import pandas as pd
from pandas.io.formats.style import Styler

_NO_MATHEMATICS = "tex2jax_ignore mathjax_ignore"
"""Classes of what MathJax leaves alone, in the book and in JupyterLab."""


def table(
    frame: pd.DataFrame,
    *,
    formats: Mapping[str, str] | None = None,
    index: bool = False,
    classes: str = "",
) -> Styler:
    """Return a table as a page shows it.

    Parameters
    ----------
    frame
        Texts and numbers.
    formats
        How to write a column's values, by its name.
    index
        Whether to show the index.
    classes
        Of the table, which the style sheet of the book knows.
    """
    named = frame.rename_axis(index=_escaped, columns=_escaped)
    styler = named.style.format({**(formats or {})}, escape="html")
    for axis in (0, 1):
        styler.format_index(escape="html", axis=axis)
    if not index:
        styler.hide(axis="index")
    return styler.set_table_attributes(f'class="{escape(classes)} {_NO_MATHEMATICS}"')


def markup(styler: Styler) -> str:
    """Return the HTML of a table, for a page that is put together of several."""
    return str(styler.to_html())


def _escaped(name: Any) -> Any:
    """The name of an index, where it has one."""
    return escape(name) if isinstance(name, str) else name


@dataclass(frozen=True)
class Paragraph:
    """Some sentences, and a command at their end where there is one."""

    text: str
    command: str = ""

    def _repr_html_(self) -> str:
        command = f" <code>{escape(self.command)}</code>" if self.command else ""
        return f'<p class="{_NO_MATHEMATICS}">{escape(self.text)}{command}</p>'

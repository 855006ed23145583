"""The parameters of a chapter: what its tagged cell declares, and the values that a command line gives.

A declaration is a line such as `epochs: int | None = None  # passes over the corpus`. Its type is one of
`int`, `float`, `bool`, `str`, a list of these, `Literal[...]`, or one of these with `None`. Without an
annotation the default's own type holds. Which values of a type a chapter can have is for its settings to say.
"""

import ast
import io
import tokenize
from collections import Counter
from dataclasses import dataclass
from typing import Any, Literal, Optional

import nbformat

from lmthesis import values

TAG = "parameters"


class ParameterError(ValueError):
    """A parameter that a chapter does not have, or text that is not a value of its type."""


@dataclass(frozen=True)
class Parameter:
    """One parameter of a chapter, as declared."""

    name: str
    type: str  # as written: "int | None"
    default: str  # as written: "None"
    help: str  # the comment at the line's end, "" without one

    def parse(self, text: str) -> Any:
        """Return the value that the text names.

        Raises
        ------
        ParameterError
            If the text is not a value of the parameter's type.
        """
        try:
            kind = eval(self.type, {"Literal": Literal, "Optional": Optional})
            return values.checked(self.name, kind, text)
        except (ValueError, NameError, KeyError):
            raise ParameterError(f"{self.name} needs {self.type}, got {text!r}") from None


def declared(notebook: nbformat.NotebookNode) -> dict[str, Parameter]:
    """Return the parameters that a chapter declares in the cell tagged `parameters`, by name."""
    found = {}
    for cell in notebook.cells:
        if TAG in cell.metadata.get("tags", []):
            comments = _comments(cell.source)
            for statement in ast.parse(cell.source).body:
                if parameter := _declaration(statement, comments):
                    found[parameter.name] = parameter
    return found


def parse(notebook: nbformat.NotebookNode, given: list[tuple[str, str]]) -> dict[str, Any]:
    """Return the values of the parameters given as text.

    Raises
    ------
    ParameterError
        If the chapter has no such parameter, the text is not a value of its type, or one is given twice;
        lists what there is.
    """
    known = declared(notebook)
    try:
        times = Counter(name for name, _ in given)
        if unknown := sorted(set(times) - set(known)):
            raise ParameterError(f"no parameter {', '.join(unknown)} in this chapter")
        if twice := [name for name, number in times.items() if number > 1]:
            raise ParameterError(f"{', '.join(twice)} needs one value, got several")
        return {name: known[name].parse(text) for name, text in given}
    except ParameterError as error:
        raise ParameterError(f"{error}; there are:\n{table(known)}") from None


def table(parameters: dict[str, Parameter]) -> str:
    """Return a line for each parameter: name, type, default, help."""
    rows = [(p.name, p.type, f"= {p.default}", p.help) for p in parameters.values()]
    widths = [max((len(row[column]) for row in rows), default=0) for column in range(3)]
    return "\n".join(
        "  ".join([*(c.ljust(w) for c, w in zip(row, widths, strict=False)), row[3]]) for row in rows
    )


def _comments(source: str) -> dict[int, str]:
    """Return the comment at the end of each line that has one."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {t.start[0]: t.string.lstrip("# ") for t in tokens if t.type == tokenize.COMMENT}


def _declaration(statement: ast.stmt, comments: dict[int, str]) -> Parameter | None:
    match statement:
        case ast.AnnAssign(target=ast.Name(name), annotation=annotation, value=ast.expr() as value):
            kind = ast.unparse(annotation)
        case ast.Assign(targets=[ast.Name(name)], value=value):
            kind = type(ast.literal_eval(value)).__name__
        case _:
            return None
    return Parameter(name, kind, ast.unparse(value), comments.get(statement.end_lineno or 0, ""))

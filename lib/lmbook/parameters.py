"""The parameters of a chapter: what its tagged cell declares, and the values that a command line gives.

A declaration is a line such as `epochs: int | None = None  # passes over the corpus`. Its type is one of
`int`, `float`, `bool`, `str`, a list of these, `Literal[...]`, or one of these with `None`. Without an
annotation the default's own type holds.
"""

import ast
import io
import tokenize
from dataclasses import dataclass
from typing import Any

import nbformat

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
        for kind in _alternatives(ast.parse(self.type, mode="eval").body):
            try:
                return _parsed(kind, text)
            except ValueError:
                continue
        raise ParameterError(f"{self.name} needs {self.type}, got {text!r}")


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
        If the chapter has no such parameter, or the text is not a value of its type; lists what there is.
    """
    known = declared(notebook)
    try:
        unknown = sorted({name for name, _ in given} - set(known))
        if unknown:
            raise ParameterError(f"no parameter {', '.join(unknown)} in this chapter")
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


def _alternatives(kind: ast.expr) -> list[ast.expr]:
    """Return the types of a union, with None first: the text "none" means it even where a `str` would do."""
    match kind:
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            found = [*_alternatives(left), *_alternatives(right)]
        case ast.Subscript(value=ast.Name("Optional"), slice=inner):
            found = [ast.Constant(None), *_alternatives(inner)]
        case _:
            return [kind]
    return sorted(found, key=lambda each: not isinstance(each, ast.Constant))


def _parsed(kind: ast.expr, text: str) -> Any:
    match kind:
        case ast.Name("str"):
            return text
        case ast.Name("int"):
            return int(text)
        case ast.Name("float"):
            return float(text)
        case ast.Name("bool") if text.lower() in ("true", "false"):
            return text.lower() == "true"
        case ast.Constant(None) if text.lower() == "none":
            return None
        case ast.Subscript(value=ast.Name("list"), slice=item):
            return [
                _parsed(item, each.strip(" '\"")) for each in text.strip("[] ").split(",") if each.strip()
            ]
        case ast.Subscript(value=ast.Name("Literal"), slice=choices):
            values = choices.elts if isinstance(choices, ast.Tuple) else [choices]
            for value in map(ast.literal_eval, values):
                if str(value) == text:
                    return value
    raise ValueError

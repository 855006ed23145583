"""What a number depends on: the code that computed it, the versions it ran with, the machine.

Code is compared by meaning: comments, formatting and docstrings are left out, so that only an edit that can
change a number changes a fingerprint. Imports are read from the source, never run; an import made by a string
(`importlib.import_module`) is not seen.

When a file is edited, a process goes on with the code that it imported. So files are read as this module is
imported, and a fingerprint is of that code; a module that is imported later must still be what was read.
"""

import ast
import datetime
import hashlib
import os
import platform
import sys
from collections.abc import Callable, Iterator
from functools import cache
from importlib.metadata import version
from pathlib import Path

PACKAGE = "lmdynamics"
_FOLDER = Path(__file__).parent
_NEVER_IN_A_NUMBER = {f"{PACKAGE}.progress"}  # shows how far the work is; an edit of it re-runs nothing
_SOURCES = {path: path.read_text(encoding="utf-8") for path in _FOLDER.rglob("[!.]*.py")}
_IMPORTS = {name: getattr(module, "__spec__", None) for name, module in sys.modules.items()}
"""The spec of a module is another one after each import of it."""
_VERSIONS = ("lmdynamics", "numpy", "scipy", "spacy", "torch")


def code_fingerprint(*modules: str, as_imported: bool = True) -> str:
    """Fingerprint of some modules of this package and of all of the package that they import.

    Parameters
    ----------
    modules
        Dotted names, such as `lmdynamics.similarity`; their order does not matter.
    as_imported
        Whether code counts as this process imported it; False for the files as they are, which a process that
        begins now imports.

    Returns
    -------
    str
        16 hexadecimal digits; the same until an edit changes what the code does.

    Raises
    ------
    RuntimeError
        If code counts as imported, and a module was edited after this one was imported and before itself was.
    ValueError
        If there is no such module.
    """
    source = _imported_source if as_imported else _source
    digest = hashlib.sha256()
    for name in sorted(_with_imports(modules, source)):
        digest.update(f"{name}\n{_essence(source(name))}\n".encode())
    return digest.hexdigest()[:16]


def require_code(fingerprint: str, module: str) -> None:
    """Refuse to go on where this process imported other code than the one that asks it for work.

    Raises
    ------
    RuntimeError
        If `code_fingerprint(module)` is another than the fingerprint.
    """
    if code_fingerprint(module) != fingerprint:
        raise _edited(f"{module}, or what it imports,")


def with_imports(*modules: str) -> set[str]:
    """Return some modules of this package and all of the package that they import, as the files are."""
    return _with_imports(modules, _source)


def imported_modules(source: str, *, package: str = "") -> set[str]:
    """Return the modules of this package that some source text imports itself, anywhere in it.

    Parameters
    ----------
    source
        Python source: a module's, or a chapter's code cells joined by newlines.
    package
        The package that the source is in, from which its relative imports start.

    Returns
    -------
    set of str
        Dotted names, packages included: importing `lmdynamics.studies.x` runs `lmdynamics.studies` too.
    """
    return {name for name in _all_named(source, package) if _path(name) is not None}


def provenance() -> dict[str, str]:
    """Return versions, machine and date (UTC, to the second), to be kept beside a recorded result."""
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        **{name: version(name) for name in _VERSIONS},
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "accelerator": _accelerator(),
    }


def _with_imports(modules: tuple[str, ...], source: Callable[[str], str]) -> set[str]:
    found: set[str] = set()
    waiting = {name for module in modules for name in _with_parents(module)}
    while waiting:
        name = waiting.pop()
        found.add(name)
        package = name if _is_package(name) else name.rpartition(".")[0]
        waiting |= imported_modules(source(name), package=package) - found - _NEVER_IN_A_NUMBER
    return found


@cache
def _all_named(source: str, package: str) -> set[str]:
    return {name for node in ast.walk(ast.parse(source)) for name in _named(node, package)}


def _named(node: ast.AST, package: str) -> Iterator[str]:
    """Yield each dotted name under this package that an import statement may load, parents included."""
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
        above = package.split(".")[: len(package.split(".")) + 1 - node.level] if node.level else []
        base = ".".join([*above, *([node.module] if node.module else [])])
        names = [f"{base}.{alias.name}" for alias in node.names]
    else:
        return
    for name in names:
        if name.split(".")[0] == PACKAGE:
            yield from _with_parents(name)


def _with_parents(name: str) -> list[str]:
    """Return a dotted name after the packages that it is in, all of which an import of it runs."""
    parts = name.split(".")
    return [".".join(parts[:end]) for end in range(1, len(parts) + 1)]


def _path(name: str) -> Path | None:
    """Return the file of a module of this package, None where there is no such module."""
    stem = _FOLDER.joinpath(*name.split(".")[1:])
    candidates = (
        (stem.with_suffix(".py"), stem / "__init__.py") if stem != _FOLDER else (stem / "__init__.py",)
    )
    return next((path for path in candidates if path.is_file()), None)


def _is_package(name: str) -> bool:
    path = _path(name)
    return path is not None and path.name == "__init__.py"


def _imported_source(name: str) -> str:
    """Return the source of a module as this process imported it, or as its file is where it did not."""
    path, module = _file(name), sys.modules.get(name)
    if module is None:
        return _source(name)
    if module.__spec__ is not _IMPORTS.get(name):  # imported after this module, or once more
        if path not in _SOURCES or _essence(_source(name)) != _essence(_SOURCES[path]):
            raise _edited(name)
        _IMPORTS[name] = module.__spec__
    return _SOURCES[path]


def _source(name: str) -> str:
    return _file(name).read_text(encoding="utf-8")


def _file(name: str) -> Path:
    path = _path(name) if name.split(".")[0] == PACKAGE else None
    if path is None:
        raise ValueError(
            f"need the name of a module of {PACKAGE}, such as {PACKAGE}.provenance, got {name!r}"
        )
    return path


def _edited(what: str) -> RuntimeError:
    return RuntimeError(
        f"{what} was edited since this process began, and numbers need the code of one moment; "
        "restart the process (of a notebook, the kernel)"
    )


@cache
def _essence(source: str) -> str:
    """Return the source without comments, formatting and docstrings."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [statement for statement in node.body if not _is_text(statement)]
    return ast.unparse(tree)


def _is_text(statement: ast.stmt) -> bool:
    # A docstring, or a bare string under a dataclass field: neither does anything.
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )


def _accelerator() -> str:
    import torch  # takes seconds, and the fingerprints above do not need it

    return torch.cuda.get_device_name() if torch.cuda.is_available() else "none"

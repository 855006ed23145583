"""The provenance of a number: the code that computes it, the package versions and the machine.

The fingerprint of a function covers the function and every definition that it reaches: functions, classes and
constants that it names, those that these name, and so on, within the packages that are *tracked* (this
library and every package of a function whose fingerprint was taken). Annotations count as names: the methods
of an argument are reached through its type. Code is compared by meaning: comments, formatting and docstrings
are left out, so that only an edit that can change a number changes its fingerprint. Code is never run. A
module that is used as a value, or a package whose `__path__` is used, counts whole. Of
``import_module(f"...")`` every module counts that fits the fixed parts of the text. What else is built at run
time (`globals()["name"]`, a registry that decorators fill) is not seen.

When a file is edited, a process goes on with the code that it imported. So the files of a package are read
when it is first tracked, and a fingerprint is of that code; a module that is imported later must still be
what was read.
"""

import ast
import datetime
import hashlib
import importlib.util
import os
import platform
import re
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache, cached_property, wraps
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple, ParamSpec, TypeVar

EXCEPT = "NOT_IN_NUMBERS"
"""Name of a module's tuple of names that no number depends on, although code that computes numbers reaches
them: what reports progress, what schedules work; ``("*",)`` for all of the module."""
_FOLDERS: dict[str, Path] = {}
"""Folder of each tracked package."""
_SOURCES: dict[Path, str] = {}
"""Its files as they were when it was first tracked."""
_IMPORTS: dict[str, object] = {}
"""The spec of each module imported by then; it is another one after each import."""
_VERSIONS = ("lmdynamics", "numpy", "scipy", "spacy", "torch")
_ARRAYS = re.compile(r"(Float|Int|UInt|Bool|Num|Shaped)\d*")
"""Names of jaxtyping's arrays."""
_WHOLE = "*"
"""In place of a definition's name: all of a module."""


_P = ParamSpec("_P")
_R = TypeVar("_R")
_LOCK = threading.RLock()


def _one_thread_at_a_time(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Have threads wait for one another: they share what was read, and Python cannot parse in two of them.

    It raises a SystemError where one interrupts another (CPython issue 106905).
    """

    @wraps(function)
    def alone(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        with _LOCK:
            return function(*args, **kwargs)

    return alone


class Definition(NamedTuple):
    """A definition at the top level of a module."""

    module: str
    name: str


@_one_thread_at_a_time
def track(package: str) -> None:
    """Include the code of a package in the fingerprints of functions that reach it.

    Raises
    ------
    ValueError
        If there is no such package.
    """
    if package in _FOLDERS:
        return
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise ValueError(f"need the name of a package or module in files, got {package!r}")
    origin = Path(spec.origin)
    paths = [origin] if origin.name != "__init__.py" else list(origin.parent.rglob("[!.]*.py"))
    _SOURCES.update({path: path.read_text(encoding="utf-8") for path in paths})
    _IMPORTS.update(
        {
            name: getattr(module, "__spec__", None)
            for name, module in list(sys.modules.items())  # other threads import
            if name.split(".")[0] == package
        }
    )
    _FOLDERS[package] = origin.parent if origin.name == "__init__.py" else origin


def tracked_packages() -> tuple[str, ...]:
    """Return the packages whose code counts among what numbers depend on."""
    return tuple(_FOLDERS)


@_one_thread_at_a_time
def code_fingerprint(
    *code: Callable[..., Any] | str, as_imported: bool = True, without: Iterable[Callable[..., Any]] = ()
) -> str:
    """Return the fingerprint of some code and of every definition that it reaches.

    Parameters
    ----------
    code
        Functions or classes of modules in files; dotted names of modules, which count whole. Their order does
        not matter.
    as_imported
        Whether code counts as this process imported it; False for the files as they are, which a process that
        begins now imports.
    without
        Functions or classes that do not count, nor what is reached through them alone.

    Returns
    -------
    str
        16 hexadecimal digits; the same until an edit changes what the code does.

    Raises
    ------
    RuntimeError
        If code counts as imported, and a module was edited after its package was tracked and before it was
        imported.
    ValueError
        If there is no such module, or a function is not defined at the top level of one.
    """
    return _digest(reached(*code, as_imported=as_imported, without=without), _reader(as_imported))


@_one_thread_at_a_time
def text_fingerprint(source: str) -> str:
    """Return the fingerprint of all definitions that a source text reaches in the files of tracked packages.

    Parameters
    ----------
    source
        Python source, such as a chapter's code cells joined by newlines.
    """
    return _digest(text_reaches(source), _reader(as_imported=False))


@_one_thread_at_a_time
def text_reaches(source: str) -> set[Definition]:
    """Return every definition that a source text reaches in the files of tracked packages.

    Parameters
    ----------
    source
        As of `text_fingerprint`. A module that it imports need not exist: running the text says so.
    """
    return _closure(_Code("", source, is_package=False).all_references(), _reader(as_imported=False))


@_one_thread_at_a_time
def reached(
    *code: Callable[..., Any] | str, as_imported: bool = True, without: Iterable[Callable[..., Any]] = ()
) -> set[Definition]:
    """Return every definition that some code reaches, itself included. Arguments as of `code_fingerprint`."""
    definitions = [_definition(each) for each in code]
    for module, name in definitions:
        if name != _WHOLE and name not in _code(module, as_imported).statements:
            raise ValueError(
                f"need a function at the top level of {module}, got {name!r}, which is not "
                "defined; define it there, by a statement"
            )
    return _closure(definitions, _reader(as_imported), without={_definition(each) for each in without})


def require_code(fingerprint: str, function: Callable[..., Any]) -> None:
    """Raise an error if this process imported other code of a function than the fingerprint says.

    Raises
    ------
    RuntimeError
        If `code_fingerprint(function)` is another than the fingerprint.
    """
    if code_fingerprint(function) != fingerprint:
        raise _edit_error(f"{function.__module__}.{function.__qualname__}, or what it needs,")


@_one_thread_at_a_time
def imported_modules(source: str, *, package: str = "") -> set[str]:
    """Return the modules of tracked packages that a source text imports, anywhere in it.

    Parameters
    ----------
    source
        Python source: a module's, or a chapter's code cells joined by newlines.
    package
        The package that the source is in, from which its relative imports start.
    """
    names: set[str] = set()
    for node in ast.walk(_tree(source)):
        for dotted, name in _import_bindings(node, package).values():
            full_name = f"{dotted}.{name}" if name else dotted
            names.add(full_name if _path(full_name) else dotted)
    return {name for name in names if _path(name) is not None}


def provenance() -> dict[str, str]:
    """Return the versions, the machine and the date (UTC, to the second) to record beside a result."""
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        **{name: number for name in _VERSIONS if (number := _version(name))},
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "processor": _processor(),
        "accelerator": _accelerator(),
        "blas": _blas(),
    }


def _definition(code: Callable[..., Any] | str) -> Definition:
    if isinstance(code, str):
        module, name = code, _WHOLE
    else:
        module, name = getattr(code, "__module__", ""), getattr(code, "__qualname__", repr(code))
    top = module.split(".")[0]
    try:
        track(top)
    except (ValueError, ImportError) as error:
        raise ValueError(
            f"need code of a module in a file, got {name!r} of {module!r}; put it into a module and import it"
        ) from error
    if _path(module) is None:
        raise ValueError(f"need the name of a module of {top}, such as {top}, got {module!r}")
    if not isinstance(code, str) and getattr(sys.modules.get(module), name, None) is not code:
        raise ValueError(f"need a function at the top level of {module}, got {name}; move it there")
    return Definition(module, name)


_Reader = Callable[[str], "_Code | None"]
"""Gives the code of a module, None where there is no such module."""


def _reader(as_imported: bool) -> _Reader:
    """Return what reads modules, each once."""

    @cache
    def read(module: str) -> _Code | None:
        return _code(module, as_imported) if _path(module) else None

    return read


def _digest(definitions: Iterable[Definition], read: _Reader) -> str:
    digest = hashlib.sha256()
    for module, name in sorted(definitions):
        if code := read(module):
            digest.update(f"{module}:{name}\n{code.essence(name)}\n".encode())
    return digest.hexdigest()[:16]


def _closure(
    definitions: Iterable[Definition], read: _Reader, *, without: Iterable[Definition] = ()
) -> set[Definition]:
    """Return some definitions and all definitions that they reach, but for some."""
    closure: set[Definition] = set()
    seen = set(without)
    queue = list(definitions)
    while queue:
        definition = queue.pop()
        module, name = definition
        code = None if definition in seen else read(module)  # no such module: running it says so
        seen.add(definition)
        if code is None or {name, _WHOLE} & code.names_not_in_numbers:
            continue
        names = [*code.statements, ""] if name == _WHOLE else [name, ""]  # "": statements that bind no name
        for each in (Definition(module, each) for each in names):
            if each not in closure and each.name in code.statements:
                closure.add(each)
                queue += code.references(each.name)
        if name in code.imports or name not in (*code.statements, _WHOLE):
            queue += code.import_definitions(name)
    return closure


@dataclass(eq=False)
class _Code:
    """The source of one module, by definition."""

    module: str
    source: str
    is_package: bool
    statements: dict[str, list[ast.stmt]] = field(default_factory=dict)
    """By the name that they bind; under the empty name those that bind none."""
    imports: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    """By alias, all that it is bound to anywhere: module, and the name in it, empty for the module itself."""
    _essences: dict[str, str] = field(default_factory=dict)
    _references: dict[str, list[Definition]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._add(_tree(self.source).body)

    def _add(self, body: list[ast.stmt]) -> None:
        for statement in body:
            if isinstance(statement, ast.Import | ast.ImportFrom):
                self._bind(statement)
            elif _is_type_checking(statement):
                self._add(statement.body)  # type: ignore[attr-defined]
            elif not _is_text(statement) and not _is_for_the_command_line(statement):
                names = _binding_names(statement)
                for name in names or ("",):
                    self.statements.setdefault(name, []).append(statement)
                if not isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                    for node in ast.walk(statement):  # such as in `try` at the top level
                        self._bind(node)

    def _bind(self, node: ast.AST) -> None:
        for alias, root in _import_bindings(node, self.package).items():
            self.imports.setdefault(alias, []).append(root)

    @cached_property
    def names_not_in_numbers(self) -> set[str]:
        """The names that no number depends on."""
        return {
            name
            for statement in self.statements.get(EXCEPT, ())
            if isinstance(statement, ast.Assign)
            for name in ast.literal_eval(statement.value)
        }

    @property
    def package(self) -> str:
        """The package from which relative imports start."""
        return self.module if self.is_package else self.module.rpartition(".")[0]

    def essence(self, name: str) -> str:
        """Return the statements of a name without comments, formatting and docstrings."""
        if name not in self._essences:
            self._essences[name] = "\n".join(map(_bare_code, self.statements[name]))
        return self._essences[name]

    def references(self, name: str) -> list[Definition]:
        """Return the definitions that the statements of a name use."""
        if name not in self._references:
            uses = _Uses(self)
            for statement in self.statements[name]:
                uses.visit(statement)
            self._references[name] = list(dict.fromkeys(uses.definitions))
        return self._references[name]

    def all_references(self) -> list[Definition]:
        """Return all definitions that the module uses, and those that it imports without using them."""
        references = [each for name in self.statements for each in self.references(name)]
        nodes = [node for body in self.statements.values() for each in body for node in ast.walk(each)]
        names = {node.id for node in nodes if isinstance(node, ast.Name)} - self.statements.keys()
        return references + [
            each for name in self.imports if name not in names for each in self.import_definitions(name)
        ]

    def import_definitions(self, name: str) -> list[Definition]:
        """Return the definitions that the module imports under a name."""
        return self.attribute(name, ())

    def attribute(self, name: str, attributes: tuple[str, ...]) -> list[Definition]:
        """Return the definitions that an imported name stands for, followed by some attributes."""
        roots = self.imports.get(name, [(module, name) for module, _ in self.imports.get(_WHOLE, ())])
        return [each for root in roots for each in _definitions(root, attributes)]


class _Uses(ast.NodeVisitor):
    """A visitor that collects the definitions that code uses; local names hide those of the module."""

    def __init__(self, code: _Code) -> None:
        self.code, self.definitions = code, []  # type: tuple[_Code, list[Definition]]
        self.scopes: list[dict[str, list[tuple[str, str]]]] = []
        """Names bound in each function around, by all that they are imported from; empty for values."""

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Load):
            self._use(node.id, ())

    def visit_Call(self, node: ast.Call) -> None:
        self.definitions += _run_time_imports(node, _WHOLE)
        self.generic_visit(node)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if imports := _run_time_imports(node.value, node.attr):
            self.definitions += imports
            return
        attributes, below = [node.attr], node.value
        while isinstance(below, ast.Attribute):
            attributes.append(below.attr)
            below = below.value
        if isinstance(below, ast.Name):
            self._use(below.id, tuple(reversed(attributes)))
        else:
            self.visit(below)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self._annotation(node.annotation)
        if node.value:
            self.visit(node.value)

    def _annotation(self, node: ast.expr) -> None:
        """Visit an annotation, which may be in quotes; the quoted axes of arrays name nothing."""
        match node:
            case ast.Constant(str() as text):
                with suppress(SyntaxError):
                    self.visit(ast.parse(text, mode="eval").body)
            case ast.Subscript(ast.Name(name) as kind, slice=inner) if _ARRAYS.fullmatch(name):
                self.visit(kind)
                self.visit(inner)
            case ast.Subscript(kind, slice=inner):
                self.visit(kind)
                self._annotation(inner)
            case ast.BinOp(left, _, right):
                self._annotation(left)
                self._annotation(right)
            case ast.Tuple(parts) | ast.List(parts):
                for part in parts:
                    self._annotation(part)
            case _:
                self.visit(node)

    def _use(self, name: str, attributes: tuple[str, ...]) -> None:
        for scope in reversed(self.scopes):
            if name in scope:
                for root in scope[name]:
                    self.definitions += _definitions(root, attributes)
                return
        if name in self.code.statements:
            self.definitions.append(Definition(self.code.module, name))
        if name in self.code.imports or name not in self.code.statements:
            self.definitions += self.code.attribute(name, attributes)

    def _within(self, node: ast.AST, parts: Iterable[ast.AST]) -> None:
        self.scopes.append(_local_names(node, self.code.package))
        for part in parts:
            self.visit(part)
        self.scopes.pop()

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        around = [*node.decorator_list, *node.args.defaults, *(d for d in node.args.kw_defaults if d)]
        for each in around:  # evaluated where the function is defined
            self.visit(each)
        for note in (*(each.annotation for each in _arguments(node.args)), node.returns):
            if note:
                self._annotation(note)
        self._within(node, (statement for statement in node.body if not _is_text(statement)))

    visit_FunctionDef = visit_AsyncFunctionDef = _function  # noqa: N815

    def visit_Lambda(self, node: ast.Lambda) -> None:
        for each in (*node.args.defaults, *(d for d in node.args.kw_defaults if d)):
            self.visit(each)
        self._within(node, [node.body])

    def _comprehension(self, node: ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp) -> None:
        first = node.generators[0].iter
        self.visit(first)  # evaluated around it
        results = [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]
        parts = [part for each in node.generators for part in (each.target, each.iter, *each.ifs)]
        self._within(node, (part for part in (*results, *parts) if part is not first))

    visit_ListComp = visit_SetComp = visit_DictComp = visit_GeneratorExp = _comprehension  # noqa: N815


def _run_time_imports(node: ast.expr, name: str) -> list[Definition]:
    """Return the definitions of a name in each module that `import_module` of a text may import."""
    match node:
        case ast.Call(
            func=ast.Attribute(attr="import_module") | ast.Name("import_module"), args=[ast.JoinedStr(parts)]
        ):
            constants = (str(part.value) if isinstance(part, ast.Constant) else None for part in parts)
            text = "".join("[^.]+" if part is None else re.escape(part) for part in constants)
            modules = (module for package in _FOLDERS for module in _modules_in(package))
            return [Definition(module, name) for module in modules if re.fullmatch(text, module)]
    return []


def _arguments(arguments: ast.arguments) -> list[ast.arg]:
    """Return the arguments of a function, without those of a lambda that is a default of one."""
    named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    return named + [each for each in (arguments.vararg, arguments.kwarg) if each]


def _local_names(node: ast.AST, package: str) -> dict[str, list[tuple[str, str]]]:
    """Return the names that a function, lambda or comprehension binds."""
    roots: dict[str, list[tuple[str, str]]] = {}
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
        roots |= {each.arg: [] for each in _arguments(node.args)}
    global_names: set[str] = set()
    queue = list(ast.iter_child_nodes(node))
    while queue:
        each = queue.pop()
        if isinstance(each, ast.Global):
            global_names |= set(each.names)
        elif isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store | ast.Del):
            roots.setdefault(each.id, [])
        elif isinstance(each, ast.Import | ast.ImportFrom):
            for alias in each.names:
                roots.setdefault(alias.asname or alias.name.split(".")[0], [])
            for name, root in _import_bindings(each, package).items():
                roots[name].append(root)
        elif isinstance(each, ast.ExceptHandler | ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            roots.setdefault(each.name or "", [])
        if not isinstance(each, _SCOPES):
            queue += ast.iter_child_nodes(each)
    return {name: each for name, each in roots.items() if name not in global_names}


_SCOPES = (
    *(ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda),
    *(ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp),
)


def _import_bindings(node: ast.AST, package: str) -> dict[str, tuple[str, str]]:
    """Return the names that an import statement binds in tracked packages: module and name, by alias."""
    if isinstance(node, ast.Import):
        return {
            alias.asname or alias.name.split(".")[0]: (
                alias.name if alias.asname else alias.name.split(".")[0],
                "",
            )
            for alias in node.names
            if _is_tracked(alias.name)
        }
    if isinstance(node, ast.ImportFrom):
        above = package.split(".")[: len(package.split(".")) + 1 - node.level] if node.level else []
        base = ".".join([*above, *([node.module] if node.module else [])])
        if _is_tracked(base):
            return {alias.asname or alias.name: (base, alias.name) for alias in node.names}
    return {}


def _definitions(root: tuple[str, str], attributes: tuple[str, ...]) -> list[Definition]:
    """Return the definitions that a name stands for, followed by some attributes."""
    module, name = root
    path = [*([name] if name else []), *attributes]
    while path and _path(f"{module}.{path[0]}") is not None:
        module = f"{module}.{path.pop(0)}"
    if (path and path[0] == "__path__") or (not path and _is_package(module)):
        return [Definition(each, _WHOLE) for each in _modules_in(module)]
    if not path or path[0] == _WHOLE:  # a module as a value; all of its names
        return [Definition(module, _WHOLE)]
    return [Definition(module, path[0])]


def _modules_in(package: str) -> Iterator[str]:
    """Yield the name of a module and, if it is a package, of all modules in it."""
    yield package
    folder = _FOLDERS[package.split(".")[0]].joinpath(*package.split(".")[1:])
    if folder.is_dir():
        for path in sorted(folder.rglob("[!.]*.py")):
            parts = [*path.relative_to(folder).with_suffix("").parts]
            if parts != ["__init__"]:
                yield ".".join([package, *(parts[:-1] if parts[-1] == "__init__" else parts)])


def _binding_names(statement: ast.stmt) -> list[str]:
    """Return the names that a statement at the top level binds."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [statement.name]
    if isinstance(statement, ast.Expr):
        return []
    names = [
        node.id
        for node in ast.walk(statement)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    ]
    names += [node.name for node in ast.walk(statement) if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    return list(dict.fromkeys(names))


def _is_type_checking(statement: ast.stmt) -> bool:
    return (
        isinstance(statement, ast.If)
        and isinstance(statement.test, ast.Name)
        and statement.test.id == "TYPE_CHECKING"
    )


def _is_for_the_command_line(statement: ast.stmt) -> bool:
    """Tell whether a statement is `if __name__ == "__main__":`, which an import does not run."""
    return isinstance(statement, ast.If) and ast.unparse(statement.test) == "__name__ == '__main__'"


@cache
def _tree(source: str) -> ast.Module:
    return ast.parse(source)


def _code(module: str, as_imported: bool) -> _Code:
    source = _imported_source(module) if as_imported else _source(module)
    return _code_of(module, source, _is_package(module), tuple(sorted(_FOLDERS)))


@cache
def _code_of(module: str, source: str, is_package: bool, tracked: tuple[str, ...]) -> _Code:
    return _Code(module, source, is_package)


def _is_tracked(name: str) -> bool:
    return name.split(".")[0] in _FOLDERS


def _path(name: str) -> Path | None:
    """Return the file of a module of a tracked package, or None if there is no such module."""
    top, *below = name.split(".")
    folder = _FOLDERS.get(top)
    if folder is None or (below and folder.suffix == ".py"):
        return None
    if folder.suffix == ".py":
        return folder
    stem = folder.joinpath(*below)
    candidates = (stem.with_suffix(".py"), stem / "__init__.py") if below else (stem / "__init__.py",)
    return next((path for path in candidates if path.is_file()), None)


def _is_package(name: str) -> bool:
    path = _path(name)
    return path is not None and path.name == "__init__.py"


def _imported_source(name: str) -> str:
    """Return the source of a module as this process imported it, or else as its file is now."""
    path, module = _file(name), sys.modules.get(name)
    if module is None:
        return _source(name)
    if module.__spec__ is not _IMPORTS.get(name):  # imported after its package was tracked, or once more
        if path not in _SOURCES or _bare_module(_source(name)) != _bare_module(_SOURCES[path]):
            raise _edit_error(name)
        _IMPORTS[name] = module.__spec__
    return _SOURCES[path]


def _source(name: str) -> str:
    return _file(name).read_text(encoding="utf-8")


def _file(name: str) -> Path:
    path = _path(name)
    if path is None:
        raise ValueError(f"need the name of a module of {name.split('.')[0]}, got {name!r}")
    return path


def _edit_error(what: str) -> RuntimeError:
    return RuntimeError(
        f"{what} was edited since this process began, and numbers need the code of one moment; "
        "restart the process (of a notebook, the kernel)"
    )


@cache
def _bare_module(source: str) -> str:
    return _bare_code(ast.parse(source))


def _bare_code(node: Any) -> str:
    """Return code without comments, formatting and docstrings, in the same words on every Python."""
    if isinstance(node, list):
        return f"[{', '.join(map(_bare_code, node))}]"
    if not isinstance(node, ast.AST):
        return repr(node)
    parts = []
    for name, value in ast.iter_fields(node):
        if name == "body" and isinstance(node, _WITH_DOCSTRING):
            value = [statement for statement in value if not _is_text(statement)]
        if value is not None and value != [] and name not in ("ctx", "kind", "type_comment"):
            parts.append(f"{name}={_bare_code(value)}")
    return f"{type(node).__name__}({', '.join(parts)})"


_WITH_DOCSTRING = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def _is_text(statement: ast.stmt) -> bool:
    # A docstring, or a bare string under a dataclass field: neither does anything.
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _accelerator() -> str:
    import torch  # takes seconds, and the fingerprints above do not need it

    return torch.cuda.get_device_name() if torch.cuda.is_available() else "none"


def _processor() -> str:
    """Return the name of the processor."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return " ".join(line.partition(":")[2].split())
    return platform.processor() or "unknown"


def _blas() -> str:
    """Return the libraries that multiply matrices."""
    import numpy as np
    import torch

    of_numpy = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    of_torch = re.search(r"BLAS_INFO=(\w+)", torch.__config__.show())
    names = [f"NumPy: {of_numpy['name']} {of_numpy['version']}"]
    return ", ".join([*names, f"PyTorch: {of_torch[1] if of_torch else 'unknown'}"])


track(__name__.split(".")[0])

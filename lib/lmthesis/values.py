"""Values of settings and parameters: of the right type and within range, read where they come as text.

A type is `int`, `float`, `bool`, `str`, None, a literal, a list or tuple of one of these, a union of them, or
one of them annotated with the `Range` of its numbers. Text is never empty, numbers are finite, and a tuple
holds one or more values, all different.
"""

import builtins
import math
import types
import typing
from collections.abc import Iterable
from dataclasses import dataclass
from numbers import Real
from typing import Annotated, Any


@dataclass(frozen=True, kw_only=True)
class Range:
    """The numbers that a setting can have."""

    least: int | float = -math.inf
    most: int | float = math.inf
    above: int | float = -math.inf
    below: int | float = math.inf

    def __contains__(self, number: int | float) -> bool:
        """Whether a number is one of them."""
        return self.least <= number <= self.most and self.above < number < self.below

    def __str__(self) -> str:
        """Its ends in words."""
        ends = {"from": self.least, "to": self.most, "above": self.above, "below": self.below}
        words = [f"{word} {end:,}" for word, end in ends.items() if math.isfinite(end)]
        return " ".join(words) + (" on" if len(words) == 1 and math.isfinite(self.least) else "")


Count = Annotated[int, Range(least=1, most=10**9)]
Positive = Annotated[float, Range(above=0)]

_WORDS = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text (not empty)",
    type(None): "none",
}


def checked(name: str, kind: Any, given: Any) -> Any:
    """Return the value that a setting takes from what is given for it.

    Parameters
    ----------
    name
        Of the setting.
    kind
        Its type.
    given
        A value, or text that names one: `0,1` names a list, `none` None. One value stands for a list of one,
        and a whole number may come as a float.

    Raises
    ------
    ValueError
        If it is no value of the type; names the setting, what it needs and what came.
    """
    try:
        return _read(kind, given)
    except ValueError:
        needed, got = description(kind), "none" if given in ([], ()) else repr(given)
        is_number_for_text = isinstance(given, Real) and _WORDS[str] in needed
        remedy = "; papermill hands a number on as text with -r" if is_number_for_text else ""
        raise ValueError(f"{name} needs {needed}, got {got}{remedy}") from None


def description(kind: Any) -> str:
    """Return in words which values a type has."""
    parts = typing.get_args(kind)
    match typing.get_origin(kind) or kind:
        case typing.Annotated:
            return " ".join([description(parts[0]), *map(str, parts[1:])])
        case typing.Union | types.UnionType:
            return " or ".join(map(description, parts))
        case typing.Literal:
            return f"one of {', '.join(map(str, parts))}"
        case builtins.list:
            return f"values as in 1,2, each {description(parts[0])}"
        case builtins.tuple:
            return f"one or more different values as in 1,2, each {description(parts[0])}"
    return _WORDS[kind]


def _read(kind: Any, given: Any) -> Any:
    """Return the value of a type; a ValueError without words where there is none."""
    parts = typing.get_args(kind)
    match typing.get_origin(kind) or kind:
        case typing.Annotated:
            value = _read(parts[0], given)
            return _only_if(all(value in each for each in parts[1:]), value)
        case typing.Union | types.UnionType:  # None first: "none" means it even where text would do
            return _first(sorted(parts, key=lambda each: each is not types.NoneType), given)
        case typing.Literal:
            return {str(each): each for each in parts}[str(_only_if(str(given) in map(str, parts), given))]
        case builtins.list:
            return [_read(parts[0], each) for each in _items(given)]
        case builtins.tuple:
            values = tuple(_read(parts[0], each) for each in _items(given))
            return _only_if(0 < len(values) == len(set(values)), values)
        case types.NoneType:
            return _only_if(given is None or str(given).lower() == "none", None)
        case builtins.str:
            return _only_if(isinstance(given, str) and given.strip() != "", given)
        case builtins.bool:
            return _only_if(str(given).lower() in ("true", "false"), str(given).lower() == "true")
        case builtins.int:
            number = _number(given)
            return _only_if(number == int(number), int(number))
        case builtins.float:
            return float(_number(given))
    raise ValueError


def _first(kinds: Iterable[Any], given: Any) -> Any:
    """Return the value of the first type that has one."""
    for kind in kinds:
        try:
            return _read(kind, given)
        except ValueError:
            continue
    raise ValueError


def _items(given: Any) -> list[Any]:
    if isinstance(given, str):
        return [each.strip(" '\"") for each in given.strip("[]() ").split(",") if each.strip()]
    return list(given) if isinstance(given, list | tuple) else [given]


def _number(given: Any) -> Any:
    if isinstance(given, str):
        try:
            return int(given)  # exact where it is long
        except ValueError:
            given = float(given)
    return _only_if(isinstance(given, Real) and not isinstance(given, bool) and math.isfinite(given), given)


def _only_if(holds: bool, value: Any) -> Any:
    if not holds:
        raise ValueError
    return value

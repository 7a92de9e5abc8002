"""The options of the commands as keywords of Python functions: names, types, defaults and help from one declaration."""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from search.cli import options
from search.cli.options import Option
from xraytune.errors import InputError

Made = TypeVar("Made")
Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True)
class Keyword:
    """One keyword of a function."""

    name: str
    hint: str
    """Its type as a stub says it."""
    default: Any
    help: str


def keywords(*classes: type, without: tuple[str, ...] = ()) -> list[Keyword]:
    """The keywords that dataclasses of options make, in the order of their fields.

    Args:
        classes: the dataclasses.
        without: names of options that the function takes otherwise.
    """
    found = []
    for cls in classes:
        hints = {f.name: str(f.type) for f in dataclasses.fields(cls)}
        for name, one in options.declared(cls).items():
            if name not in without:
                default = options.default_of(cls, name)
                shown = one.shown or ("off" if default is False else "on" if default is True else default)
                about = f"{one.help}: {', '.join(one.choices)}" if one.choices else one.help
                ends = f" [default: {','.join(shown) if isinstance(shown, tuple) else shown}]" if shown != "" else ""
                found.append(Keyword(name, _hint(name, hints[name], one), default, about + ends))
    return found


def _hint(name: str, declared: str, one: Option) -> str:
    """What an option takes from Python: its own type, and the texts that its parser reads."""
    kind, optional = re.sub(r" \| None$", "", declared), declared.endswith(" | None")
    if one.choices:
        kind = f"Literal[{', '.join(repr(str(choice)) for choice in one.choices)}]"
    elif name == "data" or kind == "Path":
        kind = "str | Path"
    elif one.parse is not None and kind.startswith("tuple"):
        kind = "str | Iterable[str]"
    elif one.parse is not None and kind.startswith("Mapping"):
        kind = f"{kind} | Iterable[str] | str"
    elif one.parse is not None:
        kind = {"float": "float | str", "int": "int | str", "str": "str | bool"}[kind]
    return f"{kind} | None" if optional else kind


def made(cls: type[Made], keywords: Mapping[str, Any], /, **more: Any) -> Made:
    """Options of what was given for them.

    Args:
        cls: a dataclass of options.
        keywords: values by name; names of other dataclasses are left out.
        more: other fields.

    Raises:
        InputError: a text can't be read, or a value is out of bounds.
    """
    known = options.declared(cls)
    values = {n: os.fspath(v) if isinstance(v, os.PathLike) else v for n, v in keywords.items() if n in known}
    return cls(**values, **more)


def check_names(function: str, given: Mapping[str, Any], *classes: type, also: tuple[str, ...] = ()) -> None:
    """Refuse keywords that are no option.

    Raises:
        InputError: with the name that was meant, where one is near.
    """
    known = [*also, *(name for cls in classes for name in options.declared(cls))]
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            meant = f" Did you mean {near[0]!r}?" if near else f" There are: {', '.join(sorted(known))}."
            raise InputError(f"{function} has no option {name!r}.{meant}")


def documented(*classes: type, without: tuple[str, ...] = ()) -> Callable[[Function], Function]:
    """Have `help` and a notebook's signature name all options that a function takes by `**options`.

    Args:
        classes: the dataclasses of its options.
        without: names of options that the function takes otherwise.
    """

    def changed(function: Function) -> Function:
        own = inspect.signature(function)
        kept = [p for p in own.parameters.values() if p.kind is not p.VAR_KEYWORD]
        all_of_them = keywords(*classes, without=without)
        more = [inspect.Parameter(k.name, inspect.Parameter.KEYWORD_ONLY, default=k.default) for k in all_of_them]
        function.__signature__ = own.replace(parameters=[*kept, *more])  # type: ignore[attr-defined]
        lines = "\n".join(f"    {k.name}: {k.help}" for k in all_of_them)
        function.__doc__ = f"{inspect.cleandoc(function.__doc__ or '')}\n\nOptions:\n{lines}"
        return function

    return changed


def as_path(value: str | os.PathLike[str]) -> Path:
    """A path of whatever names one, `~` for the home folder."""
    return Path(value).expanduser()

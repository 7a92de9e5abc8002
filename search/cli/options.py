"""An option is declared once: a dataclass field with its default, help text and panel.

The field makes the option of the command (`spread`), the keyword of the Python call, the variable of `make`
(`search.cli.make_variables`), what a study stores, and a line of docs/options.md. Texts mean the same everywhere:
`time="30m"` in Python is `--time 30m`.

    @dataclass(frozen=True)
    class Mine(Options):
        trials: int | None = option(None, "Maximum number of trials", BUDGET, shown="no limit", least=1)
"""

from __future__ import annotations

import dataclasses
import inspect
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from typer.models import ArgumentInfo, OptionInfo

from search.cli import quantities
from xraytune.errors import InputError

DATA, BUDGET, SPACE, OBJECTIVE, MODEL = "Data", "Budget", "Search space", "Objective", "Final model"
OUTPUT, HARDWARE, STORAGE = "Output", "Hardware", "Storage"
REPRODUCIBILITY, ADVANCED = "Reproducibility", "Advanced"
PANELS = (DATA, BUDGET, SPACE, OBJECTIVE, MODEL, OUTPUT, HARDWARE, STORAGE, REPRODUCIBILITY, ADVANCED)
"""The panels of a help page, in their order."""

Parser = Callable[[Any, str], Any]
"""Of a text (or a value that is parsed already) and the option's name to the value; raises InputError."""


@dataclass(frozen=True)
class Option:
    """All that is known of an option but its name, type and default."""

    help: str
    panel: str
    metavar: str | None = None
    flags: tuple[str, ...] = ()
    """Names on the command line; empty: `--` and the field's name."""
    argument: bool = False
    """Whether it is given by its place instead of a name."""
    parse: Parser | None = None
    repeatable: bool = False
    choices: tuple[str, ...] = ()
    least: float | None = None
    above: float | None = None
    most: float | None = None
    because: str = ""
    """Follows the message that a number is out of bounds."""
    envvar: str | None = None
    """The environment variable that counts where the option is not given; the library reads it."""
    shown: str | None = None
    """The default in words, where it is no plain value."""
    reads: Callable[[Path, Iterable[type]], dict[str, Any]] | None = None
    """Of a file that sets other options: its path and the dataclasses of options to the values that it sets."""
    stored: bool = True
    """Whether it belongs to a study: stored with it, and completed from it on `--resume`."""

    def flag(self, name: str) -> str:
        """How messages name it: `--trial-timeout`."""
        return self.flags[0] if self.flags else f"--{name.replace('_', '-')}"

    def check(self, name: str, value: Any) -> None:
        """Refuse a value that is out of bounds or not among the choices.

        Raises:
            InputError: with what there is.
        """
        if value is None:
            return
        if self.choices and value not in self.choices:
            raise InputError(f"{self.flag(name)} {value!r} is not known. There are: {', '.join(self.choices)}.")
        low = (self.least is not None and value < self.least) or (self.above is not None and not value > self.above)
        if low or (self.most is not None and value > self.most):
            bounds = [f"{self.least:g} or more"] if self.least is not None else []
            bounds += [f"above {self.above:g}"] if self.above is not None else []
            bounds += [f"at most {self.most:g}"] if self.most is not None else []
            raise InputError(f"{self.flag(name)} must be {' and '.join(bounds)}, not {value:g}{self.because}.")

    def on_line(self, name: str, default: Any) -> OptionInfo | ArgumentInfo:
        """The option for typer, with choices, default and environment variable in its help text."""
        flag = isinstance(default, bool)
        about = f"{self.help}: {', '.join(self.choices)}" if self.choices else self.help
        common: dict[str, Any] = {
            "help": _help(about, self.shown or ("off" if flag else default), self.envvar),
            "metavar": self.metavar or (name.upper() if self.argument else "" if flag else None),
            "show_default": False,
            "rich_help_panel": None if self.argument else self.panel,
        }
        if self.choices:
            common["autocompletion"] = lambda: list(self.choices)
        made: OptionInfo | ArgumentInfo
        made = typer.Argument(**common) if self.argument else typer.Option(*(self.flags or [self.flag(name)]), **common)
        return made


def option(default: Any, help: str, panel: str, **details: Any) -> Any:  # noqa: A002
    """A dataclass field that is an option.

    Args:
        default: of the field.
        help: one line, without the default.
        panel: one of `PANELS`.
        details: further fields of `Option`.
    """
    return as_field(Option(help, panel, **details), default)


def as_field(one: Option, default: Any) -> Any:
    """A dataclass field that is this option."""
    if isinstance(default, dict):
        return dataclasses.field(default_factory=dict, metadata={"option": one})
    return dataclasses.field(default=default, metadata={"option": one})


def declared(cls: type) -> dict[str, Option]:
    """The options of a dataclass by their names; fields without an option are not among them."""
    if not dataclasses.is_dataclass(cls):
        return {}
    return {f.name: f.metadata["option"] for f in dataclasses.fields(cls) if "option" in f.metadata}


def default_of(cls: type, name: str) -> Any:
    """A field's default."""
    found = next(f for f in dataclasses.fields(cls) if f.name == name)
    return found.default if found.default_factory is dataclasses.MISSING else found.default_factory()


class Options:
    """Base of dataclasses of options: texts become values, and all values are checked, when one is made."""

    def __post_init__(self) -> None:
        """Parse what came as text, and refuse every value that is out of bounds or not among the choices.

        Raises:
            InputError: with what to change.
        """
        for name, one in declared(type(self)).items():
            value = getattr(self, name)
            if one.parse is not None and value is not None:
                object.__setattr__(self, name, value := one.parse(value, one.flag(name)))
            one.check(name, value)

    def of(self, cls: type) -> dict[str, Any]:
        """The values of those options that `cls`, a base of this one, declares, by name."""
        return {name: getattr(self, name) for name in declared(cls)}

    def changed(self, cls: type) -> dict[str, Any]:
        """Of these values those that are not the default, by name."""
        return {name: value for name, value in self.of(cls).items() if value != default_of(cls, name)}


def path(value: str | Path, name: str) -> Path:
    """A folder or file."""
    return Path(value)


def listed(value: str | Iterable[str], name: str) -> tuple[str, ...]:
    """`a,b` as `("a", "b")`; a list as it is."""
    return tuple(p.strip() for p in value.split(",") if p.strip()) if isinstance(value, str) else tuple(value)


def assignments(
    value: str | Iterable[str] | Mapping[str, Any], name: str, example: str = "batch_size=32"
) -> dict[str, Any]:
    """`NAME=VALUE` texts by name; a mapping as it is. `example` is shown where one is not of that form.

    Raises:
        InputError: one is not of that form.
    """
    if isinstance(value, Mapping):
        return dict(value)
    found = {}
    for pair in [value] if isinstance(value, str) else value:
        key, equals, text = pair.partition("=")
        if not equals or not key.strip() or not text.strip():
            raise InputError(f"{name} {pair!r}: write NAME=VALUE, for example {name} {example}.")
        found[key.strip()] = text.strip()
    return found


def named_files(value: str | Iterable[str] | Mapping[str, Any], name: str) -> dict[str, str]:
    """`NAME=FILE` texts, absolute paths by name.

    Raises:
        InputError: one is not of that form.
    """
    found = assignments(value, name, "dino=path/dino.onnx")
    return {key: str(Path(file).expanduser().absolute()) for key, file in found.items()}


duration = quantities.duration
size = quantities.size


def spread(command: Callable[..., Any]) -> Callable[..., Any]:
    """A function for typer whose parameters are the options of the dataclasses that `command` takes.

    Other parameters (`Annotated[…, typer.Option(…)]`, or an `Option` in its place) stay as they are. What was not given
    on the command line, nor in a file that sets options (`Option.reads`), keeps the dataclass's default; a field
    `given` gets the names of what was.

    Args:
        command: its annotations name dataclasses of options.
    """
    hints = typing.get_type_hints(command, include_extras=True)
    groups = {n: hints[n] for n in inspect.signature(command).parameters if declared(hints.get(n, object))}
    files = {n: one.reads for n in inspect.signature(command).parameters if (one := _own(hints[n])) and one.reads}
    parameters = []
    for name, parameter in inspect.signature(command).parameters.items():
        if name in groups:
            parameters += _parameters(groups[name])
        else:
            parameters.append(_plain(parameter, hints[name]))
    alone = {n: one for n, hint in hints.items() for one in typing.get_args(hint)[1:] if isinstance(one, Option)}

    def called(context: typer.Context, **values: Any) -> Any:
        sources = {n: context.get_parameter_source(n) for n in values}
        given = {n for n, source in sources.items() if source is not None and source.name == "COMMANDLINE"}
        arguments, read = {}, dict[str, Any]()
        for name, reads in files.items():
            read |= reads(values[name], groups.values()) if values[name] else {}
        for name, cls in groups.items():
            own = declared(cls)
            made = {n: read[n] for n in own if n in read} | {n: values[n] for n in own if n in given}
            if any(f.name == "given" for f in dataclasses.fields(cls)):
                made["given"] = frozenset(made)
            arguments[name] = cls(**made)
            values = {n: v for n, v in values.items() if n not in own}
        for name, one in alone.items():
            one.check(name, values[name])
        return command(**arguments, **values)

    parameters.sort(key=_order)
    first = inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)
    called.__signature__ = inspect.Signature([first, *parameters])  # type: ignore[attr-defined]
    called.__annotations__ = {p.name: p.annotation for p in (first, *parameters)}
    called.__name__, called.__doc__ = command.__name__, command.__doc__
    return called


def _parameters(cls: type) -> list[inspect.Parameter]:
    hints, found = typing.get_type_hints(cls), []
    own = inspect.get_annotations(cls)
    for name, one in sorted(declared(cls).items(), key=lambda pair: pair[0] not in own):
        default = default_of(cls, name)
        kind, value = hints[name], default
        if one.parse is not None:
            kind, value = (list[str] | None if one.repeatable else str | None), None
        found.append(_parameter(name, value, kind, one.on_line(name, default)))
    return found


def _plain(parameter: inspect.Parameter, annotation: Any) -> inspect.Parameter:
    """A parameter of the function itself, its help as those of dataclasses show theirs."""
    kind, *about = typing.get_args(annotation)
    if one := _own(annotation):
        return _parameter(parameter.name, parameter.default, kind, one.on_line(parameter.name, parameter.default))
    info = next(one for one in about if isinstance(one, OptionInfo | ArgumentInfo))
    made = type(info)(**{**vars(info), "show_default": False})
    shown: Any = parameter.default if parameter.default is not inspect.Parameter.empty else None
    if isinstance(shown, bool):
        made.metavar, shown = made.metavar or "", "on" if shown else "off"
    made.help = _help(info.help or "", info.show_default if isinstance(info.show_default, str) else shown)
    if isinstance(info, ArgumentInfo):
        made.metavar = info.metavar or parameter.name.upper()
    else:
        made.rich_help_panel = info.rich_help_panel or OUTPUT
    return _parameter(parameter.name, parameter.default, kind, made)


def _own(annotation: Any) -> Option | None:
    """The option that a parameter of the function itself is annotated with."""
    return next((one for one in typing.get_args(annotation) if isinstance(one, Option)), None)


def _parameter(name: str, default: Any, kind: Any, info: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, info])


def _help(text: str, default: Any, envvar: str | None = None) -> str:
    """The help of an option for typer, which reads markup: all is escaped, so nothing is taken for a tag."""
    if isinstance(default, tuple):
        default = ",".join(default)
    shown = text.removesuffix(".") + (
        f" [default: {default}]" if default not in (None, "", inspect.Parameter.empty) else ""
    )
    return escape(shown + (f" [env: {envvar}]" if envvar else ""))


def _order(parameter: inspect.Parameter) -> tuple[bool, int]:
    info = typing.get_args(parameter.annotation)[1]
    panel = info.rich_help_panel
    return isinstance(info, OptionInfo), PANELS.index(panel) if panel in PANELS else len(PANELS)

"""A command with the variables of `make` as its options: `TIME=30m make search` is `python -m search.run --time 30m`.

The Makefile calls `python -m search.cli.make_variables COMMAND`; which variables there are follows from the command's
options. Values come through the environment, so quotes, `$` and spaces arrive as they were typed.
"""

from __future__ import annotations

import difflib
import os
import re
import shlex
import sys
from collections.abc import Iterable, Mapping
from typing import Any

import typer

from search.cli import commands, console
from xraytune.errors import InputError

ON_LINE = "XRAYTUNE_MAKE_VARIABLES"
"""Names of the variables that stand on make's command line."""
GOALS = "XRAYTUNE_MAKE_GOALS"
"""The targets of that command line."""
MORE = "ARGS"
"""The variable whose words are passed on as they are."""
ENVIRONMENT = ("XRAYTUNE_", "KERAS_", "TF_", "CUDA_", "RAY_", "OMP_")
"""What settings of libraries begin with: they reach the command through the environment, from make's line too."""
OFF = frozenset({"", "0", "no", "false"})
"""Values by which a switch stays off."""


def arguments(command: str, environment: Mapping[str, str]) -> list[str]:
    """The command line of a command.

    Args:
        command: its name.
        environment: variables by name. Empty ones count as not set.

    Raises:
        InputError: a variable on make's command line is none of the command's, or ARGS can't be split into words.
    """
    module = commands.load(command)
    variables, removed = _variables(module.main), _removed(module)
    known = set(variables) | set(removed) | {MORE}
    for goal in environment.get(GOALS, "").split():
        if goal != command and goal in commands.names():
            other = commands.load(goal)
            known |= set(_variables(other.main)) | set(_removed(other))
    _check(command, environment.get(ON_LINE, "").split(), known)
    options: list[str] = [flag for name, flag in removed.items() if environment.get(name, "").lower() not in OFF]
    places: list[str] = []
    for name, parameter in variables.items():
        value = environment.get(name, "")
        if not value:
            continue
        if parameter.param_type_name == "argument":
            places.append(value)
        elif getattr(parameter, "is_flag", False):
            options += [parameter.opts[0]] if value.lower() not in OFF else []
        else:
            values = several(value) if parameter.multiple else [value]
            options += [f"{parameter.opts[0]}={one}" for one in values]
    try:
        more = shlex.split(environment.get(MORE, ""))
    except ValueError as error:
        raise InputError(f"{MORE}={environment[MORE]}: {error}.") from None
    return [*options, *more, *(["--", *places] if places else [])]


def several(value: str) -> list[str]:
    """The `NAME=VALUE` texts of one variable. The next one begins at `NAME=` after a blank: a value may have blanks."""
    name, assigned, rest = value.strip().partition("=")
    first, *others = re.split(r"\s+(?=[^\s=]+=)", rest)
    return [f"{name}{assigned}{first}", *others]


def _variables(main: Any) -> dict[str, Any]:
    """The options and arguments of a command by the names of their variables."""
    found = {}
    for parameter in typer.main.get_command(console.application(main)).params:
        if parameter.name in {"help", "context"}:
            continue
        place = str(getattr(parameter, "metavar", None) or parameter.name).rstrip(".")  # `DATA...` may be repeated
        long = next((o.lstrip("-") for o in parameter.opts if o.startswith("--")), place)
        found[long.replace("-", "_").upper()] = parameter
    return found


def _removed(module: Any) -> dict[str, str]:
    """Options that no longer exist by the names of their variables: the command says what replaces them."""
    gone = [option for option in getattr(module, "REMOVED", {}) if " " not in option]
    return {option.lstrip("-").replace("-", "_").upper(): option for option in gone}


def _check(command: str, given: Iterable[str], known: set[str]) -> None:
    unknown = [name for name in given if name not in known and not name.startswith(ENVIRONMENT)]
    if not unknown:
        return
    near = difflib.get_close_matches(unknown[0].upper(), known, 1)
    hint = f" Did you mean {near[0]}?" if near else f" It has: {', '.join(sorted(known))}."
    raise InputError(f"make {command} has no variable {unknown[0]}.{hint}")


def main() -> None:
    """Become the command that the first word names."""

    def program() -> None:
        line = arguments(sys.argv[1], os.environ)
        os.execv(sys.executable, [sys.executable, "-m", commands.names()[sys.argv[1]], *line])

    code = console.exit_code(program)
    sys.exit(code)


if __name__ == "__main__":
    main()

"""Options from a YAML file (`--config study.yaml`), and the options that a search ran with as such a file.

Names are those of the options, with `_` or `-`: `trials: 40`, `time: 30m`, `families: [cnn, densenet]`.
"""

from __future__ import annotations

import difflib
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import NoneType
from typing import Any

from search.cli import options
from search.cli.options import STORAGE, Option
from xraytune import files
from xraytune.errors import InputError

MOST = 1 << 20
"""Bytes of such a file."""

NAME = "config.yaml"
"""The file in a study's folder."""

LEFT_OUT = frozenset({"study", "resume", "storage", "mlflow"})
"""What a written file does not hold: which study it was, and the URLs of servers, which may hold a password."""

HEAD = """# The options of this search. They can be given again: python -m search.run --config config.yaml
# Options on the command line win. Not here: --study, --resume, --storage, --mlflow. Times are seconds, sizes bytes.
"""


def read(path: Path, classes: Iterable[type]) -> dict[str, Any]:
    """The options that a file sets, by field name, in their own types.

    Args:
        path: of the file.
        classes: the dataclasses of options that it may set.

    Raises:
        InputError: it can't be read, or holds an unknown option or a wrong value.
    """
    known = {name: (one, typing.get_type_hints(cls)[name]) for cls in classes for name, one in _declared(cls)}
    found: dict[str, Any] = {}
    for key, value in _pairs(path):
        name = str(key).replace("-", "_")
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"Did you mean {near[0]}?" if near else f"There are: {', '.join(sorted(known))}."
            raise InputError(f"--config {path}: there is no option {key}. {hint}")
        if name in found:
            raise InputError(f"--config {path}: {key} is set twice. Leave one of them.")
        if value is None:
            continue
        one, hint = known[name]
        try:
            found[name] = _value(name, one, hint, value)
            one.check(name, found[name])
        except InputError as error:
            raise InputError(f"--config {path}: {error}") from None
    return found


CONFIG = Option(
    "Read options from this YAML file; options given here win", STORAGE, "FILE", shown="none", stored=False, reads=read
)


def text(*groups: Any) -> str:
    """Options as a file that `read` reads.

    Args:
        groups: dataclasses of options, made; what is not set is left out.
    """
    import yaml

    values = {
        name: _plain(getattr(group, name))
        for group in groups
        for name, _ in _declared(type(group))
        if name not in LEFT_OUT and getattr(group, name) is not None
    }
    return HEAD + str(yaml.safe_dump(values, sort_keys=False, allow_unicode=True))


def _declared(cls: type) -> Iterable[tuple[str, Option]]:
    return options.declared(cls).items()


def _pairs(path: Path) -> list[tuple[Any, ...]]:
    """Names and values of a file, in its order; a name that stands twice comes twice."""
    import yaml

    try:
        written = files.read_named(path, MOST).decode("utf-8")
        loader = yaml.SafeLoader(written)
        try:
            node = loader.get_single_node()
            if node is None or node.tag == "tag:yaml.org,2002:null":
                return []
            if not isinstance(node, yaml.MappingNode):
                raise InputError(f"--config {path}: write one option per line, like 'trials: 40'.")
            made = [
                (loader.construct_object(k, deep=True), loader.construct_object(v, deep=True)) for k, v in node.value
            ]
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        what = getattr(error, "problem", None) or "not a text"
        raise InputError(f"--config {path}{where}: this is not YAML ({what}).") from None
    except UnicodeDecodeError:
        raise InputError(f"--config {path}: this is not UTF-8 text.") from None
    except OSError as error:
        raise InputError(f"--config {path}: {error.strerror}.") from None
    return made


def _value(name: str, one: Option, hint: Any, value: Any) -> Any:
    """A value of the file in the option's type.

    Raises:
        InputError: it can't be.
    """
    flag = one.flag(name)
    if one.parse is not None and (one.repeatable or one.parse is options.listed):
        return one.parse(_texts(flag, value), flag)
    if one.parse is options.path:
        return one.parse(_text(flag, value), flag)
    if one.parse is not None:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return one.parse(value if number else _text(flag, value), flag)
    kind = next(kind for kind in (*typing.get_args(hint), hint) if kind is not NoneType)
    if kind is str:
        return _text(flag, value)
    if kind is bool:
        if isinstance(value, bool):
            return value
        raise InputError(f"{flag} must be true or false, not {value!r}.")
    try:
        made = None if isinstance(value, bool) else kind(value)
        if made is None or (isinstance(value, float) and made != value):
            raise ValueError
        return made
    except (TypeError, ValueError, OverflowError):
        whole = "a whole number" if kind is int else "a number"
        raise InputError(f"{flag} must be {whole}, not {value!r}.") from None


def _text(flag: str, value: Any) -> str:
    """Raises InputError where YAML took a word for something else (`NO` is false, `2026` a number)."""
    if isinstance(value, str):
        return value
    if isinstance(value, list | Mapping):  # what it holds may be a password
        raise InputError(f"{flag} must be a text, not a {'list' if isinstance(value, list) else 'mapping'}.")
    raise InputError(f"{flag} must be a text, not {value!r}. Put it in quotes.")


def _texts(flag: str, value: Any) -> Any:
    """A list or mapping as the parser of the option takes it: of texts, as they are typed on a command line."""
    if isinstance(value, Mapping):
        return {_text(flag, key): _typed(flag, one) for key, one in value.items()}
    if isinstance(value, list):
        return [_text(flag, one) for one in value]
    return _text(flag, value)


def _typed(flag: str, value: Any) -> str:
    if isinstance(value, bool | int | float | str):
        return str(value)
    raise InputError(f"{flag} holds one value per hyperparameter, not {value!r}.")


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return dict(value)
    return list(value) if isinstance(value, tuple) else value

"""Search spaces: what may vary. `get` finds one by name, by `module:name`, or by `file.py:name`.

`to_search` gives the driver the same as a `Space`: with hooks, and with everything declared, which a user's own need
not do by itself.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import xraytune  # isort: skip  # noqa: F401  before Keras and with it TensorFlow, which reads what it sets once
import keras_tuner

from spaces.chest_xray import ChestXRay, image_sizes, offers_crops
from spaces.context import SpaceContext
from spaces.discovery import Foreign
from spaces.smoke import Smoke
from spaces.space import SearchContext, Space
from xraytune import artifacts
from xraytune.data import Progress
from xraytune.errors import InputError
from xraytune.models import FAMILIES, backbones
from xraytune.models.file_backbones.backbone import FileBackbone

SPACES: dict[str, type[ChestXRay]] = {space.name: space for space in (ChestXRay, Smoke)}

__all__ = [
    "SPACES", "SearchContext", "Space", "SpaceContext", "fingerprint", "get", "image_sizes", "offered", "offers_crops",
    "to_search",
]  # fmt: skip


def get(name: str, context: SpaceContext) -> keras_tuner.HyperModel:
    """The search space that a user named.

    Args:
        name: `chest_xray`, `smoke`, `package.module:Name` or `path/to/file.py:Name`; `Name` is a HyperModel, a class of
            one (called with the context if it takes one), or KerasTuner's plain `build(hp)` function.
        context: what the space needs to know.

    Raises:
        InputError: there is no such space, its module can't be imported, or a family that was asked for is not in it.
    """
    kind = SPACES.get(name)
    if kind is None:
        return _foreign(name, context)
    known = (*FAMILIES, *context.files)
    if unknown := [family for family in context.families if family not in known]:
        raise InputError(f"--families: unknown family {', '.join(unknown)}. There are: {', '.join(known)}.")
    space = kind(context)
    if not space.families:
        raise InputError(
            f"none of the families {', '.join(context.families)} can take part in the space {name}: "
            "it has others, or their weights are not available (docs/weights.md)"
        )
    return space


def offered(name: str, families: tuple[str, ...], files: Mapping[str, FileBackbone] | None = None) -> Space:
    """A space before the data are read: what it offers if every pretrained network that it knows is available.

    Args:
        name: of the space.
        families: that the user asked for; none is all.
        files: the user's own backbones by name.

    Raises:
        InputError: as `get`, or a backbone of the user's is no family of the space.
    """
    known = dict.fromkeys(backbones.BACKBONES, "") if name in SPACES else {}
    space = _with_hooks(get(name, SpaceContext(families=families, weights=known, files=files or {})))
    if unused := [one for one in files or () if one not in space.families]:
        why = (
            f"--families has no {unused[0]}: add it there"
            if families
            else f"the space {name} takes no backbones by file"
        )
        raise InputError(f"--backbone {unused[0]}=…: {why}.")
    return space


def to_search(name: str, context: SpaceContext, progress: Progress | None = None) -> Space:
    """Like `get`, for the driver: with hooks, all parameters declared, and an image size for every network.

    Spaces that declare an `image_size` are as they are. Networks of the others are built in a process of their own,
    which takes seconds to minutes, and what is seen there is declared. Workers need no more than `get`.

    Raises:
        InputError: as `get`, or no network of the space can be built and trained on such images.
    """
    return _with_hooks(get(name, context)).completed(name, context, progress)


def _with_hooks(space: keras_tuner.HyperModel) -> Space:
    return space if isinstance(space, Space) else Foreign(space)


def fingerprint(name: str) -> str:
    """sha256 of the file that a space of the user's own is in; empty for ours, which have the package's version."""
    if name in SPACES:
        return ""
    module = name.rpartition(":")[0]
    found = None if module.endswith(".py") else importlib.util.find_spec(module)
    file = found.origin if found else module
    return artifacts.sha256(file) if file else ""


def _foreign(name: str, context: SpaceContext) -> keras_tuner.HyperModel:
    module_name, separator, attribute = name.rpartition(":")
    if not separator:
        raise InputError(
            f"unknown space {name!r}: {', '.join(SPACES)}, or your own as module:name or file.py:name (docs/spaces.md)"
        )
    module = _module(module_name)
    if not hasattr(module, attribute):
        raise InputError(f"space {name!r}: {module_name} has no {attribute!r}")
    return _hypermodel(getattr(module, attribute), name, context)


def _module(name: str) -> ModuleType:
    path = Path(name)
    try:
        if path.suffix != ".py":
            return importlib.import_module(name)
        if not path.is_file():
            raise InputError(f"{path}: no such file; a space of your own is file.py:name")
        # named by its stem: a class in it can be pickled to workers that load the same file
        unique = f"xraytune_space_{path.stem}"
        spec = importlib.util.spec_from_file_location(unique, path)
        if spec is None or spec.loader is None:
            raise InputError(f"{path}: not a Python file")
        module = importlib.util.module_from_spec(spec)
        sys.modules[unique] = module
        spec.loader.exec_module(module)
        return module
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"the space's module {name} can't be imported: {type(error).__name__}: {error}") from error


def _hypermodel(found: Any, name: str, context: SpaceContext) -> keras_tuner.HyperModel:
    if isinstance(found, type) and issubclass(found, keras_tuner.HyperModel):
        try:
            found = found(context) if _takes_context(found) else found()
        except Exception as error:
            raise InputError(f"space {name!r} can't be made: {type(error).__name__}: {error}") from error
    if isinstance(found, keras_tuner.HyperModel):
        return found
    if callable(found):
        from keras_tuner.src.engine.hypermodel import DefaultHyperModel

        return DefaultHyperModel(found)
    raise InputError(f"space {name!r} is a {type(found).__name__}, neither a HyperModel nor a function build(hp)")


def _takes_context(space: type[keras_tuner.HyperModel]) -> bool:
    """Whether its constructor asks for a `context`, or for anything at all that has no default."""
    parameters = inspect.signature(space).parameters.values()
    return any(
        p.name == "context" or (p.default is p.empty and p.kind in {p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD})
        for p in parameters
    )

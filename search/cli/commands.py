"""The commands there are: the modules of `search` itself, found without importing one."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path
from types import ModuleType

_FOLDER = Path(__file__).parents[1]
_SPELLED = {"run": "search"}
"""Commands that are not called like their module."""


def names() -> dict[str, str]:
    """The module of each command: `{"search": "search.run", "show-augmentation": "search.show_augmentation"}`."""
    stems = sorted(path.stem for path in _FOLDER.glob("*.py") if not path.stem.startswith("__"))
    return {_SPELLED.get(stem, stem.replace("_", "-")): f"search.{stem}" for stem in stems}


def summary(command: str) -> str:
    """The first line of a command's help."""
    tree = ast.parse((_FOLDER / f"{names()[command].partition('.')[2]}.py").read_text(encoding="utf-8"))
    main = next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "main")
    return " ".join((ast.get_docstring(main) or "").split("\n\n")[0].split())


def load(command: str) -> ModuleType:
    """Import a command's module."""
    return importlib.import_module(names()[command])

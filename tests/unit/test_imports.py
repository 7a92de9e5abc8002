"""How packages lie; which of them may import which is held by the contracts in pyproject.toml (`make lint`)."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MOST = 15
"""Modules in a folder, beside its `__init__.py`."""


def test_no_folder_holds_more_modules_than_a_reader_can_survey():
    folders = {p.parent for package in ("src/xraytune", "spaces", "search") for p in (ROOT / package).rglob("*.py")}
    counts = {str(f.relative_to(ROOT)): len([p for p in f.glob("*.py") if p.stem != "__init__"]) for f in folders}
    assert {name: count for name, count in counts.items() if count > MOST} == {}


def test_no_package_file_lies_in_src_itself():
    assert not (ROOT / "src" / "__init__.py").exists()


def test_every_module_opens_with_what_it_is_for():
    modules = [p for package in ("src/xraytune", "spaces", "search") for p in (ROOT / package).rglob("*.py")]
    silent = [str(p.relative_to(ROOT)) for p in modules if not ast.get_docstring(ast.parse(p.read_text()))]
    assert not silent

"""Imports point one way: xraytune ← spaces ← search."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FORBIDDEN = {
    "src/xraytune": {"spaces", "search", "optuna", "ray", "optuna_dashboard"},
    "spaces": {"search", "optuna", "ray", "optuna_dashboard"},
}


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("room", sorted(FORBIDDEN))
def test_no_module_imports_against_the_flow(room):
    modules = sorted((ROOT / room).rglob("*.py"))
    assert modules
    wrong = {str(p.relative_to(ROOT)): imported(p) & FORBIDDEN[room] for p in modules if imported(p) & FORBIDDEN[room]}
    assert not wrong


def test_no_package_file_lies_in_src_itself():
    assert not (ROOT / "src" / "__init__.py").exists()


def test_every_module_opens_with_what_it_is_for():
    modules = [p for room in ("src/xraytune", "spaces", "search") for p in (ROOT / room).rglob("*.py")]
    silent = [str(p.relative_to(ROOT)) for p in modules if not ast.get_docstring(ast.parse(p.read_text()))]
    assert not silent

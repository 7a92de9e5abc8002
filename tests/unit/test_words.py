"""The documentation is written in the field's words, and every command in it exists."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest
import typer.main

from search.cli import commands as commands_there_are
from search.cli import console

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "notebooks").glob("*.ipynb")),
]

WORDS = {
    r"\bfilms?\b": "image, or radiograph",
    r"\bphantoms?\b": "synthetic images",
    r"\bfalls (where|most)\b": "worst view",
    r"\bcalled ill\b|\bis answered from\b": "classified as positive",
    r"\b(is|are|was|were) at hand\b": "available",
    r"\bwho suggests\b": "the sampler",
    r"(?-i:\b[Rr]emed(y|ies)\b)": "countermeasure",
    r"\bcop(y|ies) of a prefix\b|\bfrozen prefix(es)?\b": "cached features of the frozen backbone",
    r"\b(beyond chance|by a hair|by luck|luck of)\b": "statistically significant, or nothing",
    r"\bout of fold\b": "cross-validated (out-of-fold)",
    r"\b(sealed|unsealed|opened|opening)\b": "held out, evaluated",
    r"\bmake-?up\b": "image properties",
    r"\b(trials|time) in all\b": "maximum number of trials, time budget",
    r"\bwhat mattered\b|\bwhat it competes with\b|\bin short\b|\bhow the search went\b": "the plain heading",
    r"\b(house|rooms?|halls?)\b": "package, module",
    r"\bhonest\b|\bcheats?\b": "name the property; shortcut",
    r"\bwanted\b.*\bmissed\b|\*\*missed\*\*": "no internal targets",
}
"""What documentation does not say, as regular expressions, and what it says instead."""

NOT_RUN: dict[str, str] = {}
"""Commands of the pages that can't be read by a command of ours, with the reason; ten at most."""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_documentation_uses_the_words_of_the_field(page):
    text = page.read_text(encoding="utf-8")
    found = [
        f"{page.name}:{text[: match.start()].count(chr(10)) + 1}: {match.group()!r}, say: {better}"
        for word, better in WORDS.items()
        for match in re.finditer(word, text, re.IGNORECASE)
    ]
    assert not found, "\n".join(found)


COMMAND = r"(?:^|&& )((?:\S*python -m (?:search|tests)\.|make )[^#&']*)"


def commands() -> list[tuple[str, str]]:
    """Page and command: indented lines, joined where they end in a backslash, and what stands in backticks."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8").replace("\\\n", " ")
        lines = [line.strip() for line in text.splitlines() if line.startswith("    ")]
        for part in [*lines, *re.findall(r"`([^`\n]+)`", text)]:
            found += [(page.name, one.strip()) for one in re.findall(COMMAND, part)]
    return sorted(set(found))


TARGETS = set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def known_variables() -> set[str]:
    """The variables that `make` takes: those that the Makefile reads, and the options and arguments of all commands."""
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    options = set().union(*(options_of(module) for module in commands_there_are.names().values()))
    places = {"DATA", "STUDY", "MODEL", "FOLDER", "IMAGES", "WHICH", "ARGS"}
    read = re.findall(r"\$\((?:or \$\(|if \$\()?([A-Z_]+)\)", text)
    environment = {"XRAYTUNE_DATA", "XRAYTUNE_WEIGHTS"}  # make test-real hands these on
    return {option[2:].upper().replace("-", "_") for option in options} | set(read) | environment | places


def options_of(module: str) -> set[str]:
    """Every option of one command."""
    command = typer.main.get_command(console.application(importlib.import_module(module).main))
    return {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)} | {"--help"}


@pytest.mark.parametrize(("page", "command"), [c for c in commands() if c[1] not in NOT_RUN])
def test_a_command_in_the_documentation_exists_with_its_options(page, command):
    if command.startswith("make "):
        words = command.split()[1:]
        targets = [word for word in words if re.fullmatch(r"[a-z][a-z-]+", word)]
        assert targets, f"{page}: {command!r} names no target"
        assert targets[0] in TARGETS, f"{page}: make has no target of {command!r}"
        names = set(re.findall(r"\b([A-Z][A-Z_]+)=", command))
        assert names <= known_variables(), f"{page}: {names - known_variables()} in {command!r}"
        return
    module = re.search(r"-m (\S+)", command).group(1)
    if module == "search.NAME":  # any command
        return
    assert (ROOT / (module.replace(".", "/") + ".py")).is_file(), f"{page}: no module {module}"
    if module.startswith("search."):
        given = set(re.findall(r"(?<=\s)(--[a-z][a-z-]*)", command))
        assert given <= options_of(module), f"{page}: {given - options_of(module)} of {command!r}"


def test_at_most_ten_commands_of_the_documentation_are_left_out():
    assert len(NOT_RUN) <= 10
    assert set(NOT_RUN) <= {command for _, command in commands()}

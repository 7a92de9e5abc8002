"""Write docs/licences.md, the licences of what xraytune installs: `make licences`.

The packages of requirements.lock and those of the other extras are installed into an environment of their own and
asked; nothing is taken from the environment that the command runs in.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable
from importlib.metadata import Distribution, distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "licences.md"
LOCK = ROOT / "requirements.lock"

NOT_ASKED = {"dev": "only for work on xraytune", "cuda": "described in words: the libraries take gigabytes"}
"""Extras whose packages are not installed for the page, with the reason."""

HEAD = """# Licences of the dependencies

xraytune itself is under the Apache License 2.0 ([LICENSE](../LICENSE)). It contains none of the packages below: an
installation fetches them. The extra `cuda` adds NVIDIA's CUDA libraries, which are proprietary and come with a licence
of their own. Licences are as the packages state them. This page is written by `make licences`.
"""


def direct() -> dict[str, str]:
    """The direct dependencies and what each is for: `always`, or its extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found = {_name(text): ["always"] for text in project["dependencies"]}
    for extra, texts in project["optional-dependencies"].items():
        if extra not in NOT_ASKED:
            for text in texts:
                found.setdefault(_name(text), []).append(f"extra `{extra}`")
    return {name: ", ".join(uses) for name, uses in found.items()}


def page(installed: Iterable[Distribution]) -> str:
    """The page: direct dependencies, then what these bring.

    Args:
        installed: the packages, xraytune not among them.
    """
    uses = direct()
    licences = {canonicalize_name(one.metadata["Name"]): (one.metadata["Name"], licence(one)) for one in installed}
    rows = [(name, licences[name]) for name in sorted(licences)]
    lines = [HEAD, "## Direct dependencies", "", "| package | licence | installed |", "|---|---|---|"]
    lines += [f"| {shown} | {text} | {uses[name]} |" for name, (shown, text) in rows if name in uses]
    lines += ["", "## What these bring", "", "| package | licence |", "|---|---|"]
    lines += [f"| {shown} | {text} |" for name, (shown, text) in rows if name not in uses]
    return "\n".join([*lines, ""])


def licence(one: Distribution) -> str:
    """A package's licence in a few words: its expression, its classifiers, or the first line of what it states."""
    about = one.metadata
    if expression := about.get("License-Expression"):
        return str(expression)
    classifiers = [text for text in about.get_all("Classifier") or [] if text.startswith("License :: ")]
    named = [text.rpartition(" :: ")[2] for text in classifiers if not text.endswith("OSI Approved")]
    stated = (about.get("License") or "").strip()
    if stated and "\n" not in stated and len(stated) <= 60:
        return stated
    first = next(iter(stated.splitlines()), "not stated").strip()
    return ", ".join(dict.fromkeys(named)) or first[:60]


def _name(requirement: str) -> str:
    return canonicalize_name(Requirement(requirement).name)


def _installed(folder: Path) -> list[Distribution]:
    """Every package of the lock and of the extras, installed into `folder`."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    more = [text for extra, texts in extras.items() if extra not in NOT_ASKED for text in texts]
    run = [sys.executable, "-m", "uv"]
    subprocess.run([*run, "venv", "--quiet", "--python", sys.executable, str(folder)], check=True)
    python = str(folder / "bin" / "python")
    subprocess.run([*run, "pip", "install", "--quiet", "--python", python, "-r", str(LOCK), *more], check=True)
    return list(distributions(path=[str(place) for place in folder.glob("lib/python*/site-packages")]))


def main() -> int:
    """Write the page."""
    with tempfile.TemporaryDirectory() as folder:
        PAGE.write_text(page(_installed(Path(folder) / "venv")), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

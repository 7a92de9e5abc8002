"""The wheel, installed outside of the checkout: the command, its spaces, its templates and a search from any folder."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

import xraytune
from search.cli import commands
from tests.inputs import made_radiographs
from tests.searching import ROOT


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)], cwd=ROOT, check=True)
    return next(out.glob("*.whl"))


@pytest.fixture(scope="module")
def bin_folder(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The commands of a fresh environment: the wheel, and the dependencies of this one without the checkout."""
    fresh = tmp_path_factory.mktemp("fresh") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(fresh)], check=True)
    site = next(fresh.glob("lib/python*/site-packages"))
    # a line of a .pth adds a folder and does not read the .pth files in it: so not the editable installation
    (site / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    pip = [sys.executable, "-m", "pip", "--python", str(fresh / "bin" / "python"), "install", "--quiet"]
    subprocess.run([*pip, "--no-deps", "--no-index", "--no-warn-script-location", str(wheel)], check=True)
    return fresh / "bin"


def run(program: Path, *arguments: object, folder: Path) -> subprocess.CompletedProcess[str]:
    """A program in a folder outside of the checkout, with nothing in its environment that leads back."""
    environment = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "VIRTUAL_ENV"}}
    environment |= {"XRAYTUNE_CACHE": str(folder / "cache"), "COLUMNS": "160"}
    return subprocess.run(
        [str(program), *map(str, arguments)],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip


def test_the_wheel_holds_every_module_and_template_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
        about = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = archive.read(about).decode()
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "search", "spaces", "src"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    assert held == {name.removeprefix("src/") for name in listed if (ROOT / name).exists()}
    assert {"report.html", "model_card.md"} <= {Path(name).name for name in held}
    assert f"\nVersion: {xraytune.__version__}\n" in metadata
    assert "Classifier: Private :: Do Not Upload" in metadata


def test_the_command_is_the_wheels_own_and_has_every_sub_command(bin_folder: Path, tmp_path: Path) -> None:
    shown = run(bin_folder / "xraytune", "--version", folder=tmp_path)
    assert (shown.returncode, shown.stdout) == (0, f"xraytune {xraytune.__version__}\n"), shown.stderr
    listed = run(bin_folder / "xraytune", "--help", folder=tmp_path).stdout
    assert all(f" {name} " in listed for name in commands.names())
    code = "import search, spaces, xraytune; print(search.__file__, spaces.__file__, xraytune.__file__)"
    places = run(bin_folder / "python", "-c", code, folder=tmp_path).stdout.split()
    assert len(places) == 3
    assert all(Path(place).is_relative_to(bin_folder.parent) for place in places), places


def test_a_search_runs_from_a_foreign_folder(bin_folder: Path, tmp_path: Path) -> None:
    made_radiographs.kaggle(tmp_path / "chest_xray", train=24, test=6)
    options = ("--data", "chest_xray", "--space", "smoke", "--trials", 2, "--max-epochs", 1, "--study", "mine")
    done = run(bin_folder / "xraytune", "search", *options, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert {"studies.db", "mine"} <= {path.name for path in (tmp_path / "results").iterdir()}
    listed = run(bin_folder / "xraytune", "leaderboard", "mine", folder=tmp_path)
    assert listed.returncode == 0, listed.stderr
    assert listed.stdout.count("complete") >= 2

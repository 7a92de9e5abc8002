"""The notebooks: stripped, of no machine and nobody's, and written for the Python calls that there are."""

from __future__ import annotations

import ast
import getpass
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))

PATH = re.compile(r"(?<![\w.])(?:/(?:home|root|tmp|work|Users|mnt|opt|usr|var|srv|data)/|~/|[A-Za-z]:\\)")
"""What a path of one machine begins with."""


def book(path):
    return json.loads(path.read_text(encoding="utf-8"))


def code(path):
    return ["".join(cell["source"]) for cell in book(path)["cells"] if cell["cell_type"] == "code"]


def test_there_is_a_quick_start_and_one_for_real_images():
    assert [path.stem for path in NOTEBOOKS] == ["chest_xray", "quickstart"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_has_no_output_no_path_of_a_machine_and_no_user(path):
    found = book(path)
    assert set(found["metadata"]) == {"kernelspec", "language_info"}
    assert found["metadata"]["kernelspec"] == {
        "display_name": "Python 3", "language": "python", "name": "python3",
    }  # fmt: skip
    assert found["metadata"]["language_info"] == {"name": "python"}
    for cell in found["cells"]:
        assert cell["metadata"] == {}
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None
    text = path.read_text(encoding="utf-8")
    assert not PATH.findall(text)
    assert not re.search(rf"\b{re.escape(getpass.getuser())}\b", text)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_s_links_lead_somewhere(path):
    links = re.findall(r"\]\(([^)#]+)", path.read_text(encoding="utf-8"))
    assert links
    for link in links:
        assert link.startswith("https://") or (path.parent / link).is_file(), link


@pytest.mark.long
def test_every_cell_is_python_that_the_type_checker_accepts(tmp_path):
    """The package's types name every call, option and property, so a name that is gone is found here."""
    scripts = {path.stem: "\n".join(code(path)) for path in NOTEBOOKS}
    scripts["wrong"] = scripts["quickstart"].replace("study.retrain(", "study.retrained(")
    for name, text in scripts.items():
        ast.parse(text)
        (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
    files = [f"{name}.py" for name in scripts]
    command = [sys.executable, "-m", "mypy", "--ignore-missing-imports", "--cache-dir", "mypy", *files]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert re.findall(r"^(\S+?):", done.stdout, re.MULTILINE) == ["wrong.py"], done.stdout + done.stderr
    assert '"retrained"' in done.stdout


def test_the_notebook_for_real_images_reads_the_training_folder_alone():
    (assigned,) = [line for cell in code(ROOT / "notebooks" / "chest_xray.ipynb") for line in cell.splitlines()
                   if line.startswith("DATA = ")]  # fmt: skip
    assert assigned == 'DATA = Path("path/to/chest_xray/train")'
    assert "chest_xray/test" not in "".join(code(ROOT / "notebooks" / "chest_xray.ipynb"))

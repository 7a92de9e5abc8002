"""Commands whose standard streams are closed, can't encode what is printed, or lose their reader."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.inputs.made_radiographs import radiograph

ROOT = Path(__file__).resolve().parents[4]
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": ""}
COMMAND = """
import sys
from typing import Annotated
import typer
from pathlib import Path
from rich.table import Table
from search.cli import console

def main() -> None:
    "Print."
    table = Table(title="Übersicht …")
    table.add_row("Röntgen → ≥ 0,5", "\\udcff 肺炎")
    for number in range(LINES):
        console.out.print(table)
        console.err.print("fünf … →")
    Path(sys.orig_argv[-1]).write_text("whole", encoding="utf-8")

sys.argv = sys.argv[:1]
console.run(main)
"""


def command(tmp_path, redirection="", lines=2, **environment):
    end = tmp_path / "end"
    code = tmp_path / "command.py"
    code.write_text(COMMAND.replace("LINES", str(lines)), encoding="utf-8")
    done = subprocess.run(
        ["bash", "-c", f'set -o pipefail; "$@" {redirection}', "bash", sys.executable, code, end], cwd=ROOT,
        capture_output=True, check=False, timeout=120, env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
    )  # fmt: skip
    return done, end


@pytest.mark.parametrize(
    "environment",
    [ASCII, {"PYTHONIOENCODING": "ascii"}, {"PYTHONIOENCODING": "latin-1"}, {"PYTHONIOENCODING": "utf-8"}],
    ids=["C", "ascii", "latin-1", "utf-8"],
)
def test_what_a_terminal_can_not_show_is_replaced(tmp_path, environment):
    done, end = command(tmp_path, **environment)
    assert done.returncode == 0, done.stderr
    assert end.read_text(encoding="utf-8") == "whole"
    assert b"Traceback" not in done.stderr
    assert b"ntgen" in done.stdout


def test_names_of_files_are_read_in_utf8_whatever_the_locale(tmp_path):
    for label, level in (("é", 40), ("肺", 90)):
        for number in range(12):
            at = tmp_path / "Übung" / label / f"{number} ä.png"
            at.parent.mkdir(parents=True, exist_ok=True)
            radiograph(number + level, 40, 40).save(at)
    done = subprocess.run(
        [sys.executable, "-m", "search.verify", tmp_path / "Übung", "--positive", "肺"], cwd=ROOT, capture_output=True,
        check=False, timeout=120,
        env={**os.environ, **ASCII, "PYTHONPATH": str(ROOT), "XRAYTUNE_CACHE": str(tmp_path / "cache")},
    )  # fmt: skip
    assert done.returncode == 0, (done.stdout + done.stderr).decode()
    assert b"The data can be used" in done.stdout
    assert done.stdout.isascii()


@pytest.mark.parametrize("redirection", [">&-", "2>&-", "<&-", "<&- >&- 2>&-"])
def test_closed_streams_stop_no_command_and_nothing_is_printed_into_a_file(tmp_path, redirection):
    done, end = command(tmp_path, redirection)
    assert done.returncode == 0, done.stderr
    assert end.read_text(encoding="utf-8") == "whole"
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("redirection", ["| head -1", "| true", "2>&1 | head -1", "2> >(head -1 >&2)"])
def test_a_command_goes_on_when_its_reader_ends(tmp_path, redirection):
    done, end = command(tmp_path, redirection, lines=2000)
    assert done.returncode == 0, done.stderr[-2000:]
    assert end.read_text(encoding="utf-8") == "whole"
    assert b"Traceback" not in done.stderr

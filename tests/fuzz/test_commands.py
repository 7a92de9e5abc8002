"""Real commands under drawn environment variables and options: an answer or one message, exit code 0, 1 or 2."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from hypothesis import strategies as st

from tests.fuzz.harness import LETTERS, fuzzed, place
from tests.inputs.made_radiographs import flat

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 120
"""Seconds for a process that imports what it needs on a machine with other work."""

_ODD = st.sampled_from(["", " ", "0", "-1", "x", "\udcff", "/dev/null", "/proc/nothing", "~nobody-of-this-name", "C"])
_VARIABLES = st.sampled_from(
    [
        "XRAYTUNE_CACHE", "XRAYTUNE_STORAGE", "XRAYTUNE_WEIGHTS", "XRAYTUNE_DEBUG", "HOME", "TMPDIR", "LC_ALL", "LANG",
        "PYTHONIOENCODING", "PYTHONUTF8", "COLUMNS", "LINES", "TERM", "NO_COLOR", "FORCE_COLOR", "RAY_ADDRESS",
        "KERAS_BACKEND", "KERAS_HOME", "OMP_NUM_THREADS", "TZ", "XDG_CACHE_HOME",
    ]
)  # fmt: skip


@fuzzed(
    variables=st.dictionaries(_VARIABLES, _ODD | LETTERS, max_size=3),
    command=st.sampled_from(["verify", "leaderboard", "report", "predict"]),
    argument=st.sampled_from(["data", "nothing"]) | LETTERS,
)
def test_a_command_in_any_environment_answers_or_says_one_message(variables, command, argument):
    with place() as home:
        flat(home / "data", {"NORMAL": 4, "PNEUMONIA": 4})
        own = {"XRAYTUNE_CACHE": str(home / "cache"), "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
        results = ["--results", str(home / "results")] if command in {"leaderboard", "report"} else []
        words = [argument, *(["data"] if command == "predict" else [])]
        try:
            done = subprocess.run(
                [sys.executable, "-m", f"search.{command}", *results, "--", *words],
                cwd=home, env={**os.environ, **own, **variables}, capture_output=True, timeout=PATIENCE, check=False,
            )  # fmt: skip
        except ValueError:  # the system takes no such variable
            return
        said = (done.stdout + done.stderr).decode(errors="replace")
        assert done.returncode in {0, 1, 2}, said
        assert "Traceback" not in said, said
        assert done.returncode == 0 or said.strip()
        assert not re.search(r"[\x00-\x08\x0b-\x1a\x1c-\x1f]", said), said

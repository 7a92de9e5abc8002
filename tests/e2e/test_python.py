"""The session of docs/python.md in a process of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.inputs import made_radiographs

ROOT = Path(__file__).resolve().parents[2]

CHECKS = """
import os, signal, sys
from PIL import Image

assert os.environ == ENVIRONMENT, "environment variables are as they were"
assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
assert len(board) == 2 and {"trial", "family", "state", "AUC"} <= set(board.columns), board.columns
assert board.iloc[0].trial == study.best.number and study.best.params["family"] in {"dense", "cnn"}
assert "data:image/svg+xml" in study._repr_html_() and "Budget: at most 2 trials" in study._repr_html_()
assert list(final.metrics.columns) == ["figure", "value", "low", "high", "baseline"]
assert list(answers.columns) == ["path", "probability", "decision", "unusual"] and len(answers) == 13
assert Image.open("heat.png").size[0] == 512
assert outside.report.is_file() and len(outside.metrics)
assert again.predict("path/to/image.jpeg", progress=False).decision[0] == answers.decision[0]
second = xt.search("path/to/chest_xray", name="mine", resume=True, trials=3, progress=False, **small)
assert len([t for t in second.trials if t.counts]) == 3, "one call follows another in one process"
print("ALL WELL")
"""


def test_the_session_in_the_documentation_runs_and_leaves_the_process_as_it_was(tmp_path):
    code = re.search(r"```python\n(.*?)```", (ROOT / "docs" / "python.md").read_text(), re.DOTALL).group(1)
    data = made_radiographs.kaggle(tmp_path / "path" / "to" / "chest_xray", train=24, test=6)
    made_radiographs.kaggle(tmp_path / "path" / "to" / "other_hospital", train=30, test=0)
    os.link(next((data / "test" / "NORMAL").iterdir()), tmp_path / "path" / "to" / "image.jpeg")
    (tmp_path / "path" / "to" / "folder").symlink_to(data / "test")
    smaller = {
        'time="30m", name="mine"': 'trials=2, name="mine", **small',
        "study.retrain()": "study.retrain(finalists=1, folds=3, seeds=1, refits=1, time='2m')",
    }
    for there, here in smaller.items():
        assert there in code
        code = code.replace(there, here)
    begin = "import os\nENVIRONMENT = dict(os.environ)\nsmall = {'space': 'smoke'}\n"
    script = tmp_path / "session.py"
    script.write_text(code.replace("import xraytune as xt\n", f"import xraytune as xt\n{begin}", 1) + CHECKS)
    done = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, env=os.environ | {"XRAYTUNE_CACHE": str(tmp_path / "cache")},
        capture_output=True, text=True, check=False, timeout=290,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "ALL WELL"
    assert "oneDNN" not in done.stderr
    assert "complete" not in done.stdout.replace("COMPLETE", ""), "no table of the command is printed"

"""The Python calls in processes of their own: the session of docs/python.md, and interruptions in every phase."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests import made_films

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
    data = made_films.kaggle(tmp_path / "path" / "to" / "chest_xray", train=24, test=6)
    made_films.kaggle(tmp_path / "path" / "to" / "other_hospital", train=30, test=0)
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


INTERRUPTED = """
import os, signal, sys, threading, time
import psutil
import xraytune as xt

phase, seen = sys.argv[1], {}

def children():
    return [c for c in psutil.Process().children(recursive=True) if c.status() != psutil.STATUS_ZOMBIE]

def command_lines():
    found = []
    for child in children():
        try:
            found.append(" ".join(child.cmdline()))
        except psutil.Error:
            pass
    return " ".join(found)

def interrupt():
    while phase not in command_lines():
        time.sleep(0.05)
    seen.update(at=time.monotonic(), children=children())
    os.kill(os.getpid(), signal.SIGINT)

handlers = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
threading.Thread(target=interrupt, daemon=True).start()
space = {"space": "search.testing.synthetic_space:Faulty"}
try:
    xt.search(name="one", trials=1000, **space)
except KeyboardInterrupt as error:
    spent, said = time.monotonic() - seen["at"], str(error)
assert spent < 10, spent
alive = [c for c in [*seen["children"], *children()] if c.is_running() and c.status() != psutil.STATUS_ZOMBIE]
assert not alive, alive
assert handlers == [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
found = []
thread = threading.Thread(target=lambda: found.append(xt.search(name="two", trials=2, **space)))
thread.start()
thread.join()
assert len([t for t in found[0].trials if t.counts]) == 2, "another search, outside of the main thread"
print("ALL WELL", said)
"""


@pytest.mark.parametrize("phase", ["gcs_server", "Trainable"])
def test_an_interrupted_search_ends_within_ten_seconds_leaves_no_process_and_another_can_follow(phase, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(INTERRUPTED)
    environment = {"XRAYTUNE_CACHE": str(tmp_path / "cache"), "XRAYTUNE_EPOCH_SECONDS": "0.2", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, str(script), phase], cwd=tmp_path, env=os.environ | environment,
        capture_output=True, text=True, check=False, timeout=290,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("ALL WELL")
    assert phase == "gcs_server" or "Study 'one' is intact" in done.stdout

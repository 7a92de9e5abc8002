"""The session in docs/python.md runs as it stands there, on a handful of images."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests import made_films

ROOT = Path(__file__).resolve().parents[2]


def test_the_session_in_the_documentation_runs(tmp_path):
    code = re.search(r"```python\n(.*?)```", (ROOT / "docs" / "python.md").read_text(), re.DOTALL).group(1)
    data = made_films.kaggle(tmp_path / "chest_xray", train=24, test=6)
    film = next((data / "test" / "NORMAL").iterdir())
    smaller = {
        "path/to/chest_xray": str(data),
        "path/to/film.jpeg": str(film),
        'trials=40, time="30m"': 'trials=2, space="smoke", cache=Path("cache")',
        'which="best"': 'which="best", finalists=1, folds=3, seeds=1',
    }
    for there, here in smaller.items():
        assert there in code
        code = code.replace(there, here)
    script = tmp_path / "session.py"
    script.write_text(code)
    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=tmp_path,
        env=os.environ | {"XRAYTUNE_CACHE": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "NORMAL" in done.stdout.splitlines()[-1]
    assert (tmp_path / "results" / "mine" / "winner" / "metrics.json").is_file()

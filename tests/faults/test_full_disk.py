"""What happens when a disk is full: one message, and nothing that was finished is lost."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.searching import kept, told

pytestmark = pytest.mark.timeout(1200)

ROOT = Path(__file__).resolve().parents[2]


def can_mount() -> bool:
    return subprocess.run(["unshare", "-rm", "true"], capture_output=True, check=False).returncode == 0


SMALL_CACHE = """
mount -t tmpfs -o size=64m none {cache} && cd {root} || exit 9
{search} >{output} 2>&1 &
until grep -q ' complete ' {output}; do kill -0 $! || break; sleep 0.1; done
head -c 100m /dev/zero 2>/dev/null >{cache}/fill
wait $!
echo $? >{home}/full
rm {cache}/fill
{search} --resume >{home}/later 2>&1
echo $? >{home}/freed
"""


@pytest.mark.skipif(not can_mount(), reason="this machine lets no one mount a small disk (unshare -rm)")
def test_a_cache_that_fills_ends_the_search_fails_no_trial_and_it_goes_on_when_there_is_room(search, tmp_path):
    with tempfile.TemporaryDirectory(prefix="xc", dir="/tmp") as short:  # so that Ray's sockets fit into it
        search.cache = Path(short)
        run = " ".join(map(repr, search.command("--trials", "12", "--pruner", "none")))
        script = SMALL_CACHE.format(cache=short, root=ROOT, search=run, output=search.output, home=tmp_path)
        environment = {"PATH": "/usr/bin:/bin", "XRAYTUNE_EPOCH_SECONDS": "0.3", "HOME": str(tmp_path)}
        subprocess.run(["unshare", "-rm", "sh", "-c", script], env=environment, timeout=600, check=True)
    assert int((tmp_path / "full").read_text()) == 1, search.text
    assert search.text.count("error: ") == 1
    assert "No space left on device" in search.text
    assert short in search.text
    assert "Traceback" not in search.text
    assert int((tmp_path / "freed").read_text()) == 0, (tmp_path / "later").read_text()
    trials = search.trials()
    assert not [t for t in trials if t["state"] == "FAIL" and not t["interrupted"]]
    assert sum(t["state"] == "COMPLETE" for t in trials) == 12
    assert 0 < len(told(search.text)) < 12
    assert told(search.text).items() <= kept(trials).items()

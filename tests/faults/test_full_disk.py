"""What happens when a disk is full: one message, and nothing that was finished is lost."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.searching import can_mount, kept, told

pytestmark = pytest.mark.timeout(1200)

ROOT = Path(__file__).resolve().parents[2]


SMALL_RESULTS = """
mount -t tmpfs -o size=1300k none {results} && cd {root} || exit 9
{search} >{home}/out 2>&1
echo $? >{home}/rc
df --output=avail {results} | tail -1 >{home}/left
{look} >{home}/json
"""


@pytest.mark.skipif(not can_mount(), reason="this machine lets no one mount a small disk (unshare -rm)")
def test_a_full_disk_is_said_once_and_the_study_opens_on_it_with_every_finished_trial(search, tmp_path):
    search.results.mkdir()
    run = " ".join(map(repr, search.command("--trials", "4000", "--pruner", "none")))
    look = f"{sys.executable!r} -m search.leaderboard broken --json --results {str(search.results)!r}"
    script = SMALL_RESULTS.format(results=search.results, root=ROOT, search=run, look=look, home=tmp_path)
    environment = {"PATH": "/usr/bin:/bin:/sbin:/usr/sbin", "XRAYTUNE_EPOCH_SECONDS": "0", "HOME": str(tmp_path)}
    subprocess.run(["unshare", "-rm", "sh", "-c", script], env=environment, timeout=300, check=True)
    said = (tmp_path / "out").read_text()
    assert int((tmp_path / "rc").read_text()) == 1, said
    assert said.count("error: ") == 1
    assert "full" in said or "No space left" in said
    assert "Traceback" not in said
    finished = told(said)
    assert len(finished) == said.count(" complete ") > 0
    assert finished.items() <= kept(json.loads((tmp_path / "json").read_text())["trials"]).items()
    assert int((tmp_path / "left").read_text()) < 32, "KiB: the study was opened on the full disk"


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


@pytest.mark.long
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

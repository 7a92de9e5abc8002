"""Ray's folder: owned while driver or watchdog live, swept away by the next search where both are dead."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from search.tuner.scratch import OWNER, SESSION_PATH, SOCKET_PATH, Scratch, sweep

MARK = "xraytune-1-0123abcd"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache with a path as short as Ray needs it, and a temporary folder of the test's own."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="xt") as folder:
        yield Path(folder)


def sleeper(**options) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], **options)


def test_a_folder_stays_while_driver_or_watchdog_live_and_goes_with_what_they_left_when_both_are_dead(cache):
    scratch = Scratch(cache, MARK)
    (Path(scratch.path) / "session" / "sockets").mkdir(parents=True)
    watchdog = sleeper(pass_fds=[scratch.lock])
    left = sleeper(env={**os.environ, "XRAYTUNE_SESSION": MARK})
    stranger = sleeper(env={**os.environ, "XRAYTUNE_SESSION": MARK + "0"})
    try:
        sweep(cache)
        assert Path(scratch.path, "session").exists()
        scratch.close()
        sweep(cache)
        assert Path(scratch.path, "session").exists(), "the watchdog lives"
        assert left.poll() is None
        watchdog.kill()
        watchdog.wait()
        sweep(cache)
        assert not Path(scratch.path).exists()
        assert left.wait(10) == -9
        assert stranger.poll() is None
    finally:
        for process in (watchdog, left, stranger):
            process.kill()
            process.wait()


def test_where_the_cache_lies_too_deep_the_folder_is_among_the_temporary_ones_and_swept_there_too(cache, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", "/var/tmp")
    deep = cache / ("x" * 80)
    scratch = Scratch(deep, MARK)
    assert Path(scratch.path).parent == Path("/var/tmp")
    assert Path(scratch.path).name.startswith("xraytune-")
    scratch.close()
    sweep(cache / "another")
    assert not Path(scratch.path).exists()


@pytest.mark.parametrize("length", [40, 80, 150])
def test_where_the_temporary_folder_lies_too_deep_as_well_the_usual_one_is_taken(cache, tmp_path, monkeypatch, length):
    deep = tmp_path / ("d" * length)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    scratch = Scratch(cache / ("c" * 100), MARK)
    assert len(scratch.path) + SESSION_PATH <= SOCKET_PATH
    scratch.close()
    os.utime(scratch.path, (0, 0))
    sweep(cache)
    assert not Path(scratch.path).exists()


@pytest.mark.parametrize("said", ["", "xraytune-1-0123abcd elsewhere", "no mark of ours", "xraytune- "])
def test_a_folder_of_which_it_is_not_known_that_its_owner_is_dead_stays(cache, said):
    folder = cache / "ray" / "1-0123abcd"
    folder.mkdir(parents=True)
    (folder / OWNER).write_text(said)
    sweep(cache)
    assert folder.exists()


def test_a_folder_that_nobody_of_us_made_stays_and_an_empty_one_goes_when_it_is_old(cache):
    foreign, fresh, old = (cache / "ray" / name for name in ("a-foreign", "a-fresh", "an-old"))
    for folder in (foreign, fresh, old):
        folder.mkdir(parents=True)
    (foreign / "theirs").write_text("keep")
    for folder in (foreign, old):
        os.utime(folder, (1, 1))
    sweep(cache)
    assert foreign.exists()
    assert fresh.exists()
    assert not old.exists()

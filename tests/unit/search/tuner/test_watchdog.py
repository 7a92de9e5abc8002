"""The watchdog: what a driver leaves is ended and removed, also what it was just starting when it was cut off."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from search.tuner import watchdog

MARK = "xraytune-2-0123abcd"

STARTER = """
import subprocess, sys, time
time.sleep(0.5)  # the driver is gone and the watchdog has looked
made = "import pathlib, time; pathlib.Path({!r}).mkdir(parents=True); time.sleep(600)".format(sys.argv[1] + "/session")
subprocess.Popen([sys.executable, "-c", made], env={"XRAYTUNE_SESSION": sys.argv[2]}, start_new_session=True)
"""
"""Like a process that was forked and does not run its program yet: nothing tells whose it is."""


def watched(folder: Path) -> subprocess.Popen[bytes]:
    folder.mkdir()
    arguments = [watchdog.__file__, str(os.getpid()), MARK, str(folder)]
    return subprocess.Popen([sys.executable, *arguments], stdin=subprocess.PIPE)


def ours() -> list[psutil.Process]:
    return [psutil.Process(pid) for pid in watchdog.marked(MARK)]


def test_what_a_driver_was_starting_when_it_was_cut_off_is_ended_and_its_folder_removed(tmp_path):
    folder = tmp_path / "ray"
    dog = watched(folder)
    late = subprocess.Popen([sys.executable, "-c", STARTER, str(folder), MARK])
    try:
        time.sleep(0.2)
        dog.stdin.close()  # as the kernel does for a driver that was killed
        late.wait(60)
        dog.wait(60)
        assert not folder.exists()
        assert not ours()
    finally:
        for process in ours():
            process.kill()


@pytest.mark.parametrize("said", [watchdog.GOODBYE, b""])
def test_what_runs_is_ended_and_the_folder_removed_however_the_driver_ends(tmp_path, said):
    folder = tmp_path / "ray"
    dog = watched(folder)
    (folder / "session").mkdir()
    left = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], env={"XRAYTUNE_SESSION": MARK})
    try:
        dog.stdin.write(said)
        dog.stdin.close()
        assert dog.wait(60) == 0
        assert left.wait(60) == -9
        assert not folder.exists()
    finally:
        left.kill()

"""A Python call that is interrupted in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.searching import ROOT

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
until = time.monotonic() + 30  # a start of Ray that was not waited for is ended once it has started
while (alive := [c for c in {*seen["children"], *children()} if c.is_running() and c.status() != psutil.STATUS_ZOMBIE]):
    assert time.monotonic() < until, alive
    time.sleep(0.2)
assert handlers == [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
found = []
thread = threading.Thread(target=lambda: found.append(xt.search(name="two", trials=2, **space)))
thread.start()
thread.join()
assert len([t for t in found[0].trials if t.counts]) == 2, "another search, outside of the main thread"
print("ALL WELL", said)
"""


@pytest.mark.parametrize("phase", [pytest.param("gcs_server", marks=pytest.mark.long), "Trainable"])
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
    assert "interrupted. " in done.stdout

"""The processes of a retraining: what happens to one that dies, which GPU each of them sees."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass

import pytest

from search.retraining.workers.worker_pool import Workers
from xraytune import hardware
from xraytune.records import FailureCause


@dataclass(frozen=True)
class Answer:
    number: int
    kill: bool = False

    def __call__(self, report):
        if self.kill:
            os.kill(os.getpid(), signal.SIGKILL)
        return self.number, os.getpid()


def test_a_worker_that_died_while_it_had_nothing_to_do_is_replaced():
    with Workers(1, 1) as pool:
        number, first = next(pool.run([Answer(1)])).value
        os.kill(first, signal.SIGKILL)
        pool._slots[0][0].wait(10)
        number, second = next(pool.run([Answer(2)])).value
    assert number == 2
    assert second != first


def test_a_worker_that_dies_at_its_task_loses_that_task_alone():
    with Workers(1, 1) as pool:
        found = {outcome.index: outcome for outcome in pool.run([Answer(1), Answer(2, kill=True), Answer(3)])}
    assert found[1].error.cause is FailureCause.WORKER_LOST
    assert (found[0].value[0], found[2].value[0]) == (1, 3)


@dataclass(frozen=True)
class Seen:
    def __call__(self, report):
        return os.environ.get("CUDA_VISIBLE_DEVICES")


@pytest.mark.parametrize(
    ("visible", "seen"),
    [
        ("2,3", ["2", "3", "2"]),
        ("GPU-8932f937,GPU-11e0ab52", ["GPU-8932f937", "GPU-11e0ab52", "GPU-8932f937"]),
        (None, ["0", "1", "2"]),
        ("-1", ["-1", "-1", "-1"]),
    ],
)
def test_each_worker_sees_a_gpu_that_the_user_named(tmp_path, monkeypatch, visible, seen):
    for number in range(4):
        (tmp_path / f"0000:0{number}:00.0").mkdir()
    monkeypatch.setattr(hardware, "_NVIDIA", tmp_path)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    with Workers(3, 1) as pool:
        found = {outcome.index: outcome.value for outcome in pool.run([Seen(), Seen(), Seen()])}
    assert [found[i] for i in range(3)] == seen


@dataclass(frozen=True)
class Threads:
    def __call__(self, report):
        return {name: os.environ.get(name) for name in (*hardware.THREADS, "TF_NUM_INTEROP_THREADS")}


def test_a_worker_has_the_threads_it_was_given_whatever_the_shell_says(monkeypatch):
    for name in (*hardware.THREADS, "TF_NUM_INTEROP_THREADS"):
        monkeypatch.setenv(name, "64")
    with Workers(1, 3) as pool:
        (found,) = [outcome.value for outcome in pool.run([Threads()])]
    assert found == dict.fromkeys(hardware.THREADS, "3") | {"TF_NUM_INTEROP_THREADS": "1"}

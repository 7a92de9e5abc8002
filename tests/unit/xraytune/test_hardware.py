"""What a process may use of the machine."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from xraytune import hardware
from xraytune.models import cost


@pytest.fixture
def two_gpus(tmp_path, monkeypatch):
    for name in ("0000:01:00.0", "0000:02:00.0"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(hardware, "_NVIDIA", tmp_path)


@pytest.mark.parametrize(("visible", "count"), [(None, 2), ("0", 1), ("0,1", 2), ("", 0), ("-1", 0), ("0,1,2", 2)])
def test_gpus_are_those_that_are_there_and_visible(two_gpus, monkeypatch, visible, count):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert hardware.gpus() == count


@pytest.mark.parametrize(
    ("visible", "names"),
    [
        (None, ("0", "1")),
        ("1,0", ("1", "0")),
        (" 1 ,", ("1",)),
        ("0,-1,1", ("0",)),
        ("0,2,1", ("0",)),  # there is no third one: as in CUDA the list ends there
        ("GPU-8932f937,1", ("GPU-8932f937", "1")),
        ("MIG-1,MIG-2,MIG-3", ("MIG-1", "MIG-2", "MIG-3")),  # parts of one
        ("NoDevFiles", ()),
    ],
)
def test_gpus_keep_the_names_that_the_user_gave_them(two_gpus, monkeypatch, visible, names):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert hardware.gpu_names() == names


def test_a_machine_without_gpus_has_none_whatever_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(hardware, "_NVIDIA", tmp_path / "none")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,GPU-8932f937")
    assert hardware.gpu_names() == ()


def test_a_machine_whose_gpus_are_hidden_is_priced_by_its_cores(two_gpus, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    machine = cost.this_machine()
    assert not machine.accelerator
    assert machine.workers == hardware.cores()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    machine = cost.this_machine()
    assert machine.accelerator
    assert machine.workers == 1


@pytest.mark.parametrize(
    ("flags", "rate", "forward"),
    [
        ("flags\t\t: fpu avx2 avx512f avx512_bf16", 96e9, 96e9),
        ("flags\t\t: fpu sse avx2", 48e9, 88.8e9),
        ("Features\t: fp asimd bf16", 24e9, 24e9),
        ("model name\t: unknown", 12e9, 12e9),
    ],
)
def test_a_core_is_priced_by_its_instructions_the_same_each_time(tmp_path, monkeypatch, flags, rate, forward):
    monkeypatch.setattr(hardware, "_NVIDIA", tmp_path / "none")
    monkeypatch.setattr(hardware, "_PROCESSOR", tmp_path / "cpuinfo")
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\n{flags}\n")
    machine = cost.this_machine()
    assert machine == cost.this_machine()
    assert machine.rate == pytest.approx(rate)
    assert machine.rate * machine.forward == pytest.approx(forward)


def test_where_the_processor_says_nothing_it_has_no_instructions(tmp_path, monkeypatch):
    monkeypatch.setattr(hardware, "_PROCESSOR", tmp_path / "missing")
    assert hardware.instructions() == frozenset()


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system has no affinity")
def test_cores_are_those_that_this_process_may_use(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5})
    assert hardware.cores() == 2


@pytest.mark.skipif(os.environ.get("TF_ENABLE_ONEDNN_OPTS") == "0", reason="oneDNN is switched off by its variable")
def test_tensorflow_computes_with_onednn_whatever_the_processor():
    pytest.importorskip("tensorflow")
    code = """
import xraytune, tensorflow
from tensorflow.python.util import _pywrap_util_port
print(_pywrap_util_port.IsMklEnabled())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.split() == ["True"]


@pytest.mark.parametrize(("own", "found"), [(None, "1"), ("0", "0")])
def test_onednn_is_asked_for_unless_the_user_says_otherwise(own, found):
    kept = {name: value for name, value in os.environ.items() if name != "TF_ENABLE_ONEDNN_OPTS"}
    environment = kept if own is None else kept | {"TF_ENABLE_ONEDNN_OPTS": own}
    code = "import xraytune, os; print(os.environ['TF_ENABLE_ONEDNN_OPTS'])"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split() == [found]


def test_whoever_imports_spaces_alone_has_asked_for_onednn_before_tensorflow_is_imported():
    code = """
import os, sys
class Watch:
    def find_spec(self, name, path=None, target=None):
        if name in {"keras", "tensorflow"}:
            print(name, os.environ.get("TF_ENABLE_ONEDNN_OPTS"))
sys.meta_path.insert(0, Watch())
import spaces
"""
    kept = {name: value for name, value in os.environ.items() if name != "TF_ENABLE_ONEDNN_OPTS"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=kept, capture_output=True, text=True, check=True, timeout=60
    )
    assert "keras 1" in done.stdout.splitlines()
    assert "None" not in done.stdout

"""The check of a GPU, where there is none, and what it makes of what it measured."""

import datetime
from types import SimpleNamespace

import pytest

from tests.benchmarks import harness
from tests.benchmarks.gpu import bench_gpu, gpu_check
from tests.benchmarks.harness import UnavailableError
from xraytune import hardware


def test_without_a_gpu_it_says_so_in_one_message_and_ends_with_2(monkeypatch, capsys):
    monkeypatch.setattr(hardware, "gpus", lambda: 0)
    assert gpu_check.main([]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("No NVIDIA GPU is visible")
    assert err.count("\n") == 1
    assert "ARGS=--rehearse" in err


def test_a_backend_that_trains_nothing_is_refused(monkeypatch, capsys):
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    assert gpu_check.main(["--rehearse"]) == 2
    assert "KERAS_BACKEND=torch: use tensorflow or jax." in capsys.readouterr().err


def test_other_benchmarks_run_on_where_there_is_no_gpu(monkeypatch):
    monkeypatch.setattr(hardware, "gpus", lambda: 0)
    monkeypatch.delenv(bench_gpu.REHEARSE, raising=False)
    for one in bench_gpu.benchmarks():
        with pytest.raises(UnavailableError, match="needs an NVIDIA GPU"):
            one.ours()


def trials(*spans, device="NVIDIA X"):
    moment = datetime.datetime(2026, 1, 1)
    made = [(moment + datetime.timedelta(seconds=a), moment + datetime.timedelta(seconds=b)) for a, b in spans]
    return [SimpleNamespace(started=a, ended=b, result=SimpleNamespace(device=device)) for a, b in made]


def test_trials_on_the_cpu_and_trials_that_did_not_share_are_failures(monkeypatch):
    monkeypatch.delenv(bench_gpu.REHEARSE, raising=False)
    bench_gpu.check_devices("jax", trials((0, 5), (1, 6), (5, 9)), 2)
    with pytest.raises(RuntimeError, match="ran on the CPU"):
        bench_gpu.check_devices("jax", trials((0, 5), (1, 6), device="cpu"), 2)
    with pytest.raises(RuntimeError, match="1 trials ran at once, where 2"):
        bench_gpu.check_devices("jax", trials((0, 5), (5, 6)), 2)


def test_the_kinds_of_gpus_are_named_beside_their_number(monkeypatch, tmp_path):
    (tmp_path / "0000:01:00.0").mkdir()
    (tmp_path / "0000:01:00.0" / "information").write_text("Model: \t\t NVIDIA A100-SXM4-80GB\nIRQ:   1\n")
    monkeypatch.setattr(harness, "NVIDIA", tmp_path)
    monkeypatch.setattr(hardware, "gpus", lambda: 2)
    assert ", 2 GPUs, NVIDIA A100-SXM4-80GB, load" in harness.machine()

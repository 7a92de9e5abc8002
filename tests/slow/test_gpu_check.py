"""`make gpu-check` from its first line to its last on the CPU, with either backend, and what it refuses."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.backends.test_jax import BLOCKER
from tests.benchmarks.gpu import bench_gpu

ROOT = Path(__file__).resolve().parents[2]
KEPT = ROOT / "results" / "bench.jsonl"

pytestmark = pytest.mark.timeout(3600)


@pytest.mark.parametrize("backend", bench_gpu.BACKENDS)
def test_a_rehearsal_measures_everything_but_the_utilisation_and_keeps_nothing(backend, tmp_path):
    if backend == "jax":
        pytest.importorskip("jax")
        (tmp_path / "sitecustomize.py").write_text(BLOCKER)  # nothing of it imports TensorFlow
    before = KEPT.read_bytes() if KEPT.is_file() else None
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.gpu.gpu_check", "--rehearse"],
        cwd=ROOT, env=os.environ | {"KERAS_BACKEND": backend, "PYTHONPATH": path, "COLUMNS": "200"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("REHEARSAL")
    for name in (*bench_gpu.FAMILIES, "shared"):
        assert f"gpu.{backend}_{name}" in done.stdout
    assert "failed" not in done.stdout
    assert (KEPT.read_bytes() if KEPT.is_file() else None) == before

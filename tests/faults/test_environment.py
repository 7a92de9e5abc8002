"""A search's own Ray heeds nothing of what the shell says of another one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from search.tuner.cluster import INHERITED

pytestmark = pytest.mark.timeout(600)

ROOT = Path(__file__).resolve().parents[2]
HOSTILE = {
    "RAY_ADDRESS": "10.255.255.1:6379",
    "RAY_NAMESPACE": "somebody-elses",
    "RAY_TMPDIR": "/nowhere/at/all",
    "RAY_JOB_CONFIG_JSON_ENV_VAR": json.dumps({"runtime_env": {"working_dir": "/nowhere"}, "metadata": {}}),
    "RAY_RUNTIME_ENV": json.dumps({"pip": ["no-such-package"]}),
    "RAY_RUNTIME_ENV_HOOK": "no.such.hook",
    "RAY_OVERRIDE_RESOURCES": json.dumps({"CPU": 0}),
}
START = """
import os, sys
from pathlib import Path
from search.tuner.cluster import Cluster
from search.tuner.resources import Resources

if __name__ == "__main__":
    before = {name: os.environ.get(name) for name in os.environ if name.startswith("RAY_")}
    with Cluster(Resources(**RESOURCES), Path(sys.argv[1])) as cluster:
        import ray

        @ray.remote(num_cpus=1)
        def seen():
            return sorted(name for name in os.environ if name.startswith("RAY_"))

        print("cpus", ray.cluster_resources()["CPU"], ray.get_runtime_context().namespace == cluster.mark)
        print("seen", *ray.get(seen.remote(), timeout=200))
    print("restored", all(os.environ.get(name) == value for name, value in before.items()))
"""


def test_rays_variables_of_another_cluster_stop_no_search(tmp_path):
    import dataclasses

    from search.tuner.resources import Resources

    made = {field.name: 1 for field in dataclasses.fields(Resources)} | {"gpus": 0, "total_gpus": 0}
    done = subprocess.run(
        [sys.executable, "-c", START.replace("RESOURCES", repr(made)), tmp_path], cwd=ROOT, text=True,
        capture_output=True, timeout=500, check=False, env={**os.environ, **HOSTILE, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    cpus, seen, restored = done.stdout.splitlines()
    assert cpus == "cpus 1.0 True"
    assert restored == "restored True"
    assert not set(seen.split()) & (set(HOSTILE) - {"RAY_JOB_CONFIG_JSON_ENV_VAR"})
    assert set(HOSTILE) <= set(INHERITED)


@pytest.mark.parametrize("redirection", ["| head -1", ">&-", pytest.param("2>&1 | true", marks=pytest.mark.long)])
def test_a_search_goes_on_without_a_reader(search, redirection):
    command = search.command("--trials", "4", "--pruner", "none")
    done = subprocess.run(
        ["bash", "-c", f'set -o pipefail; "$@" {redirection}', "bash", *command], cwd=ROOT, check=False, timeout=400,
        capture_output=True, env={**os.environ, "XRAYTUNE_EPOCH_SECONDS": "0.01"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    assert b"Traceback" not in done.stderr
    listed = subprocess.run(
        [sys.executable, "-m", "search.leaderboard", search.study, "--results", search.results, "--json"], cwd=ROOT,
        capture_output=True, check=True, timeout=200,
    )  # fmt: skip
    assert listed.stdout.count(b'"COMPLETE"') == 4, listed.stdout

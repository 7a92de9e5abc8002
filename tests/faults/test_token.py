"""Who may reach the Ray of a search: whoever has its token, no other process of this machine."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

pytestmark = pytest.mark.timeout(1200)

CALLER = """
import sys
import ray

ray.init(address=sys.argv[1], log_to_driver=False)
print("nodes:", len(ray.nodes()))
"""


def call(address: str, home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Ray's client in a process that knows of no token but what it is given."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    return subprocess.run(
        [sys.executable, "-c", CALLER, address],
        env={**own, "HOME": str(home), "RAY_USAGE_STATS_ENABLED": "0", **environment},
        cwd=home, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


def test_only_who_has_the_token_reaches_the_ray_of_a_search(search, tmp_path):
    search.start("--trials", "30", "--pruner", "none", XRAYTUNE_EPOCH_SECONDS="2")
    search.until_said(" complete ")
    raylet = search.raylet()
    address = next(word for word in raylet.cmdline() if word.startswith("--gcs-address=")).partition("=")[2]
    token = raylet.environ()["RAY_AUTH_TOKEN"]
    for without in (
        {"RAY_AUTH_MODE": "disabled"},
        {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)},
    ):
        refused = call(address, tmp_path, **without)
        assert refused.returncode != 0, refused.stdout
        assert "nodes:" not in refused.stdout
        assert "AuthenticationError" in refused.stderr, refused.stderr
    let_in = call(address, tmp_path, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=token)
    assert let_in.returncode == 0, let_in.stderr
    assert "nodes: 1" in let_in.stdout
    shown = [word for process in psutil.process_iter(["cmdline"]) for word in process.info["cmdline"] or []]
    assert not [word for word in shown if token in word], "every user of the machine may read command lines"
    assert search.process.poll() is None, search.text

"""Files that somebody else named: regular ones only, bounded, and opened by one module everywhere."""

from __future__ import annotations

import ast
import os
import socket
from pathlib import Path

import pytest

import search
import xraytune
from xraytune import artifacts, files
from xraytune.errors import ArtifactError

SOURCE, SEARCH = Path(xraytune.__file__).parent, Path(search.__file__).parent
OPENS = {"open", "read_bytes", "read_text", "np.load", "np.memmap", "np.fromfile"}
"""Calls that open a file by its path."""
OWN = {
    "files": "the one place",
    "artifacts": "flushes what it wrote, reads the umask",
    "hardware": "the kernel's own files",
    "machine": "the kernel's own files",
    "arrays": "the cache",
    "cache": "the cache",
    "dataset": "the cache's lists of images",
    "identity": "the installation's key",
    "inspection": "the cache",
    "frozen_features": "the cache",
    "feature_store": "the cache",
    "epoch_evaluation": "the cache",
    "batches": "the cache",
    "checkpoints": "a running trial's own folder",
    "onnx_export": "what it exported",
    "commands": "our own modules",
    "console": "the null device",
    "streams": "the null device",
    "screen": "the null device",
    "live_view": "writes the log",
    "lock": "the lock",
    "scratch": "a running search's own folder",
    "scheduler": "a running search's own folder",
    "engine": "the cache",
    "worker_process": "writes the log",
    "synthetic_trial": "a running trial's own folder",
    "study": "writes predictions",
    "access_log": "writes the log",
    "show_augmentation": "the cache",
    "example_images": "the cache",
    "tasks": "a retraining's own results",
    "comparison": "a retraining's own results",
}
"""Modules that open what this program itself made, or write."""
INSIDE = {"archives", "medmnist", "raster", "training_sample"}
"""Modules that open members of what `files` opened: archives, arrays, bytes in memory."""


def opened(path: Path) -> list[str]:
    """Calls in a module that open a file by its path; what stands in `files`, `artifacts` or memory is not one."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            ours = called.startswith(("files.", "artifacts.", "Store."))
            if not ours and (called in OPENS or called.rpartition(".")[2] in OPENS):
                found.append(f"{path.stem}:{node.lineno} {called}")
    return found


def test_no_module_opens_a_file_that_somebody_else_named_past_the_one_that_does():
    past = []
    for path in sorted([*SOURCE.rglob("*.py"), *SEARCH.rglob("*.py")]):
        if path.stem not in OWN and path.stem not in INSIDE:
            past += opened(path)
    assert not past, past


@pytest.fixture(params=["fifo", "device", "socket", "folder", "link"])
def odd(request, tmp_path, monkeypatch):
    """A path that is no regular file."""
    path = tmp_path / "model.json"
    if request.param == "fifo":
        os.mkfifo(path)
    elif request.param == "device":
        path.symlink_to("/dev/zero")
    elif request.param == "socket":
        monkeypatch.chdir(tmp_path)  # a socket's path is short
        with socket.socket(socket.AF_UNIX) as one:
            one.bind("model.json")
    elif request.param == "folder":
        path.mkdir()
    else:
        path.symlink_to("model.json")
    return path


@pytest.mark.parametrize(
    "read", [artifacts.read_json, artifacts.read_text, artifacts.sha256, lambda path: artifacts.check_sha256(path, "0")]
)
def test_a_kept_file_that_is_no_regular_file_is_one_message(odd, read):
    with pytest.raises(ArtifactError, match=r"model\.json"):
        read(odd)


@pytest.mark.parametrize("content", ["[" * 100_000, '{"a":' * 100_000, "{", "\xff", "nan nan"])
def test_json_that_can_not_be_parsed_is_one_message(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(ArtifactError, match=r"a\.json can't be read"):
        artifacts.read_json(tmp_path / "a.json")


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/b", "..", ".", "", "a\0b", None, 3, ["x"]])
def test_a_name_in_a_received_file_leads_out_of_no_folder(tmp_path, name):
    with pytest.raises(ArtifactError, match="is not in this folder"):
        artifacts.inside(tmp_path, name)
    assert artifacts.inside(tmp_path, "x y.png") == tmp_path / "x y.png"


def test_a_file_that_grows_past_the_limit_is_refused(tmp_path):
    (tmp_path / "a").write_bytes(bytes(11))
    with pytest.raises(files.TooLargeError):
        files.read_named(tmp_path / "a", 10)
    assert files.read_named(tmp_path / "a", 11) == bytes(11)

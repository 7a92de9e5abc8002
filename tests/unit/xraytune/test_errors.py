"""The cause of an exception: memory that ran out, what the system refuses, what is damaged, all else."""

from __future__ import annotations

import ast
import csv
import errno
import io
import json
import lzma
import os
import re
import zlib
from pathlib import Path

import numpy as np
import pytest

from search.retraining.workers.worker_pool import Workers
from xraytune import artifacts
from xraytune.errors import FOREIGN, FatalError, TrialError, classify, file_named, named, system_message
from xraytune.records import FailureCause

ROOT = Path(__file__).resolve().parents[3]


def named_error(name, text):
    return type(name, (Exception,), {})(text)


NO_MEMORY = [
    MemoryError(),
    OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)),
    RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 1073741824 bytes."),
    RuntimeError("CUDA_ERROR_OUT_OF_MEMORY"),
    RuntimeError("CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("std::bad_alloc"),
    named_error("ResourceExhaustedError", "{{function_node __wrapped__Conv2D}} tensor with shape[64,512,512]"),
    named_error("InternalError", "OOM when allocating tensor with shape[64,512,512]"),
    named_error("OutOfMemoryError", "Task was killed."),
    ValueError("Failed to allocate 4 GB"),
]
OTHERS = [
    KeyError("room"),
    RuntimeError("the room is empty"),
    RuntimeError("(1) The process is killed by SIGKILL by OOM killer due to high memory usage. (2) ray stop."),
    RuntimeError("memory format channels_last is not supported"),
    RuntimeError(),
]


@pytest.mark.parametrize("error", NO_MEMORY, ids=repr)
def test_memory_that_ran_out_is_one_cause_inside_and_outside_of_training(error):
    cause, message = classify(error)
    assert cause is FailureCause.OOM
    assert message.startswith(f"out of memory: {type(error).__name__}: ")
    with pytest.raises(TrialError) as raised, named():
        raise error
    assert (raised.value.cause, raised.value.message) == (cause, message)


@pytest.mark.parametrize("error", OTHERS, ids=repr)
def test_whatever_else_is_raised_is_an_error(error):
    assert classify(error)[0] is FailureCause.ERROR
    with pytest.raises(TrialError) as raised, named():
        raise error
    assert raised.value.cause is FailureCause.ERROR


def test_a_message_is_one_line_of_bounded_length():
    _, message = classify(RuntimeError("\n\n first " + 1000 * "x" + "\nsecond"))
    assert message.startswith("RuntimeError: first xxx")
    assert len(message) == 300


def allocate(report):
    return np.ones(2**45)


def fork(report):
    raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))


def misread(report):
    raise KeyError("width")


def write(report):
    raise OSError(errno.EROFS, os.strerror(errno.EROFS), "/results/fold.npz")


def test_a_retraining_tells_memory_a_place_that_can_t_be_written_and_our_mistakes_apart():
    with Workers(1, 1) as pool:
        ended = {outcome.index: outcome.error for outcome in pool.run([allocate, fork, misread, write])}
    assert [ended[i].cause for i in range(3)] == [FailureCause.OOM, FailureCause.OOM, FailureCause.ERROR]
    assert "KeyError: 'width' (" in ended[2].message
    assert 'raise KeyError("width")' in ended[2].message
    assert isinstance(ended[3], FatalError)
    assert "/results/fold.npz: Read-only file system" in str(ended[3])


PARSERS = frozenset(
    {
        "json.load", "json.loads", "np.load", "csv.reader", "csv.DictReader", "zipfile.ZipFile", "tarfile.open",
        "h5py.File", "pickle.load", "pickle.loads", "ray.cloudpickle.loads", "np.lib.format.read_array",
        "yaml.SafeLoader", "yaml.safe_load",
    }
)  # fmt: skip
"""What turns bytes into values and raises what it likes where they are damaged."""

ELSEWHERE = {
    "records": "what it has just written, in memory",
    "parallel": "orders and answers of the process's own children",
    "discovery": "answers of the process's own children",
    "trainable": "what the driver sent",
    "config_file": "YAML, whose own error names line and column",
    "synthetic_trial": "its own checkpoint, for tests",
    "html_report": "`again` catches what any part of the report meets",
    "checkpoints": "its own checkpoint, in a worker, whose errors are a trial's",
    "dataset": "the callers catch",
    "archives": "the caller catches",
    "medmnist": "the caller catches",
}
"""Modules that parse outside of a `try`, and why that is right."""

MAPPED = "mmap_mode"
"""Arrays of the cache that were made or checked (`arrays._usable`) by the same process."""


def parsed_outside(path):
    """Calls of parsers in a module that stand in no `try` which turns what they raise into a message or a default."""
    found = []

    def walk(node, caught):
        if isinstance(node, ast.Try):
            names = " ".join(ast.unparse(handler.type) for handler in node.handlers if handler.type)
            inner = caught or "FOREIGN" in names or "Exception" in names.split()
            for child in node.body:
                walk(child, inner)
            for child in (*node.handlers, *node.orelse, *node.finalbody):
                walk(child, caught)
            return
        parses = isinstance(node, ast.Call) and ast.unparse(node.func) in PARSERS
        if parses and not caught and MAPPED not in {keyword.arg for keyword in node.keywords}:
            found.append(f"{path.stem}:{node.lineno} {ast.unparse(node.func)}")
        for child in ast.iter_child_nodes(node):
            walk(child, caught)

    walk(ast.parse(path.read_text(encoding="utf-8")), False)
    return found


def modules():
    return sorted(p for package in ("src/xraytune", "spaces", "search") for p in (ROOT / package).rglob("*.py"))


def test_no_module_parses_a_file_past_the_one_list_of_what_that_may_raise():
    past = {path.stem: found for path in modules() if (found := parsed_outside(path))}
    assert [found for stem, found in past.items() if stem not in ELSEWHERE] == []
    assert set(ELSEWHERE) == set(past)


def handlers(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ExceptHandler) and node.type is not None:
            yield node


def test_no_module_makes_its_own_list_of_what_damaged_files_raise():
    """Such a list was always a member short."""
    own = []
    for path in modules():
        for node in handlers(path):
            names = set(re.findall(r"\w+", ast.unparse(node.type)))
            if len(names & {"EOFError", "BadZipFile", "LZMAError", "KeyError", "ValueError", "TypeError"}) > 2:
                own.append(f"{path.stem}:{node.lineno} {ast.unparse(node.type)}")
    assert own == []


DAMAGED = {
    "csv": lambda: list(csv.DictReader(["a,b", "x" * 200_000])),
    "zip": lambda: np.load(io.BytesIO(b"PK\x03\x04" + b"x" * 40), allow_pickle=False),
    "npy": lambda: np.load(io.BytesIO(b"\x93NUMPY\1\0"), allow_pickle=False),
    "empty": lambda: np.load(io.BytesIO(b""), allow_pickle=False),
    "zlib": lambda: zlib.decompress(b"x"),
    "xz": lambda: lzma.decompress(b"\xfd7zXZ\0damaged"),
    "json": lambda: json.loads("{"),
    "deep": lambda: json.loads("[" * 100_000),
    "text": b"\xff".decode,
    "type": lambda: dict(json.loads("[1]")),
    "key": lambda: json.loads("{}")["spec"],
}
"""Each error of `FOREIGN` as a parser really raises it."""


@pytest.mark.parametrize("kind", DAMAGED)
def test_what_a_parser_raises_of_damage_is_in_the_list(kind):
    with pytest.raises(FOREIGN):
        DAMAGED[kind]()


def test_an_error_inside_a_file_s_read_or_write_has_the_file_s_name(tmp_path, monkeypatch):
    with pytest.raises(OSError, match="Input/output") as raised, file_named(tmp_path / "a"):
        raise OSError(errno.EIO, os.strerror(errno.EIO))
    assert raised.value.filename == str(tmp_path / "a")
    with pytest.raises(OSError, match="Input/output") as raised, file_named(tmp_path / "a"):
        raise OSError(errno.EIO, os.strerror(errno.EIO), "b")
    assert raised.value.filename == "b"

    def failing(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(OSError, match=r"kept\.json") as raised:
        artifacts.write_json(tmp_path / "kept.json", {})
    assert f"{tmp_path / 'kept.json'} can't be read or written: No space left" in system_message(raised.value)
    assert list(tmp_path.iterdir()) == []

"""What every command makes of an error."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys

import pytest

from search.cli import console
from search.run import REMOVED
from xraytune.errors import InputError


def failing(number, name=None):
    def program():
        raise OSError(number, os.strerror(number), name)

    return program


NUMBERS = [
    errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EIO, errno.ESTALE, errno.ELOOP, errno.ENAMETOOLONG, errno.EMFILE,
    errno.EBADF, errno.EINVAL, errno.ENOENT, errno.EISDIR, errno.EFBIG, errno.ENOTEMPTY,
]  # fmt: skip


@pytest.mark.parametrize("number", NUMBERS)
def test_what_the_system_refuses_is_one_message_with_the_file_and_exit_code_1(capsys, number):
    assert console.exit_code(failing(number, "/results/radiograph.json")) == 1
    said = capsys.readouterr().err
    assert said.count("error:") == 1
    assert "/results/radiograph.json can't be read or written" in said
    assert os.strerror(number) in said
    assert "Traceback" not in said


def test_an_error_of_the_system_without_a_file_or_a_number_is_one_message_too(capsys):
    def program():
        raise OSError("the proxy refused")

    assert console.exit_code(failing(errno.EIO)) == console.exit_code(program) == 1
    said = capsys.readouterr().err
    assert said.count("error:") == 2
    assert os.strerror(errno.EIO) in said
    assert "the proxy refused." in said


def test_both_names_of_a_rename_that_the_system_refuses_are_named(capsys, tmp_path):
    assert console.exit_code(lambda: (tmp_path / "a").rename(tmp_path / "b")) == 1
    said = capsys.readouterr().err.replace("\n", "")
    assert f"{tmp_path / 'a'} and {tmp_path / 'b'} can't" in said


def test_a_traceback_of_the_system_s_error_is_there_for_whoever_asks(monkeypatch):
    monkeypatch.setenv("XRAYTUNE_DEBUG", "1")
    with pytest.raises(OSError, match="Bad file descriptor"):
        console.exit_code(failing(errno.EBADF))


def test_a_pipe_that_has_seen_enough_is_no_failure(monkeypatch):
    monkeypatch.setattr(os, "dup2", lambda *_: None)
    assert console.exit_code(failing(errno.EPIPE)) == 0


@pytest.mark.parametrize("arguments", [["--trials", "4", "--sampler", "gp"], ["--sampler=qmc"], ["--xla"]])
def test_an_option_that_no_longer_exists_is_refused_with_what_replaces_it(arguments):
    with pytest.raises(InputError, match=r"^--(sampler (gp|qmc)|xla) was removed\. [^\n]+$"):
        console.refuse_removed(arguments, REMOVED)


@pytest.mark.parametrize("arguments", [["--sampler", "tpe"], ["--study", "gp"], ["--fix", "sampler=gp"], []])
def test_options_that_exist_are_not_taken_for_removed_ones(arguments):
    console.refuse_removed(arguments, REMOVED)


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("best --tta", "best --tta shifts"),
        ("--tta best", "--tta shifts best"),
        ("--tta --final folds", "--tta shifts --final folds"),
        ("--tta crops best", "--tta crops best"),
        ("--tta=crops best", "--tta=crops best"),
        ("best", "best"),
        ("", ""),
    ],
)
def test_an_option_that_may_stand_alone_has_its_first_value_then(given, read):
    assert console.with_values(given.split(), {"--tta": ("shifts", "crops")}) == read.split()


ENDS = """
import os, pathlib, signal, sys, time
from search.cli import console

def program():
    try:
        print("begun", flush=True)
        time.sleep(60)
    finally:
        pathlib.Path(sys.argv[1]).unlink()

console.run_program(program)
"""
BY_TYPER = ENDS.replace(
    "console.run_program(program)", "sys.argv[:], path = ['x'], sys.argv[1]\nconsole.run(program)"
).replace("sys.argv[1]).unlink", "path).unlink")
"""The same as a command with options."""


@pytest.mark.parametrize("script", [ENDS, BY_TYPER], ids=["program", "command"])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_command_that_is_asked_to_end_removes_what_it_would_leave(tmp_path, script, number, code):
    (tmp_path / "lock").touch()
    command = [sys.executable, "-c", script, str(tmp_path / "lock")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
    assert process.returncode == code
    assert said == "Interrupted.\n"
    assert not (tmp_path / "lock").exists()


HANGS = """
import time
from search.cli import console

def program():
    while True:
        try:
            print("begun", flush=True)
            time.sleep(60)
        except BaseException:
            pass

console.run_program(program)
"""


def test_a_second_sigterm_ends_a_command_that_hangs():
    with subprocess.Popen([sys.executable, "-c", HANGS], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for _ in range(2):
            assert process.stdout.readline() == "begun\n"
            process.send_signal(signal.SIGTERM)
        assert process.wait(60) == -signal.SIGTERM

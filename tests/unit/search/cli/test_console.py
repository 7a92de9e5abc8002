"""What every command makes of an error."""

from __future__ import annotations

import errno
import os

import pytest

from search.cli import console
from search.run import REMOVED
from xraytune.errors import InputError


def failing(number, name=None):
    def program():
        raise OSError(number, os.strerror(number), name)

    return program


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_a_place_that_can_not_be_written_is_one_message_and_exit_code_1(capsys, number):
    assert console.exit_code(failing(number, "/results/film.json")) == 1
    said = capsys.readouterr().err
    assert said.count("error:") == 1
    assert "/results/film.json can't be read or written" in said
    assert os.strerror(number) in said


def test_another_failure_of_the_system_is_our_mistake_and_shows():
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

"""Input that can't be used: one clear message, exit code 2, no traceback, nothing written that misleads later."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from search.cli import quantities
from search.driver.options import SessionOptions, StudyOptions
from search.driver.session import search
from tests.inputs import made_radiographs
from xraytune.errors import InputError

ROOT = Path(__file__).resolve().parents[2]


def refused(tmp_path: Path, *arguments: str, module: str = "search.run") -> str:
    results, cache = tmp_path / "results", tmp_path / "cache"
    where = ["--results", str(results), *(["--cache", str(cache)] if module == "search.run" else [])]
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments, *where], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("error: ") == 1
    assert "Traceback" not in done.stderr
    assert not results.exists(), "something was written"
    return " ".join(done.stderr.split())


def test_a_message_and_no_traceback_and_exit_code_2(tmp_path):
    assert "--trials must be 1 or more, not 0" in refused(tmp_path, "--trials", "0")
    assert "--no-such-option" in refused(tmp_path, "--no-such-option")
    assert "--sampler gp was removed. Use --sampler bo" in refused(tmp_path, "--sampler", "gp")
    assert "There is no study" in refused(tmp_path, module="search.leaderboard")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"trials": 0}, "--trials must be 1 or more, not 0"),
        ({"trials": -1}, "--trials must be 1 or more, not -1"),
        ({"beta": 0.0}, "--beta must be above 0"),
        ({"study": "a/b"}, "can't name a study"),
        ({"sampler": "magic"}, "bo, tpe, random"),
        ({"pruner": "median", "objectives": ("f_beta", "parameters")}, "median can't prune with two objectives"),
        ({"space": "chest"}, "unknown space 'chest'"),
        ({"families": ("resnet",)}, "There are: linear, dense, cnn"),
        ({"families": ("resnet",), "data": "nowhere/at/all"}, "There are: linear, dense, cnn"),
        ({"fix": {"famly": "cnn"}, "data": "nowhere/at/all"}, "the space has no 'famly'"),
        ({"fix": {"family": "resnet"}, "data": "nowhere/at/all"}, "resnet"),
        ({"fix": {"vgg_frozen/backbone": "vgg12"}, "data": "nowhere/at/all"}, "vgg12"),
        ({"sampler": "tpe2", "data": "nowhere/at/all"}, "bo, tpe, random"),
        ({"space": "search.testing.synthetic_space:Branches", "fix": {"famly": "narrow"}}, "the space has no 'famly'"),
        ({"space": "search.testing.synthetic_space:Branches", "families": ("cnn",)}, "narrow, wide"),
        ({"data": "nowhere/at/all"}, "nowhere"),
        ({"resume": True}, "--resume needs the study's name"),
    ],
)
def test_what_cant_be_had_is_said_and_nothing_written(tmp_path, changes, words):
    data = made_radiographs.kaggle(tmp_path / "data", train=12, test=4)
    asked = {"data": str(data), "cache": tmp_path / "cache", **changes}
    with pytest.raises(InputError) as error:
        search(StudyOptions(**asked), SessionOptions(results=tmp_path / "results"))
    assert words in str(error.value)
    assert not (tmp_path / "results").exists()


def a_file(data: Path) -> Path:
    return made_radiographs.write(data / "radiograph.txt", b"not a data set")


def empty(data: Path) -> Path:
    data.mkdir()
    return data


def one_class(data: Path) -> Path:
    return made_radiographs.flat(data, {"NORMAL": 8})


def a_class_without_images(data: Path) -> Path:
    made_radiographs.flat(data, {"NORMAL": 8, "PNEUMONIA": 8})
    (data / "COVID").mkdir()
    return data


def train_without_a_class_of_test(data: Path) -> Path:
    made_radiographs.kaggle(data, train=8, test=4)
    for seed in range(4):
        made_radiographs.write(data / "test" / "COVID" / f"{seed}.png", made_radiographs.radiograph(5000 + seed))
    return data


def damaged_radiographs(data: Path) -> Path:
    made_radiographs.kaggle(data, train=8, test=4, suffix=".jpeg")
    made_radiographs.write(data / "train" / "NORMAL" / "text.jpeg", b"<html>not found</html>")
    radiograph = data / "train" / "PNEUMONIA" / "person0_bacteria_0.jpeg"
    radiograph.write_bytes(radiograph.read_bytes()[:-200])
    return data


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (a_file, ["radiograph.txt"]),
        (empty, ["no class folders"]),
        (one_class, ["one class", "NORMAL"]),
        (a_class_without_images, ["COVID"]),
        (train_without_a_class_of_test, ["COVID", "train"]),
        (damaged_radiographs, ["text.jpeg", "person0_bacteria_0.jpeg"]),
    ],
)
def test_data_that_cant_be_used_are_refused_with_every_problem_named(tmp_path, make, words):
    data = make(tmp_path / "data")
    with pytest.raises(InputError) as error:
        search(StudyOptions(data=str(data), cache=tmp_path / "cache"), SessionOptions(results=tmp_path / "results"))
    assert not [word for word in words if word.lower() not in str(error.value).lower()], str(error.value)
    assert error.value.exit_code == 2
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("text", ["abc", "0m", "-5m", "", "5x", "m"])
def test_lengths_of_time_that_are_none(text):
    with pytest.raises(InputError, match="Write it like 90s, 30m or 1h30m"):
        quantities.duration(text)


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("30m", 1800), ("1h30m", 5400), ("1.5h", 5400), ("45", 45)])
def test_lengths_of_time(text, seconds):
    assert quantities.duration(text) == seconds


@pytest.mark.parametrize(
    ("text", "size"), [("4GB", 4 * 10**9), ("512M", 512 * 10**6), ("2GiB", 2 * 2**30), ("1.5 kb", 1500), ("70", 70)]
)
def test_sizes(text, size):
    assert quantities.size(text, "--cache-limit") == size

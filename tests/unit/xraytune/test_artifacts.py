"""Kept files are whole or not there."""

import csv
import os

import numpy as np
import pytest

from xraytune import artifacts
from xraytune.errors import ArtifactError


def test_a_written_file_is_there_and_no_temporary_file_is_left(tmp_path):
    target = tmp_path / "deep" / "result.json"
    artifacts.write_json(target, {"a": np.float32(0.5), "b": np.arange(2), "path": tmp_path, "ü": "é"})
    assert artifacts.read_json(target) == {"a": 0.5, "b": [0, 1], "path": str(tmp_path), "ü": "é"}
    assert [p.name for p in target.parent.iterdir()] == ["result.json"]


def test_a_failed_write_leaves_the_old_file_as_it_was(tmp_path):
    target = tmp_path / "weights.h5"
    artifacts.write_text(target, "old")
    with pytest.raises(RuntimeError), artifacts.atomic_write(target) as temporary:  # noqa: PT012
        temporary.write_text("half")
        raise RuntimeError
    assert target.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["weights.h5"]


def test_the_temporary_file_keeps_the_suffix_that_libraries_choose_a_format_by(tmp_path):
    with artifacts.atomic_write(tmp_path / "model.keras") as temporary:
        assert temporary.suffix == ".keras"
        assert temporary.parent == tmp_path


def test_a_written_file_has_the_permissions_of_an_ordinary_one(tmp_path):
    (tmp_path / "plain").write_text("x")
    artifacts.write_text(tmp_path / "kept", "x")
    assert (tmp_path / "kept").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_values_that_are_not_plain_are_refused_before_anything_is_written(tmp_path):
    with pytest.raises(TypeError, match="object"):
        artifacts.write_json(tmp_path / "x.json", {"a": object()})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", [None, "", "{"])
def test_json_that_is_missing_or_cut_off_is_named(tmp_path, content):
    path = tmp_path / "study.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ArtifactError, match=r"study\.json"):
        artifacts.read_json(path)


def test_a_changed_file_is_refused(tmp_path):
    path = tmp_path / "model.keras"
    path.write_bytes(b"weights")
    recorded = artifacts.sha256(path)
    artifacts.check_sha256(path, recorded)
    path.write_bytes(b"weighty")
    with pytest.raises(ArtifactError, match="not the file that was saved"):
        artifacts.check_sha256(path, recorded)
    with pytest.raises(ArtifactError, match="missing"):
        artifacts.sha256(tmp_path / "nothing")


@pytest.mark.parametrize("text", ["=cmd|' /C calc'!A0", "+1+1", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "=1+1.png"])
def test_a_text_that_a_spreadsheet_takes_for_a_formula_begins_with_an_apostrophe(tmp_path, text):
    artifacts.write_csv(tmp_path / "t.csv", ["name", text], [[text, text]])
    with (tmp_path / "t.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    assert rows == [["name", f"'{text}"], [f"'{text}", f"'{text}"]]


@pytest.mark.parametrize("value", [-0.5, "-0.5", "+0.031", "1e-3", "-1e-3", "a=b", "", "IM-0001.png", "'quoted'"])
def test_numbers_and_other_texts_are_written_as_they_are(tmp_path, value):
    artifacts.write_csv(tmp_path / "t.csv", ["value", "none"], [[value, None]])
    with (tmp_path / "t.csv").open(encoding="utf-8", newline="") as file:
        assert list(csv.reader(file))[1] == [str(value), ""]


def test_a_file_s_name_that_is_no_utf_8_is_written_and_read_back_as_it_was(tmp_path):
    name = os.fsdecode(b"caf\xe9.png")
    artifacts.write_csv(tmp_path / "t.csv", ["path"], [[name]])
    assert artifacts.read_text(tmp_path / "t.csv").splitlines()[1] == name
    assert (tmp_path / "t.csv").read_bytes().endswith(b"caf\xe9.png\n")

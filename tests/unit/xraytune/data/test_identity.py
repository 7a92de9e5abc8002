"""The digest that stands for a patient."""

from __future__ import annotations

import hashlib
import os
import stat
import subprocess
import sys

import numpy as np
import pytest

from tests.inputs.made_dicom import dicom
from xraytune import data
from xraytune.data import identity
from xraytune.errors import InputError


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("XRAYTUNE_CACHE", str(tmp_path / "cache"))
    identity._key.cache_clear()
    yield tmp_path
    identity._key.cache_clear()


def test_a_patient_has_one_digest_in_an_installation_that_no_list_of_numbers_undoes(home, monkeypatch):
    first = identity.keyed("12345")
    assert first == identity.keyed("12345") != identity.keyed("12346")
    assert len(first) == identity.LENGTH
    assert not hashlib.sha256(b"12345").hexdigest().startswith(first)
    monkeypatch.setenv("XRAYTUNE_CACHE", str(home / "elsewhere" / "cache"))
    assert identity.keyed("12345") != first
    assert identity.keyed("") == ""


def test_the_key_lies_beside_the_cache_for_its_owner_only_whatever_the_umask(home):
    before = os.umask(0)
    try:
        identity.keyed("1")
    finally:
        os.umask(before)
    path = identity.key_path()
    assert path.parent == home
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(path.read_bytes()) == 32


def test_processes_that_start_at_once_share_one_key(home):
    code = "from xraytune.data import identity; print(identity.keyed('12345'))"
    started = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(4)]
    assert len({one.communicate()[0] for one in started}) == 1


def test_where_nothing_can_be_written_beside_the_cache_the_key_lies_in_it(home, monkeypatch):
    allowed = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: path != home and allowed(path, mode))
    first = identity.keyed("1")
    assert identity.key_path().parent == home / "cache"
    monkeypatch.undo()
    monkeypatch.setenv("XRAYTUNE_CACHE", str(home / "cache"))
    identity._key.cache_clear()
    assert identity.keyed("1") == first


@pytest.mark.parametrize("content", [b"", b"short", b"x" * 33])
def test_a_key_that_is_none_is_refused_with_its_path(home, content):
    (home / "cache").mkdir()
    identity.key_path().write_bytes(content)
    with pytest.raises(InputError, match=r"patients\.key is not a key"):
        identity.keyed("1")


def folder_of(root, images=24, **header):
    pytest.importorskip("pydicom")
    generator = np.random.default_rng(0)
    for number in range(images):
        at = root / ("NORMAL" if number % 2 else "PNEUMONIA") / f"{number}.dcm"
        at.parent.mkdir(parents=True, exist_ok=True)
        levels = generator.integers(200, 3000, (32, 32)).astype(np.uint16)
        at.write_bytes(dicom(levels, PatientID=f"{number // 2}", **header))
    return root


def test_digests_under_another_key_are_not_taken_for_patients(home):
    root = folder_of(home / "data")
    first = data.examine(str(root)).inspection
    assert data.examine(str(root)).inspection.rows["patient"].tolist() == first.rows["patient"].tolist()
    identity.key_path().unlink()
    identity._key.cache_clear()
    second = data.examine(str(root)).inspection
    assert not set(first.rows["patient"].tolist()) & set(second.rows["patient"].tolist())


def test_levels_that_could_not_be_applied_are_said_once_with_a_count_and_an_example(home):
    found = data.examine(str(folder_of(home / "data", WindowCenter=None, WindowWidth=None, RescaleSlope=None)))
    said = [problem for problem in found.warnings if problem.kind == "DICOM levels"]
    assert len(said) == 2
    assert all(problem.what.startswith("24 images like this one") for problem in said)
    assert all(problem.where in found.inspection.keys for problem in said)
    assert not found.errors
    clean = data.examine(str(folder_of(home / "clean", WindowCenter=1600, WindowWidth=2800)))
    assert not [problem for problem in clean.warnings if problem.kind == "DICOM levels"]

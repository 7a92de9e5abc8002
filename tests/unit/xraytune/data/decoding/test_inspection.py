"""What the data package keeps between starts: made once by several processes, rewritten only when something changed."""

import shutil
import subprocess
import sys
import zipfile

import pytest

from tests.inputs.made_radiographs import encoded, kaggle, radiograph, write
from xraytune import data
from xraytune.data.decoding import inspection
from xraytune.evaluation import shortcut_audit

START = """
import sys, time
from pathlib import Path
from xraytune.data.decoding import inspection
from xraytune.data.verification import load

inspection._RACY_NS = -1  # files just written are normally read twice
read = inspection._read
def slowly(path):
    time.sleep(0.02)
    return read(path)
inspection._read = slowly
Path(sys.argv[2]).touch()
while not all(Path(name).exists() for name in sys.argv[3:]):
    time.sleep(0.01)
found = load.examine(sys.argv[1])
print(found.inspection.read, found.inspection.thumbnails.shape[0], found.dataset.train_fingerprint)
"""


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XRAYTUNE_CACHE", str(tmp_path / "cache"))


def kept(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file() and path.name != "lock"}


def test_two_first_starts_at_the_same_time_read_every_file_once_between_them(tmp_path):
    root = kaggle(tmp_path / "d")
    ready = [str(tmp_path / name) for name in ("one", "two")]
    started = [
        subprocess.Popen([sys.executable, "-c", START, root, own, *ready], stdout=subprocess.PIPE, text=True)
        for own in ready
    ]
    said = [process.communicate(timeout=120)[0].split() for process in started]
    assert [process.returncode for process in started] == [0, 0]
    assert sorted(int(read) for read, _, _ in said) == [0, 56]
    assert {tuple(rest) for _, *rest in said} == {("56", said[0][2])}


def test_a_second_start_with_files_left_out_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(inspection, "_RACY_NS", -1)
    root = kaggle(tmp_path / "d")
    write(root / "train/NORMAL/x.tiff", b"II*\0")
    write(root / "train/NORMAL/IM-0400-0001.jpeg", b"")

    def start():
        dataset = data.load(str(root), quarantine=True)
        assert len(dataset.quarantined) == 2
        return shortcut_audit.audit(dataset, compare_test=True)

    first = start()
    before = kept(tmp_path / "cache")
    assert start() == first
    assert kept(tmp_path / "cache") == before


@pytest.mark.parametrize("library", ["PIL", "simplejpeg"])
def test_what_another_version_of_a_decoder_read_is_not_taken(tmp_path, monkeypatch, library):
    made = """
import importlib, sys
from PIL import Image  # checks its version against its binary
decoder = importlib.import_module(sys.argv[2])
decoder.__version__ = sys.argv[3]
from xraytune import data
from xraytune.data.decoding import inspection
inspection._RACY_NS = -1
found = data.examine(sys.argv[1])
print(found.inspection.read, data.arrays.pool(found.dataset, 16))
"""
    root = kaggle(tmp_path / "d")

    def start(version):
        command = [sys.executable, "-c", made, str(root), library, version]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout.split()

    first, again, other = start("1"), start("1"), start("2")
    assert [first[0], again[0], other[0]] == ["56", "0", "56"]
    assert first[1] == again[1] != other[1]


def test_an_audit_in_another_process_finds_the_same(tmp_path):
    import pickle

    dataset = data.load(str(kaggle(tmp_path / "d")))
    assert shortcut_audit.audit(pickle.loads(pickle.dumps(dataset))) == shortcut_audit.audit(dataset)


def test_a_changed_file_is_named_after_the_cache_was_emptied(tmp_path):
    root, study = kaggle(tmp_path / "d"), tmp_path / "results" / "mine"
    then = data.load(str(root))
    data.keep_lists([then.train_fingerprint, then.test_fingerprint], study)
    for path, test in (("train/NORMAL/IM-0000-0000.png", False), ("test/NORMAL/IM-1000-0000.png", True)):
        content = encoded(radiograph(9999))
        shutil.rmtree(tmp_path / "cache")
        recorded = then.test_fingerprint if test else then.train_fingerprint
        before = (root / path).read_bytes()
        write(root / path, content)
        now = data.load(str(root))
        assert "has different content" in data.difference(now, recorded, test=test, kept=study)
        assert data.difference(now, recorded, test=test, kept=study).startswith(path)
        assert "fingerprint" in data.difference(now, recorded, test=test)
        write(root / path, before)


@pytest.mark.parametrize("top", ["", "chest_xray/"])
def test_litter_in_an_archive_is_not_unpacked_and_said(tmp_path, top):
    radiographs = kaggle(tmp_path / "radiographs")
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for path in radiographs.rglob("*.png"):
            archive.write(path, f"chest_xray/{path.relative_to(radiographs)}")
        archive.writestr(f"{top}__MACOSX/chest_xray/train/NORMAL/._IM-0000-0000.png", b"litter")
        archive.writestr("chest_xray/train/NORMAL/.DS_Store", b"litter")
    for _ in range(2):  # unpacked anew, and found unpacked
        found = data.examine(str(tmp_path / "set.zip"))
        [said] = [problem for problem in found.warnings if problem.kind == "skipped"]
        assert said.where == "__MACOSX"
        assert said.what == "left out, with 1 more of that kind"
        assert found.listed == 56
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file() and path.read_bytes() == b"litter"]

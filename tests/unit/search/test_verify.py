"""`python -m search.verify`: what it says, and 0, 1 or 2 at the end."""

import json
import subprocess
import sys

import numpy as np
import pytest

from search import verify
from search.cli import console
from tests.inputs.made_radiographs import kaggle, write


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XRAYTUNE_CACHE", str(tmp_path / "cache"))


def test_the_command_says_all_of_it_and_ends_with_0_1_or_2(tmp_path):
    good, bad = kaggle(tmp_path / "good"), kaggle(tmp_path / "bad")
    write(bad / "train/NORMAL/IM-0400-0001.jpeg", b"")
    command = [sys.executable, "-m", "search.verify"]

    def run(*arguments):
        return subprocess.run(
            [*command, *map(str, arguments)], capture_output=True, text=True, timeout=120, check=False
        )

    fine = run(good, "--json")
    assert fine.returncode == 0, fine.stderr
    plain = json.loads(fine.stdout)
    assert plain["usable"] is True
    assert plain["positive"] == "PNEUMONIA"
    assert plain["audit"]["findings"]
    one = run(good, "--json", "--patient-regex", r"(\w+/(?:NORMAL|PNEUMONIA))")  # one patient a class and split
    assert one.returncode == 1
    assert json.loads(one.stdout, parse_constant=pytest.fail)["errors"][0]["kind"] == "empty split"
    broken = run(bad)
    assert broken.returncode == 1
    assert "the file is empty" in broken.stdout
    missing = run(tmp_path / "nowhere")
    assert missing.returncode == 2
    assert "There is no" in missing.stderr
    assert "Traceback" not in missing.stderr + broken.stderr


def damaged_archive(folder):
    (folder / "x.zip").write_bytes(b"PK\x03\x04 and no more")
    return "x.zip"


def damaged_tar(folder):
    (folder / "x.tar.gz").write_bytes(b"\x1f\x8b and no more")
    return "x.tar.gz"


def damaged_arrays(folder):
    np.savez(folder / "x.npz", train_images=np.zeros((9, 9, 9), np.uint8), train_labels=np.arange(9) % 2)
    (folder / "x.npz").write_bytes((folder / "x.npz").read_bytes()[:-200])
    return "x.npz"


def arrays_of_another_layout(folder):
    np.savez(folder / "x.npz", pixels=np.zeros(9))
    return "x.npz"


def damaged_manifest(folder):
    (folder / "x.csv").write_text('path,label\n"0.png,a\n')
    return "x.csv"


def manifest_without_labels(folder):
    (folder / "x.csv").write_text("path\n0.png\n")
    return "x.csv"


@pytest.fixture
def ended(tmp_path, monkeypatch, capsys):
    """Runs the command in the test's folder; gives its exit code, output and errors."""
    monkeypatch.chdir(tmp_path)
    app = console.application(verify.main)

    def run(*arguments):
        with monkeypatch.context() as patch:
            patch.setattr(console, "err", console.Screen(stderr=True, width=1000))
            patch.setattr(console, "out", console.Screen(width=160))
            code = console.exit_code(lambda: app(list(arguments), standalone_mode=False))
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


@pytest.mark.parametrize(
    "make",
    [damaged_archive, damaged_tar, damaged_arrays, arrays_of_another_layout, damaged_manifest, manifest_without_labels],
)
def test_a_source_that_is_there_and_damaged_ends_with_1_and_is_json_too(tmp_path, ended, make):
    name = make(tmp_path)
    code, out, err = ended(name)
    assert (code, out) == (1, "")
    assert name in err
    code, out, err = ended(name, "--json")
    assert (code, err) == (1, "")
    plain = json.loads(out)
    assert plain["usable"] is False
    assert name in plain["errors"][0]["what"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["nowhere"],
        ["nowhere.zip"],
        ["nowhere.csv", "--json"],
        ["pneumoniamnist:100"],
        ["radiographs", "--fit", "stretch"],
        ["radiographs", "--no-such-option"],
        ["radiographs", "--seed", "many"],
        ["radiographs", "--patient-regex", "("],
        ["radiographs", "--patient-regex", "matches nothing"],
        ["radiographs", "--positive", "flu"],
        ["radiographs", "--positive", "flu", "--json"],
    ],
)
def test_a_source_that_is_not_there_or_a_wrong_option_ends_with_2(tmp_path, ended, arguments):
    kaggle(tmp_path / "radiographs")
    code, out, err = ended(*arguments)
    assert code == 2
    assert "flu" in out if "flu" in arguments else "error: " in err


def test_with_errors_in_the_data_a_wrong_option_among_them_ends_with_1(tmp_path, ended):
    write(kaggle(tmp_path / "radiographs") / "train/NORMAL/IM-0400-0001.jpeg", b"")
    assert ended("radiographs", "--positive", "flu")[0] == 1

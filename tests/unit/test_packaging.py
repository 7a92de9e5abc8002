"""What is installed and what with: one version, dependencies with hashes, their licences, no address of a registry."""

from __future__ import annotations

import re
import subprocess
import tomllib
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import xraytune
from tests import licences

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCKS = [ROOT / "requirements.lock", ROOT / "requirements-cuda.lock"]
LOCKED_EXTRAS = ("dicom", "onnx", "postgres", "mysql")

REGISTRY = re.compile(
    r"https?://[^\s\"')]*(?:pypi|pythonhosted|/simple\b|registry|artifactory|nexus)|"
    r"--(?:extra-)?index-url|UV_(?:DEFAULT_INDEX|INDEX_URL)=http",
    re.IGNORECASE,
)


def entries(lock):
    """Requirement and hashes of each entry of a lock file."""
    for entry in re.split(r"\n(?=\S)", lock.read_text().replace("\\\n", "").strip()):
        requirement, *hashes = re.split(r"\s+--hash=", entry)
        yield Requirement(requirement.strip()), hashes


def test_the_version_stands_in_one_place_and_everything_else_follows():
    assert "version" not in PROJECT["project"]
    assert PROJECT["project"]["dynamic"] == ["version"]
    assert ROOT / PROJECT["tool"]["hatch"]["version"]["path"] == Path(xraytune.__file__).resolve()
    assert f"version: {xraytune.__version__}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"## {xraytune.__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_no_registry_takes_the_package():
    assert "Private :: Do Not Upload" in PROJECT["project"]["classifiers"]


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_a_lock_names_one_version_and_its_hashes_of_every_dependency(lock):
    found = list(entries(lock))
    assert len(found) > 60
    for requirement, hashes in found:
        assert re.fullmatch(r"==[^,*]+", str(requirement.specifier)), requirement
        assert hashes, requirement
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", one.strip()) for one in hashes), requirement


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_a_lock_holds_what_pyproject_asks_for(lock):
    locked: dict[str, list[Version]] = {}
    for requirement, _ in entries(lock):
        version = Version(str(requirement.specifier).removeprefix("=="))
        locked.setdefault(canonicalize_name(requirement.name), []).append(version)
    extras = (*LOCKED_EXTRAS, *(("cuda",) if "cuda" in lock.name else ()))
    project = PROJECT["project"]
    asked = [*project["dependencies"], *(text for extra in extras for text in project["optional-dependencies"][extra])]
    for text in [*asked, *PROJECT["build-system"]["requires"]]:
        requirement = Requirement(text)
        versions = locked.get(canonicalize_name(requirement.name), [])
        assert versions, f"{requirement.name} is not in {lock.name}: make lock"
        assert all(version in requirement.specifier for version in versions), f"{text}: make lock"


@pytest.mark.parametrize("requirement", [Requirement(text) for text in PROJECT["project"]["dependencies"]], ids=str)
def test_every_dependency_has_a_floor(requirement):
    assert any(one.operator in {">=", "=="} for one in requirement.specifier)


def test_every_direct_dependency_has_its_licence_on_the_page():
    text = licences.PAGE.read_text()
    rows = re.findall(r"^\| (\S+) \| ([^|]+) \| ([^|]+) \|$", text, re.MULTILINE)[1:]
    listed = {canonicalize_name(name): use for name, _, use in rows if not name.startswith("-")}
    assert listed == licences.direct(), "make licences writes it anew"
    assert all(licence.strip() not in {"", "not stated"} for _, licence, _ in rows)


def test_a_licence_is_read_where_the_package_states_it(tmp_path):
    def stated(*lines):
        folder = tmp_path / "made-1.0.dist-info"
        folder.mkdir(exist_ok=True)
        (folder / "METADATA").write_text("\n".join(["Metadata-Version: 2.4", "Name: made", "Version: 1.0", *lines]))
        return licences.licence(next(iter(licences.distributions(path=[str(tmp_path)]))))

    osi = "Classifier: License :: OSI Approved"
    assert stated("License-Expression: MIT", "License: GPL") == "MIT"
    assert stated("License: Apache 2.0", f"{osi} :: MIT License") == "Apache 2.0"
    assert stated("License: Copyright (c) us", "        All rights", f"{osi} :: BSD License") == "BSD License"
    assert stated("License: Copyright (c) us", "        All rights", osi) == "Copyright (c) us"
    assert stated() == "not stated"
    assert licences.licence(distribution("pytest")) == "MIT"


def test_no_file_names_the_address_of_a_registry():
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.split(b"\0")
    found = []
    for name in filter(None, names):
        path = ROOT / name.decode()
        if path == Path(__file__).resolve() or not path.is_file():
            continue
        text = path.read_bytes().decode(errors="ignore")
        found += [f"{path.relative_to(ROOT)}: {match.group()}" for match in REGISTRY.finditer(text)]
    assert not found


@pytest.mark.parametrize(
    "text", ["--index-url x", "https://pypi.example", "http://wheels.hospital/simple/", "https://registry.example"]
)
def test_an_address_of_a_registry_would_be_found(text):
    assert REGISTRY.search(text)


def instructions(name):
    """The lines of a Dockerfile without comments."""
    return [line for line in (ROOT / name).read_text().splitlines() if line and not line.startswith("#")]


def test_the_two_dockerfiles_differ_in_their_base_alone():
    cpu, cuda = instructions("Dockerfile"), instructions("Dockerfile.cuda")
    assert [a.split()[0] for a, b in zip(cpu, cuda, strict=True) if a != b] == ["FROM"]
    assert "NOT BUILT OR RUN" in (ROOT / "Dockerfile.cuda").read_text().splitlines()[0]


def test_an_image_holds_what_is_copied_and_runs_as_an_unprivileged_user():
    lines = instructions("Dockerfile")
    assert [line for line in lines if line.startswith("USER ")] == ["USER researcher"]
    assert lines.index("USER researcher") > max(i for i, line in enumerate(lines) if line.startswith("RUN "))
    copied = {word for line in lines if line.startswith("COPY ") for word in line.split()[1:-1]}
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert {line[1:] for line in ignored if line.startswith("!")} == copied
    assert "*" in ignored
    assert all((ROOT / name).exists() for name in copied)

"""The steps of Dockerfile in a Debian root of its own, and what the image's user can do there.

Nothing here needs Docker: each RUN is run by chroot, as the user and with the environment and folder of its place.
XRAYTUNE_WHEELS=folder takes the dependencies from there instead of downloading them.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.searching import ROOT

APT = [path for path in map(Path, ("/etc/apt/sources.list", "/etc/apt/sources.list.d/debian.sources")) if path.exists()]
PASSED = re.compile(r"(PIP_|SSL_|REQUESTS_|https?_proxy|no_proxy)", re.IGNORECASE)
"""Settings of this machine without which pip finds no packages here."""

pytestmark = [
    pytest.mark.timeout(1800),
    pytest.mark.skipif(os.geteuid() != 0, reason="chroot needs root"),
    pytest.mark.skipif(shutil.which("mmdebstrap") is None, reason="needs Debian's mmdebstrap"),
    pytest.mark.skipif(not APT, reason="needs apt's list of sources"),
]


@dataclass
class Image:
    """A root in which the steps of a Dockerfile are run."""

    root: Path
    environment: dict[str, str] = field(default_factory=lambda: {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"})
    user: str = "root"
    folder: str = "/"
    entry: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)

    def step(self, kind: str, rest: str) -> None:
        if kind == "RUN":
            done = self.run("/bin/sh", "-c", rest, host=True)
            assert done.returncode == 0, f"RUN {rest}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
        elif kind == "ENV":
            pairs = dict(word.split("=", 1) for word in shlex.split(rest))
            self.environment |= {n: v.replace("$PATH", self.environment["PATH"]) for n, v in pairs.items()}
        elif kind == "WORKDIR":
            self.folder = rest
            (self.root / rest.lstrip("/")).mkdir(parents=True, exist_ok=True)
        elif kind == "COPY":
            *sources, to = rest.split()
            target = self.root / self.folder.lstrip("/") / to
            for source in sources:
                if (ROOT / source).is_dir():
                    shutil.copytree(ROOT / source, target, ignore=shutil.ignore_patterns("__pycache__"))
                else:
                    shutil.copy(ROOT / source, target)
        elif kind == "USER":
            self.user = rest
        elif kind in {"ENTRYPOINT", "CMD"}:
            setattr(self, "entry" if kind == "ENTRYPOINT" else "command", json.loads(rest))
        else:
            assert kind in {"FROM", "VOLUME"}, f"{kind} is not known to this test"

    def run(self, *line: str, host: bool = False, user: str = "") -> subprocess.CompletedProcess[str]:
        """A command in the root, in mounts and processes of its own; `host` with the network and pip as set here."""
        environment = dict(self.environment)
        mounts = ["mount --rbind /dev dev", "mount -t proc proc proc", "mount -t tmpfs tmpfs tmp", "chmod 1777 tmp"]
        if host:
            environment |= {name: value for name, value in os.environ.items() if PASSED.match(name)}
            mounts += [f"mkdir -p .{p} && mount --bind {p} .{p}" for p in ("/etc/ssl/certs",) if Path(p).is_dir()]
            shutil.copy("/etc/resolv.conf", self.root / "etc" / "resolv.conf")
            if wheels := os.environ.get("XRAYTUNE_WHEELS"):
                environment |= {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "/mnt"}
                mounts.append(f"mount --bind {shlex.quote(wheels)} mnt")
        variables = shlex.join(f"{name}={value}" for name, value in environment.items())
        inside = f"cd {shlex.quote(self.folder)} && exec {shlex.join(line)}"
        as_user = f"chroot --userspec={user or self.user} . env -i {variables} /bin/sh -c {shlex.quote(inside)}"
        script = " && ".join([f"cd {shlex.quote(str(self.root))}", *mounts, f"exec {as_user}"])
        return subprocess.run(
            ["unshare", "--mount", "--pid", "--fork", "--kill-child", "/bin/sh", "-c", script],
            capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip

    def start(self, *arguments: str, user: str = "") -> subprocess.CompletedProcess[str]:
        """What `docker run IMAGE ARGUMENTS` does."""
        return self.run(*self.entry, *(arguments or self.command), user=user)


def steps() -> list[tuple[str, str]]:
    text = "\n".join(line for line in (ROOT / "Dockerfile").read_text().splitlines() if not line.startswith("#"))
    lines = [line for line in text.replace("\\\n", " ").splitlines() if line.strip()]
    return [(kind, rest.strip()) for kind, _, rest in (line.partition(" ") for line in lines)]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    root = tmp_path_factory.mktemp("image") / "root"
    (base,) = [rest for kind, rest in steps() if kind == "FROM"]
    release = re.fullmatch(r"debian:(\w+)-slim", base)
    assert release, f"the base {base} is no slim Debian"
    subprocess.run(["mmdebstrap", "--quiet", "--variant=minbase", release[1], str(root), *map(str, APT)], check=True)
    root.parent.chmod(0o755)
    made = Image(root)
    for kind, rest in steps():
        made.step(kind, rest)
    return made


def test_the_image_says_its_version_as_an_unprivileged_user(image: Image) -> None:
    done = image.start("--version")
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"xraytune \d+\.\d+\.\d+\n", done.stdout)
    assert image.run("id", "-u").stdout == "10001\n"
    assert image.run("touch", "/opt/venv/x").returncode != 0
    assert "leaderboard" in image.start().stdout


@pytest.mark.parametrize("user", ["", "4711:4711"])
def test_a_search_in_the_image_leaves_its_results_in_the_volume(image: Image, user: str) -> None:
    study = f"mine{user.partition(':')[0]}"
    done = image.start("search", "--space", "smoke", "--trials", "2", "--max-epochs", "1", "--study", study, user=user)
    assert done.returncode == 0, done.stderr[-3000:]
    assert (image.root / "xraytune" / "results" / study / "study.json").exists()
    assert image.start("leaderboard", study, user=user).stdout.count("complete") >= 2

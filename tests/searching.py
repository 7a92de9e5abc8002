"""A search as a process of its own, to be broken for real."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[1]
PATIENCE = 400.0  # seconds for anything that should happen; generous, since it only bounds a failure


def command(module: str, *arguments: object, home: Path) -> subprocess.CompletedProcess[str]:
    """`python -m module` to its end, its cache under `home`."""
    environment = {**os.environ, "XRAYTUNE_CACHE": str(home / "cache"), "COLUMNS": "200", "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip


def can_mount() -> bool:
    """Whether this machine lets us mount a disk of our own: small, full or read-only."""
    return subprocess.run(["unshare", "-rm", "true"], capture_output=True, check=False).returncode == 0


class Search:
    """One study's searches on the synthetic space, in folders of the test's own."""

    def __init__(self, folder: Path, study: str = "broken") -> None:
        self.study, self.output = study, folder / f"{study}.txt"
        self.results, self.cache = folder / "results", folder / "cache"
        self.process: subprocess.Popen[bytes] | None = None
        self.children: list[psutil.Process] = []

    def command(self, *arguments: str, space: str = "search.testing.synthetic_space:Faulty") -> list[str]:
        options = ["--space", space, "--study", self.study, "--results", str(self.results), "--cache", str(self.cache)]
        return [sys.executable, "-m", "search.run", *options, *arguments]

    def start(
        self, *arguments: str, space: str = "search.testing.synthetic_space:Faulty", **environment: str
    ) -> Search:
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                self.command(*arguments, space=space),
                cwd=ROOT,
                env={**os.environ, "XRAYTUNE_EPOCH_SECONDS": "0.1", **environment},
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a foreground job of its own, as in a terminal
            )
        return self

    def run(self, *arguments: str, **environment: str) -> int:
        self.start(*arguments, **environment)
        return self.wait()

    def wait(self, seconds: float = PATIENCE) -> int:
        assert self.process is not None
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {seconds} s:\n{self.text}") from None

    def until(self, condition: Callable[[], object], seconds: float = PATIENCE) -> None:
        assert self.process is not None
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, f"waited in vain:\n{self.text}"
            assert self.process.poll() is None, f"ended too early:\n{self.text}"
            time.sleep(0.1)

    def until_said(self, words: str) -> None:
        self.until(lambda: words in self.text)

    def send(self, number: signal.Signals) -> None:
        """Send a signal, after a look at what the search has started."""
        assert self.process is not None
        with contextlib.suppress(psutil.Error):
            self.children = psutil.Process(self.process.pid).children(recursive=True)
        if number == signal.SIGINT:  # a terminal sends Ctrl-C to all of its foreground job
            os.killpg(self.process.pid, number)
        else:
            self.process.send_signal(number)

    def survivors(self) -> list[psutil.Process]:
        alive = []
        for child in self.children:
            with contextlib.suppress(psutil.Error):
                if child.is_running() and child.status() != psutil.STATUS_ZOMBIE:
                    alive.append(child)
        return alive

    def gone_within(self, seconds: float) -> bool:
        end = time.monotonic() + seconds
        while self.survivors():
            if time.monotonic() > end:
                return False
            time.sleep(0.1)
        return True

    def workers(self) -> list[psutil.Process]:
        """Processes in which trials run."""
        return self._started("Trainable")

    def watchdogs(self) -> list[psutil.Process]:
        """The process that ends everything with the driver; its last argument is Ray's folder."""
        return self._started("watchdog.py")

    def raylet(self) -> psutil.Process:
        """Ray's own process on this machine."""
        return self._started("raylet/raylet ")[0]

    def _started(self, name: str) -> list[psutil.Process]:
        assert self.process is not None
        found = []
        with contextlib.suppress(psutil.Error):
            for child in psutil.Process(self.process.pid).children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    if name in " ".join(child.cmdline()):
                        found.append(child)
        return found

    @property
    def text(self) -> str:
        return self.output.read_text(errors="replace")

    @property
    def logs(self) -> str:
        return "".join(p.read_text(errors="replace") for p in (self.results / self.study / "logs").glob("*.log"))

    def begun(self) -> dict[int, list[tuple[int, int]]]:
        """By worker's process id the epochs that it began, in order: the trial's seed, the epoch."""
        noted = re.compile(r"^seed (\d+): epoch (\d+)$", re.MULTILINE)
        logs = (self.results / self.study / "logs").glob("worker-*.log")
        found = {int(log.stem.removeprefix("worker-")): noted.findall(log.read_text(errors="replace")) for log in logs}
        return {worker: [(int(seed), int(epoch)) for seed, epoch in epochs] for worker, epochs in found.items()}

    def trials(self) -> list[dict]:
        listed = subprocess.run(
            [sys.executable, "-m", "search.leaderboard", self.study, "--json", "--results", str(self.results)],
            cwd=ROOT,
            capture_output=True,
            check=True,
        )
        return sorted(json.loads(listed.stdout)["trials"], key=lambda t: t["number"])

    def end(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.send(signal.SIGKILL)
            self.process.wait()
        self.gone_within(10)
        for child in self.survivors():
            with contextlib.suppress(psutil.Error):
                child.kill()


def told(text: str) -> dict[int, str]:
    """What a search has said of its complete trials: each one's number and objective."""
    lines = re.findall(r"trial +(\d+)  \S+ +complete +F2 (\d\.\d{4})", text)
    return {int(number): value for number, value in lines}


def kept(trials: list[dict]) -> dict[int, str]:
    """What the study has of them, in the same words."""
    return {t["number"]: f"{t['value']:.4f}" for t in trials if t["state"] == "COMPLETE"}


def counted(trials: list[dict]) -> list[dict]:
    """Those that count against the budget."""
    return [t for t in trials if t["state"] in {"COMPLETE", "PRUNED", "FAIL"} and not t["interrupted"]]

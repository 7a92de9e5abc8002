"""docs/slurm.sbatch on a real Slurm of one node on 127.0.0.1: a job that is ended goes on when it runs again."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.searching import ROOT

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "scontrol", "scancel")

TRIALS, SECONDS = 16, 3
"""Of four epochs of so many seconds, one trial at a time: more than three minutes."""

pytestmark = [
    pytest.mark.timeout(1200),
    pytest.mark.skipif(os.geteuid() != 0, reason="Slurm's daemons need root"),
    pytest.mark.skipif(any(shutil.which(name) is None for name in PROGRAMS), reason="needs slurm-wlm and munge"),
]

CONFIGURATION = """
ClusterName=made
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
KillWait=60
NodeName={host} NodeAddr=127.0.0.1 CPUs={cores} RealMemory=2000 State=UNKNOWN
PartitionName=all Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def until(condition: Callable[[], object], seconds: float, what: Callable[[], str]) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, what()
        time.sleep(0.5)


class Slurm:
    """A controller and a node, with the test's own key, ports and folders."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.daemons = folder, []
        for name in ("state", "spool", "bin"):
            (folder / name).mkdir()
        host = socket.gethostname().partition(".")[0]
        text = CONFIGURATION.format(host=host, folder=folder, ports=(free_port(), free_port()), cores=os.cpu_count())
        (folder / "slurm.conf").write_text(text)
        (folder / "munge.key").write_bytes(os.urandom(1024))
        (folder / "munge.key").chmod(0o600)
        command = folder / "bin" / "xraytune"
        command.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m search "$@"\n')
        command.chmod(0o755)
        self.environment = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}

    def begin(self) -> None:
        places = [f"--{name}-file={self.folder / name}" for name in ("pid", "log", "seed")]
        key = (f"--key-file={self.folder / 'munge.key'}", f"--socket={self.folder / 'munge.socket'}")
        self._start("munged", "--foreground", "--force", *key, *places)
        until((self.folder / "munge.socket").exists, 20, self.logs)
        self._start("slurmctld", "-D", "-c")
        self._start("slurmd", "-D")
        until(lambda: "idle" in self.run("sinfo", "-h", "-o", "%t", check=False), 60, self.logs)

    def _start(self, *line: str) -> None:
        with (self.folder / f"{line[0]}.out").open("wb") as out:
            self.daemons.append(
                subprocess.Popen(line, env=self.environment, stdout=out, stderr=out, start_new_session=True)
            )

    def run(self, *line: str, check: bool = True) -> str:
        done = subprocess.run(
            line, cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False, timeout=60
        )
        assert not check or done.returncode == 0, f"{line}: {done.stderr}{self.logs()}"
        return done.stdout

    def logs(self) -> str:
        files = [*self.folder.glob("*.out"), *self.folder.glob("*.log")]
        return "\n".join(f"{path.name}:\n{path.read_text(errors='replace')[-1500:]}" for path in files)

    def submit(self, *options: str, study: str) -> int:
        """A job of the documentation's file, small enough for this machine, on a space without images."""
        made = ("--space", "search.testing.synthetic_space:Faulty", "--trials", str(TRIALS), "--pruner", "none")
        told = self.run(
            "sbatch", "--cpus-per-task=1", "--mem=1000", "--parsable", *options,
            f"--export=ALL,STUDY={study},XRAYTUNE={self.folder / 'bin' / 'xraytune'},XRAYTUNE_EPOCH_SECONDS={SECONDS}",
            str(ROOT / "docs" / "slurm.sbatch"), *made, "--cache", str(self.folder / "cache"),
        )  # fmt: skip
        return int(told)

    def about(self, job: int, name: str) -> str:
        found = re.search(rf"\b{name}=(\S+)", self.run("scontrol", "show", "job", str(job)))
        return found[1] if found else ""

    def ended_trials(self, study: str) -> list[dict]:
        done = subprocess.run(
            [sys.executable, "-m", "search.leaderboard", study, "--json", "--results", str(self.folder / "results")],
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        trials = json.loads(done.stdout)["trials"] if done.returncode == 0 else []
        return [trial for trial in trials if trial["state"] == "COMPLETE"]

    def end(self) -> None:
        for daemon in reversed(self.daemons):
            daemon.send_signal(signal.SIGTERM)
        for daemon in self.daemons:
            try:
                daemon.wait(20)
            except subprocess.TimeoutExpired:
                daemon.kill()


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    made = Slurm(tmp_path_factory.mktemp("slurm"))
    try:
        made.begin()
        yield made
    finally:
        made.run("scancel", "--user=root", check=False)
        time.sleep(2)
        made.end()


def goes_on(slurm: Slurm, job: int, study: str) -> None:
    """The job is queued again, resumes its study and ends it."""
    log = slurm.folder / f"xraytune-{job}.log"

    def said() -> str:
        return f"{log.read_text() if log.exists() else 'no log'}\n{slurm.logs()}"

    until(lambda: slurm.about(job, "Restarts") == "1", 400, said)
    before = {trial["number"]: trial["value"] for trial in slurm.ended_trials(study)}
    until(lambda: slurm.about(job, "JobState") in {"COMPLETED", "FAILED", "TIMEOUT", "CANCELLED"}, 500, said)
    assert slurm.about(job, "JobState") == "COMPLETED", said()
    assert slurm.about(job, "ExitCode") == "0:0"
    text = log.read_text()
    assert f"Study {study!r} is intact" in text
    assert "continues after" in text
    after = {trial["number"]: trial["value"] for trial in slurm.ended_trials(study)}
    assert len(after) == TRIALS
    assert before.items() <= after.items(), "nothing that had ended is lost"


def test_a_job_that_is_sent_sigterm_is_queued_again_and_goes_on(slurm: Slurm) -> None:
    job = slurm.submit("--time=30", study="signalled")
    until(lambda: slurm.ended_trials("signalled"), 300, slurm.logs)
    slurm.run("scancel", "--batch", "--signal=TERM", str(job))
    goes_on(slurm, job, "signalled")


def test_a_job_ends_itself_before_its_time_limit_and_goes_on(slurm: Slurm) -> None:
    job = slurm.submit("--time=4", "--signal=B:TERM@90", study="limited")
    goes_on(slurm, job, "limited")

"""PostgreSQL and MariaDB as processes of a test's own on 127.0.0.1, run without privileges in temporary folders."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, ClassVar

USER, PASSWORD, DATABASE = "searcher", "S3cret/@:x", "studies"
QUOTED = "S3cret%2F%40%3Ax"
"""The password as it stands in a URL."""


def assert_secret(text: str) -> None:
    """No password, neither as it is nor as it stands in a URL."""
    for secret in (PASSWORD, QUOTED, "S3cret"):
        assert secret not in text


PATIENCE = 120.0
"""Seconds in which a server must start."""


def program(name: str, *folders: str) -> str:
    """The path of a program of a server, which Debian keeps out of the ordinary path; empty where it is missing."""
    places = [os.environ.get("PATH", ""), "/usr/sbin", *(str(p) for f in folders for p in sorted(Path("/").glob(f)))]
    return shutil.which(name, path=os.pathsep.join(places)) or ""


class Server:
    """One server, which may be killed and started again with what it holds.

    Attributes:
        name: of its kind.
        package: of Debian, which has its programs.
        driver: the module that a URL of it needs.
        scheme: of its URL.
    """

    name: ClassVar[str]
    package: ClassVar[str]
    driver: ClassVar[str]
    scheme: ClassVar[str]

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="xraytune-server-"))
        self.data = self.folder / "data"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.process: subprocess.Popen[bytes] | None = None
        self._as: dict[str, Any] = {}
        if os.getuid() == 0:  # neither of them runs as root
            self._as = {"user": "nobody", "group": "nogroup", "extra_groups": []}
            shutil.chown(self.folder, "nobody", "nogroup")
        self._make()
        self.start()
        self._admit()

    @classmethod
    def missing(cls) -> str:
        """Which of its programs this machine lacks, empty where it has all."""
        raise NotImplementedError

    def url(self, password: str = QUOTED) -> str:
        """Of its database, with a password as it stands in a URL."""
        return f"{self.scheme}://{USER}:{password}@127.0.0.1:{self.port}/{DATABASE}"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        with (self.folder / "server.txt").open("ab") as output:
            self.process = subprocess.Popen(
                self._command(), cwd=self.folder, stdout=output, stderr=output, start_new_session=True, **self._as
            )
        end = time.monotonic() + PATIENCE
        while not self._answers():
            assert self.process.poll() is None, self._said()
            assert time.monotonic() < end, self._said()
            time.sleep(0.2)

    def kill(self) -> None:
        """End it at once, as a power cut would."""
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None

    def remove(self) -> None:
        """End it, and remove all that it holds."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def ask(self, statement: str) -> str:
        """What its administrator gets for a statement of SQL, in its studies' database."""
        done = self._client(statement, DATABASE)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def _run(self, command: list[str]) -> None:
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=False, **self._as)
        assert done.returncode == 0, done.stdout + done.stderr

    def _said(self) -> str:
        return (self.folder / "server.txt").read_text(errors="replace")

    def _answers(self) -> bool:
        return self._client("SELECT 1").returncode == 0

    def _make(self) -> None:
        raise NotImplementedError

    def _command(self) -> list[str]:
        raise NotImplementedError

    def _admit(self) -> None:
        raise NotImplementedError

    def _client(self, statement: str, database: str = "") -> subprocess.CompletedProcess[str]:
        raise NotImplementedError


class PostgreSQL(Server):
    """Debian keeps its programs in a folder of each version."""

    name, package, driver, scheme = "PostgreSQL", "postgresql", "psycopg", "postgresql+psycopg"
    FOLDERS: ClassVar[tuple[str, ...]] = ("usr/lib/postgresql/*/bin",)

    @classmethod
    def missing(cls) -> str:
        """Which of its programs this machine lacks, empty where it has all."""
        return ", ".join(name for name in ("initdb", "postgres", "psql") if not program(name, *cls.FOLDERS))

    def _make(self) -> None:
        access = ["--username=postgres", "--auth-local=trust", "--auth-host=scram-sha-256", "--encoding=UTF8"]
        self._run([program("initdb", *self.FOLDERS), "-D", str(self.data), "--no-sync", "--locale=C", *access])

    def _command(self) -> list[str]:
        where = ["-c", "listen_addresses=127.0.0.1", "-p", str(self.port), "-k", str(self.folder)]
        return [program("postgres", *self.FOLDERS), "-D", str(self.data), *where, "-c", "shared_buffers=16MB"]

    def _client(self, statement: str, database: str = "postgres") -> subprocess.CompletedProcess[str]:
        where = ["-h", str(self.folder), "-p", str(self.port), "-U", "postgres", "-d", database]
        command = [program("psql", *self.FOLDERS), *where, "-v", "ON_ERROR_STOP=1", "-Atc", statement]
        return subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=False, timeout=60)

    def _admit(self) -> None:
        for statement in (
            f"CREATE ROLE {USER} LOGIN PASSWORD '{PASSWORD}'",
            f"CREATE DATABASE {DATABASE} OWNER {USER}",
        ):
            done = self._client(statement)
            assert done.returncode == 0, done.stderr


class MariaDB(Server):
    """With its own defaults: strict, and a text of at most 64 KiB."""

    name, package, driver, scheme = "MariaDB", "mariadb-server", "pymysql", "mysql+pymysql"

    @classmethod
    def missing(cls) -> str:
        """Which of its programs this machine lacks, empty where it has all."""
        return ", ".join(name for name in ("mariadb-install-db", "mariadbd", "mariadb") if not program(name))

    def _make(self) -> None:
        access = ["--auth-root-authentication-method=normal"]
        self._run([program("mariadb-install-db"), "--no-defaults", f"--datadir={self.data}", *access])

    def _command(self) -> list[str]:
        where = ["--bind-address=127.0.0.1", f"--port={self.port}", f"--socket={self.folder / 's.sock'}"]
        small = ["--innodb-buffer-pool-size=32M", "--innodb-log-file-size=16M"]
        return [program("mariadbd"), "--no-defaults", f"--datadir={self.data}", *where, *small]

    def _client(self, statement: str, database: str = "mysql") -> subprocess.CompletedProcess[str]:
        where = [f"--socket={self.folder / 's.sock'}", "--user=root", database]
        command = [program("mariadb"), "--no-defaults", *where, "-N", "-B", "-e", statement]
        return subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=False, timeout=60)

    def _admit(self) -> None:
        for statement in (
            f"CREATE DATABASE {DATABASE} CHARACTER SET utf8mb4",
            f"CREATE USER {USER}@'127.0.0.1' IDENTIFIED BY '{PASSWORD}'",
            f"GRANT ALL ON {DATABASE}.* TO {USER}@'127.0.0.1'",
        ):
            done = self._client(statement)
            assert done.returncode == 0, done.stderr


KINDS = (PostgreSQL, MariaDB)

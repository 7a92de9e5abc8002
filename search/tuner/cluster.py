"""Ray's processes: started quietly and locked up, ended whatever happens to the driver."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import secrets
import socket
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from search.tuner.resources import Resources
from search.tuner.scratch import Scratch, sweep
from search.tuner.watchdog import GOODBYE
from xraytune.errors import FatalError, InputError

OBJECT_STORE = 2**28
"""Bytes of shared memory on one machine: there the images are mapped from the cache and Ray carries little."""

ANSWER = 5.0
"""Seconds in which a cluster's address must answer."""

SETTINGS = bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
"""An empty frame of settings in HTTP/2: length 0, kind 4, no flags, stream 0."""

UNSTARTED = 3.0
"""Seconds that a search which is interrupted waits for a start of Ray; whatever starts later is ended when it has."""

STARTS = 3
"""Times Ray is tried to be started."""

NICENESS = "RAY_worker_niceness"
"""Ray's setting; it is spelled so."""

PRIORITY = "0"
"""What is added to a worker's niceness: trials run at the priority that the search was started with. Ray's own 15 gives
way to everything, and whatever else ran on the machine took a search's time budget from it without a word."""


INHERITED = (
    "RAY_ADDRESS", "RAY_NAMESPACE", "RAY_TMPDIR", "RAY_RUNTIME_ENV", "RAY_RUNTIME_ENV_HOOK", "RAY_START_HOOK",
    "RAY_JOB_CONFIG_JSON_ENV_VAR", "RAY_OVERRIDE_JOB_RUNTIME_ENV", "RAY_OVERRIDE_RESOURCES", "RAY_OVERRIDE_LABELS",
    "RAY_OVERRIDE_DASHBOARD_URL", "RAY_RUNTIME_ENV_CREATE_WORKING_DIR", "RAY_AUTH_TOKEN_PATH",
)  # fmt: skip
"""Variables by which a shell inside a Ray job, a pod or a stale export says where Ray runs and as what. Ray that is
started here heeds none of them; to join a cluster, and as what, is asked for with --address."""


_STARTING = threading.Lock()


class Cluster:
    """Ray for the length of a `with` block.

    Alone on this machine: token authentication, no dashboard unless asked, no usage report, files under the cache and
    removed at the end. With an address: a running cluster is joined, and left as it is.

    Args:
        resources: what trials are given.
        cache: the cache folder.
        address: a running cluster's address (`auto`, `10.0.0.5:6379`), None to start Ray here.
        dashboard: whether to start Ray's own dashboard on 127.0.0.1.
    """

    def __init__(self, resources: Resources, cache: Path, address: str | None = None, dashboard: bool = False) -> None:
        self._resources = resources
        self._address = address
        self._dashboard = dashboard
        self.mark = f"xraytune-{os.getpid()}-{secrets.token_hex(4)}"
        self._cache = cache
        self._scratch: Scratch | None = None
        self.folder = ""
        self._watchdog: subprocess.Popen[bytes] | None = None
        self._environment: dict[str, str | None] = {}
        self._starter: threading.Thread | None = None
        self._tried, self._unwanted, self._over = threading.Event(), threading.Event(), threading.Event()
        self._handover = threading.Lock()
        self._left: subprocess.Popen[bytes] | None = None
        self._problem: BaseException | None = None

    @property
    def joined(self) -> bool:
        """Whether these are the machines of a cluster that runs anyway."""
        return self._address is not None

    def machines(self) -> Mapping[str, float]:
        """What all machines have together, as Ray counts it (`CPU`, `GPU` …)."""
        import ray

        found: Mapping[str, float] = ray.cluster_resources()
        return found

    def __enter__(self) -> Cluster:
        """Start the watchdog and Ray.

        Raises:
            InputError: no cluster answers at the address.
            FatalError: Ray could not be started.
        """
        self.begin()
        self.wait()
        return self

    def begin(self) -> None:
        """Start the watchdog, and Ray in a thread: other things can be done until `wait`; `stop` must follow.

        Does nothing where it was begun before.
        """
        if self._watchdog is not None:
            return
        sweep(self._cache)
        self._scratch = Scratch(self._cache, self.mark)
        self.folder = self._scratch.path
        own: dict[str, str] = {"XRAYTUNE_SESSION": self.mark, "RAY_USAGE_STATS_ENABLED": "0"}
        ignored = INHERITED if self._address is None else ()
        if self._address is None:
            own |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
            own[NICENESS] = os.environ.get(NICENESS, PRIORITY)
        self._environment = {name: os.environ.get(name) for name in (*own, *ignored)}
        for name in ignored:
            os.environ.pop(name, None)
        os.environ.update(own)
        self._watchdog = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("watchdog.py")), str(os.getpid()), self.mark, self.folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            pass_fds=[self._scratch.lock],  # so that it owns the folder for as long as it lives
        )
        for event in (self._tried, self._unwanted, self._over):
            event.clear()
        self._starter = threading.Thread(target=self._try_to_start, daemon=True)
        self._starter.start()

    def wait(self) -> None:
        """Wait until Ray runs; where it can't, everything is stopped.

        Raises:
            InputError: no cluster answers at the address.
            FatalError: Ray could not be started.
        """
        try:
            self._tried.wait()
            if self._problem:
                raise self._problem
        except BaseException as error:
            self.stop(at_once=isinstance(error, KeyboardInterrupt))
            raise

    def _try_to_start(self) -> None:
        with _STARTING:  # a start of an interrupted search may still be on its way
            try:
                self._start()
            except BaseException as error:  # raised where it is waited for
                self._problem = error
            with self._handover:
                self._tried.set()
            if self._left is not None:
                self._end(self._left, at_once=True)
        self._over.wait()  # Linux ends Ray's processes with the thread that started them

    def _start(self) -> None:
        import ray

        if self._unwanted.is_set():
            return
        _forget_old_token()
        # errors of workers are ours to tell; Ray prints them from a thread, whatever `log_to_driver` says
        ray._private.worker.print_to_stdstream = lambda *arguments, **options: None
        warnings.simplefilter("ignore")
        quiet = {"log_to_driver": False, "logging_level": logging.ERROR, "configure_logging": True}
        try:
            if self._address is not None:
                _knock(self._address)
                ray.init(address=self._address, **quiet)
                return
            self._start_here(ray, quiet)
        except ConnectionError as error:
            raise InputError(
                f"--address {self._address!r}: no Ray cluster answers there ({_short(error)}). Start one with "
                "`ray start --head` on its first machine, see docs/cluster.md."
            ) from None
        except Exception as error:  # Ray raises the bare class where its first process is slow
            raise FatalError(f"Ray could not be started: {_short(error)}. Its files were in {self.folder}.") from None

    def _start_here(self, ray: Any, quiet: Mapping[str, Any]) -> None:
        if ray.is_initialized():  # what a Ctrl-C in an earlier search of this process left: its processes are gone
            ray.shutdown()
        for attempt in range(STARTS):
            try:
                ray.init(
                    address="local",
                    namespace=self.mark,
                    num_cpus=self._resources.total_cpus,
                    num_gpus=self._resources.total_gpus,
                    include_dashboard=self._dashboard,
                    object_store_memory=OBJECT_STORE,
                    _temp_dir=self.folder,
                    **quiet,
                )
                return
            except Exception:  # on a busy machine Ray's own patience with its first process is too short
                ray.shutdown()
                if attempt + 1 == STARTS or self._unwanted.is_set():
                    raise

    def stop(self, *, at_once: bool = False) -> None:
        """End Ray (the joined cluster only is left), wait until every process of ours is gone.

        Args:
            at_once: kill it rather than have it end itself, which takes seconds, on a busy machine many.
        """
        watchdog, self._watchdog = self._watchdog, None
        if watchdog is None:  # it was stopped before
            return
        self._unwanted.set()
        end = time.monotonic() + UNSTARTED if at_once else math.inf
        try:
            while self._starting() and time.monotonic() < end:
                self._tried.wait(0.1)
        finally:  # interrupted once more, too
            with self._handover:
                self._left = watchdog if self._starting() else None
            if self._left is None:
                self._end(watchdog, at_once=at_once)
            for name, value in self._environment.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value

    def _starting(self) -> bool:
        """Whether Ray's start is still on its way."""
        return self._starter is not None and self._starter.is_alive() and not self._tried.is_set()

    def _end(self, watchdog: subprocess.Popen[bytes], *, at_once: bool) -> None:
        """End what was started.

        Never while Ray starts: the start would wait for what was killed, and Ray ends a process that has waited so for
        a minute. A start that is left alone ends itself here (`_left`), or by the watchdog where the process ends.
        """
        if not at_once or self.joined:
            _shut_down()
        self._over.set()
        if watchdog.stdin is not None:
            with contextlib.suppress(OSError):  # it was killed
                watchdog.stdin.write(GOODBYE)
                watchdog.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            watchdog.wait(timeout=8)
        if at_once:  # of a connection that is lost Ray ends the process after a minute
            _shut_down()
        if self._scratch:
            self._scratch.close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        self.stop()


def _shut_down() -> None:
    """Have Ray forget what it was connected to, where it was imported at all."""
    if (ray := sys.modules.get("ray")) is not None:
        with contextlib.suppress(Exception):
            ray.shutdown()


def _forget_old_token() -> None:
    """Have Ray read its token and mode from the environment again: it keeps what it saw when it was first imported."""
    from ray._raylet import AuthenticationTokenLoader, Config  # type: ignore[attr-defined]

    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()


def _knock(address: str) -> None:
    """See that a Ray head listens at `host:port`: where nothing or something else does, Ray itself tries for minutes.

    Ray's head speaks gRPC, so it greets whoever opens HTTP/2 with a frame of settings.

    Raises:
        ConnectionError: nothing answers, something else does, or that is no address.
    """
    if "://" in address:
        return
    if address == "auto":
        from ray._private.services import canonicalize_bootstrap_address

        address = canonicalize_bootstrap_address("auto") or ""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER) as line:
            if os.environ.get("RAY_USE_TLS", "0").lower() not in {"0", "false"}:  # the handshake is Ray's to make
                return
            line.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + SETTINGS)
            answer, end = b"", time.monotonic() + ANSWER
            while len(answer) < len(SETTINGS) and time.monotonic() < end and (part := line.recv(64)):
                answer += part
    except (OSError, ValueError) as error:
        raise ConnectionError(str(error)) from None
    if answer[3:4] != SETTINGS[3:4] or answer[5:9] != SETTINGS[5:9]:
        raise ConnectionError("this is not the head of a Ray cluster (default port 6379)")


def _short(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200].rstrip(".")

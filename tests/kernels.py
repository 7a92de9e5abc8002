"""A real Jupyter kernel for the tests of notebooks, and the processes that it has."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty
from typing import Any

import psutil
from jupyter_client.blocking import BlockingKernelClient
from jupyter_client.manager import KernelManager

ROOT = Path(__file__).resolve().parents[1]
PATIENCE = 300.0
"""Seconds for anything that should happen; generous, since it only bounds a failure."""


@dataclass
class Answer:
    """What one cell gave."""

    error: str = ""
    """The exception's name, empty where there was none."""
    message: str = ""
    printed: str = ""
    """Its output streams, both."""
    displayed: list[dict[str, str]] = field(default_factory=list)
    """Displays and results by MIME type, in their order; one that was updated is there as it was last."""
    updates: list[str] = field(default_factory=list)
    """Texts by which a display was replaced, in their order."""
    seconds: float = 0.0
    """Between a call of `Kernel.interrupt` and the end."""


class Kernel:
    """A kernel in a folder of its own.

    Args:
        manager: started.
        client: of it, ready.
    """

    def __init__(self, manager: KernelManager, client: BlockingKernelClient) -> None:
        self._manager, self._client = manager, client
        self._message = ""
        self._interrupted: float | None = None
        self.process = psutil.Process(manager.provisioner.pid)

    def begin(self, code: str) -> None:
        """Have a cell run; returns when it does: a kernel that waits for one heeds no interruption."""
        self._interrupted = None
        self._message = self._client.execute(code)
        while True:
            message = self._client.get_iopub_msg(timeout=PATIENCE)
            if message["parent_header"].get("msg_id") == self._message and message["msg_type"] == "execute_input":
                return

    def interrupt(self) -> None:
        """What the stop button does."""
        self._interrupted = time.monotonic()
        self._manager.interrupt_kernel()

    def end(self, timeout: float = PATIENCE) -> Answer:
        """Wait until the cell has ended.

        Raises:
            TimeoutError: it has not.
        """
        answer, shown, end = Answer(), {}, time.monotonic() + timeout
        while True:
            try:
                message = self._client.get_iopub_msg(timeout=1)
            except Empty:
                if time.monotonic() > end:
                    raise TimeoutError(f"the cell still runs: {answer}") from None
                continue
            if message["parent_header"].get("msg_id") != self._message:
                continue
            kind, content = message["msg_type"], message["content"]
            if kind == "stream":
                answer.printed += content["text"]
            elif kind == "error":
                answer.error, answer.message = content["ename"], content["evalue"]
            elif kind in {"display_data", "execute_result"}:
                answer.displayed.append(content["data"])
                if name := content.get("transient", {}).get("display_id"):
                    shown[name] = len(answer.displayed) - 1
            elif kind == "update_display_data":
                answer.displayed[shown[content["transient"]["display_id"]]] = content["data"]
                answer.updates.append(content["data"]["text/plain"])
            elif kind == "status" and content["execution_state"] == "idle":
                answer.seconds = time.monotonic() - (self._interrupted or time.monotonic())
                return answer

    def run(self, code: str, timeout: float = PATIENCE) -> Answer:
        """A cell to its end."""
        self.begin(code)
        return self.end(timeout)

    def children(self) -> list[psutil.Process]:
        """Living processes below it."""
        found = []
        for child in self.process.children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if child.status() != psutil.STATUS_ZOMBIE:
                    found.append(child)
        return found

    def command_lines(self) -> str:
        """Those of its children."""
        found = []
        for child in self.children():
            with contextlib.suppress(psutil.Error):
                found.append(" ".join(child.cmdline()))
        return "\n".join(found)

    def until(self, condition: Any, what: str, seconds: float = PATIENCE) -> None:
        """Wait for something of it while a cell runs."""
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, f"waited in vain for {what}:\n{self.command_lines()}"
            assert self.process.is_running(), "the kernel ended"
            time.sleep(0.02)


@contextlib.contextmanager
def kernel(folder: Path, **environment: str) -> Iterator[Kernel]:
    """A kernel of this Python that works in a folder; it is ended whatever happens.

    Args:
        folder: its working folder; caches and settings of Jupyter lie in it too.
        environment: variables beside those of this process.
    """
    folder.mkdir(parents=True, exist_ok=True)
    own = {
        "XRAYTUNE_CACHE": str(folder / "cache"), "PYTHONPATH": str(ROOT),
        "IPYTHONDIR": str(folder / "ipython"), "JUPYTER_RUNTIME_DIR": str(folder / "jupyter"),
    }  # fmt: skip
    manager = KernelManager(kernel_name="python3")
    manager.start_kernel(cwd=str(folder), env=os.environ | own | environment)
    client = manager.client()
    client.start_channels()
    one = None
    try:
        client.wait_for_ready(timeout=PATIENCE)
        one = Kernel(manager, client)
        yield one
    finally:
        left = one.children() if one else []
        client.stop_channels()
        manager.shutdown_kernel(now=True)
        for child in left:
            with contextlib.suppress(psutil.Error):
                child.kill()

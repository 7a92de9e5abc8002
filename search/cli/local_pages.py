"""Pages on 127.0.0.1: by which names they may be addressed, and what a port that can't be had is told as.

A page of another site in the same browser can reach a port of this machine. It is told by the Host header where a
foreign name was made to lead here (DNS rebinding), and by the Origin header where it asks by this machine's own name.
"""

from __future__ import annotations

from collections.abc import Iterable

from xraytune.errors import InputError

HOSTS = ("127.0.0.1", "localhost", "[::1]")
"""Names of this machine, as a Host header has them, without the port."""

FOREIGN = "This address is available only on this machine.\n"
"""What a request of another name or another page is answered."""


def is_local(host: str, names: Iterable[str] = HOSTS) -> bool:
    """Whether a Host header names this machine.

    Args:
        host: the header's value, with or without a port.
        names: by which the machine may be addressed.
    """
    name, _, port = host.lower().rpartition(":")
    return (name if port.isdigit() else host.lower()) in frozenset(names)


def is_own(origin: str | None, host: str) -> bool:
    """Whether a request comes from a page that the same address has served, or from no page.

    Args:
        origin: the Origin header, None where there is none.
        host: the Host header.
    """
    return origin is None or origin.lower() == f"http://{host.lower()}"


def unavailable(port: int, error: OSError) -> InputError:
    """The error for a port that can't be listened on."""
    return InputError(f"--port {port}: {error.strerror}. Give another, or 0 for a free one.")

"""Drawn inputs until a share of time is over; each must end right, or in one message, soon and in little memory.

`FUZZ_SECONDS` is the length of all fuzz tests together (600), `FUZZ_SEED` the first seed (drawn by default; a number
repeats a run as far as the time allows). A failure names the seed and the smallest input that hypothesis found; it is
kept as an example of its test (`fuzzed(examples=…)`).
"""

from __future__ import annotations

import functools
import gc
import os
import re
import signal
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import hypothesis
from hypothesis import strategies as st

from xraytune.errors import FatalError, TrialError

SECONDS = 10
"""That one input may take."""

MEMORY = 1 << 30
"""Bytes that one input may take."""

LENGTH = float(os.environ.get("FUZZ_SECONDS") or 600)
SEED = int(os.environ.get("FUZZ_SEED") or int.from_bytes(os.urandom(3), "big"))
ROUND = 20
"""Inputs of one seed: few, so that a short run ends in time."""

tests = 1
"""Fuzz tests that share the time; set when they are collected."""

_LEFTOVERS = re.compile(r"^\.(?!xraytune)(making-|.*-\d+$|.*-[a-z0-9_]{8}(\.\w+)?$)")
"""Names of temporary files and folders that their makers remove (`artifacts.atomic_write`, `whole`, `archives`)."""


class _Over(BaseException):
    """The time of a test is over; hypothesis lets it pass, as an interruption."""


class _TooLong(BaseException):
    """No `except Exception` may hide it."""


def fuzzed(
    *, examples: Iterable[Mapping[str, Any]] = (), **strategies: st.SearchStrategy[Any]
) -> Callable[[Callable[..., None]], Callable[[], None]]:
    """Make a test of a property: of the examples first, then of drawn inputs until the test's time is over."""

    def decorate(check: Callable[..., None]) -> Callable[[], None]:
        def test() -> None:
            for example in examples:
                check(**example)
            end, seed, done, failed, over = time.monotonic() + LENGTH / tests, SEED, 0, False, False

            @functools.wraps(check)
            def once(**drawn: Any) -> None:
                """Check one input, unless the time is over and nothing was found that is to be made smaller."""
                nonlocal done, failed, over
                if done and not failed and time.monotonic() > end:
                    over = True
                    raise _Over
                done += 1
                try:
                    check(**drawn)
                except Exception:
                    failed = True
                    raise

            while True:
                drawn = hypothesis.settings(
                    max_examples=ROUND,
                    deadline=None,
                    database=None,
                    phases=(hypothesis.Phase.generate, hypothesis.Phase.shrink),
                    report_multiple_bugs=False,
                    suppress_health_check=list(hypothesis.HealthCheck),
                )(hypothesis.given(**strategies)(once))
                try:
                    hypothesis.seed(seed)(drawn)()
                except BaseException as error:
                    if over:  # hypothesis may also wonder about an input of which nothing was drawn
                        return
                    error.add_note(f"FUZZ_SEED={seed}")
                    raise
                seed += 1

        test.__name__, test.__doc__, test.__module__ = check.__name__, check.__doc__, check.__module__
        return test

    return decorate


@contextmanager
def bounded() -> Iterator[None]:
    """Hold what is done in the block to the limits of time and memory."""

    def over(*_: object) -> None:
        raise _TooLong

    begun = _memory(reset=True)
    before = signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    except _TooLong as error:
        raise AssertionError(f"not done after {SECONDS} s") from error
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    taken = _memory() - begun
    assert taken < MEMORY, f"took {taken >> 20} MiB"


def answer(action: Callable[[], Any]) -> tuple[Any, str]:
    """What `action` returns within its limits, or its one message; any other exception goes on."""
    with bounded(), warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        try:
            return action(), ""
        except (FatalError, TrialError) as error:
            message = str(error)
    check_message(message)
    return None, message


def check_message(message: str) -> None:
    """A message is for people: some words of bounded length, and no trace of the program."""
    assert message.strip(), "an empty message"
    assert len(message) < 4000, message
    assert "Traceback" not in message, message
    assert "<class '" not in message, message
    assert not re.search(r"\bobject at 0x", message), message


@contextmanager
def place() -> Iterator[Path]:
    """A folder for one input, with a cache of its own in it; at the end it holds no temporary file and none is open."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as name:
        home = Path(name)
        temporary = home / "tmp"
        temporary.mkdir()
        kept = {key: os.environ.get(key) for key in ("XRAYTUNE_CACHE", "TMPDIR")}
        os.environ |= {"XRAYTUNE_CACHE": str(home / "cache"), "TMPDIR": str(temporary)}
        before, tempfile.tempdir = tempfile.tempdir, None
        opened = _open_files()
        try:
            yield home
            left = [str(p.relative_to(home)) for p in _walk(home) if _LEFTOVERS.match(p.name)]
            left += [p.name for p in temporary.iterdir()]
            assert not left, f"left behind: {left}"
            gc.collect()
            opened = _open_files() - opened
            assert not opened, f"left open: {opened}"
        finally:
            tempfile.tempdir = before
            for key, value in kept.items():
                os.environ.pop(key, None)
                if value is not None:
                    os.environ[key] = value


def _walk(home: Path) -> Iterator[Path]:
    for folder, folders, files in os.walk(home):
        yield from (Path(folder) / one for one in (*folders, *files))


def _open_files() -> set[str]:
    """Descriptors with what they are of; pipes and sockets of libraries apart."""
    found = set()
    for link in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            target = str(link.readlink())
            if target.startswith("/") and not target.startswith(("/dev/", "/proc/", "/memfd")):
                found.add(f"{link.name}: {target}")
    return found


def _memory(*, reset: bool = False) -> int:
    """Bytes resident now, with `reset`, from when on the most is counted; else the most since."""
    status = Path("/proc/self/status")
    if reset:
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")
    name = "VmRSS" if reset else "VmHWM"
    line = next(line for line in status.read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) << 10


# -- what is drawn ----------------------------------------------------------------------------------------------------

LETTERS = st.text(
    st.one_of(
        st.characters(exclude_characters="/\0", exclude_categories=["Cs"]),
        st.sampled_from("\x1b\x07\u202e\n\r\t[]=+-@<>&'\"`$|;,\\ é\u0301ß\udc80"),
    ),
    min_size=1,
    max_size=20,
)
"""A name that a file system takes, with what breaks terminals, tables, markup and shells."""

ODD_NUMBERS = st.sampled_from(
    ["", " ", "0", "-1", "1e400", "nan", "inf", "-inf", "1,5", "0x10", "9" * 40, "9" * 400, "1.0", "12.0"]
)

JSON = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(-(10**30), 10**30), st.floats(), st.text(max_size=8),
        st.sampled_from(["../../x", "/etc/passwd", "a\x1b[31m", "", "nan"]),
    ),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=6,
)  # fmt: skip


@st.composite
def damaged(draw: Any, content: bytes) -> bytes:
    """Bytes of which a few are changed, cut out, doubled or put in."""
    out = bytearray(content)
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, max(0, len(out) - 1)))
        how = draw(st.sampled_from(["set", "cut", "end", "insert", "double", "long"]))
        if how == "set" and out:
            out[at] = draw(st.integers(0, 255))
        elif how == "cut":
            del out[at : at + draw(st.integers(1, 64))]
        elif how == "end":
            del out[at:]
        elif how == "insert":
            out[at:at] = draw(st.binary(max_size=16))
        elif how == "double":
            out[at:at] = out[at : at + draw(st.integers(1, 64))]
        elif how == "long":
            out[at : at + 4] = draw(st.sampled_from([b"\xff" * 4, b"\x7f\xff\xff\xff", b"\0" * 4, b"\0\0\0\x80"]))
    return bytes(out)


@st.composite
def changed(draw: Any, plain: Any) -> Any:
    """A JSON value of which one part, anywhere in it, is another value, missing, or one more."""
    if isinstance(plain, dict) and plain and draw(st.integers(0, 3)):
        key = draw(st.sampled_from(sorted(plain)))
        return {**plain, key: draw(changed(plain[key]))}
    if isinstance(plain, list) and plain and draw(st.integers(0, 3)):
        at = draw(st.integers(0, len(plain) - 1))
        return [*plain[:at], draw(changed(plain[at])), *plain[at + 1 :]]
    how = draw(st.sampled_from(["other", "other", "less", "more", "wrapped"]))
    if how == "less" and isinstance(plain, dict) and plain:
        gone = draw(st.sampled_from(sorted(plain)))
        return {k: v for k, v in plain.items() if k != gone}
    if how == "less" and isinstance(plain, list) and plain:
        return plain[:-1]
    if how == "more" and isinstance(plain, dict):
        return {**plain, draw(st.text(max_size=8)): draw(JSON)}
    if how == "more" and isinstance(plain, list):
        return [*plain, draw(JSON)]
    return [plain] if how == "wrapped" else draw(JSON)

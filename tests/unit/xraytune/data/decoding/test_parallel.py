"""Work on many files: done once each, by several processes, whatever becomes of them."""

import importlib
import os
import pickle
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from tests.inputs.made_radiographs import radiograph, write
from xraytune import data, hardware
from xraytune.data.decoding import parallel
from xraytune.errors import DataError

COUNT = 1000
EMPLOYER = os.getpid()


@pytest.fixture(autouse=True)
def _four_cores(monkeypatch):
    monkeypatch.setattr(hardware, "cores", lambda: 4)


@dataclass(frozen=True)
class Slow:
    """Takes long enough for helpers to be worth it, and says who did it."""

    employer: int
    seconds: float = 0.03

    def __call__(self, piece: range) -> tuple[int, list[int]]:
        time.sleep(self.seconds)
        return os.getpid(), [number * number for number in piece]


class Refusing(Slow):
    """Meets something that must be said."""

    def __call__(self, piece: range) -> tuple[int, list[int]]:
        if 700 in piece:
            raise DataError("the 700th is wrong")
        return super().__call__(piece)


@dataclass(frozen=True)
class Together(Slow):
    """Waits, from its second piece on, until another process works too, however busy the machine is."""

    told: Path = Path()

    def __call__(self, piece: range) -> tuple[int, list[int]]:
        if os.getpid() != self.employer:
            self.told.touch()
        until = time.monotonic() + 60
        while piece.start and not self.told.exists() and time.monotonic() < until:
            time.sleep(0.01)
        return super().__call__(piece)


class Dying(Together):
    """Ends every process but the first, with a piece in hand; that one waits until it has happened."""

    def __call__(self, piece: range) -> tuple[int, list[int]]:
        if os.getpid() != self.employer:
            self.told.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(piece)


@dataclass(frozen=True)
class Writing(Together):
    """Writes into an open file that has no name."""

    file: int = -1

    def __call__(self, piece: range) -> int:
        super().__call__(piece)
        for number in piece:
            os.pwrite(self.file, bytes([number % 251]), number)
        return os.getpid()


def done(work):
    found, steps, hands = {}, [], set()

    def take(piece, result):
        hand, squares = result
        assert not set(piece) & set(found)
        found.update(zip(piece, squares, strict=True))
        hands.add(hand)

    parallel.spread(work, COUNT, "squaring", lambda *step: steps.append(step), take)
    assert found == {number: number * number for number in range(COUNT)}
    assert steps[0] == (0, COUNT, "squaring")
    assert steps[-1] == (COUNT, COUNT, "squaring")
    assert [step[0] for step in steps] == sorted({step[0] for step in steps})
    return hands


def children():
    return psutil.Process().children(recursive=True)


def test_every_piece_is_done_once_by_several_processes(tmp_path):
    before = children()
    hands = done(Together(EMPLOYER, told=tmp_path / "told"))
    assert EMPLOYER in hands
    assert len(hands) > 1
    assert children() == before


def test_little_work_is_done_here():
    assert done(Slow(EMPLOYER, 0.0)) == {EMPLOYER}
    parallel.spread(Slow(EMPLOYER), 0, "nothing", None)


def test_one_core_works_alone(monkeypatch):
    monkeypatch.setattr(hardware, "cores", lambda: 1)
    assert done(Slow(EMPLOYER, 0.01)) == {EMPLOYER}


def test_what_helpers_that_were_killed_had_in_hand_is_done_here(tmp_path):
    assert done(Dying(EMPLOYER, told=tmp_path / "told")) == {EMPLOYER}
    assert (tmp_path / "told").exists()


class Local(Slow):
    """Can be sent, but not received."""

    def __reduce__(self):
        return importlib.import_module, ("a_module_of_this_process_only",)


def test_work_that_helpers_cannot_receive_is_done_here():
    assert done(Local(EMPLOYER)) == {EMPLOYER}


def test_an_error_is_raised_here_whoever_met_it():
    before = children()
    with pytest.raises(DataError, match="the 700th is wrong"):
        parallel.spread(Refusing(EMPLOYER), COUNT, "reading", None)
    assert children() == before


def test_an_interrupt_ends_the_helpers():
    before, helping = children(), []

    def stop(finished, count, what):
        if finished > COUNT // 2:
            helping.extend(set(children()) - set(before))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        parallel.spread(Slow(EMPLOYER), COUNT, "reading", stop)
    assert helping
    assert children() == before


def test_open_files_are_shared(tmp_path):
    with (tmp_path / "file").open("w+b") as file:
        work, hands = Writing(EMPLOYER, told=tmp_path / "told", file=file.fileno()), set()
        parallel.spread(work, COUNT, "writing", None, lambda piece, hand: hands.add(hand), [file.fileno()])
        assert len(hands) > 1
        assert file.read() == bytes(number % 251 for number in range(COUNT))


def test_helpers_are_sent_neither_patients_nor_anything_but_names_digests_and_rows(tmp_path, monkeypatch):
    monkeypatch.setenv("XRAYTUNE_CACHE", str(tmp_path / "cache"))
    rows, sent, count = ["path,label,patient,group"], [], 40
    for number in range(count):
        write(tmp_path / f"{number:02d}.png", radiograph(number, 16, 16))
        rows.append(f"{number:02d}.png,{'covid' if number % 2 else 'healthy'},Miller{number // 2},hospital{number}")
    (tmp_path / "m.csv").write_text("\n".join(rows))
    spread = parallel.spread

    def noted(work, *arguments, **more):
        sent.append(pickle.dumps(work))
        return spread(work, *arguments, **more)

    monkeypatch.setattr(parallel, "spread", noted)
    data.arrays.pool(data.load(str(tmp_path / "m.csv")), 16)
    assert len(sent) == 2  # reading, then squaring
    for order in sent:
        assert b"00.png" in order
        assert b"Miller" not in order
        assert b"hospital" not in order
        assert len(order) < 2000 + 200 * count


SCRIPT = """
import os, sys
from pathlib import Path
from tests.unit.xraytune.data.decoding.test_parallel import Slow
from xraytune import hardware
from xraytune.data.decoding import parallel
hardware.cores = lambda: 2
hands = set()
def told(done, count, what):
    if done > 0.4 * count:
        Path(sys.argv[1]).write_text(" ".join(map(str, hands)))
parallel.spread(Slow(os.getpid(), 0.05), 2000, "working", told, lambda piece, result: hands.add(result[0]))
"""  # no guard against being run again, as scripts and notebooks have none


def test_helpers_of_a_script_without_a_guard_end_when_it_is_killed(tmp_path):
    script, told = tmp_path / "script.py", tmp_path / "told"
    script.write_text(SCRIPT)
    root = Path(__file__).parents[5]
    employer = subprocess.Popen([sys.executable, script, told], env=os.environ | {"PYTHONPATH": str(root)})
    until = time.monotonic() + 60
    while not (told.exists() and len(told.read_text().split()) > 1):
        assert time.monotonic() < until
        assert employer.poll() is None
        time.sleep(0.02)
    helpers = psutil.Process(employer.pid).children(recursive=True)
    assert helpers
    employer.kill()
    employer.wait()
    gone, alive = psutil.wait_procs(helpers, timeout=5)
    assert gone
    assert not alive

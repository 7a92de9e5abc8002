"""The table of learning curves: collected from `make curves`, kept as docs/evidence/curves.json.gz.

Numbers only: configurations, figures of every epoch, seconds; no images and no predictions.
"""

from __future__ import annotations

import dataclasses
import gzip
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests.evidence import networks
from tests.evidence.curves.design import SetInfo
from tests.evidence.curves.training import MOST_SECONDS, Scope
from xraytune import artifacts
from xraytune.records import Value

FILE = networks.ROOT / "docs" / "evidence" / "curves.json.gz"
PAGE = networks.ROOT / "docs" / "evidence" / "curves.md"
DIGITS = 5
"""Significant ones."""

MOST_BYTES = 1_000_000


@dataclass(frozen=True)
class Course:
    """A training as a simulated search meets it."""

    standing: np.ndarray
    """`(epochs,)`: the robust score of the weights that would be restored after each epoch."""

    score: float
    """At its end: the judge's."""

    start: float
    """Seconds until the first epoch begins: building and tracing."""

    features: float
    """Seconds for frozen features, where no earlier trial made them."""

    epoch: float
    """Seconds of one epoch without views."""

    look: float
    """Seconds of one look at all views."""

    @property
    def epochs(self) -> int:
        """Epochs until it ends by itself."""
        return len(self.standing)


@dataclass(frozen=True)
class Curve:
    """One training of the table."""

    set: str
    number: int
    family: str
    countered: bool
    values: Mapping[str, Value]
    epochs: tuple[Mapping[str, float], ...]
    """One mapping an epoch: `robust`, `loss`, `val_f_beta`, `val_auc`, `steps`, `seconds_train`, …"""

    score: float
    predicted: float
    timing: Mapping[str, float]
    """Of the quiet timing, `step_seconds` and others; empty where it was not timed."""

    def total(self, phase: str) -> float:
        """Processor seconds of a phase, over all epochs."""
        return sum(row.get(f"seconds_{phase}", 0.0) for row in self.epochs)

    @property
    def course(self) -> Course:
        """As a simulated search meets it: an epoch's seconds by the quiet timing, where there is one."""
        count = len(self.epochs)
        rows = [row.get("seconds_train", 0.0) for row in self.epochs]
        usual = float(np.median(rows[1:] or rows))
        tracing = max(rows[0] - usual, 0.0) if count > 1 else 0.0
        if step := self.timing.get("step_seconds"):
            usual = step * self.epochs[0]["steps"]
        other = sum(self.total(phase) for phase in ("validate", "average")) / count
        looks = [row.get("seconds_views", 0.0) for row in self.epochs if row.get("seconds_views", 0.0) > 0]
        return Course(
            standing=np.array([row["robust"] for row in self.epochs]),
            score=self.score,
            start=self.total("build") + tracing,
            features=self.total("prefix"),
            epoch=usual + other,
            look=float(np.median(looks)) if looks else 0.0,
        )


@dataclass(frozen=True)
class Table:
    """All trainings that ended with a score."""

    sets: Mapping[str, SetInfo]
    curves: Sequence[Curve]
    failed: Sequence[str] = ()
    """One line each on trainings that failed."""

    def of(self, name: str) -> list[Curve]:
        """A set's."""
        return [curve for curve in self.curves if curve.set == name]

    def without(self, name: str) -> Table:
        """The table of the other sets."""
        return Table({n: s for n, s in self.sets.items() if n != name}, [c for c in self.curves if c.set != name])

    @property
    def noise(self) -> float:
        """Standard deviation of a reported score around its curve: of the last epochs' second differences."""
        jumps = [np.diff([r["robust"] for r in c.epochs], 2)[len(c.epochs) // 2 :] for c in self.curves]
        joined = np.concatenate([*jumps, np.zeros(0)])
        moved = joined[joined != 0]  # the same weights have the same score: they say nothing of noise
        return float(1.4826 * np.median(np.abs(moved)) / np.sqrt(6)) if len(moved) >= 20 else 0.005


def collect(scope: Scope) -> Table:
    """What `make curves` left."""
    curves, failed, sets = [], [], {}
    for name in scope.places:
        info = scope.info(name)
        if info is None:
            continue
        sets[name] = info
        for path in sorted((scope.folder / name).glob("[0-9][0-9][0-9].json")):
            kept = artifacts.read_json(path)
            if "failed" in kept or not kept["epochs"]:
                failed.append(f"{name} {path.stem} ({kept['family']}): {kept.get('failed', 'no epoch')}")
                continue
            timed = path.with_suffix(".timing.json")
            timing = artifacts.read_json(timed) if timed.exists() else {}
            curves.append(
                Curve(
                    name, kept["number"], kept["family"], kept["countered"], kept["values"], tuple(kept["epochs"]),
                    kept["score"], kept["predicted"], timing if "step_seconds" in timing else {},
                )
            )  # fmt: skip
    return Table(sets, curves, failed)


def unpack(scope: Scope, table: Table) -> None:
    """Put the trainings of a table where `make curves` left them, so that it goes on from them on another machine."""
    for name, info in table.sets.items():
        folder = scope.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "set.json").exists():
            artifacts.write_json(folder / "set.json", info.to_json())
        for curve in table.of(name):
            target = folder / f"{curve.number:03d}.json"
            if not target.exists():
                artifacts.write_json(target, {**dataclasses.asdict(curve), "epochs": list(curve.epochs)})
            if curve.timing and not (timed := target.with_suffix(".timing.json")).exists():
                artifacts.write_json(timed, dict(curve.timing))


def write(table: Table, path: Path) -> None:
    """The table in one file; the same table gives the same bytes."""
    plain = {
        "sets": [info.to_json() for info in table.sets.values()],
        "failed": list(table.failed),
        "curves": [_plain(curve) for curve in table.curves],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with artifacts.atomic_write(path) as temporary:
        temporary.write_bytes(gzip.compress(json.dumps(plain, separators=(",", ":")).encode(), mtime=0))


def _plain(curve: Curve) -> dict[str, Any]:
    """Figures by name, each a list over the epochs."""
    names = sorted({name for row in curve.epochs for name in row})
    figures = {name: [_short(row[name]) if name in row else None for row in curve.epochs] for name in names}
    return {
        "set": curve.set, "number": curve.number, "family": curve.family, "countered": curve.countered,
        "values": dict(curve.values), "score": _short(curve.score), "predicted": _short(curve.predicted),
        "timing": {name: _short(value) for name, value in curve.timing.items()}, "epochs": figures,
    }  # fmt: skip


def _short(value: float) -> float:
    return float(f"{float(value):.{DIGITS}g}")


def read(path: Path = FILE) -> Table:
    """The table that `write` wrote.

    Raises:
        FileNotFoundError: there is none yet.
    """
    plain = json.loads(gzip.decompress(path.read_bytes()))
    sets = {one["name"]: SetInfo.from_json(one) for one in plain["sets"]}
    return Table(sets, [_curve(one) for one in plain["curves"]], plain["failed"])


def _curve(plain: Mapping[str, Any]) -> Curve:
    figures = plain["epochs"]
    rows = [
        {name: figures[name][i] for name in figures if figures[name][i] is not None}
        for i in range(len(figures["epoch"]))
    ]
    return Curve(**{**plain, "epochs": tuple(rows)})


def publish(table: Table) -> None:
    """Write the table and its page.

    Raises:
        ValueError: the table is larger than it may be; nothing is written.
    """
    made = FILE.with_suffix(".new")
    write(table, made)
    if (size := made.stat().st_size) > MOST_BYTES:
        made.unlink()
        raise ValueError(f"the table has {size:,} bytes, more than {MOST_BYTES:,}")
    made.replace(FILE)
    PAGE.write_text(page(table, size), encoding="utf-8")


def page(table: Table, size: int) -> str:
    """How the table was made, and what is in it."""
    lines = [
        "# Learning curves of real trainings", "",
        f"[curves.json.gz](curves.json.gz) ({size / 1000:.0f} kB) has {len(table.curves)} trainings, each to its end "
        "and without pruning. It holds numbers only: no images and no predictions. The simulator (`make evidence "
        "PART=simulate`) and the portfolio (`make evidence PART=portfolio`) read it.", "",
        "    make curves MINUTES=55      # one unit of trainings; repeat it until none is missing",
        "    make curves TIMING=1        # each network alone on a quiet machine: seconds a step",
        "    make curves TABLE=1         # this page and the table", "",
        "| set | training images | trainings | with countermeasures | " + " | ".join(FAMILIES)
        + " | best score | median score | hours of a core |",
        "|---|---|---|---|" + "---|" * (len(FAMILIES) + 3),
    ]  # fmt: skip
    for name, info in table.sets.items():
        curves = table.of(name)
        families = Counter(curve.family for curve in curves)
        scores = [curve.score for curve in curves] or [float("nan")]
        hours = sum(value for c in curves for row in c.epochs for n, value in row.items() if n.startswith("seconds_"))
        cells = [str(families[family]) for family in FAMILIES]
        lines.append(
            f"| {name} | {info.images} | {len(curves)} | {sum(c.countered for c in curves)} | {' | '.join(cells)} "
            f"| {max(scores):.3f} | {float(np.median(scores)):.3f} | {hours / 3600:.1f} |"
        )
    timed = sum(bool(curve.timing) for curve in table.curves)
    lines += ["", *_notes(timed, len(table.curves))]
    if table.failed:
        lines += ["", "Trainings that failed:", "", *(f"- {line}" for line in table.failed)]
    return "\n".join(lines) + "\n"


FAMILIES = ("linear", "dense", "cnn", "vgg_frozen", "vgg_finetuned", "densenet")


def _notes(timed: int, count: int) -> list[str]:
    return [
        "- The configurations are a seeded design over the space that a search of half an hour has on each set "
        "(`tests/evidence/curves/design.py`). Half of them have the countermeasures that the shortcut audit asks for. "
        "Half are cheap and half are dear for their family.",
        "- `chest_xray` is the folder of training images alone. The official test images are not read. `nih` is not "
        "used. `covid19` and the synthetic sets are those of `tests/evidence/sets.py`.",
        "- `robust` of an epoch is the score of the weights that would be restored after it, on all shifted views "
        "that the network's trials have. A search looks at epochs 1, 3, 9, 27 and at the end only, and at fewer "
        "images. What the looks cost stands apart (`seconds_views`).",
        "- Seconds of epochs are processor seconds of one thread. Seconds a step are wall seconds of one thread on a "
        f"quiet machine: {timed} of {count} networks were timed.",
        f"- A training ends after {MOST_SECONDS / 60:.0f} minutes of one core at the latest, and by its own patience.",
    ]

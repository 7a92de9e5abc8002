"""`make bench ONLY=peers`: our search beside KerasTuner's Hyperband and stock Ray Tune on equal terms.

    python -m tests.benchmarks.peers --minutes 55        # one unit: three searches; call it again until none is missing
    python -m tests.benchmarks.peers --rehearsal         # one minute each on a few synthetic images, one seed

All search the same space (our HyperModel) on the same images and two cores. Each search has 15 minutes and a process
of its own, and is stopped when its time is up. All have the robust score as
their objective; one line each shows KerasTuner and Ray Tune with their own validation F2. Every trial is judged by the
same robust score on the same images (`peers_side.PER_CLASS` of each class). A search's score at a time is that of the
trial that the search itself holds for its best.
"""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import numpy as np
import psutil
import typer

from tests.benchmarks import harness, peers_side
from xraytune import artifacts

SIDES = ("ours", "keras_tuner", "ray", "keras_tuner_plain", "ray_plain")
LABELS = {
    "ours": "xraytune", "keras_tuner": "KerasTuner Hyperband", "ray": "Ray Tune, OptunaSearch, ASHA",
    "keras_tuner_plain": "KerasTuner Hyperband, its own validation F2",
    "ray_plain": "Ray Tune, OptunaSearch, ASHA, its own validation F2",
}  # fmt: skip
LEVELS = (0.90, 0.93, 0.95)
MARKS = (2, 5, 10, 15)
PAGE = harness.ROOT / "docs" / "evidence" / "peers.md"
GRACE = 120.0
"""Seconds that ours may take to end by itself after its time."""

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@dataclass(frozen=True)
class Plan:
    """What is run."""

    folder: Path
    data: Path
    minutes: float
    seeds: Sequence[int]

    def result(self, side: str, seed: int) -> Path:
        """Where a search's figures are kept once it has ended."""
        return self.folder / f"{side}-{seed}.json"

    @property
    def missing(self) -> list[tuple[str, int]]:
        """Searches that have not been run, in order: sides take turns."""
        return [(side, seed) for seed in self.seeds for side in SIDES if not self.result(side, seed).exists()]


def full() -> Plan:
    """The benchmark, on the training images of the radiographs.

    Raises:
        UnavailableError: they are not here.
    """
    return Plan(harness.ROOT / "results" / "peers", harness.real_data("chest_xray") / "train", 15.0, (0, 1, 2))


def rehearsal() -> Plan:
    """One minute each on a few synthetic images: shows that everything runs."""
    from tests.evidence.curves.training import TINY

    folder = harness.ROOT / "results" / "peers-rehearsal"
    return Plan(folder, TINY.places["tiny"](folder), 1.0, (0,))


def prepare(plan: Plan) -> None:
    """Decode the images and plan the views once, as a search of ours would; all sides begin with them decoded."""
    from search.driver.options import StudyOptions
    from search.driver.prepare import prepare as prepare_search
    from xraytune.data import cache

    path = plan.folder / peers_side.JOB
    if path.exists():
        return
    plan.folder.mkdir(parents=True, exist_ok=True)
    options = StudyOptions(
        data=str(plan.data), time=60 * plan.minutes, objective="robust", recipes="none", precision="float32",
        weights_dir=Path(os.environ["XRAYTUNE_WEIGHTS"]) if "XRAYTUNE_WEIGHTS" in os.environ else None,
    )  # fmt: skip
    job = prepare_search(options, "peers", cache.folder(), _silent, deterministic=True).make_job(_silent)
    with artifacts.atomic_write(path) as temporary:
        temporary.write_bytes(pickle.dumps(job))


def _silent(_done: int, _total: int, _what: str) -> None:
    """Preparing says nothing."""


def command(plan: Plan, side: str, seed: int, folder: Path, begun: float) -> list[str]:
    """What is run for a side."""
    if side != "ours":
        return [sys.executable, "-m", "tests.benchmarks.peers_side", side, str(seed), str(folder), str(begun)]
    return [
        sys.executable, "-m", "search.run", "--data", str(plan.data), "--time", f"{plan.minutes * 60:.0f}s",
        "--objective", "robust", "--precision", "float32", "--recipes", "none", "--study", "ours", "--seed", str(seed),
        "--results", str(folder),
    ]  # fmt: skip


def search(plan: Plan, side: str, seed: int) -> None:
    """Run one search to its time and keep its figures.

    Raises:
        RuntimeError: it ended with an error, or ours did not end at all; the end of its output is in the message.
    """
    folder = plan.folder / f"{side}-{seed}"
    shutil.rmtree(folder, ignore_errors=True)  # a search that was stopped begins anew
    folder.mkdir(parents=True)
    begun = time.time()
    log = folder / "log.txt"
    with log.open("w", encoding="utf-8") as out:
        running = subprocess.Popen(
            command(plan, side, seed, folder, begun), cwd=harness.ROOT, stdout=out, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
        try:
            memory = _watched(running, 60 * plan.minutes + (GRACE if side == "ours" else 0.0))
            ended = running.poll()
        finally:
            _stop(running)
    if ended != (0 if side == "ours" else None):  # ours ends by itself; a peer runs until it is stopped
        raise RuntimeError(f"{side}, seed {seed}: {log.read_text(encoding='utf-8')[-2000:]}")
    trials = ours(folder, begun) if side == "ours" else told(folder)
    temporary = peers_side.ray_folder(folder)
    figures = {
        "trials": trials,
        "memory": memory,
        "disk": _size(folder) + _size(temporary),
        "machine": harness.machine(),
    }
    shutil.rmtree(temporary, ignore_errors=True)
    artifacts.write_json(plan.result(side, seed), figures)


def _watched(running: subprocess.Popen[bytes], seconds: float) -> float:
    """Wait until a process ends or its time is up; the peak memory of all its processes, MiB."""
    until, peak = time.monotonic() + seconds, 0.0
    process = psutil.Process(running.pid)
    while running.poll() is None and time.monotonic() < until:
        total = 0.0
        try:
            for one in [process, *process.children(recursive=True)]:
                try:
                    total += one.memory_full_info().pss / 2**20
                except (psutil.Error, AttributeError):
                    continue
        except psutil.Error:
            break
        peak = max(peak, total)
        time.sleep(1.0)
    return peak


def _stop(running: subprocess.Popen[bytes]) -> None:
    """End a search's processes, itself and its descendants, and no others."""
    try:
        whole = [psutil.Process(running.pid), *psutil.Process(running.pid).children(recursive=True)]
    except psutil.Error:
        whole = []
    for how in ("terminate", "kill"):
        for one in whole:
            try:
                getattr(one, how)()
            except psutil.Error:
                continue
        _, whole = psutil.wait_procs(whole, timeout=10)
    running.wait()


def _size(folder: Path) -> float:
    """MiB on disk."""
    return sum(f.stat().st_blocks * 512 for f in folder.rglob("*") if f.is_file() and not f.is_symlink()) / 2**20


def told(folder: Path) -> list[dict[str, Any]]:
    """What a peer noted, in time's order."""
    path = folder / "events.jsonl"
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").splitlines()
    return sorted((json.loads(line) for line in lines if line.endswith("}")), key=lambda one: one["seconds"])


def ours(folder: Path, begun: float) -> list[dict[str, Any]]:
    """Our trials that ended, judged by the predictions that they kept."""
    from search.study.view import open_study

    study = open_study("ours", folder)
    trials = []
    for trial in study.trials():
        path = study.predictions(trial.number)
        if trial.value is None or trial.ended is None or not path.exists():
            continue
        with np.load(path) as kept:
            score = judged(kept, study.spec.positive)
        line = {"trial": str(trial.number), "seconds": trial.ended.timestamp() - begun, "seen": trial.value}
        trials.append(line | {"score": score})
    return sorted(trials, key=lambda one: one["seconds"])


def judged(kept: Any, positive: int | None) -> float:
    """The judge's score of a trial's kept predictions: on as many images as the peers are judged on."""
    from xraytune.evaluation import robust_score
    from xraytune.training.inputs import shifted_views

    at = {int(index): i for i, index in enumerate(kept["indices"])}
    labels = kept["labels"][[at[int(index)] for index in kept["view_indices"]]]
    chosen = shifted_views.subset(labels, peers_side.PER_CLASS)
    names = [str(name) for name in kept["view_names"]]
    views = {name: answers[chosen] for name, answers in zip(names, kept["view_probabilities"], strict=True)}
    return float(robust_score.score(labels[chosen], views, positive, beta=peers_side.BETA).value)


def course(trials: Sequence[dict[str, Any]]) -> list[tuple[float, float]]:
    """Seconds and the judge's score of the trial that the search held for its best from then on."""
    found: list[tuple[float, float]] = []
    best = -1.0
    for one in trials:
        if one["seen"] > best:
            best = one["seen"]
            found.append((one["seconds"], one["score"]))
    return found


def at(found: Sequence[tuple[float, float]], seconds: float) -> float:
    """The score after so many seconds; NaN before the first trial."""
    return next((score for then, score in reversed(found) if then <= seconds), float("nan"))


def until(found: Sequence[tuple[float, float]], level: float) -> float:
    """Seconds until the score is first at that level; infinite where it never is."""
    return next((then for then, score in found if score >= level), float("inf"))


def page(plan: Plan) -> str:
    """The comparison of what was run."""
    marks = [mark for mark in MARKS if mark <= plan.minutes] or [plan.minutes]
    head = [f"score at {m:g} min" for m in marks] + [f"min to {level:.2f}" for level in LEVELS]
    head += ["trials an hour", "peak memory, MiB", "disk, MiB"]
    lines = [
        "# Our search beside its peers", "", "    make bench ONLY=peers", "",
        f"{plan.minutes:g} minutes each on the same two cores, the same space (our HyperModel), the same decoded "
        f"images, {len(plan.seeds)} seeds. The score is one judge's: the robust score of the trial that the search "
        f"holds for its best, on {peers_side.PER_CLASS} images of each class under every view. All optimise the "
        "robust score, but the two lines that say otherwise. Medians over seeds, each seed's last score in brackets.",
        "",
        f"| | {' | '.join(head)} |", "|---" * (len(head) + 1) + "|",
    ]  # fmt: skip
    machines = set()
    for side in SIDES:
        done = [artifacts.read_json(p) for seed in plan.seeds if (p := plan.result(side, seed)).exists()]
        if not done:
            continue
        courses = [course(one["trials"]) for one in done]
        machines |= {one["machine"] for one in done}
        last = ", ".join(f"{at(c, 1e9):.3f}" for c in courses)
        cells = [f"{median(at(c, 60 * mark) for c in courses):.3f}" for mark in marks]
        cells[-1] += f" ({last})"
        cells += [_minutes(median(until(c, level) for c in courses)) for level in LEVELS]
        rates = [len({t["trial"] for t in one["trials"]}) * 60 / plan.minutes for one in done]
        cells += [f"{median(rates):.0f}", *(f"{median(one[name] for one in done):.0f}" for name in ("memory", "disk"))]
        lines.append(f"| {LABELS[side]} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", *(f"On {machine}." for machine in sorted(machines))]) + "\n"


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.1f}" if np.isfinite(seconds) else "not reached"


def unit(plan: Plan, minutes: float) -> int:
    """Run what fits into so many minutes (0: everything) and write the page; how many searches are missing."""
    begun = time.monotonic()
    prepare(plan)
    for side, seed in plan.missing:
        needed = 60 * plan.minutes + GRACE
        if minutes and time.monotonic() - begun + needed > 60 * minutes:
            break
        print(f"{LABELS[side]}, seed {seed}: {plan.minutes:g} minutes", flush=True)
        search(plan, side, seed)
    text = page(plan)
    where = PAGE if plan.folder.name == "peers" else plan.folder / "peers.md"
    where.write_text(text, encoding="utf-8")
    print(f"written: {where}")
    return len(plan.missing)


@app.command(help=__doc__)
def main(
    minutes: Annotated[float, typer.Option(min=0, help="Stop after so many minutes; 0: when all is done.")] = 55.0,
    rehearse: Annotated[bool, typer.Option("--rehearsal", help="One minute each on synthetic images.")] = False,
) -> None:
    """Run a unit."""
    try:
        left = unit(rehearsal() if rehearse else full(), minutes)
    except harness.UnavailableError as missing:
        print(f"peers: left out, {missing}.")
        raise typer.Exit(1) from None
    print(f"{left} searches are missing: call it again." if left else "All are done.")


if __name__ == "__main__":
    app()

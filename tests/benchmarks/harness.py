"""What a benchmark is, and how it is measured: ours and a baseline in turn, the median of at least three rounds."""

from __future__ import annotations

import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from xraytune import hardware

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "results" / "bench.jsonl"
NVIDIA = Path("/proc/driver/nvidia/gpus")


class UnavailableError(Exception):
    """What a benchmark needs is not here; the message says what."""


@dataclass(frozen=True)
class Benchmark:
    """Two sides of one comparison."""

    name: str
    """`group.what`, e.g. `data.cold_start`."""

    unit: str
    """Of both numbers: s, images/s, MiB …"""

    better: Literal["higher", "lower"]
    ours: Callable[[], float]
    """Runs our side once and returns its number."""

    baseline: Callable[[], float]
    """Runs what it is compared with once and returns its number."""

    what: str
    """One line: what is measured, against what."""

    rounds: int = 3
    """At least three, but one where a round runs for minutes."""

    target: float | None = None
    """The ratio that is wanted, for the reader; nothing fails by it."""


def measure(benchmark: Benchmark, tell: Callable[[str], None]) -> dict[str, Any]:
    """Run both sides in turn and return the line for `bench.jsonl`; `ratio` above 1 means that ours is better.

    `ratio` is of the medians, `ratios` the smallest and the largest that a single round gives.
    """
    ours, baseline = [], []
    for number in range(benchmark.rounds):
        tell(f"{benchmark.name}: round {number + 1} of {benchmark.rounds}")
        ours.append(benchmark.ours())
        baseline.append(benchmark.baseline())
    mine, theirs = statistics.median(ours), statistics.median(baseline)
    each = [_ratio(benchmark, *numbers) for numbers in zip(ours, baseline, strict=True)]
    return {
        "name": benchmark.name,
        "ours": round(mine, 4),
        "baseline": round(theirs, 4),
        "unit": benchmark.unit,
        "ratio": round(_ratio(benchmark, mine, theirs), 4),
        "ratios": [round(min(each), 4), round(max(each), 4)],
        "better": benchmark.better,
        "machine": machine(),
        "when": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def _ratio(benchmark: Benchmark, ours: float, baseline: float) -> float:
    return baseline / ours if benchmark.better == "lower" else ours / baseline


def machine() -> str:
    """The processor, the cores and GPUs that may be used; how busy the cores were before."""
    model = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    gpus = {0: "", 1: ", 1 GPU"}.get(hardware.gpus(), f", {hardware.gpus()} GPUs")
    gpus += "".join(f", {name}" for name in _gpu_models()) if gpus else ""
    return f"{model}, {cores} cores{gpus}, load {os.getloadavg()[0]:.1f}"


def _gpu_models() -> list[str]:
    """The kinds of NVIDIA GPUs that the driver knows, such as `NVIDIA A100-SXM4-80GB`."""
    found = set()
    for path in NVIDIA.glob("*/information"):
        lines = path.read_text(encoding="utf-8").splitlines()
        found |= {line.partition(":")[2].strip() for line in lines if line.startswith("Model:")}
    return sorted(found)


def append(line: dict[str, Any]) -> None:
    """Add a line to the results."""
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    with RESULTS.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line, ensure_ascii=False) + "\n")


def in_process(code: str, *arguments: str, **environment: str) -> float:
    """Run Python code in a fresh process; the number that it prints last is the result.

    Raises:
        RuntimeError: the process failed; its error output is in the message.
    """
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT,
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"} | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    return float(done.stdout.split()[-1])


def real_data(name: str) -> Path:
    """A folder of the real data.

    Raises:
        UnavailableError: `XRAYTUNE_DATA` does not lead to it.
    """
    folder = Path(os.environ.get("XRAYTUNE_DATA", "")) / name
    if not os.environ.get("XRAYTUNE_DATA") or not folder.is_dir():
        raise UnavailableError(f"needs the real radiographs: set XRAYTUNE_DATA to the folder that holds {name}")
    return folder

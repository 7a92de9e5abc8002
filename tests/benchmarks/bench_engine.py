"""What the engine costs a trial, against stock Ray Tune with `OptunaSearch`."""

from __future__ import annotations

from functools import partial
from typing import Literal

from tests.benchmarks.harness import Benchmark, in_process

SIDE = "import sys; from tests.benchmarks import engine_side; getattr(engine_side, sys.argv[1])(*sys.argv[2:])"


def _benchmark(
    name: str, unit: str, what: str, *arguments: str, target: float | None = None, rounds: int = 3
) -> Benchmark:
    """Both sides of `engine_side`'s function: its name, `ours` or `stock`, what else it takes."""
    function, *others = arguments
    ours, stock = (partial(in_process, SIDE, function, side, *others) for side in ("ours", "stock"))
    better: Literal["higher", "lower"] = "higher" if unit == "trials/s" else "lower"
    return Benchmark(f"engine.{name}", unit, better, ours, stock, what, rounds=rounds, target=target)


def benchmarks() -> list[Benchmark]:
    """Overhead a trial at three sizes of the study, what a suggestion costs, and trivial trials a second."""
    overhead = [
        _benchmark(
            f"overhead_{trials}",
            "s/trial",
            f"50 trivial trials in a study of {trials:,}: wall seconds a trial without the sampler's own, against "
            "OptunaSearch with the same sampler (tpe)",
            "overhead",
            str(trials),
            target=2.0 if trials >= 10_000 else 1.0,
            rounds=5,  # whether stock saves its searcher once or twice in a round is chance
        )
        for trials in (100, 1_000, 10_000)
    ]
    suggestion = [
        _benchmark(
            f"suggestion_{trials}",
            "s",
            f"one suggestion in a study of {trials:,}, by the default sampler, against TPESampler()",
            "suggestion",
            str(trials),
        )
        for trials in (1_000, 10_000)
    ]
    what = "200 trivial trials on two workers, random suggestions, against OptunaSearch"
    return [*overhead, *suggestion, _benchmark("trials_per_second", "trials/s", what, "rate", target=1.0)]

"""What the engine costs a trial, against stock Ray Tune with `OptunaSearch`."""

from __future__ import annotations

from functools import partial

from tests.benchmarks.harness import Benchmark, in_process

SIDE = "import sys; from tests.benchmarks import engine_side; getattr(engine_side, sys.argv[1])(*sys.argv[2:])"


def _benchmark(
    name: str, unit: str, what: str, *arguments: str, target: float | None = None, rounds: int = 3
) -> Benchmark:
    """Both sides of `engine_side`'s function: its name, `ours` or `stock`, what else it takes."""
    function, *others = arguments
    ours, stock = (partial(in_process, SIDE, function, side, *others) for side in ("ours", "stock"))
    return Benchmark(f"engine.{name}", unit, "lower", ours, stock, what, rounds=rounds, target=target)


def benchmarks() -> list[Benchmark]:
    """Overhead a trial at two sizes of the study, and what a suggestion costs."""
    overhead = [
        _benchmark(
            f"overhead_{trials}",
            "s/trial",
            f"50 trivial trials in a study of {trials:,}: wall seconds per trial without the sampler's, against "
            "OptunaSearch with the same sampler (tpe)",
            "overhead",
            str(trials),
            target=1.0,
            rounds=5,  # whether stock saves its searcher once or twice in a round is chance
        )
        for trials in (100, 1_000)
    ]
    what = "one suggestion in a study of 1,000, by the default sampler, against TPESampler()"
    return [*overhead, _benchmark("suggestion_1000", "s", what, "suggestion", "1000")]

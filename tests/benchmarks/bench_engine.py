"""What the engine costs a trial, against stock Ray Tune with `OptunaSearch`."""

from __future__ import annotations

from functools import partial

from tests.benchmarks.harness import Benchmark, in_process

SIDE = "import sys; from tests.benchmarks import engine_side; getattr(engine_side, sys.argv[1])(*sys.argv[2:])"


def benchmarks() -> list[Benchmark]:
    """Overhead a trial at three sizes of the study, what a suggestion costs, and trivial trials a second."""
    found = [
        Benchmark(
            f"engine.overhead_{trials}",
            "s/trial",
            "lower",
            partial(in_process, SIDE, "overhead", "ours", str(trials)),
            partial(in_process, SIDE, "overhead", "stock", str(trials)),
            f"50 trivial trials in a study of {trials:,}: wall seconds a trial without the sampler's own, against "
            "OptunaSearch with the same sampler",
            target=2.0 if trials >= 10_000 else 1.0,
        )
        for trials in (100, 1_000, 10_000)
    ]
    found += [
        Benchmark(
            f"engine.suggestion_{trials}",
            "s",
            "lower",
            partial(in_process, SIDE, "suggestion", "ours", str(trials)),
            partial(in_process, SIDE, "suggestion", "stock", str(trials)),
            f"one suggestion in a study of {trials:,}, by the default sampler, against TPESampler()",
        )
        for trials in (1_000, 10_000)
    ]
    return [
        *found,
        Benchmark(
            "engine.trials_per_second",
            "trials/s",
            "higher",
            partial(in_process, SIDE, "rate", "ours"),
            partial(in_process, SIDE, "rate", "stock"),
            "200 trivial trials on two workers, random suggestions, against OptunaSearch",
            target=1.0,
        ),
    ]

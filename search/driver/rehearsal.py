"""What `--dry-run` prints: first trials, how many may follow, memory and disk."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import TYPE_CHECKING

import psutil

from search.cli import console, quantities, tables
from search.cli.tables import Column
from search.driver.prepared import Prepared
from search.tuner.job import Job, KerasJob
from search.tuner.resources import WORKER_MEMORY, Resources
from xraytune.records import TrialConfig

if TYPE_CHECKING:
    from search.study.study import Asked
    from xraytune.models.cost import Machine

ASKED = 24
"""Configurations whose times are averaged."""

SHOWN = 6
"""Of them listed, or as many as the search begins with by itself."""

UNPRUNED = 2.0
"""How many times as long as the average a trial takes that is not stopped early (`spaces.narrowing`)."""


@dataclass(frozen=True)
class Bounds:
    """When the search would be over."""

    trials: int | None
    seconds: float | None
    """What preparation has left of the time budget; None without one."""
    max_epochs: int = 0
    """0 where each configuration says."""


def show(
    asked: Sequence[Asked], origins: Mapping[int, str], bounds: Bounds, plan: Resources, job: Job, prepared: Prepared
) -> None:
    """Print it.

    Args:
        asked: the first configurations, in the order in which they would be tried.
        origins: by number why one is tried; empty where the sampler suggested it.
        bounds: of the search.
        plan: what trials would be given.
        job: that they would do.
        prepared: the study.
    """
    seconds = [trial_seconds(one.config, job, bounds.max_epochs, plan) for one in asked]
    given = sum(1 for one in asked if origins.get(one.number))
    listed = list(asked)[: min(max(SHOWN, given), bounds.trials or ASKED)]
    columns = [
        Column("trial", [str(one.number) for one in listed]),
        Column("family", [one.config.family for one in listed], words=True),
        Column("from", [origins.get(one.number) or "sampler" for one in listed], words=True),
        Column("estimate", [quantities.clock(s) if s is not None else "unknown" for s in seconds[: len(listed)]]),
    ]
    notes = {i: (_values(one.config), "dim") for i, one in enumerate(listed)}
    tables.show(console.out, columns, title="First trials", notes=notes)
    for line in (*_expected(bounds, seconds, plan), *_needed(plan, prepared)):
        console.out.print(line, soft_wrap=False)
    console.out.print("Dry run: no trial was started and no study was made. Without --dry-run the search begins.")


def trial_seconds(config: TrialConfig, job: Job, max_epochs: int, plan: Resources) -> float | None:
    """How long a configuration trains to its last epoch, within a factor of two; None for a space of other networks.

    Args:
        config: the configuration.
        job: whose images it trains on.
        max_epochs: the most epochs it may have, 0 where it says itself.
        plan: the threads that it has.
    """
    from xraytune.models import cost as costs
    from xraytune.training.inputs.batches import epoch_size
    from xraytune.training.optimization.settings import TrainingSettings

    if not isinstance(job, KerasJob):
        return None
    try:
        each = costs.cost(config.values)
    except (KeyError, ValueError):
        return None
    settings = TrainingSettings.of(config.values)
    machine = _machine(plan)
    epochs = min(settings.epochs, max_epochs or settings.epochs)
    images = epoch_size(job.context.images, settings.epoch_images)
    validation = each.answer_seconds(machine, len(job.data.validation)) - each.prefix_seconds(
        machine, len(job.data.validation)
    )
    once = each.trace + each.prefix_seconds(machine, job.context.images) * max(settings.copies, 1)
    return once + epochs * (each.epoch_seconds(machine, images, settings.batch_size) + validation)


def expected_trials(seconds: float, each: float, at_once: int, most: int | None) -> int:
    """How many trials end within the time, most of them stopped early.

    Args:
        seconds: that are left.
        each: of a trial that is not stopped early.
        at_once: trials at a time.
        most: the maximum number of trials.
    """
    fitting = math.floor(max(seconds, 0.0) * max(at_once, 1) / max(each / UNPRUNED, 1.0))
    return fitting if most is None else min(fitting, most)


def _machine(plan: Resources) -> Machine:
    from xraytune.models.cost import this_machine

    one = this_machine()
    return one if one.accelerator else dataclasses.replace(one, rate=one.rate * plan.threads)


def _expected(bounds: Bounds, seconds: Sequence[float | None], plan: Resources) -> list[str]:
    known = [s for s in seconds if s is not None]
    at_once = f"{plan.concurrency or 'as many as fit'} at once"
    most = "" if bounds.trials is None else f", at most {bounds.trials}"
    if bounds.seconds is None:
        takes = (bounds.trials or 0) * mean(known) / UNPRUNED / max(plan.concurrency, 1) if known else None
        about = f"; about {quantities.clock(takes)}, within a factor of two" if takes else ""
        return [f"Trials: {bounds.trials}, {at_once}, without a time budget{about}."]
    left = quantities.clock(bounds.seconds)
    if not known:
        return [f"Trials: as many as end in the {left} after preparation{most}, {at_once}."]
    count = expected_trials(bounds.seconds, mean(known), plan.concurrency, bounds.trials)
    return [
        f"Trials: about {count} in the {left} after preparation{most}, {at_once}. A trial that is not stopped "
        f"early takes {quantities.clock(mean(known))} on average. Estimates are right within a factor of two."
    ]


def _needed(plan: Resources, prepared: Prepared) -> list[str]:
    free = psutil.virtual_memory().available
    lines = []
    if plan.concurrency:
        lines.append(
            f"Memory: about {plan.concurrency * WORKER_MEMORY / 1e9:.1f} GB for the workers; "
            f"{free / 1e9:.1f} GB are available."
        )
    if prepared.caches:
        lines.append(f"Disk: {prepared.caches}.")
    return lines


def _values(config: TrialConfig) -> str:
    return ", ".join(f"{name} {_word(value)}" for name, value in config.values.items() if name != "family")


def _word(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:.3g}" if isinstance(value, float) else str(value)

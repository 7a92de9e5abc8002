"""How fast trials train here, and what of a space is too slow for the time that is left.

A trial's epochs are compared with what `xraytune.models.cost` counts for them. What a family takes is the median of its
epochs, so that one noisy timing excludes nothing. Nothing is excluded before a trial was timed; a resumed search,
which may run elsewhere, measures anew.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from statistics import median
from typing import TYPE_CHECKING

from search.tuner.job import KerasJob
from xraytune.records import EpochReport, StudySpec, TrialConfig, Value

if TYPE_CHECKING:
    from search.tuner.job import Job
    from search.tuner.resources import Resources
    from spaces import Space
    from spaces.space import TimeLeft

LEAST = 3
"""Timed epochs from which on a family is judged by its own; with fewer, by those of all families."""


class Pace:
    """Compares trials with what was counted.

    Args:
        space: what is searched.
        left: the search, at its begin.
        images: training images.
        threads: of each trial.
    """

    def __init__(self, space: Space, left: TimeLeft, images: int, threads: int) -> None:
        from spaces.narrowing.narrow import offered_choices

        self._space, self._search, self._images, self._threads = space, left, images, threads
        self._offered = offered_choices(space)
        self._slower: dict[str, list[float]] = {}

    def learn(self, config: TrialConfig, report: EpochReport) -> None:
        """Compare an epoch that a trial reported; its first says nothing, since the network is traced in it."""
        from xraytune.models.cost import cost
        from xraytune.training.inputs.batches import epoch_size
        from xraytune.training.optimization.settings import TrainingSettings

        seconds = report.seconds.get("train", 0.0)
        try:
            each = cost(config.values)
        except (KeyError, ValueError):  # a network of the user's own
            return
        if report.epoch < 2 or not seconds:
            return
        settings, machine = TrainingSettings.of(config.values), self._search.machine
        threads = 1 if machine.accelerator else self._threads
        one = dataclasses.replace(machine, rate=machine.rate * threads, workers=1)
        images = epoch_size(self._images, settings.epoch_images)
        counted = each.epoch_seconds(one, images, settings.batch_size)
        self._slower.setdefault(config.family, []).append(seconds / counted)

    def review(
        self, before: Mapping[str, Sequence[Value]], seconds: float | None
    ) -> tuple[Mapping[str, Sequence[Value]], list[str]]:
        """What is not too slow for the time that is left, and a line on each change.

        Args:
            before: what was left of each bounded parameter's values until now.
            seconds: until the search's end; None where it has none.

        Returns:
            Of each parameter that has values too slow for that time, the others.
        """
        if seconds is None or not self._slower:
            return before, []
        usual = median([ratio for ratios in self._slower.values() for ratio in ratios])
        own = {family: median(ratios) for family, ratios in self._slower.items() if len(ratios) >= LEAST}
        slower = {family: own.get(family, usual) for family in self._space.families}
        left = dataclasses.replace(self._search, seconds=max(seconds, 1.0), slower=slower)
        now = self._space.affordable(left)
        lines = []
        for name in dict.fromkeys((*before, *now)):
            had, has = (one.get(name, self._offered[name]) for one in (before, now))
            if out := [str(value) for value in had if value not in has]:
                lines.append(f"{name} {', '.join(out)}: too slow for the remaining time, no longer proposed")
            if back := [str(value) for value in has if value not in had]:
                lines.append(f"{name} {', '.join(back)}: fast enough for the remaining time, proposed again")
        return now, lines


def of(job: Job, spec: StudySpec, plan: Resources, trials: int | None) -> Pace | None:
    """The pace of a search of images; None for a space without images, and for a plain KerasTuner model."""
    import spaces
    from spaces.space import Space, TimeLeft
    from xraytune.models.cost import this_machine

    if not isinstance(job, KerasJob) or not isinstance(space := spaces.get(job.space, job.context), Space):
        return None
    fixed = {name: str(value) for name, value in spec.fixed.items()}
    left = TimeLeft(machine=this_machine(), trials=trials, fixed=fixed)
    return Pace(space, left, job.context.images, plan.threads)

"""What a worker does with a trial's configuration: the seam between the search and what is searched.

The engine drives any `RunningTrial` epoch by epoch and knows nothing of images. `KerasJob` trains networks
(`xraytune.training.trainer`); a space may bring its own evaluation with a method `job()` that returns a `Job`, as the
synthetic spaces do that the engine is measured with (`search.testing.synthetic_space`).
"""

from __future__ import annotations

import dataclasses
import functools
import gc
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from xraytune.records import EpochReport, TrialConfig, TrialResult

if TYPE_CHECKING:
    import numpy as np

    from spaces import SpaceContext
    from xraytune.training.inputs.trial_data import TrialData


class RunningTrial(Protocol):
    """One configuration being evaluated. `step` and `finish` raise `TrialError` where the trial is at fault."""

    def step(self) -> EpochReport:
        """One epoch more."""
        ...

    def save(self, folder: Path) -> None:
        """Write what `restore` needs to go on after the last epoch."""
        ...

    def restore(self, folder: Path) -> None:
        """Go on after the epoch that `save` saw."""
        ...

    def finish(self) -> TrialResult:
        """End here, with the best weights so far."""
        ...

    def predictions(self) -> Mapping[str, np.ndarray]:
        """Arrays kept with the trial: `probabilities`, `labels`, `indices` of its validation images; may be empty.

        And `view_names` `(v,)`, `view_probabilities` `(v, m, k)` of the images at `view_indices` `(m,)`.
        """
        ...


class Job(Protocol):
    """Makes running trials on a worker; travels there once, pickled."""

    def start(self, config: TrialConfig, deadline: float | None) -> RunningTrial:
        """Begin one configuration; `deadline` is a `time.monotonic()` value of this process."""
        ...

    def pools(self) -> Mapping[int, Path | np.ndarray]:
        """Large arrays that should travel once a node rather than with the job."""
        ...

    def with_pools(self, pools: Mapping[int, Any]) -> Job:
        """The same job with its large arrays replaced."""
        ...


class _KerasTrial:
    """`xraytune.training.trainer.Trainer` as a running trial."""

    def __init__(self, training: Any, data: TrialData, timed: bool) -> None:
        self._training = training
        self._data = data
        self.step = training.step
        self.save = training.save
        self.restore = training.restore
        self.finish = functools.partial(training.finish, timed=timed)

    def predictions(self) -> Mapping[str, np.ndarray]:
        import numpy as np

        indices = np.asarray(self._data.validation)
        return {
            "probabilities": self._training.validation_predictions(),
            "labels": np.asarray(self._data.labels)[indices],
            "indices": indices,
            "view_names": np.array(list(self._training.view_predictions)),
            "view_indices": indices[self._training.view_positions],
            "view_probabilities": np.array(list(self._training.view_predictions.values()), np.float32),
        }


@dataclass(frozen=True)
class KerasJob:
    """Train configurations of a named space on prepared data."""

    first: ClassVar[bool] = True
    """Whether this process has not trained yet (set on the class by the first trial)."""

    space: str
    context: SpaceContext
    data: TrialData
    objective: str
    beta: float
    max_epochs: int
    timed: bool = False
    """Whether the trained network's prediction is timed: an objective of the search."""
    folds: Mapping[str, TrialData] = field(default_factory=dict)
    """The same data by the site that is held out, where validation is by site; empty where it is by patient."""

    def start(self, config: TrialConfig, deadline: float | None) -> RunningTrial:
        """Build the network of `config`; Keras is cleared of the last one by `Training`."""
        import spaces
        from xraytune.training.machine import configure_threads
        from xraytune.training.trainer import Trainer

        if KerasJob.first:
            configure_threads()
            KerasJob.first = False
        data = self.folds[config.site] if config.site else self.data
        gc.collect()  # the last trial's network, before this one's is built
        training = Trainer(
            spaces.get(self.space, self.context),
            config,
            data,
            objective=self.objective,
            beta=self.beta,
            max_epochs=self.max_epochs,
            deadline=deadline,
        )
        return _KerasTrial(training, data, self.timed)

    def pools(self) -> Mapping[int, Path | np.ndarray]:
        """The decoded images by size."""
        pools: Mapping[int, Path | np.ndarray] = self.data.pools
        return pools

    def with_pools(self, pools: Mapping[int, Any]) -> KerasJob:
        """The same with other pools."""
        folds = {site: dataclasses.replace(fold, pools=dict(pools)) for site, fold in self.folds.items()}
        return dataclasses.replace(self, data=dataclasses.replace(self.data, pools=dict(pools)), folds=folds)

"""Trials that are arithmetic: learning curves with known answers, slowed down and broken at will.

No Keras here: a worker that runs these starts in a second. `search.testing.synthetic_space` has the spaces they belong
to.
"""

from __future__ import annotations

import json
import math
import os
import platform
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from xraytune.errors import TrialError, WeightsError
from xraytune.records import EpochReport, FailureCause, TrialConfig, TrialResult

EPOCHS = 9
"""Epochs of a synthetic trial: rungs at 1, 3 and 9."""


class SyntheticTrial:
    """A learning curve that rises to `target` and can be saved, restored, slowed down and broken.

    Args:
        target: the value after infinitely many epochs.
        seed: of the noise on the curve.
        epochs: epochs until it ends by itself.
        seconds: wall time of an epoch.
        fault: what goes wrong in epoch `fault_epoch`: "" nothing, `nan`, `error`, `hang`, `memory`, `kill` (once).
        parameters: what a network's number of parameters would be.
        noted: whether each epoch is noted in the worker's log as it begins.
    """

    def __init__(
        self,
        target: float,
        seed: int,
        epochs: int = EPOCHS,
        seconds: float = 0.0,
        fault: str = "",
        fault_epoch: int = 2,
        parameters: int = 0,
        noted: bool = False,
    ) -> None:
        self.target, self.seed, self.epochs, self.seconds = target, seed, epochs, seconds
        self.fault, self.fault_epoch, self.parameters, self.noted = fault, fault_epoch, parameters, noted
        self.curve: list[float] = []
        self.took = 0.0

    def step(self) -> EpochReport:
        """One epoch: closer to the target, with a little noise."""
        epoch = len(self.curve) + 1
        if self.noted:
            print(f"seed {self.seed}: epoch {epoch}", flush=True)
        begun = time.monotonic()
        time.sleep(self.seconds)
        if self.fault and epoch == self.fault_epoch:
            self._break()
        noise = 0.002 * np.random.default_rng((self.seed, epoch)).standard_normal()
        value = self.target * (1 - math.exp(-epoch)) + noise
        self.curve.append(value)
        self.took += time.monotonic() - begun
        return EpochReport(
            epoch=epoch,
            value=value,
            metrics={"f_beta": value},
            seconds={"train": time.monotonic() - begun},
            best_value=max(self.curve),
            done=epoch >= self.epochs,
        )

    def _break(self) -> None:
        if self.fault == "nan":
            raise TrialError(FailureCause.NAN, "the loss is not a number")
        if self.fault == "error":
            raise RuntimeError("a synthetic mistake")
        if self.fault == "fatal":
            raise WeightsError("what every trial needs is gone")
        if self.fault == "hang":
            time.sleep(3600)
        if self.fault == "memory":
            kept = []
            while True:
                kept.append(np.ones(2**24))
        if self.fault == "kill":
            os.kill(os.getpid(), 9)

    def save(self, folder: Path) -> None:
        """The curve so far."""
        (folder / "curve.json").write_text(json.dumps({"curve": self.curve, "took": self.took}))

    def restore(self, folder: Path) -> None:
        """Go on after the saved epoch."""
        kept = json.loads((folder / "curve.json").read_text())
        self.curve, self.took = kept["curve"], kept["took"]

    def finish(self) -> TrialResult:
        """The best epoch so far."""
        best = int(np.argmax(self.curve)) + 1
        return TrialResult(
            value=self.curve[best - 1],
            best_epoch=best,
            epochs=len(self.curve),
            metrics={"f_beta": self.curve[best - 1]},
            curve=tuple({"epoch": float(i + 1), "value": v} for i, v in enumerate(self.curve)),
            seconds={"train": self.took},
            parameters=self.parameters,
            peak_memory_mb=0.0,
            versions={"python": platform.python_version()},
            device=f"gpu {seen}" if (seen := os.environ.get("CUDA_VISIBLE_DEVICES", "-1")) not in {"", "-1"} else "cpu",
            host=socket.gethostname(),
        )

    def predictions(self) -> Mapping[str, np.ndarray]:
        """None: there are no images."""
        return {}


BRANCHES: Mapping[str, tuple[int, float]] = {
    "narrow": (2, 0.90),
    "wide": (8, 0.94),
    "ridge": (4, 0.92),
    "steps": (3, 0.88),
    "valley": (6, 0.96),
}
"""Five branches: the parameters each has beside its own learning rate, and the best value it can reach. The best branch
is neither the smallest nor the easiest, as it is with architectures."""


def branch_value(values: Mapping[str, Any], seed: int) -> float:
    """The objective of a configuration, at most the branch's best."""
    family = str(values["family"])
    size, best = BRANCHES[family]
    optimum = np.random.default_rng((seed, list(BRANCHES).index(family))).random(size + 2)
    rate = (math.log10(float(values[f"{family}/rate"])) + 5) / 4
    terms = [rate - optimum[0], float(values["shared"]) - optimum[1]]
    wrong = 0
    for i in range(size):
        if i % 3 == 2:
            wrong += values[f"{family}/kind_{i}"] != "abcd"[int(optimum[i + 2] * 4)]
        else:
            terms.append(float(values[f"{family}/x_{i}"]) - optimum[i + 2])
    x = np.array(terms)
    if family == "ridge":  # only the sum and the first matter
        loss = abs(x.sum()) / 2 + abs(x[0]) / 2
    elif family == "steps":
        loss = float(np.floor(np.abs(x) * 4).sum()) / 8
    else:
        loss = float(np.sqrt((x**2).mean())) * (2.0 if family == "narrow" else 1.0)
    return float(best - 0.35 * min(1.0, loss) - 0.04 * wrong)


@dataclass(frozen=True)
class SyntheticJob:
    """Evaluates configurations of `search.testing.synthetic_space`'s spaces (a `search.tuner.job.Job`).

    Args:
        seed: of the problem.
        seconds: wall time of an epoch.
        epochs: epochs of a trial.
        faulty: whether environment variables say what goes wrong: `XRAYTUNE_FAULT=nan|error|fatal|hang|memory|kill`
            breaks a share of the trials (`XRAYTUNE_FAULT_EVERY`, one in so many, default all), and
            `XRAYTUNE_EPOCH_SECONDS` is an epoch's wall time; every epoch is noted in the worker's log.
    """

    seed: int = 0
    seconds: float = 0.0
    epochs: int = EPOCHS
    faulty: bool = False

    def start(self, config: TrialConfig, deadline: float | None) -> SyntheticTrial:
        """The running trial of a configuration, perhaps one that breaks."""
        value = branch_value(config.values, self.seed)
        size = BRANCHES[str(config.values["family"])][0]
        if not self.faulty:
            return SyntheticTrial(value, config.seed, self.epochs, self.seconds, parameters=size)
        every = int(os.environ.get("XRAYTUNE_FAULT_EVERY", "1"))
        fault = os.environ.get("XRAYTUNE_FAULT", "") if config.seed % every == 0 else ""
        seconds = float(os.environ.get("XRAYTUNE_EPOCH_SECONDS", "0.2"))
        return SyntheticTrial(value, config.seed, 4, seconds, fault, parameters=size, noted=True)

    def pools(self) -> Mapping[int, Path | np.ndarray]:
        """None: there are no images."""
        return {}

    def with_pools(self, pools: Mapping[int, Any]) -> SyntheticJob:
        """Itself."""
        return self

"""Which sampler finds more in spaces with branches, after how many trials: regret over many drawn problems.

    python -m tests.benchmarks.bench_sampler                       # 30 seeds, 80 trials, every sampler
    python -m tests.benchmarks.bench_sampler --seeds 10 --samplers bo,stock

Three problems, each drawn anew by its seed: five branches of different size and shape whose optima, and which of the
branches is the best, the seed decides. `own`: nearly every parameter is a branch's own. `shared`: seven parameters are
shared by all, as learning rate and batch size are, with an optimum that differs a little from branch to branch.
`chest`: the parameters of real searches, of which the other two have neither the number nor the ordered choices. What a
trial reports has noise (standard deviation 0.01). Regret: the best value there is less the true value of the trial with
the best report. Every sampler begins with one trial of each branch, as a search does; all get the same noise.

Runs are kept in a file, one line each; what is there is not run again.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras_tuner
import numpy as np
import optuna

from search.hyperparameters.parameter import parameters
from search.hyperparameters.suggestion import SuggestedHyperParameters
from search.samplers import factory
from search.testing.synthetic_space import Branches
from search.testing.synthetic_trial import BRANCHES, branch_value
from spaces.chest_xray import ChestXRay
from spaces.context import SpaceContext
from tests.benchmarks.harness import ROOT, Benchmark
from xraytune.models.weight_files import DENSENET_BLOCKS, VGG_CONVOLUTIONS

NOISE = 0.01
SHOWN = (20, 40, 60, 80)
"""Trials after which regret is looked at."""
FAMILIES = tuple(BRANCHES)
BEST = max(top for _, top in BRANCHES.values())


class Own(Branches):
    """`search.testing.synthetic_space:Branches`, the branches' best values dealt out by the seed."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        tops = np.random.default_rng((seed, 77)).permutation([top for _, top in BRANCHES.values()])
        self.tops = dict(zip(FAMILIES, tops, strict=True))

    def value(self, values: Mapping[str, Any]) -> float:
        family = str(values["family"])
        return branch_value(values, self.seed) - BRANCHES[family][1] + float(self.tops[family])


class Shared(Own):
    """Four numbers and three choices for all branches, a few parameters of their own."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        rng = np.random.default_rng((seed, 78))
        self.optimum, self.kinds = rng.random(4), rng.integers(0, 3, 3)
        self.shift = {f: 0.15 * rng.standard_normal(4) for f in FAMILIES}
        self.own = {f: rng.random(BRANCHES[f][0]) for f in FAMILIES}
        self.steep = {f: rng.uniform(0.2, 0.5) for f in FAMILIES}

    def declare_hyperparameters(self, hp: keras_tuner.HyperParameters) -> None:
        hp.Choice("family", list(FAMILIES))
        for family, (size, _) in BRANCHES.items():
            with hp.conditional_scope("family", [family]):
                for i in range(size):
                    if i % 3 == 2:
                        hp.Choice(f"{family}/kind_{i}", ["a", "b", "c", "d"])
                    else:
                        hp.Float(f"{family}/x_{i}", 0.0, 1.0)
        for i in range(4):
            hp.Float(f"shared_{i}", 0.0, 1.0)
        for i in range(3):
            hp.Choice(f"kind_{i}", ["a", "b", "c"])

    def value(self, values: Mapping[str, Any]) -> float:
        family = str(values["family"])
        optimum = np.clip(self.optimum + self.shift[family], 0, 1)
        off = [float(values[f"shared_{i}"]) - optimum[i] for i in range(4)]
        wrong = sum("abc".index(values[f"kind_{i}"]) != self.kinds[i] for i in range(3))
        for i, best in enumerate(self.own[family]):
            if i % 3 == 2:
                wrong += "abcd".index(values[f"{family}/kind_{i}"]) != int(best * 4)
            else:
                off.append(float(values[f"{family}/x_{i}"]) - best)
        loss = self.steep[family] * math.sqrt(np.mean(np.square(off))) + 0.015 * wrong
        return float(self.tops[family]) - loss


class Chest(Own):
    """The space of real searches, `chest_xray`: mostly ordered choices, half of them shared, a branch within a branch.

    What each parameter costs where it is wrong is drawn from an exponential distribution, for most parameters matter
    little and a few much; a branch's weights and optima differ a little from what all share; two pairs of parameters
    interact; a learning rate too high costs three times as much as one too low.
    """

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        weights = dict.fromkeys((*VGG_CONVOLUTIONS, *DENSENET_BLOCKS), "")
        self.space = ChestXRay(SpaceContext(weights=weights))
        rng = np.random.default_rng((seed, 79))
        self.tops = dict(zip(self.space.families, self.tops.values(), strict=True))
        self.parameters = {p.declared: p for p in parameters(self.space.declare_hyperparameters) if p.count != 1}
        names = [name for name in self.parameters if name != "family"]
        size, families = len(names), len(self.space.families)
        optima = rng.random(size) + 0.1 * rng.standard_normal((families, size))
        costs = rng.exponential(1.0, size) * np.exp(0.3 * rng.standard_normal((families, size)))
        levels = rng.random((families, size, 8))
        self.optimum = dict(zip(self.space.families, np.clip(optima, 0.0, 1.0 - 1e-9), strict=True))
        self.cost = dict(zip(self.space.families, costs, strict=True))
        self.level = dict(zip(self.space.families, levels, strict=True))
        self.pairs = rng.permutation(size)[:4].reshape(2, 2)
        self.names = names

    def declare_hyperparameters(self, hp: keras_tuner.HyperParameters) -> None:
        self.space.declare_hyperparameters(hp)

    def value(self, values: Mapping[str, Any]) -> float:
        family = str(values["family"])
        wrong, cost = np.full(len(self.names), np.nan), self.cost[family]
        for i, name in enumerate(self.names):
            if name not in values:
                continue
            parameter, best = self.parameters[name], self.optimum[family][i]
            share = np.array([parameter.share(values[name]), best])
            if parameter.choices and not parameter.ordered:
                at, optimum = parameter.place(share)
                wrong[i] = 0.0 if at == optimum else self.level[family][i, at]
            else:
                at, optimum = parameter.place(share)
                wrong[i] = abs(at - optimum) * (3.0 if name == "learning_rate" and at > optimum else 1.0)
        active = np.isfinite(wrong)
        loss = float(wrong[active] @ cost[active])
        for i, j in self.pairs:
            if active[i] and active[j]:
                loss += 2 * float(wrong[i] * wrong[j])
        return float(self.tops[family]) - 0.5 * loss / float(cost[active].sum())


PROBLEMS: Mapping[str, type[Own]] = {"own": Own, "shared": Shared, "chest": Chest}


def _ours(name: str) -> Callable[[int, Own], optuna.samplers.BaseSampler]:
    return lambda seed, space: factory.make_sampler(name, seed, declaration=space.declare_hyperparameters)


SAMPLERS: Mapping[str, Callable[[int, Own], optuna.samplers.BaseSampler]] = {
    "bo": _ours("bo"),
    "tpe": _ours("tpe"),
    "stock": lambda seed, _: optuna.samplers.TPESampler(seed=seed, warn_independent_sampling=False),
    "random": _ours("random"),
}
"""`stock` is Optuna's `TPESampler()` as it comes; the others are ours by their `--sampler` names."""


def regrets(problem: str, sampler: str, seed: int, trials: int) -> list[float]:
    """Regret after each trial of one search."""
    space, rng = PROBLEMS[problem](seed), np.random.default_rng((seed, 99))
    study = optuna.create_study(direction="maximize", sampler=SAMPLERS[sampler](seed, space))
    for family in space.tops:
        study.enqueue_trial({"family": family})
    true: list[float] = []
    reported: list[float] = []
    for _ in range(trials):
        trial = study.ask()
        hp = SuggestedHyperParameters(trial)
        space.declare_hyperparameters(hp)
        true.append(space.value(hp.values))
        reported.append(true[-1] + NOISE * rng.standard_normal())
        study.tell(trial, reported[-1])
    return [BEST - true[int(np.argmax(reported[: n + 1]))] for n in range(trials)]


def benchmarks() -> list[Benchmark]:
    """The regret of `bo` after 60 trials against Optuna's own; three seeds a round, of both problems."""

    def side(sampler: str) -> Callable[[], float]:
        seeds = itertools.count(1000, 3)
        return lambda: _mean(sampler, range(first := next(seeds), first + 3))

    return [
        Benchmark(
            "sampler.regret_60",
            "regret",
            "lower",
            side("bo"),
            side("stock"),
            "mean regret after 60 trials in conditional spaces, --sampler bo against TPESampler()",
            target=1.0,
        )
    ]


def _mean(sampler: str, seeds: range) -> float:
    return float(np.mean([regrets(problem, sampler, seed, 60)[-1] for problem in PROBLEMS for seed in seeds]))


def interval(values: np.ndarray) -> tuple[float, float]:
    """95 % bootstrap interval of a mean over seeds."""
    rng = np.random.default_rng(0)
    means = values[rng.integers(0, len(values), (10_000, len(values)))].mean(axis=1)
    return float(np.quantile(means, 0.025)), float(np.quantile(means, 0.975))


def show(found: Mapping[tuple[str, str, int], list[float]], names: list[str], seeds: list[int], trials: int) -> None:
    """Mean regret of every sampler, and the first one's difference to each of the others, paired by seed."""
    shown = [n for n in SHOWN if n <= trials]
    tables = {
        (p, n): np.array([[found[p, n, s][k - 1] for k in shown] for s in seeds]) for p in PROBLEMS for n in names
    }
    together = "all together"
    tables |= {(together, n): np.mean([tables[p, n] for p in PROBLEMS], axis=0) for n in names}
    for problem in (*PROBLEMS, together):
        print(f"\n{problem}: mean regret × 1000 after {', '.join(map(str, shown))} trials, {len(seeds)} seeds")
        for name in names:
            print(f"  {name:<8}" + _cells(tables[problem, name], "6.1f", ".0f"))
        for name in names[1:]:
            difference = tables[problem, names[0]] - tables[problem, name]
            print(f"  {names[0]} − {name:<8}" + _cells(difference, "+6.1f", "+.0f"))


def _cells(regret: np.ndarray, mean: str, bound: str) -> str:
    """Each column's mean × 1000 with its interval over seeds."""
    columns = [(1000 * column.mean(), *(1000 * b for b in interval(column))) for column in regret.T]
    return "   ".join(f"{m:{mean}} ({low:{bound}} to {high:{bound}})" for m, low, high in columns)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--trials", type=int, default=80)
    parser.add_argument("--samplers", default=",".join(SAMPLERS))
    parser.add_argument("--keep", type=Path, default=ROOT / "results" / "samplers.jsonl", help="file of finished runs")
    asked = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore")
    names, seeds = asked.samplers.split(","), list(range(asked.first, asked.first + asked.seeds))
    found: dict[tuple[str, str, int], list[float]] = {}
    if asked.keep.exists():
        for line in map(json.loads, asked.keep.read_text().splitlines()):
            if line["trials"] == asked.trials:
                found[line["problem"], line["sampler"], line["seed"]] = line["regrets"]
    asked.keep.parent.mkdir(parents=True, exist_ok=True)
    for seed, problem, name in itertools.product(seeds, PROBLEMS, names):
        if (problem, name, seed) in found:
            continue
        begun = time.process_time()
        found[problem, name, seed] = regrets(problem, name, seed, asked.trials)
        line = {"problem": problem, "sampler": name, "seed": seed, "trials": asked.trials}
        rounded = [round(r, 5) for r in found[problem, name, seed]]
        with asked.keep.open("a") as file:
            file.write(
                json.dumps({**line, "seconds": round(time.process_time() - begun, 2), "regrets": rounded}) + "\n"
            )
    show(found, names, seeds, asked.trials)


if __name__ == "__main__":
    main()

"""`make evidence PART=simulate`: policies of a search on the table; `PART=portfolio`: the portfolio on its own.

Every policy is run with the same seeds; a seed's data set is the same for all policies, so that differences are paired.
What was run is kept in `results/evidence/simulated.jsonl` under the table's digest and not run again.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import optuna
from threadpoolctl import threadpool_limits

from tests.evidence import networks
from tests.evidence.curves import forest, portfolio, simulator
from tests.evidence.curves.forest import Errors, Forest
from tests.evidence.curves.simulator import INITIALS, MARKS, PRUNINGS, SAMPLERS, Policy, Search, World
from tests.evidence.curves.table import FILE, Table, read
from xraytune import artifacts

PAGE = networks.ROOT / "docs" / "evidence" / "simulator.md"
PORTFOLIO_PAGE = networks.ROOT / "docs" / "evidence" / "portfolio.md"
KEPT = networks.RESULTS / "simulated.jsonl"
SEEDS = 200
LEAST = 5
"""Trainings that a data set must have in the table for searches to be simulated on it."""

Found = dict[tuple[str, int], list[float]]
"""Policy's name and seed: the judge's score at each of `MARKS`."""


def policies() -> list[Policy]:
    """Every pruning with every initial trials under the default sampler; the other samplers under shared rungs.

    Not the whole product: a search of an hour by Optuna's samplers takes seconds to simulate.
    """
    found = [Policy(SAMPLERS[0], pruning, initial) for pruning in PRUNINGS for initial in INITIALS]
    return found + [Policy(sampler, initial=initial) for sampler in SAMPLERS[1:] for initial in INITIALS[:2]]


def names(table: Table) -> list[str]:
    """The sets that searches are simulated on."""
    return [name for name in table.sets if len(table.of(name)) >= LEAST]


def make(workers: int = 2, seeds: int = SEEDS, minutes: float = 0.0, file: Path = FILE) -> str:
    """Simulate what is missing, for so many minutes (0: all of it), and write the page; its text."""
    table = read(file)
    done = _read(KEPT, artifacts.sha256(file))
    missing = [(p, seed) for seed in range(seeds) for p in policies() if (p.name, seed) not in done]
    until = time.monotonic() + 60 * minutes if minutes else float("inf")
    context = multiprocessing.get_context("spawn")
    running = [context.Process(target=work, args=(file, missing[w::workers], until)) for w in range(workers)]
    for process in running if missing else []:
        process.start()
    for process in running if missing else []:
        process.join()
        if process.exitcode:
            raise RuntimeError("a worker failed; what is done is kept, call it again")
    text = page(table, _read(KEPT, artifacts.sha256(file)), forest.errors(table))
    PAGE.write_text(text, encoding="utf-8")
    return text


def work(file: Path, missing: Sequence[tuple[Policy, int]], until: float) -> None:
    """Simulate these searches and append each to what is kept."""
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    table, digest = read(file), artifacts.sha256(file)
    on, worlds, predict = names(table), dict[str, World](), Forest(table).course
    KEPT.parent.mkdir(parents=True, exist_ok=True)
    with threadpool_limits(1):
        for policy, seed in missing:
            if time.monotonic() > until:
                return
            name = on[seed % len(on)]
            if name not in worlds:
                worlds[name] = World(table, name, predict)
            begun = time.process_time()
            search = Search(worlds[name], policy, seed).run()
            line = {
                "table": digest, "policy": policy.name, "seed": seed, "set": name, "trials": search.trials,
                "scores": [round(search.picked(m), 5) for m in MARKS], "seconds": round(time.process_time() - begun, 2),
            }  # fmt: skip
            with KEPT.open("a", encoding="utf-8") as out:
                out.write(json.dumps(line) + "\n")


def _read(path: Path, digest: str) -> Found:
    if not path.exists():
        return {}
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return {(line["policy"], line["seed"]): line["scores"] for line in lines if line["table"] == digest}


def interval(values: np.ndarray) -> tuple[float, float, float]:
    """Mean and 95 % bootstrap interval over seeds."""
    means = values[np.random.default_rng(0).integers(0, len(values), (4000, len(values)))].mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(values.mean()), float(low), float(high)


def page(table: Table, found: Mapping[tuple[str, int], Sequence[float]], wrong: Errors) -> str:
    """The comparison, on the seeds that every policy was run with."""
    asked = [policy.name for policy in policies()]
    common = set.intersection(*({seed for name, seed in found if name == one} for one in asked))
    seeds = sorted(common)
    lines = ["# Whole searches, simulated on real learning curves", "", *_about(table, wrong, len(seeds)), ""]
    if not seeds:
        return "\n".join([*lines, "Nothing was simulated with every policy yet."]) + "\n"
    scores = {one: np.array([found[one, seed] for seed in seeds]) for one in asked}
    head = " | ".join(f"{mark:.0f} min" for mark in MARKS)
    lines += ["## Score of the pick", "", f"| sampler · pruning · initial trials | {head} |", "|---" * 5 + "|"]
    for one in sorted(asked, key=lambda name: -scores[name][:, -2].mean()):
        lines.append(f"| {one} | {_cells(scores[one], '.4f')} |")
    lines += ["", "## Differences, paired by seed", "", f"| difference (score × 1000) | {head} |", "|---" * 5 + "|"]
    for first, second in _pairs():
        lines.append(
            f"| {first.name} − {second.name} | {_cells(1000 * (scores[first.name] - scores[second.name]), '+.1f')} |"
        )
    return "\n".join(lines) + "\n"


def _cells(columns: np.ndarray, form: str) -> str:
    each = [interval(column) for column in columns.T]
    return " | ".join(f"{mean:{form}} ({low:{form}} to {high:{form}})" for mean, low, high in each)


def _pairs() -> list[tuple[Policy, Policy]]:
    """Each policy against one that differs in one decision: against stock TPE, shared rungs, today's initial trials."""
    all_of, pairs = policies(), []
    for one in all_of:
        others = [
            Policy("stock", one.pruning, one.initial),
            Policy(one.sampler, PRUNINGS[0], one.initial),
            Policy(one.sampler, one.pruning, INITIALS[0]),
        ]
        pairs += [(one, other) for other in others if other != one and other in all_of]
    return pairs


def _about(table: Table, wrong: Errors, seeds: int) -> list[str]:
    sets = ", ".join(f"{name} ({len(table.of(name))} trainings)" for name in names(table))
    return [
        "    make evidence PART=simulate", "",
        "Policies of a search are replayed on [the table of learning curves](curves.md) in virtual time, two trials at "
        f"a time, one hour each. Seeds: {seeds}; each seed has one data set, the same for every policy: {sets}. "
        "The judge is the robust score at the end of the training of the configuration that the search would pick. "
        "Brackets are 95 % intervals over seeds.", "",
        "Configurations that were not trained are predicted by regression forests. Cross-validated: mean absolute "
        f"error of the score {wrong.score:.4f} (mean of set and family: {wrong.usual:.4f}), rank correlation with "
        f"the true score within a set {wrong.rank:.2f}, seconds of an epoch wrong by a factor of {wrong.seconds:.2f} "
        f"(median). Reported scores have noise of standard deviation {table.noise:.4f}, as measured on the curves. "
        "The time that a sampler itself takes is not counted.", "",
        f"`stock` is Optuna's `TPESampler()`; `{PRUNINGS[2]}`: {simulator.BATCH} trials of one epoch, then the best "
        f"{simulator.KEEP} to their end, and so on. A portfolio is chosen without the data set that is searched.",
    ]  # fmt: skip


def make_portfolio(file: Path = FILE, seconds: float = 3600.0) -> str:
    """Judge portfolios on the set that each was chosen without, and write the page; its text."""
    table = read(file)
    whole = Forest(table)
    lines = [
        "# A portfolio of initial trials, chosen on learning curves", "", "    make evidence PART=portfolio", "",
        "For each data set a portfolio is chosen on the others. Its score is the best judge's score among its first "
        "configurations (by a forest fitted on the whole table). Beside it: as many of today's initial trials, and as "
        "many random configurations (mean of 50 draws).", "",
        "| set | configurations | portfolio | today's initial trials | random |", "|---|---|---|---|---|",
    ]  # fmt: skip
    for name in names(table):
        others = table.without(name)
        if len(others.curves) < LEAST:
            continue
        world = World(table, name, whole.course, portfolio=portfolio.choose(others, table.sets[name], seconds))
        chosen = world.initial["portfolio"]
        for count in (3, 5, len(chosen)):
            scores = {origin: _best(world, origin, count) for origin in INITIALS[:2]}
            random = _random(world, count)
            lines.append(f"| {name} | {count} | {scores['portfolio']:.4f} | {scores[INITIALS[0]]:.4f} | {random:.4f} |")
    text = "\n".join(lines) + "\n"
    PORTFOLIO_PAGE.write_text(text, encoding="utf-8")
    return text


def _best(world: World, initial: str, count: int) -> float:
    """The best score of the first initial trials; what they leave open is at the space's default."""
    return max(world.course(world.completed(one.values)).score for one in world.initial[initial][:count])


def _random(world: World, count: int, draws: int = 50) -> float:
    from search.hyperparameters.parameter import parameters
    from tests.evidence.curves.design import draw

    declared, rng = parameters(world.declaration), np.random.default_rng(0)
    families = world.info.space.trained
    return float(
        np.mean(
            [
                max(
                    world.course(draw(declared, families[int(rng.integers(len(families)))], (), rng)).score
                    for _ in range(count)
                )
                for _ in range(draws)
            ]
        )
    )

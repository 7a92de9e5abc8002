"""How should probabilities be calibrated, at what threshold decided, and do balanced classes in training help?

On each planted shortcut, with three of four training images positive, one configuration is trained on patient-grouped
folds for each choice of class balance. Calibrations and threshold policies are fitted on out-of-fold predictions, as
`search.retrain` fits them, and judged out of fold over the views and on the test images, on which the shortcut
misleads. Classes weigh equally throughout. One file a network, `results/evidence/decision/SET/`; the tables are written
to docs/evidence/decision.md.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import fbeta_score

from tests.evidence import networks
from tests.evidence.doses import EDGE, configuration
from tests.evidence.sets import PLANTED
from tests.inputs.made_networks import config
from xraytune import artifacts, data
from xraytune.data import arrays, cache
from xraytune.evaluation import calibration, metrics, prevalences, thresholds
from xraytune.evaluation.calibration import Calibration, Folds
from xraytune.evaluation.metrics import Floats
from xraytune.training.inputs.trial_data import TrialData
from xraytune.training.optimization.settings import IMBALANCE

FOLDS = 3
BETA = 2.0
DOSE = "light"
"""Of the countermeasure: the shortcut keeps some of its force, so that probabilities shift on the test images."""
BALANCES = tuple(choice for choice in IMBALANCE if choice != "focal")
POLICIES = ("0.5", "shared", "plateau", "plateau_middle", "youden")
EQUAL = (0.5, 0.5)
PAGE = networks.ROOT / "docs" / "evidence" / "decision.md"


@dataclass(frozen=True)
class Part:
    """The network of one fold."""

    set: str
    balance: str
    fold: int

    @property
    def path(self) -> Path:
        """Where its answers are kept."""
        return networks.RESULTS / "decision" / self.set / f"{self.balance}-{self.fold}.npz"


def parts(name: str) -> list[Part]:
    """All networks of a set."""
    return [Part(name, balance, fold) for balance in BALANCES for fold in range(FOLDS)]


def thinned(labels: NDArray[Any], patients: NDArray[Any]) -> NDArray[np.int64]:
    """Rows without the images of every second negative patient: about three in four of the rest are positive."""
    negative = np.unique(patients[labels == 0])
    return np.flatnonzero((labels == 1) | ~np.isin(patients, negative[::2]))


def train(name: str, missing: list[Part]) -> None:
    """Train these networks of a set, one after another; what they answer on the test images stands in a ledger."""
    from search.retraining.records import TrainingSetup
    from search.retraining.workers.tasks import FoldTask
    from search.study import access_log
    from xraytune.inference.networks import load_network, predict_network

    place = networks.workshop(name)
    whole = TrialData.of(place.dataset, place.data.pools, refit=True, cache=cache.folder())
    labels, patients = np.asarray(whole.labels), np.asarray(whole.patients)
    rows = thinned(labels, patients)
    dealt = data.folds(labels[rows].tolist(), patients[rows].tolist(), FOLDS, 0)
    test = np.load(arrays.test(place.dataset, EDGE))
    for part in missing:
        part.path.parent.mkdir(parents=True, exist_ok=True)
        values = configuration(name, DOSE) | {"imbalance": part.balance}
        recipe = TrainingSetup(place.job.space, place.job.context, whole, "robust", BETA, values["epochs"])
        fitted, held = (rows[chosen] for chosen in dealt[part.fold])
        own = dataclasses.replace(recipe, data=dataclasses.replace(whole, train=fitted, validation=held))
        point = config(place.space, seed=100 + part.fold, **values)
        task = FoldTask(own, point, 0, part.fold, FOLDS, 0, part.path.with_suffix(".fold"), keep_model=True)
        task(_silent)
        opened = {"what": f"evidence, {part.path.stem}", "test_fingerprint": place.dataset.test_fingerprint}
        access_log.append(part.path.parent, opened)
        answers = predict_network(load_network(task.path.with_suffix(".keras")), test)
        with np.load(task.path, allow_pickle=False) as fold:
            kept = {
                key: fold[key] for key in fold.files if key.startswith("view") or key in {"probabilities", "indices"}
            }
        kept |= {"labels": labels, "patients": patients, "test": answers}
        kept["test_labels"] = np.array([image.label for image in place.dataset.select("test")], np.int32)
        with artifacts.atomic_write(part.path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, **kept)
        for used in (task.path, task.path.with_suffix(".keras")):
            used.unlink(missing_ok=True)
        print(f"{name} {part.path.stem}", flush=True)


def _silent(_event: Any) -> None:
    """No progress of epochs."""


def make(workers: int, names: tuple[str, ...] = PLANTED) -> None:
    """Train what is missing, in `workers` processes of one thread each, and write the page."""
    for name in names:
        networks.spread(train, name, [part for part in parts(name) if not part.path.exists()], workers)
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    artifacts.write_text(PAGE, page())


# ── judging ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Answers:
    """What the networks of one set and class balance answered, out of fold and on the test images."""

    labels: NDArray[np.int64]
    """`(n,)`."""
    clean: Floats
    """Out of fold `(n, 2)`."""
    folds: Folds
    viewed: NDArray[np.int64]
    """The rows `(m,)` that have views."""
    views: Mapping[str, Floats]
    """`(m, 2)` by view."""
    inner: Folds
    """The folds of these."""
    patients: NDArray[Any]
    """`(n,)`."""
    test_labels: NDArray[np.int64]
    test: Floats
    """The mean of the folds' networks, `(t, 2)`."""


def read(name: str, balance: str) -> Answers | None:
    """The answers of a set and class balance, None where a network is missing."""
    files = [Part(name, balance, fold).path for fold in range(FOLDS)]
    if not all(path.exists() for path in files):
        return None
    kept = []
    for path in files:
        with np.load(path, allow_pickle=False) as file:
            kept.append({key: file[key] for key in file.files})
    own = [np.asarray(k["indices"]) for k in kept]
    everything = np.sort(np.concatenate(own))
    place = [np.searchsorted(everything, indices) for indices in own]
    clean = np.zeros((len(everything), 2))
    for rows, k in zip(place, kept, strict=True):
        clean[rows] = k["probabilities"]
    seen = [np.searchsorted(everything, k["view_indices"]) for k in kept]
    ends = np.cumsum([0, *map(len, seen)])
    held = [np.arange(a, b) for a, b in pairwise(ends)]
    return Answers(
        kept[0]["labels"][everything].astype(np.int64),
        clean,
        [(np.setdiff1d(np.arange(len(everything)), rows), rows) for rows in place],
        np.concatenate(seen),
        {n: np.concatenate([k[n] for k in kept]).astype(np.float64) for n in kept[0] if n.startswith("view:")},
        [(np.setdiff1d(np.arange(ends[-1]), rows), rows) for rows in held],
        kept[0]["patients"][everything],
        kept[0]["test_labels"].astype(np.int64),
        np.mean([k["test"] for k in kept], axis=0).astype(np.float64),
    )


def calibrations(given: Answers) -> dict[str, Calibration]:
    """The calibration fitted on clean images or on views, at the training images' prevalence or at equal prevalence."""
    shares = tuple(float(share) for share in np.bincount(given.labels) / len(given.labels))
    found = {"none": calibration.none(2, EQUAL)}
    for at, prevalence in (("training prevalence", shares), ("equal prevalence", EQUAL)):
        clean = calibration.over_views(given.labels, {"clean": given.clean}, given.folds, prevalence)
        views = calibration.over_views(given.labels[given.viewed], given.views, given.inner, prevalence)
        found[f"clean images, {at}"] = calibration.choose(clean)[0]
        found[f"views, {at}"] = calibration.choose(views)[0]
    return found


def of_calibration(given: Answers, scale: Calibration) -> tuple[float, ...]:
    """On the test images: calibration error, cross-entropy, mean probability minus prevalence.

    The test images are weighted to the prevalence that the probabilities are stated for.
    """
    p, truth = scale.apply(given.test), given.test_labels
    error = metrics.calibration_figures(truth, p, 1, prevalence=scale.prevalence)["calibration_error"][0]
    weights = prevalences.weights(truth, scale.prevalence)
    lean = np.average(p[:, 1], weights=weights) - scale.prevalence[1]
    return float(error), calibration.log_loss(truth, p, scale.prevalence), float(lean)


def of_policies(given: Answers, scale: Calibration) -> dict[str, tuple[float, ...]]:
    """Each policy: threshold; F2, sensitivity and specificity, first held out over views, then on the test images."""
    event = given.labels[given.viewed] == 1
    columns = {name.removeprefix("view:"): scale.apply(p)[:, 1] for name, p in given.views.items()}
    everything = thresholds.Everything(given.labels == 1, scale.apply(given.clean)[:, 1], given.folds)
    who = given.patients[given.viewed]
    found = thresholds.compare(POLICIES, event, columns, given.inner, BETA, everything, who)
    truth, score = given.test_labels == 1, scale.apply(given.test)[:, 1]
    weights = prevalences.weights(given.test_labels, EQUAL)
    out = {}
    for policy in found:
        answer = score >= policy.threshold
        f_beta = float(fbeta_score(truth, answer, beta=BETA, sample_weight=weights))
        held_out = (policy.evidence, policy.sensitivity, policy.specificity)
        sides = float(answer[truth].mean()), float((~answer[~truth]).mean())
        out[policy.name] = (policy.threshold, *held_out, f_beta, *sides)
    return out


def page() -> str:
    """Both tables over all sets that are done, means of the sets."""
    rows = list(_rows())
    return "\n".join(
        [
            "# Calibration, class balance and operating threshold: evidence on synthetic images",
            "",
            "Made by `make evidence PART=decision`. Means over the planted shortcuts that are done. Three in four",
            "training images are positive. Classes have equal weight in every figure of the second table.",
            "",
            *_table("calibration", ("calibration error", "cross-entropy", "mean probability − prevalence"), rows),
            *_table(
                "policy",
                (
                    "threshold", "held-out F2 over views", "held-out sensitivity", "held-out specificity",
                    "test F2", "test sensitivity", "test specificity",
                ),
                rows,
            ),
        ]
    )  # fmt: skip


def _rows() -> Iterator[tuple[str, str, str, str, tuple[float, ...]]]:
    """Kind of table, class balance, what is judged, set, figures."""
    for balance in BALANCES:
        for name in PLANTED:
            given = read(name, balance)
            if given is None:
                continue
            scales = calibrations(given)
            for fitted, scale in scales.items():
                yield "calibration", balance, fitted, name, of_calibration(given, scale)
            for policy, figures in of_policies(given, scales["views, equal prevalence"]).items():
                yield "policy", balance, policy, name, figures


def _table(
    kind: str, columns: tuple[str, ...], rows: list[tuple[str, str, str, str, tuple[float, ...]]]
) -> Iterator[str]:
    groups: dict[tuple[str, str], list[tuple[float, ...]]] = {}
    for own, balance, what, _, figures in rows:
        if own == kind:
            groups.setdefault((balance, what), []).append(figures)
    yield f"| class balance in training | {kind} | sets | {' | '.join(columns)} |"
    yield "|---" * (len(columns) + 3) + "|"
    for (balance, what), found in groups.items():
        cells = " | ".join(f"{mean(column):.3f}" for column in zip(*found, strict=True))
        yield f"| {balance} | {what} | {len(found)} | {cells} |"
    yield ""

"""`report.html`: one file, without anything from outside."""

from __future__ import annotations

import base64
import csv
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from search.cli import quantities
from search.reporting import final_metrics, roc_curves
from search.reporting.figures import (
    history_chart,
    importance_chart,
    learning_chart,
    operating_point,
    pareto_chart,
    reliability_chart,
    time_chart,
)
from search.reporting.formats import excludes_zero, html_difference, html_interval, html_number, html_p_value
from search.study import access_log
from search.study.view import StudyView, TrialRecord
from xraytune import artifacts
from xraytune.errors import ArtifactError
from xraytune.evaluation import evaluate, robust_score
from xraytune.evaluation.evaluate import NAMES


def again(study: StudyView, folder: Path) -> None:
    """`write`, of files that may not be what the retraining left.

    Raises:
        ArtifactError: they are not.
    """
    try:
        write(study, folder)
    except (KeyError, ValueError, TypeError, FileNotFoundError, jinja2.UndefinedError) as error:
        raise ArtifactError(
            f"The report of {folder} can't be made: metrics.json, predictions.csv or gradcam/ are not what the "
            f"retraining wrote there ({type(error).__name__}: {error}). Retrain: python -m search.retrain best --study "
            f"{study.name}"
        ) from None


def write(study: StudyView, folder: Path) -> None:
    """Write `report.html` and `MODEL_CARD.md` into the winner's folder.

    Args:
        study: the study it comes from.
        folder: holds `metrics.json`, `predictions.csv`, `model.json` and perhaps `gradcam/`.

    Raises:
        ArtifactError: one of them is missing or was changed.
    """
    figures = artifacts.read_json(folder / "metrics.json")
    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=jinja2.select_autoescape(["html"]),
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    templates.filters.update(
        number=html_number, interval=html_interval, signed=html_difference, beyond=excludes_zero,
        p_value=html_p_value, clock=quantities.clock,
        shortest=lambda value: f"{value:g}",
    )  # fmt: skip
    context = _context(study, folder, figures)
    for name, template in (("report.html", "report.html"), ("MODEL_CARD.md", "model_card.md")):
        artifacts.write_text(folder / name, templates.get_template(template).render(context))


def _context(study: StudyView, folder: Path, figures: Mapping[str, Any]) -> dict[str, Any]:
    """Everything that the templates show."""
    labels, p, patients = read_predictions(folder / "predictions.csv", figures["test"]["classes"])
    films = _films(folder)
    trials = [t for t in study.trials() if t.counts]
    positive = figures["test"]["positive"]
    shown = positive if positive is not None else None
    curves = roc_curves.curves(labels, p, patients, figures["test"]["classes"], positive)
    return {
        "f": figures,
        "test": figures["test"],
        "names": evaluate.named(figures["test"]["beta"]),
        "by_class": evaluate.BY_CLASS,
        "judged_by": {1: "f1", 2: "f2"}.get(figures["test"]["beta"], "f_beta"),
        "unsure": evaluate.unsure(figures["test"]["overall"], figures["test"]["beta"]),
        "study": study.name,
        "spec": study.spec.to_json(),
        "positive": None if shown is None else figures["test"]["classes"][shown],
        "curves": [Markup(c) for c in roc_curves.charts(curves, operating_point(figures))],
        "each_curve": [Markup(c) for one in curves for c in roc_curves.charts([one])] if positive is None else [],
        "band_draws": roc_curves.DRAWS,
        "reliability": Markup(reliability_chart(figures)),
        "history": Markup(history_chart(trials)),
        "families": _families(trials),
        "front": Markup(pareto_chart(study, trials)),
        "importance": Markup(importance_chart(study)),
        "seconds": Markup(time_chart(trials)),
        "learning": Markup(learning_chart(figures)),
        "views": _views(figures),
        "trivial_robust": robust_score.trivial(len(figures["test"]["classes"]), positive, figures["test"]["beta"]),
        "cases": _cases(folder, films),
        "heat_method": films[0]["method"] if films else "",
        "ledger": access_log.read(study.folder),
        "ledger_names": {name: NAMES[name] for name in access_log.FIGURES},
        "openings": access_log.openings(study.folder.parent, study.spec.test_fingerprint),
        "made_of": _made_of(figures),
        "partial": _partial(study),
        "data_name": Path(figures["data"]).name,
        "pool": _pool_counts(figures),
        "explorer": None if positive is None else _explorer(labels == positive, p[:, positive]),
        "prevalence": float(np.mean(labels == positive)) if positive is not None else None,
        "elsewhere": _precision_elsewhere(figures),
        "whose": final_metrics.whose(figures),
        "unit": (
            "patients"
            if figures["grouped_by"] == "patient" and figures["test"]["images"] == figures["test"]["patients"]
            else "films"
        ),
        "states": Counter(t.state for t in trials),
        "colours": [f"c{i}" for i in range(8)],
    }


def _made_of(figures: Mapping[str, Any]) -> str:
    """What the final model is: `the weighted mean of 4 networks: 3 cnn (64 px), 1 densenet (128 px)`."""
    model = figures["model"]
    kinds = Counter((c["family"], _image_size(c["values"])) for c in model["configurations"])
    named = [(f"{family} ({size} px)", n) for (family, size), n in kinds.items()]
    if model["final"] == "folds":
        return f"the mean of {len(model['epochs'])} networks, one of each fold and seed, all {named[0][0]}"
    if model["final"] == "refit" and len(model["epochs"]) > 1:
        return f"the mean of {len(model['epochs'])} networks that differ in their seeds alone, all {named[0][0]}"
    if sum(kinds.values()) == 1:
        return f"one network: {named[0][0]}"
    return f"the weighted mean of {sum(kinds.values())} networks: {', '.join(f'{n} {name}' for name, n in named)}"


def _image_size(values: Mapping[str, Any]) -> int:
    """Of a configuration, in pixels; 224 where it names none, as `search.retraining.steps` trains it."""
    return next((int(value) for key, value in values.items() if key.rpartition("/")[2] == "image_size"), 224)


def _pool_counts(figures: Mapping[str, Any]) -> dict[str, int]:
    """Images by class that the final model was trained on: train and validation."""
    counts = figures["data_card"]["counts"]
    return {name: counts["train"][name] + counts["val"][name] for name in figures["test"]["classes"]}


def _precision_elsewhere(figures: Mapping[str, Any], prevalence: float = 0.1) -> float | None:
    """The precision at the same sensitivity and specificity where fewer have the finding (Bayes)."""
    sensitivity, specificity = (figures["test"]["overall"][name][0] for name in ("sensitivity", "specificity"))
    if figures["test"]["positive"] is None or sensitivity is None or specificity is None:
        return None
    right, wrong = prevalence * sensitivity, (1 - prevalence) * (1 - specificity)
    return float(right / (right + wrong)) if right + wrong else None


def read_predictions(path: Path, classes: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.float64], list[str]]:
    """Labels `(n,)`, calibrated probabilities `(n, k)` and patients of `predictions.csv`."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    labels = np.array([list(classes).index(row["truth"]) for row in rows], dtype=np.int64)
    p = np.array([[float(row[f"probability_{c}"]) for c in classes] for row in rows])
    return labels, p, [row["patient"] for row in rows]


def _partial(study: StudyView) -> list[str]:
    """The hyperparameters that only some complete trials had, as `cnn/width (12 of 30)`, the most frequent first."""
    trials = [t for t in study.trials() if t.state == "COMPLETE" and t.config]
    had = Counter(name for t in trials if t.config for name in t.config.values)
    return [f"{name} ({n} of {len(trials)})" for name, n in had.most_common() if n < len(trials)]


def _explorer(event: NDArray[np.bool_], score: NDArray[np.float64]) -> dict[str, list[Any]]:
    """Scores and truth in descending order: the page counts on them itself."""
    order = np.argsort(-score, kind="stable")
    return {"scores": [float(s) for s in score[order]], "events": [int(e) for e in event[order]]}


def _families(trials: Sequence[TrialRecord]) -> list[dict[str, Any]]:
    rows = []
    for family in sorted({t.family for t in trials}):
        own = [t for t in trials if t.family == family]
        values = [t.value for t in own if t.state == "COMPLETE" and t.value is not None]
        states = Counter(t.state for t in own)
        seconds = sum(t.seconds or 0 for t in own)
        rows.append({"family": family, "best": max(values, default=None), "states": states, "seconds": seconds})
    return sorted(rows, key=lambda row: -math.inf if row["best"] is None else row["best"], reverse=True)


def _views(figures: Mapping[str, Any]) -> list[dict[str, Any]]:
    """F-beta of each finalist under each view, and which is its worst: half of the robust score is of it."""
    finalists = figures["confirmation"]["finalists"]
    values = [{name: float(value or 0.0) for name, value in c["by_view"].items()} for c in finalists]
    worst = [min(found, key=found.__getitem__, default="") for found in values]
    return [
        {
            "name": name,
            "cells": [
                {"value": c["by_view"].get(name), "worst": name == fallen}
                for c, fallen in zip(finalists, worst, strict=True)
            ],
        }
        for name in finalists[0]["by_view"]
    ]


def _films(folder: Path) -> list[dict[str, Any]]:
    """What `cases` listed of the films that are shown; nothing where there are no maps."""
    listing = folder / "gradcam" / "cases.json"
    return list(artifacts.read_json(listing)) if listing.exists() else []


def _cases(folder: Path, films: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Films with their heat maps as data URIs, by kind."""
    out = []
    for title in dict.fromkeys(row["title"] for row in films):
        own = [{**row, "src": _data_uri(folder / "gradcam" / row["file"])} for row in films if row["title"] == title]
        out.append({"title": title, "films": own})
    return out


def _data_uri(path: Path) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(path.read_bytes()).decode()

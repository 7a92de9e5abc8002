"""`report.html` of an evaluation: one file, without anything from outside."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from search.reporting import roc_curves
from search.reporting.figures import counts_of_bins, operating_point
from search.reporting.final_metrics import referral_rule
from search.reporting.formats import html_cell, significant
from search.reporting.pages import environment
from search.reporting.report_tables import REFERRAL
from search.reporting.svg import Series, chart
from xraytune import artifacts
from xraytune.evaluation import evaluate
from xraytune.evaluation.predictions import Predictions


def write(path: Path, found: Mapping[str, Any], tested: Predictions) -> None:
    """Write the report.

    Args:
        path: of the file.
        found: what `metrics.json` holds.
        tested: the predictions, for the curves.
    """
    templates = environment(Path(__file__).parent / "templates")
    templates.filters.update(
        number=lambda value, digits=3: html_cell("number", value, digits),
        interval=lambda value, digits=3: html_cell("interval", value, digits),
        signed=lambda value: html_cell("difference", value),
        beyond=significant,
    )
    patients = [str(patient) for patient in tested.patients]
    labels, p = tested.labels.astype(np.int64), tested.probabilities.astype(np.float64)
    curves = roc_curves.curves(labels, p, patients, tested.classes, tested.positive)
    context = {
        "f": found,
        "test": found["test"],
        "names": evaluate.named(tested.beta),
        "unsure": evaluate.unsure(found["test"]["overall"], tested.beta),
        "data_name": Path(found["data"]).name,
        "curves": [Markup(one) for one in roc_curves.charts(curves, operating_point(found))] if curves else [],
        "reliability": Markup(_reliability(found)),
        "referral": _referral(found),
        "colours": [f"c{i}" for i in range(8)],
    }
    artifacts.write_text(path, templates.get_template("evaluation.html").render(context))


def _referral(found: Mapping[str, Any]) -> dict[str, Any] | None:
    """The referral's rule in words, and its figures here and on the study's test set by what they are."""
    if not found["referral"]:
        return None
    test = found["test"]
    here, study = found["referral"]["here"], found["referral"]["study_test"] or {}
    return {
        "rule": referral_rule(found["referral"]["pair"], test["classes"][test["positive"]]),
        "rows": [(name, here[key], study.get(key)) for key, name in REFERRAL.items()],
    }


def _reliability(found: Mapping[str, Any]) -> str:
    """The share that had the event over the probability, with the number of images of each bin."""
    rows = found["test"]["reliability"]
    points = [(row["predicted"], row["observed"]) for row in rows]
    series = [
        Series([(0, 0), (1, 1)], style="faint"),
        Series(points, "calibrated", "c0"),
        Series(points, style="c0", kind="dots", notes=counts_of_bins(rows)),
    ]
    return chart(series, x="probability", y="share that had it", title="Reliability curve")

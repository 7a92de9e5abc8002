"""`report.html`: one file, without anything from outside; its tables as CSV and figures as SVG beside it."""

from __future__ import annotations

import base64
import csv
import io
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
from search.reporting import figures as charts
from search.reporting import final_metrics, formats, report_tables, roc_curves, svg
from search.reporting.pages import TEMPLATES, environment
from search.reporting.report_tables import Table
from search.study import access_log, image_names
from search.study.view import StudyView, TrialRecord, exclusions
from xraytune import artifacts
from xraytune.errors import FOREIGN, ArtifactError
from xraytune.evaluation import evaluate, predictive_values, robust_score

RARE = 0.1
"""The prevalence at which predictive values are shown beside the model's own."""

HUGE = 1e12
"""A likelihood ratio beyond all that is shown."""

LOOKS = {"bold red": "bad", "bold yellow": "doubt", "bold green": "good", "bold": "plain"}
"""How the page shows a verdict of each style of the terminal."""


def again(study: StudyView, folder: Path, *, with_names: bool = False) -> None:
    """`write`, of files that may not be what the retraining left.

    Raises:
        ArtifactError: they are not.
    """
    try:
        write(study, folder, with_names=with_names)
    except (*FOREIGN, FileNotFoundError, IsADirectoryError, jinja2.UndefinedError) as error:
        raise ArtifactError(
            f"The report of {folder} can't be made: metrics.json, predictions.csv or gradcam/ are not what the "
            f"retraining wrote there ({type(error).__name__}: {error}). Retrain: python -m search.retrain best --study "
            f"{study.name}"
        ) from None


def write(study: StudyView, folder: Path, *, with_names: bool = False) -> None:
    """Write `report.html`, `MODEL_CARD.md`, `tables/` and `figures/` into the winner's folder.

    Args:
        study: the study it comes from.
        folder: holds `metrics.json`, `predictions.csv`, `model.json` and perhaps `gradcam/`.
        with_names: caption example images with their paths, not only with their numbers.

    Raises:
        ArtifactError: one of them is missing or was changed.
    """
    figures = artifacts.read_json(folder / "metrics.json")
    templates = environment(TEMPLATES)
    templates.filters.update(
        number=formats.number, interval=formats.interval, cell=formats.html_cell, significant=formats.significant,
        p_value=formats.p_value, clock=quantities.clock, when=formats.when, md=formats.markdown,
        shortest=lambda value: f"{value:g}",
    )  # fmt: skip
    context = _context(study, folder, figures, with_names=with_names)
    for table in context["tables"].values():
        table.write(folder / "tables")
    for name, chart in context["charts"].items():
        artifacts.write_text(folder / "figures" / f"{name}.svg", svg.document(chart))
    for name, template in (("report.html", "report.html"), ("MODEL_CARD.md", "model_card.md")):
        artifacts.write_text(folder / name, templates.get_template(template).render(context))


def _context(study: StudyView, folder: Path, figures: Mapping[str, Any], *, with_names: bool) -> dict[str, Any]:
    """Everything that the templates show."""
    test = figures["test"]
    classes, positive = test["classes"], test["positive"]
    labels, p, patients = read_predictions(folder / "predictions.csv", classes)
    paths = image_names.read(study.folder) if with_names else {}
    trials = [t for t in study.trials() if t.counts]
    curves = roc_curves.curves(labels, p, patients, classes, positive)
    sentence, style = final_metrics.verdict(figures)
    return {
        "f": figures,
        "test": test,
        "names": evaluate.named(test["beta"]),
        "verdict": sentence,
        "limit": final_metrics.limit(figures),
        "look": LOOKS[style],
        "warnings": _warnings(figures),
        "unsure": evaluate.unsure(test["overall"], test["beta"]),
        "study": study.name,
        "spec": {**study.spec.to_json(), "data": Path(figures["data"]).name},
        "positive": None if positive is None else classes[positive],
        "prevalence": float(np.mean(labels == positive)) if positive is not None else None,
        "ratios": _ratios(figures),
        "rare": RARE,
        "stated": _stated(figures),
        "tables": {t.name: t for t in _tables(study, figures, trials, float(np.mean(labels == positive)))},
        "charts": {name: Markup(chart) for name, chart in _charts(study, figures, trials, curves).items() if chart},
        "style": Markup(svg.STYLE),
        "colours": svg.COLOURS,
        "band_draws": roc_curves.DRAWS,
        "trivial_robust": robust_score.trivial(len(classes), positive, test["beta"]),
        "cases": _cases(folder, paths),
        "openings": access_log.openings(study.folder.parent, study.spec.test_fingerprint),
        "evaluated": len(access_log.read(study.folder)),
        "made_of": _made_of(figures),
        "partial": _partial(study),
        "data_name": Path(figures["data"]).name,
        "pool": _pool_counts(figures),
        "explorer": None if positive is None else _explorer(labels == positive, p[:, positive]),
        "whose": final_metrics.whose(figures),
        "referral": final_metrics.referral(figures.get("referral"), test),
        "states": Counter(t.state for t in trials),
        "exclusions": exclusions(study.attributes),
        "with_names": with_names,
    }


def _tables(
    study: StudyView, figures: Mapping[str, Any], trials: Sequence[TrialRecord], prevalence: float
) -> list[Table]:
    """All tables of the report."""
    test, compared = figures["test"], figures["comparisons"]
    populations = {"as in the test set": prevalence, f"at a prevalence of {100 * RARE:g} %": RARE}
    if (stated := _stated(figures)) is not None:
        populations = {"as stated by the model": stated, **populations}
    beyond = "macro/pr_auc" in test["averages"]
    several = test["positive"] is None
    found = [
        report_tables.images(figures["data_card"], test["classes"]),
        report_tables.families(_families(trials), quantities.clock),
        report_tables.finalists(figures),
        report_tables.views(figures),
        report_tables.hyperparameters(figures["model"]),
        report_tables.metrics(figures),
        report_tables.confusion(test),
        report_tables.by_class(test),
        report_tables.each_class(test) if beyond else None,
        None if several else report_tables.predictive(figures, populations),
        report_tables.reliability(test),
        None if several else report_tables.policies(figures),
        report_tables.referral(figures),
        report_tables.subgroups(figures) if figures["subgroups"] else None,
        report_tables.sites(figures) if figures["sites"] else None,
        report_tables.compared(figures, "test", "On the test images"),
        report_tables.compared(figures, "out_of_fold", "Cross-validated (out-of-fold): the other finalists"),
        report_tables.compared(figures, "recipes", "Published recipes, on the validation images of the search")
        if compared["recipes"]
        else None,
        report_tables.published(figures) if figures["published"] else None,
        report_tables.evaluations(access_log.read(study.folder)),
    ]
    return [table for table in found if table is not None]


def _charts(
    study: StudyView, figures: Mapping[str, Any], trials: Sequence[TrialRecord], curves: Sequence[roc_curves.Curve]
) -> dict[str, str]:
    """All figures of the report by name; empty where there is nothing to draw."""
    roc, pr = roc_curves.charts(curves, charts.operating_point(figures))
    loss, score = charts.learning_charts(figures)
    objective = f"{'robust ' if study.spec.objective == 'robust' else ''}F{study.spec.beta:g}"
    found = {
        "flow": charts.flow_chart(figures["data_card"]), "roc": roc, "precision_recall": pr,
        "reliability": charts.reliability_chart(figures), "history": charts.history_chart(trials, objective),
        "importance": charts.importance_chart(study), "time": charts.time_chart(trials), "loss": loss, "score": score,
        "pareto": charts.pareto_chart(study, trials), "subgroups": charts.subgroup_chart(_forest(figures)),
        "referral": charts.referral_chart(figures),
    }  # fmt: skip
    if figures["test"]["positive"] is None:
        for i, one in enumerate(curves, start=1):
            found[f"roc_class_{i}"], found[f"precision_recall_class_{i}"] = roc_curves.charts([one])
    return found


def _forest(figures: Mapping[str, Any]) -> list[tuple[str, Sequence[float | None]]]:
    """Each subgroup's ROC AUC, or the accuracy where no subgroup has one, all images first."""
    rows = report_tables.ordered_subgroups(figures)
    name = "auc" if any(row["auc"][1] is not None for row in rows) else "accuracy"
    words = evaluate.NAMES[name]
    first = (f"all images ({words})", figures["test"]["overall"][name])
    return [first, *((f"{row['column']}: {row['value']}", row[name]) for row in rows)]


def _stated(figures: Mapping[str, Any]) -> float | None:
    """The prevalence that the model's probabilities are stated for."""
    prevalence, positive = figures["calibration"]["prevalence"], figures["test"]["positive"]
    return float(prevalence[positive]) if prevalence and positive is not None else None


def _ratios(figures: Mapping[str, Any]) -> dict[str, list[float | None]] | None:
    """Both likelihood ratios for the page: None where undefined, `HUGE` where infinite, since JSON knows neither."""
    overall = figures["test"]["overall"]
    found = predictive_values.likelihood_ratios(overall["sensitivity"], overall["specificity"])
    if figures["test"]["positive"] is None or found is None:
        return None
    return {
        name: [None if math.isnan(v) else min(v, HUGE) for v in triple]
        for name, triple in (("positive", found.positive), ("negative", found.negative))
    }


def _warnings(figures: Mapping[str, Any]) -> list[str]:
    """What a reader must know before the figures are used, beyond the verdict."""
    test, said = figures["test"], []
    error = test["overall"]["calibration_error"][0]
    if error is not None and error >= final_metrics.UNRELIABLE:
        said.append(f"Calibration error {error:.2f}: probabilities are unreliable.")
    with_it, without = (figures["calibration"][f"test_error_{n}"] for n in ("with", "without"))
    if figures["calibration"]["method"] != "none" and with_it > without:
        said.append(
            f"Calibration made the probabilities worse on the test images ({without:.3f} before, {with_it:.3f})."
        )
    if figures["folds_auc"]["warning"]:
        said.append(figures["folds_auc"]["warning"])
    if figures["opened"] > 1:
        said.append(
            f"The test set was evaluated {figures['opened']} times in this study: choosing by it biases its results."
        )
    if figures["confirmation"]["cut"]:
        said.append(f"{figures['confirmation']['cut']} of the winner's folds stopped early: time budget reached.")
    audit = figures["audit"]
    strongest = max((audit or {}).get("shifts", ()), key=lambda shift: shift["auc"], default=None)
    if strongest and strongest["auc"] >= 0.6:
        said.append(strongest["sentence"])
    return said


def _made_of(figures: Mapping[str, Any]) -> str:
    """What the final model is: `the weighted mean of 4 networks: 3 cnn (64 px), 1 densenet (128 px)`."""
    model = figures["model"]
    kinds = Counter((c["family"], _image_size(c["values"])) for c in model["configurations"])
    named = [(f"{family} ({size} px)", n) for (family, size), n in kinds.items()]
    if model["final"] == "folds":
        return f"the mean of {len(model['epochs'])} networks, one of each fold and seed, all {named[0][0]}"
    if model["final"] == "refit" and len(model["epochs"]) > 1:
        return f"the mean of {len(model['epochs'])} networks that differ only in their seeds, all {named[0][0]}"
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


def read_predictions(path: Path, classes: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.float64], list[str]]:
    """Labels `(n,)`, calibrated probabilities `(n, k)` and patients of `predictions.csv`."""
    rows = list(csv.DictReader(io.StringIO(artifacts.read_text(path), newline="")))
    index = {artifacts.safe_cell(name): i for i, name in enumerate(classes)}
    labels = np.array([index[row["truth"]] for row in rows], dtype=np.int64)
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


def _cases(folder: Path, paths: Mapping[int, str]) -> list[dict[str, Any]]:
    """Example images and their overlays as data URIs, by kind; none where the retraining made no heat maps.

    Args:
        folder: the winner's.
        paths: of the test images by number, where they are to be named.
    """
    listing = folder / "gradcam" / "cases.json"
    rows = artifacts.read_json(listing) if listing.exists() else []
    shown = [
        {
            **row,
            "src": _data_uri(artifacts.inside(folder / "gradcam", row["file"])),
            "overlay_src": _data_uri(artifacts.inside(folder / "gradcam", row["overlay"])),
            "name": paths.get(row["image"], f"image {row['image']}"),
        }
        for row in rows
    ]
    titles = dict.fromkeys(row["title"] for row in shown)
    return [{"title": title, "images": [row for row in shown if row["title"] == title]} for title in titles]


def _data_uri(path: Path) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(artifacts.read_bytes(path)).decode()

"""`python -m search.report`: the winner's report and model card, made from what `search.retrain` kept."""

from __future__ import annotations

import base64
import csv
import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import jinja2
import numpy as np
import typer
from markupsafe import Markup
from numpy.typing import NDArray

from search import bands, cases, printing
from search.charts import Series, bars, chart
from search.cli import console, quantities
from search.study import access_log
from search.study.view import StudyView, TrialRecord, open_study
from xraytune import artifacts
from xraytune.errors import ArtifactError, StudyError
from xraytune.evaluation import evaluate, robust_score
from xraytune.evaluation.evaluate import NAMES

EXAMPLES = """
python -m search.report
python -m search.report mine
"""

ENOUGH = 8
"""Complete trials from which importance is shown: with fewer it is chance."""


def main(
    study: Annotated[str | None, typer.Argument(help="The study; the latest unless given.")] = None,
    results: Annotated[Path, typer.Option(help="The results folder.")] = Path("results"),
    storage: Annotated[
        str | None, typer.Option(help="Database URL [default: $XRAYTUNE_STORAGE, else SQLite in results]")
    ] = None,
) -> None:
    """Make the winner's report.html and MODEL_CARD.md again. The test set is not opened for it."""
    view = open_study(study, results, storage)
    folder = view.folder / "winner"
    if not (folder / "metrics.json").exists():
        raise StudyError(f"Study {view.name!r} has no winner yet: python -m search.retrain best --study {view.name}")
    again(view, folder)
    console.out.print(f"{folder / 'report.html'}\n{folder / 'MODEL_CARD.md'}", soft_wrap=True)


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
        number=_number, interval=_interval, signed=_signed, beyond=_beyond, p_value=_p_value, clock=quantities.clock,
        shortest=lambda value: f"{value:g}",
    )  # fmt: skip
    context = _context(study, folder, figures)
    for name, template in (("report.html", "report.html"), ("MODEL_CARD.md", "model_card.md")):
        artifacts.write_text(folder / name, templates.get_template(template).render(context))


def _number(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _interval(figure: Sequence[float | None] | float | None, digits: int = 3) -> str:
    """`0.913 [0.880, 0.941]`; the value alone where there is no interval, as of policies that were kept without one."""
    value, low, high = figure if isinstance(figure, Sequence) else (figure, None, None)
    return (
        _number(value, digits)
        if low is None
        else f"{_number(value, digits)} [{_number(low, digits)}, {_number(high, digits)}]"
    )


def _signed(triple: Sequence[float | None]) -> Markup:
    """`+0.031` over `[-0.004, +0.066]`, the value alone where there is no interval."""
    value, _, interval = printing.difference(triple).partition(" ")
    plain = f"{value} <small>{interval}</small>" if interval else value
    return Markup(plain.replace("-", "−"))


def _beyond(triple: Sequence[float | None]) -> str:
    """The style of a difference: `hit` above chance, `miss` below it."""
    _, low, high = triple
    return "" if low is None or high is None else "hit" if low > 0 else "miss" if high < 0 else ""


def _p_value(p: float | None) -> str:
    return "–" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"


def _context(study: StudyView, folder: Path, figures: Mapping[str, Any]) -> dict[str, Any]:
    """Everything that the templates show."""
    labels, p, patients = read_predictions(folder / "predictions.csv", figures["test"]["classes"])
    films = _films(folder)
    trials = [t for t in study.trials() if t.counts]
    positive = figures["test"]["positive"]
    shown = positive if positive is not None else None
    curves = bands.curves(labels, p, patients, figures["test"]["classes"], positive)
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
        "curves": [Markup(c) for c in bands.charts(curves, _operating(figures))],
        "each_curve": [Markup(c) for one in curves for c in bands.charts([one])] if positive is None else [],
        "band_draws": bands.DRAWS,
        "reliability": Markup(_reliability(figures)),
        "history": Markup(_history(trials)),
        "families": _families(trials),
        "front": Markup(_front(study, trials)),
        "importance": Markup(_importance(study)),
        "seconds": Markup(_where_time_went(trials)),
        "learning": Markup(_learning(figures)),
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
        "whose": printing.whose(figures),
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
    """Of a configuration, in pixels; 224 where it names none, as `search.final` trains it."""
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


def _operating(figures: Mapping[str, Any]) -> tuple[float, float, float] | None:
    """Sensitivity, specificity and precision at the threshold, 0 where undefined; None without a positive class."""
    if figures["test"]["positive"] is None:
        return None
    found = [figures["test"]["overall"][name][0] or 0.0 for name in ("sensitivity", "specificity", "precision")]
    return found[0], found[1], found[2]


def _reliability(figures: Mapping[str, Any]) -> str:
    """The curve with and without calibration; a bin's dot says how many images it holds."""

    def line(rows: Sequence[Mapping[str, float]]) -> list[tuple[float, float]]:
        return [(r["predicted"], r["observed"]) for r in rows]

    with_it = line(figures["test"]["reliability"])
    without = line(figures["calibration"]["reliability_without"])
    series = [
        Series([(0, 0), (1, 1)], style="faint"),
        Series(without, "as the network gives it", "c1"),
        Series(without, style="c1", kind="dots", notes=_counts(figures["calibration"]["reliability_without"])),
        Series(with_it, "calibrated", "c0"),
        Series(with_it, style="c0", kind="dots", notes=_counts(figures["test"]["reliability"])),
    ]
    return chart(series, x="probability", y="share that had it", title="Reliability curve")


def _counts(rows: Sequence[Mapping[str, float]]) -> list[str]:
    return [f"{row['n']:.0f} images" for row in rows]


def _history(trials: Sequence[TrialRecord]) -> str:
    """Objective of each trial by number, families in colours, the best so far as a line."""
    valued = [(t, t.value) for t in trials if t.value is not None]
    if not valued:
        return ""
    families = sorted({t.family for t, _ in valued})
    series: list[Series] = []
    best, line = -np.inf, []
    for t, value in valued:
        if t.state == "COMPLETE":
            best = max(best, value)
        if np.isfinite(best):
            line.append((float(t.number), float(best)))
    series.append(Series(line, "best so far", "faint", "steps"))
    for i, family in enumerate(families):
        points = [(float(t.number), value) for t, value in valued if t.family == family]
        series.append(Series(points, family, f"c{i % 8}", "dots"))
    values = [value for _, value in valued]
    low, high = float(np.quantile(values, 0.05)) - 0.02, max(values) + 0.02
    if min(values) >= 0 and max(values) <= 1:  # as every objective of ours
        low, high = max(0.0, low), min(1.0, high)
    return chart(
        series, x="trial", y="objective", title="Objective by trial", whole_x=True,
        x_range=(0, max(t.number for t, _ in valued)), y_range=(low, high),
    )  # fmt: skip


def _front(study: StudyView, trials: Sequence[TrialRecord]) -> str:
    """Two objectives against each other, the trials that no other beats in both joined; empty for one objective."""
    if len(study.directions) < 2:
        return ""
    other = study.spec.objectives[1]
    pairs = {t.number: (t.values[1], t.values[0]) for t in trials if len(t.values) > 1}
    if not pairs:
        return ""
    front = [t.number for t in study.pareto() if t.number in pairs]
    everything = np.array(list(pairs.values()))
    (left, low), (right, high) = everything.min(axis=0), everything.max(axis=0)
    wide, tall = 0.04 * (right - left), 0.04 * (high - low)
    return chart(
        [
            Series(sorted(pairs[n] for n in front), "beaten by no other", "faint", "line"),
            Series([p for n, p in pairs.items() if n not in front], "beaten in both", "c7", "dots",
                   [f"trial {n}" for n in pairs if n not in front]),
            Series([pairs[n] for n in front], "Pareto front", "c0", "dots", [f"trial {n}" for n in front]),
        ],
        x=other.replace("_", " "), y="objective", title=f"Objective against {other}",
        x_range=(float(left - wide), float(right + wide)), y_range=(float(low - tall), float(high + tall)),
    )  # fmt: skip


def _families(trials: Sequence[TrialRecord]) -> list[dict[str, Any]]:
    rows = []
    for family in sorted({t.family for t in trials}):
        own = [t for t in trials if t.family == family]
        values = [t.value for t in own if t.state == "COMPLETE" and t.value is not None]
        states = Counter(t.state for t in own)
        seconds = sum(t.seconds or 0 for t in own)
        rows.append({"family": family, "best": max(values, default=None), "states": states, "seconds": seconds})
    return sorted(rows, key=lambda row: -math.inf if row["best"] is None else row["best"], reverse=True)


def _importance(study: StudyView) -> str:
    """Which hyperparameters tell the best trials from the rest, where there are trials enough to say."""
    if sum(t.state == "COMPLETE" for t in study.trials()) < ENOUGH:
        return ""
    try:
        found = study.importances()
    except (ValueError, RuntimeError):  # all values alike
        return ""
    return bars(dict(list(found.items())[:8]))


def _where_time_went(trials: Sequence[TrialRecord]) -> str:
    total: defaultdict[str, float] = defaultdict(float)
    for t in trials:
        for phase, seconds in (t.result.seconds if t.result else {}).items():
            total[phase] += seconds
    return bars(dict(total), unit=" s", digits=0) if total else ""


def _learning(figures: Mapping[str, Any]) -> str:
    """What the winner's epochs were chosen by on its folds, epoch by epoch."""
    winner = next(c for c in figures["confirmation"]["finalists"] if c["trial"] == figures["confirmation"]["winner"])
    series, values, last = [], [0.0], 1.0
    for i, curve in enumerate(winner["curves"]):
        points = [(float(row["epoch"]), float(row["value"])) for row in curve]
        values += [v for _, v in points]
        last = max(last, points[-1][0]) if points else last
        series.append(Series(points, f"fold {i + 1}", f"c{i % 8}"))
    low = min(values[1:], default=0.0)
    return chart(
        series, x="epoch", y="score on the held-out fold", title="Learning curves", whole_x=True,
        x_range=(1, last), y_range=(max(0.0, low - 0.05), 1.0),
    )  # fmt: skip


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
    for kind, title in cases.KINDS.items() if films else ():
        own = [{**row, "src": _data_uri(folder / "gradcam" / row["file"])} for row in films if row["kind"] == kind]
        out.append({"title": title, "films": own})
    return out


def _data_uri(path: Path) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(path.read_bytes()).decode()


if __name__ == "__main__":
    console.run(main, examples=EXAMPLES)

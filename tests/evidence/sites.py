"""`make evidence PART=sites`: do intervals for a site that is not there hold the truth?

Five made sites a seed: four are known, the fifth is predicted. A fixed network (fixed filters, pooled, and a logistic
layer that is trained) is trained with each known site held out, which gives the figures by site and from them the
interval for another site; then on all four, and measured on many images of the fifth: the truth. No search, and no
choice is made by it. Each seed is a file, so that a run goes on where it was stopped.
"""

from __future__ import annotations

import json
import re
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from tests.inputs import made_sites
from xraytune import artifacts
from xraytune.data.sources.synthetic_images import CLASSES
from xraytune.data.split import site_folds
from xraytune.evaluation import calibration, metrics, prevalences, thresholds
from xraytune.evaluation.evaluate import Crossed
from xraytune.evaluation.predictions import Predictions
from xraytune.evaluation.sites import site_figures

PAGE = Path(__file__).parents[2] / "docs" / "evidence" / "sites.md"
OUTPUT = Path(__file__).parents[2] / "results" / "evidence" / "sites"
KNOWN, PATIENTS, MANY = 4, 120, 250
"""Sites that are known, patients of each (about 300 images), and patients of the fifth, on whom the truth is measured
(about 600 images, an AUC of 0.95 to about ± 0.02)."""
SPREADS = (0.0, 0.5, 1.0)
"""How much the sites differ."""
SIZE = 32


def features(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The fixed part of the network: band-pass filters of a standardised square, rectified, pooled on 8 × 8 cells."""
    edge = min(pixels.shape)
    top, left = ((np.array(pixels.shape) - edge) // 2).tolist()
    square = Image.fromarray(pixels[top : top + edge, left : left + edge]).resize((SIZE, SIZE), Image.Resampling.BOX)
    x = np.asarray(square, np.float32)
    x = (x - x.mean()) / (x.std() + 1e-6)
    bands = [
        ndimage.gaussian_filter(x, a) - ndimage.gaussian_filter(x, b) for a, b in ((0.7, 1.4), (1.4, 2.8), (2.8, 5.6))
    ]
    pooled = [one.reshape(8, SIZE // 8, 8, SIZE // 8).mean(axis=(1, 3)) for band in bands for one in (band, abs(band))]
    return np.concatenate([p.ravel() for p in pooled]).astype(np.float32)


Taken = tuple[NDArray[Any], NDArray[Any], list[str]]
"""A site's features `(n, d)`, labels `(n,)` and patients."""


def _taken(at: dict[float, made_sites.Site], seed: int, patients: int) -> dict[float, Taken]:
    """One site's images, drawn once, as it takes them at every spread."""
    name = next(iter(at.values())).name
    shown: dict[float, list[NDArray[np.float32]]] = {spread: [] for spread in at}
    labels, who = [], []
    for phantom, pixels in made_sites.drawn(name, seed, patients):
        labels.append(phantom.label)
        who.append(f"{name}-{phantom.patient_seed}")
        for spread, site in at.items():
            shown[spread].append(features(made_sites.taken_at(site, pixels, phantom.image_seed)))
    return {spread: (np.array(x), np.array(labels), who) for spread, x in shown.items()}


def _trained(x: NDArray[Any], y: NDArray[Any]) -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=500)).fit(x, y)


def study(seed: int) -> list[dict[str, Any]]:
    """One seed: at every spread, what the known sites predict of another, and what the fifth site is."""
    drawn = {spread: made_sites.draw_sites(seed, KNOWN + 1, spread) for spread in SPREADS}
    at = [{spread: sites[i] for spread, sites in drawn.items()} for i in range(KNOWN + 1)]
    known, there = [_taken(one, seed, PATIENTS) for one in at[:KNOWN]], _taken(at[KNOWN], seed, MANY)
    names = [site.name for site in drawn[SPREADS[0]][:KNOWN]]
    return [
        {"seed": seed, "spread": s, **judged(dict(zip(names, (k[s] for k in known), strict=True)), there[s])}
        for s in SPREADS
    ]


def judged(sites: dict[str, Taken], there: Taken) -> dict[str, Any]:
    """What known sites predict of another one, and what it is there.

    Args:
        sites: the known ones, by name.
        there: the other one.
    """
    known = list(sites.values())
    x, y = np.concatenate([k[0] for k in known]), np.concatenate([k[1] for k in known])
    who = [p for k in known for p in k[2]]
    of = [name for name, k in sites.items() for _ in k[2]]
    folds = list(site_folds(of, who).values())
    raw = np.zeros((len(y), 2))
    for train, held in folds:
        raw[held] = _trained(x[train], y[train]).predict_proba(x[held])
    prevalence = prevalences.equal(y, 2, 1)
    scale, _, without = calibration.choose(calibration.over_views(y, {"clean": raw}, folds, prevalence))
    crossed, decided = raw.copy(), np.zeros(len(y), np.int64)
    for one, (train, held) in zip(without, folds, strict=True):
        cut = thresholds.fit("f-beta", y[train] == 1, {"clean": one.apply(raw[train])[:, 1]}, 1.0)
        crossed[held] = one.apply(raw[held])
        decided[held] = metrics.decide(crossed[held], 1, cut)
    given = Predictions(y, scale.apply(raw), np.array(who), CLASSES, 1, draws=200)
    found = site_figures.by_site(given, Crossed(crossed, decided), of)
    answers = scale.apply(_trained(x, y).predict_proba(there[0]))
    cut = thresholds.fit("f-beta", y == 1, {"clean": scale.apply(raw)[:, 1]}, 1.0)
    truth = metrics.figures(there[1], answers, 1, decided=metrics.decide(answers, 1, cut), brief=True)
    return {
        "predicted": found["new"],
        "known": {f: [row[f][0] for row in found["sites"]] for f in site_figures.FIGURES},
        "truth": {f: float(truth[f][0]) for f in site_figures.FIGURES},
    }  # fmt: skip


def _kept(seed: int, output: Path) -> list[dict[str, Any]]:
    path = output / f"seed-{seed:03d}.json"
    if not path.exists():
        artifacts.write_json(path, {"rows": study(seed)})
    found: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["rows"]
    return found


def make(seeds: int = 40, workers: int = 2, output: Path = OUTPUT) -> list[dict[str, Any]]:
    """All seeds at every spread, those that are there already not again; then the page's table.

    Args:
        seeds: how many.
        workers: processes.
        output: where each seed's figures are kept.
    """
    output.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(workers) as pool:
        rows = [row for seed in pool.map(partial(_kept, output=output), range(seeds)) for row in seed]
    write(rows)
    return rows


def summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """By spread and figure: seeds, the share of intervals that hold the truth, their median width, both means."""
    out = []
    for spread in sorted({row["spread"] for row in rows}):
        own = [row for row in rows if row["spread"] == spread]
        for figure in site_figures.FIGURES:
            ends = np.array([row["predicted"][figure] for row in own], float)
            truth = np.array([row["truth"][figure] for row in own])
            holds = (ends[:, 1] <= truth) & (truth <= ends[:, 2])
            out.append(
                {
                    "spread": spread, "figure": figure, "seeds": len(own), "holds": float(holds.mean()),
                    "width": float(np.median(ends[:, 2] - ends[:, 1])), "truth": float(truth.mean()),
                    "middle": float(ends[:, 0].mean()), "between": float(truth.std()),
                }
            )  # fmt: skip
    return out


def table(rows: list[dict[str, Any]]) -> str:
    """`summary` in Markdown."""
    head = ["sites differ", "figure", "seeds", "intervals that hold it", "median width", "predicted, mean",
            "at the fifth site, mean", "its standard deviation"]  # fmt: skip
    words = {0.0: "not at all", 0.5: "somewhat", 1.0: "much"}
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for r in summary(rows):
        name = {"auc": "ROC AUC"}.get(r["figure"], r["figure"])
        lines.append(
            f"| {words.get(r['spread'], r['spread'])} | {name} | {r['seeds']} | {100 * r['holds']:.0f} % | "
            f"{r['width']:.3f} | {r['middle']:.3f} | {r['truth']:.3f} | {r['between']:.3f} |"
        )
    return "\n".join(lines)


def write(rows: list[dict[str, Any]], page: Path = PAGE) -> None:
    """Put the table into its place in the page."""
    text = page.read_text(encoding="utf-8")
    made = f"<!-- sites -->\n\n{table(rows)}\n\n<!-- end sites -->"
    artifacts.write_text(page, re.sub(r"<!-- sites -->.*<!-- end sites -->", lambda _: made, text, flags=re.DOTALL))

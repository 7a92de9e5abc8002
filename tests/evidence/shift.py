"""Sensitivity and specificity estimated without labels, on made sites where the truth is known.

One training site of synthetic images; two fixed classifiers of 32 px thumbnails; many other sites that differ in
machine (brightness, gamma, focus, crop, position, shape, markers), in how plain pneumonia is, and in the share of
positives. For each site: the ROC AUC by which image properties separate it from the training site, the estimate with
its interval, and the truth. The bound above which no estimate is made (`separation.BOUND`) follows from the table.
"""

from __future__ import annotations

import functools
import itertools
import json
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import threadpoolctl
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from xraytune.data import image_properties, property_table, split
from xraytune.data.decoding import reading
from xraytune.data.sources import synthetic_images
from xraytune.data.sources.synthetic_images import STYLES, Phantom
from xraytune.evaluation import calibration, thresholds
from xraytune.evaluation.shift import separation, shift_estimate
from xraytune.evaluation.shift.shift_estimate import Answers

SITES = 200
"""Other sites."""
TRAINING, ELSEWHERE = 700, 150
"""Patients of the training site, and of each other site."""
SIZE, EDGE, DEPTH = 96, 32, 2.0
"""Shorter edge of the images, edge of the thumbnails, and how plain pneumonia is at the training site."""
BINS = (0.0, 0.55, 0.60, 0.65, 0.70, 0.80, 0.90, 1.01)
"""Of the ROC AUC of the separation, in the table."""
WANTED = 0.90
"""Share of the intervals that hold the truth in every bin of the table below the bound."""
FOLDS = 5
FOLDER = Path("results/evidence/shift")
PAGE = Path("docs/evidence/shift.md")
MARK = "<!-- table -->"
"""What follows it on the page is written by `page`."""


@dataclass(frozen=True)
class Machine:
    """How a site's images differ from the training site's."""

    kind: str = "none"
    """One of the acquisition styles that synthetic images know."""
    style: float = 0.0
    """Share of patients whose images have it."""
    level: float = 0.0
    """Gray levels added."""
    gamma: float = 1.0
    blur: float = 0.0
    """Standard deviation, pixels."""
    zoom: float = 1.0
    """Share of the edge that is kept."""
    lower: float = 0.0
    """How far the kept part lies below the middle, in halves of what is cut off."""
    depth: float = DEPTH
    positives: float = 0.6


def machine(rng: np.random.Generator) -> Machine:
    """A site's machine: every fourth site differs in the share of positives alone, the others mostly a little."""
    positives = float(rng.uniform(0.1, 0.9))
    if rng.random() < 1 / 4:
        return Machine(positives=positives)
    dose = float(rng.uniform(0, 1) ** 2)
    on = rng.random(6) < 0.5
    return Machine(
        kind=str(rng.choice([kind for kind in STYLES if kind != "none"])) if on[0] else "none",
        style=dose,
        level=float(rng.normal(0, 30) * dose * on[1]),
        gamma=float(np.exp(rng.normal(0, 0.4) * dose * on[2])),
        blur=float(abs(rng.normal(0, 1.5)) * dose * on[3]),
        zoom=float(1 - 0.3 * abs(rng.normal()) * dose * on[4]),
        lower=float(rng.uniform(-1, 1)),
        depth=float(DEPTH * np.exp(rng.normal(0, 0.3) * dose * on[5])),
        positives=positives,
    )


@dataclass(frozen=True, eq=False)
class Site:
    """The images of one site, as far as they are used."""

    small: NDArray[np.float64]
    """`(n, EDGE, EDGE)`."""
    table: NDArray[np.float64]
    labels: NDArray[np.int64]
    patients: NDArray[np.int64]

    def where(self, rows: NDArray[Any]) -> Site:
        """Some of its images."""
        return Site(self.small[rows], self.table[rows], self.labels[rows], self.patients[rows])


def draw(seed: int, patients: int, how: Machine) -> Site:
    """Draw a site's images and measure them."""
    rng = np.random.default_rng([seed, 5])
    images, labels, who = [], [], []
    for phantom in _phantoms(seed, patients, how, rng):
        images.append(_taken(Image.fromarray(synthetic_images.pixels(phantom)), how))
        labels.append(phantom.label)
        who.append(phantom.patient_seed)
    copies = np.stack([np.asarray(image.resize((reading.MEASURED, reading.MEASURED), 2)) for image in images])
    rows = np.zeros(len(images), property_table.ROW)
    rows["width"], rows["height"] = np.array([image.size for image in images]).T
    rows["features"] = image_properties.measure(copies, image_properties.thumbnails(copies))
    small = np.stack([reading.square(image, EDGE, "crop")[..., 0] for image in images]).astype(np.float64)
    return Site(small, property_table.table(rows), np.array(labels), np.array(who))


def _phantoms(seed: int, patients: int, how: Machine, rng: np.random.Generator) -> Iterator[Phantom]:
    """Twice as many patients are planned, of whom as many are taken as the share of positives asks for."""
    plan = synthetic_images.draw_plan(seed, 6 * patients, shortcut=how.kind, strength=0.0, size=SIZE, depth=how.depth)
    ids = {label: list(dict.fromkeys(p.patient_seed for p in plan if p.label == label)) for label in (0, 1)}
    ill = round(patients * how.positives)
    taken = set(ids[1][:ill]) | set(ids[0][: patients - ill])
    styles = {patient: int(rng.random() < how.style) for patient in sorted(taken)}
    return (replace(p, style=styles[p.patient_seed]) for p in plan if p.patient_seed in taken)


def _taken(image: Image.Image, how: Machine) -> Image.Image:
    """An image as another machine takes it."""
    if how.zoom < 1:
        width, height = image.size
        x, y = (1 - how.zoom) * width / 2, (1 - how.zoom) * height / 2
        box = (x, y * (1 + how.lower), width - x, height - y * (1 - how.lower))
        image = image.resize(image.size, Image.Resampling.BILINEAR, box=box)
    if how.blur:
        image = image.filter(ImageFilter.GaussianBlur(how.blur))
    if how.level or how.gamma != 1:
        gray = 255 * (np.asarray(image) / 255.0) ** how.gamma + how.level
        image = Image.fromarray(np.clip(gray, 0, 255).astype(np.uint8))
    return image


class Classifier:
    """A fixed classifier of thumbnails, with out-of-fold answers, calibration and threshold as a retraining has them.

    Args:
        site: the training site.
        standardised: whether each thumbnail is brought to mean 0 and deviation 1 first, which makes it blind to
            exposure.
    """

    def __init__(self, site: Site, standardised: bool) -> None:
        self.standardised = standardised
        folds = split.folds(site.labels.tolist(), site.patients.astype(str).tolist(), FOLDS, 0)
        raw = np.zeros((len(site.labels), 2))
        for train, held in folds:
            raw[held] = self._fit(site.where(train)).predict_proba(self._seen(site.small[held]))
        equal = (0.5, 0.5)
        self.scale, _, _ = calibration.choose(calibration.Sample(site.labels, raw, folds, equal))
        self.model = self._fit(site)
        p = self.scale.apply(raw)[:, 1]
        event = site.labels == 1
        self.threshold = thresholds.fit("youden", event, {"clean": p}, 2.0, site.patients)
        self.known, self.truth = Answers(p, p >= self.threshold, site.patients), event

    def answers(self, site: Site) -> Answers:
        """What it says of a site's images."""
        p = self.scale.apply(self.model.predict_proba(self._seen(site.small)))[:, 1]
        return Answers(p, p >= self.threshold, site.patients)

    def _seen(self, small: NDArray[np.float64]) -> NDArray[np.float64]:
        flat = small.reshape(len(small), -1)
        if not self.standardised:
            return flat / 255
        return np.asarray((flat - flat.mean(1, keepdims=True)) / (flat.std(1, keepdims=True) + 1))

    def _fit(self, site: Site) -> Any:
        from sklearn.decomposition import PCA
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        model = make_pipeline(
            PCA(60, random_state=0), StandardScaler(), LogisticRegression(C=0.05, class_weight="balanced", max_iter=500)
        )
        return model.fit(self._seen(site.small), site.labels)


def make(workers: int, sites: int = SITES) -> None:
    """Draw and judge the sites that are not there yet, then write the page."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    left = [number for number in range(1, sites + 1) if not (FOLDER / f"{number}.json").exists()]
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for number, judged in zip(left, pool.map(judge, left), strict=True):
            (FOLDER / f"{number}.json").write_text(json.dumps(judged))
    page()


@functools.cache
def _home() -> tuple[Site, dict[str, Classifier]]:
    """The training site and its classifiers, made once a process."""
    home = draw(0, TRAINING, Machine())
    return home, {name: Classifier(home, name == "standardised") for name in ("standardised", "raw")}


def judge(number: int) -> list[dict[str, Any]]:
    """One site: a row for each classifier and figure."""
    with threadpoolctl.threadpool_limits(1):
        return _judge(number, *_home())


def _judge(number: int, home: Site, models: dict[str, Classifier]) -> list[dict[str, Any]]:
    how = machine(np.random.default_rng([number, 7]))
    site = draw(number, ELSEWHERE, how)
    event, rows = site.labels == 1, []
    for name, model in models.items():
        new = model.answers(site)
        share = shift_estimate.share_positive(model.known, model.truth, new)
        found = separation.compare(
            separation.Known(home.table, home.patients, home.labels == 1), site.table, site.patients, share=share
        )
        estimated = shift_estimate.estimate(model.known, model.truth, new)
        truth = {"sensitivity": new.positive[event].mean(), "specificity": 1 - new.positive[~event].mean()}
        at_home = {
            "sensitivity": model.known.positive[model.truth].mean(),
            "specificity": 1 - model.known.positive[~model.truth].mean(),
        }
        for figure, value in truth.items():
            one = estimated[figure]
            rows.append({
                "site": number, "model": name, "figure": figure, "auc": found.auc, "truth": float(value),
                "home": float(at_home[figure]), "estimate": one.value, "low": one.low, "high": one.high,
                "positives": how.positives, "machine": how != Machine(positives=how.positives),
            })  # fmt: skip
    return rows


def rows() -> list[dict[str, Any]]:
    """All that was judged."""
    files = sorted(FOLDER.glob("*.json"), key=lambda path: int(path.stem))
    return [row for path in files for row in json.loads(path.read_text())]


def bins(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The table: by ROC AUC of the separation, how far estimates are off and how many intervals hold the truth."""
    out = []
    for low, high in itertools.pairwise(BINS):
        part = [r for r in found if low <= max(r["auc"], 0.5) < high and np.isfinite(r["low"])]
        if part:
            off = np.array([abs(r["estimate"] - r["truth"]) for r in part])
            held = np.array([r["low"] <= r["truth"] <= r["high"] for r in part])
            fell = np.array([abs(r["home"] - r["truth"]) for r in part])
            wide = np.array([r["high"] - r["low"] for r in part])
            out.append({
                "low": low, "high": min(high, 1.0), "n": len(part), "held": float(held.mean()),
                "off": float(np.median(off)), "worst": float(np.quantile(off, 0.95)), "fell": float(np.median(fell)),
                "width": float(np.median(wide)),
            })  # fmt: skip
    return out


def bound(table: list[dict[str, Any]]) -> float:
    """The largest ROC AUC up to which every bin of the table holds at least `WANTED` of the truths."""
    reached = 0.5
    for row in table:
        if row["held"] < WANTED:
            break
        reached = row["high"]
    return reached


def page() -> None:
    """Write the page from what there is."""
    found = rows()
    table = bins(found)
    reached = bound(table)
    alone = [r for r in found if not r["machine"]]
    below = [r for r in found if r["auc"] <= reached]
    lines = [
        "| ROC AUC of the separation | estimates | intervals that hold the truth | median error | 95 % of errors below "
        "| median width of the interval | median change from the training site |",
        "|---|---|---|---|---|---|---|",
        *(
            f"| {max(r['low'], 0.5):.2f} to {r['high']:.2f} | {r['n']} | {100 * r['held']:.0f} % | {r['off']:.3f} | "
            f"{r['worst']:.3f} | {r['width']:.3f} | {r['fell']:.3f} |"
            for r in table
        ),
        "",
        f"- Bound by the rule above: **{reached:.2f}**. `separation.BOUND` is {separation.BOUND:.2f}.",
        f"- {len({r['site'] for r in found})} sites; up to the bound {_held(below)}.",
        f"- Sites that differ in the share of positives alone (10 to 90 %): {_held(alone)}; the largest ROC AUC of the "
        f"separation is {max(r['auc'] for r in alone):.2f}.",
    ]
    before, mark, _ = PAGE.read_text(encoding="utf-8").partition(MARK)
    PAGE.write_text(f"{before}{mark}\n\n" + "\n".join(lines) + "\n", encoding="utf-8")


def _held(part: list[dict[str, Any]]) -> str:
    told = [r["low"] <= r["truth"] <= r["high"] for r in part if np.isfinite(r["low"])]
    return f"{sum(told)} of {len(told)} intervals hold the truth"

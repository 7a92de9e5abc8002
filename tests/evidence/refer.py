"""Does the guarantee of a referral hold for patients that it was not fitted on?

Patients are split into halves 200 times: the pair of thresholds is fitted on one half and judged on the other. A
guarantee at a risk of 0.05 may fail in at most 5 % of the splits that gave a pair, within binomial error. The
predictions are synthetic, with clustered patients and overlap like that of real models, and those of retrained studies:
`search.retrain --refer` keeps what the pair was fitted on in `winner/referral.csv`. The table is written to
docs/evidence/refer.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from tests.evidence import networks
from tests.inputs.made_predictions import clustered
from xraytune import artifacts
from xraytune.evaluation import metrics
from xraytune.evaluation.referral import selection
from xraytune.evaluation.referral.selection import Aims, Sample

SPLITS = 200
RISK = 0.05
PAGE = networks.ROOT / "docs" / "evidence" / "refer.md"
KINDS = {
    "normal": "normal logits",
    "heavy": "heavy tails (Student's t)",
    "noisy": "label of 1 in 50 patients wrong",
    "large": "patients with more images are harder",
    "sided": "1 in 10 patients with images of both sides",
}
SYNTHETIC = tuple((kind, patients, apart) for kind in KINDS for patients in (1500, 3000) for apart in (2.5, 3.0, 3.4))


@dataclass(frozen=True)
class Splits:
    """What came of the splits of one set of predictions."""

    name: str
    patients: int
    area: float
    """ROC AUC."""
    without: int
    """Splits that gave no pair."""
    figures: np.ndarray
    """Sensitivity, specificity and share referred on the other half, `(splits with a pair, 3)`."""

    @property
    def failed(self) -> tuple[int, int, int]:
        """Splits with too low a sensitivity, with too low a specificity, with either."""
        low = self.figures[:, :2] < (Aims().sensitivity, Aims().specificity)
        return int(low[:, 0].sum()), int(low[:, 1].sum()), int(low.any(axis=1).sum())

    @property
    def allowed(self) -> int:
        """As many may fail: the 95 % quantile of the binomial at the risk."""
        return int(stats.binom.ppf(0.95, len(self.figures), RISK))


def split(name: str, sample: Sample, splits: int = SPLITS) -> Splits:
    """Fit on one half of the patients, judge on the other, `splits` times."""
    names = np.unique(sample.patients)
    rows, without = [], 0
    for seed in range(splits):
        half = np.isin(sample.patients, np.random.default_rng(seed).permutation(names)[: len(names) // 2])
        fitted = Sample(sample.event[half], sample.score[half], sample.patients[half])
        pair = selection.choose(fitted, Aims(risk=RISK), seed).referral
        if pair is None:
            without += 1
            continue
        event, score = sample.event[~half], sample.score[~half]
        between = pair.between(score)
        ill, well = event & ~between, ~event & ~between
        referred = (between[event].mean() + between[~event].mean()) / 2
        rows.append(((score[ill] >= pair.high).mean(), (score[well] < pair.low).mean(), referred))
    area = float(metrics.roc_auc(sample.event, sample.score)[0])
    return Splits(name, len(names), area, without, np.array(rows).reshape(-1, 3))


def kept(path: Path) -> Sample:
    """What a retraining's referral was fitted on."""
    table = pd.read_csv(path)
    return Sample(table["positive"].to_numpy(dtype=bool), table["probability"].to_numpy(), table["patient"].to_numpy())


def make(results: Path) -> list[Splits]:
    """Split all, the synthetic sets and the studies of a results folder, write the page, and give what was found."""
    found = []
    for one in _sets(results):
        found.append(split(*one))
        print(_row(found[-1]), flush=True)
    artifacts.write_text(PAGE, page(found))
    return found


def _sets(results: Path) -> Iterator[tuple[str, Sample]]:
    for kind, patients, apart in SYNTHETIC:
        yield f"synthetic: {KINDS[kind]}", Sample(*clustered(patients, kind, 0, apart=apart))
    for path in sorted(results.glob("*/winner/referral.csv")):
        yield f"study {path.parent.parent.name}", kept(path)


COLUMNS = (
    "predictions", "patients", "ROC AUC", "splits with a pair", "sensitivity < 0.95", "specificity < 0.90", "either",
    "allowed", "lowest sensitivity", "lowest specificity", "mean share referred",
)  # fmt: skip


def _row(one: Splits) -> str:
    """A line of the table."""
    pairs = len(one.figures)
    lowest = [f"{value:.3f}" for value in one.figures[:, :2].min(axis=0)] if pairs else ["–", "–"]
    share = f"{one.figures[:, 2].mean():.3f}" if pairs else "–"
    cells = [one.name, one.patients, f"{one.area:.3f}", pairs, *one.failed, one.allowed, *lowest, share]
    return f"| {' | '.join(map(str, cells))} |"


def page(found: list[Splits]) -> str:
    """The table with what it is of."""
    return "\n".join(
        [
            "# Referral: does the guarantee hold for other patients?",
            "",
            "Made by `make evidence PART=refer`. The patients of each set are split into halves 200 times. The pair of",
            "thresholds is fitted on one half (sensitivity at least 0.95 and specificity at least 0.90 among answered",
            "images, risk 0.05) and judged on all images of the other half. The columns “< 0.95”, “< 0.90” and",
            "“either” count the splits that fell short there; “allowed” is the 95 % quantile of the binomial",
            "distribution at 5 %.",
            "The other half is finite too, so a split can fall short by chance although the pair is valid. A split",
            "without a valid pair has no referral. The share referred weighs positive and negative images equally.",
            "",
            "The synthetic predictions have 1 to 6 images of a patient, whose logits have a correlation of 0.5. Rows",
            "of studies are their out-of-fold predictions (`winner/referral.csv`).",
            "",
            f"| {' | '.join(COLUMNS)} |",
            "|---" * len(COLUMNS) + "|",
            *(_row(one) for one in found),
            "",
        ]
    )

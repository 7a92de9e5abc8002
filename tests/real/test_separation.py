"""Halves of Kermany's training patients are alike, whatever the share of positives in one; other framing is not."""

import os
from pathlib import Path

import numpy as np
import pytest

from xraytune.data import property_table
from xraytune.data.sources import patient_names
from xraytune.evaluation.shift import separation


@pytest.fixture(scope="module")
def known():
    folder = os.environ.get("XRAYTUNE_DATA")
    assert folder, "set XRAYTUNE_DATA to the folder that holds chest_xray"
    paths = sorted((Path(folder) / "chest_xray" / "train").rglob("*.jpeg"))
    who = patient_names.from_names([path.stem for path in paths]).subjects
    positive = np.array([path.parent.name == "PNEUMONIA" for path in paths])
    return separation.Known(property_table.measure(paths).table, np.array([s.patient for s in who]), positive)


def halves(known, seed):
    patients = np.unique(known.patients)
    first = np.isin(known.patients, np.random.default_rng(seed).permutation(patients)[: len(patients) // 2])
    return separation.Known(known.table[first], known.patients[first], known.positive[first]), np.flatnonzero(~first)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_the_other_half_of_the_patients_is_alike(known, share):
    first, rows = halves(known, 0)
    ill, well = rows[known.positive[rows]], rows[~known.positive[rows]]
    size = min(len(ill) / share, len(well) / (1 - share))
    rows = np.concatenate([ill[: round(size * share)], well[: round(size * (1 - share))]])
    found = separation.compare(first, known.table[rows], known.patients[rows].tolist(), share=share)
    assert found.alike
    assert found.marked.mean() < 0.1


def test_the_other_half_taken_brighter_is_foreign(known):
    first, rows = halves(known, 1)
    table = known.table[rows]
    table[:, property_table.NAMES.index("mean")] += 30
    found = separation.compare(first, table, known.patients[rows].tolist(), share=known.positive[rows].mean())
    assert found.foreign
    assert "brightness" in found.reason

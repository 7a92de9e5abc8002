"""ROC and precision-recall curves and their bands, on made answers."""

import numpy as np
import pytest
from sklearn import metrics as sk

from search.reporting import roc_curves

CLASSES = ("Covid", "Normal", "Viral")


def answers(n: int = 240) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Labels, probabilities of three classes that are mostly right, and patients of two images each."""
    labels = np.arange(n) % 3
    z = np.random.default_rng(0).normal(0, 1, (n, 3)) + 1.5 * np.eye(3)[labels]
    p = np.exp(z)
    return labels, p / p.sum(axis=1, keepdims=True), [str(i // 6) for i in range(n)]


@pytest.mark.parametrize(("positive", "names"), [(None, CLASSES), (1, ("Normal",))])
def test_every_curve_lies_in_a_band_of_its_own(positive: int | None, names: tuple[str, ...]) -> None:
    labels, p, patients = answers()
    found = roc_curves.curves(labels, p, patients, CLASSES, positive)
    assert tuple(c.name for c in found) == names
    for c in found:
        event, score = labels == CLASSES.index(c.name), p[:, CLASSES.index(c.name)]
        fpr, tpr, _ = sk.roc_curve(event, score, drop_intermediate=False)
        assert c.roc == pytest.approx(np.interp(np.linspace(0, 1, roc_curves.GRID), fpr, tpr))
        assert c.pr.mean() == pytest.approx(sk.average_precision_score(event, score), abs=0.01)
        for line, (low, high) in ((c.roc, c.roc_band), (c.pr, c.pr_band)):
            assert ((low <= line + 1e-9) & (line <= high + 1e-9)).mean() > 0.95
            assert (high - low).max() > 0.05
        assert [svg.count('<polygon class="band') for svg in roc_curves.charts([c])] == [1, 1]
    several = roc_curves.charts(found, (0.9, 0.8, 0.7))
    assert all(name in svg for name in names for svg in several)
    assert all(svg.count("<polygon") == (len(found) == 1) for svg in several)


def test_a_class_that_no_image_shows_has_no_curve() -> None:
    labels, p, patients = answers()
    labels = np.where(labels == 2, 0, labels)
    assert [c.name for c in roc_curves.curves(labels, p, patients, CLASSES, None)] == ["Covid", "Normal"]
    alone = np.zeros(6, dtype=np.int64)
    assert roc_curves.curves(alone, p[:6], patients[:6], CLASSES, None) == []
    assert all("<svg" in svg for svg in roc_curves.charts([]))

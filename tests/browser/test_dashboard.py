"""optuna-dashboard in a real Chromium: notes and pictures are seen, nothing is too wide, nothing can be changed."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import spaces
from search.dashboard import serve
from search.reporting.dashboard_pages import DashboardPages
from search.study import create
from search.study.lock import StudyLock
from tests.inputs.made_studies import spec
from xraytune.records import EpochReport, FailureCause, TrialResult

pytestmark = pytest.mark.timeout(600)

WIDTH = 1400
EPOCHS = 12
HOSTILE = "![x](/favicon.ico) <img src=x onerror=alert(1)> www.evil.example `` ` **a**"

FORBIDDEN = """
[...document.querySelectorAll('button, [role=button], input[type=file], .MuiCardActionArea-root')].filter(e =>
  e.checkVisibility() && (/create|rename|delete|upload|add new|fail|skip/i.test(
    (e.getAttribute('aria-label') || '') + e.innerText.replace(/Trial[^]*/, ''))
  || e.querySelector('[data-testid=EditIcon], [data-testid=DeleteIcon], [data-testid=AddBoxIcon], '
    + '[data-testid=UploadFileIcon], [data-testid=DriveFileRenameOutlineIcon]'))).map(e => e.outerHTML.slice(0, 200))
"""
"""Buttons that are seen and would be refused."""


def train(study: Any, number: int, rng: np.random.Generator) -> TrialResult:
    """Report epochs of a trial that learns, with its predictions."""
    curve = []
    for epoch in range(1, EPOCHS + 1):
        value = float(0.93 - 0.4 * np.exp(-epoch / 3) + rng.normal(0, 0.01))
        study.report(number, EpochReport(epoch, value, {}, {"train": 4.0}, judged=epoch in {1, 3, 9}))
        curve.append(
            {
                "epoch": float(epoch), "value": value, "val_auc": min(1.0, value + 0.03),
                "loss": float(0.7 * np.exp(-epoch / 5)), "val_loss": float(0.2 + 0.5 * np.exp(-epoch / 4)),
            }
        )  # fmt: skip
    labels = rng.integers(0, 2, 80)
    positive = np.clip(0.35 * labels + 0.65 * rng.random(80), 0, 1)
    study.keep_predictions(
        number, probabilities=np.stack([1 - positive, positive], 1), labels=labels, indices=np.arange(80)
    )
    metrics = {
        "val_f_beta": value, "robust": value - 0.05, "val_auc": value + 0.03, "val_sensitivity": 0.931,
        "val_specificity": 0.812, "view_clean": value, "view_border masked": value - 0.17,
    }  # fmt: skip
    return TrialResult(
        value=value - 0.05, best_epoch=9, epochs=EPOCHS, metrics={k: float(v) for k, v in metrics.items()},
        curve=tuple(curve), seconds={"train": 48.0, "views": 6.0}, parameters=123456, peak_memory_mb=500.0,
        versions={}, device="cpu", host="here",
    )  # fmt: skip


def made(results: Path) -> str:
    """A study of the demonstration's kind: complete, pruned, failed, interrupted, running and waiting trials."""
    space = spaces.get("chest_xray", spaces.SpaceContext(classes=2, images=300))
    asked = spec(
        "demo-2026-11-30", space="chest_xray", families=space.families, objective="robust", demonstration=True,
        data="demo", classes=("NORMAL", "PNEUMONIA"),
    )  # fmt: skip
    about = ("Data: demo, 300 images of 150 patients: NORMAL 150, PNEUMONIA 150 (positive).",)
    study = create.create(
        asked, space.declare_hyperparameters, StudyLock(results, asked.name), resume=False,
        pages=DashboardPages(about, 24, 240.0),
    )  # fmt: skip
    rng = np.random.default_rng(0)
    study.begin(0.0, concurrency=2)
    for family in ("cnn", "dense", "cnn", "dense", "cnn"):
        study.enqueue({"family": family}, f"family {family} {study.running + study.tally.ended}")
        number = study.ask().number
        if number == 1:
            study.pruned(number, train(study, number, rng))
        elif number == 2:
            study.failed(number, FailureCause.OOM, HOSTILE)
        else:
            study.complete(number, train(study, number, rng))
    study.failed(study.ask().number, FailureCause.INTERRUPTED, "asked for by the user")
    study.ask()
    study.enqueue({"family": "dense"}, "last")
    study.describe("time budget reached")
    study.close()
    return asked.name


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    results = tmp_path_factory.mktemp("results")
    made(results)
    server = serve(results, port=0)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/dashboard"
    server.shutdown()
    server.server_close()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    opened = browser.new_page(viewport={"width": WIDTH, "height": 1500})
    opened.set_default_timeout(60_000)
    yield opened
    opened.close()


def see(page: Any, address: str, path: str, text: str) -> None:
    page.goto(f"{address}{path}")
    page.get_by_text(text).first.wait_for()
    page.wait_for_load_state("networkidle")


PAGES = {
    "studies": ("", "demo-2026-11-30"),
    "study": ("/studies/1", "Best Trial"),
    "note": ("/studies/1/note", "Next:"),
    "analytics": ("/studies/1/analytics", "Slice"),
    **{f"trial {n}": (f"/studies/1/trials?numbers={n}", f"Trial {n} (trial_id=") for n in range(8)},
}


@pytest.mark.parametrize("where", PAGES.values(), ids=PAGES)
def test_no_page_is_wider_than_its_window_and_nothing_on_it_would_be_refused(page, address, where):
    see(page, address, *where)
    assert page.evaluate("document.documentElement.scrollWidth") <= WIDTH
    assert page.evaluate(FORBIDDEN) == []
    assert page.evaluate("getComputedStyle(document.querySelector('.MuiToolbar-root'), '::after').content") == (
        '"read-only"'
    )


def test_the_note_of_the_study_has_data_classes_budget_best_and_commands(page, address):
    see(page, address, "/studies/1/note", "Next:")
    text = page.inner_text("#dashboard")
    for words in ("DEMONSTRATION, NOT X-RAYS", "NORMAL, PNEUMONIA (positive)", "4m00s of time, at most 24 trials",
                  "Best robust F2: 0.", "python -m search.retrain best --study demo-2026-11-30",
                  "ended: time budget reached"):  # fmt: skip
        assert words in text, words


def test_a_trial_has_its_note_and_pictures_that_can_be_read(page, address):
    see(page, address, "/studies/1/trials?numbers=0", "Hyperparameters:")
    note = page.inner_text("#dashboard")
    assert re.search(r"cnn, robust F2 0\.\d{3}: complete", note)
    assert "view border masked (F2 0." in note
    assert page.locator("table:not([class]) th").all_inner_texts() == [
        "clean", "robust", "AUC", "sensitivity", "specificity"
    ]  # fmt: skip
    pictures = page.locator('img[src^="/artifacts/"]')
    assert [pictures.nth(i).get_attribute("alt") for i in range(pictures.count())] == [
        "learning_curve.svg", "loss.svg", "roc.svg"
    ]  # fmt: skip
    for i in range(3):
        pictures.nth(i).scroll_into_view_if_needed()
        assert pictures.nth(i).is_visible()
        assert pictures.nth(i).bounding_box()["width"] >= 300
        assert pictures.nth(i).evaluate("async e => { await e.decode(); return e.naturalWidth }") > 0


def test_an_interrupted_and_a_failed_trial_say_so_and_a_message_is_no_markup(page, address):
    see(page, address, "/studies/1/trials?numbers=5", "is queued again")
    assert "interrupted" in page.inner_text("#dashboard")
    see(page, address, "/studies/1/trials?numbers=2", "Cause:")
    assert HOSTILE in page.inner_text("#dashboard")
    assert page.locator('img[src="x"], img[src="/favicon.ico"], a[href*="evil"]').count() == 0
    assert page.locator("strong").all_inner_texts() == ["failed"]

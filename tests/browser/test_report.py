"""The report in a real Chromium: wide and narrow, offline, the slider, and on paper."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from xraytune import artifacts

ROOT = Path(__file__).parents[2]
CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a small study, retrained in processes of its own."""
    home = tmp_path_factory.mktemp("report")
    environment = {**os.environ, "XRAYTUNE_CACHE": str(home / "cache"), "PYTHONPATH": str(ROOT)}
    maker = ROOT / "tests/e2e/retraining/made_study.py"
    subprocess.run([sys.executable, str(maker), str(home)], env=environment, check=True, capture_output=True)
    arguments = ["best", "--results", str(home / "results"), "--folds", "3", "--seeds", "1", "--time", "5m"]
    subprocess.run(
        [sys.executable, "-m", "search.retrain", *arguments], cwd=ROOT, env=environment, check=True, capture_output=True
    )
    return home / "results" / "made" / "winner" / "report.html"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    if not Path(CHROMIUM).exists():
        pytest.fail("Chromium is missing: apt-get install chromium")
    with sync_playwright() as play:
        launched = play.chromium.launch(executable_path=CHROMIUM, args=FLAGS, headless=True)
        yield launched
        launched.close()


@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_fits_its_width_asks_for_nothing_and_has_no_error(browser: Any, report: Path, width: int) -> None:
    page = browser.new_page(viewport={"width": width, "height": 900})
    asked: list[str] = []
    errors: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.goto(report.as_uri())
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    assert errors == []
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    for heading in ("In short", "The test set", "Operating threshold", "Calibration", "Ledger"):
        assert page.get_by_role("heading", name=heading).first.is_visible()
    assert page.locator("svg.chart").count() >= 5
    broken = "Array.from(document.images).filter(i => !i.naturalWidth).length"
    assert page.locator("figure img").count() >= 4
    assert page.evaluate(broken) == 0
    hints = page.locator(".hint:not(details *)")
    assert hints.count() >= 4
    assert hints.first.is_visible() == (width < 640)
    assert not page.locator("details").first.evaluate("e => e.open")
    page.locator("#each summary").click()
    assert page.locator("#each tbody tr").count() == 11
    assert page.locator("#each td").first.is_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    page.close()


def test_the_slider_counts_as_the_confusion_matrix_does(browser: Any, report: Path) -> None:
    page = browser.new_page()
    page.goto(report.as_uri())

    def at(value: float) -> dict[str, float]:
        page.locator("#threshold").evaluate("(e, v) => { e.value = v; e.dispatchEvent(new Event('input')) }", value)
        return {
            name: float(page.locator(f"#{name}").inner_text()) for name in ("sens", "spec", "f2", "missed", "alarms")
        }

    everyone = at(0)
    assert (everyone["sens"], everyone["spec"], everyone["missed"], everyone["alarms"]) == (1, 0, 0, 100)
    nobody = at(1)
    assert nobody["sens"] <= everyone["sens"]
    assert nobody["spec"] >= everyone["spec"]
    rows = page.locator("#figures tbody").nth(1).locator("tr")
    matrix = [[int(cell) for cell in rows.nth(i).locator("td").all_inner_texts()[1:]] for i in range(2)]
    threshold = page.locator("#threshold").get_attribute("value")
    page.reload()
    kept = artifacts.read_json(report.parent / "metrics.json")["test"]["threshold"]
    assert float(page.locator("#threshold").input_value()) == pytest.approx(kept, abs=1e-9)  # not snapped to a step
    used = at(float(threshold))
    assert used["sens"] == pytest.approx(matrix[1][1] / sum(matrix[1]), abs=0.001)
    assert used["spec"] == pytest.approx(matrix[0][0] / sum(matrix[0]), abs=0.001)
    page.close()


def test_it_prints_without_the_slider(browser: Any, report: Path, tmp_path: Path) -> None:
    page = browser.new_page()
    page.goto(report.as_uri())
    page.emulate_media(media="print")
    assert not page.locator("#threshold").is_visible()
    assert page.get_by_text("Not a medical device").first.is_visible()
    assert page.locator("details .mono").first.is_visible()
    colours = page.locator("ul.bars b").first.evaluate("e => getComputedStyle(e).printColorAdjust")
    assert colours == "exact"
    page.pdf(path=tmp_path / "report.pdf", format="A4")
    assert (tmp_path / "report.pdf").stat().st_size > 20_000
    page.close()

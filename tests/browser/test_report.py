"""The report in a real Chromium: at three widths, light and dark, offline, by keyboard, and on paper."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.browser.looks import CONTRASTS, CUT
from xraytune import artifacts

ROOT = Path(__file__).parents[2]
CHAPTERS = (
    "Summary", "Data", "Search", "Test results", "Threshold", "Subgroups", "Example images",
    "Comparison with baselines", "Methods", "Reproducibility",
)  # fmt: skip

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a small study, retrained in processes of its own."""
    home = tmp_path_factory.mktemp("report")
    environment = {**os.environ, "XRAYTUNE_CACHE": str(home / "cache"), "PYTHONPATH": str(ROOT)}
    maker = ROOT / "tests/e2e/retraining/made_study.py"
    subprocess.run([sys.executable, str(maker), str(home)], env=environment, check=True, capture_output=True)
    arguments = ["best", "--results", str(home / "results"), "--folds", "3", "--seeds", "1", "--time", "5m"]
    arguments += ["--refer", "--refer-sensitivity", "0.3", "--refer-specificity", "0.3", "--refer-risk", "0.5"]
    subprocess.run(
        [sys.executable, "-m", "search.retrain", *arguments], cwd=ROOT, env=environment, check=True, capture_output=True
    )
    return home / "results" / "made" / "winner" / "report.html"


@pytest.mark.parametrize("width", [1400, 800, 390])
def test_nothing_is_cut_at_any_width_and_the_page_asks_for_nothing(browser: Any, report: Path, width: int) -> None:
    page = browser.new_page(viewport={"width": width, "height": 900})
    asked: list[str] = []
    errors: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.goto(report.as_uri())
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    assert errors == []
    page.evaluate("document.querySelectorAll('details').forEach(e => e.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert page.evaluate(CUT) == []
    assert page.locator("svg.chart").count() >= 8
    assert page.locator("#figure-referral svg.chart").count() == page.locator("#table-referral").count() == 1
    assert page.locator(".picture img").count() >= 8
    assert page.evaluate("Array.from(document.images).filter(i => i.src && !i.naturalWidth).length") == 0
    assert page.locator(".picture").first.bounding_box()["width"] >= 300
    page.close()


def test_the_contents_lead_to_every_chapter_and_each_note_to_its_text(browser: Any, report: Path) -> None:
    page = browser.new_page()
    page.goto(report.as_uri())
    assert tuple(page.locator("nav a").all_inner_texts()) == CHAPTERS
    links = page.evaluate("[...document.querySelectorAll('a[href^=\"#\"]')].map(a => a.getAttribute('href'))")
    assert len([link for link in links if link.startswith("#note-")]) >= 8
    assert [link for link in links if page.locator(link).count() != 1] == []
    numbers = page.evaluate(
        "[...document.querySelectorAll('sup a')].map(a => [+a.textContent, "
        "1 + [...document.querySelectorAll('.notes li')].indexOf(document.querySelector(a.getAttribute('href')))])"
    )
    assert all(shown == found for shown, found in numbers)
    page.close()


def test_the_first_screen_has_verdict_figures_picture_and_matrix(browser: Any, report: Path) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(report.as_uri())
    assert page.locator("h1").inner_text() == "NORMAL / PNEUMONIA · study made"
    assert re.search(r"\d{1,2} [A-Z][a-z]{2} \d{4}, \d\d:\d\d", page.locator("header p").inner_text())
    for where in (".verdict", "#summary .tiles", "#figure-roc svg", "#table-confusion"):
        box = page.locator(where).bounding_box()
        assert box["y"] + box["height"] <= 900, where
    assert page.locator("#summary .tile").count() == 4
    assert page.locator("#summary .base").count() == 4
    matrix = page.locator("#table-confusion").inner_text()
    assert all(f"({name})" in matrix for name in ("TP", "FP", "FN", "TN"))
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_and_lines_have_contrast(browser: Any, report: Path, scheme: Any) -> None:
    page = browser.new_page(color_scheme=scheme)
    page.goto(report.as_uri())
    page.evaluate("document.querySelectorAll('details').forEach(e => e.open = true)")
    paper = page.evaluate("getComputedStyle(document.querySelector('section')).backgroundColor")
    assert (paper == "rgb(255, 255, 255)") == (scheme == "light")
    assert page.evaluate(CONTRASTS) == []
    page.close()


def test_every_table_has_a_caption_scopes_and_its_csv_and_every_figure_its_svg(browser: Any, report: Path) -> None:
    page = browser.new_page()
    page.goto(report.as_uri())
    tables = page.locator("table")
    assert tables.count() >= 12
    assert page.locator("table > caption").count() == tables.count()
    assert page.locator("th:not([scope])").count() == 0
    assert page.locator("tbody tr > :first-child:not(th)").count() == 0
    links = page.evaluate("[...document.querySelectorAll('a.download')].map(a => a.getAttribute('href'))")
    assert {(report.parent / link).suffix for link in links} == {".csv", ".svg"}
    assert len(links) == tables.count() + page.locator("figure.chart").count()
    for link in links:
        assert (report.parent / link).stat().st_size > 20
    for drawing in (report.parent / "figures").iterdir():
        page.goto(drawing.as_uri())  # Chromium shows a broken SVG as an error
        assert page.locator("parsererror").count() == 0
        assert page.locator("svg > style").count() == 1
    page.close()


def test_an_image_is_enlarged_and_closed_by_keyboard(browser: Any, report: Path) -> None:
    page = browser.new_page()
    page.goto(report.as_uri())
    picture = page.locator(".picture").first
    picture.focus()
    page.keyboard.press("Enter")
    dialog = page.locator("#viewer")
    assert dialog.is_visible()
    assert re.search(r"image \d+: true class \w+\. P\(PNEUMONIA\) = 0\.\d\d, threshold 0\.\d\d → ", dialog.inner_text())
    assert dialog.locator("img").first.evaluate("e => e.naturalWidth") >= 512
    page.keyboard.press("Escape")
    assert not dialog.is_visible()
    assert picture.evaluate("e => e === document.activeElement")
    heat = page.locator(".picture .heat").first
    assert heat.is_visible()
    page.locator("#heat").press("Space")
    assert not heat.is_visible()
    page.close()


def test_the_slider_counts_as_the_confusion_matrix_does(browser: Any, report: Path) -> None:
    page = browser.new_page()
    page.goto(report.as_uri())

    def at(value: float) -> dict[str, float]:
        page.locator("#cut").evaluate("(e, v) => { e.value = v; e.dispatchEvent(new Event('input')) }", value)
        return {
            name: float(page.locator(f"#{name}").inner_text()) for name in ("sens", "spec", "f2", "missed", "alarms")
        }

    everyone = at(0)
    assert (everyone["sens"], everyone["spec"], everyone["missed"], everyone["alarms"]) == (1, 0, 0, 100)
    nobody = at(1)
    assert nobody["sens"] <= everyone["sens"]
    assert nobody["spec"] >= everyone["spec"]
    rows = page.locator("#table-confusion tbody tr")
    matrix = [[int(cell.split()[0]) for cell in rows.nth(i).locator("td").all_inner_texts()] for i in range(2)]
    threshold = page.locator("#cut").get_attribute("value")
    page.reload()
    kept = artifacts.read_json(report.parent / "metrics.json")["test"]["threshold"]
    assert float(page.locator("#cut").input_value()) == pytest.approx(kept, abs=1e-9)  # not snapped to a step
    used = at(float(threshold))
    assert used["sens"] == pytest.approx(matrix[1][1] / sum(matrix[1]), abs=0.001)
    assert used["spec"] == pytest.approx(matrix[0][0] / sum(matrix[0]), abs=0.001)
    assert "sensitivity" in page.locator("#cut").get_attribute("aria-valuetext")
    page.close()


def test_predictive_values_follow_the_prevalence_that_is_typed(browser: Any, report: Path) -> None:
    page = browser.new_page()
    page.goto(report.as_uri())
    rows = page.locator("#table-predictive_values tbody tr")
    assert rows.last.locator("td").first.inner_text() == "10 %"
    page.locator("#prevalence").fill("10")
    shown = [float(v) for v in re.findall(r"\d\.\d+", page.locator("#predicted").inner_text())]
    table = [float(v) for v in re.findall(r"\d\.\d+", " ".join(rows.last.locator("td").all_inner_texts()[1:]))]
    assert shown == pytest.approx(table, abs=0.006)
    page.locator("#prevalence").fill("0")
    assert "between" in page.locator("#predicted").inner_text()
    page.close()


def test_it_prints_on_at_most_eight_pages_without_what_needs_a_screen(
    browser: Any, report: Path, tmp_path: Path
) -> None:
    page = browser.new_page(viewport={"width": 1400, "height": 900}, color_scheme="dark")
    page.goto(report.as_uri())
    page.emulate_media(media="print")
    for hidden in ("#cut", "nav", "a.download", "#configuration"):
        assert not page.locator(hidden).first.is_visible(), hidden
    assert page.get_by_text("Not a medical device").first.is_visible()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    first = page.locator(".images").first
    assert len(first.evaluate("e => getComputedStyle(e).gridTemplateColumns").split()) == 4
    pdf = page.pdf(path=tmp_path / "report.pdf", prefer_css_page_size=True)
    assert 2 <= len(re.findall(rb"/Type\s*/Page\b", pdf)) <= 8
    page.close()

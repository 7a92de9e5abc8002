"""The page of `search.serve` in a real Chromium: files chosen and dropped, light and dark, narrow, by keyboard."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.browser.looks import CONTRASTS, CUT
from tests.inputs.made_models import brightness_model, image
from tests.inputs.made_radiographs import write

ROOT = Path(__file__).parents[2]
DROP = """async ([names, bytes]) => {
  const moved = new DataTransfer();
  for (const name of names) moved.items.add(new File([new Uint8Array(bytes)], name));
  document.body.dispatchEvent(new DragEvent("drop", {dataTransfer: moved, bubbles: true, cancelable: true}));
}"""
"""Drop files of these names and one content."""

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # Keras, when it saves
]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of the page of a small model, in a process of its own that ends with 0."""
    home = tmp_path_factory.mktemp("serve")
    model = brightness_model(home / "model", study="mine")
    command = [sys.executable, "-m", "search.serve", str(model), "--port", "0"]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        found = re.search(r"http://127\.0\.0\.1:\d+", process.stdout.readline())
        assert found, "no address"
        yield found[0]
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0


@pytest.fixture
def chest(tmp_path: Path) -> Path:
    return write(tmp_path / "chest.jpeg", image(np.random.default_rng(1), 1, 300))


class Opened:
    """The page, with all that it asked for and complained of."""

    def __init__(self, browser: Any, address: str, **look: Any) -> None:
        self.page = browser.new_page(**look)
        self.asked: list[str] = []
        self.errors: list[str] = []
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", lambda m: self.errors.append(m.text) if m.type in {"error", "warning"} else None)
        # a chooser is caught from here on: one that opens while a later listener is being set up would be lost
        self.page.on("filechooser", lambda _chooser: None)
        self.address = address
        self.page.goto(address)

    def drop(self, names: list[str], content: bytes) -> None:
        self.page.evaluate(DROP, [names, list(content)])

    def answer(self) -> str:
        self.page.locator("#answer:not([hidden])").wait_for()
        assert not self.page.locator("#problem").is_visible()
        return str(self.page.locator("#answer").inner_text())

    def problem(self) -> str:
        self.page.locator("#problem:not([hidden])").wait_for()
        assert not self.page.locator("#answer").is_visible()
        return str(self.page.locator("#problem").inner_text())

    def end(self, refusals: int = 0) -> None:
        """Nothing was asked of elsewhere; the browser complains of nothing but the requests that were refused."""
        assert [url for url in self.asked if not url.startswith((f"{self.address}/", "data:"))] == []
        assert len([text for text in self.errors if "the server responded with a status of 422" in text]) == refusals
        assert len(self.errors) == refusals, self.errors
        self.page.close()


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_dropped_image_gets_its_answer_and_heat_map(
    browser: Any, address: str, chest: Path, width: int, scheme: str
) -> None:
    opened = Opened(browser, address, viewport={"width": width, "height": 900}, color_scheme=scheme)
    assert opened.page.evaluate(CONTRASTS) == []
    opened.drop(["chest.jpeg"], chest.read_bytes())
    shown = opened.answer()
    assert opened.page.locator("#decision").inner_text() == "PNEUMONIA"
    assert re.search(r"Probability of PNEUMONIA: (0\.\d{3}|1\.000)", shown)
    assert "chest.jpeg" in shown
    assert "PNEUMONIA is predicted when its probability is at least 0.500" in shown
    page = opened.page
    assert page.locator("#heat").evaluate("e => e.complete && e.naturalWidth") == 512
    assert page.evaluate("Array.from(document.images).filter(i => i.src && !i.naturalWidth).length") == 0
    assert page.locator("#fill").bounding_box()["width"] > page.locator(".bar").bounding_box()["width"] / 2
    assert page.locator("#status").inner_text().startswith("chest.jpeg: PNEUMONIA, probability of PNEUMONIA ")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert [one for one in page.evaluate(CUT) if "unseen" not in one] == []  # what only screen readers get
    assert page.evaluate(CONTRASTS) == []
    paper = page.evaluate("getComputedStyle(document.querySelector('section')).backgroundColor")
    assert (paper == "rgb(255, 255, 255)") == (scheme == "light")
    assert page.get_by_text("Not a medical device").is_visible()
    opened.end()


def test_an_image_is_chosen_and_its_heat_map_taken_away_by_keyboard(browser: Any, address: str, chest: Path) -> None:
    opened = Opened(browser, address)
    page = opened.page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "file"
    assert page.locator("#drop").evaluate("e => getComputedStyle(e).outlineStyle") == "solid"
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Enter")
    chooser.value.set_files(chest)
    opened.answer()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "show"
    assert page.locator("#heat").is_visible()
    page.keyboard.press("Space")
    assert not page.locator("#heat").is_visible()
    with page.expect_file_chooser() as chooser:
        page.locator("#file").press("Enter")
    chooser.value.set_files(chest)  # the same file once more
    opened.answer()
    assert len([url for url in opened.asked if url.endswith("/answer")]) == 2
    opened.end()


def test_an_image_unlike_the_training_images_is_warned_of(browser: Any, address: str, chest: Path) -> None:
    opened = Opened(browser, address)
    content = write(chest.with_name("flat.png"), image(np.random.default_rng(1), 1, 300).point(lambda v: 255 - v // 4))
    opened.drop(["flat.png"], content.read_bytes())
    assert re.search(r"Unlike the training images \([a-z -]+\): don't trust the answer\.", opened.answer())
    opened.end()


def test_a_bad_file_shows_its_message_and_the_next_one_is_answered(browser: Any, address: str, chest: Path) -> None:
    opened = Opened(browser, address)
    opened.drop(["chest.jpeg"], chest.read_bytes()[:2000])
    assert "chest.jpeg: This file can't be used: " in opened.problem()
    opened.drop(["notes.png"], b"a text")
    assert "notes.png: This file can't be used: " in opened.problem()
    opened.drop(["empty.dcm"], b"")
    assert opened.problem() == "empty.dcm: This file can't be used: the file is empty."
    opened.drop(["chest.jpeg"], chest.read_bytes())
    opened.answer()
    opened.end(refusals=3)


def test_several_files_and_files_that_are_too_large_are_not_sent(browser: Any, address: str, chest: Path) -> None:
    opened = Opened(browser, address)
    opened.drop(["a.jpeg", "b.jpeg"], chest.read_bytes())
    assert opened.problem() == "2 files: drop one image at a time."
    opened.page.evaluate(
        """() => { const file = new File([], "large.dcm"), moved = new DataTransfer();
        moved.items.add(new File([new Uint8Array(257 << 20)], "large.dcm"));
        document.body.dispatchEvent(new DragEvent("drop", {dataTransfer: moved, bubbles: true})); }"""
    )
    assert opened.problem() == "large.dcm: This file can't be used: it is larger than 256 MiB."
    assert not [url for url in opened.asked if url.endswith("/answer")]
    opened.end()


def test_a_file_name_is_text_and_is_never_sent(browser: Any, address: str, chest: Path) -> None:
    opened = Opened(browser, address)
    sent: list[Any] = []
    opened.page.on("request", lambda request: sent.append((request.url, request.all_headers(), request.method)))
    name = "..\\..\\<img src=x onerror=alert(1)>&amp;..%2f.jpeg"
    opened.drop([name], chest.read_bytes())
    assert name in opened.answer()
    assert opened.page.locator("#name img").count() == 0
    posts = [one for one in sent if one[2] == "POST"]
    assert [url for url, _, _ in posts] == [f"{address}/answer"]
    assert "onerror" not in str(posts)
    opened.end()

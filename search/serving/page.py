"""The page's text: one HTML document without an address in it, and the policy that lets only this one run."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from search.cli.console import BANNER, NOTICE
from search.reporting.pages import TEMPLATES, environment
from search.reporting.svg import COLOURS
from xraytune.inference.classifier import Classifier
from xraytune.inference.predict_files import Stated


@dataclass(frozen=True)
class Page:
    """What is served as the page."""

    text: str
    policy: str
    """Its Content-Security-Policy: its own style and script by their sha256, pictures from data URLs, this address."""


def page(model: Classifier, stated: Stated, largest: int) -> Page:
    """The page of a model.

    Args:
        model: that answers.
        stated: for which prevalence and at which threshold.
        largest: bytes that a file may have.
    """
    templates = environment(Path(__file__).parent / "templates", TEMPLATES)
    style = "\n" + templates.get_template("page.css").render(colours=COLOURS)
    script = "\n" + templates.get_template("page.js").render()
    card = model.card
    text = templates.get_template("page.html").render(
        style=Markup(style),
        script=Markup(script),
        classes=card.classes,
        study=card.made.get("study"),
        banner=BANNER if card.demonstration else "",
        notice=NOTICE,
        rule=stated.rule(model),
        marks=_marks(model, stated),
        largest=largest,
    )
    sources = f"script-src {_source(script)}; style-src {_source(style)}; img-src data:; connect-src 'self'"
    closed = "form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
    return Page(text, f"default-src 'none'; {sources}; {closed}")


def _marks(model: Classifier, stated: Stated) -> tuple[float, ...]:
    """The thresholds among the probabilities as they are stated: one, or two with a referral."""
    if model.card.positive is None:
        return ()
    pair = stated.referral(model)
    return tuple(dict.fromkeys((pair.low, pair.high))) if pair else (stated.at(model)[0],)


def _source(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"

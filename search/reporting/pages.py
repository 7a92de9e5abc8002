"""HTML pages from templates, and the style that they share."""

from __future__ import annotations

from pathlib import Path

import jinja2

TEMPLATES = Path(__file__).parent / "templates"
"""Of the report; `colours.css` in it is every page's palette, light and dark."""


def environment(*folders: Path) -> jinja2.Environment:
    """Templates of these folders: HTML is escaped, and a name that is not there is an error."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(folders),
        autoescape=jinja2.select_autoescape(["html"]),
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )

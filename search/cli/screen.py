"""Text on a terminal, shown as it is written: no markup is read out of it, and no control character gets through.

Names of files, classes and studies and the messages of other programs are text of others. A `Screen` prints all text
so; styles are given beside the text (`styled`), never inside it.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

_BIDIRECTIONAL = frozenset("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u2028\u2029")
"""They turn the order of what follows round, or break a line, without being seen."""

Part = str | tuple[str, str]
"""Text, or text and its style."""


def escaped(text: str, keep: str = "\n\t") -> str:
    r"""The text with each control character as Python would write it: `\x1b`, `\u202e`, `\udc80`.

    Args:
        text: of anybody.
        keep: control characters that stay; by default those that only lay a text out.
    """
    if text.isprintable():
        return text
    return "".join(c if c in keep or not _unseen(c) else ascii(c)[1:-1] for c in text)


def _unseen(character: str) -> bool:
    return unicodedata.category(character) in {"Cc", "Cs"} or character in _BIDIRECTIONAL


def name(text: object) -> str:
    """The name of a file, class or study for people: on one line, control characters escaped."""
    return escaped(str(text), keep="")


def styled(*parts: Part, style: str = "") -> Text:
    """Text of several parts, each shown as it is written.

    Args:
        parts: text, or (text, style).
        style: of the whole.
    """
    pieces = [escaped(p) if isinstance(p, str) else (escaped(p[0]), p[1]) for p in parts]
    return Text.assemble(*pieces, style=style)


class Screen(Console):
    """A rich console without markup, emoji codes and highlighting, and without control characters of others."""

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """A plain string as rich text, escaped before it is laid out."""
        return super().render_str(escaped(text), **{**options, "markup": False})

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """What is written: the last place at which a control character could get through."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(escaped(segment.text), segment.style)

    def on_broken_pipe(self) -> None:
        """Go on in silence when whoever reads this ends (`… | head`), where rich would end the program."""
        self.quiet = True
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.file.fileno())
        os.close(nowhere)

    def say(self, *parts: Part, style: str = "") -> None:
        """A line that a terminal wraps between words and a pipe gets whole."""
        self.print(styled(*parts, style=style), soft_wrap=not self.is_terminal)

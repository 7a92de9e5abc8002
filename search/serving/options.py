"""What `search.serve` may be asked for."""

from __future__ import annotations

from dataclasses import dataclass

from search.cli.options import as_field
from search.cli.shared import PORT, Statement


@dataclass(frozen=True)
class ServingOptions(Statement):
    """Where the page is, and how answers are stated."""

    port: int = as_field(PORT, 8081)

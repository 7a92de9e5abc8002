"""Whose program a study runs: a space of one's own is code, and a results folder may come from somebody else.

The name of a space that a database holds (`file.py:Space`, `module:Space`) is only followed where a user of this
installation named it for this study. A search therefore keeps a mark with its study that nobody can make who has not
this installation's key (`xraytune.data.identity`).
"""

from __future__ import annotations

import hmac

from search.study.studies import Studies
from xraytune.data import identity
from xraytune.errors import InputError

ATTRIBUTE = "space_named"
"""The study's attribute that holds the mark."""


def is_program(space: str) -> bool:
    """Whether a space's name says which code is to be imported; those of this package have plain names."""
    return ":" in space


def mark(study: str, space: str) -> str:
    """What says that the space was named here for this study; empty for a space of this package.

    Raises:
        InputError: the installation's key can't be made or read.
    """
    return identity.keyed(f"space\0{study}\0{space}") if is_program(space) else ""


def check(study: str, space: str | None, named: str | None, studies: Studies) -> None:
    """Refuse to import a space that nobody named here.

    Args:
        study: the study's name.
        space: what its database says.
        named: what the user named himself.
        studies: where the study is.

    Raises:
        InputError: it is a program, was not named now, and the study was not searched on this installation.
    """
    if space is None or space == named or not is_program(space):
        return
    kept = studies.attributes(study).get(ATTRIBUTE)
    if not isinstance(kept, str) or not hmac.compare_digest(kept.encode(), mark(study, space).encode()):
        raise InputError(
            f"Study {study!r} runs the program {space!r} as its search space, and it was not searched with this "
            f"installation's cache. If you trust that file, give it yourself: --space {space}"
        )

"""Where files that a manifest names in vain may be: the near miss that one message tells."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path

_MOST = 200_000  # files looked at
_TRIED = 200  # names looked for


def hint(root: Path, keys: Sequence[str]) -> str:
    """What is there instead of files that are not there, in words; empty where nothing is alike.

    Args:
        root: the keys are relative to it.
        keys: the paths that name no file.
    """
    names = _files(root)
    stems = {_stem(name): name for name in names}
    folded = {name.casefold(): name for name in names}
    alone = {_alone(name): name for name in names}
    stems_alone = {_alone(stem): name for stem, name in stems.items()}
    windows = "these are Windows paths; " if re.match(r"[A-Za-z]:/|//", keys[0]) else ""
    ways: tuple[tuple[str, Callable[[str], str | None]], ...] = (
        ("write the path with its suffix", stems.get),
        ("its suffix differs", lambda key: stems.get(_stem(key))),
        ("capitals differ", lambda key: folded.get(key.casefold())),
        ("write paths relative to the manifest", lambda key: alone.get(_alone(key))),
        ("write paths relative to the manifest, with the suffix", lambda key: stems_alone.get(_alone(key))),
    )
    tried = keys[:_TRIED]
    for advice, find in ways:
        found = [(key, name) for key in tried if (name := find(key))]
        if found:
            every = f" ({len(found)} of the first {len(tried)} are found so)" if len(tried) > 1 else ""
            return f"{windows}{found[0][1]} is there for {found[0][0]}: {advice}{every}"
    if windows:
        return f"{windows}write paths relative to the manifest, whose folder is {root}"
    return ""


def _stem(path: str) -> str:
    return os.path.splitext(path)[0]  # noqa: PTH122 - as text, since it may be no path of this system


def _alone(path: str) -> str:
    """The name without its folders and capitals."""
    return path.rpartition("/")[2].casefold()


def _files(root: Path) -> list[str]:
    """Paths of the files below a folder, at most `_MOST`, with `/`."""
    found: list[str] = []
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        prefix = "" if (below := os.path.relpath(folder, root)) == "." else below.replace(os.sep, "/") + "/"
        found += [prefix + name for name in files]
        if len(found) > _MOST:
            break
    return found

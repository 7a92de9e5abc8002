"""The demonstration's data set: phantoms as files in Kaggle's layout, drawn into the cache once."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from xraytune.data import cache
from xraytune.data.decoding import parallel
from xraytune.data.problems import Progress
from xraytune.data.sources import archives, folder, synthetic_images
from xraytune.data.sources.listing import MARKER, Listing

_TEXT = (
    "DEMONSTRATION, NOT X-RAYS. These are synthetic images, drawn by xraytune with known truth.\n"
    "Nothing that is measured on them says anything about patients.\n"
)
PLAN: dict[str, Any] = {"patients": 240, "strength": 0.9, "size": 64, "depth": 3.5}
"""Arguments of `synthetic_images.draw_plan`: a small CNN learns the opacities within ten epochs, and a network that
learns the shortcut instead is nearly as good on validation images, but not on test images."""

_EDITION = 4  # raised when the drawing changes, so that an old folder is not taken for a new one


def open_phantoms(progress: Progress | None = None) -> Listing:
    """The demonstration, drawn on first use (some seconds); always the same images, whatever the search's seed."""
    root = cache.folder("demo") / f"chest_phantoms-{_EDITION}"
    if not (root / MARKER).exists():
        with cache.lock(root.with_suffix(".lock")):
            if not (root / MARKER).exists():
                write(root, synthetic_images.draw_plan(**PLAN), progress)
    return folder.read_layout(root)


@dataclass(frozen=True)
class _Drawer:
    """Draws phantoms into files; every process that helps has one."""

    root: Path
    images: tuple[synthetic_images.Phantom, ...]

    def __call__(self, piece: range) -> None:
        for image in self.images[piece.start : piece.stop]:
            path = self.root / image.split / synthetic_images.CLASSES[image.label] / f"{image.name}.png"
            Image.fromarray(synthetic_images.pixels(image)).save(path, compress_level=1)


def write(root: Path, images: tuple[synthetic_images.Phantom, ...], progress: Progress | None = None) -> None:
    """Draw phantoms into a folder in Kaggle's layout; it appears when it is whole, or not at all.

    Args:
        root: the folder to make; what lies there is replaced.
        images: from `phantoms.plan`.
        progress: told about images drawn.
    """
    root.parent.mkdir(parents=True, exist_ok=True)
    with archives.making(root) as making:
        for name in synthetic_images.CLASSES:
            for split in ("train", "test"):
                (making / split / name).mkdir(parents=True)
        parallel.spread(_Drawer(making, images), len(images), "drawing images", progress)
        (making / MARKER).write_text(_TEXT, encoding="utf-8")
        if root.exists():
            shutil.rmtree(root)

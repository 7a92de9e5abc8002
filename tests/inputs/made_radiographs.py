"""Small images and folders of them for tests; nothing here knows how the library works inside."""

import io
from pathlib import Path

import numpy as np
from PIL import Image


def radiograph(seed, width=40, height=32, mode="L"):
    """A smooth random picture: no two seeds look alike, and re-encoding changes little."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.uniform(0, 255, (6, 6)).astype(np.float32))
    fine = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)) + rng.normal(0, 2, (height, width))
    return Image.fromarray(np.clip(fine, 0, 255).astype(np.uint8)).convert(mode)


def encoded(image, kind="PNG", **options):
    """A file's bytes."""
    sink = io.BytesIO()
    image.save(sink, kind, **options)
    return sink.getvalue()


def write(path, content):
    """Write an image or bytes, folders made."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, Image.Image):
        content = encoded(content, "JPEG" if path.suffix in {".jpg", ".jpeg"} else "PNG")
    path.write_bytes(content)
    return path


def flat(root, counts=None, seed=0, suffix=".png"):
    """Class folders without splits; two images a patient, named as Kermany's."""
    number = seed * 100_000
    for name, count in (counts or {"NORMAL": 20, "PNEUMONIA": 30}).items():
        for i in range(count):
            number += 1
            stem = f"IM-{i // 2:04d}-{i % 2:04d}" if name == "NORMAL" else f"person{i // 2}_virus_{i % 2}"
            write(Path(root) / name / f"{stem}{suffix}", radiograph(number))
    return Path(root)


def kaggle(root, train=20, test=8, val=0, suffix=".png"):
    """Kaggle's layout; patients of the splits are numbered apart."""
    number = 0
    for split, count, first in (("train", train, 0), ("test", test, 1000), ("val", val, 2000)):
        for name in ("NORMAL", "PNEUMONIA"):
            for i in range(count):
                number += 1
                patient = first + i // 2
                stem = f"IM-{patient:04d}-{i % 2:04d}" if name == "NORMAL" else f"person{patient}_bacteria_{i % 2}"
                write(Path(root) / split / name / f"{stem}{suffix}", radiograph(number))
    return Path(root)


CORRUPTIONS = ("flip", "truncate", "extension", "empty", "html", "zeros")


def corrupt(content, number):
    """Damage a file's bytes in one of the ways that files are damaged, by number.

    Returns the damaged bytes and the suffix that the file should have (None for its own).
    """
    rng = np.random.default_rng(number)
    how = CORRUPTIONS[number % len(CORRUPTIONS)]
    if how == "flip":
        damaged = bytearray(content)
        for at in rng.integers(0, len(content), int(rng.choice([1, 5, 50]))):
            damaged[at] ^= int(rng.integers(1, 256))
        return bytes(damaged), None
    if how == "truncate":
        return content[: len(content) * (1 + number // len(CORRUPTIONS) % 9) // 10], None
    if how == "extension":
        return content, ".png" if content[:2] == b"\xff\xd8" else ".jpeg"
    if how == "empty":
        return b"", None
    if how == "html":
        return b"<!DOCTYPE html>\n<html><body>Please log in</body></html>", ".jpeg"
    start = int(rng.integers(0, len(content)))
    return content[:start] + bytes(len(content) - start), None


def pillow_decodes(content):
    """Whether plain Pillow decodes all of it, in full size and colour: the oracle."""
    try:
        with Image.open(io.BytesIO(content)) as image:
            image.load()
    except Exception:
        return False
    return True

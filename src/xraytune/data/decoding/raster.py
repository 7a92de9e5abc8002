"""JPEG, PNG and PGM/PPM with Pillow: the pixels in 8-bit gray or RGB, upright.

What is wrong beside the pixels (text, colour profiles, EXIF) does not count: if Pillow stumbles over it, the file is
decoded once more without it.
"""

from __future__ import annotations

import io
import struct
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from xraytune.data.decoding import image_files

FORMATS = ("JPEG", "PNG", "PPM")
"""What Pillow may decode here; a JPEG that carries further images (MPO) counts as one."""

_ORIENTATION = 0x0112  # the EXIF tag
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SWAPS = {_TURNS[number] for number in (5, 6, 7, 8)}
_PNG = b"\x89PNG\r\n\x1a\n"
_PIXEL_CHUNKS = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"eXIf"})
_DEEP = {2: ("RGB;16B", "RGB;16L"), 4: ("RGBA",), 6: ("RGBA;16B", "RGBA;16L")}
"""By a PNG's colour type, how Pillow unpacks 16 bit of several channels: the upper bytes, then the lower ones (as the
"upper" of swapped bytes); gray with alpha comes as four bytes."""


class Raster(NamedTuple):
    """A decoded image."""

    image: Image.Image
    """Mode L or RGB, upright."""

    width: int
    height: int
    """Of the whole image, upright, pixels."""

    mode: str
    """Pillow's mode as stored."""


class UndecodableError(Exception):
    """The content can't be decoded to its last pixel; the message says why."""


def decode(content: bytes, channels: int, least: int, most_pixels: int) -> Raster:
    """Decode a file's content fully.

    Args:
        content: the file's bytes.
        channels: 1 for gray, 3 for RGB.
        least: the shorter edge that is needed, pixels; a JPEG is decoded at the coarsest scale that leaves it.
        most_pixels: more are refused before they are decoded.

    Raises:
        UndecodableError: it is no image of these formats, truncated, damaged, too large or too small.
    """
    try:
        return _decode(content, channels, least, most_pixels)
    except UndecodableError:
        raise
    except Image.DecompressionBombError:
        raise UndecodableError(f"more than {most_pixels // 1_000_000} million pixels") from None
    except Exception as error:  # Pillow's plugins raise OSError, SyntaxError, ValueError, struct.error, IndexError …
        bare = pixels_alone(content)
        if bare == content:
            raise UndecodableError(_why(content, error)) from None
    try:
        return _decode(bare, channels, least, most_pixels)
    except UndecodableError:
        raise
    except Exception as error:
        raise UndecodableError(_why(content, error)) from None


def _decode(content: bytes, channels: int, least: int, most_pixels: int) -> Raster:
    image: Image.Image = Image.open(io.BytesIO(content), formats=FORMATS)
    width, height = image.size
    mode = image.mode
    if width * height > most_pixels:
        raise UndecodableError(f"{width} x {height} pixels, more than {most_pixels // 1_000_000} million")
    if min(width, height) < 8:
        raise UndecodableError(f"{width} x {height} pixels: too small to be a radiograph")
    if mode in {"L", "RGB", "YCbCr"}:  # what libjpeg can turn into gray by itself
        image.draft("L" if channels == 1 else "RGB", (least, least))
    image.load()
    turn = _turn(image)
    if content.startswith(_PNG) and content[24] == 16 and content[25] in _DEEP:
        image = _deep_channels(content, image.info.get("transparency"))
    if turn is not None:
        width, height = (height, width) if turn in _SWAPS else (width, height)
        image = image.transpose(turn)
    return Raster(as_colour(image, channels), width, height, mode)


def _turn(image: Image.Image) -> Image.Transpose | None:
    """How the image must be turned to be upright; EXIF that can't be read turns nothing."""
    if "exif" not in image.info:
        return None
    try:
        return _TURNS.get(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # whatever a parser of foreign bytes raises
        return None


def as_colour(image: Image.Image, channels: int) -> Image.Image:
    """An 8-bit gray or RGB image from whatever a file held; transparency lies on black."""
    if image.mode.startswith(("I", "F")):
        image = Image.fromarray(_to_bytes(np.asarray(image).astype(np.float32)))
    if image.mode in {"RGBA", "LA", "PA", "La", "RGBa"} or "transparency" in image.info:
        opaque = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", opaque.size, (0, 0, 0, 255)), opaque).convert("RGB")
    wanted = "L" if channels == 1 else "RGB"
    return image if image.mode == wanted else image.convert(wanted)


def _to_bytes(deep: NDArray[np.float32]) -> NDArray[np.uint8]:
    """8 bit from 16 bit: the depth is the smallest of 8, 10, 12, 14 and 16 bit that holds the brightest value.

    Radiographs of 10 to 14 bit are commonly stored in 16; divided by 257 they would be nearly black.
    """
    brightest = float(deep.max(initial=0.0))
    full = next((f for f in (255, 1023, 4095, 16383) if brightest <= f), 65535)
    scaled: NDArray[np.uint8] = np.clip(deep * (255.0 / full), 0, 255).round().astype(np.uint8)
    return scaled


def _deep_channels(content: bytes, key: Any) -> Image.Image:
    """A 16-bit PNG of several channels (colour types 2, 4 and 6) with its depth, scaled as 16-bit gray is.

    Pillow keeps the upper byte of each value alone, so it is asked for both. Equal channels give the very gray levels
    of the same image with one channel. Transparency lies on black.

    Args:
        content: a PNG that Pillow decodes.
        key: the colour that is transparent, three 16-bit values, or None.
    """
    bytes_ = []
    for unpacked in _DEEP[content[25]]:
        image: Any = Image.open(io.BytesIO(content), formats=("PNG",))
        image.tile = [tile._replace(args=unpacked) for tile in image.tile]
        image.load()
        bytes_.append(np.asarray(image).astype(np.uint16))
    if content[25] == 4:
        gray, alpha = (bytes_[0][..., at] * 256 + bytes_[0][..., at + 1] for at in (0, 2))
        deep = np.repeat(gray[..., None], 3, axis=2).astype(np.float32)
    else:
        values = bytes_[0] * 256 + bytes_[1]
        deep = values[..., :3].astype(np.float32)
        alpha = values[..., 3] if content[25] == 6 else np.full(values.shape[:2], 65535, np.uint16)
        if isinstance(key, tuple):
            alpha[(values == np.array(key, np.uint16)).all(2)] = 0
    deep *= alpha.astype(np.float32)[..., None] / 65535
    if (deep[..., 0] == deep[..., 1]).all() and (deep[..., 1] == deep[..., 2]).all():
        return Image.fromarray(_to_bytes(deep[..., 0]))
    return Image.fromarray(_to_bytes(deep))


def pixels_alone(content: bytes) -> bytes:
    """A PNG or JPEG without what has no bearing on its pixels: text, profiles, times, comments. Else as it is."""
    if content.startswith(_PNG):
        return _png_pixels(content)
    if content.startswith(b"\xff\xd8\xff"):
        return _jpeg_pixels(content)
    return content


def _png_pixels(content: bytes) -> bytes:
    kept, at = [_PNG], len(_PNG)
    while at + 12 <= len(content):
        (length,) = struct.unpack_from(">I", content, at)
        kind, end = content[at + 4 : at + 8], at + 12 + length
        if kind in _PIXEL_CHUNKS or end > len(content):
            kept.append(content[at:end])
        at = end
        if kind == b"IEND":
            break
    return b"".join(kept)


def _jpeg_pixels(content: bytes) -> bytes:
    """Without the segments APP2 to APP13, APP15 and COM, and without an APP1 that is no EXIF, up to the first scan."""
    kept, at = [content[:2]], 2
    while at + 4 <= len(content) and content[at] == 0xFF:
        marker, (length,) = content[at + 1], struct.unpack_from(">H", content, at + 2)
        if marker == 0xFF:  # fill bytes
            at += 1
            continue
        if marker == 0xDA or length < 2:
            break
        segment = content[at : at + 2 + length]
        foreign = 0xE2 <= marker <= 0xED or marker in {0xEF, 0xFE} or (marker == 0xE1 and segment[4:10] != b"Exif\0\0")
        if not foreign:
            kept.append(segment)
        at += 2 + length
    return b"".join([*kept, content[at:]])


def _why(content: bytes, error: Exception) -> str:
    """Why Pillow gave up, for a person."""
    sort, kind = image_files.recognise(content[: image_files.HEAD])
    if sort is not image_files.Sort.IMAGE and "unknown" not in kind:
        plain = "text" in kind or "web page" in kind
        return f"{kind}, not an image" if plain else f"{kind}; only JPEG, PNG, PGM/PPM and DICOM are read"
    if isinstance(error, UnidentifiedImageError):
        return "not an image, or its beginning is damaged"
    text = str(error).strip().rstrip(".") or type(error).__name__
    if "truncated" in text or isinstance(error, EOFError):
        return f"truncated: the file ends before the image does ({len(content)} bytes)"
    return f"damaged: {text}"

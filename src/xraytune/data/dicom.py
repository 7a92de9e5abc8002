"""DICOM radiographs to 8-bit gray, with pydicom (the extra `dicom`)."""

from __future__ import annotations

import hashlib
import io
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from pydicom import Dataset


class DicomError(Exception):
    """A DICOM file that can't be used; the message says why."""


def is_dicom(content: bytes) -> bool:
    """Whether the bytes carry DICOM's mark behind the 128 bytes of its preamble (PS3.10, 7.1)."""
    return content[128:132] == b"DICM"


def decode(content: bytes, most_pixels: int) -> tuple[NDArray[np.uint8], str]:
    """Gray levels as a viewer shows them: rescale and window applied, MONOCHROME1 inverted so that bone is bright.

    Args:
        content: the file's bytes.
        most_pixels: larger films are refused before they are decoded.

    Returns:
        uint8 `(height, width)`, and a digest of the PatientID (the ID itself stays in the file), empty without one.

    Raises:
        DicomError: pydicom is missing, or the file holds no single film that it can decode.
    """
    try:
        import pydicom
        from pydicom.pixels import apply_modality_lut, apply_voi_lut
    except ImportError:
        raise DicomError("DICOM needs pydicom: install the extra with `pip install 'xraytune[dicom]'`") from None
    try:
        header = pydicom.dcmread(io.BytesIO(content))
        height, width = int(header.get("Rows", 0)), int(header.get("Columns", 0))
        if not height or not width:
            raise DicomError("DICOM without an image")
        if height * width > most_pixels:
            raise DicomError(f"{width} x {height} pixels, more than {most_pixels // 1_000_000} million")
        if int(header.get("NumberOfFrames", 1) or 1) > 1 or int(header.get("SamplesPerPixel", 1)) != 1:
            raise DicomError("DICOM with several frames or colours, not one radiograph")
        levels = apply_voi_lut(apply_modality_lut(header.pixel_array, header), header, index=0).astype(np.float64)
        lowest, highest = _range(header, levels)
        gray = np.clip((levels - lowest) / (highest - lowest), 0, 1)
        if header.get("PhotometricInterpretation") == "MONOCHROME1":
            gray = 1 - gray
        patient = str(header.get("PatientID", "") or "").strip()
    except DicomError:
        raise
    except Exception as error:  # pydicom raises whatever its decoders do
        text = " ".join(str(error).split()) or type(error).__name__
        raise DicomError(f"DICOM that can't be decoded: {text[:160]}") from None
    digest = hashlib.sha256(patient.encode()).hexdigest()[:16] if patient else ""
    return (gray * 255).round().astype(np.uint8), digest


def _range(header: Dataset, levels: NDArray[np.float64]) -> tuple[float, float]:
    """The levels that become black and white: the bounds that the window clips to, else the film's own extremes."""
    from pydicom.pixels import apply_voi_lut

    lowest, highest = float(levels.min()), float(levels.max())
    if "WindowCenter" in header and "VOILUTSequence" not in header:
        bounds = apply_voi_lut(np.array([[-1e9, 1e9]]), header, index=0)
        lowest, highest = float(bounds.min()), float(bounds.max())
    return lowest, highest if highest > lowest else lowest + 1.0

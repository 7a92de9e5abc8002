"""What is said of a DICOM file that can't be decoded."""

from __future__ import annotations

import numpy as np
import pytest

from tests.inputs.made_dicom import dicom
from xraytune.data.decoding import dicom as decoder
from xraytune.data.decoding import reading


@pytest.mark.parametrize("length", [2798, 65_000])
def test_a_damaged_element_is_not_quoted_whole(length):
    content = bytearray(dicom(np.arange(64 * 2048, dtype=np.uint16).reshape(64, 2048) % 4096))
    at = content.index(b"UI", 158)  # a unique identifier of the meta information
    content[at + 2 : at + 4] = length.to_bytes(2, "little")
    found, look = reading.measured(bytes(content))
    assert look is None
    assert 0 < len(found.problem) < decoder.LONGEST + 300

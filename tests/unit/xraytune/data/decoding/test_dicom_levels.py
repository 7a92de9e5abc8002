"""What window, rescale, look-up tables and padding of a DICOM header do to an image, usable or not."""

from __future__ import annotations

import numpy as np
import pytest

from tests.inputs.made_dicom import dicom
from xraytune.data.decoding import reading
from xraytune.data.decoding.dicom_levels import UNUSABLE_RESCALE, UNUSABLE_WINDOW

pydicom = pytest.importorskip("pydicom")

RAMP = np.linspace(400, 3600, 64 * 48).reshape(64, 48).astype(np.uint16)


def read(content):
    with reading.silenced():
        found = reading.decode(content)
    return np.asarray(found.image).astype(int), found.remark


def table(entries, first=0, bits=12, descriptor=None, **more):
    from pydicom.dataset import Dataset

    item = Dataset()
    if descriptor is not None:
        item.add_new(0x00283002, "US", descriptor)
    else:
        item.add_new(0x00283002, "US", [len(entries), first, bits])
    if entries is not None:
        item.add_new(0x00283006, "US", list(entries))
    for name, value in more.items():
        setattr(item, name, value)
    return item


OWN = read(dicom(RAMP))[0]

UNUSABLE_WINDOWS = {
    "both empty": {"WindowCenter": None, "WindowWidth": None},
    "center alone": {"WindowCenter": 2000},
    "width alone": {"WindowWidth": 2000},
    "center empty": {"WindowCenter": None, "WindowWidth": 2000},
    "width empty": {"WindowCenter": 2000, "WindowWidth": None},
    "width zero": {"WindowCenter": 2000, "WindowWidth": 0},
    "width one": {"WindowCenter": 2000, "WindowWidth": 1},
    "width below one": {"WindowCenter": 2000, "WindowWidth": 0.5},
    "width negative": {"WindowCenter": 2000, "WindowWidth": -100},
    "sigmoid of width zero": {"WindowCenter": 2000, "WindowWidth": 0, "VOILUTFunction": "SIGMOID"},
    "exact of width zero": {"WindowCenter": 2000, "WindowWidth": 0, "VOILUTFunction": "LINEAR_EXACT"},
    "far above": {"WindowCenter": 60000, "WindowWidth": 400},
    "far below": {"WindowCenter": -60000, "WindowWidth": 400},
    "far too wide": {"WindowCenter": 32768, "WindowWidth": 6553600},
    "far too narrow": {"WindowCenter": 2000, "WindowWidth": 4},
    "two, none usable": {"WindowCenter": [2000, 1000], "WindowWidth": [0, -1]},
    "empty table": {"VOILUTSequence": []},
    "table without data": {"VOILUTSequence": [table(None, descriptor=[4096, 0, 12])]},
    "table cut": {"VOILUTSequence": [table(range(100), descriptor=[4096, 0, 12])]},
    "table of one level": {"VOILUTSequence": [table([7] * 4096)]},
    "table without descriptor": {"VOILUTSequence": [table(range(100), descriptor=[])]},
}


@pytest.mark.parametrize("kind", UNUSABLE_WINDOWS)
def test_a_window_that_can_not_be_used_gives_way_to_the_images_own_range_and_is_remarked(kind):
    pixels, remark = read(dicom(RAMP, **UNUSABLE_WINDOWS[kind]))
    np.testing.assert_array_equal(pixels, OWN)
    assert remark == UNUSABLE_WINDOW


def test_the_first_usable_of_several_windows_is_taken():
    one = read(dicom(RAMP, WindowCenter=2000, WindowWidth=1000))
    several = read(dicom(RAMP, WindowCenter=[0, 2000, 500], WindowWidth=[0, 1000, 300]))
    np.testing.assert_array_equal(one[0], several[0])
    assert one[1] == several[1] == 0


@pytest.mark.parametrize(
    ("function", "black", "white"), [("LINEAR", 1500, 2499), ("LINEAR_EXACT", 1500, 2500), ("SIGMOID", 0, 4095)]
)
def test_each_function_of_a_window_is_black_below_and_white_above_it(function, black, white):
    pixels, remark = read(dicom(RAMP, WindowCenter=2000, WindowWidth=1000, VOILUTFunction=function))
    assert remark == 0
    assert pixels[black - 20 > RAMP].max(initial=0) == 0
    assert pixels[white + 20 < RAMP].min(initial=255) == 255
    assert abs(pixels.flat[np.abs(RAMP.astype(int) - 2000).argmin()] - 128) <= 2


def test_a_usable_table_beside_an_empty_window_is_applied():
    negative = table(list(range(4095, -1, -1)))
    pixels, remark = read(dicom(RAMP, VOILUTSequence=[negative], WindowCenter=None, WindowWidth=None))
    assert remark == 0
    assert pixels[0, 0] > 220
    assert pixels[-1, -1] < 40


def test_a_window_beside_an_empty_table_is_applied():
    pixels, remark = read(dicom(RAMP, VOILUTSequence=[], WindowCenter=2000, WindowWidth=1000))
    assert remark == 0
    np.testing.assert_array_equal(pixels, read(dicom(RAMP, WindowCenter=2000, WindowWidth=1000))[0])


UNUSABLE_RESCALES = {
    "both empty": {"RescaleSlope": None, "RescaleIntercept": None},
    "slope zero": {"RescaleSlope": 0, "RescaleIntercept": 5},
    "slope empty": {"RescaleSlope": None, "RescaleIntercept": 0},
    "intercept empty": {"RescaleSlope": 1, "RescaleIntercept": None},
    "empty table": {"ModalityLUTSequence": []},
    "table without data": {"ModalityLUTSequence": [table(None, descriptor=[4096, 0, 12])]},
    "table cut": {"ModalityLUTSequence": [table(range(100), descriptor=[4096, 0, 12])]},
}


@pytest.mark.parametrize("kind", UNUSABLE_RESCALES)
def test_a_rescale_that_can_not_be_used_is_left_out_and_remarked(kind):
    pixels, remark = read(dicom(RAMP, WindowCenter=2000, WindowWidth=1000, **UNUSABLE_RESCALES[kind]))
    np.testing.assert_array_equal(pixels, read(dicom(RAMP, WindowCenter=2000, WindowWidth=1000))[0])
    assert remark == UNUSABLE_RESCALE


def test_a_negative_slope_turns_the_image():
    pixels, remark = read(dicom(RAMP, RescaleSlope=-1, RescaleIntercept=4095))
    assert (pixels[0, 0], pixels[-1, -1], remark) == (255, 0, 0)


@pytest.mark.parametrize(
    "padding",
    [{"PixelPaddingValue": 4095}, {"PixelPaddingValue": 4000, "PixelPaddingRangeLimit": 4095},
     {"PixelPaddingValue": 4095, "PixelPaddingRangeLimit": 4000}],
)  # fmt: skip
def test_padding_is_black_and_sets_no_range(padding):
    padded = RAMP.copy()
    padded[:, :8] = 4095
    for interpretation in ("MONOCHROME1", "MONOCHROME2"):
        pixels, remark = read(dicom(padded, PhotometricInterpretation=interpretation, **padding))
        assert pixels[:, :8].max() == 0
        assert {int(pixels[:, 8:].min()), int(pixels[:, 8:].max())} == {0, 255}
        assert len(np.unique(pixels[:, 8:])) > 200
        assert remark == 0


@pytest.mark.parametrize("value", [None, 9])
def test_padding_that_is_empty_or_not_there_changes_nothing(value):
    made, remark = read(dicom(RAMP, PixelPaddingValue=value))
    np.testing.assert_array_equal(made, OWN)
    assert remark == 0


def test_an_image_that_would_be_padding_all_over_is_taken_as_it_is():
    pixels, _ = read(dicom(RAMP, PixelPaddingValue=0, PixelPaddingRangeLimit=4095))
    np.testing.assert_array_equal(pixels, OWN)


@pytest.mark.parametrize(
    "name", ["SamplesPerPixel", "PhotometricInterpretation", "PixelRepresentation", "BitsStored", "NumberOfFrames",
             "PatientID", "VOILUTFunction"]
)  # fmt: skip
def test_an_empty_element_that_has_one_meaning_refuses_nothing(name):
    np.testing.assert_array_equal(read(dicom(RAMP, **{name: None}))[0], OWN)


def test_an_image_of_two_levels_under_its_window_is_not_remarked():
    two = np.where(np.arange(64 * 48).reshape(64, 48) % 2, 1000, 3000).astype(np.uint16)
    pixels, remark = read(dicom(two, WindowCenter=2000, WindowWidth=1000))
    assert set(np.unique(pixels)) == {0, 255}
    assert remark == 0

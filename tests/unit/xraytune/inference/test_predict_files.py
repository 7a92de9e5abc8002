"""Files as they are read for an answer and for the comparison with the training images at once."""

from types import SimpleNamespace

import numpy as np
import pytest

from tests.inputs.made_radiographs import radiograph, write
from xraytune.data import property_table
from xraytune.data.decoding import reading
from xraytune.inference.predict_files import look


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("fit", reading.FITS)
@pytest.mark.parametrize("name", ["large.jpg", "small.png"])
def test_an_image_that_is_measured_too_is_the_one_that_the_model_takes_alone(tmp_path, name, fit, channels):
    path = write(tmp_path / name, radiograph(1, *((1200, 900) if name == "large.jpg" else (90, 120)), "RGB"))
    model = SimpleNamespace(sizes=(28, 256, 300), card=SimpleNamespace(fit=fit, channels=channels))
    squares, seen = look(model, path)
    for size in model.sizes:
        np.testing.assert_array_equal(squares[size], reading.read_image(path, size, fit=fit, channels=channels))
    gathered = property_table.Gathered()
    gathered.add([seen])
    np.testing.assert_array_equal(gathered.measured().table, property_table.measure([path]).table)


@pytest.mark.parametrize("content", [b"", b"text", b"\x89PNG\r\n\x1a\nno more"])
def test_what_is_wrong_with_an_image_is_said_in_the_same_words(tmp_path, content):
    path = write(tmp_path / "one.png", content)
    with pytest.raises(reading.Unreadable) as alone:
        reading.read_image(path, 28)
    model = SimpleNamespace(sizes=(28,), card=SimpleNamespace(fit="crop", channels=1))
    with pytest.raises(reading.Unreadable) as both:
        look(model, path)
    assert str(both.value) == str(alone.value)


def test_nothing_measured_is_an_empty_table():
    assert property_table.Gathered().measured().table.shape == (0, len(property_table.NAMES))

"""The parts of the documentation that follow from the code are as `make reference` writes them."""

from __future__ import annotations

import pytest

from tests import reference, stub

OPTIONS, SPACES = reference.DOCS / "options.md", reference.DOCS / "spaces.md"


def test_the_table_of_options_is_not_stale():
    assert OPTIONS.read_text() == reference.options_page(), "make reference writes it anew"


def test_the_stub_of_the_package_is_not_stale():
    assert stub.STUB.read_text() == stub.stub(), "make reference writes it anew"


def test_the_table_of_hyperparameters_is_not_stale():
    text = SPACES.read_text()
    assert text == reference.spaces_page(text), "make reference writes it anew"
    assert "| cnn | `cnn/blocks` | 1, 2, 3, 4, 5 | 3 | always |" in text


def test_a_page_without_its_comments_is_refused_and_not_cut():
    with pytest.raises(ValueError, match="has no"):
        reference.spaces_page("# Search spaces\n")


def test_every_option_has_a_default():
    for line in reference.options_page().splitlines():
        cells = [cell.strip() for cell in line.split(" | ")]
        if line.startswith("| `--"):
            assert cells[-1].rstrip("| "), line

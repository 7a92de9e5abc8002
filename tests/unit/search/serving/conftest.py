"""A model and its page, served."""

from __future__ import annotations

import pytest

from tests.inputs.made_models import brightness_model
from tests.inputs.made_requests import running, whole
from xraytune.inference.classifier import load_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return brightness_model(tmp_path_factory.mktemp("model"), study="mine")


@pytest.fixture(scope="module")
def model(folder):
    return load_model(folder)


@pytest.fixture(scope="module")
def port(model):
    with running(whole(model)) as port:
        yield port

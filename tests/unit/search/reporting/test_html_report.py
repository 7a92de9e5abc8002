"""What the report says of a model in words, from figures alone; the page itself is looked at in tests/browser."""

from types import SimpleNamespace
from typing import Any

import pytest

from search.reporting import final_metrics, formats, html_report


def network(family: str, size: int) -> dict[str, Any]:
    return {"family": family, "values": {"family": family, f"{family}/image_size": size}}


@pytest.mark.parametrize(
    ("final", "configurations", "epochs", "says"),
    [
        ("refit", [network("cnn", 64)], [7], "one network: cnn (64 px)"),
        (
            "refit", [network("cnn", 64)], [7, 7, 7],
            "the mean of 3 networks that differ in their seeds alone, all cnn (64 px)",
        ),
        (
            "folds", [network("cnn", 64)], [3, 4, 5, 3, 4, 5],
            "the mean of 6 networks, one of each fold and seed, all cnn (64 px)",
        ),
        (
            "ensemble", [network("cnn", 64), network("dense", 28), network("cnn", 64)], [1, 2, 3],
            "the weighted mean of 3 networks: 2 cnn (64 px), 1 dense (28 px)",
        ),
    ],
)  # fmt: skip
def test_what_the_model_is_in_one_phrase(final: str, configurations: Any, epochs: Any, says: str) -> None:
    model = {"final": final, "configurations": configurations, "epochs": epochs, "trials": [0, 1, 2]}
    assert html_report._made_of({"model": model}) == says


def test_hyperparameters_that_only_some_trials_have_are_counted() -> None:
    def trial(*names: str, state: str = "COMPLETE") -> Any:
        return SimpleNamespace(state=state, config=SimpleNamespace(values=dict.fromkeys(names, 1)))

    trials = [trial("rate", "cnn/width"), trial("rate", "cnn/width"), trial("rate"), trial("vgg/cut", state="FAIL")]
    study: Any = SimpleNamespace(trials=lambda: trials)
    assert html_report._partial(study) == ["cnn/width (2 of 3)"]


def test_the_final_model_s_images_are_those_of_train_and_validation() -> None:
    counts = {"train": {"a": 3, "b": 4}, "val": {"a": 1, "b": 2}, "test": {"a": 9, "b": 9}}
    assert html_report._pool_counts({"data_card": {"counts": counts}, "test": {"classes": ["a", "b"]}}) == {
        "a": 4,
        "b": 6,
    }


def test_a_difference_on_which_all_draws_agree_is_shown_without_an_interval() -> None:
    assert formats.difference([0.5, None, None]) == "+0.500"
    assert formats.difference([-0.0312, -0.1, 0.04]) == "-0.031 [-0.100, +0.040]"
    assert formats.difference([None, None, None]) == "–"
    assert formats.html_difference([0.5, None, None]) == "+0.500"
    assert formats.html_difference([-0.0312, -0.1, 0.04]) == "−0.031 <small>[−0.100, +0.040]</small>"
    assert formats.excludes_zero([0.5, None, None]) == ""


def test_a_figure_that_was_kept_without_an_interval_is_shown_alone() -> None:
    assert formats.html_interval([0.9, 0.85, 0.95], 2) == "0.90 [0.85, 0.95]"
    assert formats.html_interval([0.9, None, None]) == formats.html_interval(0.9) == "0.900"
    assert formats.html_interval(None) == "–"


@pytest.mark.parametrize(
    ("openings", "says"),
    [({"mine": 2}, "evaluated 2×"), ({"mine": 2, "other": 3}, "evaluated 2×, 5× by 2 studies of this folder")],
)
def test_the_terminal_counts_the_openings_of_other_studies_too(openings: dict[str, int], says: str) -> None:
    assert final_metrics.opened({"opened": 2, "openings": openings}) == says

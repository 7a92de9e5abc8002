"""One declaration of an option is the command line, Python, make and what a study stores."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from search import retrain, run
from search.cli import console, make_variables, options
from search.cli.options import BUDGET, DATA, Options, option
from search.driver.options import SessionOptions, StudyOptions
from search.retraining.options import RetrainingOptions
from xraytune.errors import InputError

TEXTS = {
    "data": 'o\'brien "x" $HOME',
    "space": "smoke",
    "trials": "7",
    "time": "1h30m",
    "max_epochs": "3",
    "families": "cnn, densenet",
    "fix": ["cnn/blocks=3", "batch_size=32"],
    "recipes": "fitting",
    "objective": "clean",
    "objectives": "f_beta,parameters",
    "beta": "1.5",
    "label": "Pneumonia",
    "negative": "No Finding",
    "uncertain": "positive",
    "sampler": "tpe",
    "pruner": "none",
    "precision": "float32",
    "positive": "PNEUMONIA",
    "patient_regex": r"P\d+",
    "site": "hospital",
    "validate_on": "site",
    "fit": "pad",
    "seed": "4",
    "study": "-mine",
    "backbone": ["dino=/there/dino.onnx", "xrv=/there/xrv.keras"],
    "backbone_input": ["dino=224,rgb,imagenet"],
    "backbone_licence": ["dino=Apache-2.0"],
    "cache_limit": "20GB",
    "cache": "a cache",
    "weights_dir": "weights",
    "quarantine": True,
    "resume": True,
}
"""Every option of a study as it is typed."""

VALUES = {
    "trials": 7,
    "time": 5400.0,
    "max_epochs": 3,
    "families": ("cnn", "densenet"),
    "fix": {"cnn/blocks": "3", "batch_size": "32"},
    "objectives": ("f_beta", "parameters"),
    "beta": 1.5,
    "label": "Pneumonia",
    "negative": "No Finding",
    "uncertain": "positive",
    "seed": 4,
    "backbone": {"dino": "/there/dino.onnx", "xrv": "/there/xrv.keras"},
    "backbone_input": {"dino": "224,rgb,imagenet"},
    "backbone_licence": {"dino": "Apache-2.0"},
    "cache_limit": 20 * 10**9,
    "cache": Path("a cache"),
    "weights_dir": Path("weights"),
}


def called(monkeypatch, *arguments):
    """What `search.run` makes of a command line."""
    found = []
    monkeypatch.setattr("search.driver.session.search", lambda *made: found.extend(made))
    done = CliRunner().invoke(console.application(run.main), list(arguments), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return found


def typed(texts):
    line = []
    for name, value in texts.items():
        flag = f"--{name.replace('_', '-')}"
        line += (
            [flag] if value is True else [f"{flag}={one}" for one in (value if isinstance(value, list) else [value])]
        )
    return line


def as_made(texts):
    """The options that a Python call with the same texts makes; plain numbers are numbers there."""
    numbers = {"trials": int, "max_epochs": int, "seed": int, "beta": float}
    return StudyOptions(**{k: numbers[k](v) if k in numbers else v for k, v in texts.items()}, given=frozenset(texts))


def test_the_texts_of_every_option_of_a_study_are_here():
    assert set(TEXTS) == set(options.declared(StudyOptions))


def test_the_command_line_python_and_make_mean_the_same_by_the_same_texts(monkeypatch):
    study, _ = called(monkeypatch, *typed(TEXTS))
    assert study == as_made(TEXTS)
    variables = {k.upper(): "1" if v is True else " ".join(v) if isinstance(v, list) else v for k, v in TEXTS.items()}
    assert called(monkeypatch, *make_variables.arguments("search", variables))[0] == study
    assert {name: getattr(study, name) for name in VALUES} == VALUES


@pytest.mark.parametrize("name", sorted(TEXTS))
def test_each_option_alone_is_given_and_all_others_are_at_their_defaults(monkeypatch, name):
    study, session = called(monkeypatch, *typed({name: TEXTS[name]}))
    assert study == as_made({name: TEXTS[name]})
    assert study.given == {name}
    assert {n: getattr(session, n) for n in options.declared(SessionOptions)} == {
        n: options.default_of(SessionOptions, n) for n in options.declared(SessionOptions)
    }


def test_values_of_python_are_taken_as_well_as_texts():
    plain = StudyOptions(time=90, families=["cnn"], fix={"batch_size": 32}, cache=Path("c"), cache_limit=5)
    assert (plain.time, plain.families, plain.fix) == (90.0, ("cnn",), {"batch_size": 32})
    assert (plain.cache, plain.cache_limit) == (Path("c"), 5)
    session = SessionOptions(trial_timeout="10m", trial_memory="4GB")
    assert (session.trial_timeout, session.trial_memory) == (600.0, 4 * 10**9)
    assert RetrainingOptions(time="20m", results="elsewhere").time == 1200.0


def test_what_belongs_to_a_study_goes_through_its_storage_and_completes_a_resumed_one():
    made = as_made(TEXTS)
    stored = json.loads(json.dumps(made.to_request()))
    kept = {name for name, one in options.declared(StudyOptions).items() if one.stored}
    assert kept - set(stored) == set()
    assert set(TEXTS) - kept == {"study", "resume", "weights_dir", "cache", "cache_limit"}
    again = StudyOptions(study="mine", resume=True, given=frozenset({"study", "resume"})).completed(stored)
    assert {name: getattr(again, name) for name in kept} == {name: getattr(made, name) for name in kept}
    assert again.cache is None


def test_a_default_is_not_stored_and_does_not_come_back():
    assert StudyOptions().to_request() == {}
    assert StudyOptions(beta=2.0).completed({"beta": 1.0}).beta == 1.0
    assert StudyOptions(beta=2.0, given=frozenset({"beta"})).completed({"beta": 1.0}).beta == 2.0


@pytest.mark.parametrize(
    ("cls", "changes", "words"),
    [
        (StudyOptions, {"pruner": "best"}, "--pruner 'best' is not known. There are: asha, hyperband, median, none."),
        (StudyOptions, {"fit": "zoom"}, "crop, pad, squash"),
        (StudyOptions, {"beta": 0.0}, "--beta must be above 0, not 0: 2 counts recall twice"),
        (StudyOptions, {"max_epochs": -1}, "--max-epochs must be 0 or more, not -1."),
        (SessionOptions, {"failures": 1.5}, "--failures must be above 0 and at most 1, not 1.5: 0.5 is half."),
        (SessionOptions, {"patience": 0}, "--patience must be 1 or more, not 0."),
        (RetrainingOptions, {"final": "all"}, "refit, folds, ensemble"),
    ],
)
def test_a_value_that_can_not_be_is_refused_by_the_same_words_everywhere(cls, changes, words):
    with pytest.raises(InputError) as error:
        cls(**changes)
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"time": "soon"}, "--time 'soon' is not a duration"),
        ({"cache_limit": "much"}, "--cache-limit 'much' is not a size"),
        ({"fix": "batch_size"}, "write NAME=VALUE"),
        ({"fix": ["=3"]}, "write NAME=VALUE"),
    ],
)
def test_a_text_that_can_not_be_read_is_refused(changes, words):
    with pytest.raises(InputError, match=words):
        StudyOptions(**changes)


def test_an_option_of_ones_own_needs_nothing_but_its_field():
    @dataclass(frozen=True)
    class Mine(Options):
        often: int = option(1, "How often [sic]", BUDGET, least=1, metavar="NUMBER")
        loud: bool = option(False, "Louder", DATA)
        names: tuple[str, ...] = option((), "Names", DATA, parse=options.listed, shown="nobody")

    seen = []

    def command(mine: Mine, where: Annotated[str, typer.Option(help="Place [here or there]")] = "here") -> None:
        """Say it."""
        seen.append((mine, where))

    command.__annotations__["mine"] = Mine  # it is no name of the module
    command.__annotations__["where"] = Annotated[str, typer.Option(help="Place [here or there]")]
    app = console.application(command, examples="a [b]\n c")
    done = CliRunner().invoke(app, ["--often", "3", "--loud", "--names", "a,b", "--where", "there"])
    assert done.exit_code == 0, done.output
    assert seen == [(Mine(3, True, ("a", "b")), "there")]
    shown = " ".join(CliRunner().invoke(app, ["-h"]).output.replace("│", " ").split())
    for text in (
        "[sic] [default: 1]",
        "[default: off]",
        "[default: nobody]",
        "[here or there] [default: here]",
        "a [b] c",
    ):
        assert text in shown, shown
    assert isinstance(CliRunner().invoke(app, ["--often", "0"]).exception, InputError)


def test_an_option_that_stands_alone_is_required_and_bounded_as_one_of_a_dataclass():
    seen = []

    def command(place: str, many: int = 3) -> None:
        """Do it."""
        seen.append((place, many))

    command.__annotations__["place"] = Annotated[str, options.Option("Where", options.STORAGE, argument=True)]
    command.__annotations__["many"] = Annotated[int, options.Option("How many", options.OUTPUT, least=1, most=9)]
    app = console.application(command)
    assert CliRunner().invoke(app, ["here", "--many", "9"]).exit_code == 0
    assert seen == [("here", 9)]
    assert CliRunner().invoke(app, []).exit_code == 2
    for wrong in ("0", "10"):
        assert isinstance(CliRunner().invoke(app, ["here", "--many", wrong]).exception, InputError)
    shown = " ".join(CliRunner().invoke(app, ["-h"]).output.split())
    assert "[default: 3]" in shown
    assert shown.count("default") == 1


def test_retraining_takes_its_options_from_the_command_line(monkeypatch):
    found = []
    monkeypatch.setattr("search.retraining.steps.retrain", found.append)
    line = [
        "top:3",
        "--time",
        "20m",
        "--tta",
        "shifts",
        "--final",
        "ensemble",
        "--cache-limit",
        "3GB",
        "--results",
        "a b",
    ]
    assert CliRunner().invoke(console.application(retrain.main), line, catch_exceptions=False).exit_code == 0
    assert found == [
        RetrainingOptions(which="top:3", time="20m", tta=True, final="ensemble", cache_limit="3GB", results="a b")
    ]

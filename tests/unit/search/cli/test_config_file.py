"""A file sets the options by their names, the command line wins, and what a search wrote is read again."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from search import run
from search.cli import config_file, console, make_variables, options
from search.driver.options import SessionOptions, StudyOptions
from xraytune.errors import InputError

CLASSES = (StudyOptions, SessionOptions)


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "study.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def called(monkeypatch, *arguments):
    """What `search.run` makes of a command line."""
    found = []
    monkeypatch.setattr("search.driver.session.search", lambda *made: found.extend(made))
    done = CliRunner().invoke(console.application(run.main), list(map(str, arguments)), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return found


EVERYTHING = """
data: path/to/chest X-ray
trials: 40
time: 1h30m
families: [cnn, densenet]
fix: {cnn/blocks: 3, flip: true, learning_rate: 1e-3, family: cnn}
objectives: f_beta,parameters
beta: 1
positive: "NO"
trial-timeout: 600
trial_memory: 4GB
cpus_per_trial: 1.5
quarantine: true
cache: a cache
seed: 4
patience:
"""


def test_names_and_values_are_those_of_the_options(tmp_path, monkeypatch):
    study, session = called(monkeypatch, "--config", written(tmp_path, EVERYTHING))
    assert (study.data, study.trials, study.time, study.beta) == ("path/to/chest X-ray", 40, 5400.0, 1.0)
    assert (study.families, study.objectives) == (("cnn", "densenet"), ("f_beta", "parameters"))
    assert study.fix == {"cnn/blocks": "3", "flip": "True", "learning_rate": "1e-3", "family": "cnn"}
    assert (study.positive, study.quarantine, study.cache, study.seed) == ("NO", True, Path("a cache"), 4)
    assert (session.trial_timeout, session.trial_memory, session.cpus_per_trial) == (600.0, 4 * 10**9, 1.5)
    assert session.patience is None
    assert "trials" in study.given
    assert "sampler" not in study.given


def test_the_command_line_wins_even_with_a_default(tmp_path, monkeypatch):
    path = written(tmp_path, "trials: 40\nbeta: 1.5\nobjective: clean\nresults: elsewhere")
    study, session = called(monkeypatch, "--config", path, "--trials", 7, "--objective", "robust")
    assert (study.trials, study.beta, study.objective, session.results) == (7, 1.5, "robust", Path("elsewhere"))


def test_a_variable_of_make_names_the_file_and_others_win(tmp_path, monkeypatch):
    path = written(tmp_path, "trials: 40\nseed: 3")
    environment = {make_variables.ON_LINE: "CONFIG TRIALS DRY_RUN", "CONFIG": str(path), "TRIALS": "7", "DRY_RUN": "0"}
    study, _ = called(monkeypatch, *make_variables.arguments("search", environment))
    assert (study.trials, study.seed) == (7, 3)
    assert "--dry-run" in make_variables.arguments("search", {**environment, "DRY_RUN": "1"})


def test_what_is_written_is_read_again(tmp_path):
    study = StudyOptions(
        data="chest", time="30m", families="cnn", fix=["cnn/blocks=3"], cache_limit="20GB", weights_dir="w",
        study="mine", resume=True, positive="NO", patient_regex=r"^(?P<patient>P\d+): '\"",
    )  # fmt: skip
    session = SessionOptions(
        results="out",
        storage="postgresql://me:secret@host/studies",
        mlflow="http://me:secret@host",
        trial_timeout="10m",
    )
    text = config_file.text(study, session)
    assert "secret" not in text
    found = config_file.read(written(tmp_path, text), CLASSES)
    assert not {"study", "resume", "storage", "mlflow"} & found.keys()
    for group in (study, session):
        for name in options.declared(type(group)):
            if name not in config_file.LEFT_OUT:
                assert found.get(name) == getattr(group, name), name


@pytest.mark.parametrize("name", ["storage", "mlflow"])
@pytest.mark.parametrize("value", ["[{}]", "{{url: '{}'}}", "'{}", "@{}"])
def test_a_url_s_password_stands_in_no_message_about_the_file(tmp_path, name, value):
    text = f"{name}: {value.format('postgresql://me:s3cret@host/studies')}"
    with pytest.raises(InputError) as refused:
        config_file.read(written(tmp_path, text), CLASSES)
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n"])
def test_an_empty_file_sets_nothing(tmp_path, text):
    assert config_file.read(written(tmp_path, text), CLASSES) == {}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("trails: 40", "there is no option trails. Did you mean trials?"),
        ("cpus-per-trail: 2", "there is no option cpus-per-trail. Did you mean cpus_per_trial?"),
        ("xyz: 40", "there is no option xyz. There are: address, backbone"),
        ("begun: 1", "there is no option begun."),
        ("trials: 4\ntrials: 5", "trials is set twice"),
        ("trial_timeout: 4m\ntrial-timeout: 5m", "trial-timeout is set twice"),
        ("trials: forty", "--trials must be a whole number, not 'forty'"),
        ("trials: 4.5", "--trials must be a whole number, not 4.5"),
        ("trials: yes", "--trials must be a whole number, not True"),
        ("trials: [4]", "--trials must be a whole number, not [4]"),
        ("trials: .inf", "--trials must be a whole number, not inf"),
        ("trials: 0", "--trials must be 1 or more, not 0"),
        ("beta: much", "--beta must be a number, not 'much'"),
        ("quarantine: 1", "--quarantine must be true or false, not 1"),
        ("positive: NO", "--positive must be a text, not False. Put it in quotes."),
        ("study: 2026", "--study must be a text, not 2026. Put it in quotes."),
        ("cache: 3", "--cache must be a text, not 3."),
        ("time: soon", "--time 'soon' is not a duration"),
        ("time: true", "--time must be a text, not True"),
        ("time: [30m]", "--time must be a text"),
        ("cache_limit: huge", "--cache-limit 'huge' is not a size"),
        ("families: [cnn, 3]", "--families must be a text, not 3"),
        ("fix: [batch_size]", "write NAME=VALUE"),
        ("fix: {batch_size: [8, 16]}", "--fix holds one value per hyperparameter, not [8, 16]"),
        ("sampler: magic", "--sampler 'magic' is not known. There are: bo, tpe, random."),
        ("- trials", "write one option per line, like 'trials: 40'"),
        ("trials", "write one option per line"),
        ("trials: 4\nbeta: [", "line 2"),
        ("trials: !!python/object:os.system x", "this is not YAML"),
        ("a: \x00", "this is not YAML"),
    ],
)
def test_a_file_that_can_not_be_used_is_one_message(tmp_path, text, words):
    path = written(tmp_path, text)
    with pytest.raises(InputError) as refused:
        config_file.read(path, CLASSES)
    said = str(refused.value)
    assert said.startswith(f"--config {path}")
    assert words in said
    assert "\n" not in said


def test_a_file_that_can_not_be_read_is_one_message(tmp_path):
    with pytest.raises(InputError, match=r"nowhere\.yaml: No such file or directory"):
        config_file.read(tmp_path / "nowhere.yaml", CLASSES)
    with pytest.raises(InputError, match="no regular file but a folder"):
        config_file.read(tmp_path, CLASSES)
    (tmp_path / "latin.yaml").write_bytes("data: Röntgen".encode("latin-1"))
    with pytest.raises(InputError, match="not UTF-8 text"):
        config_file.read(tmp_path / "latin.yaml", CLASSES)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("kind", ["fifo", "device", "folder", "large", "missing"])
def test_a_config_file_that_is_no_ordinary_file_is_one_message(tmp_path, kind):
    path = tmp_path / "config.yaml"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "folder":
        path.mkdir()
    elif kind == "large":
        path.write_bytes(b"# " * (1 << 20))
    with pytest.raises(InputError, match=r"^--config .*config\.yaml: "):
        config_file._pairs(path)

"""The Python calls: what they load, refuse, take and give back, without a search."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import xraytune as xt
from search.api import calls, keywords
from search.cli import console
from search.driver.options import SessionOptions, StudyOptions
from tests.inputs.made_models import CLASSES, brightness_model, hospital, image
from xraytune.errors import ArtifactError, FatalError, InputError, StudyError

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras, when it saves

USER = """
from pathlib import Path

import xraytune as xt

study = xt.search(Path("chest_xray"), time="30m", name="mine", families=["cnn"], fix={"batch_size": 32}, sampler="tpe")
print(study.name, study.leaderboard().shape, study.best.params["batch_size"])
final = study.retrain("top:3", time=600, final="ensemble", tta=True)
final.predict(["a.jpeg", "folder/"], prevalence=0.1).to_csv("answers.csv")
final.explain("a.jpeg").save("a.png")
try:
    print(final.evaluate("other", map={"No finding": "NORMAL"}).verdict, xt.verify("other").usable)
except xt.errors.DataError as error:
    print(error)
print(xt.load("results/mine/winner").metrics["value"].mean(), xt.load_study("mine").retrain(1).classes)
"""


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XRAYTUNE_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def final(tmp_path):
    return xt.load(brightness_model(tmp_path / "winner"))


def test_an_import_loads_neither_tensorflow_keras_nor_ray_and_takes_under_half_a_second():
    code = (
        "import sys, time; begun = time.process_time(); import xraytune as xt; spent = time.process_time() - begun\n"
        "assert spent < 0.5, spent\n"
        "xt.search, xt.load, xt.verify, xt.errors.InputError\n"
        "assert not {'tensorflow', 'keras', 'ray', 'jax', 'optuna'} & set(sys.modules), sorted(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_script_of_a_user_has_types(tmp_path):
    trackers = (Path(__file__).parents[4] / "docs" / "trackers.md").read_text()
    (tmp_path / "script.py").write_text(USER)
    (tmp_path / "callbacks.py").write_text(trackers.partition("```python\n")[2].partition("```")[0])
    wrong = USER.replace('time="30m"', "trials='many'").replace("final.explain", "final.explained")
    (tmp_path / "wrong.py").write_text(wrong)
    for names, code, words in (
        (("script.py", "callbacks.py"), 0, ("no issues",)),
        (("wrong.py",), 1, ('"trials"', '"explained"')),
    ):
        command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", "mypy", *names]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stdout + done.stderr
        assert all(word in done.stdout for word in words), done.stdout


def test_all_options_of_the_command_are_keywords_with_their_defaults():
    shown = inspect.signature(xt.search).parameters
    for cls in (StudyOptions, SessionOptions):
        for name, one in keywords.options.declared(cls).items():
            assert name in shown
            if name != "verbose":
                assert shown[name].default == keywords.options.default_of(cls, name)
                assert one.help in xt.search.__doc__ or name in {"data", "time"}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"trails": 3}, "search has no option 'trails'. Did you mean 'trials'?"),
        ({"trials": 0}, "--trials must be 1 or more, not 0."),
        ({"time": "soon"}, "--time"),
        ({"sampler": "foo"}, "--sampler 'foo' is not known. There are: "),
        ({"resume": True}, "--resume needs the study's name"),
        ({"name": "a", "study": "b"}, "two names of one study"),
        ({"families": ["cnnn"], "data": "demo"}, "cnnn"),
        ({"data": "no/such/folder"}, "no/such/folder"),
    ],
)
def test_what_the_command_refuses_is_an_exception_with_its_message(options, words, capfd):
    before = dict(os.environ)
    with pytest.raises(InputError, match=re.escape(words)):
        xt.search(**options)
    assert dict(os.environ) == before
    assert capfd.readouterr() == ("", "")


def test_missing_studies_and_models_are_said_to_be_missing(tmp_path):
    with pytest.raises(StudyError, match="There is no study in results yet"):
        xt.load_study()
    with pytest.raises(ArtifactError, match="does not exist"):
        xt.load("results/mine/winner")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "study.json").write_text("{}")
    with pytest.raises(ArtifactError, match="has no final model yet"):
        xt.load("mine")
    with pytest.raises(AttributeError, match="no attribute 'serach'"):
        _ = xt.serach
    with pytest.raises(InputError, match="There is no nowhere"):
        xt.verify("nowhere")


def test_a_call_puts_back_what_it_changes_also_where_it_fails(tmp_path, monkeypatch):
    monkeypatch.delenv("RAY_USAGE_STATS_ENABLED", raising=False)
    before, stream, quiet = dict(os.environ), sys.stderr, console.out.quiet

    def write_on_a_full_disk() -> None:
        assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
        os.environ["KERAS_BACKEND"] = "none"
        with calls.call():
            assert console.out.quiet
        assert console.out.quiet, "another call still runs"
        raise OSError(28, "No space left on device", "full.npz")

    with pytest.raises(FatalError, match=r"full\.npz can't be read or written: No space left"), calls.call():
        write_on_a_full_disk()
    assert (dict(os.environ), sys.stderr, console.out.quiet) == (before, stream, quiet)


def test_two_searches_at_once_in_one_process_are_refused():
    with calls.training(verbose=False), pytest.raises(InputError, match="already runs in this process"):
        xt.search("demo", time="30s")


def test_what_a_user_logs_during_a_call_is_not_lost():
    code = (
        "import logging, os\nlogging.basicConfig(level='INFO')\nfrom search.api.calls import call\n"
        "with call():\n  os.write(2, b'native\\n'); logging.info('from the user')\nlogging.info('afterwards')\n"
        "os.write(2, b'again\\n')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[4]
    )
    assert done.stderr.splitlines() == ["INFO:root:from the user", "INFO:root:afterwards", "again"]


def test_images_of_every_kind_get_the_answer_of_their_file(final, tmp_path):
    rng = np.random.default_rng(1)
    (tmp_path / "folder").mkdir()
    pictures = [image(rng, label) for label in (0, 1)]
    paths = [tmp_path / "folder" / f"{i}.png" for i in (0, 1)]
    for picture, path in zip(pictures, paths, strict=True):
        picture.save(path)
    table = final.predict(tmp_path / "folder")
    assert list(table.columns) == ["path", "probability", "decision", "unusual"]
    assert list(table["path"]) == [str(path) for path in paths]
    assert list(table["decision"]) == list(CLASSES)
    arrays = [np.asarray(picture) for picture in pictures]
    kinds = [
        [str(path) for path in paths], arrays, np.stack(arrays), np.stack(arrays)[..., None], pictures,
        [p.convert("RGBA") for p in pictures], [path.read_bytes() for path in paths], [a / 1.0 for a in arrays],
        [paths[0], arrays[1]],
    ]  # fmt: skip
    for given in kinds:
        found = final.predict(given)
        assert np.allclose(found["probability"], table["probability"], atol=1e-3)
        assert list(found["decision"]) == list(CLASSES)
    assert len(final.predict(arrays[0])) == len(final.predict(pictures[0])) == len(final.predict(paths[0])) == 1
    assert list(final.predict([arrays[0], paths[1]])["path"]) == ["image 0", str(paths[1])]


def test_a_dicom_data_set_in_memory_is_answered_as_its_file(final, tmp_path):
    pydicom = pytest.importorskip("pydicom")
    from tests.inputs import made_dicom

    path = tmp_path / "one.dcm"
    made = made_dicom.dicom(np.asarray(image(np.random.default_rng(2), 1)))
    path.write_bytes(made if isinstance(made, bytes) else made.getvalue())
    there = final.predict(path)
    here = final.predict(pydicom.dcmread(path))
    assert there["probability"].tolist() == here["probability"].tolist()


def test_a_picture_is_turned_upright_as_its_file_is(final, tmp_path):
    turned = Image.fromarray(np.tile(np.linspace(0, 255, 60, dtype=np.uint8), (40, 1)))
    exif = Image.Exif()
    exif[0x0112] = 6
    turned.save(tmp_path / "turned.jpeg", exif=exif)
    with Image.open(tmp_path / "turned.jpeg") as opened:
        assert np.array_equal(np.asarray(final.explain(opened)), np.asarray(final.explain(tmp_path / "turned.jpeg")))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (3, "int is no image"),
        ([None], "NoneType is no image"),
        ([], "There is no image"),
        ("missing.png", "missing.png does not exist"),
        (np.zeros((4, 4), np.uint16), "scale"),
        (np.full((4, 4), 0.5), "multiply by 255"),
        (np.zeros(4, np.uint8), "must be"),
    ],
)
def test_what_is_no_image_is_refused_with_a_reason(final, given, words):
    with pytest.raises(InputError, match=words):
        final.predict(given)


def test_a_file_that_cannot_be_read_keeps_its_row_and_is_warned_of(final, tmp_path):
    image(np.random.default_rng(0), 1).save(tmp_path / "good.png")
    (tmp_path / "bad.png").write_bytes(b"nothing")
    with pytest.warns(UserWarning, match=r"were not classified: .*bad\.png"):
        table = final.predict([tmp_path / "bad.png", b"neither", tmp_path / "good.png"])
    assert table["decision"].tolist()[2] == "PNEUMONIA"
    assert table["probability"].isna().tolist() == [True, True, False]
    assert all("not read: " in why for why in table["unusual"][:2])
    with pytest.raises(InputError, match=r"bad\.png can't be read"):
        final.explain(tmp_path / "bad.png")


def test_probabilities_for_another_prevalence_and_another_threshold(final):
    one = np.asarray(image(np.random.default_rng(3), 1))
    rarer = final.predict(one, prevalence=0.01)
    assert rarer["probability"][0] < final.predict(one)["probability"][0]
    assert rarer["decision"][0] == "PNEUMONIA"
    with pytest.raises(InputError, match="A prevalence is between 0 and 1"):
        final.predict(one, prevalence=2)


def test_a_heat_map_is_a_picture_of_one_image(final):
    arrays = np.stack([np.asarray(image(np.random.default_rng(i), i)) for i in (0, 1)])
    assert final.explain(arrays[0]).size[0] == 512
    with pytest.raises(InputError, match="one image, not 2"):
        final.explain(arrays)


def test_an_evaluation_has_its_metrics_and_its_report(final, tmp_path):
    done = final.evaluate(
        hospital(tmp_path / "other", names=("Clear", "Sick")), map={"Clear": "NORMAL", "Sick": "PNEUMONIA"}
    )
    assert list(done.metrics.columns) == ["figure", "value", "low", "high", "baseline"]
    assert done.metrics.set_index("figure").loc["ROC AUC", "value"] > 0.95
    assert done.report.is_file()
    assert done.verdict in repr(done)
    assert "<table" in done._repr_html_()
    with pytest.raises(InputError, match="are not those of the model"):
        final.evaluate(tmp_path / "other")


def test_a_verification_lists_problems_and_counts(tmp_path):
    data = hospital(tmp_path / "data", each=20)
    good = xt.verify(data)
    assert good.usable
    assert good.images[["train", "validation", "test"]].to_numpy().sum() == 40
    assert good.shortcuts
    (data / "NORMAL" / "bad.png").write_bytes(b"nothing")
    bad = xt.verify(data)
    assert not bad.usable
    assert bad.problems.iloc[0][["severity", "kind"]].tolist() == ["error", "unreadable"]
    assert "can not be used: 1 error" in repr(bad)
    assert "unreadable" in bad._repr_html_()
    assert xt.verify(data, quarantine=True).usable

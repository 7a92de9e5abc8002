"""The audit finds the shortcut that is planted, names it, and finds none where there is none."""

import dataclasses
import math
from dataclasses import replace

import pytest

from tests.inputs import made_radiographs
from xraytune import data
from xraytune.data.image_properties import FRAMING
from xraytune.data.sources import demo, synthetic_images
from xraytune.evaluation import shortcut_audit
from xraytune.evaluation.shortcut_audit import NOTABLE, Audit


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XRAYTUNE_CACHE", str(tmp_path / "cache"))


def audited(tmp_path, shortcut, strength, **options):
    radiographs = synthetic_images.draw_plan(3, 110, shortcut=shortcut, strength=strength, size=72)
    demo.write(tmp_path / "radiographs", radiographs)
    return shortcut_audit.audit(data.load(str(tmp_path / "radiographs")), **options)


@pytest.mark.parametrize(
    ("shortcut", "names", "countermeasure"),
    [
        ("aspect", {"aspect_ratio", "width"}, "shape_jitter"),
        ("brightness", {"mean"}, "exposure_jitter"),
        ("marker", {"corner"}, "masking"),
        ("blur", {"sharpness", "bytes"}, "focus_jitter"),
    ],
)
def test_every_planted_shortcut_is_found_named_first_and_what_hides_it_too(tmp_path, shortcut, names, countermeasure):
    found = audited(tmp_path, shortcut, 0.9)
    assert found.findings[0].name in names
    assert found.findings[0].auc > 0.75  # a marker inside the central square is only partly in a whole image's corner
    assert names & {finding.name for finding in found.shortcuts}
    assert found.auc > 0.8
    assert "a network can learn it instead of the lungs" in found.summary
    assert found.findings[0].label == "PNEUMONIA"
    assert found.countermeasures[0] == countermeasure


def test_planted_framing_is_found_by_all_its_numbers_together(tmp_path):
    found = audited(tmp_path, "framing", 0.9)
    framed = next(finding for finding in found.findings if finding.name == "framing")
    assert framed in found.shortcuts
    assert framed.auc > 0.8
    said = f"Where the chest lies in the image alone separates the classes with ROC AUC {framed.auc:.2f}"
    assert said in framed.sentence
    assert said in found.summary


def test_shape_sharpness_and_framing_planted_together_are_all_found(tmp_path):
    found = audited(tmp_path, "clinic", 1.0)
    assert {"gradient_ratio", "sharpness", "framing"} <= {finding.name for finding in found.shortcuts}


def test_all_that_another_machine_does_to_its_images_is_found(tmp_path):
    found = audited(tmp_path, "machine", 1.0)
    assert {"shape_jitter", "exposure_jitter", "focus_jitter"} <= set(found.countermeasures)


def test_in_the_demonstration_itself_the_planted_shortcut_is_found_and_said():
    dataset = data.load("demo")
    found = shortcut_audit.audit(dataset)
    aspect = next(finding for finding in found.shortcuts if finding.name == "aspect_ratio")
    assert dataset.demonstration
    assert aspect.label == "PNEUMONIA"
    # what its strength of 0.9 gives by itself is 0.95, less the variety of images
    assert aspect.auc == pytest.approx(0.89, abs=0.06)
    said = f"The aspect ratio (width over height) alone separates the classes with ROC AUC {aspect.auc:.2f}"
    assert said in found.summary  # `search.verify` prints it
    assert found.headline  # `search.run` says it before the first trial
    assert "shape_jitter" in found.countermeasures


def test_of_what_no_network_is_shown_it_is_not_said_that_one_can_learn_it(tmp_path):
    found = {finding.name: finding.sentence for finding in audited(tmp_path, "blur", 0.9).findings}
    assert "No network sees the file's size" in found["bytes"]
    assert "a network can learn it" not in found["bytes"]
    assert "a network can learn it" in found["sharpness"]


def test_a_class_of_one_patient_leaves_the_audit_unmeasured_and_it_says_so(tmp_path):
    made_radiographs.kaggle(tmp_path / "radiographs", train=24, test=6)
    dataset = data.load(str(tmp_path / "radiographs"))
    one_each = dataset.images.labels.astype(str).astype(object)
    found = shortcut_audit.audit(replace(dataset, images=replace(dataset.images, patients=one_each)))
    assert math.isnan(found.auc)
    assert not found.headline
    assert "could not be measured" in found.summary
    assert "0.50" not in found.summary


def test_where_nothing_is_planted_none_is_reported(tmp_path):
    found = audited(tmp_path, "none", 0.0)
    assert found.shortcuts == ()
    assert found.auc < NOTABLE
    assert "No shortcut of a known kind was found" in found.summary


def test_test_images_are_compared_only_if_asked_and_without_labels(tmp_path):
    assert audited(tmp_path / "a", "aspect", 0.9).shifts == ()
    dataset = data.load(str(tmp_path / "a" / "radiographs"))
    swapped = dataclasses.replace(
        dataset,
        images=data.Images.of(
            dataclasses.replace(i, label=1 - i.label) if i.split == "test" else i for i in dataset.images
        ),
    )
    found = shortcut_audit.audit(dataset, compare_test=True)
    assert found.shifts
    assert found.shifts == shortcut_audit.audit(swapped, compare_test=True).shifts
    assert {s.name for s in found.shifts} - {f.name for f in found.findings} == set(FRAMING)


def test_once_the_set_is_open_a_shift_of_one_class_is_found_that_pooling_hides(tmp_path):
    from tests.inputs.made_radiographs import radiograph, write

    for split, each in (("train", 40), ("test", 30)):
        for label, name in enumerate(("NORMAL", "PNEUMONIA")):
            for number in range(each):
                wide = 30 + 20 * (label == 0) * (split == "test")
                sign = 1 if number % 2 or label == 0 else -1  # the ill vary on their own, alike in both splits
                path = tmp_path / "d" / split / name / f"{split}{label}{number:02d}.png"
                write(path, radiograph(1000 * label + 100 * (split == "test") + number, wide + sign * (number % 7), 30))
    dataset = data.load(str(tmp_path / "d"))
    pooled = next(s for s in shortcut_audit.audit(dataset, compare_test=True).shifts if s.name == "width")
    split = next(s for s in shortcut_audit.audit(dataset, compare_test=True, by_class=True).shifts if s.name == "width")
    assert pooled.label == ""
    assert split.label == "NORMAL"
    assert split.auc == 1.0 > pooled.auc
    assert "is higher on NORMAL test images: it separates them from NORMAL training images" in split.sentence


def test_an_audit_goes_through_json(tmp_path):
    found = audited(tmp_path, "none", 0.0)
    plain = found.to_json()
    assert plain["images"] == found.images
    assert len(plain["findings"]) == len(found.findings)
    assert isinstance(found, Audit)


def test_three_classes_are_audited_one_against_the_rest(tmp_path):
    from tests.inputs.made_radiographs import radiograph, write

    for index, name in enumerate(("a", "b", "c")):
        for number in range(12):
            write(
                tmp_path / "d" / name / f"{number:02d}.png", radiograph(index * 50 + number, 30 + 20 * (index == 2), 30)
            )
    found = shortcut_audit.audit(data.load(str(tmp_path / "d")))
    widest = next(finding for finding in found.findings if finding.name == "aspect_ratio")
    assert widest.label == "c"
    assert widest.auc == 1.0
    assert "separates c from the rest" in widest.sentence


def sites_of(shares, each=20):
    """A manifest's rows: each site with its share of pneumonia."""
    rows = [(site, i < share * each) for site, share in shares.items() for i in range(each)]
    return [("PNEUMONIA" if ill else "NORMAL", site) for site, ill in rows]


def audited_sites(tmp_path, rows):
    lines = ["path,label,site"]
    for number, (label, site) in enumerate(rows):
        made_radiographs.write(tmp_path / f"{number}.png", made_radiographs.radiograph(number))
        lines.append(f"{number}.png,{label},{site}")
    (tmp_path / "radiographs.csv").write_text("\n".join(lines))
    return shortcut_audit.audit(data.load(str(tmp_path / "radiographs.csv")))


def test_a_site_that_tells_the_class_is_said_with_its_shares(tmp_path):
    found = audited_sites(tmp_path, sites_of({"clinic": 0.9, "screening": 0.1}))
    site = next(finding for finding in found.findings if finding.name == "site")
    assert site in found.shortcuts
    assert site.auc == pytest.approx(0.9, abs=0.05)
    assert "The site alone separates the classes" in site.sentence
    assert "of the images of screening and" in site.sentence
    assert "--validate-on site" in site.sentence


def test_sites_with_equal_shares_tell_nothing_and_single_images_are_no_sites(tmp_path):
    found = audited_sites(tmp_path, sites_of({"clinic": 0.5, "screening": 0.5}))
    site = next(finding for finding in found.findings if finding.name == "site")
    assert site.auc < 0.6
    assert "--validate-on" not in site.sentence
    one_each = [(label, f"{site}{i}") for i, (label, site) in enumerate(sites_of({"a": 0.5, "b": 0.5}))]
    (tmp_path / "many").mkdir()
    assert "site" not in {f.name for f in audited_sites(tmp_path / "many", one_each).findings}

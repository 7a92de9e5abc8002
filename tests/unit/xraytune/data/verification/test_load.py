"""Every problem of a data set is found before the first trial, and all are said at once."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.inputs.made_radiographs import encoded, flat, kaggle, radiograph, write
from xraytune import data
from xraytune.errors import DataError, InputError


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XRAYTUNE_CACHE", str(tmp_path / "cache"))


def refused(root, **options):
    with pytest.raises(DataError) as caught:
        data.load(str(root), **options)
    return str(caught.value)


def kinds(root, **options):
    return {problem.kind for problem in data.examine(str(root), **options).problems}


def test_a_text_file_a_truncated_and_an_empty_image_are_all_named_at_once(tmp_path):
    root = kaggle(tmp_path / "d")
    write(root / "train/NORMAL/IM-0400-0001.jpeg", b"not an image at all")
    write(root / "train/PNEUMONIA/person400_virus_1.jpeg", encoded(radiograph(1), "JPEG")[:-300])
    write(root / "test/NORMAL/IM-0401-0001.png", b"")
    write(root / "test/NORMAL/IM-0402-0001.jpeg", b"<!DOCTYPE html><html>404</html>")
    message = refused(root)
    assert "4 problems" in message
    assert "IM-0400-0001.jpeg" in message
    assert "a text file" in message
    assert "person400_virus_1.jpeg" in message
    assert "truncated" in message
    assert "the file is empty" in message
    assert "a web page" in message
    assert "--quarantine" in message


def test_quarantine_leaves_bad_files_out_and_records_which(tmp_path):
    root = kaggle(tmp_path / "d")
    write(root / "train/NORMAL/IM-0400-0001.jpeg", b"")
    dataset = data.load(str(root), quarantine=True)
    assert dataset.quarantined == ("train/NORMAL/IM-0400-0001.jpeg",)
    assert all(image.key not in dataset.quarantined for image in dataset.images)
    assert any("quarantine" in note for note in dataset.notes)


def test_quarantine_does_not_hide_a_class_that_is_gone(tmp_path):
    root = flat(tmp_path / "d", {"NORMAL": 4})
    write(root / "PNEUMONIA/person1_virus_1.jpeg", b"")
    assert "empty class" in {p.kind for p in data.examine(str(root), quarantine=True).errors}


def test_what_does_not_exist_or_holds_nothing_is_one_clear_sentence(tmp_path):
    assert "There is no" in refused(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    assert "no class folders" in refused(tmp_path / "empty")
    write(tmp_path / "file.txt", b"x")
    assert "files of this kind are not read" in refused(tmp_path / "file.txt")


def test_one_class_and_an_empty_class_are_refused(tmp_path):
    assert "a second one is needed" in refused(flat(tmp_path / "one", {"NORMAL": 6}))
    root = flat(tmp_path / "two")
    (root / "EMPTY").mkdir()
    assert "EMPTY/" in refused(root)


def test_classes_that_differ_between_splits_are_refused(tmp_path):
    root = kaggle(tmp_path / "d")
    write(root / "test/COVID/a.png", radiograph(1))
    message = refused(root)
    assert "test/COVID" in message
    assert "is not a class of train" in message


def test_macos_litter_is_skipped_and_said(tmp_path):
    root = kaggle(tmp_path / "d")
    write(root / "__MACOSX/train/._x.jpeg", b"\0")
    write(root / "train/NORMAL/.DS_Store", b"\0")
    (root / "chest_xray").mkdir()
    found = data.examine(str(root))
    assert found.dataset is not None
    skipped = " ".join(p.where for p in found.warnings if p.kind == "skipped")
    assert "__MACOSX" in skipped
    assert "chest_xray/" in skipped


def test_a_folder_inside_a_class_is_an_error(tmp_path):
    root = kaggle(tmp_path / "d")
    write(root / "train/NORMAL/more/x.png", radiograph(1))
    assert "stray folder" in kinds(root)


def test_other_image_formats_are_errors_not_silently_dropped(tmp_path):
    root = kaggle(tmp_path / "d")
    write(root / "train/NORMAL/x.tiff", b"II*\0")
    write(root / "train/NORMAL/y.png", encoded(radiograph(3), "GIF"))
    message = refused(root)
    assert "a TIFF image is not read" in message
    assert "a GIF image" in message


@pytest.mark.parametrize("suffix", [".avif", ".jxl", ".mha", ".gif"])
def test_images_of_a_kind_that_is_not_read_are_errors_and_not_left_out(tmp_path, suffix):
    root = kaggle(tmp_path / "d")
    write(root / f"train/NORMAL/IM-0400-0001{suffix}", b"whatever it holds")
    assert f"{suffix} images are not read" in refused(root)


def test_a_image_over_fifty_megapixels_is_refused_before_it_is_decoded(tmp_path):
    root = kaggle(tmp_path / "d")
    write(root / "train/NORMAL/IM-0300-0001.png", encoded(Image.new("1", (10_000, 5_001))))
    assert "more than 50 million" in refused(root)


def test_an_exact_copy_in_two_splits_is_found_and_quarantine_keeps_the_test_side(tmp_path):
    root = kaggle(tmp_path / "d")
    write(root / "test/NORMAL/IM-0900-0001.png", (root / "train/NORMAL/IM-0000-0000.png").read_bytes())
    message = refused(root)
    assert "leak" in message
    assert "train/NORMAL/IM-0000-0000.png" in message
    assert data.load(str(root), quarantine=True).quarantined == ("train/NORMAL/IM-0000-0000.png",)


def test_a_copy_under_two_labels_is_found(tmp_path):
    root = kaggle(tmp_path / "d")
    write(root / "train/PNEUMONIA/person900_virus_1.png", (root / "train/NORMAL/IM-0000-0000.png").read_bytes())
    assert "two labels" in refused(root)


def test_a_patient_in_two_splits_is_found_and_the_same_number_of_another_kind_is_not(tmp_path):
    root = kaggle(tmp_path / "d")
    write(root / "train/PNEUMONIA/person7000_bacteria_1.png", radiograph(70))
    write(root / "test/PNEUMONIA/person7000_virus_1.png", radiograph(71))
    assert data.examine(str(root)).errors == ()
    write(root / "test/PNEUMONIA/person7000_bacteria_2.png", radiograph(72))
    message = refused(root)
    assert "patient leak" in message
    assert "bacteria-7000" in message


@pytest.mark.parametrize("how", ["quality", "half", "darker"])
def test_a_copy_saved_again_in_another_split_is_warned_of(tmp_path, how):
    root = kaggle(tmp_path / "d", suffix=".jpeg")
    original = radiograph(4242, 200, 160)
    write(root / "train/NORMAL/IM-0800-0001.png", original)
    again = {
        "quality": lambda: encoded(original, "JPEG", quality=30),
        "half": lambda: encoded(original.resize((100, 80)), "JPEG", quality=60),
        "darker": lambda: encoded(original.point(lambda v: v * 0.8), "JPEG", quality=90),
    }[how]()
    write(root / "test/NORMAL/IM-0801-0001.jpeg", again)
    near = [p for p in data.examine(str(root)).warnings if p.kind == "near copy"]
    assert [p.where for p in near] == ["test/NORMAL/IM-0801-0001.jpeg"]
    assert "train/NORMAL/IM-0800-0001.png" in near[0].what


def test_copies_inside_training_are_a_warning_and_stay_on_one_side(tmp_path):
    root = kaggle(tmp_path / "d", train=40)
    same = (root / "train/NORMAL/IM-0000-0000.png").read_bytes()
    for patient in range(500, 520):
        write(root / f"train/NORMAL/IM-{patient:04d}-0001.png", same)
    found = data.examine(str(root))
    assert "copies" in {p.kind for p in found.warnings}
    for seed in range(4):
        dataset = data.load(str(root), seed=seed)
        contents = {}
        for image in dataset.images:
            contents.setdefault(image.sha256, set()).add(image.split)
        assert all(len(splits) == 1 for splits in contents.values())
        assert len(contents) == len(dataset.images) - 20


def test_a_tiny_validation_folder_is_merged_and_split_anew_by_patient(tmp_path):
    root = kaggle(tmp_path / "d", train=60, val=4)
    dataset = data.load(str(root))
    assert any("too few to choose a model" in note for note in dataset.notes)
    assert sum(dataset.counts("val").values()) > 8
    split_of = {}
    for image in dataset.images:
        assert split_of.setdefault(image.patient, image.split) == image.split


def test_a_validation_folder_of_use_is_kept(tmp_path):
    root = kaggle(tmp_path / "d", train=32, val=30)
    dataset = data.load(str(root))
    assert {i.key.split("/")[0] for i in dataset.select("val")} == {"val"}


def test_imbalance_and_few_patients_are_warnings(tmp_path):
    root = flat(tmp_path / "d", {"NORMAL": 10, "PNEUMONIA": 60})
    assert {"imbalance", "few patients"} <= kinds(root)


def test_without_patients_it_says_that_the_split_is_by_image(tmp_path):
    for first, name in ((0, "covid"), (100, "healthy")):
        for i in range(10):
            write(tmp_path / "d" / name / f"{i:03d}.png", radiograph(first + i))
    found = data.examine(str(tmp_path / "d"))
    assert found.dataset.grouped_by == "image"
    assert any(p.kind == "patients" and "too optimistic" in p.what for p in found.warnings)


@pytest.mark.parametrize(
    ("classes", "index"),
    [(("NORMAL", "PNEUMONIA"), 1), (("Abnormal", "Healthy"), 0), (("a", "covid19"), 1), (("neg", "positive"), 1)],
)
def test_the_class_whose_name_says_so_is_the_positive_one(tmp_path, classes, index):
    assert data.load(str(flat(tmp_path / "d", dict.fromkeys(classes, 8)))).positive == index


def test_a_positive_class_that_no_name_tells_is_asked_for_with_the_names(tmp_path):
    root = flat(tmp_path / "d", {"tb": 8, "healthy": 8})
    message = refused(root)
    assert "healthy, tb" in message
    assert "--positive" in message
    assert data.load(str(root), positive="TB").positive == 1
    assert "names no class" in refused(root, positive="flu")


def test_both_classes_saying_so_is_asked_too(tmp_path):
    assert "both class names" in refused(flat(tmp_path / "d", {"covid": 8, "pneumonia": 8}))


def test_three_classes_have_no_positive_one_unless_named(tmp_path):
    root = flat(tmp_path / "d", {"covid": 8, "normal": 8, "pneumonia": 8})
    assert data.load(str(root)).positive is None
    assert data.load(str(root), positive="covid").positive == 0


def test_unknown_options_are_refused(tmp_path):
    root = flat(tmp_path / "d")
    with pytest.raises(InputError, match="crop, pad, squash"):
        data.load(str(root), fit="stretch")
    with pytest.raises(InputError, match="channels"):
        data.load(str(root), channels=2)
    with pytest.raises(InputError, match="not a regular expression"):
        data.load(str(root), patient_regex="(")


def test_a_patient_regex_tells_patients(tmp_path):
    for name in ("covid", "normal"):
        for i in range(12):
            write(tmp_path / "d" / name / f"{name[0]}-P{i // 3}-{i}.png", radiograph(i + 50 * (name == "covid")))
    dataset = data.load(str(tmp_path / "d"), patient_regex=r"/(?P<patient>.-P\d+)-")
    assert dataset.grouped_by == "patient"
    assert {image.patient for image in dataset.images} == {f"{c}-P{i}" for c in "cn" for i in range(4)}
    assert "matches no file" in refused(tmp_path / "d", patient_regex="nothing")


def test_the_second_start_reads_no_file_and_a_changed_one_is_read_again(tmp_path, monkeypatch):
    from xraytune.data.decoding import inspection

    root = kaggle(tmp_path / "d")
    monkeypatch.setattr(inspection, "_RACY_NS", -1)  # files just written are normally read twice
    first = data.examine(str(root))
    assert first.inspection.read == first.listed
    second = data.examine(str(root))
    assert second.inspection.read == 0
    assert second.dataset == first.dataset
    assert np.array_equal(first.inspection.rows, second.inspection.rows)
    changed = root / "train/NORMAL/IM-0000-0000.png"
    before = changed.stat()
    content = changed.read_bytes()
    write(changed, encoded(radiograph(777)))
    os.utime(changed, ns=(before.st_atime_ns, before.st_mtime_ns))  # an old date does not hide it
    third = data.examine(str(root))
    assert third.inspection.read == 1
    assert third.dataset.train_fingerprint != first.dataset.train_fingerprint
    assert third.dataset.test_fingerprint == first.dataset.test_fingerprint
    said = data.difference(third.dataset, first.dataset.train_fingerprint)
    assert said.startswith("train/NORMAL/IM-0000-0000.png has different content")
    write(changed, content)
    assert data.load(str(root)).train_fingerprint == first.dataset.train_fingerprint
    assert data.examine(str(root), rehash=True).inspection.read == first.listed


def test_a_name_that_is_no_utf_8_is_an_error_and_not_a_crash(tmp_path):
    root = kaggle(tmp_path / "d")
    source = root / "train/NORMAL/IM-0000-0000.png"
    Path(os.fsdecode(bytes(source.parent) + b"/IM-\xff.png")).write_bytes(source.read_bytes())
    message = refused(root)
    assert "train/NORMAL/IM-\ufffd.png" in message
    assert "rename it" in message


def test_files_just_written_are_not_trusted(tmp_path):
    root = kaggle(tmp_path / "d")
    data.load(str(root))
    assert data.examine(str(root)).inspection.read > 0


def test_a_damaged_kept_table_is_made_again(tmp_path):
    root = kaggle(tmp_path / "d")
    first = data.load(str(root))
    for path in (tmp_path / "cache" / "inspected").rglob("*.np[yz]"):
        path.write_bytes(path.read_bytes()[:50])
    assert data.load(str(root)) == first


def test_fit_and_channels_are_part_of_the_fingerprint(tmp_path):
    root = kaggle(tmp_path / "d")
    base = data.load(str(root))
    padded = data.load(str(root), fit="pad")
    assert padded.train_fingerprint != base.train_fingerprint
    assert data.load(str(root), channels=3).train_fingerprint != base.train_fingerprint
    assert data.difference(padded, base.train_fingerprint) == "The study was made with fit crop; now fit is pad."
    assert data.difference(base, base.train_fingerprint) is None


def test_warnings_are_among_the_notes_of_the_data_set(tmp_path):
    dataset = data.load(str(flat(tmp_path / "d", {"NORMAL": 10, "PNEUMONIA": 60})))
    assert any("the search includes class weights" in note for note in dataset.notes)


def test_a_study_of_other_data_is_told_which_file_differs(tmp_path):
    from xraytune.data import compare

    root = kaggle(tmp_path / "d")
    first = data.load(str(root))
    (root / "test/NORMAL/IM-1000-0001.png").unlink()
    write(root / "train/NORMAL/IM-0600-0001.png", radiograph(88))
    second = data.load(str(root))
    assert compare(first.train_fingerprint, second.train_fingerprint) == (
        "train/NORMAL/IM-0600-0001.png is new in the training images."
    )
    assert compare(first.test_fingerprint, second.test_fingerprint, test=True) == (
        "test/NORMAL/IM-1000-0001.png is missing in the test images."
    )
    assert "not those of the study" in compare("0" * 64, second.train_fingerprint)

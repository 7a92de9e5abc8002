"""Public data sets by their names and columns: patients from file names, label files as manifests."""

from pathlib import Path

import pandas as pd
import pytest

from tests.inputs.made_radiographs import radiograph, write
from xraytune import data
from xraytune.data.sources import patient_names
from xraytune.errors import InputError, SourceError


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XRAYTUNE_CACHE", str(tmp_path / "cache"))


def folder(root, stems, suffix=".png"):
    """Class folders; `stems` gives the name of each class's images, two a patient."""
    for c, label in enumerate(("NORMAL", "PNEUMONIA")):
        for i in range(24):
            write(root / label / f"{stems(c, i // 2, i % 2)}{suffix}", radiograph(1000 * c + i))
    return str(root)


NAMES = {
    "nih": (lambda c, who, n: f"{who + 100 * c:08d}_{n:03d}", "nih-100"),
    "chexpert": (lambda c, who, n: f"patient{who + 100 * c:05d}_study1_view{n + 1}_frontal", "chexpert-100"),
    "mimic": (lambda c, who, n: f"p10{who + 100 * c:06d}_s5041{who:04d}_{n:08x}-aaaa", "mimic-10000100"),
    "shenzhen": (lambda c, who, n: f"CHNCXR_{2 * who + n + 100 * c:04d}_{c}", "shenzhen-100"),
    "montgomery": (lambda c, who, n: f"MCUCXR_{2 * who + n + 100 * c:04d}_{c}", "montgomery-100"),
    "padchest": (
        lambda c, who, n: f"2168401113669640138295431665120133381357{who + 100 * c:05d}_02-09{n}-102",
        "padchest-study-216840111366964013829543166512013338135700100",
    ),
}


@pytest.mark.parametrize("suffix", [".png", ".jpeg"])
@pytest.mark.parametrize("name", NAMES)
def test_file_names_of_public_data_sets_tell_the_patient(tmp_path, name, suffix):
    stems, first = NAMES[name]
    dataset = data.load(folder(tmp_path / "set", stems, suffix))
    assert dataset.grouped_by == "patient"
    assert first in {image.patient for image in dataset.images}
    by_patient = {}
    for image in dataset.images:
        by_patient.setdefault(image.patient, set()).add(image.split)
    assert all(len(splits) == 1 for splits in by_patient.values())
    assert any("contain the study, not the patient" in note for note in dataset.notes) == (name == "padchest")


@pytest.mark.parametrize(
    ("path", "patient"),
    [
        ("CheXpert-v1.0-small/train/patient00001/study1/view1_frontal", "chexpert-1"),
        ("valid/patient64541/study1/view2_lateral", "chexpert-64541"),
        ("files/p10/p10000032/s50414267/02aa804e-bde0afdd-112c0b34-7bc16630-4e384014", "mimic-10000032"),
        ("ChinaSet_AllFiles/CXR_png/CHNCXR_0327_1", "shenzhen-327"),
        ("MontgomerySet/CXR_png/MCUCXR_0001_0", "montgomery-1"),
        ("train/PNEUMONIA/person1_bacteria_1", "bacteria-1"),
        ("p10/scan", ""),
        ("patient00001/photo", ""),
        ("0a9b1c2d3e4f5a6b7c8d9e0f1a2b3c4d", ""),  # VinDr: names tell no patient
    ],
)
def test_paths_of_public_data_sets_tell_the_patient_one_by_one(path, patient):
    assert patient_names.from_name(path).patient == patient


def test_names_of_nih_s_form_are_believed_only_where_all_images_have_them(tmp_path):
    root = tmp_path / "set"
    folder(root, NAMES["nih"][0])
    write(root / "NORMAL" / "scan_7.png", radiograph(9999))
    dataset = data.load(str(root))
    assert dataset.grouped_by == "image"


def nih(root, **more):
    rows = []
    for i in range(96):
        finding = (
            ("No Finding", "Pneumonia|Effusion", "Mass")[i % 3] if i % 2 else ("No Finding", "Pneumonia")[i // 2 % 2]
        )
        name = f"{i // 2 + 1:08d}_{i % 2:03d}.png"
        rows.append((name, finding, i % 2, i // 2 + 1, 40 + i % 30, "MF"[i % 2], "PA"))
        write(root / "images_001" / "images" / name, radiograph(i))
    head = [
        "Image Index",
        "Finding Labels",
        "Follow-up #",
        "Patient ID",
        "Patient Age",
        "Patient Gender",
        "View Position",
    ]
    frame = pd.DataFrame(rows, columns=head)
    frame["OriginalImage[Width"] = 2500
    frame["Height]"] = 2000
    frame.to_csv(root / "Data_Entry_2017.csv", index=False)
    return root / "Data_Entry_2017.csv", frame


def test_nih_s_table_is_read_by_one_label_and_other_findings_are_left_out_and_counted(tmp_path):
    table, frame = nih(tmp_path / "nih")
    dataset = data.load(str(table), label="pneumonia", negative="No Finding")
    assert dataset.classes == ("No Finding", "Pneumonia")
    assert dataset.classes[dataset.positive] == "Pneumonia"
    counts = [sum(image.label == c for image in dataset.images) for c in (0, 1)]
    assert counts == [
        (frame["Finding Labels"] == "No Finding").sum(),
        frame["Finding Labels"].str.contains("Pneumonia").sum(),
    ]
    other = (frame["Finding Labels"] == "Mass").sum()
    assert any(f"{other} of 96 entries" in note and "other findings only" in note for note in dataset.notes)
    assert dataset.grouped_by == "patient"
    assert "nih-1" in {image.patient for image in dataset.images}
    assert {"patient age", "patient gender", "view position"} <= set(dataset.columns)


def test_without_a_negative_label_every_other_image_is_the_other_class(tmp_path):
    table, frame = nih(tmp_path / "nih")
    dataset = data.load(str(table), label="Pneumonia")
    assert dataset.classes == ("Pneumonia", "no Pneumonia")
    assert dataset.positive == 0
    assert len(dataset.images) == len(frame)


def test_nih_s_official_test_images_stay_the_test_set(tmp_path):
    table, frame = nih(tmp_path / "nih")
    tested = [name for name in frame["Image Index"] if int(name[:8]) > 36]
    (table.parent / "test_list.txt").write_text("\n".join(tested))
    dataset = data.load(str(table), label="Pneumonia")
    assert {Path(image.key).name for image in dataset.select("test")} == set(tested)


def test_images_of_a_table_that_are_not_there_are_left_out_and_counted(tmp_path):
    table, frame = nih(tmp_path / "nih")
    for name in frame["Image Index"][:7]:
        (table.parent / "images_001" / "images" / name).unlink()
    dataset = data.load(str(table), label="Pneumonia")
    assert len(dataset.images) == 89
    assert any("7 of 96 entries" in note and "no file" in note for note in dataset.notes)


def chexpert(root, inside=True):
    rows = []
    for i in range(120):
        path = f"CheXpert-v1.0-small/train/patient{i // 2 + 1:05d}/study1/view{i % 2 + 1}_frontal.jpg"
        below = root / "CheXpert-v1.0-small"
        write(root / path, radiograph(i))
        state = {0: "1.0", 1: "0.0", 2: "-1.0", 3: ""}[i // 2 % 4]
        rows.append((path, "Female", 60, "Frontal", "AP", "1.0" if i // 2 % 4 == 3 else "", state))
    head = ["Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", "No Finding", "Pneumonia"]
    table = (below if inside else root) / "train.csv"
    pd.DataFrame(rows, columns=head).to_csv(table, index=False)
    return table


@pytest.mark.parametrize(
    ("uncertain", "negative", "expected"),
    [
        ("ignore", None, {"Pneumonia": 30, "no Pneumonia": 60}),
        ("positive", None, {"Pneumonia": 60, "no Pneumonia": 60}),
        ("negative", None, {"Pneumonia": 30, "no Pneumonia": 90}),
        ("ignore", "No Finding", {"Pneumonia": 30, "No Finding": 30}),
        ("positive", "no finding", {"Pneumonia": 60, "No Finding": 30}),
    ],
)
@pytest.mark.parametrize("inside", [True, False])
def test_chexpert_s_table_is_read_with_uncertain_labels_as_asked(tmp_path, uncertain, negative, expected, inside):
    table = chexpert(tmp_path, inside)
    dataset = data.load(str(table), label="Pneumonia", negative=negative, uncertain=uncertain)
    found = {name: sum(image.label == c for image in dataset.images) for c, name in enumerate(dataset.classes)}
    assert found == expected
    assert dataset.classes[dataset.positive] == "Pneumonia"
    assert any("uncertain" in note for note in dataset.notes) == (uncertain == "ignore")
    assert len({image.patient for image in dataset.images}) * 2 == len(dataset.images)


def test_rsna_s_rows_of_one_patient_are_one_image(tmp_path):
    rows = []
    for i in range(60):
        name = f"{i:08x}-1fca-4058"
        write(tmp_path / "stage_2_train_images" / f"{name}.png", radiograph(i))
        rows += [(name, *((10.0, 20.0, 5.0, 5.0) if i % 2 else ("", "", "", "")), i % 2)] * (2 if i % 4 == 3 else 1)
    table = tmp_path / "stage_2_train_labels.csv"
    pd.DataFrame(rows, columns=["patientId", "x", "y", "width", "height", "Target"]).to_csv(table, index=False)
    dataset = data.load(str(table))
    assert dataset.classes == ("Pneumonia", "no Pneumonia")
    assert dataset.positive == 0
    assert len(dataset.images) == 60
    assert sum(image.label == 0 for image in dataset.images) == 30


def test_mimic_s_table_takes_every_image_of_a_study(tmp_path):
    rows = []
    for i in range(60):
        subject, study = 10000032 + i, 50414267 + i
        for n in range(2):
            write(
                tmp_path / "files" / f"p{str(subject)[:2]}" / f"p{subject}" / f"s{study}" / f"{n:08x}-a.jpg",
                radiograph(2 * i + n),
            )
        rows.append((subject, study, "", "1.0" if i % 2 else ""))
    table = tmp_path / "mimic-cxr-2.0.0-chexpert.csv"
    pd.DataFrame(rows, columns=["subject_id", "study_id", "No Finding", "Pneumonia"]).to_csv(table, index=False)
    dataset = data.load(str(table), label="Pneumonia")
    assert len(dataset.images) == 120
    assert len({image.patient for image in dataset.images}) == 60


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({}, "Name one: --label Pneumonia"),
        ({"label": "Pnuemonia"}, "--label 'Pnuemonia' is not in"),
        ({"label": "Pneumonia", "negative": "Normal"}, "--negative 'Normal' is not in"),
        ({"label": "Pneumonia", "negative": "pneumonia"}, "must differ"),
        ({"label": "Pneumonia", "uncertain": "maybe"}, "--uncertain 'maybe'"),
    ],
)
def test_a_finding_that_can_t_be_had_is_one_clear_error(tmp_path, options, why):
    table, _ = nih(tmp_path / "nih")
    with pytest.raises(InputError, match=why):
        data.load(str(table), **options)


def test_a_finding_of_data_without_a_label_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="--label 'Pneumonia' needs the label file"):
        data.load(folder(tmp_path / "set", NAMES["nih"][0]), label="Pneumonia")


def test_a_table_whose_images_are_elsewhere_says_so(tmp_path):
    table, _ = nih(tmp_path / "nih")
    alone = tmp_path / "alone" / table.name
    alone.parent.mkdir()
    alone.write_bytes(table.read_bytes())
    with pytest.raises(SourceError, match="none can be used: 96 have no file"):
        data.load(str(alone), label="Pneumonia")

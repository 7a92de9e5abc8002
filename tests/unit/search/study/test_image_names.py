"""Running numbers in place of names."""

from pathlib import Path

import pytest

from search.study import image_names
from xraytune.errors import ArtifactError


def test_a_patient_has_one_number_and_the_first_seen_is_1() -> None:
    assert image_names.numbers(["Doe", "Roe", "Doe", "Poe"]) == [1, 2, 1, 3]
    assert image_names.numbers([]) == []


def test_the_key_is_read_as_it_was_written_and_a_broken_one_is_refused(tmp_path: Path) -> None:
    image_names.write(tmp_path, ["test/a, b.png", "test/c.png"], ["Doe", "Doe"])
    assert image_names.read(tmp_path) == {1: "test/a, b.png", 2: "test/c.png"}
    (tmp_path / image_names.NAME).write_text("image\nx\n", encoding="utf-8")
    with pytest.raises(ArtifactError, match="changed or cut off"):
        image_names.read(tmp_path)
    (tmp_path / image_names.NAME).unlink()
    with pytest.raises(ArtifactError, match="is missing"):
        image_names.read(tmp_path)


@pytest.mark.parametrize(
    "sentence",
    [
        "2 bad files were left out (quarantine), the first is train/A/Doe John.png.",
        "Doe John.png is blank.", "train/B/Doe^Jane: 2 frames.", "1 file has no class: /data/x/Roe_1948.dcm.",
        "Roe-77.JPEG and Poe.nii.png are the same image.",
    ],
)  # fmt: skip
def test_a_note_loses_the_names_of_files(sentence: str) -> None:
    found = image_names.without_names(sentence, ["train/A/Doe John.png", "train/B/Doe^Jane"])
    assert "(file)" in found
    assert not any(name in found for name in ("Doe", "Roe", "Poe", "1948"))


def test_a_note_without_names_stays_as_it_is() -> None:
    note = "Validation: 8 of 48 training images, by patient and class. The class a.b has 3.5 times as many."
    assert image_names.without_names(note, ["train/A/x.png"]) == note

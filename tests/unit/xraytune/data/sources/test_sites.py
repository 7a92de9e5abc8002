"""Where an image's site stands: in folders that can be nothing else, in a manifest's column, or as it is told."""

import pytest

from tests.inputs.made_radiographs import flat, radiograph, write
from xraytune.data.sources import open_source
from xraytune.errors import DataError, InputError

BOTH = {"NORMAL": 4, "PNEUMONIA": 4}


def listed(root, **options):
    return open_source.open_source(str(root), **options)


def sites(listing):
    return set(listing.columns.get("site", {}).values())


def errors(listing):
    return {problem.kind for problem in listing.problems if not problem.warning}


def test_folders_with_the_same_class_folders_in_each_are_sites(tmp_path):
    for number, name in enumerate(("Leeds", "Turin")):
        flat(tmp_path / "d" / name, BOTH, seed=number)
    found = listed(tmp_path / "d")
    assert sites(found) == {"Leeds", "Turin"}
    assert {item.label for item in found.items} == {"NORMAL", "PNEUMONIA"}
    assert found.columns["site"]["Turin/NORMAL/IM-0000-0000.png"] == "Turin"
    assert not errors(found)
    assert any("Leeds, Turin" in note for note in found.notes)


@pytest.mark.parametrize(
    ("first", "second", "outer"),
    [
        ({"AP": 2, "PA": 2}, {"AP": 2, "PA": 2}, ("NORMAL", "PNEUMONIA")),  # views of a class
        ({"a": 2, "b": 2}, {"a": 2, "b": 2}, ("one", "two")),  # nothing says which is the class
        ({"NORMAL": 2, "PNEUMONIA": 2}, {"NORMAL": 2}, ("one", "two")),  # not the same in both
        ({"images": 2, "masks": 2}, {"images": 2, "masks": 2}, ("NORMAL", "COVID")),
    ],
)
def test_folders_that_may_be_something_else_are_no_sites_unless_it_is_said(tmp_path, first, second, outer):
    for number, (name, counts) in enumerate(zip(outer, (first, second), strict=True)):
        flat(tmp_path / "d" / name, counts, seed=number)
    assert not sites(listed(tmp_path / "d"))
    assert sites(listed(tmp_path / "d", site="folders")) == set(outer)


def test_folders_beside_images_or_splits_are_no_sites(tmp_path):
    for number, name in enumerate(("Leeds", "Turin")):
        flat(tmp_path / "d" / name, BOTH, seed=number)
    write(tmp_path / "d" / "Leeds" / "odd.png", radiograph(99))
    assert not sites(listed(tmp_path / "d"))
    assert "no class" in errors(listed(tmp_path / "d", site="folders"))
    flat(tmp_path / "split" / "train")
    with pytest.raises(InputError, match=r"--site folders needs folders site/class"):
        listed(tmp_path / "split", site="folders")


def test_a_site_without_class_folders_is_said(tmp_path):
    flat(tmp_path / "d" / "Leeds", BOTH)
    (tmp_path / "d" / "Turin").mkdir()
    found = listed(tmp_path / "d", site="folders")
    assert [p.where for p in found.problems if p.kind == "no classes"] == ["Turin/"]


def test_one_site_alone_is_one_where_it_is_said_and_a_folder_around_sites_is_none(tmp_path):
    flat(tmp_path / "one" / "Leeds", BOTH)
    assert sites(listed(tmp_path / "one", site="folders")) == {"Leeds"}
    assert not sites(listed(tmp_path / "one"))
    for number, name in enumerate(("Leeds", "Turin")):
        flat(tmp_path / "wrapped" / "hospitals" / name, BOTH, seed=number)
    assert sites(listed(tmp_path / "wrapped")) == sites(listed(tmp_path / "wrapped", site="folders")) == {
        "Leeds", "Turin",
    }  # fmt: skip


def manifest(tmp_path, column="site"):
    lines = [f"path,label,{column}"]
    for number in range(8):
        write(tmp_path / f"{number}.png", radiograph(number))
        lines.append(f"{number}.png,{'NORMAL' if number % 2 else 'PNEUMONIA'},{'Leeds' if number < 4 else 'Turin'}")
    (tmp_path / "radiographs.csv").write_text("\n".join(lines))
    return tmp_path / "radiographs.csv"


def test_a_manifest_has_a_column_site_or_names_another(tmp_path):
    assert sites(listed(manifest(tmp_path))) == {"Leeds", "Turin"}
    renamed = manifest(tmp_path, "Hospital")
    assert not sites(listed(renamed))
    found = listed(renamed, site="Hospital")
    assert sites(found) == {"Leeds", "Turin"}
    assert "hospital" not in found.columns
    assert sites(listed(manifest(tmp_path, "group"), site="group")) == {"Leeds", "Turin"}


def test_a_column_that_is_not_there_is_an_error_that_names_those_that_are(tmp_path):
    with pytest.raises(
        InputError, match=r"--site clinic: radiographs.csv has no such column. It has path, label, site"
    ):
        listed(manifest(tmp_path), site="clinic")
    with pytest.raises(InputError, match=r"--site clinic needs a column of a manifest, which .* does not have"):
        listed(flat(tmp_path / "flat"), site="clinic")
    with pytest.raises(DataError):
        listed(tmp_path / "nowhere", site="clinic")

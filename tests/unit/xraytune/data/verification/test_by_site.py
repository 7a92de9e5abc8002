"""Validation by site: what it needs of the data, and that no fold mixes sites or persons."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.inputs.made_radiographs import flat, radiograph, write
from xraytune import data
from xraytune.data.split import site_folds
from xraytune.errors import DataError, InputError


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XRAYTUNE_CACHE", str(tmp_path / "cache"))


@given(st.lists(st.tuples(st.sampled_from("ABC"), st.integers(0, 9)), min_size=1, max_size=60))
def test_each_image_is_held_out_once_and_no_fold_mixes_sites_or_persons(rows):
    sites, people = [site for site, _ in rows], [f"p{person}" for _, person in rows]
    folds = site_folds(sites, people)
    assert list(folds) == sorted(set(sites))
    assert sorted(np.concatenate([held for _, held in folds.values()]).tolist()) == list(range(len(rows)))
    for site, (train, held) in folds.items():
        assert {sites[i] for i in held} == {site}
        assert site not in {sites[i] for i in train}
        assert not {people[i] for i in train} & {people[i] for i in held}


def manifest(tmp_path, rows):
    lines = ["path,label,patient,site"]
    for number, (label, patient, site) in enumerate(rows):
        write(tmp_path / f"{number}.png", radiograph(number))
        lines.append(f"{number}.png,{label},{patient},{site}")
    (tmp_path / "radiographs.csv").write_text("\n".join(lines))
    return str(tmp_path / "radiographs.csv")


def rows(each=14, sites=("Leeds", "Turin"), patient=lambda site, i: f"{site}{i}"):
    return [(c, patient(s, f"{c}{i}"), s) for s in sites for c in ("NORMAL", "PNEUMONIA") for i in range(each)]


def test_sites_are_known_and_part_of_what_the_data_are(tmp_path):
    path = manifest(tmp_path, rows())
    by_patient, by_site = data.load(path), data.load(path, validate_on="site")
    assert (by_patient.sites, by_site.sites) == ((), ("Leeds", "Turin"))
    assert by_patient.train_fingerprint != by_site.train_fingerprint
    assert by_patient.test_fingerprint == by_site.test_fingerprint
    pool = by_site.select("train") + by_site.select("val")
    expected = ["Leeds" if patient.startswith("Leeds") else "Turin" for patient in pool.patients]
    assert list(by_site.sites_of("train", "val")) == expected


def test_an_image_that_changed_its_site_is_named(tmp_path):
    before = data.load(manifest(tmp_path, rows()), validate_on="site")
    key = before.select("train")[0].key
    text = (tmp_path / "radiographs.csv").read_text().splitlines()
    text = [line.replace("Leeds", "Turin") if line.startswith(f"{key},") else line for line in text]
    (tmp_path / "radiographs.csv").write_text("\n".join(text))
    now = data.load(str(tmp_path / "radiographs.csv"), validate_on="site")
    assert data.difference(now, before.train_fingerprint) == f"{key} has a different site in the training images."


def test_patients_of_two_sites_are_said_and_not_trained_on_where_one_is_held_out(tmp_path):
    found = data.examine(manifest(tmp_path, rows(patient=lambda s, i: i if i.endswith("7") else f"{s}{i}")),
                         validate_on="site")  # fmt: skip
    said = next(problem for problem in found.warnings if problem.kind == "site" and "several sites" in problem.what)
    assert "None of their images is used for training" in said.what
    assert found.dataset is not None


def test_sites_that_number_their_patients_alike_are_refused_in_one_message(tmp_path):
    with pytest.raises(DataError, match=r"put the site before the number"):
        data.load(manifest(tmp_path, rows(patient=lambda s, i: i)), validate_on="site")


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (rows(sites=("Leeds",)), r"of one site \(Leeds\).*Use --validate-on patient"),
        (rows(sites=("",)), "of no site"),
    ],
)
def test_one_site_is_not_enough(tmp_path, made, message):
    with pytest.raises(InputError, match=message):
        data.load(manifest(tmp_path, made), validate_on="site")


def test_data_without_sites_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"has no sites\. Give a manifest with a column site"):
        data.load(str(flat(tmp_path / "d")), validate_on="site")
    with pytest.raises(InputError, match=r"--validate-on hospital is unknown\. Take patient or site"):
        data.load(str(flat(tmp_path / "d")), validate_on="hospital")


def test_a_site_without_a_class_and_an_image_without_a_site_are_refused(tmp_path):
    one_sided = [row for row in rows(sites=("Leeds", "Turin", "Oslo")) if row[2] != "Oslo" or row[0] == "NORMAL"]
    with pytest.raises(DataError, match=r"Oslo.*has no PNEUMONIA image"):
        data.load(manifest(tmp_path, one_sided), validate_on="site")
    homeless = [(c, p, "" if i % 9 == 0 else s) for i, (c, p, s) in enumerate(rows())]
    with pytest.raises(DataError, match="images have no site"):
        data.load(manifest(tmp_path, homeless), validate_on="site")
    assert data.load(manifest(tmp_path, homeless)).sites == ()

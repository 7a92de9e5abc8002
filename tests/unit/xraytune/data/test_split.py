"""Patients, never images, are dealt to the splits."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.inputs.made_radiographs import flat, radiograph, write
from xraytune import data
from xraytune.data import split
from xraytune.data.sources import patient_names
from xraytune.errors import InputError

ROWS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 25)), min_size=4, max_size=150)


@given(rows=ROWS, share=st.sampled_from([0.1, 0.15, 0.2, 0.3]), seed=st.integers(0, 9), order=st.randoms())
@settings(max_examples=150, deadline=None)
def test_no_patient_is_on_two_sides_whatever_the_order_of_the_files(rows, share, seed, order):
    labels, people = [label for label, _ in rows], [f"p{patient}" for _, patient in rows]
    held = split.hold_out(labels, people, share, seed)
    assert not set(np.array(people)[held]) & set(np.array(people)[~held])
    shuffled = list(range(len(rows)))
    order.shuffle(shuffled)
    again = split.hold_out([labels[i] for i in shuffled], [people[i] for i in shuffled], share, seed)
    assert np.array_equal(again, held[shuffled])
    for label in set(labels):
        mine = np.array(labels) == label
        if held[mine].all():
            assert not mine.any() or len({p for p, m in zip(people, mine, strict=True) if m}) == 0


@given(
    sizes=st.lists(st.lists(st.integers(1, 9), min_size=2, max_size=30), min_size=2, max_size=4),
    share=st.sampled_from([0.15, 0.25]),
    seed=st.integers(0, 9),
)
@settings(max_examples=150, deadline=None)
def test_class_shares_are_as_near_as_the_patients_sizes_allow(sizes, share, seed):
    labels, people = [], []
    for label, groups in enumerate(sizes):
        for number, size in enumerate(groups):
            labels += [label] * size
            people += [f"{label}-{number}"] * size
    held = split.hold_out(labels, people, share, seed)
    for label, groups in enumerate(sizes):
        count = int(held[np.array(labels) == label].sum())
        assert abs(count - share * sum(groups)) <= max(max(groups) / 2, min(groups))
        assert 0 < count < sum(groups)  # two patients or more: on both sides


FEW = st.integers(0, 9)  # patients, so that nearly all have several images
KNOWN = st.one_of(
    st.builds(
        lambda who, kind, radiograph: (f"person{who}_{kind}_{radiograph}", f"{kind}-{who}"),
        FEW, st.sampled_from(["bacteria", "virus"]), FEW,
    ),
    st.builds(lambda who, radiograph: (f"IM-{who:04d}-{radiograph:04d}", f"im-{who}"), FEW, FEW),
)  # fmt: skip
UNKNOWN = st.builds(lambda name: (name, ""), st.from_regex(r"\A[a-z]{1,8}\Z"))


@given(
    known=st.lists(KNOWN, min_size=18, max_size=40, unique=True),
    unknown=st.lists(UNKNOWN, max_size=2, unique=True),
    seed=st.integers(0, 3),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_patient_of_any_folder_of_made_up_names_is_in_two_splits(
    tmp_path_factory, monkeypatch, known, unknown, seed
):
    root = tmp_path_factory.mktemp("radiographs")
    monkeypatch.setenv("XRAYTUNE_CACHE", str(root / "cache"))
    names = dict(known + unknown)
    for number, name in enumerate(names):
        write(root / "d" / ("NORMAL" if number % 2 else "PNEUMONIA") / f"{name}.png", radiograph(number, 16, 16))
    dataset = data.load(str(root / "d"), seed=seed)
    assert dataset.grouped_by == "patient"
    assert len(dataset.images) == len(names)
    sides = {}
    for image in dataset.images:
        name = image.key.split("/")[-1][:-4]
        assert sides.setdefault(names[name] or name, image.split) == image.split


@pytest.mark.parametrize(
    ("name", "patient", "group"),
    [
        ("person1_bacteria_1", "bacteria-1", "bacteria"),
        ("person1_virus_6", "virus-1", "virus"),
        ("person447_virus_921_1", "virus-447", "virus"),
        ("IM-0115-0001", "im-115", ""),
        ("IM-0011-0001-0002", "im-11", ""),
        ("NORMAL2-IM-0115-0001", "normal2-im-115", ""),
        ("scan_0042", "", ""),
        ("person_of_interest", "", ""),
    ],
)
def test_known_names_tell_the_patient_and_unknown_ones_tell_none(name, patient, group):
    assert patient_names.from_name(name) == (patient, group)


def test_folds_are_grouped_stratified_and_repeatable():
    labels = [i % 3 == 0 for i in range(300)]
    people = [f"p{i // 4}" for i in range(300)]
    made = split.folds(labels, people, 5, 7)
    assert sorted(np.concatenate([v for _, v in made]).tolist()) == list(range(300))
    for train, validation in made:
        assert not {people[i] for i in train} & {people[i] for i in validation}
        assert abs(np.mean(np.array(labels)[validation]) - 1 / 3) < 0.1
    again = split.folds(labels, people, 5, 7)
    assert all(np.array_equal(a[1], b[1]) for a, b in zip(made, again, strict=True))


def test_more_folds_than_patients_are_refused():
    with pytest.raises(InputError, match="2 patients"):
        split.folds([0, 0, 1, 1], ["a", "b", "c", "d"], 3, 0)


def test_identical_files_bind_their_patients_together():
    assert split.bind(["a", "b", "c", "d"], [np.array([0, 1])]) == ["a", "a", "c", "d"]
    assert split.bind(["a", "b", "b", "c"], [np.array([0, 1]), np.array([2, 3])]) == ["a", "a", "a", "a"]


def test_a_flat_folder_is_dealt_70_15_15_and_the_seed_decides(tmp_path, monkeypatch):
    monkeypatch.setenv("XRAYTUNE_CACHE", str(tmp_path / "cache"))
    root = flat(tmp_path / "d", {"NORMAL": 60, "PNEUMONIA": 100})
    dataset = data.load(str(root))
    assert dataset.counts("test") == pytest.approx({"NORMAL": 9, "PNEUMONIA": 15}, abs=1)
    assert dataset.counts("val") == pytest.approx({"NORMAL": 9, "PNEUMONIA": 15}, abs=1)
    assert data.load(str(root)) == dataset
    other = data.load(str(root), seed=1)
    assert {i.key for i in other.select("test")} != {i.key for i in dataset.select("test")}

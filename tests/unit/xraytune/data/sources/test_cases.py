"""Data sets as people have them: what is ambiguous is named; nothing is merged or left out in silence."""

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from tests.inputs.made_radiographs import encoded, flat, kaggle, radiograph, write
from xraytune import data
from xraytune.data import spelling
from xraytune.data.problems import Problem, summarised
from xraytune.errors import SourceError


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XRAYTUNE_CACHE", str(tmp_path / "cache"))


def manifest(folder, rows, columns="path,label", **options):
    """A table of `rows` (an image is made for each path that ends in .png)."""
    for number, row in enumerate(rows):
        write(folder / f"{number}.png", radiograph(number, 24, 20))
        rows[number] = row.replace("#", f"{number}.png")
    (folder / "m.csv").write_text("\n".join([columns, *rows]) + "\n", **{"encoding": "utf-8", **options})
    return str(folder / "m.csv")


def named(found, kind):
    return [problem for problem in found.problems if problem.kind == kind]


# -- blank images --

BLANK = {
    "black": Image.new("L", (40, 32), 0),
    "white": Image.new("L", (200, 180), 255),
    "gray": Image.new("RGB", (40, 32), (90, 90, 90)),
    "nearly": Image.fromarray(np.random.default_rng(0).integers(100, 103, (40, 32), dtype=np.uint8)),
    "marked": Image.new("L", (320, 320), 0),
    "deep": Image.fromarray(np.full((40, 32), 3000, np.uint16)),
}
BLANK["marked"].paste(255, (5, 5, 25, 45))  # a side marker and nothing else


@pytest.mark.parametrize("name", BLANK)
def test_an_image_without_content_is_an_error_that_quarantine_cures(tmp_path, name):
    root = kaggle(tmp_path / "d")
    write(root / "train/NORMAL/IM-0900-0001.png", BLANK[name])
    [problem] = named(data.examine(str(root)), "blank")
    assert not problem.warning
    assert problem.files == ("train/NORMAL/IM-0900-0001.png",)
    assert data.load(str(root), quarantine=True).quarantined == problem.files


def test_many_blank_images_are_one_line_and_a_whole_class_of_them_is_said(tmp_path):
    root = flat(tmp_path / "d", {"NORMAL": 10, "PNEUMONIA": 10})
    for number in range(12):
        write(root / f"covid/c{number}.png", Image.new("L", (40, 30 + number)))
    [problem] = named(data.examine(str(root)), "blank")
    assert len(problem.files) == 12
    assert "12 of 32 images" in problem.what
    assert "all images of covid are" in problem.what
    assert any(p.kind == "empty class" for p in data.examine(str(root), quarantine=True).errors)


# -- labels --


@pytest.mark.parametrize(
    "cell", ["Mass|Effusion", "Mass;Effusion", '"Mass, Effusion"', "\"['Mass', 'Effusion']\"", "['Mass']", '"Mass\nB"']
)
def test_several_labels_in_a_cell_are_refused_with_what_to_do(tmp_path, cell):
    rows = [f"#,{['Mass', 'Effusion', 'none'][n % 3]}" for n in range(30)] + [f"#,{cell}"] * 3
    [problem] = named(data.examine(manifest(tmp_path, rows)), "several labels")
    assert "3 images" in problem.what
    assert "one label per image" in problem.what


def test_a_class_may_have_a_comma_or_brackets_in_its_name(tmp_path):
    rows = ["#,[normal]", '#,"Pneumonia, viral"'] * 12
    assert data.load(manifest(tmp_path, rows)).classes == ("Pneumonia, viral", "[normal]")


def test_uncertain_labels_are_named_with_what_to_do(tmp_path):
    source = manifest(tmp_path, [f"#,{['0.0', '1.0', '-1.0'][n % 3]}" for n in range(36)])
    [problem] = named(data.examine(source, positive="1.0"), "uncertain label")
    assert "12 images" in problem.what
    assert "remove these rows" in problem.what


@pytest.mark.parametrize(
    "names",
    [
        ("Normal", "NORMAL", "pneumonia"),
        ("No Finding", "No  finding", "pneumonia"),
        ("no_finding", "No Finding", "pneumonia"),
        ("Pleura\u0308", "Pleur\u00e4", "pneumonia"),
        ("lung\u200b", "lung", "pneumonia"),
        ("1", "1.0", "0"),
        ("COVID-19", "covid19", "normal"),
        ("Normal", "N\u043ermal", "pneumonia"),
        ("\u0420neumonia", "pneumonia", "normal"),
    ],
)
@pytest.mark.parametrize("kind", ["table", "folder"])
def test_classes_that_differ_only_in_how_they_are_written_are_an_error(tmp_path, names, kind):
    if kind == "table":
        source = manifest(tmp_path, [f"#,{names[n % 3]}" for n in range(36)])
    else:
        source = str(flat(tmp_path / "d", dict.fromkeys(names, 8)))
    [problem] = named(data.examine(source), "class written two ways")
    assert all(repr(name) in problem.what for name in names[:2])


def test_classes_that_only_look_alike_are_not(tmp_path):
    assert not spelling.alike(["1-2", "12", "type 1", "type 11", "abnormal", "normal"], spelling.class_key)


# -- patients --


def test_a_patient_as_a_float_in_another_split_is_the_leak_that_it_is(tmp_path):
    rows = [f"#,{'ab'[n % 2]},{n}{'' if n < 30 else '.0'},train" for n in range(30)]
    rows += [f"#,{'ab'[n % 2]},{n}.0,test" for n in range(30)]
    found = data.examine(manifest(tmp_path, rows, "path,label,patient,split"), positive="a")
    assert len(named(found, "patient leak")) == 30
    assert any("read as 12" in note for note in found.notes)


@pytest.mark.parametrize(
    ("one", "other"), [("{:04d}", "{}"), ("P{}", "p{}"), ("A^B{}", "A B{}"), ("DOE,J {}", "doe j {}")]
)
def test_patients_that_are_probably_one_are_a_warning_with_count_and_example(tmp_path, one, other):
    rows = [f'#,{"ab"[n % 2]},"{one.format(n)}",train' for n in range(1, 31)]
    rows += [f'#,{"ab"[n % 2]},"{other.format(n)}",test' for n in range(1, 31)]
    [problem] = named(
        data.examine(manifest(tmp_path, rows, "path,label,patient,split"), positive="a"), "patient written two ways"
    )
    assert problem.warning
    assert "30 patients" in problem.what
    assert "30 of them in two splits" in problem.what


@pytest.mark.parametrize("unknown", ["nan", "unknown", "N/A", "None", "", "<NA>", "ANONYMOUS", "-", "?"])
def test_patients_whom_nobody_knows_are_not_one_patient(tmp_path, unknown):
    rows = [f"#,{'ab'[n % 2]},{n // 2 if n < 20 else unknown}" for n in range(40)]
    found = data.examine(manifest(tmp_path, rows, "path,label,patient"), positive="a")
    assert any("20 images have no patient" in p.what for p in named(found, "no patient"))
    assert len({image.patient for image in found.dataset.images}) == 30


def test_all_spellings_of_one_patient_are_one(tmp_path):
    assert {spelling.patient(text) for text in ("12", "12.0", "12.00", " 12 ")} == {"12"}
    assert spelling.patient("012") == "012"
    assert spelling.patient("1.5") == "1.5"
    assert spelling.patient_key("1.2e3") == spelling.patient_key("1200")


# -- splits that lack something --


def missing(found, split):
    return [p for p in named(found, "empty split") if p.where == split]


def test_one_patient_alone_can_not_be_split(tmp_path):
    found = data.examine(
        manifest(tmp_path, [f"#,{'ab'[n % 2]},7" for n in range(30)], "path,label,patient"), positive="a"
    )
    assert found.dataset is None
    assert "one patient" in missing(found, "test")[0].what
    assert missing(found, "validation")


def test_a_patient_a_class_can_not_be_split(tmp_path):
    rows = [f"#,{'ab'[n % 2]},{'xy'[n % 2]}" for n in range(30)]
    found = data.examine(manifest(tmp_path, rows, "path,label,patient"), positive="a")
    assert found.dataset is None
    assert "of 1 patient" in missing(found, "test")[0].what


def test_classes_of_one_image_can_not_be_split_and_are_one_line_a_split(tmp_path):
    rows = ["#,common"] * 30 + [f"#,rare{n}" for n in range(13)]
    found = data.examine(manifest(tmp_path, rows))
    assert found.dataset is None
    [test] = missing(found, "test")
    assert "rare0 and 12 more" in test.what
    assert "has 1 image" in test.what


def test_copies_that_are_bound_together_can_not_be_split(tmp_path):
    root = flat(tmp_path / "d", {"PNEUMONIA": 20})
    for number in range(12):
        write(root / f"NORMAL/IM-{number:04d}-0001.png", radiograph(777))
    found = data.examine(str(root))
    assert found.dataset is None
    assert "NORMAL has 12 images of 1 patient" in missing(found, "test")[0].what


def test_quarantine_that_empties_a_class_of_the_test_set_is_an_error(tmp_path):
    root = kaggle(tmp_path / "d")
    for path in (root / "test/NORMAL").iterdir():
        path.write_bytes(b"")
    found = data.examine(str(root), quarantine=True)
    assert found.dataset is None
    assert "has no image of NORMAL" in missing(found, "test")[0].what
    assert "8 bad files were left out" in missing(found, "test")[0].what


def test_three_patients_a_class_are_enough(tmp_path):
    rows = [f"#,{'ab'[n % 2]},{n % 6}" for n in range(30)]
    dataset = data.load(manifest(tmp_path, rows, "path,label,patient"), positive="a")
    assert all(min(dataset.counts(split).values()) for split in ("train", "val", "test"))


# -- the positive class --

NEGATED = [
    "No Pneumonia", "non-covid", "NonCOVID", "not pneumonia", "Negative for Pneumonia", "without_pneumonia",
    "COVID-negative", "pneumonia free", "Free of Pneumonia", "unpositive", "non-abnormal", "nopneumonia", "COVID-",
    "normal (no pneumonia)", "Pneumonia absent", "covidneg", "w/o pneumonia", "Pneumonia ruled out", "noPneumonia",
    "NOT_COVID", "ohne Pneumonia",
]  # fmt: skip


@pytest.mark.parametrize("name", NEGATED)
def test_a_negated_name_never_says_that_it_is_the_positive_class(name):
    assert spelling.says_positive(name) == ""


@pytest.mark.parametrize(
    "name",
    ["PNEUMONIA", "Viral Pneumonia", "covid19", "COVID-19", "Abnormal", "bronchopneumonia", "TestPositive", "covid+"],
)
def test_other_names_do(name):
    assert spelling.says_positive(name)


@pytest.mark.parametrize("name", ["Negative for Pneumonia", "non-covid", "No Pneumonia"])
def test_where_only_a_negated_name_holds_the_word_the_positive_class_is_asked_for(tmp_path, name):
    found = data.examine(str(flat(tmp_path / "d", {name: 8, "Typical appearance": 8})))
    assert any("--positive" in problem.what for problem in named(found, "positive class"))


def test_which_class_was_taken_and_by_which_rule_is_said(tmp_path):
    dataset = data.load(str(flat(tmp_path / "d", {"covid": 8, "non-covid": 8})))
    assert dataset.classes[dataset.positive] == "covid"
    assert any("The positive class is covid" in note and "'covid'" in note for note in dataset.notes)


# -- one cause, one line --


@pytest.mark.parametrize(
    ("row", "hint"),
    [
        ("x/{n},a", "write the path with its suffix"),
        ("x/{n}.jpg,a", "its suffix differs"),
        ("X/{n}.PNG,a", "capitals differ"),
        ("other/{n}.png,a", "relative to the manifest"),
        ("C:\\data\\{n}.png,a", "Windows paths"),
        ("D:\\data\\{n},a", "with the suffix"),
        ("/mnt/share/{n}.png,a", "relative to the manifest"),
    ],
)
def test_files_that_are_not_there_are_one_line_with_a_count_and_the_near_miss(tmp_path, row, hint):
    for number in range(3):
        write(tmp_path / f"x/{number}.png", radiograph(number))
    rows = [row.format(n=n % 3 if n < 3 else n) for n in range(3000)]
    (tmp_path / "m.csv").write_text("path,label\n" + "\n".join(rows) + "\n")
    found = data.examine(str(tmp_path / "m.csv"))
    [problem] = named(found, "unreadable")
    assert "and 2,999 more" in problem.where
    assert hint in problem.what
    assert ".png is there" in problem.what
    assert len(problem.files) == 3000


def test_verify_never_prints_a_line_for_each_of_thousands(tmp_path, monkeypatch):
    from search import verify
    from search.cli import console

    rows = [f"{n}.png,a,{n % 900},{['train', 'test'][n % 2]}" for n in range(3000)]
    rows += [f",b,{n},train" for n in range(500)]
    (tmp_path / "m.csv").write_text("path,label,patient,split\n" + "\n".join(rows) + "\n")
    app = console.application(verify.main)
    said = CliRunner().invoke(app, [str(tmp_path / "m.csv")])
    assert said.exit_code == 1
    assert len(said.output.splitlines()) < 100


def test_many_problems_of_one_kind_end_in_a_count():
    problems = [Problem("leak", f"p{n}", "in two splits") for n in range(3000)] + [Problem("other", "x", "y")]
    lines = summarised(problems)
    assert len(lines) == 10
    assert "2,992 more" in lines[8].what
    assert lines[9].kind == "other"


# -- tables --


def test_a_faulty_line_is_named_by_its_number_in_the_file(tmp_path):
    for number in range(4):
        write(tmp_path / f"{number}.png", radiograph(number))
    text = 'path,label,note\n\n0.png,a,"two\nlines"\n\n,,\n1.png,,x\n2.png,b,\n'
    (tmp_path / "m.csv").write_text(text)
    [problem] = named(data.examine(str(tmp_path / "m.csv"), positive="a"), "manifest")
    assert problem.where == "m.csv, line 7"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|", "sep=;", "sep=,"])
def test_tables_of_spreadsheets_are_read(tmp_path, encoding, delimiter):
    mark = delimiter[-1]
    rows = [mark.join(("#", "läsion" if n % 2 else "b", f"00{n // 2}")) for n in range(24)]
    source = manifest(tmp_path, rows, mark.join(("path", "label", "patient")))
    text = (tmp_path / "m.csv").read_text(encoding="utf-8")
    (tmp_path / "m.csv").write_bytes(((delimiter + "\n" if len(delimiter) > 1 else "") + text).encode(encoding))
    dataset = data.load(source, positive="läsion")
    assert dataset.classes == ("b", "läsion")
    assert len({image.patient for image in dataset.images}) == 12


@pytest.mark.parametrize("encoding", ["latin-1", "cp1250", "cp1252"])
def test_a_table_in_an_encoding_that_can_not_be_told_says_what_to_do(tmp_path, encoding):
    source = manifest(tmp_path, ["#,läsion", "#,b"], encoding=encoding)
    with pytest.raises(SourceError, match=r"not in UTF-8 \(line 2\): save it as UTF-8"):
        data.examine(source)


@pytest.mark.parametrize("word", ["nan", "NaN", "N/A", "NA", "<NA>", "null", "unknown", "not available"])
def test_a_label_that_says_that_there_is_none_is_no_class_and_quarantine_leaves_its_rows_out(tmp_path, word):
    source = manifest(tmp_path, [f"#,{'ab'[n % 2] if n < 30 else word}" for n in range(33)])
    [problem] = data.examine(source, positive="a").errors
    assert problem.what == f"has no label: {word!r} would become a separate class"
    assert problem.where == "m.csv, line 32 and 2 more lines"
    dataset = data.load(source, positive="a", quarantine=True)
    assert dataset.classes == ("a", "b")
    assert len(dataset.images) == 30


def test_a_class_may_be_called_none(tmp_path):
    source = manifest(tmp_path, [f"#,{'none' if n % 2 else 'mass'}" for n in range(30)])
    assert data.load(source, positive="mass").classes == ("mass", "none")


@pytest.mark.parametrize(
    "content",
    [
        b"PK\x03\x04" + bytes(500), b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(500), encoded(radiograph(1)),
        "path,label\na.png,b\n".encode("utf-32"), b"PAR1" + bytes(range(256)), b"SQLite format 3\0" + bytes(100),
    ],
    ids=["xlsx", "xls", "image", "UTF-32", "parquet", "SQLite"],
)  # fmt: skip
def test_a_file_of_another_kind_under_a_table_s_name_is_one_short_message_without_its_content(tmp_path, content):
    (tmp_path / "m.csv").write_bytes(content)
    with pytest.raises(SourceError, match="save it as UTF-8") as refused:
        data.examine(str(tmp_path / "m.csv"))
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 400


def test_the_columns_of_a_table_that_lacks_others_are_named_within_bounds(tmp_path):
    (tmp_path / "m.csv").write_text(",".join(f"column {n}" for n in range(5_000)) + "\n1\n")
    with pytest.raises(SourceError, match="no column path") as refused:
        data.examine(str(tmp_path / "m.csv"))
    assert len(str(refused.value)) < 700


def test_bad_rows_are_left_out_by_quarantine_and_recorded(tmp_path):
    rows = [f"#,{'ab'[n % 2]}" for n in range(30)] + [",a", "5.png,a", "x.png,"]
    source = manifest(tmp_path, rows)
    errors = data.examine(source, positive="a").errors
    assert {p.what for p in errors} == {"has no path", "has no label", "names 5.png again, with other values"}
    dataset = data.load(source, positive="a", quarantine=True)
    assert set(dataset.quarantined) == {"m.csv, line 32", "m.csv, line 34", "5.png"}
    assert "5.png" not in dataset.images.keys


def test_rows_that_are_there_twice_word_for_word_are_a_warning(tmp_path):
    rows = [f"#,{'ab'[n % 2]}" for n in range(30)] + ["4.png,a", "6.png,a"]
    found = data.examine(manifest(tmp_path, rows), positive="a")
    assert found.dataset
    assert any("2 rows" in p.what for p in found.warnings)

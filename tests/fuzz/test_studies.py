"""What a received results folder holds, its database and `model.json`; and names and values that are typed."""

from __future__ import annotations

import atexit
import csv
import io
import json
import shutil
import sqlite3
import tempfile
from contextlib import closing, redirect_stdout
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from hypothesis import strategies as st

from search import leaderboard
from search.cli import console, quantities, screen
from search.driver.options import SessionOptions, StudyOptions, check
from search.hyperparameters.suggestion import Narrowing
from search.reporting import formats
from search.samplers import factory
from search.study import create, database
from search.study import lock as locks
from search.study.studies import Studies
from search.study.view import open_study
from search.tuner import pruning
from tests.fuzz.harness import JSON, LETTERS, ODD_NUMBERS, answer, changed, check_message, damaged, fuzzed, place
from tests.inputs.made_studies import SPACE, report, result, spec
from xraytune import artifacts
from xraytune.inference.model_card import CARD, read_card, write_card


@cache
def searched() -> Path:
    """A results folder with a study of a complete, a failed and a running trial."""
    results = Path(tempfile.mkdtemp(prefix="fuzz-results-"))
    atexit.register(shutil.rmtree, results, ignore_errors=True)
    asked = spec()
    study = create.create(
        asked,
        SPACE.declare_hyperparameters,
        locks.StudyLock(results, "mine"),
        resume=False,
        sampler=factory.make_sampler(
            "random", 0, declaration=SPACE.declare_hyperparameters, narrowing=Narrowing(asked.fixed, asked.narrowed)
        ),
        pruner=pruning.make_pruner("none"),
    )
    study.begin(1.0)
    numbers = [study.ask().number for _ in range(3)]
    study.report(numbers[0], report(1, 0.5))
    study.complete(numbers[0], result(0.5, epochs=2))
    study.close()
    alone = Path(tempfile.mkdtemp(prefix="fuzz-results-"))
    atexit.register(shutil.rmtree, alone, ignore_errors=True)
    with (
        closing(sqlite3.connect(results / "studies.db")) as whole,
        closing(sqlite3.connect(alone / "studies.db")) as one,
    ):
        whole.backup(one)
        one.execute("PRAGMA journal_mode=DELETE")
    shutil.copytree(results / "mine", alone / "mine")
    return alone


def check_study(results: Path, name: str | None, as_json: bool) -> None:
    """What reads a study reads it, or says one message; opening a database takes half a second, so not everything."""
    view, message = answer(lambda: open_study(name, results))
    assert (view is None) == bool(message)
    answer(lambda: check(StudyOptions(study="mine").completed(Studies(results).request("mine")), SessionOptions()))
    if view is not None:
        assert view.folder == results / "mine"
        trials, _ = answer(view.trials)
        if trials:
            answer(view.best)
    printed = io.StringIO()
    kept, console.out = console.out, screen.Screen(file=printed, width=80)
    try:
        with redirect_stdout(printed):
            answer(lambda: leaderboard.main(name, as_json, None, results, None))
    finally:
        console.out = kept
    assert not any(screen._unseen(c) for c in printed.getvalue() if c not in "\n\t")


def _tables(connection: sqlite3.Connection) -> list[tuple[str, list[str]]]:
    names = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]
    return [(n, [row[1] for row in connection.execute(f"PRAGMA table_info({n})")]) for n in names]


@fuzzed(data=st.data(), name=st.sampled_from(["mine", None]), as_json=st.booleans())
def test_a_changed_row_of_the_database_is_read_or_refused(data, name, as_json):
    kept = searched()
    with place() as home:
        shutil.copytree(kept, home, dirs_exist_ok=True)
        with closing(sqlite3.connect(home / "studies.db")) as other:
            for _ in range(data.draw(st.integers(1, 2))):
                table, columns = data.draw(st.sampled_from(_tables(other)))
                column = data.draw(st.sampled_from(columns))
                rows = other.execute(f"SELECT rowid, {column} FROM {table} ORDER BY rowid").fetchall()
                if not rows:
                    continue
                row, before = data.draw(st.sampled_from(rows))
                value = data.draw(_replacement(before))
                how = data.draw(st.sampled_from(["UPDATE", "UPDATE", "UPDATE", "DELETE"]))
                try:
                    if how == "DELETE":
                        other.execute(f"DELETE FROM {table} WHERE rowid = ?", (row,))
                    else:
                        other.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (value, row))
                except (sqlite3.Error, OverflowError):
                    continue
            other.commit()
        check_study(home, name, as_json)


def _replacement(before: Any) -> st.SearchStrategy[Any]:
    """Another value of a cell: of its JSON, or of any type."""
    anything = st.one_of(
        st.none(), st.integers(-(2**62), 2**62), st.floats(), st.text(max_size=12), st.binary(max_size=8), ODD_NUMBERS,
        JSON.map(json.dumps), st.just("[" * 100_000),
    )  # fmt: skip
    try:
        return st.one_of(changed(json.loads(before)).map(json.dumps), anything)
    except (TypeError, ValueError):
        return anything


@fuzzed(flips=st.lists(st.tuples(st.integers(0, 10**7), st.integers(0, 7)), min_size=1, max_size=20))
def test_a_database_with_flipped_bits_is_read_or_refused(flips):
    kept = searched()
    content = bytearray((kept / "studies.db").read_bytes())
    for at, bit in flips:
        content[at % len(content)] ^= 1 << bit
    with place() as home:
        shutil.copytree(kept, home, dirs_exist_ok=True)
        (home / "studies.db").write_bytes(content)
        check_study(home, "mine", False)


@fuzzed(data=st.data(), name=st.sampled_from(["config.json", "outcome.json"]), as_json=st.booleans())
def test_a_changed_or_damaged_file_of_a_trial_is_read_or_refused(data, name, as_json):
    kept = searched()
    with place() as home:
        shutil.copytree(kept, home, dirs_exist_ok=True)
        file = home / "mine/trials/0000" / name
        if data.draw(st.booleans()):
            file.write_text(json.dumps(data.draw(changed(json.loads(file.read_text())))), encoding="utf-8")
        else:
            file.write_bytes(data.draw(damaged(file.read_bytes())))
        check_study(home, "mine", as_json)


@cache
def model() -> Path:
    """A saved model."""
    from tests.inputs.made_models import brightness_model

    folder = Path(tempfile.mkdtemp(prefix="fuzz-model-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return brightness_model(folder / "winner", study="mine")


@fuzzed(content=st.deferred(lambda: damaged((model() / CARD).read_bytes())))
def test_a_damaged_model_json_is_refused_or_whole(content):
    saved = model()
    with place() as home:
        (home / CARD).write_bytes(content)
        card, message = answer(lambda: read_card(home))
        assert bool(message) == (content != (saved / CARD).read_bytes())
        assert (card is None) == bool(message)


@fuzzed(
    examples=[
        {"plain": "[" * 100_000},
        {"plain": '{"members": ' * 50_000},
    ],
    plain=st.text(max_size=200),
)
def test_any_text_as_model_json_is_refused(plain):
    with place() as home:
        (home / CARD).write_text(plain, encoding="utf-8", errors="surrogateescape")
        assert answer(lambda: read_card(home))[1]


@fuzzed(data=st.data())
def test_a_model_json_that_was_changed_and_sealed_again_is_loaded_or_refused(data):
    from xraytune.inference.classifier import load_model

    saved = model()
    plain = json.loads((saved / CARD).read_text())
    del plain["sha256"]
    other = data.draw(changed(plain))
    if not isinstance(other, dict):
        return
    with place() as home:
        folder = home / "winner"
        shutil.copytree(saved, folder)
        try:
            write_card(folder, SimpleNamespace(to_json=lambda: other))
        except (ValueError, UnicodeError):
            return
        loaded, _ = answer(lambda: load_model(folder))
        if loaded is not None:
            from tests.inputs.made_radiographs import radiograph

            answer(lambda: loaded.predict([radiograph(1)]))


@fuzzed(name=LETTERS | st.sampled_from(["-x", "--help", "studies.db", "studies.db-wal", "..", ".locks", "A" * 120]))
def test_a_study_s_name_is_one_folder_or_refused(name):
    found, message = answer(lambda: locks.check_name(name))
    assert (found == name) != bool(message)
    if found:
        assert Path(found).name == found
        assert not found.startswith(("-", "."))
        assert found.isascii()
        assert found.isprintable()
        assert not any(c in found for c in " '\"$;|&<>`\\")


@fuzzed(text=st.text(max_size=60) | LETTERS)
def test_a_name_is_printed_on_one_line_without_control_characters(text):
    printed = io.StringIO()
    shown = screen.Screen(file=printed, width=80, force_terminal=False)
    shown.say("a ", (screen.name(text), "bold"))
    assert not any(screen._unseen(c) for c in printed.getvalue().replace("\n", ""))
    assert "\n" not in screen.name(text)


@fuzzed(cells=st.lists(st.text(max_size=20) | LETTERS | ODD_NUMBERS, min_size=1, max_size=4))
def test_cells_of_a_table_are_read_back_and_never_a_formula(cells):
    with place() as home:
        try:
            artifacts.write_csv(home / "a.csv", [str(i) for i, _ in enumerate(cells)], [cells])
        except UnicodeEncodeError as error:
            raise AssertionError("a name of odd bytes can't be written") from error
        with (home / "a.csv").open(encoding="utf-8", newline="", errors="surrogateescape") as file:
            back = list(csv.reader(file))[1]
        for cell, found in zip(cells, back, strict=True):
            assert found in {cell, f"'{cell}"}
            assert found[:1] not in set("=+-@\t\r\n") or _is_number(found)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


@fuzzed(text=st.text(alphabet="0123456789.hmsGMKBkgb +-e_∞x", max_size=8) | ODD_NUMBERS | st.text(max_size=6))
def test_durations_and_sizes_are_numbers_or_refused(text):
    for read in (quantities.duration, quantities.size):
        value, message = answer(lambda read=read: read(text, "--x"))
        assert (value is None) == bool(message)
        assert value is None or 0 <= value < 1e30


@fuzzed(text=st.text(max_size=40) | LETTERS)
def test_a_name_in_markdown_is_one_line(text):
    assert "\n" not in formats.markdown(text)
    assert "\r" not in formats.markdown(text)


_URLS = st.one_of(
    st.text(max_size=30),
    st.builds(
        "{}://u:S3cretWord@{}:{}/{}".format,
        st.sampled_from(["postgresql", "mysql+pymysql", "sqlite", "x", "postgresql+psycopg", "", "oracle"]),
        st.sampled_from(["127.0.0.1", "", "[::1", "a b", "é"]),
        st.sampled_from(["1", "", "x", "99999999"]),
        st.sampled_from(["x", "", "x?a=b&password=S3cretWord", "\x1b"]),
    ),
)


@fuzzed(url=_URLS)
def test_a_database_s_url_opens_or_is_refused_without_its_password(url):
    if url.startswith("sqlite:///"):
        return
    with place() as home:
        kept, database.PATIENCE = database.PATIENCE, 0.1
        try:
            message = answer(lambda: database.open_database(home, url))[1]
        finally:
            database.PATIENCE = kept
        check_message(message or "opened")
        assert "S3cretWord" not in message

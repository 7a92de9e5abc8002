"""Text of others at a terminal: shown as it is written, whatever it holds, by every module of `search`."""

from __future__ import annotations

import ast
import io
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.progress import Task
from rich.table import Table
from rich.text import Text

from search.cli import console, progress_bars, tables
from search.cli.screen import Screen, escaped, name, styled
from search.cli.tables import Column

SEARCH = Path(console.__file__).parents[1]
DRAWS = {"display", "screen", "console", "options", "progress_bars", "tables", "live_view"}
"""Modules that may use rich; all others print by these."""
LOGS = {"synthetic_trial", "trainable"}
"""Modules whose prints are a worker's log."""

MARKUP = ["[/job:localhost/replica:0]", "[/]", "[red]A", "X [viral]", "N[/x]", ":smile:", "[bold", "\\[x]"]
CONTROLS = {
    "\x1b[31mred": "\\x1b[31mred",
    "\x1b]0;title\x07": "\\x1b]0;title\\x07",
    "a\rb": "a\\rb",
    "\x9b2J": "\\x9b2J",
    "gpj.\u202eexe": "gpj.\\u202eexe",
    "\udcff": "\\udcff",
    "\x00\x08": "\\x00\\x08",
}


def on(width: int = 80, *, terminal: bool = True) -> tuple[Screen, io.StringIO]:
    stream = io.StringIO()
    return Screen(file=stream, width=width, force_terminal=terminal, color_system=None), stream


def printed(screen: Screen, stream: io.StringIO, text: str) -> str:
    """The text in each of the ways in which something is printed."""
    screen.print(text)
    screen.say("a ", (text, "bold"))
    screen.print(Text(text))
    table = Table(title=text)
    table.add_column(text)
    table.add_row(text)
    screen.print(table)
    tables.show(screen, [Column("file", [text], words=True), Column(text, ["1"])], title=text, notes={0: text})
    return stream.getvalue()


@pytest.mark.parametrize("text", MARKUP)
def test_brackets_are_printed_as_they_are_written(text):
    assert printed(*on(), text).count(text) >= 7


@pytest.mark.parametrize(("text", "shown"), CONTROLS.items())
def test_control_characters_are_printed_escaped(text, shown):
    said = printed(*on(), text)
    assert said.count(shown) >= 6
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e\udc80-\udcff]", said)
    assert escaped(text) == name(text) == shown


def test_a_name_is_on_one_line_and_a_message_keeps_its_lines():
    assert name("a\nb\tc") == "a\\nb\\tc"
    assert escaped("a\nb\tc") == "a\nb\tc"
    assert name(Path("a/\x1b.png")) == "a/\\x1b.png"
    assert styled("x ", ("[red]", "bold")).plain == "x [red]"


def test_no_module_of_search_prints_past_the_screen():
    past = []
    for path in sorted(SEARCH.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            where = f"{path.name}:{getattr(node, 'lineno', 0)}"
            imported = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            imported += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if any(module.split(".")[0] == "rich" for module in imported) and path.stem not in DRAWS:
                past.append(f"{where} uses rich")
            if (
                isinstance(node, ast.Constant)
                and isinstance(node.value, str)
                and re.search(r"\[(/|(bold|dim|red|green|yellow|blue|cyan)( \w+)?)\]", node.value)
            ):
                past.append(f"{where} holds markup")
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                json = node.args and ast.unparse(node.args[0]).startswith("json.dumps(")
                constant = all(isinstance(argument, ast.Constant) for argument in node.args)
                if called in {"print", "typer.echo", "typer.secho"} and not (json or constant or path.stem in LOGS):
                    past.append(f"{where} calls {called}")
                if called in {"Text", "Console", "Text.from_markup", "Text.from_ansi"} and path.stem != "screen":
                    past.append(f"{where} makes {called}")
    assert not past, past


def test_a_bar_is_drawn_with_whatever_fields_its_task_has(monkeypatch):
    screen, stream = on()
    monkeypatch.setattr(console, "err", screen)
    with progress_bars.bars() as bar:
        bar(1, 3, "reading [/]")
        bar.show(2, 3, "reading [/]", left="about 5s left", note="fold \x1b 1")
        progress = bar._shown
        progress.update(progress.add_task("without fields", total=None))
        progress.refresh()
        task: Task = progress.tasks[0]
        for column in progress.columns:
            assert column(Task(9, "bare", None, 0, _get_time=lambda: 0.0)) is not None, column
            assert column(task) is not None
    said = stream.getvalue()
    assert "about 5s left" in said
    assert "reading [/]" in said
    assert "fold \\x1b 1" in said


LONG = [
    Column("trial", ["1", "12"]),
    Column("family", ["cnn", "vgg_finetuned"], words=True),
    Column("sensitivity", ["0.900", "0.800"], short="sens."),
    Column("epochs", ["10", "5"], spare=1),
    Column("worst view", ["border masked (0.98)", "wider (0.90)"], words=True, spare=2),
]


@pytest.mark.parametrize(
    ("width", "titles"),
    [
        (80, ["trial", "family", "sensitivity", "epochs", "worst view"]),
        (60, ["trial", "family", "sens.", "epochs", "worst view"]),
        (44, ["trial", "family", "sens.", "epochs"]),
        (34, ["trial", "family", "sens."]),
    ],
)
def test_columns_are_left_out_by_their_order_until_the_table_fits(width, titles):
    screen, stream = on(width)
    tables.show(screen, LONG)
    lines = stream.getvalue().splitlines()
    assert lines[0].split(None) == " ".join(titles).split()
    assert all(len(line.rstrip()) <= width for line in lines)
    assert "vgg_finetuned" in stream.getvalue()
    assert "…" not in stream.getvalue()


def test_paths_are_shortened_from_the_left_and_words_broken_into_lines():
    assert tables.shortened("a/bb/ccc/radiograph.png", 20) == "…/ccc/radiograph.png"
    assert tables.shortened("a/bb/person100_bacteria_475.jpeg", 15) == "…teria_475.jpeg"
    assert tables.shortened("short.png", 40) == "short.png"
    screen, stream = on(40)
    path, what = "folder/" * 8 + "radiograph_number_12.png", "a long explanation of what is wrong with it"
    tables.show(screen, [Column("image", [path], words=True, path=True), Column("p", ["0.500"])])
    tables.show(screen, [Column("kind", ["damage"], words=True), Column("what", [what], words=True)])
    said = stream.getvalue()
    assert "…/folder/radiograph_number_12.png" in said
    assert " ".join(said.split()).replace("damage ", "").count("a long explanation") == 1
    assert all(len(line.rstrip()) <= 40 for line in said.splitlines())


def test_a_pipe_gets_every_column_whole():
    screen, stream = on(40, terminal=False)
    tables.show(screen, [*LONG, Column("path", ["x/" * 60 + "radiograph.png"] * 2, words=True, path=True)])
    assert "worst view" in stream.getvalue()
    assert "x/" * 60 + "radiograph.png" in stream.getvalue()


@pytest.mark.parametrize(("value", "shown"), [(0.8123, "trial 2, epoch 7: 0.812"), (0.0, "trial 2, epoch 7")])
def test_a_training_without_validation_images_shows_its_epoch_and_no_value(value, shown):
    notes = []
    bar = SimpleNamespace(show=lambda *_, note, **__: notes.append(note))
    progress_bars.Trainings(bar, 2, "training", 30.0).event("trial 2", (7, value))
    assert notes == ["", shown]

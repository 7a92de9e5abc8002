"""Write the parts of the documentation that follow from the code: `make reference`.

docs/options.md and the stub of the package whole, and the table of hyperparameters in docs/spaces.md between its two
comments.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import typer
from rich.text import Text

from search.cli import commands, console
from search.driver import space_table
from search.driver.options import StudyOptions
from tests import stub

DOCS = Path(__file__).resolve().parents[1] / "docs"
BEGIN, END = "<!-- hyperparameters: written by `make reference` -->", "<!-- end of hyperparameters -->"

HEAD = """# Options of the commands

Every command is `xraytune NAME` or `python -m search.NAME` (`search.run` is `xraytune search`), and a target of `make`.
With `make` an option is a variable: `--trial-timeout 10m` is `TRIAL_TIMEOUT=10m`, a switch is `RESUME=1`. If an option
may be repeated, give all its values in one variable, separated by spaces: `FIX="batch_size=32 cnn/blocks=3"`.
`ARGS="--option value"` passes any options; quote a space in a value there. In Python the options are keywords with the
same values: `xt.search(time="30m")` ([python.md](python.md)). This page is written by `make reference`.
"""


def options_page() -> str:
    """docs/options.md."""
    return "\n".join([HEAD, *(_section(name) for name in commands.names())])


def spaces_page(text: str) -> str:
    """docs/spaces.md with its table made anew.

    Args:
        text: the page, with the two comments.
    """
    before, _, rest = text.partition(BEGIN)
    _, found, after = rest.partition(END)
    if not found:
        raise ValueError(f"docs/spaces.md has no {BEGIN} … {END}")
    return f"{before}{BEGIN}\n\n{space_table.markdown(StudyOptions())}\n\n{END}{after}"


def _section(name: str) -> str:
    module = commands.load(name)
    command = typer.main.get_command(console.application(module.main))
    lines = [
        f"## {name}",
        "",
        commands.summary(name),
        "",
        "| option | value | what it is | default |",
        "|---|---|---|---|",
    ]
    lines += [_line(p) for p in command.params if p.name not in {"help", "context"}]
    return "\n".join([*lines, ""])


def _line(parameter: Any) -> str:
    argument = parameter.param_type_name == "argument"
    flags = f"`{parameter.metavar}`" if argument else ", ".join(f"`{flag}`" for flag in parameter.opts)
    text = Text.from_markup(parameter.help or "").plain
    default = re.search(r" \[default: (.*?)\](?= \[env|$)", text)
    environment = re.search(r" \[env: (\w+)\]$", text)
    about = re.sub(r" \[(default|env): .*$", "", text) + (f" (else `{environment[1]}`)" if environment else "")
    value = "" if argument or not parameter.metavar else f"`{parameter.metavar}`"
    shown = default[1] if default else "required" if parameter.required else ""
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in (flags, value, about, shown)) + " |"


def main() -> int:
    """Write the pages and the stub."""
    stub.write()
    (DOCS / "options.md").write_text(options_page(), encoding="utf-8")
    spaces = DOCS / "spaces.md"
    spaces.write_text(spaces_page(spaces.read_text(encoding="utf-8")), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

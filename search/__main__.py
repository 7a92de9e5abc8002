"""`xraytune`, or `python -m search`: all commands as sub-commands, each loaded when it is called."""

from __future__ import annotations

import sys
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from search.cli import commands, console
from xraytune import __version__


class Commands(TyperGroup):
    """The sub-commands: in a list by their first line of help, called by their module."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that is called, loaded."""
        name, _, rest = super().resolve_command(ctx, args)
        module = commands.load(str(name))
        console.refuse_removed(rest, getattr(module, "REMOVED", {}))
        rest = console.with_values(rest, getattr(module, "ALONE", {}))
        examples = module.EXAMPLES.replace(f"python -m {module.__name__}", f"xraytune {name}")
        command = typer.main.get_command(console.application(module.main, examples=examples))
        command.name = name
        return name, command, rest


def _version(wanted: bool) -> None:
    if wanted:
        console.out.print(f"xraytune {__version__}")
        raise typer.Exit


def group() -> typer.Typer:
    """The application with all its sub-commands, none loaded."""
    made = typer.Typer(
        cls=Commands,
        help="AutoML for chest X-ray classification. For research only, not a medical device.",
        epilog="Examples:\n  xraytune search --data path/to/chest_xray --time 30m\n  xraytune retrain best",
        no_args_is_help=True,
        context_settings=console.HELP_NAMES,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
    )

    @made.callback()
    def options(
        version: Annotated[
            bool,
            typer.Option("--version", help="Print the version and end", callback=_version, is_eager=True, metavar=""),
        ] = False,
    ) -> None:
        pass

    for name in commands.names():
        made.command(name, help=commands.summary(name))(_unloaded)
    return made


def _unloaded() -> None:
    """Stands for a command until it is called."""


def app() -> NoReturn:
    """Run the command line and exit."""
    name = "python -m search" if sys.argv[0].endswith("__main__.py") else "xraytune"
    console.run_program(lambda: group()(standalone_mode=False, prog_name=name))


if __name__ == "__main__":
    app()

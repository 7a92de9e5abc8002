"""The stub of `xraytune`, made from the options: `make reference` writes it, type checkers and editors read it."""

from __future__ import annotations

from pathlib import Path

from search.api.keywords import Keyword, keywords
from search.cli.shared import Reading
from search.driver.options import SessionOptions, StudyOptions
from search.external.options import EvaluationOptions
from search.retraining.options import RetrainingOptions

STUB = Path(__file__).resolve().parents[1] / "src" / "xraytune" / "__init__.pyi"

HEAD = """# Written by `make reference` from the declarations of the options; not to be edited.
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from search.api import Evaluation as Evaluation
from search.api import Verification as Verification
from search.api.final import Final as _Final
from search.api.study import Study as _Study
from search.tracking.callbacks import Callback as Callback
from search.tracking.callbacks import Epoch as Epoch
from search.tracking.callbacks import RetrainEnd as RetrainEnd
from search.tracking.callbacks import SearchEnd as SearchEnd
from search.tracking.callbacks import TrialEnd as TrialEnd
from search.tracking.callbacks import TrialStart as TrialStart
from xraytune import errors as errors

__version__: str

class Final(_Final):
"""

TAIL = """
def load_study(name: str | None = None, results: str | Path = "results", storage: str | None = None) -> Study: ...
def load(path: str | Path) -> Final: ...
"""


def stub() -> str:
    """The whole file."""
    search = [
        "data: str | Path | None = None", "time: float | str | None = None", "name: str | None = None", "*",
        "progress: bool = True", "verbose: bool = False", "callbacks: Sequence[Callback] = ()",
        *map(_line, keywords(StudyOptions, SessionOptions, without=("data", "time", "verbose"))),
    ]  # fmt: skip
    retrain = [
        "self", 'which: str | int = "best"', "*", "progress: bool = True", "verbose: bool = False",
        "callbacks: Sequence[Callback] = ()",
        *map(_line, keywords(RetrainingOptions, without=("which", "study", "results", "storage"))),
    ]  # fmt: skip
    evaluate = ["self", "data: str | Path", "*", "progress: bool = True", *map(_line, keywords(EvaluationOptions))]
    verify = [
        "data: str | Path", "*", "compare_test: bool = False", "rehash: bool = False", "progress: bool = True",
        *map(_line, keywords(Reading)),
    ]  # fmt: skip
    return "".join(
        [
            HEAD,
            _function("evaluate", evaluate, "Evaluation", "    ", "  # type: ignore[override]"),
            "\nclass Study(_Study):\n",
            _function("retrain", retrain, "Final", "    ", "  # type: ignore[override]"),
            "\n",
            _function("search", search, "Study"),
            _function("verify", verify, "Verification"),
            TAIL,
        ]
    )


def _line(one: Keyword) -> str:
    default = one.default
    if isinstance(default, Path):
        default = str(default)
    plain = default is None or isinstance(default, bool | int | float | str)
    shown = f'"{default}"' if isinstance(default, str) else repr(default) if plain else "..."
    return f"{one.name}: {one.hint} = {shown}".replace("'", '"')


def _function(name: str, parameters: list[str], returns: str, indent: str = "", comment: str = "") -> str:
    lines = "".join(f"{indent}    {parameter},\n" for parameter in parameters)
    return f"{indent}def {name}({comment}\n{lines}{indent}) -> {returns}: ...\n"


def write() -> None:
    """Write it."""
    STUB.write_text(stub(), encoding="utf-8")

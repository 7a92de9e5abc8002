"""The half of xraytune that searches: Optuna decides, Ray Tune distributes, every command is `python -m search.NAME`.

Imported outside the project's environment, it ends with the one command to run instead of an ImportError.
"""

import importlib.util as _util
import sys as _sys
from pathlib import Path as _Path

_NEEDED = ("xraytune", "typer", "rich", "optuna", "ray", "keras")

if any(_util.find_spec(name) is None for name in _NEEDED):
    _root = _Path(__file__).resolve().parent.parent
    _python = _root / ".venv" / "bin" / "python"
    _setup = "" if _python.exists() else f"make -C {_root} setup && "
    _module = next((a for a in _sys.orig_argv if a == "search" or a.startswith("search.")), "search.run")
    _arguments = " ".join(_sys.argv[1:])
    _sys.stderr.write(
        f"xraytune is not installed in {_sys.executable}. Run:\n  {_setup}{_python} -m {_module} {_arguments}".rstrip()
        + "\n"
    )
    raise SystemExit(2)

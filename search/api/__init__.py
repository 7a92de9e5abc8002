"""The commands as Python calls: `import xraytune as xt`, then `xt.search(…)`.

`xraytune/__init__.py` loads this package when one of its names is used. The package itself loads neither TensorFlow nor
Ray: its modules import what a call needs when it is called.
"""

from search.api.checked import Verification, verify
from search.api.final import Evaluation, Final, load
from search.api.study import Study, load_study, search
from search.tracking.callbacks import Callback, Epoch, RetrainEnd, SearchEnd, TrialEnd, TrialStart

__all__ = [
    "Callback", "Epoch", "Evaluation", "Final", "RetrainEnd", "SearchEnd", "Study", "TrialEnd", "TrialStart",
    "Verification", "load", "load_study", "search", "verify",
]  # fmt: skip

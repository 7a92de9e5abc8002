"""xraytune: an honest search over chest X-ray classifiers.

The library half of the project: data, models, training and judgement. It knows nothing of Optuna or Ray and imports
neither `spaces` nor `search`; `docs/architecture.md` draws the house.
"""

__version__ = "0.1.0"

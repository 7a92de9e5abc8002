"""Data that can be trusted: sources, verification, patients, split, decoded arrays.

`load` is the one way in; everything behind it works on the `Dataset` that it returns.
"""

from xraytune.data import arrays
from xraytune.data.dataset import Dataset, compare, difference, keep_lists
from xraytune.data.decoding.reading import Unreadable, read_image
from xraytune.data.images import ImageRecord, Images
from xraytune.data.problems import Problem, Progress
from xraytune.data.split import folds
from xraytune.data.verification.load import Examination, examine, load

__all__ = [
    "Dataset",
    "Examination",
    "ImageRecord",
    "Images",
    "Problem",
    "Progress",
    "Unreadable",
    "arrays",
    "compare",
    "difference",
    "examine",
    "folds",
    "keep_lists",
    "load",
    "read_image",
]

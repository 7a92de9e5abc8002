"""When two spellings of a class or a patient mean the same, and when a name says no.

Stated rules, in one place: what is the same for certain is made one (a number written as a float, spaces around), what
is probably the same (case, accents' encoding, leading zeros) is reported and never merged.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable

_FLOAT = re.compile(r"([+-]?\d+)\.0+")
_SCIENTIFIC = re.compile(r"\d(\.\d+)?e\+?\d{1,2}", re.IGNORECASE)
_SEPARATORS = re.compile(r"(?<!\d)[\s_\-]+|[\s_\-]+(?!\d)")  # not between digits: 1-2 is not 12
_UNKNOWN = frozenset(
    {
        "", "nan", "none", "null", "nil", "na", "<na>", "nat", "unknown", "unk", "unknown patient", "missing",
        "not available", "not known", "undefined", "anonymous", "anonymized", "anonymised", "anon",
    }
)  # fmt: skip

_UNLABELLED = frozenset(
    {
        "nan", "na", "n a", "<na>", "nat", "null", "not a number", "unknown", "unk", "missing", "not available",
        "not known", "undefined",
    }
)  # fmt: skip
"""Without `none` and `nil`, by which tables mean no finding."""

_LOOK_ALIKE = str.maketrans(
    "\u0430\u0435\u043e\u0440\u0441\u0443\u0445\u0456\u0458\u0455\u043a\u043c\u0442\u043d\u0432"
    "\u03b1\u03b5\u03bf\u03c1\u03c5\u03c7\u03b9\u03ba\u03c4\u03b2",
    "aeopcyxijskmthbaeopyxiktb",
)
"""Small letters of Cyrillic and Greek that look like Latin ones, as capitals at least."""

_POSITIVE = ("pneumonia", "covid", "positive", "abnormal")
"""A class whose name holds one of these, without a negation, says that it is the positive one."""

_NEGATIONS = frozenset(
    {
        "no", "non", "not", "none", "neg", "negative", "negatives", "never", "nil", "without", "wo", "un", "free",
        "normal", "normals", "healthy", "absent", "absence", "excluded", "exclusion", "unlikely", "control", "controls",
        "ohne", "kein", "keine", "sans", "sin", "senza", "clear",
    }
)  # fmt: skip


def patient(text: str) -> str:
    """A patient as it is kept: without spaces around, and 12.0 (what pandas makes of a 12) as 12.

    Returns:
        Empty where the text says that the patient is not known (`nan`, `unknown`, `n/a`, `anonymous` …).
    """
    text = text.strip()
    if match := _FLOAT.fullmatch(text):
        text = match[1]
    plain = _plain(text)
    return "" if plain in _UNKNOWN or plain in {"n a", "not a number"} else text


def _plain(text: str) -> str:
    return re.sub(r"[\s._/\-?#]+", " ", text.casefold()).strip()


def is_unlabelled(label: str) -> bool:
    """Whether a label says that there is none, as `nan`, `N/A`, `null` and `unknown` do."""
    return _plain(label) in _UNLABELLED


def patient_key(text: str) -> str:
    """Equal for two patients that are probably one: but for case, `^`, commas, spaces, leading zeros, 1.2e3 = 1200."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    if _SCIENTIFIC.fullmatch(folded):
        return str(int(float(folded)))
    return re.sub(r"(?<!\d)0+(?=\d)", "", re.sub(r"[\s^,_]+", " ", folded).strip())


def class_key(text: str) -> str:
    """Equal for two class names that differ only in how they are written.

    That is in case, spaces, `_`, `-`, Unicode form, a float's `.0`, or letters of other alphabets that look alike.
    """
    folded = unicodedata.normalize("NFKC", text).casefold().translate(_LOOK_ALIKE)
    folded = "".join(c for c in folded if unicodedata.category(c) != "Cf").strip()
    if match := _FLOAT.fullmatch(folded):
        return match[1]
    return _SEPARATORS.sub("", folded)


def alike(names: Iterable[str], key: Callable[[str], str]) -> list[list[str]]:
    """The groups of two names or more that have the same key.

    Args:
        names: distinct names.
        key: `class_key` or `patient_key`.
    """
    groups: dict[str, list[str]] = defaultdict(list)
    for name in names:
        groups[key(name)].append(name)
    return sorted(sorted(group) for group in groups.values() if len(group) > 1)


def says_positive(name: str) -> str:
    """The word by which a class's name says that it is the positive one; empty where none does or it is negated."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", unicodedata.normalize("NFKC", name)).lower()
    if re.search(r"\bw/o\b|\br/o\b|\brul(ed?|ing)\W+out\b", spaced) or re.search(r"[a-z0-9]\s*[-−]\s*$", spaced):
        return ""  # `without`, `ruled out`, and `COVID-`, which is written for negative
    tokens = re.findall(r"[^\W_]+", spaced)
    found = ""
    for token in tokens:
        for word in _POSITIVE:
            before, hit, after = token.partition(word)
            if hit:
                if before in _NEGATIONS or after in _NEGATIONS:
                    return ""
                found = found or word
                break
        else:
            if token in _NEGATIONS or re.fullmatch("(non|un|not|no)(normal|infected|affected|diseased)", token):
                return ""
    return found


def several_labels(labels: Iterable[str]) -> list[str]:
    """The cells that hold several labels.

    Always where `|`, `;`, a line break or a printed list (`['A', 'B']`) stands in them; with `, ` `+` `/` `&` only
    where one of the parts is also a label by itself, since a class may be called `Pneumonia, viral`.
    """
    known = set(labels)
    found = []
    for label in known:
        parts = {part.strip() for part in re.split(r"[,+/&]", label)} - {label}
        if _is_list(label) or re.search(r"[|;\n\r]", label) or known & parts:
            found.append(label)
    return sorted(found)


def _is_list(label: str) -> bool:
    """`['A']`, `["A"]`, `[]`, `[A, B]`, `{A,B}`, but not `[normal]` or `(other)`."""
    if len(label) < 2 or label[0] + label[-1] not in {"[]", "()", "{}"}:
        return False
    inner = label[1:-1].strip()
    return not inner or inner[0] in "'\"" or "," in inner

"""What a search says before its first trial: at most ten lines at 80 columns, whatever there is to say."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace

import pytest

from search.cli.screen import Screen
from search.driver import opening, pretrained_weights
from search.driver.pretrained_weights import LeftOut


def data_set(classes, **changes):
    per_class = {"train": 220, "val": 40, "test": 50}
    images = [SimpleNamespace(patient=i // 3) for i in range(310 * len(classes))]
    plain = {
        "name": "/a/long/way/to/the/folder/of/a/hospital/chest_xray",
        "classes": classes,
        "positive": 1 if len(classes) == 2 else None,
        "grouped_by": "patient",
        "images": images,
        "counts": lambda split: dict.fromkeys(classes, per_class[split]),
        "quarantined": (),
        "demonstration": False,
        "sites": (),
    }
    return SimpleNamespace(**{**plain, **changes})


AUDIT = SimpleNamespace(
    strongest=SimpleNamespace(name="gradient_ratio", auc=0.874),
    countermeasures=("shape_jitter", "exposure_jitter"), headline="Shortcut: it", auc=0.9,
)  # fmt: skip
NONE = SimpleNamespace(strongest=None, countermeasures=(), headline="", auc=0.55)
PLAN = SimpleNamespace(concurrency=2, gpus=0.0)


@pytest.mark.parametrize("demonstration", [False, True])
@pytest.mark.parametrize("classes", [("NORMAL", "PNEUMONIA"), tuple(f"finding {i}" for i in range(14))])
def test_a_search_says_at_most_ten_lines_before_its_first_trial(classes, demonstration):
    stream = io.StringIO()
    screen = Screen(file=stream, width=80, force_terminal=True, color_system=None)
    lines = [
        *opening.on_data(data_set(classes, demonstration=demonstration), AUDIT),
        *opening.on_space(
            ("dense", "cnn", "densenet"),
            LeftOut(
                ("vgg16", "vgg19", "densenet121", "densenet169", "densenet201"), ("vgg_frozen",), ("vgg_finetuned",)
            ),
        ),
        opening.on_study("20261130-075343", 0, PLAN, 24, 240.0, joined=False),
        opening.on_results(Path("results/20261130-075343")),
    ]  # fmt: skip
    for line in lines:
        screen.say(line)
    said = stream.getvalue()
    assert len(said.splitlines()) <= 10, said
    for words in ("DEMONSTRATION",) if demonstration else ("Data: …/",):
        assert words in said
    for words in (
        "gradient ratio",
        "AUC 0.87",
        "shape jitter",
        "--weights-dir",
        "4m00s",
        "at most 24 trials",
        "held out",
        "too slow for the time: vgg_finetuned",
        "5 networks (vgg_frozen left out)",
    ):
        assert words in " ".join(said.split())


def test_what_is_not_there_is_not_said():
    lines = opening.on_data(data_set(("A", "B"), grouped_by="image", quarantined=("x.png",)), NONE)
    assert not [line for line in lines if "Shortcut" in line]
    assert "no patients known" in lines[0]
    assert lines[-1].startswith("Left out by --quarantine: 1 ")
    assert opening.on_space(("cnn",), LeftOut()) == ["Families: cnn."]
    assert "continues after 7 trials: at most" in opening.on_study("s", 7, PLAN, 9, None, joined=False)


def test_sites_are_named_with_their_images_where_they_are_few():
    of = ("Leeds",) * 300 + ("Turin",) * 220
    lines = opening.on_data(data_set(("a", "b"), sites=("Leeds", "Turin"), sites_of=lambda *splits: of), NONE)
    assert lines[1] == "Each trial is validated on one site: Leeds 300, Turin 220; 100 test images (held out)."
    many = tuple(f"s{i % 40:02d}" for i in range(520))
    lines = opening.on_data(data_set(("a", "b"), sites=tuple(sorted(set(many))), sites_of=lambda *splits: many), NONE)
    assert lines[1] == "Each trial is validated on one site: 40 sites, 520 images; 100 test images (held out)."


def test_a_family_that_the_time_narrowed_away_is_not_said_to_lack_weights():
    offered, whole, searched = ("cnn", "vgg_frozen", "vgg_finetuned"), ("cnn", "vgg_frozen"), ("cnn",)
    spaces = [SimpleNamespace(families=f, backbones=lambda: ("vgg16", "vgg19")) for f in (searched, whole, offered)]
    left = pretrained_weights.left_out(*spaces, {"vgg16": Path("w")})
    assert left == LeftOut(("vgg19",), ("vgg_finetuned",), ("vgg_frozen",))

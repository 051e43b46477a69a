"""The page: sound HTML that loads nothing, whatever classes are called."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from html_reader import LOADING, Page
from toy_evals import measured

from wbltr.recipe import Recipe
from wbltr.report import page as pages
from wbltr.report.diagnosis import Finding
from wbltr.report.pictures import png
from wbltr.report.results import eval_document
from wbltr.report.told import Measured, Told

RECIPE = Recipe.model_validate({"name": "toy", "dataset": {"source": "digits", "imbalance_factor": 50}})
CONFIG = {"on": "test", "many": 20, "few": 10, "flip": False}
NASTY = ["<script>alert(1)</script>", 'a"b', "</td></table>", "\x1b[31mred", "&lt;", "\u202egnp", "x" * 5000, ""]


def evaluated(seed: int, counts: list[int], names: list[str], images: int = 20) -> dict[str, Any]:
    """An eval artifact of guesses; the last class has no images."""
    source, classes = np.random.default_rng(seed), len(counts)
    labels = np.repeat(np.arange(classes - 1), images)
    predictions = np.where(source.random(len(labels)) < 0.5, labels, source.integers(0, classes, len(labels)))
    found = measured(labels.tolist(), predictions.tolist(), counts, 20, 10)
    right, of = found["confusion"].diagonal(), found["confusion"].sum(1)
    shares = np.divide(right, of, out=np.full(classes, np.nan), where=of > 0)
    figures = {f"{name}.{split}": 0.25 for name in ("ece", "nll", "brier") for split in ("all", "many", "medium", "few")}
    accuracy = {f"accuracy.{split}": np.nanmean(shares) for split in ("all", "many", "medium", "few", "top5")}
    return {
        **found, **figures, **accuracy,
        "accuracy.per_class": shares,
        "norms": source.random(classes).astype(np.float32) + 0.5,
        "class_names": np.frombuffer(json.dumps(names).encode(), np.uint8),
        "images": np.array(len(labels)),
        "macro_f1": 0.5,
    }  # fmt: skip


def told(names: list[str], **changed: Any) -> Told:
    """A page about two heads on so many classes."""
    counts = [max(1, round(50 * 0.7**k)) for k in range(len(names))]
    first, shown = (Measured(name, name, evaluated(k, counts, names)) for k, name in enumerate(("first stage", "+ CB & <WD>")))
    picture = png(np.random.default_rng(0).integers(0, 256, (3, 96, 96), np.uint8))
    given: dict[str, Any] = {
        "recipe": RECIPE, "config": CONFIG, "rows": [first, shown], "shown": shown, "first": first, "calibrated": None,
        "bins": {}, "picture": lambda place: picture, "caption": "one\ntwo", "facts": {"Recipe": names[0]},
        "findings": [Finding("looked at", names[0], "a <warning>")], "made": [["eval", "0" * 12, "then", "0.1", "cpu", "x"]],
        "text": f"name: {names[0]}\nnext: line", "commands": {"again": "wbltr run --recipe 'a b'"},
    }  # fmt: skip
    return Told(**{**given, **changed})


PLAIN = [f"class {k}" for k in range(8)]


@pytest.fixture(scope="module")
def plain() -> str:
    return pages.page(told(PLAIN))


@pytest.fixture(scope="module")
def nasty() -> str:
    return pages.page(told(NASTY))


@pytest.fixture(params=["plain", "nasty"])
def found(request: pytest.FixtureRequest) -> Page:
    return Page(request.getfixturevalue(request.param))


def test_every_element_is_closed_and_ids_are_unique(found: Page) -> None:
    ids = [element.attributes["id"] for element in found.every() if "id" in element.attributes]
    assert len(set(ids)) == len(ids)
    assert [link.attributes["href"] for link in found.all("a")] == ["#results", *(f"#{name}" for name in ids)]


def test_a_page_loads_nothing(found: Page) -> None:
    for element in found.every():
        for name in LOADING & element.attributes.keys():
            assert element.attributes[name].startswith("data:image/"), f"<{element.name} {name}>"
        assert element.name not in ("link", "iframe", "object", "embed", "base", "form")
        assert not [name for name in element.attributes if name.startswith("on") or name == "style"]
    assert not re.search(r"url\(|@import", found.all("style")[0].text)
    assert not re.search(r"fetch|XMLHttp|import|http|src", found.all("script")[0].text)


def test_the_policy_allows_this_style_and_this_script_alone(found: Page) -> None:
    policy = next(m.attributes["content"] for m in found.all("meta") if "http-equiv" in m.attributes)
    (style,), (script,) = found.all("style"), found.all("script")
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    for rule, element in (("style-src", style), ("script-src", script)):
        digest = base64.b64encode(hashlib.sha256(element.text.encode()).digest()).decode()
        assert rules[rule] == f"'sha256-{digest}'"
    assert rules["default-src"] == "'none'"
    assert rules["img-src"] == "data:"


def test_headings_go_down_one_level_at_a_time(found: Page) -> None:
    levels = [int(heading.name[1]) for heading in found.all("h1", "h2", "h3", "h4")]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(level <= before + 1 for before, level in pairwise(levels))


def test_a_screen_reader_has_what_it_needs(found: Page) -> None:
    (html,) = found.all("html")
    assert html.attributes["lang"] == "en"
    assert all(image.attributes["alt"].strip() for image in found.all("img"))
    assert all(heading.attributes["scope"] in ("col", "row") for heading in found.all("th"))
    assert all(table.all("caption")[0].text for table in found.all("table"))
    assert all(frame.attributes["aria-label"] for frame in found.every() if frame.attributes.get("role") == "region")
    (skip, *_) = found.all("a")
    assert skip.attributes["class"] == "skip"


def test_what_classes_are_called_is_text(nasty: str) -> None:
    page = Page(nasty)
    assert len(page.all("script")) == 1
    assert "\x1b" not in nasty
    assert "\u202e" not in nasty
    assert {row[0] for row in page.rows("Classes")[1:]} >= {
        NASTY[0],
        NASTY[1],
        NASTY[2],
        "\\x1b[31mred",
        NASTY[4],
        f"{'x' * 40} … {'x' * 40}",
    }


def test_the_worst_class_comes_first_and_one_without_images_last(plain: str) -> None:
    head, *rows = Page(plain).rows("Classes")
    shares = [row[head.index("accuracy")] for row in rows]
    assert shares[-1] == "n/a"
    assert [float(share) for share in shares[:-1]] == sorted(float(share) for share in shares[:-1])
    assert rows[-1][0] == PLAIN[-1]
    (sorted_by,) = [th.text for th in Page(plain).all("th") if "aria-sort" in th.attributes]
    assert sorted_by == "accuracy"


def test_figures_are_those_of_eval(plain: str) -> None:
    about = told(PLAIN)
    document = eval_document(about.shown.tensors, CONFIG)
    head, *rows = Page(plain).rows("Classes")
    for row in rows:
        k = PLAIN.index(row[0])
        of = dict(zip(head, row, strict=True))
        shown = ["n/a" if value is None else f"{value:.1f}" for value in (document["per_class"][k], document["precision"][k])]
        assert [of["accuracy"], of["precision"]] == shown
        assert of["training images"] == str(document["counts"][k])
        assert float(of["norm"]) == pytest.approx(document["norms"][k], rel=1e-2)
    results = {row[0]: row[1].split()[0] for row in Page(plain).rows("Results")[1:]}
    assert results["+ CB & <WD>"] == f"{document['accuracy']['all']:.1f}"


def test_a_recipe_and_its_lines_are_kept(plain: str) -> None:
    assert [pre.text for pre in Page(plain).all("pre")] == ["name: class 0\nnext: line", "wbltr run --recipe 'a b'"]


def test_equal_artifacts_give_equal_pages(plain: str) -> None:
    assert pages.page(told(PLAIN)) == plain


def test_a_hundred_classes_with_pictures_of_noise_stay_below_two_megabytes() -> None:
    page = pages.page(told([f"class {k}" for k in range(100)]))
    pictures = [image for image in Page(page).all("img") if "image/png" in image.attributes["src"]]
    assert 20 <= len(pictures) <= 40
    assert len(page.encode()) < 2_000_000


def test_without_pictures_first_stage_or_errors_a_page_is_still_a_page() -> None:
    counts = [30, 5, 5]
    tensors = evaluated(0, counts, ["a", "b", "c"])
    right = measured([0, 1, 2], [0, 1, 2], counts, 20, 10)
    perfect = Measured("first stage", "id", tensors | right | {"accuracy.per_class": np.ones(3)})
    page = Page(pages.page(told(["a", "b", "c"], rows=[perfect], shown=perfect, first=None, picture=lambda place: None)))
    assert "Every image is classified rightly." in page.all("main")[0].text
    assert not [image for image in page.all("img") if "image/png" in image.attributes["src"]]


def test_colours_are_read_in_light_and_in_dark() -> None:
    light, dark, printed = (
        dict(re.findall(r"--(\w+): (#[0-9a-f]+)", block)) for block in re.findall(r":root \{([^}]*)\}", pages.STYLE.read_text())
    )
    for colours in (light, dark, printed):
        for ink in ("ink", "soft", "link"):
            for ground in ("paper", "tint"):
                assert contrast(colours[ink], colours[ground]) >= 4.5, (ink, ground)


def contrast(one: str, other: str) -> float:
    """WCAG 2.2's contrast ratio of two colours."""
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def luminance(colour: str) -> float:
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    parts = [int(digits[place : place + 2], 16) / 255 for place in (0, 2, 4)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

"""The sections of a page: each from artifacts' tensors to a heading with what stands below it."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from wbltr.functional.statistics import Interval
from wbltr.report.confusions import Confusion, in_the_tail, largest, split_of
from wbltr.report.markup import Cell, Column, Markup, escaped, framed, joined, table, tag
from wbltr.report.results import SPLITS, eval_document
from wbltr.report.told import Tensors, Told
from wbltr.report.uncertainty import COLUMNS, REPLICATES, in_brackets, signed
from wbltr.report.words import count

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from wbltr.functional.calibration import Reliability

LARGEST, TAIL, EXAMPLES = 12, 12, 3  # confusions of all classes and of the tail; pictures of each of the latter
SMALL = 64  # pixels: narrower pictures are shown pixel by pixel
NAMES = {"all": "All", "many": "Many", "medium": "Medium", "few": "Few"}


def summary(told: Told) -> Markup:
    """What a reader has to know, in two sentences."""
    sure = told.shown.intervals
    few = "" if math.isnan(sure["few"].low) else f", {sure['few'].estimate:.1f} % of the Few"
    said = f"{_plain(told.shown.name)} reaches {sure['all'].estimate:.1f} % over all classes {in_brackets(sure['all'])}{few}."
    if told.first is not None:
        before = eval_document(told.first.tensors, told.config)["accuracy"]
        few = "" if before["few"] is None else f" and {before['few']:.1f} %"
        said += f" The first stage it stands on: {before['all']:.1f} %{few}."
    return tag("p", said, class_="lead")


def results(told: Told) -> Markup:
    """Every finished row with its intervals."""
    rows = []
    for row in told.rows:
        sure = row.intervals
        name = tag("strong", row.name) if row is told.shown else escaped(row.name)
        rows.append([Cell(name, row.name), *(_interval(sure[column]) for column in COLUMNS)])
    under = f"(low–high): 95 % of {REPLICATES:,} bootstrap samples, images drawn with replacement within each class"
    lines = [*told.caption.splitlines(), under]
    columns = [Column("head"), *(Column(NAMES[column]) for column in COLUMNS)]
    caption = "Accuracy in per cent, mean over classes. In bold: the head that this page is about."
    return joined(table(caption, columns, rows, sortable=True), tag("ul", [tag("li", line) for line in lines], class_="notes"))


def _interval(found: Interval) -> Cell:
    if math.isnan(found.estimate):
        return Cell("n/a")
    return Cell(joined(f"{found.estimate:.1f} ", tag("small", in_brackets(found))), f"{found.estimate:.4f}")


def classes(told: Told) -> Markup:
    """Each class, the worst first, and two figures of all of them."""
    from wbltr.report.figures.accuracy import accuracy
    from wbltr.report.figures.norms import norms
    from wbltr.report.figures.style import COLUMN

    shown, first = told.shown, told.first
    counts = np.asarray(shown.tensors["class_counts"])
    both = {_plain(one.name): one.tensors for one in (first, shown) if one is not None}
    per_class = {name: tensors["accuracy.per_class"] for name, tensors in both.items()}
    sizes = {name: tensors["norms"] for name, tensors in both.items()}
    drawn = accuracy(per_class, counts, told.config["many"], told.config["few"], "", COLUMN)
    figures = tag(
        "div",
        _figure(drawn, _described("Accuracy", "%", per_class, shown.tensors, 100), "Accuracy of each class, and its images."),
        _figure(
            norms(sizes, counts, "", COLUMN),
            _described("Norm of the head's row", "", sizes, shown.tensors, 1),
            "Norm of each class's row of the head: flat where it is balanced.",
        ),
        class_="figures",
    )
    return joined(figures, _class_table(told))


def _described(what: str, unit: str, series: Mapping[str, Any], tensors: Tensors, factor: float) -> str:
    """A figure's series for those who do not see it: the mean of each split."""
    splits = split_of(tensors)
    said = []
    for name, values in series.items():
        means = [(split, np.asarray(values)[splits == place]) for place, split in enumerate(SPLITS)]
        told = ", ".join(
            f"{NAMES[split]} {factor * np.nanmean(of):.3g} {unit}".strip() for split, of in means if np.isfinite(of).any()
        )
        said.append(f"{name}: {told}")
    return f"{what} by class, from common to rare; means: {'; '.join(said)}"


def _class_table(told: Told) -> Markup:
    shown, first = told.shown, told.first
    document = eval_document(shown.tensors, told.config)
    before = None if first is None else eval_document(first.tensors, told.config)["per_class"]
    splits = split_of(shown.tensors)
    columns = [
        Column("class", kind="words"),
        Column("split", kind="words"),
        Column("training images"),
        Column("accuracy", sorted="ascending"),
        *([Column("over first stage")] if before is not None else []),
        Column("precision"),
        Column("norm"),
    ]
    order = sorted(range(len(splits)), key=lambda k: (_last(document["per_class"][k]), document["counts"][k], k))
    rows = []
    for k in order:
        right, size = document["per_class"][k], document["counts"][k]
        cells: list[str | Cell] = [shown.classes[k], Cell(NAMES[SPLITS[splits[k]]], str(splits[k])), f"{size:,}"]
        cells += [_number(right)]
        if before is not None:
            earlier = before[k]
            cells += ["n/a" if right is None or earlier is None else signed(right - earlier)]
        rows.append([*cells, _number(document["precision"][k]), f"{document['norms'][k]:#.3g}".removesuffix(".")])
    caption = (
        f"{len(rows)} classes, the worst first. Accuracy and precision in per cent; precision: how many of the images that are "
        "taken for this class belong to it. Norm: of the head's row."
    )
    return tag("div", table(caption, columns, rows, sortable=True), class_="tall" if len(rows) > 25 else None)


def _last(value: float | None) -> float:
    return math.inf if value is None else value


def _number(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.1f}"


def confusions(told: Told) -> Markup:
    """What is taken for what."""
    tensors = told.shown.tensors
    names = told.shown.classes
    splits = split_of(tensors)
    whole = largest(tensors, LARGEST)
    rows = [[names[one.true], NAMES[SPLITS[splits[one.true]]], names[one.predicted], *_share(one)] for one in whole]
    columns = [
        Column("class"),
        Column("split", kind="words"),
        Column("taken for", kind="words"),
        Column("images"),
        Column("share"),
    ]
    table_of_all = table("The largest shares of a class that are taken for one other class, in per cent.", columns, rows)
    split, tail = in_the_tail(tensors, TAIL, EXAMPLES)
    cards = [_card(told, one, names) for one in tail]
    below = tag("ul", cards, class_="cards") if cards else tag("p", "No image of these classes is taken for another.")
    return joined(
        tag("h3", "Of all classes"),
        table_of_all if whole else tag("p", "Every image is classified rightly."),
        tag("h3", f"Of the rarest: {NAMES[split]}"),
        below,
    )


def _share(one: Confusion) -> tuple[str, str]:
    return f"{one.images:,} of {one.of:,}", f"{100 * one.images / one.of:.1f}"


def _card(told: Told, one: Confusion, names: Sequence[str]) -> Markup:
    """One confusion with a few of its images."""
    true, predicted = names[one.true], names[one.predicted]
    pictures = []
    for place in one.examples:
        if (png := told.picture(place)) is not None:
            said = f"image {place} of the {told.config['on']} part: {true}, taken for {predicted}"
            small = int.from_bytes(png[16:20]) < SMALL  # PNG's header: the width
            pictures.append(tag("img", src=_data("image/png", png), alt=said, class_="pixels" if small else None))
    size = count(int(told.shown.tensors["class_counts"][one.true]), "training image")
    images, share = _share(one)
    words = tag(
        "p", tag("b", true), " taken for ", tag("b", predicted), tag("br"), tag("small", f"{images} ({share} %); {size}")
    )
    return tag("li", tag("div", pictures, class_="pictures") if pictures else "", words)


def calibration(told: Told) -> Markup:
    """Whether probabilities mean what they say."""
    heads = [told.shown, *([told.calibrated] if told.calibrated is not None else [])]
    documents = [eval_document(head.tensors, told.config) for head in heads]
    marks = ["", " with T"][: len(heads)]
    measures = {"ece": "ECE", "nll": "NLL", "brier": "Brier"}
    columns = [Column("split"), *(Column(f"{title}{mark}") for title in measures.values() for mark in marks)]
    rows = []
    for split in COLUMNS:
        found = [document[name][split] for name in measures for document in documents]
        digits = [1 if name == "ece" else 3 for name in measures for _ in documents]
        rows.append(
            [NAMES[split], *("n/a" if v is None else f"{v:.{places}f}" for v, places in zip(found, digits, strict=True))]
        )
    caption = (
        f"Calibration of {_plain(told.shown.name)}, over images; lower is better. ECE: mean distance of confidence and "
        "accuracy over 15 bins, in points; NLL in nats; Brier score."
    )
    if told.calibrated is not None:
        caption += f" With T: {_plain(told.calibrated.name)}."
    parts = [table(caption, columns, rows)]
    if told.bins:
        from wbltr.report.figures.reliability import reliability

        said = "; ".join(f"{name}: {_gap(bins)}" for name, bins in told.bins.items())
        drawn = reliability(told.bins, "")
        words = "How often the head is right at each confidence, and how many images have it."
        parts.insert(0, tag("div", _figure(drawn, f"Reliability diagram. {said}", words), class_="figures"))
    return joined(parts)


def _gap(bins: Reliability) -> str:
    """A reliability diagram in words."""
    share, confidence, right = (np.nan_to_num(np.asarray(of)) for of in (bins.share, bins.confidence, bins.accuracy))
    gap = 100 * float((share * (confidence - right)).sum())
    way = "more" if gap > 0 else "less"
    return f"on average {abs(gap):.1f} points {way} confident than right"


def diagnosis(told: Told) -> Markup:
    """What the settings did."""
    rows = [
        [finding.name, joined(finding.words, tag("p", tag("strong", "Warning: "), finding.warning) if finding.warning else "")]
        for finding in told.findings
    ]
    return table(
        "What the settings of the head and of its stages did.", [Column("looked at"), Column("found", kind="words")], rows
    )


def provenance(told: Told) -> Markup:
    """What the figures stand on."""
    facts = [joined(tag("dt", name), tag("dd", words)) for name, words in told.facts.items()]
    titles = ("stage", "artifact", "begun", "seconds", "device", "versions")
    columns = [Column(title, None if title == "seconds" else "fixed") for title in titles]
    rows = [[stage, tag("code", object_id), *rest] for stage, object_id, *rest in told.made]
    whole = tag("details", tag("summary", "The whole recipe"), framed(tag("pre", tag("code", told.text)), "recipe"))
    return joined(tag("dl", facts), table("What the figures stand on.", columns, rows), whole)


def again(told: Told) -> Markup:
    """What to type."""
    shown = [
        joined(tag("dt", words), tag("dd", framed(tag("pre", tag("code", command)), words)))
        for words, command in told.commands.items()
    ]
    return tag("dl", shown, class_="commands")


def _plain(name: str) -> str:
    """A row's name where it stands alone."""
    return name.removeprefix("+ ")


def _figure(drawn: Figure, words: str, caption: str) -> Markup:
    """A figure without a background, so that the page's own is seen.

    Args:
        words: what it shows, for those who do not see it.
        caption: printed below.
    """
    from wbltr.report.figures.style import svg

    drawn.patch.set_alpha(0)
    for axes in drawn.axes:
        axes.patch.set_alpha(0)
    image = tag("img", src=_data("image/svg+xml", svg(drawn)), alt=words)
    return tag("figure", image, tag("figcaption", caption))


def _data(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"

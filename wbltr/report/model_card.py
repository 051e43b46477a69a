"""The README of an exported model: what it is, what it learned from, how good it is, what it is not for, how to load it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from wbltr.report.results import SPLITS
from wbltr.report.words import count

NAMED = 200  # classes that the card names; model.json has them all
LOAD = {
    "safetensors": """Weights only; the code around them is wbltr's:

```
wbltr predict PATH… --from .
```""",
    "onnx": """With wbltr (`wbltr predict PATH… --from .`), or with onnxruntime alone:

```python
import numpy, onnxruntime

session = onnxruntime.InferenceSession("model.onnx")
images = numpy.zeros((1, {channels}, {side}, {side}), numpy.uint8)  # prepared as above
logits, probabilities = session.run(None, {{"images": images}})
```""",
    "torch-export": """With wbltr (`wbltr predict PATH… --from . --trust`), or with torch alone:

```python
import torch

model = torch.export.load("model.pt2").module()
images = torch.zeros(1, {channels}, {side}, {side}, dtype=torch.uint8)  # prepared as above
logits, probabilities = model(images)
```

Such an archive is a program: torch unpickles parts of it and runs its graph. Load it only if you trust whoever wrote it.""",
}


def model_card(
    about: Mapping[str, Any],
    recipe: Mapping[str, Any],
    data: Mapping[str, Any],
    counts: Sequence[int],
    measured: Sequence[Mapping[str, Any]],
    settings: Sequence[str] = (),
    departures: Sequence[str] | None = None,
) -> str:
    """Markdown.

    Args:
        about: what `model.json` says.
        recipe: the resolved recipe.
        data: what the dataset stage reported.
        counts: training images of each class.
        measured: an `eval_document` for each measurement of the head, with `limits`, of Many and Few, and `calibrated`,
            whether it was of the head as exported; may be empty.
        settings, departures: how it was trained, and what separates that from the paper, a few words each.
    """
    names, own = about["class_names"], about["input"]
    sections = [
        f"# {plain(about['recipe'])}: {plain(about['head_words'])}",
        f"An image classifier for {len(names)} classes, trained by wbltr on long-tailed data: network {about['network']}, "
        f"{about['head']} head. {_trained(settings, departures)}Written by "
        + ", ".join(f"{name} {plain(number)}" for name, number in about["versions"].items())
        + ".",
        "## What goes in and out",
        f"`images`: {about['outputs']['takes'].removeprefix('images: ')}. {about['preprocessing']} "
        f"Mean {_figures(own['mean'])}, standard deviation {_figures(own['std'])}.",
        f"`logits`: {about['outputs']['logits']}. `probabilities`: {about['outputs']['probabilities']}. In the order of "
        "`class_names` in `model.json`.",
        f"Calibration: {plain(about['calibration'])}.",
        "## Load it",
        LOAD[about["format"]].format(**own),
        _checked(about),
        "## Data",
        _data(recipe, data, counts),
        "## How good it is",
        _measured(measured),
        "## Limits",
        _limits(about, counts, measured),
        "## Recipe",
        f"```yaml\n{_yaml(recipe)}\n```",
        "Artifacts in the store that it came from: "
        + ", ".join(f"{stage} `{object_id}`" for stage, object_id in about["artifacts"].items())
        + ".",
        "## Classes",
        _classes(names, counts),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def plain(text: object) -> str:
    """Somebody's words as Markdown shows them: on one line, and nothing in them means anything."""
    line = "".join(c if c.isprintable() else repr(c)[1:-1] for c in str(text))
    return "".join(f"\\{c}" if c in "\\`*_{}[]<>#|!&~$" else c for c in line)


def _yaml(value: Mapping[str, Any]) -> str:
    # Unfolded: no line can begin with what ends the block.
    return yaml.safe_dump(dict(value), sort_keys=False, allow_unicode=True, default_flow_style=None, width=10**6).strip()


def _trained(settings: Sequence[str], departures: Sequence[str] | None) -> str:
    how = f"As trained and measured: {', '.join(settings)}. " if settings else ""
    return plain(how + (f"Differs from the paper: {', '.join(departures)}. " if departures else ""))


def _figures(values: Sequence[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)


def _checked(about: Mapping[str, Any]) -> str:
    check = about["checked"]
    if not check:
        return ""
    return (
        f"Before it was written, the file was held against torch on {check['images']} training images: the same classes, "
        f"probabilities within {check['largest_difference']:.1g}."
    )


def _data(recipe: Mapping[str, Any], data: Mapping[str, Any], counts: Sequence[int]) -> str:
    source = plain(recipe["dataset"]["source"])
    text = f"{source}: {sum(counts):,} training images of {len(counts)} classes, {max(counts):,} of the largest and "
    text += f"{min(counts):,} of the smallest"
    if "val" in data and "test" in data:
        text += f"; {data['val']:,} images for validation, {data['test']:,} to test"
    return text + (f". Fingerprint of the training part: `{data['fingerprint']}`." if "fingerprint" in data else ".")


def _measured(measured: Sequence[Mapping[str, Any]]) -> str:
    if not measured:
        return "The store that it came from had no measurement of this head. Measure it: `wbltr eval`."
    rows = [
        "| part | images | all | many | medium | few | top-5 | ECE | NLL | Brier |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for one in measured:
        figures = [one["accuracy"][name] for name in ("all", *SPLITS)] + [one["top5"], one["ece"]["all"]]
        cells = [_cell(value, 1) for value in figures] + [_cell(one[name]["all"], 3) for name in ("nll", "brier")]
        rows.append(f"| {one['on']}{'' if one['calibrated'] else ' ¹'} | {one['n']:,} | {' | '.join(cells)} |")
    many, few = measured[0]["limits"]
    notes = [
        f"Accuracies are means over classes, in per cent: over all, those with more than {many} training images, with {few} "
        f"to {many}, and with fewer than {few}. ECE in per cent, over images."
    ]
    if not all(one["calibrated"] for one in measured):
        notes.append("¹ measured before the temperature was fitted: the accuracies hold, the calibration is better by now.")
    return "\n".join(rows) + "\n\n" + "\n\n".join(notes)


def _cell(value: float | None, digits: int) -> str:
    return "n/a" if value is None else f"{value:.{digits}f}"


def _limits(about: Mapping[str, Any], counts: Sequence[int], measured: Sequence[Mapping[str, Any]]) -> str:
    lines = [
        f"It answers with one of its {len(counts)} classes, whatever the image shows.",
        f"Its rarest class was learned from {count(min(counts), 'image')}: what it says of rare classes rests on little.",
        "It computes in float32; where it was measured in bf16, a few images may be told otherwise.",
    ]
    if measured and (worst := measured[0]["worst"])["class"] is not None:
        lines.append(
            f"Its worst class on the {measured[0]['on']} part is {plain(worst['class'])}: {worst['accuracy']:.1f} per cent."
        )
    if not about["calibrated"]:
        lines.append("Its probabilities are not calibrated.")
    else:
        lines.append("It was calibrated on images like those it learned from; on others its probabilities promise nothing.")
    return "\n".join(f"- {line}" for line in lines)


def _classes(names: Sequence[str], counts: Sequence[int]) -> str:
    rows = ["| class | training images |", "|---|---|"]
    rows += [f"| {plain(name)} | {images:,} |" for name, images in [*zip(names, counts, strict=True)][:NAMED]]
    more = f"\n\nand {len(names) - NAMED:,} more, in `model.json`." if len(names) > NAMED else ""
    return "\n".join(rows) + more

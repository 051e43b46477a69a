"""What stands under a table: the images, the splits, what separates it from the paper's protocol, and the recipe's claim."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wbltr.report.provenance import OfRow, Origin, departures, of_table, other_settings
from wbltr.report.results import SPLITS, accuracies, against_claim, classes_left_out, spread
from wbltr.report.words import label, selection


def caption(
    recipe: Any,
    config: Mapping[str, Any],
    tensors: Mapping[str, Any],
    head: str,
    seeds: Mapping[int, float | None] | None = None,
    origin: Origin | None = None,
    rows: Mapping[str, OfRow] | None = None,
) -> str:
    """The lines under a table of results; nothing is said twice.

    Args:
        recipe: the resolved recipe.
        config: the eval section.
        tensors: of the eval artifact; of several runs, any one's.
        head: the head in words; the claim is told where it is of the same.
        seeds: of several runs, seed → the head's accuracy over all classes, per cent.
        origin: what the artifacts behind one result say; None: a second stage, and no more than the recipe.
        rows: name → what is behind it, of a table that has several; instead of `origin`.
    """
    if rows is None:
        settings, differing = other_settings(recipe, origin), departures(recipe, origin)
    else:
        settings, differing = of_table(recipe, rows)
        origin = Origin.of_all([row.origin for row in rows.values()])
    sizes = {name: int(tensors[f"classes.{name}"]) for name in SPLITS}
    many, few = config["many"], config["few"]
    lines = [
        f"{recipe.name}, {config['on']} part, {int(tensors['images']):,} images; per cent, mean over classes",
        f"mean ± standard deviation over n = {len(seeds)} seeds: {', '.join(map(str, seeds))}"
        if seeds and len(seeds) > 1
        else "",
        f"Many: {sizes['many']} classes (> {many} training images), Medium: {sizes['medium']} ({few}–{many}), "
        f"Few: {sizes['few']} (< {few})",
        ", ".join(settings),
        f"differs from the paper: {', '.join(differing)}" if differing else "",
        _what_flatters(recipe, config, tensors, origin),
    ]
    without = classes_left_out(tensors)
    if without:
        lines.append(f"left out of every mean: {without} of {sum(sizes.values())} classes, which have no {config['on']} images")
    claim = recipe.claim
    if claim is not None and claim.on == config["on"] and label(claim.row, recipe.classifier.loss) == head:
        lines.append(against_claim(spread(seeds.values() if seeds else [accuracies(tensors)["all"]]), claim.model_dump()))
    return "\n".join(line for line in lines if line)


def _what_flatters(recipe: Any, config: Mapping[str, Any], tensors: Mapping[str, Any], origin: Origin | None) -> str:
    """What the best epoch on the test set and flip averaging added, here or as far as is known; empty for the last epoch."""
    if selection(recipe, second_stage=origin is None or origin.second_stage) == "last epoch":
        return ""
    gains = origin.best_over_last() if origin is not None else {}
    flipped = float(tensors["accuracy.all"] - tensors["accuracy.unflipped"]) if "accuracy.unflipped" in tensors else None
    mirror = "another 0.4 to 1.1" if flipped is None else f"{100 * flipped:.2f} to this row"
    added = ", ".join(f"{points:.2f} points in {stage}" for stage, points in gains.items())
    return (
        "this flatters: the best of many epochs on the test set, chosen with flip averaging, is no estimate; over the last one "
        "it gains "
        + (added or "0.15 to 0.5 points in the released code's logs")
        + (f"; flip averaging adds {mirror}" if config["flip"] else "")
    )

"""What is behind a measurement: the recipe of the very artifacts that it stands on, and what these say."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from wbltr.cli.start import overlaid
from wbltr.methods.rows import ROWS, Row
from wbltr.pipeline import Artifact
from wbltr.recipe import PosthocConfig, Recipe
from wbltr.report.provenance import OfRow, Origin
from wbltr.stages import Lineage, lineage
from wbltr.store import Corrupt, Store, Vanished

HISTORY = "history.test_accuracy"


def behind(store: Store, recipe: Recipe, measured: Artifact, row: Row | None = None) -> OfRow:
    """What an eval artifact came from.

    Args:
        recipe: that it was made by; the sections of what it stands on are laid on it.
        row: which one of a table it is.
    """
    line = lineage(store, measured)
    made = overlaid(recipe, line, given=False)
    if "posthoc" in line.known:
        own: dict[str, Any] = {name: value for name, value in line.known["posthoc"].config.items() if value is not None}
        made = made.model_copy(update={"posthoc": PosthocConfig.model_validate(own | {"of": _of(line)})})
    if "eval" in line.known:
        made = made.model_copy(update={"eval": type(recipe.eval).model_validate(dict(line.known["eval"].config))})
    return OfRow(made, _origin(store, line), [*(ROWS[row].sets or {})] if row is not None else [])


def _of(line: Lineage) -> str:
    return "classifier" if {"classifier", "finetune"} & set(line.known) else "features"


def _origin(store: Store, line: Lineage) -> Origin:
    test_accuracy = {}
    for stage in ("features", "finetune"):
        config = line.known[stage].config if stage in line.known else {}
        if config.get("classifier", config).get("select") == "best-test":
            with suppress(Corrupt, Vanished):  # then it is told without the figure
                test_accuracy[stage] = store.load(line.known[stage].object_id, (HISTORY,))[HISTORY]
    return Origin({stage: found.record.get("metrics", {}) for stage, found in line.known.items()}, test_accuracy)

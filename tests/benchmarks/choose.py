"""Settings of each second-stage row, chosen on validation: `choose.py --features ID`.

Every row is trained over a grid on the embeddings of finished features, all heads in the same batch order, and measured on the
validation part alone. Prints, for each row, the best settings and what every point of the grid gives.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any, get_args

import torch

from wbltr.errors import WbltrError
from wbltr.functional.logits import head_logits
from wbltr.functional.metrics import class_accuracy, confusion_matrix, mean_accuracy
from wbltr.methods.rows import ROWS, Row, Table4Row
from wbltr.pipeline import Artifact, Runtime, artifact, materialize
from wbltr.recipe import HeadSettings
from wbltr.recipe_file import recipe_from_record
from wbltr.stages import Chain, classifier, lineage
from wbltr.store import Store

PAPERS: tuple[Row, ...] = ("ce", "ce-wd", "ce-max", "ce-wd-max", "cb", "cb-wd", "cb-max", "cb-wd-max")
ADJUSTED: tuple[Row, ...] = (
    "logit-adjust",
    "logit-adjust-mult",
    "isotonic",
)  # choose τ by themselves, or have nothing to choose
RADII = (0.0, 0.1, 0.2, 0.3, 0.5, 0.7)  # relative to the first stage's norms
DECAYS = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
FEW_DECAYS = (0.0, 1e-4, 1e-3, 1e-2)  # of rows that have something else to choose, too
RATES = (1e-3, 1e-2, 1e-1)
OWN: dict[Row, dict[str, tuple[float, ...]]] = {
    "cosine": {"scale": (10.0, 16.0, 30.0)},
    "etf": {"scale": (10.0, 16.0, 30.0)},
    "disalign": {"rho": (0.5, 1.0, 1.5)},
    "label-smooth": {"smoothing": (0.5, 0.9, 0.98)},
    "focal": {"gamma": (0.5, 1.0, 2.0)},
    "focal-cb": {"gamma": (0.5, 1.0, 2.0)},
    "ldam": {"scale": (10.0, 16.0, 30.0)},
    "logit-adjusted": {"tau": (0.5, 1.0, 1.5)},
}


def grid(row: Row, instead: Sequence[str]) -> Iterator[dict[str, float]]:
    """The settings to try; `instead`: axes of the user's own, as `lr=1e-3,1e-2`."""
    parts = row.split("-")
    if row in PAPERS:
        axes: dict[str, tuple[float, ...]] = {"weight_decay": DECAYS} if "wd" in parts else {}
        axes |= {"radius": RADII} if "max" in parts else {}
    elif row == "ncm":
        axes = {}
    else:
        axes = {"weight_decay": FEW_DECAYS, "lr": RATES, **OWN.get(row, {})}
    for text in instead:
        name, _, values = text.partition("=")
        axes[name] = tuple(float(value) for value in values.split(","))
    for point in product(*axes.values()):
        yield dict(zip(axes, point, strict=True))


def main() -> None:
    """Choose for each row."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--features", required=True, help="id or ref of finished features")
    parser.add_argument("--store", type=Path, default=None)
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--rows", default=",".join(PAPERS), help="names, or `others` for those beside the paper's")
    parser.add_argument(
        "--axis", action="append", default=[], help="values of one setting, instead of the grid's: lr=1e-3,1e-2"
    )
    given = parser.parse_args()
    store = Store.open(given.store, create=False)
    features = artifact(store, store.resolve(given.features))
    recipe = recipe_from_record(features.record["recipe"])
    assert recipe is not None
    chain = Chain(recipe, lineage(store, features))
    runtime = Runtime(threads=given.threads)
    parts = {}
    for part in ("train", "val"):
        node = chain.embeddings(part)
        made = node if isinstance(node, Artifact) else materialize(store, node, runtime, recipe).artifact
        parts[part] = store.load(made.object_id)
    train, val = parts["train"], parts["val"]
    inputs = {"embeddings": train, "features": store.load(features.object_id, ("head.",))}
    embeddings, labels = torch.from_numpy(val["val.embeddings"][0]), torch.from_numpy(val["val.labels"])

    def measured(row: Row, point: dict[str, float]) -> float | None:
        """Per cent on the validation part; None where it diverged."""
        section = recipe.classifier.as_row(row, recipe.features, HeadSettings.model_validate(point))
        try:
            made = classifier.run(section, inputs, replace(runtime, witness={}))
        except WbltrError as error:
            if error.code != "training":
                raise
            return None
        head = {name: tensor for name, tensor in made.items() if name.startswith("head.")}
        predicted = head_logits(head, embeddings).argmax(1)
        return 100 * float(mean_accuracy(class_accuracy(confusion_matrix(labels, predicted, len(train["class_counts"])))))

    known: tuple[Row, ...] = (*PAPERS, *(row for row in ROWS if row not in (*get_args(Table4Row), *ADJUSTED, "distill")))
    asked = known[len(PAPERS) :] if given.rows == "others" else [row for row in known if row in given.rows.split(",")]
    for row in asked:
        found: list[tuple[dict[str, float], float]] = []
        for point in grid(row, given.axis):
            value = measured(row, point)
            found += [] if value is None else [(point, value)]
        best, value = max(found, key=lambda pair: pair[1])
        told: dict[str, Any] = {"row": row, **best, "val": round(value, 2)}
        points = {" ".join(f"{name} {v:g}" for name, v in point.items()): round(value, 1) for point, value in found}
        print(json.dumps(told | {"all": points}), flush=True)


if __name__ == "__main__":
    main()

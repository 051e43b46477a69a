"""Weight decay and MaxNorm radius of each second-stage row, chosen on validation: `choose.py --features ID`.

Every row is trained over a grid on the embeddings of finished features, all heads in the same batch order, and measured on the
validation part alone. Prints, for each row, the best settings and what the grid's neighbours and the released values give.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Literal

import torch

from wbltr.functional.class_loss import LossSettings
from wbltr.functional.metrics import class_accuracy, confusion_matrix, mean_accuracy
from wbltr.functional.projections import relative_radius, row_norms
from wbltr.functional.schedules import cosine
from wbltr.heads import Trial, fit_heads
from wbltr.machine import prepare
from wbltr.pipeline import Runtime, artifact, materialize
from wbltr.recipe_file import recipe_from_record
from wbltr.stages import Chain, lineage
from wbltr.store import Store

DECAYS = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
RADII = (0.0, 0.1, 0.2, 0.3, 0.5, 0.7)  # relative to the first stage's norms
RELEASED = (1e-1, 0.1)


def grid(row: str) -> list[tuple[float, float | None]]:
    """Weight decay and relative radius of each trial of a row."""
    parts = row.split("-")
    decays = DECAYS if "wd" in parts else (0.0,)
    radii: tuple[float | None, ...] = RADII if "max" in parts else (None,)
    return list(product(decays, radii))


def main() -> None:
    """Choose for each row."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--features", required=True, help="id or ref of finished features")
    parser.add_argument("--store", type=Path, default=None)
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--rows", default="ce,ce-wd,ce-max,ce-wd-max,cb,cb-wd,cb-max,cb-wd-max")
    given = parser.parse_args()
    prepare("cpu", given.threads)
    store = Store.open(given.store, create=False)
    features = artifact(store, store.resolve(given.features))
    recipe = recipe_from_record(features.record["recipe"])
    assert recipe is not None
    chain = Chain(recipe, lineage(store, features))
    runtime = Runtime(threads=given.threads)
    train, val = (
        store.load(materialize(store, chain.embeddings(part), runtime, recipe).artifact.object_id) for part in ("train", "val")
    )
    head = store.load(features.object_id, ("head.",))
    weight, bias = (torch.from_numpy(head[f"head.{name}"]) for name in ("weight", "bias"))
    norms, second = row_norms(weight), recipe.classifier
    points = {row: grid(row) for row in given.rows.split(",")}
    trials = []
    for row, settings in points.items():
        loss: Literal["ce", "cb"] = "ce" if row.startswith("ce") else "cb"
        for decay, radius in settings:
            trial = Trial(loss, LossSettings(beta=second.beta), second.lr, decay)
            trials.append(trial if radius is None else replace(trial, radius=relative_radius(norms, radius)))
    heads = fit_heads(
        torch.from_numpy(train["train.embeddings"]), torch.from_numpy(train["train.labels"]),
        torch.from_numpy(train["class_counts"]), weight, bias, trials,
        schedule=cosine(1.0, second.epochs), batch_size=second.batch_size, momentum=second.momentum, seed=second.seed,
    )  # fmt: skip
    embeddings, labels = torch.from_numpy(val["val.embeddings"][0]), torch.from_numpy(val["val.labels"])
    place = 0
    for row, settings in points.items():
        found = {}
        for point in settings:
            predicted = (embeddings @ heads.weight[place].T + heads.bias[place]).argmax(1)
            found[point] = 100 * float(mean_accuracy(class_accuracy(confusion_matrix(labels, predicted, len(weight)))))
            place += 1
        best = max(found, key=lambda point: found[point])
        released = next((value for point, value in found.items() if point == _released(row)), None)
        told = {"row": row, "weight_decay": best[0], "radius": best[1], "val": round(found[best], 2)}
        told |= {"released": None if released is None else round(released, 2)}
        print(json.dumps(told | {"all": {f"{decay:g} {radius}": round(value, 1) for (decay, radius), value in found.items()}}))


def _released(row: str) -> tuple[float, float | None]:
    parts = row.split("-")
    return (RELEASED[0] if "wd" in parts else 0.0, RELEASED[1] if "max" in parts else None)


if __name__ == "__main__":
    main()

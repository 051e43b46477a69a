"""`embed --import`: a file of somebody's own embeddings → a recipe that suits it, and its dataset."""

from __future__ import annotations

import math
import os
import shlex
import shutil
import sys
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from wbltr.cli.clash import refuse_clash
from wbltr.cli.class_chart import class_chart
from wbltr.cli.console import Console
from wbltr.cli.own_images import name_after, write_recipe
from wbltr.cli.request import Request
from wbltr.cli.session import Session
from wbltr.cli.start import Verb
from wbltr.cli.writing import expanded, suffix_of
from wbltr.dataset_config import DatasetConfig
from wbltr.errors import WbltrError
from wbltr.recipe_writer import Choices, recipe_of, recipe_text, said, thresholds
from wbltr.report.results import class_names
from wbltr.stages import OwnFile, look_at_embeddings

VERB = Verb("embed --import")
STEPS = 3000  # of the first stage, at the least where 100 epochs have so many


def import_embeddings(
    request: Request, file: Path, out: Path | None, columns: str | None = None, drop: str | None = None
) -> None:
    """The whole command.

    Args:
        out: where the recipe goes; None: after the file's name, here.
        columns, drop: of a parquet file, those that are the embeddings, and those that are not; names between commas.
    """
    if request.recipe is not None or request.start is not None:
        given = "--recipe" if request.recipe is not None else "--from"
        raise WbltrError(f"--import writes a recipe of its own: {given} has no place here", "leave one of them out", "usage")
    console = Console(json=request.json, quiet=request.quiet, no_color=request.no_color)
    file = expanded(file).absolute()
    name = name_after(file)
    out = expanded(out if out is not None else Path(f"{name}.yaml"))
    suffix_of(out, (".yaml", ".yml"))
    place = shlex.quote(str(out) if out.is_absolute() or str(out).startswith(".") else f"./{out}")
    refuse_clash(out, (("embeddings_file", file),), request.set, f"wbltr compare --recipe {place}")
    head: Choices = {"embeddings_file": (str(file), ""), "features.network": ("none", ""), "embeddings.views": (1, "")}
    settings = [text for text in request.set if text.startswith("dataset.")]
    section = recipe_of(name, "", "", head | dataset_choices(()), settings).dataset
    seen = look_at_embeddings(file, columns, drop, section)
    choices = dataset_choices(seen.given)
    if seen.columns is not None:
        choices["dataset.columns"] = ([*seen.columns], "")
    if seen.numbered:
        choices["dataset.class_order"] = ("number", "the classes are whole numbers")
    section = recipe_of(name, "", "", head | choices, settings).dataset
    choices |= training_choices(section, seen)
    recipe = recipe_of(name, "", "", head | choices, request.set)
    if seen.told:
        console.notice(seen.told)
    for line in said(recipe, choices):
        console.notice(line)
    home = out.parent.resolve()
    near = os.path.relpath(file, home) if file.is_relative_to(home) else str(file)
    title = (
        f"From wbltr embed --import: {seen.rows:,} embeddings of {seen.dimensions:,} dimensions, {seen.classes} classes; "
        "yours to change.\nThe reasons stand beside the values; what is not written here has its default: wbltr recipe show."
    )
    text = recipe_text(recipe, {"embeddings_file": (near, ""), **choices}, title, "", "")
    kept = out.exists()
    columns_told = {} if seen.columns is None else {"columns": [*seen.columns], "left": [*seen.left]}
    write_recipe(out, text, f"wbltr compare --recipe {place}", console, dry_run=request.dry_run)
    if request.dry_run:
        if request.json:
            console.document({"schema": 1, "command": VERB.name, "dry_run": True, "recipe": str(out), **columns_told})
        return
    session = Session(VERB, replace(request, recipe=f"{out.parent}/{out.name}", set=[]))
    try:
        made = session.make(session.chain.dataset)
    except WbltrError:
        if not kept:  # a recipe for a file that is to be mended first
            out.unlink(missing_ok=True)
        raise
    session.name_results([made])
    tensors = session.store.load(made.artifact.object_id, ("class_",))
    names, counts = class_names(tensors), tensors["class_counts"].tolist()
    if request.json:
        told = {"recipe": str(out), "class_counts": dict(zip(names, counts, strict=True)), **columns_told}
        console.document(session.document(made, told))
    else:
        console.result(made.artifact.object_id)
    terminal = sys.stderr.isatty()
    width = shutil.get_terminal_size().columns if terminal else 80
    for line in class_chart(names, counts, width, block="█" if terminal else "#"):
        console.notice(line)
    console.notice(f"next: wbltr compare --recipe {place}")


def dataset_choices(given: Collection[str]) -> Choices:
    """Which part is which.

    Args:
        given: parts that the file names.
    """
    choices: Choices = {
        "dataset.source": ("embeddings", ""),
        "dataset.profile": ("natural", ""),
        "dataset.imbalance_factor": (None, ""),
        "dataset.val": ("list", "the file's own validation rows"),
        "dataset.seed": (0, "draws the parts that the file does not name"),
        "dataset.normalize": ("none", "as they are in the file; l2: each row of unit norm"),
    }
    if "test" not in given:
        choices["dataset.test_share"] = (0.2, "a fifth of each class, since the file has no test rows")
    if "val" not in given:
        choices["dataset.val"] = ("holdout", "the file has no validation rows")
        choices["dataset.val_share"] = (0.1, "a tenth of each class")
    return choices


def training_choices(section: DatasetConfig, seen: OwnFile) -> Choices:
    """Everything else. Learning rate and weight decay go by the rows' mean squared norm m, so that the same embeddings in
    other units are learned from alike.
    """
    counts = seen.counts(section)
    train, square = sum(counts), 1.0 if section.normalize == "l2" else seen.square
    batch = 64 if train >= 1000 else 32
    epochs = min(100, max(20, 10 * math.ceil(STEPS * batch / max(1, train) / 10)))
    lr, decay = _digit(5 / square), _digit(1e-5 * square)
    many, few, why = thresholds(counts)
    tau = ["tau"] if section.val != "none" else []
    return {
        "features.network": ("none", "the first stage is a linear head alone"),
        "features.epochs": (epochs, f"for {train:,} training rows"),
        "features.batch_size": (batch, ""),
        "features.lr": (lr, f"5 / m, where m is the rows' mean squared norm: {square:.3g}"),
        "features.weight_decay": (decay, "1e-5 · m, a start"),
        "embeddings.views": (1, ""),
        "classifier.epochs": (epochs, ""),
        "classifier.batch_size": (batch, ""),
        "classifier.lr": (lr, ""),
        "classifier.weight_decay": (decay, "1e-5 · m, a start: wbltr tune classifier finds a better one"),
        "classifier.max_norm": ({"radius": 0.7}, ""),
        "eval.many": (many, why.replace("pictures", "rows")),
        "eval.few": (few, ""),
        "rows": (["first stage", "l2", *tau, "cb-wd-max"], "" if tau else "no tau, which is chosen on validation rows"),
    }


def _digit(value: float) -> float:
    """To one significant digit."""
    return float(f"{value:.0e}")

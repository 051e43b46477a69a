"""The verbs that make something: each builds its nodes, makes them, and says what comes next."""

from __future__ import annotations

import functools
from typing import Any, get_args

from wbltr.cli.console import number
from wbltr.cli.options import Request
from wbltr.cli.session import Session
from wbltr.errors import WbltrError, closest
from wbltr.pipeline import load_made
from wbltr.recipe import Part, PosthocConfig
from wbltr.report.results import SPLITS, eval_document
from wbltr.report.words import caption, label
from wbltr.stages import CARRY_A_HEAD


def run(request: Request) -> None:
    """The whole chain of a recipe and the rows of its table."""
    session = Session("run", request)
    nodes = {row: session.chain.evaluation(session.chain.row(row)) for row in session.recipe.rows}
    if request.dry_run:
        session.plan(list(nodes.values()))
        return
    results: dict[str, dict[str, Any]] = {}
    for row, node in nodes.items():
        made, tensors = load_made(session.store, functools.partial(session.make, node))
        results[row] = eval_document(tensors, made.artifact.config)
    last = list(results)[-1]
    session.name_result(made)
    session.notes(results[last])
    if request.json:
        told = {"stages": [session.document(m) for m in session.made], "rows": {r: results[r]["accuracy"] for r in results}}
        session.console.document(session.document(made, results[last] | told))
        return
    columns = ("", "all", *SPLITS)
    lines = [(label(row), *(number(result["accuracy"][c]) for c in columns[1:])) for row, result in results.items()]
    session.console.table(columns, lines, caption(session.recipe, made.artifact.config, tensors, last))
    session.console.notice("next: wbltr posthoc tau --tau 1.5, then wbltr eval; another set: wbltr recipe list")


def make_dataset(request: Request) -> None:
    """Cut a known set to a long tail."""
    session = Session("make-dataset", request)
    made = session.deliver(session.chain.dataset(), "wbltr train-features")
    if made is not None and not made.artifact.record.get("metrics", {}).get("canonical", True):
        session.console.notice("validation images were taken from the training part: not the benchmark's canonical set")


def train_features(request: Request) -> None:
    """The first stage."""
    hint = "wbltr make-dataset --recipe digits-ir50, or give --recipe"
    session = Session("train-features", request, default="latest/dataset", accepts=("dataset",), make_first=hint)
    session.deliver(session.chain.features(), "wbltr posthoc tau --tau 1.9, or wbltr train-classifier, then wbltr eval")


def embed(request: Request, part: str) -> None:
    """One part of the images through the network."""
    parts: tuple[Part, ...] = get_args(Part)
    if part not in parts:
        raise WbltrError(f"--part: no part '{part}'.{closest(part, list(parts))}", f"one of {', '.join(parts)}", "usage")
    session = Session("embed", request, default="latest/features", accepts=("features",), make_first=_MAKE_FEATURES)
    session.deliver(session.chain.embeddings(next(p for p in parts if p == part)))


_MAKE_FEATURES = "wbltr train-features --recipe digits-ir50"


def train_classifier(request: Request) -> None:
    """The second stage."""
    session = Session("train-classifier", request, default="latest/features", accepts=("features",), make_first=_MAKE_FEATURES)
    session.deliver(session.chain.classifier(), "wbltr eval --splits many,medium,few")


def posthoc(request: Request, method: str, tau: str) -> None:
    """Rescale the rows of a head."""
    overrides = (f"posthoc.method={method}", f"posthoc.tau={tau}", "posthoc.of=features")
    session = Session(
        f"posthoc {method}",
        request,
        default="latest/features",
        accepts=CARRY_A_HEAD,
        overrides=overrides,
        make_first=_MAKE_FEATURES,
    )
    section: PosthocConfig = session.recipe.posthoc
    node = session.chain.posthoc(section, session.start if section.of == "features" else None)
    session.deliver(node, "wbltr eval --splits many,medium,few")


def evaluate(request: Request, splits: str) -> None:
    """Measure a head."""
    chosen = _splits(splits)
    session = Session("eval", request, default="latest/head", accepts=CARRY_A_HEAD, make_first=_MAKE_FEATURES)
    head = session.start if session.start is not None else session.chain.head()
    node = session.chain.evaluation(head)
    if request.dry_run:
        session.plan([node])
        return
    made, tensors = load_made(session.store, functools.partial(session.make, node))
    session.name_result(made)
    result = eval_document(tensors, made.artifact.config, chosen)
    session.notes(result)
    if request.json:
        session.console.document(session.document(made, result))
        return
    columns = ("", "all", *chosen)
    row = (session.head_name(made), *(number(result["accuracy"][c]) for c in columns[1:]))
    session.console.table(columns, [row], caption(session.recipe, made.artifact.config, tensors))


def _splits(text: str) -> tuple[str, ...]:
    """`many,medium,few` as a tuple; an unknown name is a usage error."""
    chosen = tuple(word.strip() for word in text.split(",") if word.strip())
    for word in chosen:
        if word not in SPLITS:
            raise WbltrError(
                f"--splits: no split '{word}'.{closest(word, list(SPLITS))}", "use --splits many,medium,few", "usage"
            )
    if not chosen:
        raise WbltrError("--splits: name at least one", "use --splits many,medium,few", "usage")
    return tuple(dict.fromkeys(chosen))

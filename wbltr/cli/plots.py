"""`plot`: the paper's figures. Makes what a figure stands on and is missing, then draws it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from wbltr.cli.console import Console
from wbltr.cli.making import AFTER_FEATURES
from wbltr.cli.plot_sources import NAMES, WITH_RADIUS, Name, Sources, Wanted, class_counts, finished
from wbltr.cli.request import Request
from wbltr.cli.session import Session
from wbltr.cli.start import Verb
from wbltr.cli.study_plot import study_drawn
from wbltr.cli.writing import expanded, suffix_of, write_file
from wbltr.errors import WbltrError, closest
from wbltr.pipeline import Artifact, Node, artifacts, planned
from wbltr.report import drawing
from wbltr.report.drawing import Constrained, Drawing, Tensors
from wbltr.store import Corrupt, Store, Vanished

FIGURES: tuple[Name | Literal["study"], ...] = (*NAMES, "study")
PLOT = Verb(
    "plot",
    "latest/features",
    ("features",),
    AFTER_FEATURES[1:],
    "wbltr plot NAME --recipe digits-ir50, which makes it",
    study=True,
)
OF_NETWORKS = ("filters", "weights-2d")
DECAYS = (0.0, 1e-4, 5e-4, 1e-3, 5e-3, 1e-2)


def plot(
    request: Request,
    figure: str,
    out: Path | None,
    values: str | None,
    radius: float | None,
    study: str | None,
    storage: str | None,
) -> None:
    """Draw one figure and print where it lies."""
    name = _name(figure)
    endings = (".svg", ".png", *((".gif",) if name == "weights-2d" else ()))
    if out is not None:
        endings = (suffix_of(out, endings),)
    decays = _decays(name, values)
    _check_radius(name, radius)
    if name == "study":
        told = study_drawn(request, study, storage)
    elif study is not None or storage is not None:
        given = "--study" if study is not None else "--storage"
        raise WbltrError(f"{given}: plot {name} does not read it", "it belongs to plot study", "usage")
    else:
        told = _frequencies(request) if name == "frequencies" else _drawn(Session(PLOT, request), name, decays, radius)
    if told is None:
        return
    drawn, made = told
    paths = [expanded(out)] if out is not None else [Path(f"{name}{ending}") for ending in endings]
    for path in paths:
        write_file(path, drawn.written(path.suffix))
    console = Console(json=request.json, quiet=request.quiet, no_color=request.no_color)
    if not request.json:
        for path in paths:
            console.result(str(path), one_line=True)
        return
    files = {"files": list(map(str, paths)), "caption": drawn.caption}
    console.document({"schema": 1, "command": "plot", "figure": name, **files, "artifacts": made, "series": drawn.summary()})


def _name(figure: str) -> Name | Literal["study"]:
    found = next((name for name in FIGURES if name == figure), None)
    if found is None:
        near = closest(figure, list(FIGURES))
        raise WbltrError(f"plot: no figure '{figure}'.{near}", f"figures: {', '.join(FIGURES)}", "usage")
    return found


def _decays(name: str, values: str | None) -> tuple[float, ...]:
    """--values as rising numbers."""
    if values is None:
        return DECAYS
    if name != "weight-decay":
        raise WbltrError(f"--values: plot {name} does not read it", "it belongs to plot weight-decay", "usage")
    try:
        found = sorted(float(word) for word in values.split(","))
    except ValueError:
        found = [-1.0]
    if found[0] < 0 or not math.isfinite(found[-1]) or math.isnan(sum(found)) or len(set(found)) != len(found):
        example = "write different numbers from 0 upwards, as in --values 0,1e-3,5e-3"
        raise WbltrError(f"--values {values}: not a list of weight decays", example, "usage")
    return tuple(found)


def _check_radius(name: str, radius: float | None) -> None:
    if radius is None:
        return
    if name not in WITH_RADIUS:
        raise WbltrError(f"--radius: plot {name} does not read it", f"it belongs to {', '.join(WITH_RADIUS)}", "usage")
    if not (radius > 0 and math.isfinite(radius)):
        raise WbltrError(f"--radius {radius:g}: expected a number above 0", "for example --radius 1", "usage")


def _frequencies(request: Request) -> tuple[Drawing, dict[str, str]] | None:
    """Facts need no store; sets that were made here are drawn beside them."""
    more, made = {}, {}
    if request.recipe is not None:
        session = Session(PLOT, request)
        if request.dry_run:
            session.plan({None: [session.chain.dataset]})
            return None
        found = session.make(session.chain.dataset).artifact
        if session.recipe.dataset.source != "cifar100":
            title = session.recipe.name
            more[title], made[title] = class_counts(session.store, found), found.object_id
    elif request.dry_run:
        Console(json=request.json, quiet=request.quiet).notice("plot frequencies: nothing to be made")
        return None
    try:
        store = Store.open(request.store, create=False)
    except WbltrError as error:
        if error.code != "missing":
            raise
        return drawing.draw_frequencies(more), made
    for one in artifacts(store):
        recipe = str((one.record.get("recipe") or {}).get("name", ""))
        if one.stage == "dataset" and recipe.startswith("inaturalist18"):
            more["iNaturalist 2018"], made["iNaturalist 2018"] = class_counts(store, one), one.object_id
    return drawing.draw_frequencies(more), made


def _drawn(
    session: Session, name: Name, decays: Sequence[float], radius: float | None
) -> tuple[Drawing, dict[str, str]] | None:
    """The figure and the ids of what it was drawn from, by name; None with --dry-run, which prints the plan."""
    if name in OF_NETWORKS and session.recipe.features.network == "none":
        told = f"plot {name} looks into a network, which embeddings of one's own have not"
        raise WbltrError(told, "for example: wbltr plot norms, wbltr plot likelihood", "usage")
    sources = Sources(session, name, decays, radius)
    if name in WITH_RADIUS and radius is None:
        sources.wanted()  # what the recipe lacks is refused here, before the first stage is trained for its norms
        sources.radius = _middle_norm(session, sources.meets_max_norm())
    wanted = sources.wanted()
    nodes = [session.chain.dataset, *(one.node for one in wanted.values())]
    if session.request.dry_run:
        session.plan({None: nodes})
        return None
    _say_what_is_missing(session, name, nodes)
    with session.working(nodes):
        dataset = session.maker.make(session.chain.dataset).artifact
        loaded = {label: _load(session.store, one) for label, one in wanted.items()}
    found = {label: tensors for label, (_, tensors) in loaded.items()}
    made = {"dataset": dataset.object_id, **{label: object_id for label, (object_id, _) in loaded.items()}}
    return _figure(sources, found, class_counts(session.store, dataset)), made


def _middle_norm(session: Session, met: Wanted) -> float | None:
    """MaxNorm's radius where the user gives none: the median of the norms that it would meet; None in a plan before them."""
    if not session.request.dry_run:
        with session.working([met.node]):
            return drawing.middle_norm(_load(session.store, met)[1])
    known = finished(session.store, met.node)
    return None if known is None else drawing.middle_norm(session.store.load(known.object_id, met.prefixes))


def _load(store: Store, wanted: Wanted) -> tuple[str, Tensors]:
    """Make one thing and read what is drawn of it; an object that turns out damaged or gone is made once more."""
    made = wanted.maker.make(wanted.node).artifact.object_id
    try:
        return made, store.load(made, wanted.prefixes)
    except (Corrupt, Vanished):
        made = wanted.maker.make(wanted.node).artifact.object_id
        return made, store.load(made, wanted.prefixes)


def _say_what_is_missing(session: Session, name: Name, nodes: Sequence[Node | Artifact]) -> None:
    steps = [step for node in nodes if isinstance(node, Node) for step in planned(session.store, node)]
    missing = {id(node) for node, found in steps if found is None and node.stage.name == "features"}
    if len(missing) > 1:
        session.console.notice(f"plot {name}: {len(missing)} first stages are still to be trained, one after another")


def _figure(sources: Sources, found: Mapping[str, Tensors], counts: Any) -> Drawing:
    recipe, radius = sources.recipe, sources.radius or 0.0
    match sources.name:
        case "accuracy":
            return drawing.draw_accuracy(recipe, found, counts)
        case "norms":
            return drawing.draw_norms(recipe, found, counts)
        case "norm-evolution":
            return drawing.draw_norm_evolution(recipe, found, counts, radius)
        case "filters":
            return drawing.draw_filters(recipe, found)
        case "weight-decay":
            return drawing.draw_weight_decay(recipe, sources.decays, list(found.values()))
        case "likelihood":
            on = f"{recipe.eval.on} "
            parts = {name.removeprefix(on): tensors for name, tensors in found.items() if name.startswith(on)}
            return drawing.draw_likelihood(recipe, {name: found[name] for name in parts}, parts, counts)
        case "weights-2d":
            return drawing.draw_weights_2d(recipe, found, counts, radius)
        case "max-norm":
            heads = [Constrained(group, name, found[f"{group}, {name}"]) for group, name in sources.max_norm_heads()]
            return drawing.draw_max_norm(recipe, heads)
        case "frequencies":
            raise AssertionError("frequencies stand on facts")

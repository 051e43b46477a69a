"""The verbs that make something: each builds its nodes, makes them, and says what comes next."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

from wbltr.cli import rows
from wbltr.cli.console import number
from wbltr.cli.request import Request
from wbltr.cli.session import Session
from wbltr.cli.start import Verb
from wbltr.errors import WbltrError, closest
from wbltr.methods.adjustments import ADJUSTMENTS
from wbltr.pipeline import Artifact, Node
from wbltr.recipe import Part, Recipe
from wbltr.recipe_file import parse_yaml
from wbltr.regular import read_regular
from wbltr.report.caption import caption
from wbltr.report.results import SPLITS, eval_document
from wbltr.report.words import balanced_by, measures
from wbltr.stages import CARRY_A_HEAD

LARGEST_PRIOR = 1 << 24  # bytes
AFTER_FEATURES = ("name", "embeddings", "classifier", "posthoc", "eval", "rows")
RUN = Verb("run")
MAKE_DATASET = Verb("make-dataset")
TRAIN_FEATURES = Verb(
    "train-features",
    "latest/dataset",
    ("dataset",),
    ("features", *AFTER_FEATURES),
    "wbltr make-dataset --recipe digits-ir50, or give --recipe here",
    shared=True,
)
EMBED = Verb("embed", "latest/features", ("features", "finetune"), ("name", "embeddings"))
TRAIN_CLASSIFIER = Verb("train-classifier", "latest/features", ("features",), AFTER_FEATURES)
COMPARE = Verb("compare", "latest/features", ("features",), AFTER_FEATURES, seeded=("classifier",), study=True)
EVAL = Verb("eval", "latest/head", CARRY_A_HEAD, ("name", "eval"))


def run(request: Request) -> None:
    """The whole chain of a recipe and the rows of its table."""
    rows.run(Session(RUN, request))


def compare(request: Request, heads: str, naive: str | None, against: str | None) -> None:
    """Many rows on one first stage."""
    from wbltr.cli import compare as many_rows

    many_rows.run(Session(COMPARE, request), heads, naive, against)


def make_dataset(request: Request, csv: Path | None, out: Path | None, classes: str | None = None) -> None:
    """Cut a known set to a long tail; without a recipe, make a dataset of pictures of one's own, and a recipe."""
    if csv is not None and request.images is not None:
        raise WbltrError("--csv and --images both name pictures", "leave one of them out", "usage")
    if csv is not None and csv.is_dir():
        raise WbltrError(f"--csv {csv}: is a folder", f"for class folders: --images {csv}", "usage")
    if csv is not None and classes is not None:
        raise WbltrError("--classes: a table names the classes itself", "leave it out, or name a folder: --images DIR", "usage")
    own = [] if classes is None else [f"dataset.classes={classes}"]
    request = replace(request, images=csv or request.images, set=[*own, *request.set])
    if request.recipe is None and request.images is not None:
        from wbltr.cli import own_images

        again = own_images.made_before(request, request.images, out)
        if again is None:
            own_images.make_dataset(request, request.images, out)
            return
        request, out = again, None
    if out is not None:
        raise WbltrError("--out: a recipe is written for --images or --csv without --recipe alone", "leave it out", "usage")
    session = Session(MAKE_DATASET, request)
    made = session.deliver(session.chain.dataset, "wbltr train-features")
    if made is not None and session.recipe.dataset.parts_from is not None:
        from wbltr.cli import own_images

        own_images.keep_parts(session)
    metrics = made.artifact.record.get("metrics", {}) if made is not None else {}
    benchmark = not session.recipe.dataset.own
    if made is not None and benchmark and not metrics.get("canonical", True) and (made.cached or "departures" not in metrics):
        why = "; ".join(metrics.get("departures", [])) or "shuffled, or validation held out of the training part"
        session.console.notice(f"{why}: not the benchmark's canonical set")


def train_features(request: Request) -> None:
    """The first stage. Of several processes under torchrun the leader makes it, and the others assist."""
    session = Session(TRAIN_FEATURES, request)
    features = session.chain.features
    if not session.team.leads:
        if isinstance(features, Node) and not request.dry_run:
            session.assist(features)
        return
    made = session.deliver(features, "wbltr posthoc tau --tau 1.9, or wbltr train-classifier, then wbltr eval")
    if made is not None and made.cached:
        session.team.dismiss()


def embed(
    request: Request,
    part: str,
    file: Path | None = None,
    out: Path | None = None,
    columns: str | None = None,
    drop: str | None = None,
) -> None:
    """One part of the images through the network; or embeddings of one's own from a file."""
    if file is not None:
        from wbltr.cli import importing

        importing.import_embeddings(request, file, out, columns, drop)
        return
    for option, given in (("--out", out), ("--columns", columns), ("--drop", drop)):
        if given is not None:
            raise WbltrError(f"{option}: is for --import alone", "leave it out", "usage")
    parts: tuple[Part, ...] = get_args(Part)
    if part not in parts:
        raise WbltrError(f"--part: no part '{part}'.{closest(part, list(parts))}", f"one of {', '.join(parts)}", "usage")
    session = Session(EMBED, request)
    session.deliver(session.chain.embeddings(next(p for p in parts if p == part), session.start))


def train_classifier(request: Request) -> None:
    """The second stage."""
    session = Session(TRAIN_CLASSIFIER, request)
    session.deliver(session.chain.classifier(), "wbltr eval --splits many,medium,few")


def posthoc(request: Request, method: str, settings: Mapping[str, str]) -> None:
    """Adjust a head: what --from names, else the first stage's unless posthoc.of says otherwise.

    Args:
        settings: the fields of the posthoc section that the command itself sets; of shares the name of a file, or a word.
    """
    for text in request.set:
        field = text.partition("=")[0].strip()
        if field.partition(".")[0] == "posthoc" and field != "posthoc.of":
            hint = f"what it takes: wbltr posthoc {method} --help"
            raise WbltrError(f"--set {text}: the command itself says so", hint, "usage")
    verb = Verb(f"posthoc {method}", "latest/features", CARRY_A_HEAD, ("name", "posthoc", "eval"))
    files = {s.name: settings[s.name] for s in ADJUSTMENTS[method].settings if s.kind == "shares"}
    shares = {name: _shares(name, file) for name, file in files.items() if file not in ADJUSTMENTS.settings()[name].words}
    own = [f"posthoc.{name}={json.dumps(value, ensure_ascii=False)}" for name, value in shares.items()]
    own += [f"posthoc.{name}={value}" for name, value in settings.items() if name not in shares]
    session = Session(verb, request, (f"posthoc.method={method}", *own, "posthoc.of=features"))
    start = session.start
    if start is not None and start.stage != "features" and any(t.startswith("posthoc.of=") for t in request.set):
        raise WbltrError(f"--set posthoc.of: --from names a {start.stage} head already", "leave one of them out", "usage")
    if start is not None and start.stage == "features" and session.recipe.posthoc.of == "classifier":
        start = None
    _refuse_a_prior_twice(session, method, start)
    session.deliver(session.chain.posthoc(session.recipe.posthoc, start), "wbltr eval --splits many,medium,few")


def _refuse_a_prior_twice(session: Session, method: str, start: Artifact | None) -> None:
    """What moves logits by the classes' sizes takes the head to be trained on the classes as they come; a τ may be chosen.

    Raises:
        WbltrError: code "usage" where it would correct once more what training has corrected.
    """
    entry = ADJUSTMENTS[method]
    if not entry.by_counts or (entry.has("tau") and session.recipe.posthoc.tau == "val"):
        return
    if (already := balanced_by(start.config if start is not None else _head_section(session.recipe))) is None:
        return
    told = f"posthoc {method}: this head was balanced already ({already}); the classes' sizes would count twice"
    if not entry.has("tau"):
        raise WbltrError(told, "start from a head of loss: ce, for example --from latest/features", "usage")
    session.console.notice(f"{told}; τ by validation: wbltr posthoc {method} --tau val")


def _head_section(recipe: Recipe) -> dict[str, Any]:
    section = recipe.features if recipe.posthoc.of == "features" else recipe.classifier
    return section.model_dump(mode="json")


def _shares(option: str, name: str) -> dict[str, float]:
    """A YAML or JSON file of class name → share; JSON is YAML."""
    hint = "uniform, or a YAML or JSON file with a line 'class name: share' for each class"
    try:
        found, _ = parse_yaml(read_regular(Path(name), LARGEST_PRIOR).decode("utf-8-sig"), name)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise WbltrError(f"--{option} {name}: {why}", hint, "usage") from None
    if not isinstance(found, dict) or not found:
        raise WbltrError(f"--{option} {name}: expected class names with a share each", hint, "usage")
    for label, share in found.items():
        if not isinstance(share, int | float) or isinstance(share, bool) or not 0 < share < math.inf:
            raise WbltrError(f"--{option} {name}: {label}: expected a share above 0, found {share!r}", hint, "usage")
    return found


def evaluate(request: Request, splits: str) -> None:
    """Measure a head."""
    chosen = _splits(splits)
    session = Session(EVAL, request)
    head = session.start if session.start is not None else session.chain.head()
    node = session.chain.evaluation(head)
    if request.dry_run:
        session.plan({None: [node]})
        return
    made, tensors = session.load(node)
    session.name_results([made])
    result = eval_document(tensors, made.artifact.config, chosen)
    if request.json:
        session.console.document(session.document(made, result))
        return
    columns = ("", "all", *chosen)
    measured = session.head_of(made)
    name = session.head_name(measured)
    row = (name, *(number(result["accuracy"][c]) for c in columns[1:]))
    found = session.behind(made)
    under = caption(found.recipe, made.artifact.config, tensors, name, origin=found.origin)
    better = f"wbltr posthoc temperature --from {measured.object_id[:12]}"
    if session.recipe.dataset.val == "none" or _calibrated(measured):
        better = ""
    session.console.table(columns, [row], f"{under}\n{measures(result, better)}")


def _calibrated(head: Artifact) -> bool:
    return head.stage == "posthoc" and bool(ADJUSTMENTS[head.config["method"]].calibrates)


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

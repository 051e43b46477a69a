"""`export`: a head and its network leave the store, as a folder that needs nothing else."""

from __future__ import annotations

import hashlib
import shlex
from pathlib import Path
from typing import Any, get_args

from wbltr.cli.behind import behind
from wbltr.cli.request import Request
from wbltr.cli.served import Found, find, serving_verb
from wbltr.cli.session import Session
from wbltr.cli.writing import unfinished
from wbltr.errors import WbltrError, closest
from wbltr.pipeline import artifacts
from wbltr.report.model_card import model_card
from wbltr.report.provenance import departures, other_settings
from wbltr.report.results import eval_document
from wbltr.serving.about import NAME, About, Format
from wbltr.serving.folder import earlier, target

SECTIONS = ("dataset", "features", "embeddings", "classifier", "posthoc", "eval")  # no paths of the user's
CHECKED = 64  # images of the dataset that the file is checked on


def export(request: Request, folder: Path, kind: str) -> None:
    """Write the folder, after its model was held against torch on images of the dataset."""
    formats: tuple[Format, ...] = get_args(Format)
    if kind not in formats:
        near = closest(kind, list(formats))
        raise WbltrError(f"--format: no format '{kind}'.{near}", f"one of {', '.join(formats)}", "usage")
    format = next(known for known in formats if known == kind)
    place = target(folder)
    session = Session(serving_verb("export"), request)

    from wbltr.machine import prepare
    from wbltr.serving.formats import compared, load, refuse_missing, save
    from wbltr.serving.images import samples
    from wbltr.serving.model import cost, guarded, predictor

    refuse_missing(format, writing=True)
    device = prepare("cpu", request.threads)
    found = find(session, format)
    about = earlier(place, found.about, cost(found.about).most_bytes)
    cached = about is not None
    if about is None:
        session.console.notice(f"writing {found.about.file} and checking it on images of the dataset …")
        train = session.store.load(found.dataset.object_id, ("train.",))
        images = samples(train, session.maker.runtime.roots, found.about.input, CHECKED)
        try:
            with unfinished(place, folder=True) as temporary:
                file = temporary / found.about.file
                save(found.model, found.about, file)
                data = file.read_bytes()
                written = load(found.about, data, str(file), device)
                own = guarded(predictor(found.model, device), found.about, "torch")
                check = compared(own, written, images, f"--format {format}")
                digest = hashlib.sha256(data).hexdigest()
                about = found.about.model_copy(update={"sha256": digest, "checked": check})
                (temporary / NAME).write_text(about.as_json(), encoding="utf-8")
                (temporary / "README.md").write_text(_card(session, found, about), encoding="utf-8")
        except WbltrError:
            about = earlier(place, found.about, cost(found.about).most_bytes)  # another process was faster
            if about is None:
                raise
    size = (place / about.file).stat().st_size
    if request.json:
        told: dict[str, Any] = {"schema": 1, "command": "export", "folder": str(place), "cached": cached, "bytes": size}
        of_model = {"format", "file", "sha256", "artifacts", "checked"}
        session.console.document(told | about.model_dump(mode="json", include=of_model))
    else:
        session.console.result(str(folder), one_line=True)
    if about.checked is not None:
        checked = f"on {about.checked.images} images of the dataset the same classes as torch"
        within = f"probabilities within {about.checked.largest_difference:.1g}"
        session.console.notice(f"{about.file}, {size / 1e6:.1f} MB; {checked}, {within}")
    trust = " --trust" if format == "torch-export" else ""
    session.console.notice(f"next: wbltr predict PATH… --from {shlex.quote(str(folder))}{trust}")


def _card(session: Session, found: Found, about: About) -> str:
    """The model card, with every measurement of this head that the store has."""
    measured: dict[tuple[str, str], dict[str, Any]] = {}
    for made in artifacts(session.store):
        if made.stage == "eval" and made.inputs.get("head") in (found.head.object_id, found.used.object_id):
            if not session.store.has(made.object_id):
                continue
            document = eval_document(session.store.load(made.object_id), made.config)
            calibrated = made.inputs["head"] == found.used.object_id
            document |= {"limits": (made.config["many"], made.config["few"]), "calibrated": calibrated}
            measured[made.object_id, str(document["on"])] = document
    trained = behind(session.store, session.recipe, found.head)
    counts = session.store.load(found.dataset.object_id, ("class_counts",))["class_counts"].tolist()
    return model_card(
        about.model_dump(mode="json"),
        {"name": session.recipe.name} | {name: getattr(session.recipe, name).hashed() for name in SECTIONS},
        found.dataset.record.get("metrics", {}),
        counts,
        list(measured.values()),
        other_settings(trained.recipe, trained.origin),
        departures(trained.recipe, trained.origin),
    )

"""`diagnose`: what the settings of a chain did, one line each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from wbltr.cli.request import Request
from wbltr.cli.session import Session
from wbltr.cli.start import Verb
from wbltr.pipeline import Artifact
from wbltr.recipe import ClassifierConfig, FeaturesConfig, Part
from wbltr.report.results import class_names
from wbltr.stages import CARRY_A_HEAD, lineage
from wbltr.store import Store

if TYPE_CHECKING:
    from wbltr.report.diagnosis import Finding

DIAGNOSE = Verb("diagnose", "latest/head", CARRY_A_HEAD, ("name", "eval"), study=True)
SECOND_STAGES = ("finetune", "classifier")


def diagnose(request: Request) -> None:
    """Look at a head, and at the stages that it stands on."""
    session = Session(DIAGNOSE, request)
    chain = session.chain
    head = session.start if session.start is not None else chain.head()
    part: Part = "train" if session.recipe.dataset.val == "none" else "val"
    nodes = [chain.features, chain.embeddings(part, head), evaluation := chain.evaluation(head)]
    if request.dry_run:
        session.plan({None: nodes})
        return
    with session.working(nodes):
        session.maker.make(chain.features)
        _, embedded = session.maker.load(chain.embeddings(part, head))
        made, measured = session.maker.load(evaluation)
    known = lineage(session.store, made.artifact).known
    findings = found(session.store, known, measured, {part: embedded})
    if request.json:
        told = {"diagnosis": {finding.name: finding.document() for finding in findings}}
        session.console.document(session.document(made, told))
        return
    rows = [
        row
        for finding in findings
        for row in ([finding.name, finding.words], *([["", f"warning: {finding.warning}"]] if finding.warning else []))
    ]
    session.console.table(["looked at", "found"], rows, f"{session.recipe.name}: {session.head_name(session.head_of(made))}")


def found(
    store: Store, known: Mapping[str, Artifact], measured: Mapping[str, Any], embedded: Mapping[Part, Any]
) -> list[Finding]:
    """What there is to say of a finished measurement.

    Args:
        known: what it stands on and itself, by stage.
        measured: its tensors.
        embedded: part → tensors of the embeddings that the head was given; empty where they are not there.
    """
    from wbltr.report import diagnosis

    features, second = known["features"], next((known[stage] for stage in SECOND_STAGES if stage in known), None)
    first_config, first = FeaturesConfig.model_validate(dict(features.config)), store.load(features.object_id)
    images = int(measured["class_counts"].sum())
    findings = [
        diagnosis.weight_decay("first stage", first_config, images),
        diagnosis.constraint("first stage", first_config, first),
    ]
    if second is not None:
        config = ClassifierConfig.model_validate(dict(second.config.get("classifier", second.config)))
        tensors = store.load(second.object_id)
        findings += [
            diagnosis.weight_decay("second stage", config, images),
            diagnosis.constraint("second stage", config, tensors),
            diagnosis.batch_norm(first, tensors if second.stage == "finetune" else None),
        ]
    for part, seen in embedded.items():
        view = "training part, one view" if part == "train" else "validation part"
        x, labels = seen[f"{part}.embeddings"][0], seen[f"{part}.labels"]
        findings.append(diagnosis.geometry(x, labels, len(measured["norms"]), view))
    return [
        *findings,
        diagnosis.norms_by_count(measured["norms"], measured["class_counts"]),
        diagnosis.prior(measured["confusion"], class_names(measured), f"{known['eval'].config['on']} part"),
    ]

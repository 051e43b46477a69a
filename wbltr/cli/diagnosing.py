"""`diagnose`: what the settings of a chain did, one line each."""

from __future__ import annotations

from wbltr.cli.request import Request
from wbltr.cli.session import Session
from wbltr.cli.start import Verb
from wbltr.recipe import ClassifierConfig, FeaturesConfig, Part
from wbltr.report.results import class_names
from wbltr.stages import CARRY_A_HEAD, lineage

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
        features = session.maker.make(chain.features).artifact
        _, embedded = session.maker.load(chain.embeddings(part, head))
        made, measured = session.maker.load(evaluation)
    from wbltr.report import diagnosis

    known = lineage(session.store, made.artifact).known
    second = next((known[stage] for stage in SECOND_STAGES if stage in known), None)
    first_config, first = FeaturesConfig.model_validate(dict(features.config)), session.store.load(features.object_id)
    images = int(measured["class_counts"].sum())
    findings = [
        diagnosis.weight_decay("first stage", first_config, images),
        diagnosis.constraint("first stage", first_config, first),
    ]
    if second is not None:
        config = ClassifierConfig.model_validate(dict(second.config.get("classifier", second.config)))
        tensors = session.store.load(second.object_id)
        findings += [
            diagnosis.weight_decay("second stage", config, images),
            diagnosis.constraint("second stage", config, tensors),
            diagnosis.batch_norm(first, tensors if second.stage == "finetune" else None),
        ]
    view = "training part, one view" if part == "train" else "validation part"
    findings += [
        diagnosis.geometry(embedded[f"{part}.embeddings"][0], embedded[f"{part}.labels"], len(measured["norms"]), view),
        diagnosis.norms_by_count(measured["norms"], measured["class_counts"]),
        diagnosis.prior(measured["confusion"], class_names(measured), f"{made.artifact.config['on']} part"),
    ]
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

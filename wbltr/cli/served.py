"""The model that --from names, for commands that use it: out of the store with its calibration, or an exported folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wbltr.cli.request import Request
from wbltr.cli.session import Session
from wbltr.cli.start import Verb
from wbltr.errors import WbltrError
from wbltr.methods.adjustments import ADJUSTMENTS
from wbltr.pipeline import Artifact, artifact
from wbltr.recipe import FeaturesConfig, PosthocConfig
from wbltr.report.results import class_names
from wbltr.serving.about import FILES, About, Format, Input
from wbltr.stages import CARRY_A_HEAD, NETWORK_FIELDS

if TYPE_CHECKING:
    from wbltr.serving.model import Served

CERTAIN = 1e-6  # nats: below, the fit has run to its bound and would call everything certain


def serving_verb(name: str) -> Verb:
    """A command that uses a head: it moves no `latest`."""
    return Verb(name, "latest/head", CARRY_A_HEAD, study=True, make_first="wbltr run --recipe digits-ir50")


@dataclass(frozen=True)
class Found:
    """A model out of the store.

    Attributes:
        about: what it is.
        model: with its weights.
        head: the head that was asked for; `used`: the one in the model, which may be calibrated.
        dataset: what it learned from.
    """

    about: About
    model: Served
    head: Artifact
    used: Artifact
    dataset: Artifact


def find(session: Session, format: Format = "safetensors") -> Found:
    """The model of the head that a session starts from, calibrated if it can be.

    Raises:
        WbltrError: code "usage" for a head of embeddings of one's own, "missing" where its images' dataset is gone.
    """
    head = session.start
    assert head is not None, "the verb has a default"
    line = session.chain.line
    if session.recipe.dataset.source == "embeddings":
        told = f"{session.verb.name}: the head {head.object_id[:12]} stands on embeddings of your own; pictures need a network"
        raise WbltrError(told, "measure it: wbltr eval; in Python: wbltr.load(ID).tensors", "usage")
    if "dataset" not in line.known:
        told = f"the dataset that the head {head.object_id[:12]} learned from, which names its classes, is not in this store"
        raise WbltrError(told, "name a store that has it: --store DIR", "missing")
    network, dataset = session.chain.network_of(head), line.known["dataset"]
    if not isinstance(network, Artifact):
        told = f"the network that the head {head.object_id[:12]} stands on is not in this store"
        raise WbltrError(told, "name a store that has it: --store DIR", "missing")
    used, calibration, temperature = _calibrated(session, head)

    from wbltr.serving.model import as_tensors, head_kind, served

    store = session.store
    tensors = store.load(network.object_id, ("network.",)) | store.load(used.object_id, ("head.",))
    own = _network_of(network)
    wanted = _input(session, dataset, own)
    known = {stage: found.object_id for stage, found in line.known.items() if stage in ("dataset", "features", "finetune")}
    batch = f"(B, {wanted.channels}, {wanted.side}, {wanted.side})"
    names = class_names(store.load(dataset.object_id, ("class_names",)))
    about = About(
        format=format,
        file=FILES[format],
        recipe=session.recipe.name,
        artifacts=known | {"head": head.object_id, "used": used.object_id},
        network=own["network"],
        stem=own["stem"],
        prelogit=own["prelogit"],
        input=wanted,
        preprocessing=wanted.words(),
        head=head_kind(tensors),
        head_words=session.head_name(head),
        class_names=tuple(names),
        calibrated=bool(calibration),
        calibration=calibration or "none: probabilities are the softmax of the logits as they are",
        temperature=temperature,
        outputs={
            "takes": f"images: uint8 {batch}, any B",
            "logits": f"float32 (B, {len(names)})" + (", divided by the temperature" if temperature else ""),
            "probabilities": f"float32 (B, {len(names)})",
        },
        versions={"wbltr": version("wbltr"), "torch": version("torch")},
    )
    return Found(about, served(about, as_tensors(tensors), f"head {used.object_id[:12]}"), head, used, dataset)


def _network_of(network: Artifact) -> Mapping[str, Any]:
    """The fields that a network is built from."""
    config = dict(network.config)
    if network.stage == "features":
        features = FeaturesConfig.model_validate(config)
        return {name: getattr(features, name) for name in NETWORK_FIELDS}
    return config


def _input(session: Session, dataset: Artifact, own: Mapping[str, Any]) -> Input:
    """What the network was tested on: its own square of a file, or the size of the pixels that the dataset holds."""
    side = own["image_size"]
    if side is None:
        side = shorter = int(session.store.load(dataset.object_id, ("test.images",))["test.images"].shape[-1])
    else:
        shorter = round(side * 256 / 224)
    values = {"channels": len(own["mean"]), "shorter_side": shorter, "side": side, "mean": own["mean"], "std": own["std"]}
    return Input.model_validate(values | {"depth": dataset.config.get("depth")})


def _calibrated(session: Session, head: Artifact) -> tuple[Artifact, str, float | None]:
    """The head to use, how it is calibrated (empty: not at all), and the temperature, where there is one."""
    tell = session.console.notice
    if words := _calibration(session, head):
        tell(f"probabilities are calibrated: {words}")
        return head, words, head.record.get("metrics", {}).get("temperature")
    why = "the dataset has no validation part"
    if head.config.get("method") == "prior":
        why = "no validation images come as often as its prior says"
    elif session.recipe.dataset.val != "none":
        try:
            made, tensors = session.load(session.chain.posthoc(PosthocConfig(method="temperature"), head))
        except WbltrError as error:
            if error.code not in ("missing", "disk"):
                raise
            why = error.message
        else:
            temperature = float(tensors["temperature"])
            if made.artifact.record.get("metrics", {}).get("val_nll", 1.0) < CERTAIN:
                tell("probabilities are not calibrated: every validation image is told right, so no temperature is the best")
                return head, "", None
            words = f"one temperature, {temperature:.3g}, fitted on the validation part"
            tell(f"probabilities are calibrated: {words}")
            return made.artifact, words, temperature
    tell(f"probabilities are not calibrated: {why}")
    return head, "", None


def _calibration(session: Session, head: Artifact) -> str:
    """How a head was calibrated, in words; empty where it was not. A prior laid on a calibrated head leaves it so."""
    if head.stage != "posthoc":
        return ""
    entry = ADJUSTMENTS[head.config["method"]]
    if entry.calibrates:
        return f"{entry.calibrates}, fitted on the validation part"
    if entry.has("prior"):
        below = _calibration(session, artifact(session.store, head.inputs["head"]))
        return below and f"{below}, then moved to a prior"
    return ""


def exported_folder(request: Request) -> Path | None:
    """The exported folder that --from names; None where it names something else."""
    from wbltr.serving.folder import is_export

    return Path(request.start).expanduser() if request.start and is_export(Path(request.start)) else None

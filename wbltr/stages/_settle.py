"""What is settled before any key: precision, how processes share a batch, what lies outside the store. No torch here."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wbltr.config import Teacher
from wbltr.data.known import CIFAR10, CIFAR100, CONTENT
from wbltr.dataset_config import DatasetConfig
from wbltr.errors import WbltrError
from wbltr.pipeline import Artifact, Runtime, artifact, artifacts, look_up
from wbltr.recipe import FeaturesConfig, Recipe, available_precision
from wbltr.stages._seen import seen_files
from wbltr.stages._table import DATASET, FEATURES
from wbltr.store import Store

if TYPE_CHECKING:
    from wbltr.data.imagefiles import ListedImages


def settle_source(
    store: Store, section: DatasetConfig, lists: Sequence[Path], runtime: Runtime, root: Path | None = None
) -> tuple[str, ListedImages | None]:
    """Look at the images of a set that lists name, before any key: the digest of what they are, and what was found.

    Where there is no folder to look in and none was named, the digest of an earlier make of the same section stands in.

    Args:
        lists: --list; without it those in the root, or those of the earlier make.
        root: --root; what is named is looked at, and nothing else.

    Raises:
        WbltrError: code "usage" for lists of a set that has none; what `wbltr.data.imagefiles.look` raises.
    """
    # Here, not above: most commands need none of it, and a finished chain starts fast.
    from wbltr.data.imagefiles import expanded, is_folder, look
    from wbltr.data.listed import LISTED

    if not section.listed:
        if lists:
            raise WbltrError(f"--list: {section.source} has no lists", "leave it out, or name another recipe", "usage")
        return "", None
    earlier = [made for made in artifacts(store) if made.stage == "dataset" and made.config == section.hashed()]
    earlier.sort(key=lambda made: str(made.record.get("witness", {}).get("started", "")))
    roots = [root] if root is not None else [place for place in runtime.roots if place != store.root / "downloads"]
    if earlier and root is None and not lists and not any(is_folder(expanded(place)) for place in roots):
        runtime.notice(f"{section.source}: its images are not here; using the dataset {earlier[-1].object_id[:12]}")
        return earlier[-1].inputs["source"], None
    published = [name for names in LISTED[section.source].files.values() for name in names]
    if not lists and earlier and not (root is not None and any((expanded(root) / name).is_file() for name in published)):
        told = earlier[-1].record.get("witness", {}).get("lists")
        named = [Path(path) for path in told if isinstance(path, str)] if isinstance(told, list) else []
        lists = named if all(path.is_file() for path in named) else []
    found = look(LISTED[section.source], lists, roots, seen_files(store, section.source), runtime.tick, runtime.notice)
    return found.content, found


def check_root(section: DatasetConfig, root: Path, runtime: Runtime) -> None:
    """Refuse a --root that is not there or that lacks the known set, before a dataset is planned or made.

    Raises:
        WbltrError: code "missing".
    """
    from wbltr.data.archives import locate, not_found

    archive = {known.name: known for known in (CIFAR10, CIFAR100)}.get(section.source)
    if archive is not None and locate(archive, runtime.roots) is None:
        raise not_found(archive, runtime.roots)
    if archive is None and not os.path.isdir(os.path.expanduser(root)):  # noqa: PTH111, PTH112 - pathlib's raise
        raise WbltrError(f"--root {root}: no such folder", "name a folder that is there, or leave it out", "missing")


def settle_shards(recipe: Recipe, processes: int, runtime: Runtime) -> Recipe:
    """Give each of several processes its part of a batch, where the recipe does not say how a batch is cut."""
    if processes == 1 or recipe.features.micro_batch is not None:
        return recipe
    if recipe.features.network == "none" or recipe.features.frozen:
        raise WbltrError("a head alone is trained in one process, torchrun started more", "run it by itself", "usage")
    batch = recipe.features.batch_size
    size = _micro_batch(batch, processes)
    if size is None:
        raise WbltrError(
            f"{processes} processes cannot share a batch of {batch} evenly, with two images or more for each",
            sharing_hint(batch, processes),
            "usage",
        )
    runtime.notice(f"{processes} processes: features.micro_batch={size}, which is what batch-norm sees at once")
    return recipe.with_features(micro_batch=size)


def _micro_batch(batch_size: int, processes: int) -> int | None:
    """The largest part of a batch of which there are as many as processes, or a multiple; none of a single image."""
    for parts in range(processes, batch_size // 2 + 1, processes):
        size = -(-batch_size // parts)
        if -(-batch_size // size) == parts:
            return size
    return None


def sharing_hint(batch_size: int, processes: int) -> str:
    """What to set so that so many processes can share a batch."""
    size = _micro_batch(batch_size, processes)
    if size is not None:
        return f"--set features.micro_batch={size}"
    batch_size = max(2, -(-batch_size // processes)) * processes
    return f"--set features.batch_size={batch_size}, which is another training; or start fewer processes"


def settle_precision(
    store: Store, recipe: Recipe, runtime: Runtime, source: str = "", teachers: Mapping[str, Artifact] | None = None
) -> Recipe:
    """Replace `precision: auto` by what this machine does well, or by what the store has finished already.

    Args:
        recipe: its teachers settled.
        source: digest of the images, where they are listed ones.
        teachers: by id.
    """
    if recipe.features.precision != "auto":
        return recipe
    if recipe.features.network == "none":
        return recipe.with_features(precision="fp32")
    best = available_precision()
    choices = [recipe.with_features(precision=p) for p in sorted(("bf16", "fp32"), key=lambda p: p != best)]
    section = recipe.dataset
    dataset = look_up(store, DATASET, section, {"source": source or CONTENT.get(section.source, "")})
    teacher = recipe.features.teacher
    taught = {"teacher": teachers[teacher.artifact]} if isinstance(teacher, Teacher) and teachers else {}
    for choice in choices if dataset else []:
        if look_up(store, FEATURES, choice.features, ({"dataset": dataset} if dataset else {}) | taught):
            if choice is not choices[0]:
                runtime.notice(
                    f"using the finished {choice.features.precision} features; another: --set features.precision={best}"
                )
            return choice
    return choices[0]


def settle_teachers(store: Store, recipe: Recipe, source: str = "") -> tuple[Recipe, dict[str, Artifact]]:
    """Replace each teacher's id or name by what its network is made of; also the artifacts, by id.

    Args:
        source: digest of the recipe's images, where it is known.

    Raises:
        WbltrError: when there is no such artifact, it is no first stage, or one of other images or chosen on the test set.
    """
    found: dict[str, Artifact] = {}

    def settled(where: str, asked: str | Teacher) -> Teacher:
        object_id = store.resolve(asked if isinstance(asked, str) else asked.artifact)
        teacher = found[object_id] = artifact(store, object_id)
        if teacher.stage != "features":
            hint = "name a finished first stage: wbltr store ls"
            raise WbltrError(f"{where}.teacher: {object_id[:12]} is an artifact of {teacher.stage}", hint, "usage")
        own = FeaturesConfig.model_validate(dict(teacher.config))
        _check_teacher(store, f"{where}.teacher: {object_id[:12]}", own, teacher.inputs["dataset"], recipe, source)
        fields = {name: getattr(own, name) for name in Teacher.model_fields if name != "artifact"}
        return Teacher(artifact=object_id, **fields)

    update: dict[str, Any] = {}
    for name, section in (("features", recipe.features), ("classifier", recipe.classifier)):
        if section.teacher is not None:
            update[name] = section.model_copy(update={"teacher": settled(name, section.teacher)})
    for row, own in recipe.heads.items():
        if own.teacher is not None:
            teacher = settled(f"heads.{row}", own.teacher)
            update["heads"] = {**update.get("heads", recipe.heads), row: own.model_copy(update={"teacher": teacher})}
    return recipe.model_copy(update=update), found


def _check_teacher(store: Store, who: str, own: FeaturesConfig, dataset: str, recipe: Recipe, source: str) -> None:
    """Refuse a teacher that knows other images or classes, or was chosen by the test set."""
    learned = artifact(store, dataset) if store.has(dataset) else None
    if learned and (learned.config != recipe.dataset.hashed() or (source and learned.inputs.get("source") != source)):
        hint = "name one that was trained on the same dataset, or make it: wbltr train-features"
        raise WbltrError(f"{who} was trained on other images, among which may be this recipe's validation part", hint, "usage")
    if own.select == "best-test" and recipe.features.select != "best-test":
        raise WbltrError(f"{who} was chosen on the test set, and would teach it", "name one with select: last", "usage")


def source_roots(store: Store, source: str, root: Path | None) -> tuple[Path, ...]:
    """Where a known set may lie: --root, WBLTR_DATA, where earlier makes found it, the store's downloads."""
    roots = [root] if root else []
    if os.environ.get("WBLTR_DATA"):
        roots.append(Path(os.environ["WBLTR_DATA"]))
    for made in artifacts(store):
        place = made.record.get("witness", {}).get("location")
        if made.stage == "dataset" and made.config.get("source") == source and isinstance(place, str):
            roots.append(Path(place))
    return (*dict.fromkeys(roots), store.root / "downloads")

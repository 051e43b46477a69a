"""What a user brings, settled before any key: digests of a file of embeddings, of pictures. No torch here."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wbltr.config import Weights
from wbltr.dataset_config import DatasetConfig
from wbltr.errors import WbltrError, address, closest
from wbltr.pipeline import Artifact, Runtime, artifacts
from wbltr.recipe import Recipe
from wbltr.stages._earlier_parts import with_earlier_parts
from wbltr.stages._seen import seen_files
from wbltr.store import Store

if TYPE_CHECKING:
    from wbltr.data.digests import StatCache
    from wbltr.data.own_images import OwnImages

# torchvision's weights: network → name → first digits of the file's SHA-256, as the file's name has them.
PUBLISHED: Mapping[str, Mapping[str, str]] = {
    "resnet18": {"IMAGENET1K_V1": "f37072fd"},
    "resnet34": {"IMAGENET1K_V1": "b627a593"},
    "resnet50": {"IMAGENET1K_V1": "0676ba61", "IMAGENET1K_V2": "11ad3fa6"},
    "resnet101": {"IMAGENET1K_V1": "63fe2227", "IMAGENET1K_V2": "cd907fc2"},
    "resnet152": {"IMAGENET1K_V1": "394f9c45", "IMAGENET1K_V2": "f82ba261"},
    "resnext50": {"IMAGENET1K_V1": "7cdf4587", "IMAGENET1K_V2": "1a0047aa"},
}


def settle_embeddings(store: Store, recipe: Recipe, runtime: Runtime) -> tuple[str, Path | None]:
    """The SHA-256 of the recipe's file of embeddings, and the file.

    Where it is no longer there, the digest of what was made of it stands in.

    Raises:
        WbltrError: "missing" where there is neither.
    """
    path = Path(recipe.embeddings_file).expanduser()
    if path.is_file():
        if path.suffix.lower() == ".parquet" and recipe.dataset.columns is None:
            from wbltr.data.embedding_parquet import departure

            if told := departure(path):
                runtime.notice(told)
        return known_digest(store, path, "embeddings"), path
    earlier = datasets_of(store, recipe)
    if not earlier:
        if (elsewhere := address(recipe.embeddings_file)) is not None:
            raise elsewhere
        raise WbltrError(f"{path}: no such file of embeddings", "name it: --set embeddings_file=FILE", "missing")
    runtime.notice(f"{path} is not here; using the dataset {earlier[0].object_id[:12]}")
    return earlier[0].inputs["source"], None


def settle_images(store: Store, recipe: Recipe, runtime: Runtime, root: Path | None) -> tuple[str, OwnImages | None]:
    """The digest of the recipe's pictures, and what was found.

    Where they are no longer there and no other place was named, the digest of what was made of them stands in.

    Args:
        root: --root: in place of the folder, or what a table's paths start from.

    Raises:
        WbltrError: "missing" where there is neither; what `wbltr.data.own_images.look_at_own` raises.
    """
    from wbltr.data.own_images import OwnImages, look_at_own

    if isinstance(runtime.listed, OwnImages):  # whoever wrote the recipe has looked already
        return runtime.listed.content, runtime.listed
    if not recipe.images and root is None:
        told = "dataset.source: images, and the recipe does not say where they lie"
        raise WbltrError(told, "a line in it, or on the command line: images: DIR, --images DIR", "missing")
    place = Path(recipe.images) if recipe.images else Path(str(root))
    earlier = [] if root is not None or place.expanduser().exists() else datasets_of(store, recipe)
    if earlier:
        runtime.notice(f"{place} is not here; using the dataset {earlier[0].object_id[:12]}")
        return earlier[0].inputs["source"], None
    if root is None and not place.expanduser().exists() and (elsewhere := address(recipe.images)) is not None:
        raise elsewhere
    start = root or (Path(recipe.root) if recipe.root else None)
    known, section = files_seen(store, place), recipe.dataset
    how = (section.classes, section.on_bad_image, section.class_order)
    found = with_earlier_parts(store, look_at_own(place, start, known, runtime.tick, runtime.notice, *how))
    return found.content, found


def datasets_of(store: Store, recipe: Recipe) -> list[Artifact]:
    """What was made of a recipe's files by its section, the newest first; of files of one's own, those of the same place."""
    section, place = recipe.dataset.hashed(), (recipe.images, recipe.embeddings_file)
    found = [
        made
        for made in artifacts(store)
        if made.stage == "dataset" and made.config == section and _place_of(made.record.get("recipe") or {}) == place
    ]
    return sorted(found, key=lambda made: str(made.record.get("witness", {}).get("started", "")), reverse=True)


def _place_of(recipe: Mapping[str, Any]) -> tuple[str, str]:
    return str(recipe.get("images", "")), str(recipe.get("embeddings_file", ""))


def files_seen(store: Store, place: Path) -> StatCache:
    """What the store knows of the files of pictures of one's own."""
    name = hashlib.sha256(os.path.realpath(place).encode("utf-8", "surrogateescape")).hexdigest()[:16]
    return seen_files(store, f"images-{name}")


def known_digest(store: Store, path: Path, kind: str) -> str:
    """SHA-256 of a large file, 64 hex digits; read once, as long as it stays what it is.

    Args:
        kind: names the store's list of such files.

    Raises:
        WbltrError: "missing" for one that cannot be read.
    """
    from wbltr.data.digests import Seen, file_digest

    cache, place = seen_files(store, kind), os.path.realpath(path)
    try:
        stat = path.stat()
        seen = cache.get(place, stat)
        if seen is None:
            seen = Seen(file_digest(path))
            cache.put(place, stat, seen)
            cache.save()
    except OSError as error:
        raise WbltrError(f"{path}: cannot be read: {error.strerror}", "see its permissions", "missing") from None
    return seen.digest.hex()


def settle_weights(store: Store, recipe: Recipe) -> tuple[Recipe, Path | None]:
    """Replace the name or path of pretrained weights by what they are; also the file, where they are one.

    Raises:
        WbltrError: "usage" for a name that is none, "missing" for a file that is not there.
    """
    given = recipe.features.weights
    if given is None:
        return recipe, None
    if isinstance(given, Weights):  # of a record, which does not say where they lay
        known = (made.record.get("witness", {}).get("weights") for made in artifacts(store) if _starts_from(made, given))
        return recipe, next((path for path in map(Path, filter(None, known)) if _holds(store, path, given)), None)
    network = recipe.features.network
    if given in PUBLISHED[network]:
        weights, path = Weights.model_validate({"origin": given, "sha256": PUBLISHED[network][given]}), None
    else:
        path = Path(given).expanduser()
        if not path.is_file():
            names = list(PUBLISHED[network])
            hint = f"a .safetensors or .pth file; or torchvision's for {network}: {', '.join(names)}"
            told = "no regular file" if path.exists() else f"no such file.{closest(given, names)}"
            raise WbltrError(f"features.weights: {path}: {told}", hint, "missing")
        weights = Weights(origin="file", sha256=known_digest(store, path, "weights"))
    return recipe.with_features(weights=weights), path


def _holds(store: Store, path: Path, weights: Weights) -> bool:
    """Whether a file that had these weights still has them."""
    try:
        return path.is_file() and known_digest(store, path, "weights") == weights.sha256
    except WbltrError:
        return False


def _starts_from(made: Artifact, weights: Weights) -> bool:
    return made.stage == "features" and made.config.get("weights") == weights.hashed()


@dataclass(frozen=True)
class OwnFile:
    """What is known of a file of embeddings before its dataset is made.

    Attributes:
        rows, dimensions, classes: N, D and C.
        given: parts that the file names.
        square: mean squared norm of rows, over the first of them.
        counts: a dataset section → how many training rows each class will have.
        columns: those that are the embeddings; None: it has none.
        left: its other columns but label and split.
        told: which were taken, in words.
        numbered: whether its classes are whole numbers written as text.
    """

    rows: int
    dimensions: int
    classes: int
    given: frozenset[str]
    square: float
    counts: Callable[[DatasetConfig], list[int]]
    columns: tuple[str, ...] | None
    left: tuple[str, ...]
    told: str
    numbered: bool


def look_at_embeddings(path: Path, columns: str | None, drop: str | None, section: DatasetConfig) -> OwnFile:
    """Read a file through: labels, parts, and whether every number is one.

    Args:
        columns, drop: of a parquet file, what the user takes and leaves, as `wbltr.data.embedding_columns` reads it.
        section: says in which order classes count, and which columns are taken where `columns` does not.

    Raises:
        WbltrError: what is wrong with it, as `wbltr.data.embedding_files.look` says it.
    """
    import numpy as np

    from wbltr.data.class_names import all_whole
    from wbltr.data.embedding_columns import MOST_NAMED, words
    from wbltr.data.embedding_files import look
    from wbltr.stages._own_embeddings import checked_rows, drawn, training_counts

    asked, leaves = words("--columns", columns), words("--drop", drop)
    choice, taken = None, (*asked, *leaves) or section.columns  # arrays have no columns, and what is named is refused
    if path.suffix.lower() == ".parquet" and path.is_file():
        from wbltr.data.embedding_parquet import columns_of

        choice = columns_of(path, asked or section.columns or (), leaves)
        taken = choice.taken if len(choice.taken) <= MOST_NAMED else None
    file = look(path, taken, section.class_order)
    numbered = not file.named and file.tables[0].labels.text and all_whole(file.class_names)
    if numbered and "class_order" not in section.model_fields_set:
        file = look(path, taken, "number")
    for table in file.tables:
        for _ in checked_rows(table):
            pass
    block = next(iter(file.tables[0].blocks())).astype(np.float64)
    square = float((block * block).sum(1).mean())

    def counts(section: DatasetConfig) -> list[int]:
        found: list[int] = training_counts(file, drawn(section, file, str(path)), str(path)).tolist()
        return found

    given = frozenset(str(part) for part in np.unique(file.parts) if part)
    rows, dimensions, classes = len(file.labels), file.tables[0].shape[1], len(file.class_names)
    left, told = (choice.left, choice.told()) if choice is not None else ((), "")
    return OwnFile(rows, dimensions, classes, given, square or 1.0, counts, taken, left, told, numbered)

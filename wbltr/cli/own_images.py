"""`make-dataset` of somebody's own pictures: look at them, write a recipe that suits them, and make the dataset."""

from __future__ import annotations

import codecs
import os
import re
import shlex
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from wbltr.cli.answer import stop_requested, stoppable
from wbltr.cli.clash import clash, holds, refuse_clash
from wbltr.cli.class_chart import class_chart
from wbltr.cli.console import Console
from wbltr.cli.progress import Progress
from wbltr.cli.request import Request
from wbltr.cli.session import Session
from wbltr.cli.start import Verb
from wbltr.cli.writing import expanded, suffix_of, write_file
from wbltr.errors import WbltrError, address
from wbltr.pipeline import Runtime
from wbltr.recipe import Recipe
from wbltr.recipe_file import load_recipe, parse_yaml, revise_recipe, with_field
from wbltr.recipe_writer import OwnSet, dataset_choices, recipe_of, recipe_text, said
from wbltr.stages import kept_from, settle_images
from wbltr.store import Store

if TYPE_CHECKING:
    from wbltr.stages._own_images import OwnParts
    from wbltr.stages._own_recipe import Suited

VERB = Verb("make-dataset")


def make_dataset(request: Request, place: Path, out: Path | None) -> None:
    """The whole command.

    Args:
        place: the folder or the table.
        out: where the recipe goes; None: after the place's name, here.
    """
    console = Console(json=request.json, quiet=request.quiet, no_color=request.no_color)
    out = recipe_file(place, out)
    suffix_of(out, (".yaml", ".yml"))
    if not os.path.exists(os.path.expanduser(place)):  # noqa: PTH110, PTH111 - a name that is too long is not there, either
        if (elsewhere := address(place)) is not None:
            raise elsewhere
        raise WbltrError(f"{place}: no such folder or table", "name your pictures: --images DIR, or --csv FILE", "missing")
    settings = [*_flag(request), *request.set]
    # A mistyped setting comes before the work.
    recipe_of(name_after(out), str(place), "", dataset_choices(OwnSet(1, 8, False, ())), settings)
    file = out if out.is_absolute() or str(out).startswith(".") else f"./{out}"
    command = f"wbltr run --recipe {shlex.quote(str(file))}"
    table = not place.expanduser().is_dir()
    wanted = (("images", place if table else request.root or place), ("root", request.root if table else None))
    refuse_clash(out, wanted, settings, command)
    store = Store.open(request.store)
    from wbltr.stages._own_recipe import suited

    with _told(console, request) as runtime:
        found = suited(store, place, request.root, name_after(out), settings, runtime)
    images, parts = found.images, found.parts
    for line in said(found.recipe, found.choices):
        console.notice(line)
    write_recipe(out, _text(out, request, found), command, console, dry_run=request.dry_run)
    if request.dry_run:
        if request.json:
            console.document({"schema": 1, "command": VERB.name, "dry_run": True, "recipe": str(out)})
        return
    kept = [f"dataset.parts_from={found.recipe.dataset.parts_from or 'null'}"]  # as the recipe has it
    written = replace(request, recipe=f"{out.parent}/{out.name}", set=kept, on_bad_image=None, images=None, root=None)
    session = Session(VERB, written, images=images)
    made = session.make(session.chain.dataset)
    session.name_results([made])
    if request.json:
        counts = dict(zip(parts.class_names, parts.counts.tolist(), strict=True))
        console.document(session.document(made, {"recipe": str(out), "class_counts": counts}))
    else:
        console.result(made.artifact.object_id)
    if made.cached:
        from wbltr.stages._own_images import remarks

        for line in remarks(made.artifact.record["metrics"]):
            console.notice(line)
    for line in _summary(parts.class_names, parts):
        console.notice(line)
    console.notice(f"next: {command}")


def made_before(request: Request, place: Path, out: Path | None) -> Request | None:
    """The same command on the recipe that is there for this place, where its images have changed since; None: on the place.

    Args:
        place, out: as `make_dataset` has them.
    """
    out = recipe_file(place, out)
    recipe = recipe_there(out, place)
    if recipe is None or (request.set and not holds(recipe, parse_yaml(out.read_text("utf-8-sig"), out.name)[0], request.set)):
        return None
    console = Console(json=request.json, quiet=request.quiet, no_color=request.no_color)
    store = Store.open(request.store)
    with _told(console, request) as runtime:
        # In silence: what there is to say of the files is said with the command itself.
        seen = revise_recipe(recipe, _flag(request))
        _, images = settle_images(store, seen, replace(runtime, notice=lambda _: None), request.root)
    if images is None or kept_from(store, seen.dataset, images) is None:
        return None
    console.notice(f"{out} is there already, and is kept")
    return replace(request, recipe=f"{out.parent}/{out.name}", images=None, set=[])


def _flag(request: Request) -> list[str]:
    """--on-bad-image as a setting."""
    return [f"dataset.on_bad_image={request.on_bad_image}"] if request.on_bad_image else []


def recipe_file(place: Path, out: Path | None) -> Path:
    """Where the recipe goes: where --out says, or after the place's name, here."""
    return expanded(out if out is not None else Path(f"{name_after(place)}.yaml"))


def recipe_there(out: Path, place: Path) -> Recipe | None:
    """The recipe that a file holds, if it is one for this place."""
    with suppress(WbltrError, OSError, ValueError):
        recipe = load_recipe(f"{out.parent}/{out.name}")
        if recipe.dataset.source == "images" and Path(recipe.images).resolve() == expanded(place).resolve():
            return recipe
    return None


def keep_parts(session: Session) -> None:
    """Write into the recipe's file from which dataset its images keep their parts, and --on-bad-image; nothing else changes.

    Raises:
        WbltrError: code "usage" where the file cannot hold it, "disk".
    """
    kept, name = session.recipe.dataset.parts_from, str(session.request.recipe)
    before = load_recipe(name)
    flag = _flag(session.request)
    wanted = {"parts_from": kept} | ({"on_bad_image": session.request.on_bad_image} if flag else {})
    fields = {field: value for field, value in wanted.items() if getattr(before.dataset, field) != value}
    if kept is None or not fields:
        return
    settings = [text for text in session.request.set if text not in flag]
    if session.request.images is not None or any(text.strip().startswith("dataset") for text in settings):
        told = f"{name} is for other images or settings and stays as it is: here --set dataset.parts_from={kept}"
        session.console.notice(told)
        return
    path = Path(name).resolve()
    data = path.read_bytes()
    mark = codecs.BOM_UTF8 if data.startswith(codecs.BOM_UTF8) else b""
    text = data.decode("utf-8-sig")
    for field, value in fields.items():
        text = with_field(text, "dataset", field, f'"{value}"')
    write_file(path, mark + text.encode())
    after = before.model_copy(update={"dataset": before.dataset.model_copy(update=fields)})
    if load_recipe(name) != after:
        write_file(path, data)
        hint = f"write it yourself, below dataset: {', '.join(f'{field}: {value}' for field, value in fields.items())}"
        raise WbltrError(f"{name}: cannot take in {', '.join(f'dataset.{field}' for field in fields)}", hint, "usage")
    told = ", ".join(f"dataset.{field} is now {str(value)[:12]}" for field, value in fields.items())
    session.console.notice(f"{name}: {told}; nothing else has changed")


@contextmanager
def _told(console: Console, request: Request) -> Iterator[Runtime]:
    """A runtime whose progress is shown, and which a signal stops."""
    progress = Progress(console)

    def tick(done: int, total: int) -> None:
        if (stop := stop_requested()) is not None:
            raise stop
        if total > 0:
            progress.advance(done, total)

    progress.begin("images", cached=False)
    try:
        with stoppable():
            yield Runtime(threads=request.threads, tick=tick, notice=progress.notice, begin=progress.begin)
    finally:
        progress.end()


def name_after(place: Path) -> str:
    """A recipe's name after a folder or file."""
    stem = (
        place.stem
        if place.suffix.lower() in (".csv", ".tsv", ".txt", ".yaml", ".yml", ".npz", ".safetensors", ".parquet")
        else place.absolute().name
    )
    return re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-._")[:80] or "my-dataset"


def _text(out: Path, request: Request, found: Suited) -> str:
    """The recipe's text; its places relative to the file where they lie beside or below it."""
    images, home = found.images, out.parent.resolve()

    def near(path: Path) -> str:
        return os.path.relpath(path, home) if path.is_relative_to(home) else str(path)

    table = images.place != images.root
    root = near(images.root) if table and request.root is not None else ""
    title = (
        f"Written by wbltr make-dataset for {len(images.files.paths):,} pictures of {len(found.parts.class_names)} classes; "
        "yours to change.\nThe reasons stand beside the values; what is not written here has its default: wbltr recipe show."
    )
    return recipe_text(found.recipe, found.choices, title, near(images.place), root)


def write_recipe(out: Path, text: str, command: str, console: Console, *, dry_run: bool) -> None:
    """Write the recipe, unless it is there already as it would be written.

    Raises:
        WbltrError: code "usage" where a file of that name says something else.
    """
    try:
        content = text.encode()
        there = out.read_bytes() if out.exists() else None
    except UnicodeEncodeError:
        raise WbltrError("the pictures' place is not named in Unicode text", "rename the folder", "usage") from None
    except OSError as error:
        raise WbltrError(f"{out}: cannot be read: {error.strerror}", "name another: --out FILE", "usage") from None
    if there is None and dry_run:
        console.notice(f"would write {out} and make the dataset")
    elif there is None:
        write_file(out, content)
        console.notice(f"written: {out}")
    elif there == content:
        console.notice(f"{out} is there already, as it would be written")
    else:
        raise clash(out, "", command)


def _summary(names: Sequence[str], parts: OwnParts) -> list[str]:
    """Counts and a bar for each class."""
    counts: list[int] = parts.counts.tolist()
    largest, smallest = max(counts), min(counts)
    shown = {part: f"{part} {len(rows):,}" for part, rows in parts.rows.items()}
    lines = [
        f"{', '.join(shown.values())} pictures of {len(names)} classes",
        f"largest class {names[counts.index(largest)]} with {largest:,} training pictures, smallest "
        f"{names[counts.index(smallest)]} with {smallest:,}: imbalance factor {largest / smallest:.3g}",
    ]
    terminal = sys.stderr.isatty()
    width = shutil.get_terminal_size().columns if terminal else 80
    return [*lines, *class_chart(names, counts, width, block="█" if terminal else "#")]

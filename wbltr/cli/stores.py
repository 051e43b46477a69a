"""The verbs of `wbltr store`: what was made, why, whether it is sound, and its end. None of them imports torch."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wbltr.cli.completing import refs
from wbltr.cli.options import EVERYWHERE, verb
from wbltr.cli.request import Request
from wbltr.errors import WbltrError

if TYPE_CHECKING:
    from wbltr.cli.console import Console
    from wbltr.store import Store

store = typer.Typer(help="What was made, and whether it is sound.", no_args_is_help=True)


Named = Annotated[str, typer.Argument(metavar="ID|REF", autocompletion=refs)]
Asked = Annotated[str, typer.Argument(metavar="KEY|ID|REF", autocompletion=refs)]
Yes = Annotated[bool, typer.Option("--yes", help="Do it; else it is only said.")]
ACT = "nothing was removed: add --yes"
ASIDE = {
    "corrupt": "what failed its digest, kept as evidence; yours to remove",
    "downloads": "archives that can be downloaded again; yours to remove",
    "tmp": "what is being written; the rest goes a day after its process",
}
BESIDE = ("runs", "studies", *ASIDE)


def console_of(request: Request) -> Console:
    """The console that a request asks for."""
    from wbltr.cli.console import Console

    return Console(json=request.json, quiet=request.quiet, no_color=request.no_color)


def opened(request: Request) -> Store:
    """The store that a request means; it must be there."""
    from wbltr.store import Store

    return Store.open(request.store, create=False)


@verb(store, "store ls", EVERYWHERE)
def store_ls(request: Request) -> None:
    """Example:  wbltr store ls

    Every artifact: id, stage, size, recipe.
    """
    from wbltr.pipeline import artifacts

    store = opened(request)
    names: dict[str, list[str]] = {}
    for name, object_id in store.refs().items():
        names.setdefault(object_id, []).append(name)
    listed = []
    for made in artifacts(store):
        object_id, record = made.object_id, made.record
        witness = record.get("witness", {})
        listed.append(
            {
                "artifact": object_id,
                "key": made.key,
                "stage": made.stage,
                "bytes": store.size(object_id),
                "recipe": (record.get("recipe") or {}).get("name"),
                "started": witness.get("started", ""),
                "seconds": witness.get("seconds"),
                "refs": names.get(object_id, []),
            }
        )
    listed.sort(key=lambda row: str(row["started"]))
    if request.json:
        console_of(request).document({"schema": 1, "command": "store ls", "artifacts": listed})
        return
    rows = [
        (row["artifact"][:12], row["stage"], megabytes(row["bytes"]), row["recipe"] or "", ", ".join(row["refs"]))
        for row in listed
    ]
    total = sum(row["bytes"] for row in {r["artifact"]: r for r in listed}.values())
    console_of(request).table(("id", "stage", "size", "recipe", "refs"), rows, f"{store.root}: {megabytes(total)}")


@verb(store, "store show", EVERYWHERE)
def store_show(request: Request, artifact: Named) -> None:
    """Example:  wbltr store show latest/head

    The record of an artifact: what was asked, how it came to be.
    """
    import yaml

    from wbltr import pipeline

    store = opened(request)
    record = pipeline.artifact(store, store.resolve(artifact)).record
    if request.json:
        console_of(request).document({"schema": 1, "command": "store show", "record": record})
    else:
        console_of(request).result(yaml.safe_dump(dict(record), sort_keys=False, allow_unicode=True).rstrip())


@verb(store, "store du", EVERYWHERE)
def store_du(request: Request) -> None:
    """Example:  wbltr store du

    Bytes by stage and recipe, and what lies beside the objects.
    """
    from wbltr.pipeline import artifacts
    from wbltr.store.links import links_of

    store = opened(request)
    recipes = {made.object_id: (made.record.get("recipe") or {}).get("name") or "" for made in artifacts(store)}
    objects: dict[tuple[str, str], list[int]] = {}
    for object_id, header in links_of(store).headers.items():
        stage = str(header["stage"]) if header else "of a newer wbltr"
        objects.setdefault((stage, recipes.get(object_id, "")), []).append(store.size(object_id))
    beside = {name: size for name in BESIDE if (size := _folder_size(store.root / name))}
    total = sum(sum(sizes) for sizes in objects.values()) + sum(beside.values())
    if request.json:
        listed = [
            {"stage": stage, "recipe": recipe or None, "objects": len(sizes), "bytes": sum(sizes)}
            for (stage, recipe), sizes in sorted(objects.items())
        ]
        document = {"schema": 1, "command": "store du", "store": str(store.root), "bytes": total}
        console_of(request).document(document | {"objects": listed, "beside": beside})
        return
    rows = [(stage, recipe, str(len(sizes)), megabytes(sum(sizes))) for (stage, recipe), sizes in sorted(objects.items())]
    rows += [(f"{name}/", "", "", megabytes(size)) for name, size in beside.items()]
    console_of(request).table(("stage", "recipe", "objects", "size"), rows, f"{store.root}: {megabytes(total)}")


@verb(store, "store why", EVERYWHERE)
def store_why(
    request: Request,
    first: Asked,
    second: Asked,
) -> None:
    """Example:  wbltr store why latest/head mine/head

    In which fields two artifacts were asked for differently, down to what they stand on.
    """
    from wbltr.store.why import differences

    store = opened(request)
    one, other = store.resolve(first), store.resolve(second)
    found = differences(store, one, other)
    if request.json:
        listed = [{"field": field, "first": mine, "second": yours} for field, mine, yours in found]
        ids = {"first": one, "second": other}
        console_of(request).document({"schema": 1, "command": "store why", **ids, "differences": listed})
    elif found:
        rows = [(field, short(mine), short(yours)) for field, mine, yours in found]
        console_of(request).table(("field", one[:12], other[:12]), rows)
    elif one == other:
        console_of(request).result(f"both are {one[:12]}")
    else:
        console_of(request).result(f"{one[:12]} and {other[:12]} answer the same request: it was computed twice")


@verb(store, "store rm", EVERYWHERE)
def store_rm(request: Request, artifact: Named, yes: Yes = False) -> None:
    """Example:  wbltr store rm mine/half --yes

    Remove one artifact with its record and its names, unless something stands on it. Without --yes it only says so.
    """
    from wbltr.store.garbage import all_refs, remove_object
    from wbltr.store.links import links_of

    store = opened(request)
    object_id = store.resolve(artifact)
    links = links_of(store)
    names = [name for name, meant in all_refs(store) if meant == object_id]
    own = [name.removeprefix(f"{store.workspace}/") for name in names if name.startswith(f"{store.workspace}/")]
    lines = [f"{kind_of(store, other)} {other[:12]} stands on it" for other in links.above(object_id)]
    lines += [f"another workspace names it: {name}" for name in names if not name.startswith(f"{store.workspace}/")]
    live = store.live_claims().items()
    lines += [f"what is being computed for {key[:12]} stands on it" for key, inputs in live if object_id in inputs]
    if lines:
        told = "\n".join(f"{artifact}: not removed: {line}" for line in lines)
        raise WbltrError(told, "remove those first; what nothing needs any more goes with: wbltr store gc", "usage")
    size = store.size(object_id)
    words = ", ".join((f"{kind_of(store, object_id)} {object_id[:12]}", megabytes(size), *own))
    if yes:
        for name in own:
            store.unset_ref(name)
        remove_object(store, object_id, [key for key, meant in links.records.items() if meant == object_id])
    if request.json:
        document = {"schema": 1, "command": "store rm", "artifact": object_id, "bytes": size, "refs": own, "removed": yes}
        console_of(request).document(document)
    else:
        console_of(request).result(f"removed: {words}" if yes else f"would remove: {words}\n{ACT}")


@verb(store, "store gc", EVERYWHERE)
def store_gc(
    request: Request,
    older_than: Annotated[float, typer.Option(help="Keep what was touched in the last days.", metavar="DAYS", min=0)] = 14.0,
    yes: Yes = False,
) -> None:
    """Example:  wbltr store gc --yes

    Remove what no name, no running command and nothing young stands on. Without --yes it only says what.
    """
    from wbltr.store.garbage import find_garbage, remove

    store = opened(request)
    garbage = find_garbage(store, older_than * 86400)
    kinds = {piece.name: kind_of(store, piece.name) if piece.kind == "object" else piece.kind for piece in garbage.pieces}
    pieces = list(remove(store, garbage)) if yes else list(garbage.pieces)
    total = sum(piece.size for piece in pieces)
    aside = {name: size for name in ASIDE if (size := _folder_size(store.root / name))}
    if request.json:
        listed = [
            {"kind": piece.kind, "name": piece.name, "bytes": piece.size}
            | ({"stage": kinds[piece.name]} if piece.kind == "object" else {})
            for piece in pieces
        ]
        document = {"schema": 1, "command": "store gc", "removed": yes, "bytes": total, "pieces": listed, "aside": aside}
        console_of(request).document(document)
        return
    for name, size in aside.items():
        console_of(request).notice(f"{name}/ has {megabytes(size)}: {ASIDE[name]}")
    if not pieces:
        console_of(request).result("nothing to remove")
        return
    rows = [
        (piece.name[:12] if piece.kind != "download" else piece.name, kinds[piece.name], megabytes(piece.size))
        for piece in pieces
    ]
    caption = f"removed: {megabytes(total)}" if yes else f"would remove: {megabytes(total)}\n{ACT}"
    console_of(request).table(("id", "what", "size"), rows, caption)


@verb(store, "store verify", EVERYWHERE)
def store_verify(
    request: Request,
    rebuild: Annotated[bool, typer.Option("--rebuild", help="Write missing records again, from the objects.")] = False,
) -> None:
    """Example:  wbltr store verify

    Read every object and compare its digest; what fails is moved to corrupt/.
    """
    from wbltr.cli.console import harmless
    from wbltr.store import rebuild as rebuilding
    from wbltr.store.links import links_of

    store = opened(request)
    console = console_of(request)
    checked = {object_id: store.verify(object_id) for object_id in store.objects()}
    damaged = [object_id for object_id, sound in checked.items() if not sound]
    rebuilt = rebuilding.rebuild(store) if rebuild else []
    missing = [] if rebuild else rebuilding.unrecorded(store, links_of(store))
    if damaged:
        lines = "\n".join(f"object {object_id}: its bytes are not what its name promises" for object_id in damaged)
        raise WbltrError(lines, "they were moved to corrupt/; the command that made them makes them again", "integrity")
    aside = sorted(path.name for path in (store.root / "corrupt").glob("*"))
    if request.json:
        document = {"schema": 1, "command": "store verify", "objects": len(checked), "damaged": []}
        console.document(document | {"quarantined": aside, "unrecorded": missing, "rebuilt": rebuilt})
        return
    console.result(f"{len(checked)} objects, all sound")
    for name in aside:
        console.result(f"set aside earlier: corrupt/{harmless(name)}")
    if rebuilt:
        console.result(f"records written again: {len(rebuilt)}; what was measured is in none of them")
    if missing:
        console.notice(f"finished requests without a record: {len(missing)}; write them again: wbltr store verify --rebuild")


Url = Annotated[str, typer.Argument(metavar="URL", help="A folder, or s3://bucket/path.")]
Names = Annotated[
    list[str] | None, typer.Argument(metavar="REF|ID", help="Default: all that a ref means.", autocompletion=refs)
]


@verb(store, "store push", ("dry_run", *EVERYWHERE))
def store_push(request: Request, url: Url, names: Names = None) -> None:
    """Example:  wbltr store push s3://bucket/path latest/head

    Send artifacts with all that they stand on to another store; what is there already is not sent.
    """
    from wbltr.cli import remotes

    remotes.push(request, url, names or [])


@verb(store, "store pull", ("dry_run", *EVERYWHERE))
def store_pull(request: Request, url: Url, names: Names = None) -> None:
    """Example:  wbltr store pull s3://bucket/path

    Fetch artifacts with all that they stand on from another store; each one's SHA-256 is checked.
    """
    from wbltr.cli import remotes

    remotes.pull(request, url, names or [])


def kind_of(store: Store, object_id: str) -> str:
    """An object's stage, in as far as it can be read."""
    with suppress(WbltrError):
        return str(store.header(object_id)["stage"])
    return "object"


def megabytes(size: int) -> str:
    """Bytes in words."""
    return f"{size / 1e6:.1f} MB"


def short(value: object) -> str:
    """A value of a request; of a digest the first digits."""
    if isinstance(value, str):
        return value[:12] if len(value) == 64 else value
    return json.dumps(value)


def _folder_size(folder: Path) -> int:
    size = 0
    for path in folder.rglob("*"):
        with suppress(OSError):
            size += path.stat().st_size if path.is_file() else 0
    return size


def status(request: Request) -> None:
    """The store and the latest artifact of each stage."""
    from wbltr.cli.console import age
    from wbltr.pipeline import artifact

    store = opened(request)
    rows = []
    for name, object_id in store.refs().items():
        if store.has(object_id):
            record = artifact(store, object_id).record
            recipe = (record.get("recipe") or {}).get("name", "")
            rows.append((name, object_id[:12], recipe, age(store.ref_age(name) or 0.0)))
    if request.json:
        listed = [{"ref": r[0], "artifact": r[1], "recipe": r[2]} for r in rows]
        console_of(request).document({"schema": 1, "command": "status", "store": str(store.root), "latest": listed})
        return
    console_of(request).table(("ref", "id", "recipe", ""), rows, f"store {store.root}")

"""`predict`: classes and probabilities of images, a row or a line each as they are computed."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from wbltr.cli.console import BYTES, Console, harmless, json_line
from wbltr.cli.progress import Progress
from wbltr.cli.request import Request
from wbltr.cli.served import exported_folder, find, serving_verb
from wbltr.cli.session import Session
from wbltr.cli.writing import expanded, suffix_of, unfinished
from wbltr.errors import WbltrError, closest

if TYPE_CHECKING:
    from wbltr.serving.about import About
    from wbltr.serving.answers import Answer
    from wbltr.serving.model import Predictor

Kind = Literal["table", "csv", "jsonl"]
KINDS: tuple[Kind, ...] = get_args(Kind)
COLUMNS = ("path", "rank", "class", "probability", "error")
NAMED = 20  # images that could not be read and are named at the end


def predict(request: Request, paths: Sequence[str], top: int, kind: str | None, out: Path | None, trust: bool) -> None:
    """Tell the class of every image that is named, lies in a folder that is named, or is named on stdin."""
    chosen = _kind(kind, out, request.json)
    if "-" in paths and request.start == "-":
        raise WbltrError("PATH - and --from -: both would read stdin", "name one of them", "usage")
    console = Console(json=request.json, quiet=request.quiet, no_color=request.no_color)
    about, model = _model(request, trust)

    from wbltr.serving.answers import answers

    left_out: list[str] = []
    progress, named = Progress(console), _paths(paths, console, left_out)
    known = None if "-" in paths else [*named]
    images, unread = 0, list[str]()

    def advance(done: int) -> None:
        if known is not None:
            progress.advance(done, len(known))

    if known and not (sys.stdout.isatty() and out is None and chosen != "table"):  # rows on the terminal show it themselves
        progress.begin("images", cached=False)
    with _writer(console, chosen, out, about.calibrated) as write:
        for answer in answers(about, model, named if known is None else known, top, advance):
            images += 1
            if answer.why:
                unread.append(f"{harmless(answer.path)}: {answer.why}" if len(unread) < NAMED else "")
            write(answer)
        progress.end()
    if out is not None and request.json:
        console.document({"schema": 1, "command": "predict", "out": str(out), "images": images, "unread": len(unread)})
    elif out is not None:
        console.result(str(out), one_line=True)
    if not images:
        there = f"; passed over {'; '.join(left_out)}" if left_out else ""
        hint = "name images, or folders of images: wbltr predict PATH…"
        raise WbltrError(f"no images in what is named{there}", hint, "missing")
    if unread:
        more = [f"and {len(unread) - NAMED:,} more"] if len(unread) > NAMED else []
        hint = f"{len(unread):,} of {images:,} images could not be read"
        hint += "; the others are answered" if len(unread) < images else ""
        raise WbltrError("\n".join([*unread[:NAMED], *more]), hint, "integrity")


def _kind(kind: str | None, out: Path | None, as_json: bool) -> Kind:
    """The form of the rows: --format, else by the ending of --out, else a table; --json means JSON lines."""
    if kind is not None and kind not in KINDS:
        raise WbltrError(f"--format: no format '{kind}'.{closest(kind, list(KINDS))}", f"one of {', '.join(KINDS)}", "usage")
    asked = kind or ("jsonl" if as_json else None)
    if as_json and asked != "jsonl":
        raise WbltrError(f"--json: prints JSON lines, not {asked}", "leave out --json or --format", "usage")
    ending = None if out is None else suffix_of(out, (".csv", ".jsonl")).removeprefix(".")
    if ending is not None and asked not in (None, ending):
        raise WbltrError(f"--out {out}: its ending says {ending}, not {asked}", f"--format {ending}", "usage")
    return next(known for known in KINDS if known == (ending or asked or "table"))


def _paths(named: Sequence[str], console: Console, left_out: list[str]) -> Iterator[str]:
    """What is named, in order: an image as it is, of a folder its images, of `-` the lines of stdin.

    Args:
        left_out: gets what was passed over, in words.
    """
    from wbltr.serving.images import below

    passed, linked = list[str](), list[str]()
    for name in named:
        if name == "-":
            if isinstance(sys.stdin, io.TextIOWrapper):
                sys.stdin.reconfigure(newline="\n")  # a carriage return within a name is part of it
            yield from (line.removesuffix("\n").removesuffix("\r") for line in sys.stdin if line.strip())
        elif os.path.isdir(name):  # noqa: PTH112 - a NUL in a name is no error here
            yield from below(name, passed.append, linked.append)
        else:
            yield name
    for over, what in ((passed, "what is no image"), (linked, "links to folders, which are not followed")):
        if over:
            more = f" and {len(over) - 1:,} more" if len(over) > 1 else ""
            left_out.append(f"{what}: {over[0]}{more}")
            console.notice(f"passed over {left_out[-1]}")


def _model(request: Request, trust: bool) -> tuple[About, Predictor]:
    """What is known of the model, and the model: an exported folder's, which needs no store, or out of the store."""
    folder = exported_folder(request)
    if folder is None:
        session = Session(serving_verb("predict"), request)

        from wbltr.machine import prepare
        from wbltr.serving.model import guarded, predictor

        found = find(session)
        model = predictor(found.model, prepare(request.device, request.threads))
        return found.about, guarded(model, found.about, f"head {found.used.object_id[:12]}")

    from wbltr.serving.about import read_about
    from wbltr.serving.folder import opened

    about = read_about(folder)
    where = str(folder / about.file)
    if about.format == "torch-export" and not trust:
        hint = "if you trust whoever wrote it: --trust; else have it exported as safetensors or onnx"
        raise WbltrError(f"{where}: a torch.export archive is a program: reading it runs what it holds", hint, "usage")

    from wbltr.machine import prepare
    from wbltr.serving.formats import load
    from wbltr.serving.model import cost

    data = opened(folder, about, cost(about).most_bytes)
    return about, load(about, data, where, prepare(request.device, request.threads))


@contextmanager
def _writer(console: Console, kind: Kind, out: Path | None, calibrated: bool) -> Iterator[Callable[[Answer], None]]:
    """What is called with every answer, in order; --out gets its name at the end, and not at all after a failure."""
    if kind == "table":
        rows: list[tuple[str, ...]] = []
        yield lambda answer: rows.extend(_table_rows(answer))
        if rows:
            console.table(("image", "class", "%"), rows, "" if calibrated else "probabilities are not calibrated")
        return
    from wbltr.report.formats import csv_line

    with _line(console, out) as line:

        def write(answer: Answer) -> None:
            for text in map(csv_line, _csv_rows(answer)) if kind == "csv" else [json_line(_document(answer, calibrated))]:
                line(text)

        if kind == "csv":
            line(csv_line(COLUMNS))
        yield write


@contextmanager
def _line(console: Console, out: Path | None) -> Iterator[Callable[[str], object]]:
    """What writes a line, to a file or to stdout."""
    if out is None:
        console.carry_data()
        yield partial(console.result, one_line=True)
        return
    with unfinished(expanded(out)) as temporary, temporary.open("w", encoding="utf-8", errors=BYTES, newline="") as file:
        yield lambda text: file.write(f"{text}\n")


def _table_rows(answer: Answer) -> list[tuple[str, ...]]:
    """One row a class; the image is named in its first."""
    names = [answer.path, *[""] * len(answer.classes)]
    return [(name, label, f"{100 * value:.1f}") for name, (label, value) in zip(names, answer.classes, strict=False)]


def _csv_rows(answer: Answer) -> Iterator[Sequence[object]]:
    """One row a class; of an image that was not read one row that says why."""
    if answer.why:
        yield answer.path, "", "", "", answer.why
    for rank, (label, value) in enumerate(answer.classes, 1):
        yield answer.path, rank, label, f"{value:.6f}", ""


def _document(answer: Answer, calibrated: bool) -> dict[str, Any]:
    told: dict[str, Any] = {"schema": 1, "command": "predict", "path": answer.path}
    if answer.why:
        return told | {"error": {"code": "integrity", "message": answer.why, "hint": ""}}
    top = [{"class": label, "probability": round(value, 6)} for label, value in answer.classes]
    return told | top[0] | {"calibrated": calibrated, "top": top}

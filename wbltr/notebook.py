"""The same chain from Python: `wbltr.run` and `wbltr.load`, with the store and the cache of the commands.

>>> import wbltr
>>> made = wbltr.run("digits-ir50")  # doctest: +SKIP
>>> made["tau"].accuracy["few"]  # doctest: +SKIP
>>> wbltr.load("latest/head").tensors["head.weight"]  # doctest: +SKIP
"""

from __future__ import annotations

import html
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wbltr.cli.answer import guest
from wbltr.cli.console import harmless, number
from wbltr.cli.making import RUN
from wbltr.cli.request import Request
from wbltr.cli.rows import COLUMNS, made
from wbltr.cli.session import Session
from wbltr.errors import Stopped, WbltrError
from wbltr.pipeline import Artifact, artifact, artifacts
from wbltr.report.results import accuracies, eval_document
from wbltr.report.words import head_words, label
from wbltr.stages import CARRY_A_HEAD
from wbltr.store import Store

if TYPE_CHECKING:
    from torch import Tensor

Accuracy = Mapping[str, float | None]  # `all`, `many`, `medium`, `few` in per cent; None where a split is empty


class _Table:
    """Something that shows itself as a small table, in a terminal and in a notebook."""

    def _title(self) -> str:
        raise NotImplementedError

    def _lines(self) -> Sequence[tuple[str, Accuracy]]:
        raise NotImplementedError

    def __repr__(self) -> str:
        cells = [(harmless(name), *(number(accuracy.get(c)) for c in COLUMNS[1:])) for name, accuracy in self._lines()]
        title = harmless(self._title())
        if not cells:
            return title
        widths = [max(map(len, column)) for column in zip(COLUMNS, *cells, strict=True)]
        shown = [title]
        for first, *figures in (COLUMNS, *cells):
            shown.append("  ".join([first.ljust(widths[0]), *(f.rjust(w) for f, w in zip(figures, widths[1:], strict=True))]))
        return "\n".join(shown)

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{column}</th>" for column in COLUMNS)
        body = "".join(
            f"<tr><th>{html.escape(name)}</th>" + "".join(f"<td>{number(accuracy.get(c))}</td>" for c in COLUMNS[1:]) + "</tr>"
            for name, accuracy in self._lines()
        )
        table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>" if body else ""
        return f"<div><p>{html.escape(self._title())}</p>{table}</div>"


class Result(_Table):
    """One artifact of a store.

    Attributes:
        id: the object's SHA-256, hexadecimal.
        stage: what made it: dataset, features, finetune, embeddings, classifier, sweep, posthoc or eval.
        recipe: name of the recipe that it was made for; empty where the record does not say.
        config: the settings of its stage.
        metrics: what its stage reported.
        inputs: name → id of what it was made from.
    """

    def __init__(self, store: Store, found: Artifact) -> None:
        self._store = store
        self.id = found.object_id
        self.stage = found.stage
        self.recipe = str((found.record.get("recipe") or {}).get("name", ""))
        self.config = found.config
        self.metrics: Mapping[str, Any] = found.record.get("metrics", {})
        self.inputs = found.inputs

    @cached_property
    def tensors(self) -> Mapping[str, Tensor]:
        """Name → tensor on the CPU, as the stage's docstring lists them; read, and torch imported, when first asked for."""
        import torch

        with _as_in_python():
            return {name: torch.from_numpy(array) for name, array in self._store.load(self.id).items()}

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes in label order; empty where the artifact does not hold them."""
        with _as_in_python():
            found = self._store.load(self.id, ("class_names",))
        return tuple(json.loads(bytes(found["class_names"]))) if found else ()

    @cached_property
    def accuracy(self) -> Accuracy | None:
        """Per cent, of an eval its own, of a head that of its newest eval in the store; None where there is none."""
        with _as_in_python():
            measured = self if self.stage == "eval" else self._newest_eval()
            return None if measured is None else accuracies(self._store.load(measured.id, ("accuracy.",)))

    @cached_property
    def measures(self) -> Mapping[str, Any]:
        """Of an eval: all that `wbltr eval --json` says; of others nothing."""
        with _as_in_python():
            return eval_document(self._store.load(self.id), self.config) if self.stage == "eval" else {}

    def _newest_eval(self) -> Result | None:
        """The eval of this head that was begun last."""
        evals = [a for a in artifacts(self._store) if a.stage == "eval" and a.inputs.get("head") == self.id]
        evals = [found for found in evals if self._store.has(found.object_id)]
        evals.sort(key=lambda found: str(found.record.get("witness", {}).get("started", "")))
        return Result(self._store, evals[-1]) if evals else None

    def input(self, name: str) -> Result:
        """What it was made from, such as `head` of an eval.

        Raises:
            WbltrError: code "usage" for a name that it does not have, "missing" where the store has it no more.
        """
        with _as_in_python():
            if name not in self.inputs:
                told = f"{self.stage} {self.id[:12]} was not made from a '{name}'"
                raise WbltrError(told, f"it was made from: {', '.join(self.inputs) or 'nothing'}", "usage")
            return Result(self._store, artifact(self._store, self.inputs[name]))

    def _title(self) -> str:
        what = f": {head_words(self.stage, self.config, self.metrics)}" if self.stage in CARRY_A_HEAD else ""
        return f"{self.stage} {self.id[:12]}" + (f" of {self.recipe}" if self.recipe else "") + what

    def _lines(self) -> Sequence[tuple[str, Accuracy]]:
        return [("accuracy, %", self.accuracy)] if self.accuracy is not None else []


@dataclass(frozen=True, repr=False)
class Run(_Table):
    """What `wbltr.run` made.

    Attributes:
        recipe: its name.
        rows: row of the recipe → its evaluation, in order; `made["tau"]` is one of them.
        loss: of the class-balanced rows, for their names.
    """

    recipe: str
    rows: Mapping[str, Result]
    loss: str

    def __getitem__(self, row: str) -> Result:
        return self.rows[row]

    def __iter__(self) -> Iterator[str]:
        return iter(self.rows)

    @property
    def last(self) -> Result:
        """The evaluation of the last row."""
        return list(self.rows.values())[-1]

    @property
    def head(self) -> Result:
        """The head of the last row."""
        return self.last.input("head")

    @property
    def accuracy(self) -> Accuracy:
        """The last row's, per cent."""
        return self.last.accuracy or {}

    def _title(self) -> str:
        return f"{self.recipe}: accuracy on {self.last.config['on']}, per cent, mean over classes"

    def _lines(self) -> Sequence[tuple[str, Accuracy]]:
        return [(label(row, self.loss), result.accuracy or {}) for row, result in self.rows.items()]


def run(
    recipe: str | PathLike[str],
    *,
    store: str | PathLike[str] | None = None,
    root: str | PathLike[str] | None = None,
    name: str | None = None,
    seed: int | None = None,
    device: str = "auto",
    threads: int | None = None,
    force: bool = False,
    quiet: bool = False,
    **overrides: Any,
) -> Run:
    """Make every row of a recipe, as `wbltr run` does; what is finished comes from the store.

    Args:
        recipe: a recipe's name, or the path of a YAML file.
        store, root, name, seed, device, threads, force, quiet: as the options of the command.
        overrides: fields of the recipe by section, such as `features={"epochs": 1}`, and `rows=[…]`.

    Raises:
        WbltrError: as the command would end; its hint is a note of the exception.
        KeyboardInterrupt: after Ctrl-C; what is done is kept, and the same call goes on from there.

    >>> import wbltr
    >>> wbltr.run("digits-ir50", features={"epochs": 1}, rows=["first stage", "tau"])  # doctest: +SKIP
    """
    text = str(Path(recipe)) if isinstance(recipe, PathLike) else recipe
    if isinstance(recipe, PathLike) and "/" not in text:
        text = f"./{text}"
    request = Request(
        recipe=text,
        set=[setting for section, value in overrides.items() for setting in _settings(section, value)],
        store=None if store is None else Path(store),
        root=None if root is None else Path(root),
        name=name,
        seed=seed,
        device=device,
        threads=threads,
        force=force,
        quiet=quiet,
    )
    with _as_in_python():
        session = Session(RUN, request)
        rows = made(session)
        found: dict[str, Result] = {row: Result(session.store, one.artifact) for row, one in rows.every.items()}
        return Run(session.recipe.name, found, session.recipe.classifier.loss)


def load(ref: str, *, store: str | PathLike[str] | None = None) -> Result:
    """An artifact by its name, such as `latest/head`, or the first digits of its id.

    Raises:
        WbltrError: where there is no store, or no such artifact in it.
    """
    with _as_in_python():
        opened = Store.open(None if store is None else Path(store), create=False)
        return Result(opened, artifact(opened, opened.resolve(ref)))


def _settings(section: str, value: Any) -> list[str]:
    """`--set` texts of one argument; JSON is YAML."""
    if not isinstance(value, Mapping):
        return [f"{section}={_json(section, value)}"]
    return [f"{section}.{field}={_json(f'{section}.{field}', inner)}" for field, inner in value.items()]


def _json(where: str, value: Any) -> str:
    try:
        return json.dumps(value, default=lambda other: other.item())  # NumPy's and torch's numbers
    except (TypeError, ValueError, AttributeError) as error:
        raise WbltrError(f"{where}: expected numbers, words, lists or mappings, found {value!r:.60}", code="usage") from error


@contextmanager
def _as_in_python() -> Iterator[None]:
    """Ctrl-C is a KeyboardInterrupt; an error shows its hint."""
    try:
        with guest():
            yield
    except Stopped as stop:
        raise KeyboardInterrupt(stop.message) from None
    except WbltrError as error:
        if error.hint and error.hint not in getattr(error, "__notes__", []):
            error.add_note(error.hint)
        raise

"""The only file that prints. Results go to stdout, everything else to stderr; text from users is never markup."""

from __future__ import annotations

import contextlib
import io
import json as json_module
import os
import shutil
import sys
import textwrap
import time
import unicodedata
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import rich.console
    import rich.progress

    from wbltr.errors import WbltrError

PLAIN_EVERY = 10.0  # seconds between progress lines where there is no terminal
RATE_OVER = 10.0  # seconds; a rate is that of the last one or two such stretches


def harmless(text: str) -> str:
    """Text with control characters (escape codes, newlines, direction overrides) made visible."""
    return "".join(c if unicodedata.category(c) not in ("Cc", "Cf", "Cs") else repr(c)[1:-1] for c in text)


def number(value: float | None, digits: int = 1) -> str:
    """A figure of a table; what does not exist is n/a, never 0."""
    return "n/a" if value is None else f"{value:.{digits}f}"


class Console:
    """Prints for one command.

    Args:
        json: print one document instead of a result for people.
        quiet: nothing but the result, and errors.
        no_color: no colours, no moving parts; NO_COLOR and TERM=dumb do the same.
    """

    def __init__(self, *, json: bool = False, quiet: bool = False, no_color: bool = False) -> None:
        self.json = json
        self.quiet = quiet
        self.plain = no_color or bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
        self._stage = ""
        self._started = 0.0
        self._first = (0.0, 0)  # when and at which image the stretch began that the rate is taken of
        self._next_first = (0.0, 0)
        self._last_line = 0.0
        self._metrics: Mapping[str, Any] = {}
        self._progress: rich.progress.Progress | None = None
        self._task: rich.progress.TaskID | None = None

    def _rich(self, *, stderr: bool) -> rich.console.Console:
        from rich.console import Console

        return Console(stderr=stderr, no_color=self.plain, highlight=False, markup=False, soft_wrap=True)

    @staticmethod
    def accept_any_text() -> None:
        """Let a terminal that cannot show a character see its code instead of an error."""
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")

    # Words

    def notice(self, text: str) -> None:
        """A line for the user: what was guessed, what happens, what comes next."""
        if self.quiet:
            return
        line = harmless(text)
        if sys.stderr.isatty():
            # Wrapped between words; a pipe or a file gets the line whole.
            width = shutil.get_terminal_size().columns
            line = textwrap.fill(line, max(width, 20), subsequent_indent="    ", replace_whitespace=False)
        if self._progress is not None:
            self._progress.console.print(line, markup=False, highlight=False)
        else:
            print(line, file=sys.stderr, flush=True)

    def result(self, text: str) -> None:
        """The result: the only thing on stdout."""
        print(text, flush=True)

    def document(self, document: Mapping[str, Any]) -> None:
        """One JSON document on stdout."""
        print(json_module.dumps(document, ensure_ascii=False, allow_nan=False), flush=True)

    def failure(self, command: str, error: WbltrError) -> None:
        """An error: one line or one line a problem, then what to do; a JSON document where asked."""
        self.end()
        if self.json:
            told = {"code": error.code, "message": error.message, "hint": error.hint}
            self.document({"schema": 1, "command": command, "error": told})
            return
        lines = error.message.splitlines() or [type(error).__name__]
        console = self._rich(stderr=True)
        for line in lines:
            console.print("error:", style="bold red", end=" ")
            console.print(harmless(line))
        if error.hint:
            console.print(f"  {harmless(error.hint)}", style="dim" if not self.plain else "")

    def traceback(self) -> None:
        """The traceback of the failure being handled."""
        import traceback

        traceback.print_exc()

    # Tables

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]], caption: str = "") -> None:
        """A table on stdout; columns of figures stand to the right."""
        from rich import box
        from rich.table import Table
        from rich.text import Text

        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for place, column in enumerate(columns):
            figures = all(_is_figure(row[place]) for row in rows)
            table.add_column(Text(column), justify="right" if figures else "left", overflow="fold")
        for row in rows:
            table.add_row(*(Text(harmless(cell)) for cell in row))
        console = self._rich(stderr=False)
        console.soft_wrap = False
        # Through print(), not rich: a reader of the pipe that goes away is no failure.
        with console.capture() as text:
            console.print(table, end="")
            if caption:
                console.print(Text("\n".join(harmless(line) for line in caption.splitlines())))
        print(text.get(), end="", flush=True)

    # Progress

    def begin(self, stage: str, cached: bool) -> None:
        """A stage starts, or was found finished."""
        self.end()
        if cached:
            return
        self._stage, self._started, self._last_line = stage, time.monotonic(), time.monotonic()
        self._first, self._metrics = (0.0, 0), {}
        if self.quiet or not sys.stderr.isatty() or self.plain:
            return
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        console = self._rich(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=max(4, min(40, console.width - 72))),
            TextColumn("{task.fields[text]}", markup=False),
            TimeRemainingColumn(compact=True),
            console=console,
            transient=True,
        )
        self._progress.start()
        self._task = self._progress.add_task(stage, total=None, text="")

    def advance(self, done: int, total: int) -> None:
        """Work done so far, in images."""
        now = time.monotonic()
        if self._first[0] == 0.0 or done < self._first[1]:
            self._first = self._next_first = (now, done)
        if now - self._next_first[0] >= RATE_OVER:
            self._first, self._next_first = self._next_first, (now, done)
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, completed=done, total=total, text=self._words(now, done, total))
        elif not self.quiet and self._stage and now - self._last_line >= PLAIN_EVERY:
            self._last_line = now
            self.notice(f"{self._stage}: {self._words(now, done, total)}{self._left(now, done, total)}")

    def report(self, metrics: Mapping[str, Any]) -> None:
        """Figures of the epoch or part that has just ended."""
        self._metrics = metrics

    def transfer(self, received: int, total: int, rate: float) -> None:
        """Progress of a download, bytes and bytes per second."""
        now = time.monotonic()
        text = f"{received / 1e6:.0f} of {total / 1e6:.0f} MB, {rate / 1e3:,.0f} kB/s"
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, completed=received, total=total, text=text)
        elif not self.quiet and now - self._last_line >= PLAIN_EVERY:
            self._last_line = now
            left = (total - received) / rate if rate > 0 else float("inf")
            self.notice(f"download: {text}" + (f", {_duration(left)} left" if left < 1e6 else ""))

    def _rate(self, now: float, done: int) -> float:
        """Images a second over the last stretch; 0 while it cannot be told."""
        begun, at = self._first
        return (done - at) / (now - begun) if now > begun else 0.0

    def _words(self, now: float, done: int, total: int) -> str:
        rate = self._rate(now, done)
        words = []
        if "epoch" in self._metrics:
            words.append(f"epoch {self._metrics['epoch']}/{self._metrics['epochs']}")
            words.append(f"loss {self._metrics['loss']:.3f}")
        elif total > 0:
            words.append(f"{100 * done / total:.0f} %")
        if "accuracy" in self._metrics:
            words.append(f"accuracy {100 * self._metrics['accuracy']:.1f}")
        if rate > 0:
            words.append(f"{rate:,.0f} images/s")
        return ", ".join(words)

    def _left(self, now: float, done: int, total: int) -> str:
        rate = self._rate(now, done)
        return f", {_duration((total - done) / rate)} left" if rate > 0 else ""

    def made(self, stage: str, object_id: str, cached: bool, seconds: float, resumed_from: int | None, words: str) -> None:
        """A stage is finished: its id, how long it took, its figures."""
        self.end()
        how = "cached" if cached else _duration(seconds)
        if resumed_from is not None:
            how += f", resumed from step {resumed_from}"
        self.notice(f"{stage:<10} {object_id[:12]}  {how:<8}  {words}".rstrip())

    def end(self) -> None:
        """Take the progress bar away."""
        if self._progress is not None:
            with contextlib.suppress(Exception):
                self._progress.stop()
        self._progress, self._task, self._stage = None, None, ""


def _is_figure(cell: str) -> bool:
    return cell == "n/a" or cell.partition(" ")[0].replace(".", "", 1).isdigit()


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes / 60:.1f} h"


def age(seconds: float) -> str:
    """How long ago, in words."""
    if seconds < 90:
        return f"{seconds:.0f} s old"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min old"
    return f"{seconds / 3600:.0f} h old" if seconds < 172800 else f"{seconds / 86400:.0f} days old"

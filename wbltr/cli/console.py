"""The only file that prints. Results go to stdout, everything else to stderr; text from users is never markup."""

from __future__ import annotations

import codecs
import contextlib
import io
import json as json_module
import os
import shutil
import sys
import textwrap
import threading
import unicodedata
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import rich.console
    import rich.progress

    from wbltr.errors import WbltrError

LONGEST = 2000  # characters of a line that tells of a failure
WIDTH_OF_WORDS = 62  # columns of a terminal that a bar leaves to the figures and the time left


JOINERS = "\u200c\u200d"  # Persian, Hindi and emoji are written with them, and they act on no terminal
BYTES = "wbltr-bytes"  # an error handler: bytes of a name that are no text are written as they are, what else as JSON's codes


def harmless(text: str) -> str:
    """Text with control characters (escape codes, newlines, direction overrides) made visible."""
    return text if text.isprintable() else "".join(c if _shows(c) else ascii(c)[1:-1] for c in text)


def _shows(character: str) -> bool:
    return character in JOINERS or unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Zl", "Zp")


def json_line(document: Mapping[str, Any]) -> str:
    """A document on one line, its values exact: what acts on a terminal, or is no text, stands there as JSON's escapes."""
    text = json_module.dumps(document, ensure_ascii=False, allow_nan=False)
    return text if text.isprintable() else "".join(c if _shows(c) else json_module.dumps(c)[1:-1] for c in text)


def _bytes_or_codes(error: UnicodeError) -> tuple[str | bytes, int]:
    assert isinstance(error, UnicodeEncodeError)
    character = error.object[error.start]
    code = ord(character)
    known = 0xDC80 <= code <= 0xDCFF  # a byte, as the file system's names are decoded
    return bytes([code - 0xDC00]) if known else json_module.dumps(character)[1:-1], error.start + 1


codecs.register_error(BYTES, _bytes_or_codes)


def number(value: float | None, digits: int = 1) -> str:
    """A figure of a table; what does not exist is n/a, never 0."""
    return "n/a" if value is None else f"{value:.{digits}f}"


def with_deviation(mean: float | None, deviation: float | None) -> str:
    """`86.5 ± 0.8`; of a single run only the figure."""
    return number(mean) if deviation is None else f"{number(mean)} ± {number(deviation)}"


class Console:
    """Prints for one command, from any of its threads.

    Args:
        json: print one document instead of a result for people.
        quiet: nothing but the result, and errors.
        no_color: no colours, no moving parts; NO_COLOR and TERM=dumb do the same.
        leads: of several processes of one command, only the one that leads prints results.
    """

    def __init__(self, *, json: bool = False, quiet: bool = False, no_color: bool = False, leads: bool = True) -> None:
        self.leads = leads
        self.json = json
        self.quiet = quiet
        self.plain = no_color or bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
        self._lock = threading.RLock()  # a line is whole, and the bars come and go one at a time
        self._bars: rich.progress.Progress | None = None

    def _rich(self, *, stderr: bool) -> rich.console.Console:
        from rich.console import Console

        return Console(stderr=stderr, no_color=self.plain, highlight=False, markup=False, emoji=False, soft_wrap=True)

    @staticmethod
    def accept_any_text() -> None:
        """Let a stream that has no such character get its code instead of an error, and a name's bytes be any."""
        for stream, errors in ((sys.stdin, "surrogateescape"), (sys.stdout, BYTES), (sys.stderr, "backslashreplace")):
            if isinstance(stream, io.TextIOWrapper):
                with contextlib.suppress(io.UnsupportedOperation):  # somebody has read of it already
                    stream.reconfigure(errors=errors)

    @staticmethod
    def carry_data() -> None:
        """What follows on stdout is for programs: UTF-8, as in a file, whatever the locale; a terminal keeps its own."""
        if isinstance(sys.stdout, io.TextIOWrapper) and not sys.stdout.isatty() and sys.stdout.encoding.lower() != "utf-8":
            sys.stdout.reconfigure(encoding="utf-8", errors=BYTES)

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
        with self._lock:
            if self._bars is not None:
                self._bars.console.print(line, markup=False, highlight=False)
            else:
                print(line, file=sys.stderr, flush=True)

    def result(self, text: str, *, one_line: bool = False) -> None:
        """The result: the only thing on stdout. A pipe gets it as it is; a terminal, nothing that acts on it.

        Args:
            one_line: a newline in it belongs to a name, and is made visible on a terminal, too.
        """
        if self.leads:
            if sys.stdout.isatty():
                text = harmless(text) if one_line else "\n".join(map(harmless, text.split("\n")))
            print(text, flush=True)

    def document(self, document: Mapping[str, Any]) -> None:
        """One JSON document on stdout."""
        if self.leads:
            self.carry_data()
            print(json_line(document), flush=True)

    def failure(self, command: str, error: WbltrError) -> None:
        """An error: one line or one line a problem, then what to do; a JSON document where asked."""
        self.end()
        if self.json and self.leads:
            told = {"code": error.code, "message": error.message, "hint": error.hint}
            self.document({"schema": 1, "command": command, "error": told, **error.details})
            return
        lines = error.message.split("\n") if error.message else [type(error).__name__]
        console = self._rich(stderr=True)
        for line in lines:
            console.print("error:", style="bold red", end=" ")
            console.print(harmless(line if len(line) <= LONGEST else f"{line[: LONGEST // 2]} … {line[-LONGEST // 2 :]}"))
        if error.hint:
            console.print(f"  {harmless(error.hint)}", style="dim" if not self.plain else "")

    def traceback(self) -> None:
        """The traceback of the failure being handled."""
        import traceback

        traceback.print_exc()

    # Tables

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]], caption: str = "") -> None:
        """A table on stdout; columns of figures stand to the right, and are the last to be folded."""
        from rich import box
        from rich.table import Table
        from rich.text import Text

        console = self._rich(stderr=False)
        console.soft_wrap = False
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        cells = [[row[place] for row in rows] for place in range(len(columns))]
        figures = [all(map(_is_figure, column)) for column in cells]
        widths = [max(map(len, (title, *column))) for title, column in zip(columns, cells, strict=True)]
        if sum(widths) + 3 * (len(columns) - 1) > console.width:
            table.padding = (0, 0)
        # Where the figures fit beside the longest word, only words are folded.
        longest = [max(map(len, " ".join(column).split()), default=0) for column in cells]
        kept = [width if figure else word for width, word, figure in zip(widths, longest, figures, strict=True)]
        room = sum(kept) + len(columns) - 1 <= console.width
        for title, figure in zip(columns, figures, strict=True):
            justify: Literal["left", "right"] = "right" if figure else "left"
            table.add_column(Text(harmless(title)), justify=justify, overflow="fold", no_wrap=figure and room)
        for row in rows:
            table.add_row(*(Text(harmless(cell)) for cell in row))
        # Through print(), not rich: a reader of the pipe that goes away is no failure.
        with console.capture() as text:
            console.print(table, end="")
            if caption:
                console.print(Text("\n".join(harmless(line) for line in caption.split("\n"))))
        if self.leads:
            print(text.get(), end="", flush=True)

    # Bars

    def add_bar(self, label: str, room: int) -> rich.progress.TaskID | None:
        """A bar on the terminal, below those that are there; None where none are shown.

        Args:
            room: columns for this label and those that `restart_bar` gives it.
        """
        if self.quiet or self.plain or not sys.stderr.isatty():
            return None
        with self._lock:
            if self._bars is None:
                self._bars = self._new_bars(room)
                self._bars.start()
            return self._bars.add_task(label, total=None, text="")

    def _new_bars(self, room: int) -> rich.progress.Progress:
        """Bars in a terminal of any width: in a narrow one the figures are cut, not the labels."""
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
        from rich.table import Column

        console = self._rich(stderr=True)
        bar = max(4, min(40, console.width - WIDTH_OF_WORDS - room))
        words = max(8, console.width - room - bar - len(" " * 3 + "-:--:--"))
        return Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=bar),
            TextColumn("{task.fields[text]}", markup=False, table_column=Column(no_wrap=True, max_width=words)),
            TimeRemainingColumn(compact=True),
            console=console,
            transient=True,
        )

    def move_bar(self, bar: rich.progress.TaskID, done: int, total: int, text: str) -> None:
        """How far it is, and the figures beside it."""
        if self._bars is not None:
            self._bars.update(bar, completed=done, total=total, text=text)

    def restart_bar(self, bar: rich.progress.TaskID, label: str) -> None:
        """The same bar for the next thing."""
        if self._bars is not None:
            self._bars.reset(bar, description=label, text="")

    def remove_bar(self, bar: rich.progress.TaskID) -> None:
        """Take one bar away."""
        with self._lock:
            if self._bars is not None:
                self._bars.remove_task(bar)
                if not self._bars.task_ids:
                    self.end()

    def end(self) -> None:
        """Take every bar away."""
        with self._lock:
            if self._bars is not None:
                with contextlib.suppress(Exception):
                    self._bars.stop()
            self._bars = None


def _is_figure(cell: str) -> bool:
    return cell == "n/a" or cell.partition(" ")[0].replace(".", "", 1).isdigit()


def duration(seconds: float) -> str:
    """How long, in words."""
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

"""How far one run is, in words: several may go on at once, each with a bar of its own. The console prints."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from wbltr.cli.console import Console, duration

PLAIN_EVERY = 10.0  # seconds between progress lines where there is no terminal
RATE_OVER = 10.0  # seconds; a rate is that of the last one or two such stretches

LONGEST_STAGE = "embeddings"


class Progress:
    """What one run has told so far. Only its own thread may call it.

    Args:
        console: where it is shown.
        label: what the run is called where several go on at once, such as `seed 3`; it stands before every line.
    """

    def __init__(self, console: Console, label: str = "") -> None:
        self.console = console
        self.label = label
        self._stage = ""
        self._first = (0.0, 0)  # when and at which image the stretch began that the rate is taken of
        self._next_first = (0.0, 0)
        self._last_line = 0.0
        self._metrics: Mapping[str, Any] = {}
        self._bar: Any = None

    def notice(self, text: str) -> None:
        """A line for the user."""
        self.console.notice(f"{self.label}: {text}" if self.label else text)

    def start(self) -> None:
        """Take a place among the bars, before the first stage has something to show."""
        self._show(self.label)

    def begin(self, stage: str, cached: bool) -> None:
        """A stage starts, or was found finished."""
        self._rest()
        if cached:
            return
        self._stage, self._last_line = stage, time.monotonic()
        self._first, self._metrics = (0.0, 0), {}
        self._show(f"{self.label} {stage}".strip())

    def advance(self, done: int, total: int) -> None:
        """Work done so far, in images."""
        now = time.monotonic()
        if self._first[0] == 0.0 or done < self._first[1]:
            self._first = self._next_first = (now, done)
        if now - self._next_first[0] >= RATE_OVER:
            self._first, self._next_first = self._next_first, (now, done)
        if self._bar is not None:
            self.console.move_bar(self._bar, done, total, self._words(now, done, total))
        elif self._stage and now - self._last_line >= PLAIN_EVERY:
            self._last_line = now
            self.notice(f"{self._stage}: {self._words(now, done, total)}{self._left(now, done, total)}")

    def report(self, metrics: Mapping[str, Any]) -> None:
        """Figures of the epoch or part that has just ended."""
        self._metrics = metrics

    def transfer(self, received: int, total: int, rate: float, what: str = "download") -> None:
        """Progress of a download or of what else is moved, bytes and bytes per second."""
        now = time.monotonic()
        text = f"{received / 1e6:.0f} of {total / 1e6:.0f} MB, {rate / 1e3:,.0f} kB/s"
        if self._bar is not None:
            self.console.move_bar(self._bar, received, total, text)
        elif now - self._last_line >= PLAIN_EVERY:
            self._last_line = now
            left = (total - received) / rate if rate > 0 else float("inf")
            self.notice(f"{what}: {text}" + (f", {duration(left)} left" if left < 1e6 else ""))

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
        if "loader" in self._metrics:
            words.append(f"loader {100 * self._metrics['loader']:.0f} %")
        if rate > 0:
            words.append(f"{rate:,.0f} images/s")
        return ", ".join(words)

    def _left(self, now: float, done: int, total: int) -> str:
        rate = self._rate(now, done)
        return f", {duration((total - done) / rate)} left" if rate > 0 else ""

    def made(self, stage: str, object_id: str, cached: bool, seconds: float, resumed_from: int | None, words: str) -> None:
        """A stage is finished: its id, how long it took, its figures."""
        self._rest()
        how = "cached" if cached else duration(seconds)
        if resumed_from is not None:
            how += f", resumed from step {resumed_from}"
        self.notice(f"{stage:<10} {object_id[:12]}  {how:<8}  {words}".rstrip())

    def _rest(self) -> None:
        """Between two stages: one run shows no bar then; of several each keeps its place."""
        self._stage = ""
        if not self.label:
            self.end()
        elif self._bar is not None:
            self._show(self.label)

    def _show(self, label: str) -> None:
        """A bar that has just begun."""
        if self._bar is None:
            self._bar = self.console.add_bar(label, len(f"{self.label} {LONGEST_STAGE}".strip()))
        else:
            self.console.restart_bar(self._bar, label)

    def end(self) -> None:
        """Nothing more comes: take the bar away."""
        if self._bar is not None:
            self.console.remove_bar(self._bar)
        self._bar, self._stage = None, ""

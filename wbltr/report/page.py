"""A report as one HTML page that needs nothing else: no network, no script, no file beside it.

Its script only lets a reader sort a table. The Content-Security-Policy names the style and the script by their digests, and
lets a browser load nothing.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from pathlib import Path

from wbltr.report import sections
from wbltr.report.markup import Markup, joined, tag
from wbltr.report.told import Told

STYLE, SCRIPT = (Path(__file__).with_name(name) for name in ("page.css", "page.js"))
SECTIONS: dict[str, Callable[[Told], Markup]] = {
    "Results": sections.results,
    "Classes": sections.classes,
    "Confusions": sections.confusions,
    "Calibration": sections.calibration,
    "Diagnosis": sections.diagnosis,
    "Provenance": sections.provenance,
    "Run again": sections.again,
}


def page(told: Told) -> str:
    """The whole page. Equal for equal artifacts."""
    style, script = (Markup(file.read_text(encoding="utf-8")) for file in (STYLE, SCRIPT))
    policy = (
        f"default-src 'none'; img-src data:; style-src '{_digest(style)}'; script-src '{_digest(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", f"{told.recipe.name}: {told.shown.name.removeprefix('+ ')}"),
        tag("style", style),
    )
    links = [tag("li", tag("a", name, href=f"#{_id(name)}")) for name in SECTIONS]
    body = tag(
        "body",
        tag("a", "To the results", href=f"#{_id('Results')}", class_="skip"),
        tag("header", tag("h1", told.recipe.name), sections.summary(told), tag("nav", tag("ul", links), aria_label="Sections")),
        tag("main", [_section(name, give(told)) for name, give in SECTIONS.items()]),
        tag("script", script),
    )
    return joined(Markup("<!doctype html>\n"), tag("html", head, body, lang="en"), Markup("\n"))


def _section(name: str, content: Markup) -> Markup:
    return joined(Markup("\n"), tag("section", tag("h2", name), content, id=_id(name)))


def _id(name: str) -> str:
    return name.lower().replace(" ", "-")


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"

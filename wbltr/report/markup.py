"""HTML in pieces: whatever is put into one is escaped, unless it is a piece itself."""

from __future__ import annotations

import html
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

VOID = ("meta", "img", "br")  # elements that have no end


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


Content = str | Iterable[str]  # of an element: text, which is escaped, and pieces


def escaped(text: str) -> Markup:
    """Text as HTML shows it; control characters but the line feed, and direction overrides, as codes that do nothing.

    >>> escaped("<b>\\x1b")
    '&lt;b&gt;\\\\x1b'
    """
    if isinstance(text, Markup):
        return text
    kept = (c if c == "\n" or unicodedata.category(c) not in ("Cc", "Cf", "Cs") else repr(c)[1:-1] for c in text)
    return Markup(html.escape("".join(kept)))


def joined(*contents: Content) -> Markup:
    """Pieces and texts one after another."""
    return Markup(
        "".join(escaped(part) for content in contents for part in ([content] if isinstance(content, str) else content))
    )


def tag(name: str, /, *contents: Content, **attributes: str | None) -> Markup:
    """An element. Of attribute names a last underscore is dropped, others become hyphens; None leaves an attribute out.

    >>> tag("td", "a < b", class_="figure")
    '<td class="figure">a &lt; b</td>'
    """
    given = {key.removesuffix("_").replace("_", "-"): value for key, value in attributes.items() if value is not None}
    start = "".join([f"<{name}", *(f' {key}="{escaped(str(value))}"' for key, value in given.items()), ">"])
    return Markup(start if name in VOID else f"{start}{joined(*contents)}</{name}>")


@dataclass(frozen=True)
class Cell:
    """One cell of a table.

    Attributes:
        shown: what stands there.
        value: what it is sorted by, where that is not what is shown.
    """

    shown: str
    value: str | None = None


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
        title: its heading.
        kind: `words` and what stays in one line, `fixed`, begin on the left; None: figures, which stand to the right.
        sorted: how the rows are sorted by it as they stand, `ascending` or `descending`.
    """

    title: str
    kind: Literal["words", "fixed"] | None = None
    sorted: str | None = None


def table(
    caption: Content, columns: Sequence[Column], rows: Iterable[Sequence[str | Cell]], *, sortable: bool = False
) -> Markup:
    """A table that scrolls in a frame of its own; the first cell of a row is its heading.

    Args:
        caption: what it shows.
        columns: their headings.
        rows: cells as text, as a piece, or as a `Cell`.
        sortable: whether the page's script lets a reader sort it.
    """
    head = [tag("th", column.title, scope="col", class_=column.kind, aria_sort=column.sorted) for column in columns]
    body = []
    for row in rows:
        cells = [one if isinstance(one, Cell) else Cell(one) for one in row]
        first = tag("th", cells[0].shown, scope="row", data_value=cells[0].value)
        rest = [
            tag("td", cell.shown, class_=column.kind, data_value=cell.value)
            for column, cell in zip(columns[1:], cells[1:], strict=True)
        ]
        body.append(tag("tr", first, rest))
    whole = tag(
        "table",
        tag("caption", tag("span", caption)),
        tag("thead", tag("tr", head)),
        tag("tbody", body),
        class_="sortable" if sortable else None,
    )
    return framed(whole, columns[0].title)


def framed(content: Markup, label: str) -> Markup:
    """What may be wider than the page, in a frame that scrolls; the keyboard reaches it."""
    return tag("div", content, class_="frame", role="region", aria_label=label, tabindex="0")

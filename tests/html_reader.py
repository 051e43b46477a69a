"""A strict reader of our pages: what it finds wrong fails the test that reads."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = {"meta", "img", "br"}
RAW = {"style", "script"}
LOADING = {"src", "srcset", "poster", "data", "background", "action", "formaction", "manifest", "ping"}


@dataclass
class Element:
    """An element with its attributes and all the text in it."""

    name: str
    attributes: dict[str, str]
    text: str = ""
    inside: list[Element] = field(default_factory=list)

    def all(self, name: str) -> list[Element]:
        """Elements of this name below it, in order."""
        return [found for child in self.inside for found in ([child] if child.name == name else []) + child.all(name)]


class Page(HTMLParser):
    """A page as a tree. Raises where an element is not closed, or is closed by another."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.root = Element("", {})
        self._open = [self.root]
        self.feed(text)
        self.close()
        assert self._open == [self.root], f"left open: {[one.name for one in self._open]}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(set(names)) == len(names), f"<{tag}> has an attribute twice: {names}"
        element = Element(tag, {name: value or "" for name, value in attrs})
        self._open[-1].inside.append(element)
        if tag not in VOID:
            self._open.append(element)

    def handle_endtag(self, tag: str) -> None:
        assert tag not in VOID
        assert self._open[-1].name == tag, f"</{tag}> closes <{self._open[-1].name}>"
        self._open.pop()

    def handle_data(self, data: str) -> None:
        for element in self._open:
            element.text += data

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"a comment: {data}")

    def all(self, *names: str) -> list[Element]:
        """Elements of these names, in the order of the page."""
        found: list[Element] = []

        def walk(element: Element) -> None:
            for child in element.inside:
                found.extend([child] if child.name in names else [])
                walk(child)

        walk(self.root)
        return found

    def every(self) -> list[Element]:
        """All elements."""
        return self.all(*{element.name for element in self._walk(self.root)})

    def _walk(self, element: Element) -> list[Element]:
        return [one for child in element.inside for one in (child, *self._walk(child))]

    def rows(self, heading: str) -> list[list[str]]:
        """The cells of the first table below an `h2` or `h3` of this text: its head and its body."""
        order = self.all("h2", "h3", "table")
        at = next(place for place, element in enumerate(order) if element.name != "table" and element.text == heading)
        table = next(element for element in order[at:] if element.name == "table")
        return [[cell.text for cell in row.inside] for row in table.all("tr")]

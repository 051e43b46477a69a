"""Pieces of HTML: what is put into one is text, whatever it says."""

from __future__ import annotations

import unicodedata

import pytest
from html_reader import Page
from hypothesis import example, given
from hypothesis import strategies as st

from wbltr.report.markup import Cell, Column, Markup, escaped, joined, table, tag

NASTY = ['<script>alert("1")</script>', "</style>", "a'b\"c", "&amp; &lt;", "<!--", "]]>", "<img src=x onerror=1>", "\x1b[31m"]


def shown(text: str) -> str:
    """What a reader sees of a text: what could act is a code."""
    return "".join(
        c if c == "\n" or unicodedata.category(c)[:1] != "C" or unicodedata.category(c) in ("Co", "Cn") else repr(c)[1:-1]
        for c in text
    )


@given(st.text())
@example(NASTY[0])
@example("\ud800 \u202e \x00")
def test_a_text_is_read_as_it_was_written(text: str) -> None:
    page = Page(tag("p", text, title=text))
    (paragraph,) = page.every()
    assert paragraph.text == shown(text)
    assert paragraph.attributes["title"] == shown(text)


@pytest.mark.parametrize("text", NASTY)
def test_a_text_adds_no_element_wherever_it_stands(text: str) -> None:
    page = Page(
        table(text, [Column(text), Column(text, "words", sorted="ascending")], [[text, Cell(text, text)]], sortable=True)
    )
    names = sorted(element.name for element in page.every())
    assert names == sorted(["div", "table", "caption", "span", "thead", "tr", "th", "th", "tbody", "tr", "th", "td"])


def test_a_piece_is_not_escaped_twice() -> None:
    assert escaped(tag("b", "<")) == "<b>&lt;</b>"
    assert joined("<", [tag("i", "&"), Markup("<br>")]) == "&lt;<i>&amp;</i><br>"


def test_an_attribute_of_none_is_left_out_and_names_become_those_of_html() -> None:
    assert tag("td", class_="a", data_value="1", scope=None) == '<td class="a" data-value="1"></td>'
    assert tag("img", alt="") == '<img alt="">'


def test_the_first_cell_of_a_row_and_every_cell_of_the_head_is_a_heading() -> None:
    page = Page(table("t", [Column("a"), Column("b")], [["1", "2"], ["3", "4"]]))
    assert [th.attributes["scope"] for th in page.all("th")] == ["col", "col", "row", "row"]
    assert [td.text for td in page.all("td")] == ["2", "4"]

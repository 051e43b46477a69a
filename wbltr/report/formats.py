"""A table as text for other programs: Markdown, LaTeX, CSV. The terminal's table is the console's."""

from __future__ import annotations

import re
from collections.abc import Iterable

from wbltr.report.tables import Section, Table, cells, headings

LATEX = {"&": r"\&", "%": r"\%", "_": r"\_", "#": r"\#", "$": r"\$", "{": r"\{", "}": r"\}"}
LATEX |= {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
LATEX |= {"τ": r"$\tau$", "λ": r"$\lambda$", "±": r"$\pm$", "—": "---", "–": "--", "≤": r"$\leq$"}


def markdown(table: Table) -> str:
    """GitHub's Markdown: a table with a bold line a section, and the caption below."""
    titles = [" ", *headings(table, ours=table.has_ours)]
    lines = [f"**{table.title}**", "", _bar(titles), _bar(["---", *["---:"] * (len(titles) - 1)])]
    for section in table.sections:
        lines.append(_bar([f"**{section.title}**", *[""] * (len(titles) - 1)]))
        lines += [_bar([cell.replace("|", r"\|") for cell in row]) for row in _rows(table, section, "—")]
    return "\n".join([*lines, "", *(f"{line}  " for line in table.caption)]).rstrip() + "\n"


def latex(table: Table) -> str:
    r"""A `table` environment for `\usepackage{booktabs}`."""
    titles = headings(table, ours=table.has_ours)
    groups = ([("paper", len(table.columns))] if table.has_paper else []) + (
        [("ours", len(table.columns))] if table.has_ours else []
    )
    above = " & ".join(["", *(rf"\multicolumn{{{width}}}{{c}}{{{name}}}" for name, width in groups)])
    lines = [
        r"% needs \usepackage{booktabs}",
        r"\begin{table}",
        r"\centering",
        rf"\begin{{tabular}}{{l{'r' * len(titles)}}}",
        r"\toprule",
        rf"{above} \\",
        " & ".join(["", *(escaped(title.removeprefix("ours: ")) for title in titles)]) + r" \\",
    ]
    for section in table.sections:
        lines += [r"\midrule", rf"\multicolumn{{{len(titles) + 1}}}{{l}}{{\emph{{{escaped(section.title)}}}}} \\"]
        lines += [" & ".join(map(escaped, row)) + r" \\" for row in _rows(table, section, "—")]
    caption = escaped(". ".join([table.title, *table.caption]) + ".")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", rf"\caption{{{caption}}}", r"\end{table}"]) + "\n"


def escaped(text: str) -> str:
    """Text that LaTeX prints as it stands."""
    return re.sub("|".join(map(re.escape, LATEX)), lambda found: LATEX[found[0]], text)


def comma_separated(table: Table) -> str:
    """CSV with a header: section, row, label; each paper figure; each of ours with its standard deviation and n. No caption."""
    own = [f"ours {column}{what}" for column in table.columns for what in ("", " sd", " n")]
    rows: list[list[object]] = [["section", "row", "label", *(f"paper {column}" for column in table.columns), *own]]
    for section in table.sections:
        for line in section.lines:
            ours: list[float | None] = [v for spread in line.ours for v in (spread.mean, spread.sd, spread.n)]
            # A spreadsheet takes what begins with + for a formula.
            rows.append([section.title, line.row, line.label.removeprefix("+ "), *line.paper, *(ours or [None] * len(own))])
    return "".join(f"{csv_line(row)}\n" for row in rows)


def csv_line(cells: Iterable[object]) -> str:
    """A row of CSV without its end. Python's `csv` before 3.13 leaves a lone carriage return unquoted, which splits the row."""
    return ",".join(map(_quoted, cells))


def _quoted(cell: object) -> str:
    text = "" if cell is None else str(cell)
    plain = text.isprintable() and text == text.strip() and not set(text) & set(',;"')
    return text if plain else '"' + text.replace('"', '""') + '"'


def _rows(table: Table, section: Section, nothing: str) -> list[list[str]]:
    return cells(table, section, nothing, ours=table.has_ours)


def _bar(row: list[str]) -> str:
    return f"| {' | '.join(row)} |"

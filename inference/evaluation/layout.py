"""The same rows of text as a table for a terminal, in Markdown and in HTML."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Absent", "aligned", "html_table", "lettered", "markdown_table"]

Rows = Sequence[Sequence[str]]


@dataclass(frozen=True)
class Absent:
    """A cell without a number, and why there is none."""

    reason: str


def lettered(cells: Sequence[Sequence[str | Absent]]) -> tuple[list[list[str]], list[str]]:
    """Texts of the cells, a letter where there is a reason, and the reasons by letter.

    Examples
    --------
    >>> lettered([["a pair", "-1.0"], ["another", Absent("it has no density")]])
    ([['a pair', '-1.0'], ['another', '– [a]']], ['[a] it has no density'])
    """
    reasons: list[str] = []
    texts = []
    for row in cells:
        line = []
        for cell in row:
            if isinstance(cell, Absent):
                if cell.reason not in reasons:
                    reasons.append(cell.reason)
                line.append(f"– [{_letter(reasons.index(cell.reason))}]")
            else:
                line.append(cell)
        texts.append(line)
    return texts, [f"[{_letter(i)}] {reason}" for i, reason in enumerate(reasons)]


def aligned(rows: Rows) -> list[str]:
    """Lines for a terminal: the first column to the left, all others to the right.

    Examples
    --------
    >>> aligned([["", "nats"], ["a pair", "-1.0"]])
    ['        nats', 'a pair  -1.0']
    """
    widths = [max(len(row[j]) for row in rows) for j in range(len(rows[0]))]
    return [
        "  ".join(
            text.ljust(width) if j == 0 else text.rjust(width)
            for j, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def markdown_table(heads: Rows, rows: Rows) -> list[str]:
    """Lines of Markdown; each heading in lines of its own, the first of them that of the names.

    Examples
    --------
    >>> markdown_table([["guide"], ["ELBO", "nats"]], [["encoder", "-1.0"]])
    ['| guide | ELBO<br>nats |', '|---|---|', '| encoder | -1.0 |']
    """
    lines = ["<br>".join(map(_plain, head)) for head in heads]
    return [
        _piped(lines),
        "|---" * len(heads) + "|",
        *(_piped([_plain(text) for text in row]) for row in rows),
    ]


def html_table(heads: Rows, rows: Rows, *, notes: Sequence[str], caption: str = "") -> str:
    """An HTML fragment: headings with small print, the name of a row as its heading, notes below.

    Examples
    --------
    >>> html_table([["pair"], ["ELBO", "nats"]], [["a<b", "-1.0"]], notes=[]).split("<tbody>")[1]
    '<tr><th>a&lt;b</th><td>-1.0</td></tr></tbody></table><ul class="notes"></ul>'
    """
    head = "".join(f"<th>{html.escape(first)}{_small(more)}</th>" for first, *more in heads)
    body = "".join(
        f"<tr><th>{html.escape(name)}</th>"
        + "".join(f"<td>{html.escape(text)}</td>" for text in row)
        + "</tr>"
        for name, *row in rows
    )
    above = f"<caption>{html.escape(caption)}</caption>" if caption else ""
    below = "".join(f"<li>{html.escape(note)}</li>" for note in notes)
    return (
        f"<table>{above}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        f'<ul class="notes">{below}</ul>'
    )


def _letter(i: int) -> str:
    return chr(ord("a") + i) if i < 26 else f"a{i - 25}"


def _plain(text: str) -> str:
    """Text for a cell of a Markdown table."""
    for mark in ("\\", "|", "<"):
        text = text.replace(mark, f"\\{mark}")
    return " ".join(text.split())


def _piped(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _small(lines: Sequence[str]) -> str:
    return "".join(f"<small>{html.escape(line)}</small>" for line in lines)

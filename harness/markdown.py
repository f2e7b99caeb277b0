"""GitHub Markdown: tables, escaping, and numbers as a report prints them.

Input: cells as text and numbers in the store's units -> output: text. The only place where bytes
become GB (10^9), rates percent, seconds a duration. Model text and cells of tables are shown as
code, so nothing in them is read as markup. :func:`visible` is the one filter for characters that a
terminal or a browser would obey instead of showing, wherever text is put out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

NONE = "–"

_OBEYED = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
"""Control characters but tab and newline, Unicode's line separators, what turns the direction of
writing (Trojan Source, CVE-2021-42574), and halves of surrogate pairs."""


def visible(text: str) -> str:
    """Text of any origin with every character that is obeyed, not shown, replaced by a sign for
    it: ␛ for escape, ⟨U+2028⟩ for a line separator. Newlines and tabs stay."""
    if text.isascii() and text.isprintable():
        return text
    return _OBEYED.sub(_sign, text.replace("\r\n", "\n"))


_PLAIN = {
    **dict.fromkeys("–—−‑", "-"),
    **dict.fromkeys("“”„", '"'),
    **dict.fromkeys("‘’", "'"),
    **{"─": "-", "…": "...", "→": "->", "≤": "<=", "≥": ">=", "≈": "~", "×": "x", "·": "|"},
}
"""What takes the place of signs that reports use and an old encoding may lack."""


def encodable(text: str, encoding: str | None) -> str:
    """``text`` for a terminal of this encoding, the signs that it lacks replaced by plain ones or
    by a question mark. An unknown encoding, None, takes all."""
    known = encoding or "utf-8"
    try:
        text.encode(known)
    except UnicodeEncodeError:
        kept = (c if _has(known, c) else _PLAIN.get(c, "?") for c in text)
        return "".join(kept)
    return text


def _has(encoding: str, character: str) -> bool:
    return character.isascii() or character.encode(encoding, "ignore") != b""


def _sign(found: re.Match[str]) -> str:
    code = ord(found[0])
    return chr(0x2400 + code) if code < 0x20 else f"⟨U+{code:04X}⟩"


def table(headers: Sequence[str], rows: Iterable[Sequence[str]], text_columns: int = 1) -> str:
    """A GitHub table: the first ``text_columns`` columns left, the others right aligned.

    Cells are Markdown already (escape user text with :func:`escape` or :func:`code`).
    """
    from tabulate import tabulate

    alignment = ["left"] * text_columns + ["right"] * (len(headers) - text_columns)
    return tabulate(
        [list(row) for row in rows],
        headers=list(headers),
        tablefmt="pipe",
        disable_numparse=True,
        colalign=alignment,
    )


def table_of(rows: Sequence[Mapping[str, str]], text_columns: int = 1) -> str:
    """A table of rows that name their columns, all of them the same ones; empty without rows."""
    if not rows:
        return ""
    return table(list(rows[0]), [list(row.values()) for row in rows], text_columns)


def paragraphs(*parts: str) -> str:
    """The parts that are not empty, with a blank line between them."""
    return "\n\n".join(part for part in parts if part)


def bullets(lines: Iterable[str]) -> str:
    """A list, one item per line."""
    return "\n".join(f"- {line}" for line in lines)


def folded(title: str, body: str) -> str:
    """What stands behind a title that a click opens, on GitHub and on the page; empty without a
    body."""
    return f"<details><summary>{title}</summary>\n\n{body}\n\n</details>" if body else ""


def escape(text: str) -> str:
    """User text as plain Markdown on one line, safe inside a table cell."""
    flat = " ".join(visible(text).split())
    for mark in "\\`*_[]<>|#~":
        flat = flat.replace(mark, "&lt;" if mark == "<" else f"\\{mark}")
    # GitHub makes links of bare addresses.
    return flat.replace("://", "\\://").replace("www.", "www\\.")


def code(text: str) -> str:
    """Text as a code span, line breaks shown as ⏎, safe inside a table cell."""
    # Of two backslashes before a | GitHub takes the first for the second's, and ends the cell.
    flat = visible(text).replace("\n", "⏎").replace("\\|", "\\ |").replace("|", "\\|")
    if not flat.strip():
        return "(empty)" if not flat else "(blanks)"
    longest = _longest_fence(flat)
    fence = "`" * (longest + 1)
    pad = " " if longest or flat[0] == " " or flat[-1] == " " else ""
    return f"{fence}{pad}{flat}{pad}{fence}"


def block(text: str, language: str = "") -> str:
    """Text as a fenced code block."""
    text = visible(text)
    fence = "`" * max(3, 1 + _longest_fence(text))
    return f"{fence}{language}\n{text}\n{fence}"


def fixed(value: float | None, digits: int = 3, missing: str = NONE) -> str:
    """A number with ``digits`` decimals, from 10^9 on with an exponent; ``missing`` where there is
    none."""
    if value is None:
        return missing
    return f"{value:.{digits}{'f' if abs(value) < 1e9 else 'e'}}"


def percent(rate: float | None, digits: int = 1, missing: str = NONE) -> str:
    """A rate of the store (0..1) in percent; ``missing`` where there is none."""
    return missing if rate is None else f"{100 * rate:.{digits}f}%"


def percent_interval(interval: tuple[float, float] | None, digits: int = 1) -> str:
    """An interval of rates in percent."""
    if interval is None:
        return NONE
    return f"{100 * interval[0]:.{digits}f} to {100 * interval[1]:.{digits}f}%"


def interval(value: tuple[float, float] | None, digits: int = 3) -> str:
    """An interval in the value's own unit."""
    return NONE if value is None else f"{value[0]:.{digits}f} to {value[1]:.{digits}f}"


def gigabytes(count: float | None) -> str:
    """Bytes as GB (10^9); below 0.01 GB as MB, so that a tiny model does not read 0.00."""
    if count is None:
        return NONE
    value = count / 1e9
    if 0 < value < 0.01:
        return megabytes(count)
    return f"{value:.1f} GB" if value >= 10 else f"{value:.2f} GB"


def megabytes(count: float | None) -> str:
    """Bytes as MB (10^6)."""
    return NONE if count is None else f"{count / 1e6:.1f} MB"


def millions(count: float | None) -> str:
    """A count in millions, as the published report wrote it."""
    return NONE if count is None else f"{count / 1e6:.3f}M"


def duration(seconds: float | None) -> str:
    """Seconds as `20 min 26 s`, `3 h 5 min` or `42 s`."""
    if seconds is None:
        return NONE
    whole = round(seconds)
    hours, rest = divmod(whole, 3600)
    minutes, rest_s = divmod(rest, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest_s} s" if minutes else f"{rest_s} s"


def p_value(p: float | None) -> str:
    """A p value to three decimals, or `<0.001`."""
    if p is None:
        return NONE
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def count(value: int | None) -> str:
    """A whole number with thousands separated."""
    return NONE if value is None else f"{value:,}"


def _longest_fence(text: str) -> int:
    """The most backticks that stand in a row."""
    return max(map(len, re.findall("`+", text)), default=0)

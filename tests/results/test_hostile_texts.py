"""Whatever a run holds is text where it is shown: every text of a run poisoned, the outputs parsed.

The poison is appended to each text of `results.json` that may be any text, names of variants,
packages and dataset included, and to every answer. What comes out must hold no heading, image,
link, tag or character that the poison made.
"""

from __future__ import annotations

import dataclasses
import io
import re
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from markdown_it import MarkdownIt
from pydantic import ValidationError

from harness.cli.output import answer
from harness.compare.analysis import analyse
from harness.errors import RemoteError, UserError
from harness.markdown import block, code, escape, table, visible
from harness.progress import TerminalProgress, print_message
from harness.report.charts.style import in_a_chart
from harness.report.page.page import render_page
from harness.report.report import job_summary, render_report
from harness.report.terminal import terminal_summary
from harness.runs.file_names import check_new
from harness.schema.results import Results
from tests.results.results_sample import MemoryRun, charts_of, memory_run

OBEYED = "".join(
    map(chr, (*range(9), *range(11, 32), *range(0x7F, 0xA0), 0x61C, 0x200E, 0x200F))
) + "".join(map(chr, (*range(0x2028, 0x202F), *range(0x2066, 0x206A))))
LINES = (
    "\n\n",
    "\r\r",
    "\r\n\r\n",
    "\u2028\u2028",
    "\u2029\u2029",
    "\x85\x85",
    "\x0b\x0b",
    "\x0c\x0c",
)
MARKUP = (
    "# FORGED",
    "![FORGED](https://forged.example/x.png)",
    "[FORGED](https://forged.example)",
    "https://forged.example www.forged.example",
    "<img src=https://forged.example><b>FORGED</b>",
    "| FORGED | FORGED |\n|:--|:--|\n| a | b |",
    "`` ``` ` | \\| \\\\| \ue000\ue001\ue002 </sub> --> **FORGED**",
    "- FORGED",
    "\x1b]0;FORGED\x07\x1b[2J",
)
POISON = (
    "x"
    + "".join(f"{line}# FORGED" for line in LINES)
    + "".join(f"{line}{markup}" for line, markup in zip(cycle(LINES), MARKUP))
    + OBEYED
)


def leaves(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], str]]:
    """Every text of a JSON value with its place."""
    if isinstance(value, str):
        yield place, value
    for key, inner in (
        value.items()
        if isinstance(value, dict)
        else enumerate(value if isinstance(value, list) else ())
    ):
        yield from leaves(inner, (*place, key))


def put(value: Any, place: tuple[Any, ...], text: str) -> None:
    for key in place[:-1]:
        value = value[key]
    value[place[-1]] = text


@pytest.fixture(scope="module")
def poisoned() -> MemoryRun:
    """The sample run with poison in every text that its schema lets be any text."""
    run = memory_run()
    raw = run.results.model_dump(mode="json", by_alias=True)
    raw["variants"] = {f"{name} {POISON}": one for name, one in raw["variants"].items()}
    versions = raw["run"]["versions"]
    raw["run"]["versions"] = {**versions, f"more {POISON}": "1"}
    texts = dict(leaves(raw))
    for place, text in texts.items():
        put(raw, place, f"{text} {POISON}")
    for _ in range(20):
        try:
            results = Results.model_validate(raw)
            break
        except ValidationError as error:
            for fault in error.errors():
                place = next(p for p in texts if fault["loc"][: len(p)] == p)
                put(raw, place, texts[place])
    rows = {
        field.name: {
            f"{name} {POISON}": [
                row.model_copy(
                    update={"text": f"SELECT {POISON}", "table_id": f"t {row.id // 3} {POISON}"}
                )
                if hasattr(row, "text")
                else row
                for row in rows
            ]
            for name, rows in getattr(run.rows, field.name).items()
        }
        for field in dataclasses.fields(run.rows)
    }
    return dataclasses.replace(run, results=results, rows=type(run.rows)(**rows))


def assert_is_text(markdown: str) -> None:
    """No heading, image, link, tag, list or character of the poison's making."""
    assert not set(markdown) & set(OBEYED)
    tokens = MarkdownIt("commonmark", {"html": True}).enable("table").parse(markdown)
    for token in tokens:
        if token.type in ("html_block", "heading_open", "list_item_open"):
            assert token.map is not None
            source = markdown.split("\n")[token.map[0]].lstrip("#-* ")
            assert not source.startswith(("FORGED", "<img")), (token.type, source[:200])
        for inline in token.children or ():
            assert "forged" not in str(inline.attrs).lower(), inline.attrs
            if inline.type == "html_inline":
                assert inline.content in ("<br>", "<sub>", "</sub>"), inline.content


def cells(line: str) -> int:
    """Cells of a table's line as cmark-gfm counts them: a backslash takes the next character."""
    return len(re.findall(r"(?<!\\)\|", line.replace("\\\\", "")))


def assert_tables_are_whole(markdown: str) -> None:
    tokens = MarkdownIt("commonmark").enable("table").parse(markdown)
    blocks = {n for one in tokens if one.type == "fence" and one.map for n in range(*one.map)}
    width = 0
    for number, line in enumerate(markdown.split("\n")):
        if line.startswith("|") and number not in blocks:
            width = width or cells(line)
            assert cells(line) == width, line[:300]
        else:
            width = 0


def test_the_report_shows_poison_as_text(poisoned: MemoryRun) -> None:
    report = render_report(analyse([poisoned]))
    assert_is_text(report)
    assert_tables_are_whole(report)


def test_the_page_of_a_job_shows_poison_as_text(poisoned: MemoryRun) -> None:
    assert_is_text(job_summary(analyse([poisoned])))


def test_the_terminal_obeys_no_poison(poisoned: MemoryRun) -> None:
    assert not set(terminal_summary(analyse([poisoned]), 80, colour=False)) & set(OBEYED)


def test_a_label_of_a_chart_has_signs_that_the_font_has() -> None:
    assert in_a_chart("a\x1b\x00\ue000b 日本") == "a⟨U+001B⟩⟨U+0000⟩⟨U+E000⟩b 日本"
    assert not set(in_a_chart(POISON)) & set(OBEYED)
    assert in_a_chart("a" * 70) == "a" * 70
    assert in_a_chart("a" * 100 + "b" * 100) == "a" * 45 + "…" + "b" * 24


@pytest.mark.slow
@pytest.mark.filterwarnings("error")
def test_the_charts_are_whole_svg_without_obeyed_characters(poisoned: MemoryRun) -> None:
    for svg in charts_of(poisoned).values():
        ElementTree.fromstring(svg)
        assert not set(svg) & set(OBEYED)


def test_the_page_shows_poison_as_text(poisoned: MemoryRun) -> None:
    analysis = analyse([poisoned])
    page = render_page(analysis, {}, None)
    assert not set(page) & set(OBEYED)
    shown = page.replace(page[page.index("<script") : page.rindex("</script>")], "")
    assert not re.findall(r"<(?:h[1-6]|li|p|td)[^>]*>\W*FORGED", shown)
    assert not re.findall(r"<(?:img|a|b|strong)\b[^>]*forged", shown, re.I)
    assert "<b>FORGED" not in shown
    assert "<strong>FORGED" not in shown
    assert "\\u2028" not in page


@pytest.mark.parametrize("character", OBEYED)
def test_every_obeyed_character_is_replaced_everywhere(character: str) -> None:
    text = f"a{character}b"
    for show in (visible, escape, code, block):
        assert character not in show(text)


def test_signs_name_what_they_stand_for() -> None:
    assert visible("a\r\nb\tc\x1b\u2028\x85") == "a\nb\tc␛⟨U+2028⟩⟨U+0085⟩"


@pytest.mark.parametrize("text", ["a\\|b", "\\", "a\\\\|b", "`|`", "|", "\\`|"])
def test_a_cell_of_code_stays_one_cell_on_github(text: str) -> None:
    assert_tables_are_whole(table(["a", "b"], [[code(text), escape(text)]]))


def test_what_a_terminal_is_told_obeys_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """Progress, messages, answers of commands and errors go through the filter."""
    TerminalProgress().notify(OBEYED)
    print_message(OBEYED)
    answer(False, None, OBEYED)
    shown = capsys.readouterr()
    assert not set(shown.out + shown.err) & set(OBEYED)
    for error in (UserError(OBEYED), RemoteError(OBEYED)):
        assert not set(str(error)) & set(OBEYED)


def test_a_terminal_is_told_in_whole_words(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("COLUMNS", "20")
    for stream, lines in ((Terminal(), 3), (io.StringIO(), 1)):
        TerminalProgress(stream).notify("model is named by /a/rather/long/path-name/of/mine here")
        shown = stream.getvalue().splitlines()
        assert len(shown) == lines
        assert " ".join(shown).split()[4] == "/a/rather/long/path-name/of/mine"


@pytest.mark.parametrize("name", ["a\nb", "a\x1b[2J", "a\u2028b", "a\u202eb"])
def test_a_runs_name_holds_no_such_character(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="leave out control characters"):
        check_new(tmp_path, name)


def test_a_dangling_link_in_a_runs_place_is_refused_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "run").symlink_to(tmp_path / "nowhere")
    with pytest.raises(UserError, match="exists already"):
        check_new(tmp_path, "run")

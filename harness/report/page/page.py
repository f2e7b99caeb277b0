"""One self-contained HTML page: the report, its charts and an explorer of examples.

Input: an :class:`Analysis` of stored runs -> output: HTML that needs no network. A content security
policy allows only what is in the file; everything that came from a model or a table enters as JSON
or escaped text. The report's own Markdown is rendered without raw HTML.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
from markdown_it import MarkdownIt

from harness.compare.analysis import Analysis
from harness.markdown import visible
from harness.report.article import Article
from harness.report.columns import columns_of
from harness.report.page.explorer import explorer
from harness.report.report import render_report

TEMPLATES = Path(__file__).resolve().parent

# The report's only raw HTML; private-use characters stand in while Markdown is rendered, so that
# raw HTML can stay switched off.
_MARKS = {
    "<sub>": "\ue000",
    "</sub>": "\ue001",
    "<br>": "\ue002",
    "<details><summary>": "\ue003",
    "</summary>": "\ue004",
    "</details>": "\ue005",
}
_OURS = re.compile(r"<sub>.*</sub>|<details><summary>[\w ,]*</summary>|</details>")
"""The lines of a report that hold raw HTML."""
_VERDICT = re.compile(r"<td([^>]*)><strong>(better|worse|pass|fail)</strong>")
_TONES = {"better": "good", "pass": "good", "worse": "bad", "fail": "bad"}
_HEADING = re.compile(r"<(h[1-3])>(.*?)</\1>")


def render_page(analysis: Analysis, charts: Mapping[str, str], article: Article | None) -> str:
    """The page of one or more runs, with their ``charts`` by file name."""
    report = report_html(render_report(analysis, article, _linked), charts)
    title = ", ".join(run.id for run in analysis.runs)
    columns = columns_of(analysis.runs)
    return _page(title, report, analysis.kept("examples", ["duckdb"], lambda: explorer(columns)))


def render_document(title: str, markdown: str) -> str:
    """The page of one text of ours, without an explorer."""
    return _page(title, report_html(markdown, {}), None)


def _page(title: str, report: str, data: dict[str, Any] | None) -> str:
    """The report, in HTML, with the explorer of ``data`` if there is one."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("page.html.j2").render(
        title=title,
        report=report,
        contents=contents(report),
        style=(TEMPLATES / "page.css").read_text(encoding="utf-8"),
        script=(TEMPLATES / "page.js").read_text(encoding="utf-8"),
        data=data and script_json(compact(data)),
        examples=data and data["total"],
    )
    return visible(page)


def report_html(markdown: str, charts: Mapping[str, str]) -> str:
    """The report as HTML, its charts inlined as images, its headings with an id each."""
    lines, fence = [], ""
    for mark in _MARKS.values():
        markdown = markdown.replace(mark, "\ufffd")
    for line in visible(markdown).split("\n"):
        if found := re.match("```+", line):
            # Only as many backticks end a block of code; what is in it is no markup of ours.
            fence = "" if line == fence else fence or found[0]
        elif not fence and _OURS.fullmatch(line):
            for tag, mark in _MARKS.items():
                line = line.replace(tag, mark)
        lines.append(line)
    html = str(MarkdownIt("commonmark", {"html": False}).enable("table").render("\n".join(lines)))
    for tag, mark in _MARKS.items():
        html = html.replace(mark, tag)
    # What opens and closes a fold is no paragraph.
    html = re.sub(r"<p>(<details><summary>.*?</summary>|</details>)</p>", r"\1", html)
    html = _HEADING.sub(
        lambda found: f'<{found[1]} id="{anchor(found[2])}">{found[2]}</{found[1]}>', html
    )
    for name, svg in charts.items():
        encoded = base64.b64encode(svg.encode("utf-8")).decode("ascii")
        html = html.replace(f'src="{name}"', f'src="data:image/svg+xml;base64,{encoded}"')
    html = _VERDICT.sub(lambda found: f'<td class="{_TONES[found[2]]}"{found[0][3:]}', html)
    # Wide tables scroll by themselves instead of the page.
    html = html.replace("<table>", '<div class="wide" tabindex="0"><table>')
    return html.replace("</table>", "</table></div>")


def contents(report: str) -> list[tuple[str, str]]:
    """The sections of a report in HTML: id and title of each."""
    return re.findall(r'<h2 id="([^"]*)">(.*?)</h2>', report)


def anchor(title: str) -> str:
    """The id of a heading: `Execution accuracy` -> `execution-accuracy`."""
    return re.sub(r"\W+", "-", re.sub(r"<[^>]*>", "", title).lower()).strip("-")


def _linked(example: int) -> str:
    """An example's id as a link to it in the explorer."""
    return f"[{example}](#example-{example})"


def compact(data: dict[str, Any]) -> dict[str, Any]:
    """The explorer's data, verdicts that many examples share written once.

    An answer of an example that is not kept in full is its place in ``verdicts``.
    """
    places: dict[Any, int] = {}
    verdicts: list[Any] = []

    def place(answer: Any) -> int:
        key = answer and (*answer.items(),)
        if key not in places:
            places[key] = len(verdicts)
            verdicts.append(answer)
        return places[key]

    examples = [
        example if example.get("full") else example | {"v": [place(v) for v in example["v"]]}
        for example in data["examples"]
    ]
    return data | {"examples": examples, "verdicts": verdicts}


def script_json(value: Any) -> str:
    """JSON that cannot end the script element it stands in."""
    encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode
    text = encode(value)
    if visible(text) != text or re.search(r"\\[bfru]", text):  # rare, and slow to replace in each
        text = encode(_visible_texts(value))
    for character, escaped in (("<", "\\u003c"), (">", "\\u003e"), ("&", "\\u0026")):
        text = text.replace(character, escaped)
    return text


def _visible_texts(value: Any) -> Any:
    """The JSON value with :func:`visible` texts."""
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, dict):
        return {visible(key): _visible_texts(inner) for key, inner in value.items()}
    return [_visible_texts(inner) for inner in value] if isinstance(value, list) else value

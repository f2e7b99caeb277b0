"""The end of a run on the terminal: a fitted table, what may be claimed, what to do next.

Input: the :class:`Analysis` of one run -> output: lines of text for a terminal of a given width.
Under each value stands how it differs from the first variant's, with the verdict in words. The
same in Markdown, for a job's page, is ``report.job_summary``.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable
from io import StringIO
from typing import TYPE_CHECKING

from harness.compare.analysis import Analysis
from harness.compare.cost import why_contended
from harness.compare.gates import outcome
from harness.compare.metrics import METRICS, Metric
from harness.markdown import duration, fixed, gigabytes, percent, percent_interval, visible
from harness.report.columns import Column, columns_of
from harness.report.comparison import what_may_be_claimed
from harness.report.tables.checkpoint_tables import checkpoint_sentences
from harness.report.tables.gate_tables import headline
from harness.report.warnings import not_measurable
from harness.runs.file_names import PAGE_FILE, REPORT_FILE
from harness.runs.store import StoredRun
from harness.schema.results import Comparison

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

_STYLES = {"better": "green", "worse": "red", "not distinguishable": "yellow"}
_GATES = {"pass": "green", "regression": "red"}
_MARKUP = re.compile(r"\\([\\`*_\[\]<>|#~:.])|`+|\*\*|</?sub>")
"""What Markdown adds to a text: escapes, and marks of code and bold."""

Cell = tuple[str, str, str]
"""The value, what stands under it, and the style of that."""


def terminal_summary(analysis: Analysis, width: int, colour: bool, typed: str = "") -> str:
    """The end of a run in lines of at most ``width`` columns, with ANSI colours where asked for.

    ``typed`` is the command with its paths whole, which the stored one has not.
    """
    (run,) = analysis.runs
    console = _console(width, colour)
    _print_table(console, analysis)
    for text in _sentences(analysis, run):
        console.print(text)
        console.print()
    for name, value in _where(run, typed):
        console.print(f"{name + ':':<9}{visible(value)}", soft_wrap=True)
    stream = console.file
    assert isinstance(stream, StringIO)
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines())


def plain(markdown: str) -> str:
    """A sentence of a report without Markdown's marks."""
    return _MARKUP.sub(lambda found: found[1] or "", markdown).replace("&lt;", "<")


def next_command(run: StoredRun, typed: str = "") -> str:
    """The command that answers what this run leaves open; empty where nothing obvious is open."""
    record, names = run.results.run, list(run.results.variants)
    words = _without(shlex.split(typed or record.command), "--run-name", "--seed")
    if record.source != "measured" or "--baseline" in record.command:
        return ""
    if "--adapter-path" in record.command:
        return ""
    bare = "base" not in names and "base" not in run.results.same_as
    # The name of a file's variant, or of a sweep's, is no word of a command.
    asked = _values(words, "--variant") or ["lora", "qlora"]
    wanted = ["base", *asked] if bare else asked
    words = [*_without(words, "--variant"), f"--variant={','.join(wanted)}"]
    if bare:
        return shlex.join(words)
    trained = any(result.finetune for result in run.results.variants.values())
    if trained and len(names) > 1 and "--seeds" not in record.command:
        return shlex.join([*words, "--seeds=0,1,2"])
    return ""


def _console(width: int, colour: bool) -> Console:
    from rich.console import Console

    return Console(
        file=StringIO(),
        width=width,
        force_terminal=colour,
        color_system="standard" if colour else None,
        markup=False,
        highlight=False,
        emoji=False,
    )


def _print_table(console: Console, analysis: Analysis) -> None:
    """One row a variant; a column that no variant has a value in is left out."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    columns = columns_of(analysis.runs)
    made = {title: [*map(cell, columns)] for title, cell in _cells(analysis, columns).items()}
    kept = {title: cells for title, cells in made.items() if any(cell[0] for cell in cells)}
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("Variant", overflow="fold")
    for title in kept:
        table.add_column(title, overflow="fold")
    for place, column in enumerate(columns):
        cells = [_two_lines(cells[place]) for cells in kept.values()]
        table.add_row(Text(visible(column.label), style="bold"), *cells)
    console.print(table)
    console.print()


def _cells(analysis: Analysis, columns: list[Column]) -> dict[str, Callable[[Column], Cell]]:
    """By title, what fills a column of the table."""
    loss = METRICS["completion_loss"]
    if not any(loss.value(column.result) is not None for column in columns):
        loss = METRICS["full_text_loss"]
    first = columns[0].label
    pairs = [pair for pair in analysis.pairs if pair.a == first]
    tested = {(c.b, c.metric): c for pair in pairs for c in pair.primary}
    described = {(pair.b, d.metric): d for pair in pairs for d in pair.descriptive}

    def against(column: Column, metric: Metric) -> tuple[str, str]:
        key = column.label, metric.key
        if key in described:
            return f"{metric.show_delta(described[key].delta)}, not tested", "dim"
        return _difference(tested.get(key), metric)

    def loss_cell(column: Column) -> Cell:
        return fixed(loss.value(column.result), missing=""), *against(column, loss)

    written = any(column.result.exact_match for column in columns)
    metric = METRICS["exact_match" if written else "ex"]

    def accuracy(column: Column) -> Cell:
        value, found = metric.value(column.result), column.result.exact_match
        interval = found.ci95 if found else column.rate_interval("ex")
        shown = percent(value, missing="")
        about = f" ({percent_interval(interval)})" if value is not None and interval else ""
        return shown + about, *against(column, metric)

    def speed(column: Column) -> Cell:
        value = METRICS["generation_tokens_per_s"].value(column.result)
        return fixed(value, 1, missing=""), column.speed_note, "dim"

    def training(column: Column) -> Cell:
        finetune, peak = column.result.finetune, column.peak("train")
        spent = duration(finetune.wall_s) if finetune and column.result.adapter else ""
        return spent, gigabytes(peak.mlx_peak_bytes) if spent and peak else "", ""

    title = loss.title.capitalize()
    return {
        title: loss_cell,
        metric.title.capitalize(): accuracy,
        "Tokens/s": speed,
        "Training": training,
    }


def _difference(found: Comparison | None, metric: Metric) -> tuple[str, str]:
    """`better by 34.7 points` and its style; empty beside itself and where nothing was compared."""
    if found is None or found.delta is None:
        return "", ""
    if found.verdict == "not distinguishable":
        return found.verdict, _STYLES[found.verdict]
    amount = metric.show_amount(abs(found.delta)).removesuffix(" nats a token")
    return f"{found.verdict} by {amount}", _STYLES[found.verdict]


def _two_lines(cell: Cell) -> Text:
    from rich.text import Text

    value, under, style = cell
    return Text.assemble(visible(value), *([("\n" + visible(under), style)] if under else []))


def _sentences(analysis: Analysis, run: StoredRun) -> Iterable[Text]:
    """What may be claimed, what the gates say, and what a reader must know of the run."""
    from rich.text import Text

    gates = run.results.gates
    said = [(plain(what_may_be_claimed(analysis)), "")]
    saved = checkpoint_sentences(columns_of(analysis.runs), analysis)
    said += [(plain(sentence), "") for sentence in saved]
    if gates:
        said.append((plain(headline(gates)), _GATES.get(outcome(gates).status, "yellow")))
        said += [
            (f"{gate.variant}, {METRICS[gate.metric].title}: {gate.verdict}, {gate.reason}", "")
            for gate in gates
            if gate.verdict != "pass"
        ]
    if run.results.run.partial:
        said.append((f"Partial, suites not selected: {', '.join(run.results.run.partial)}.", ""))
    said.append((plain(not_measurable(run)), ""))
    if busy := why_contended(run):
        said.append((f"Timings are contended: {busy}.", "yellow"))
    return [Text(visible(text), style=style) for text, style in said if text]


def _where(run: StoredRun, typed: str) -> list[tuple[str, str]]:
    """The paths of what was written, and the next command."""
    following = next_command(run, typed)
    return [
        ("results", str(run.folder)),
        ("report", str(run.folder / REPORT_FILE)),
        ("page", str(run.folder / PAGE_FILE)),
        *([("next", following)] if following else []),
    ]


def _values(words: list[str], option: str) -> list[str]:
    """The values of an option in the words of a command."""
    pairs = zip(words, [*words[1:], ""], strict=True)
    return [
        word.partition("=")[2] if "=" in word else following
        for word, following in pairs
        if word.partition("=")[0] == option
    ]


def _without(words: list[str], *options: str) -> list[str]:
    """The words of a command without these options and their values."""
    kept: list[str] = []
    skip = False
    for word in words:
        if skip:
            skip = False
        elif word in options:
            skip = True
        elif word.partition("=")[0] not in options:
            kept.append(word)
    return kept

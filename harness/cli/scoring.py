"""`prompts` and `score`: questions for any system, and execution accuracy of its answers.

A dataset folder, the name of a split and a predictions file -> a summary on standard output and
the rows of ``--out``. Nothing is written beside the data. A run's ``predictions.<variant>.jsonl``
can be scored too, because its rows hold ``text``.
"""

from __future__ import annotations

import gc
import hashlib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli.output import JsonFlag, answer
from harness.errors import UserError
from harness.markdown import percent, percent_interval, table
from harness.progress import TerminalProgress

if TYPE_CHECKING:
    from harness.disk.cache import Cache

MAX_COPIES = 64


def score(
    dataset: Annotated[str | None, typer.Option(help="mini, wikisql or a folder.")] = None,
    split: Annotated[str | None, typer.Option(help="Name of the split, e.g. test.")] = None,
    predictions: Annotated[Path | None, typer.Option(help="JSONL of predictions.")] = None,
    out: Annotated[Path | None, typer.Option(help="Where the verdicts go, JSONL.")] = None,
    format: Annotated[str, typer.Option(help="text, or wikisql for structured queries.")] = "text",
    hardened: Annotated[int, typer.Option(help="Perturbed copies K; 0 is none.")] = 0,
    self_test: Annotated[
        bool, typer.Option("--self-test", help="Grade known answers and print what passed.")
    ] = False,
    json: JsonFlag = False,
) -> None:
    """Grade predictions by every protocol: official, ex, strict, hardened, logical form."""
    from harness.data.sources.resolve import dataset_folder
    from harness.disk.cache import Cache

    if self_test:
        _self_test(json)
        return
    given = {"--dataset": dataset, "--split": split, "--predictions": predictions, "--out": out}
    missing = [name for name, value in given.items() if value is None]
    if dataset is None or split is None or predictions is None or out is None:
        raise UserError(
            f"score needs {', '.join(missing)}; e.g. python -m harness score --dataset "
            "mini --split test --predictions FILE --out scores.jsonl, or --self-test"
        )
    folder = dataset_folder(dataset)
    figures = run_score(folder, split, predictions, format, hardened, out, Cache())
    answer(json, figures, "" if json else _render(figures))


def prompts(
    dataset: Annotated[str, typer.Option(help="mini, wikisql or a folder.")] = "mini",
    split: Annotated[str, typer.Option(help="Name of the split.")] = "test",
    prompt_style: Annotated[str, typer.Option(help="chat, sql or dialect.")] = "chat",
    out: Annotated[Path | None, typer.Option(help="A file instead of standard output.")] = None,
    json: JsonFlag = False,
) -> None:
    """The questions of a split as they are asked, with ids, for a system elsewhere.

    One JSON object a line: `id`, `prompt`, and the same as `messages` for an API. `score` grades
    the answers: a line `{"id": ..., "text": "..."}` each.
    """
    import json as encoder

    from harness.data.prompts import style
    from harness.data.sources.resolve import dataset_folder
    from harness.data.sources.wikisql import load_split
    from harness.disk.files import write_jsonl

    chosen, loaded = style(prompt_style), load_split(dataset_folder(dataset), [split])
    texts = {e.id: chosen.prompt(e.question, loaded.tables[e.table_id]) for e in loaded.examples}
    rows: list[dict[str, Any]] = [
        {"id": number, "prompt": text, "messages": [{"role": "user", "content": text}]}
        for number, text in texts.items()
    ]
    value = {"dataset": dataset, "split": split, "prompt_style": prompt_style, "n": len(rows)}
    if out is not None:
        write_jsonl(out, rows)
        answer(json, {**value, "out": str(out)}, f"Written: {out}, {len(rows):,} prompts")
    elif json:
        answer(json, {**value, "prompts": rows}, "")
    else:
        answer(json, value, "\n".join(map(encoder.dumps, rows)))


def run_score(
    dataset: Path,
    split: str,
    predictions: Path,
    format: str = "text",
    hardened: int = 0,
    out: Path | None = None,
    cache: Cache | None = None,
) -> dict[str, Any]:
    """Grade a predictions file; the result is the object that ``--json`` prints.

    Args:
        dataset: a folder with ``<split>.jsonl`` and ``<split>.tables.jsonl``.
        split: the split's name; any name will do.
        predictions: the JSONL file of predictions.
        format: ``text`` or ``wikisql``.
        hardened: the number K of perturbed copies, 0 for none.
        out: the file for the rows, one for each example; None writes none.
        cache: keeps the gold results for the next time; None keeps nothing.

    Raises:
        UserError: something in the files or options that the user can put right.
    """
    from harness.data.sources.wikisql import load_split
    from harness.disk.files import write_jsonl
    from harness.sql.grade.predictions import read_predictions
    from harness.sql.grade.score import score
    from harness.sql.grade.summary import score_figures, summarize

    if not 0 <= hardened <= MAX_COPIES:
        raise UserError(f"--hardened must be 0..{MAX_COPIES}, got {hardened}.")
    with _no_collection(), closing(TerminalProgress()) as progress:
        loaded = load_split(dataset, [split])
        examples = loaded.examples
        found = read_predictions(predictions, format, [example.id for example in examples])
        key = _source_key(dataset, split)
        scores = score(loaded.tables, examples, found, hardened, cache, progress, key)
        if out is not None:
            write_jsonl(out, [one.row() for one in scores])
        return score_figures(summarize(scores, examples), scores, examples)


@contextmanager
def _no_collection() -> Iterator[None]:
    """Switch garbage collection off: it would take a fifth of the time and find almost nothing."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _source_key(dataset: Path, split: str) -> str:
    """The digest of the two files that the split is read from."""
    from harness.data.sources.jsonlines import existing, read_bytes

    digest = hashlib.sha256()
    for name in (f"{split}.jsonl", f"{split}.tables.jsonl"):
        path = existing(dataset, name) or dataset / name
        digest.update(hashlib.sha256(read_bytes(path)).digest())
    return digest.hexdigest()


def _self_test(json: bool) -> None:
    from harness.data.sources.resolve import resolve_dataset
    from harness.disk.cache import Cache
    from harness.sql.grade.selftest import run_self_test

    report = run_self_test(resolve_dataset("mini").test, Cache())
    answer(json, report.as_dict(), "" if json else report.render())
    if not report.passed:
        raise typer.Exit(1)


def _render(figures: dict[str, Any]) -> str:
    """The figures as Markdown, rates in percent."""
    names = ("ex", "ex_official", "ex_strict", "ex_hardened", "lf", "valid", "ex_given_valid")
    rows = [(name, percent(figures[name], 2, "not asked")) for name in names]
    if figures["ci95"] is not None:
        rows.append(("ex, 95%", percent_interval(figures["ci95"], 2)))
    rows.append(("degenerate gold, left out of ex", str(figures["degenerate_gold"])))
    rows += [(f"failed: {kind}", str(number)) for kind, number in figures["failures"].items()]
    for title, groups in (("aggregate", "by_agg"), ("conditions", "by_conditions")):
        rows += [
            (f"ex, {title} {key or 'none'}", f"{percent(group['ex'], 2)} of {group['n']}")
            for key, group in figures[groups].items()
        ]
    headline = f"{figures['n']:,} predictions, {figures['protocol']}"
    return f"{headline}\n\n{table(['metric', ''], rows)}"

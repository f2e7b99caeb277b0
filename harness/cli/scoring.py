"""`prompts` and `score`: questions for any system, and execution accuracy of its answers.

A dataset folder, the name of a split and a predictions file -> a summary on standard output and
the rows of ``--out``. Nothing is written beside the data. A run's ``predictions.<variant>.jsonl``
can be scored too, because its rows hold ``text``.
"""

from __future__ import annotations

import gc
import hashlib
import shlex
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli.output import JsonFlag, answer
from harness.errors import UserError
from harness.markdown import percent, percent_interval, table
from harness.progress import TerminalProgress
from harness.protocols import HARDENED_COPIES

if TYPE_CHECKING:
    from harness.data.records import Split
    from harness.disk.cache import Cache
    from harness.sql.grade.predictions import Prediction
    from harness.sql.grade.score import Score

MAX_COPIES = 64
OWN_RUNS = Path("results/runs")


def score(
    dataset: Annotated[str | None, typer.Option(help="mini, wikisql or a folder.")] = None,
    split: Annotated[str | None, typer.Option(help="Name of the split, e.g. test.")] = None,
    predictions: Annotated[Path | None, typer.Option(help="JSONL of predictions.")] = None,
    out: Annotated[Path | None, typer.Option(help="Where the verdicts go, JSONL.")] = None,
    format: Annotated[str, typer.Option(help="text, or wikisql for structured queries.")] = "text",
    hardened: Annotated[
        int | None, typer.Option(help="Perturbed copies K; 0 is none (8 with --run-name).")
    ] = None,
    run_name: Annotated[
        str | None, typer.Option(help="Write a run of this name: compare, report, gate it.")
    ] = None,
    results_dir: Annotated[Path, typer.Option(help="Where that run is written.")] = OWN_RUNS,
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
    given = {"--dataset": dataset, "--split": split, "--predictions": predictions}
    given |= {"--out": out} if run_name is None else {}
    missing = [name for name, value in given.items() if value is None]
    if dataset is None or split is None or predictions is None or missing:
        raise UserError(
            f"score needs {', '.join(missing)}; e.g. python -m harness score --dataset "
            "mini --split test --predictions FILE --out scores.jsonl, or --self-test"
        )
    if run_name is None:
        folder = dataset_folder(dataset)
        figures = run_score(folder, split, predictions, format, hardened or 0, out, Cache())
        answer(json, figures, "" if json else _render(figures))
        return
    copies = HARDENED_COPIES if hardened is None else hardened
    run = results_dir / run_name
    figures = score_as_run(dataset, split, (predictions, format), copies, run, out)
    shown = f"{_render(figures)}\n\nrun: {run}\nnext: tunebench compare RUN {run}"
    answer(json, {**figures, "run": str(run)}, "" if json else shown)


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
    from harness.sql.read.gold import read_golds

    chosen = style(prompt_style)
    loaded = load_split(dataset_folder(dataset), [split], read_golds)
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
    from harness.sql.grade.summary import score_figures, summarize
    from harness.sql.read.gold import read_golds

    _check_copies(hardened)
    loaded = load_split(dataset, [split], read_golds)
    key = _source_key(dataset, split)
    graded = _graded(loaded, (predictions, format), hardened, out, (cache, key))
    scores = [score for _, score in graded]
    return score_figures(summarize(scores, loaded.examples), scores, loaded.examples)


def score_as_run(
    dataset: str,
    split: str,
    predictions: tuple[Path, str],
    hardened: int,
    folder: Path,
    out: Path | None = None,
) -> dict[str, Any]:
    """As :func:`run_score`, and the answers as the run ``folder``.

    Raises:
        UserError: as there, and where the split is not the dataset's test split or the run's name
            is taken.
    """
    from harness.data.sources.resolve import resolve_dataset
    from harness.disk.cache import Cache
    from harness.disk.files import shown_argument
    from harness.pipeline.outside_run import write_outside_run
    from harness.runs.file_names import check_new
    from harness.sql.grade.summary import score_figures, summarize
    from harness.sql.read.gold import read_golds

    _check_copies(hardened)
    check_new(folder.parent, folder.name)
    data = resolve_dataset(dataset, read_golds=read_golds)
    if not data.has_tables or data.test.name != split:
        raise UserError(
            f"a run has answers to the test split of data with tables, and split {split!r} of "
            f"{dataset!r} is another. Leave --run-name out to grade it, or use --split test."
        )
    graded = _graded(data.test, predictions, hardened, out, (Cache(), data.sha256))
    write_outside_run(
        folder,
        data,
        graded,
        hardened,
        shlex.join(["tunebench", *map(shown_argument, sys.argv[1:])]),
    )
    scores = [score for _, score in graded]
    return score_figures(summarize(scores, data.test.examples), scores, data.test.examples)


def _check_copies(hardened: int) -> None:
    if not 0 <= hardened <= MAX_COPIES:
        raise UserError(f"--hardened must be 0..{MAX_COPIES}, got {hardened}.")


def _graded(
    split: Split,
    predictions: tuple[Path, str],
    hardened: int,
    out: Path | None,
    kept: tuple[Cache | None, str],
) -> list[tuple[Prediction, Score]]:
    """Every prediction of a file (and its format) with its verdicts; the rows go to ``out``."""
    from harness.disk.files import write_jsonl
    from harness.sql.grade.predictions import read_predictions
    from harness.sql.grade.score import score

    with _no_collection(), closing(TerminalProgress()) as progress:
        found = read_predictions(*predictions, [example.id for example in split.examples])
        cache, key = kept
        scores = score(split.tables, split.examples, found, hardened, cache, progress, key)
        if out is not None:
            write_jsonl(out, [one.row() for one in scores])
    return list(zip(found, scores, strict=True))


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

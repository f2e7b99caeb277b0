"""`describe`, `import`, `export`, `fetch` and `cache`: what the data is and where it is kept."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from harness.cli.output import JsonFlag, answer
from harness.progress import print_message

cache_app = typer.Typer(no_args_is_help=True, help="List and remove what the cache holds.")


def describe(
    dataset: Annotated[str, typer.Argument(help="mini, wikisql or a folder.")],
    json: JsonFlag = False,
) -> None:
    """Counts by split, aggregate, operator and conditions; leakage; gold that cannot be used."""
    from harness.data import describe as description
    from harness.data.sources.resolve import resolve_dataset
    from harness.sql.grade.gold import beyond, gold_kinds
    from harness.sql.read.gold import read_golds

    data = resolve_dataset(dataset, read_golds=read_golds)
    if not data.has_tables:
        texts = description.describe_texts(data)
        answer(json, texts.model_dump(mode="json"), description.render_texts(texts))
        return
    found = description.describe(
        data,
        {split.name: gold_kinds(split) for split in data.splits},
        {split.name: beyond(split) for split in data.splits},
    )
    answer(json, found.model_dump(mode="json"), description.render(found))


def import_data(
    source: Annotated[
        list[Path],
        typer.Argument(help="Files or folders: a table of questions with SQL, and the tables."),
    ],
    out: Annotated[Path, typer.Option(help="The new folder.")],
    seed: Annotated[int, typer.Option(help="Decides what goes to which split.")] = 0,
    skip_unreadable: Annotated[
        bool, typer.Option("--skip-unreadable", help="Leave out SQL that cannot be read.")
    ] = False,
    json: JsonFlag = False,
) -> None:
    """Make a dataset of your own questions with SQL and tables: CSV, Parquet, JSONL, SQLite."""
    from harness.data.own_data import check_new_folder, import_files, write_folder
    from harness.sql.read.gold import read_golds

    check_new_folder(out)
    found = import_files(source, read_golds, seed, skip_unreadable)
    write_folder(found, out)
    sizes = {name: len(pairs) for name, pairs in found.splits.items()}
    value = {
        "out": str(out),
        "tables": len(found.tables),
        "splits": sizes,
        "split_by": found.by,
        "left_out": list(found.left_out),
    }
    counted = ", ".join(f"{size:,} {name}" for name, size in sizes.items())
    for problem in found.left_out:
        print_message(f"left out: {problem}")
    answer(
        json,
        value,
        f"Written: {out}, {counted} questions, split by {found.by}; tables: {len(found.tables)}\n"
        f"next: tunebench describe {out}",
    )


def export(
    out: Annotated[Path, typer.Option(help="Folder to write into.")],
    dataset: Annotated[str, typer.Option(help="mini, wikisql or a folder.")] = "mini",
    prompt_style: Annotated[str, typer.Option(help="dialect, sql or chat.")] = "dialect",
    model: Annotated[str, typer.Option(help="The base that the command tests.")] = "smollm2",
    variant: Annotated[str, typer.Option(help="Whose batch size and limits it uses.")] = "base",
    adapter_path: Annotated[
        Path | None, typer.Option(help="The adapter that the command tests.")
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Write the train/valid/test.jsonl that mlx-lm reads, and print a command to compare losses."""
    from harness.data.export import check_out, reconcile_command
    from harness.data.export import export as write_files
    from harness.data.prompts import style as style_named
    from harness.data.sources.resolve import resolve_dataset
    from harness.disk.cache import Cache
    from harness.machine.installed import check_backend
    from harness.models.quantize import quantized
    from harness.models.resolve import resolve
    from harness.progress import TerminalProgress
    from harness.sql.read.gold import read_golds
    from harness.train.variants import load_variants

    check_backend()
    check_out(out)
    chosen = load_variants([variant])[0]
    data, style = resolve_dataset(dataset, read_golds=read_golds), style_named(prompt_style)
    cache, progress = Cache(), TerminalProgress()
    base = quantized(resolve(model, cache, progress), chosen.quantize, cache, progress)
    progress.close()
    tokenizer = None
    if style.chat:
        from harness.models.load import load_tokenizer

        tokenizer = load_tokenizer(base)
    files = [str(path) for path in write_files(data, style, out, tokenizer)]
    settings = chosen.mlx_lm_config() | {"adapter_path": str(adapter_path or "")}
    command = reconcile_command(str(base.path), out, settings)
    text = "\n".join([*files, "", f"mlx-lm's own test loss on the same texts:\n  {command}"])
    answer(json, {"files": files, "command": command}, text)


def fetch(
    what: Annotated[str, typer.Argument(help="wikisql or smollm2.")],
    json: JsonFlag = False,
) -> None:
    """Download, verify (sha256) and prepare; resumable."""
    from harness.data.sources.archive import fetch_wikisql
    from harness.disk.cache import Cache
    from harness.errors import unknown
    from harness.machine.installed import check_backend
    from harness.models.embedded.smollm2 import directory
    from harness.progress import ProgressCallback, TerminalProgress

    makers: dict[str, Callable[[Cache, ProgressCallback], Path]]
    makers = {"wikisql": fetch_wikisql, "smollm2": directory}
    if what not in makers:
        raise unknown("thing to fetch", what, makers)
    if what == "smollm2":
        check_backend()  # MLX converts it
    with closing(TerminalProgress()) as progress:
        folder = makers[what](Cache(), progress)
    answer(json, {"what": what, "folder": str(folder)}, f"{what} is ready in {folder}")


@cache_app.command("list")
def cache_list(json: JsonFlag = False) -> None:
    """Every entry with its size, least recently used first."""
    import datetime

    from harness.disk.cache import Cache

    cache = Cache()
    entries = cache.entries()
    rows = [
        {
            "kind": entry.kind,
            "key": entry.key,
            "bytes": entry.bytes,
            "used": datetime.datetime.fromtimestamp(entry.used, datetime.UTC).isoformat(),
        }
        for entry in entries
    ]
    total = sum(entry.bytes for entry in entries)
    lines = [f"{e.bytes / 1e6:10.1f} MB  {e.kind}/{e.key}" for e in entries]
    lines.append(f"{total / 1e6:10.1f} MB  in {len(entries)} entries under {cache.root}")
    answer(json, {"root": str(cache.root), "bytes": total, "entries": rows}, "\n".join(lines))


@cache_app.command("prune")
def cache_prune(
    older_than_days: Annotated[
        float | None,
        typer.Option(min=0.0, help="Also remove what was not used for N days; 0 is all."),
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Remove what killed or damaged runs left behind, and on demand old entries."""
    from harness.disk.cache import Cache
    from harness.disk.prune import prune

    cache = Cache()
    pruned = prune(cache, None if older_than_days is None else older_than_days * 86400.0)
    freed = sum(entry.bytes for entry in pruned.entries)
    print_message(
        f"removed {len(pruned.entries)} entries and {pruned.leftovers} leftovers of {cache.root}"
    )
    kept = "entries are kept; --older-than-days N removes those that were not used for N days"
    value = {"removed": len(pruned.entries), "leftovers": pruned.leftovers, "bytes": freed}
    answer(json, value, kept if older_than_days is None else f"{freed / 1e6:.1f} MB freed")

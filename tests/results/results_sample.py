"""A small, realistic run for the results tests: base, lora and qlora on 60 questions.

Every number derives from a seed, so the golden report is the same on any machine; the execution
and loss sections are computed from the rows, as the pipeline does.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from harness.compare.analysis import analyse
from harness.compare.quality import (
    PairComparison,
    compare_sides,
    match_sides,
)
from harness.disk.files import write_text
from harness.pipeline.grading import checkpoint_results, checkpoint_rows
from harness.report.article import Article
from harness.report.charts.curves import render_charts
from harness.report.page.page import render_page
from harness.report.report import render_report
from harness.report.write import write_run
from harness.runs import store
from harness.runs.file_names import REPORT_FILE
from harness.runs.store import PendingRun, RunRows, StoredRun, read_run
from harness.schema.results import Results
from harness.schema.rows import CheckpointRow, LossRow, PredictionRow, TrialRow
from harness.schema.variant_result import perplexity
from harness.stats.intervals import token_weighted_loss
from harness.stats.rates import clustered_rate

TABLES = 20
EXAMPLES = 60
SKILL = {"base": 0.03, "lora": 0.62, "qlora": 0.45, "article/qlora": 0.45}
NLL = {"base": 1.9, "lora": 0.42, "qlora": 0.50, "article/qlora": 0.50}
SPEED = {"base": (320.0, 21.0), "lora": (300.0, 19.0), "qlora": (210.0, 12.0)}


def loss_rows(variant: str, shift: float = 0.0, count: int = EXAMPLES) -> list[LossRow]:
    """Losses that share their per-example difficulty across variants."""
    hard = np.random.default_rng(5).normal(0.0, 0.15, count)
    own = np.random.default_rng(_seed(variant)).normal(0.0, 0.02, count)
    rows = []
    for i in range(count):
        tokens = 12 + i % 9
        mean = max(0.05, NLL.get(variant, 0.5) + shift + hard[i] + own[i])
        rows.append(
            LossRow(
                id=i,
                table_id=f"t-{i % TABLES}",
                full_nll=round(float(mean * tokens + 2.0 * 60), 6),
                full_tokens=tokens + 60,
                completion_nll=round(float(mean * tokens), 6),
                completion_tokens=tokens,
            )
        )
    return rows


def prediction_rows(
    variant: str, skill: float | None = None, count: int = EXAMPLES
) -> list[PredictionRow]:
    """Graded answers: an example is right where a shared draw lies below the variant's skill."""
    draw = np.random.default_rng(11).random(count)
    own = np.random.default_rng(_seed(variant)).normal(0.0, 0.04, count)
    level = SKILL.get(variant, 0.5) if skill is None else skill
    kinds = ("unknown_column", "unsupported", "unknown_table")
    rows = []
    for i in range(count):
        right = bool(draw[i] + own[i] < level)
        degenerate = i in (7, 31)
        failure = None if right or i % 3 else kinds[i % 9 // 3]
        rows.append(
            PredictionRow(
                id=i,
                table_id=f"t-{i % TABLES}",
                text=f" SELECT Name FROM t-{i % TABLES} WHERE Age = {i}",
                ex_official=right,
                lf=right and i % 4 != 0,
                ex=None if degenerate else right,
                ex_strict=None if degenerate else right and i % 5 != 0,
                ex_hardened=None if degenerate else right and i % 10 != 3,
                valid=failure is None,
                failure=failure,
                query={"sel": 0, "agg": 0, "conds": [[1, 0, str(i)]]} if not failure else None,
                sql=f'SELECT "Name" FROM "t-{i % TABLES}" WHERE "Age" = {i}'
                if not failure
                else None,
            )
        )
    return rows


def trial_rows(variant: str, factor: float = 1.0) -> list[TrialRow]:
    """Three interleaved trials with a spread of about 1%."""
    prompt, generation = SPEED.get(variant, (200.0, 10.0))
    wobble = np.random.default_rng(_seed(variant)).normal(1.0, 0.01, 3)
    return [
        TrialRow(
            block=block,
            prompt_tokens=64,
            prompt_tokens_per_s=round(prompt * float(w) * factor, 3),
            ttft_s=round(64 / (prompt * float(w) * factor), 4),
            generation_tokens_per_s=round(generation * float(w) * factor, 3),
        )
        for block, w in enumerate(wobble)
    ]


def saved_rows(variant: str) -> list[CheckpointRow]:
    """Checkpoints at 20, 30 (a little better than the end) and 40, which is the variant itself."""
    level = SKILL.get(variant, 0.5)
    saved = {20: (0.2, 0.3), 30: (-0.02, level + 0.04), 40: (0.0, level)}
    return [
        row
        for iteration, (shift, skill) in saved.items()
        for row in checkpoint_rows(
            iteration, loss_rows(variant, shift), prediction_rows(variant, skill)
        )
    ]


def sample_rows(variants: tuple[str, ...] = ("base", "lora", "qlora")) -> RunRows:
    """The row files of the sample run."""
    return RunRows(
        {name: loss_rows(name) for name in variants},
        {name: prediction_rows(name) for name in variants},
        {name: trial_rows(name) for name in variants},
        {name: saved_rows(name) for name in variants if name != "base"},
    )


def sample_results(name: str = "sample", rows: RunRows | None = None, **run: Any) -> Results:
    """results.json of the sample run; ``run`` overrides fields of its `run` section."""
    rows = rows or sample_rows()
    record: dict[str, Any] = {
        "schema_version": 1,
        "run": {
            "id": name,
            "started": "2026-11-24T20:00:00Z",
            "finished": "2026-11-24T20:14:10Z",
            "command": "pytest suites/ --variant=base,lora,qlora",
            "seed": 0,
            "partial": [],
            "contended": False,
            "git": {"commit": "0123456789abcdef0123456789abcdef01234567", "dirty": False},
            "versions": {"tunebench": "0.1.0", "mlx": "0.32.4", "mlx-lm": "0.32.2"},
            "device": {
                "backend": "cpu",
                "chip": "Sample CPU, 2 cores",
                "memory_bytes": 16_000_000_000,
                "blas": "mkl",
            },
            "distributed": {"size": 1},
            **run,
        },
        "model": {
            "id": "smollm2",
            "revision": "0.1.2",
            "sha256": "aa" * 32,
            "architecture": "llama",
            "weights": {
                "dtype": "float32",
                "source": "gguf",
                "source_bits": 4,
                "group_size": 32,
                "note": "4-bit values of a GGUF file (Q4_1), held as float32",
            },
        },
        "dataset": {
            "name": "mini",
            "sha256": "bb" * 32,
            "splits": {"train": 1000, "valid": 60, "test": EXAMPLES},
            "tables": 330,
            "leakage": {"shared_tables": 0, "shared_questions": 0},
        },
        "protocols": {
            "loss": "loss-dialect@1",
            "execution": "execution-dialect-greedy128-batch16@1",
            "throughput": "throughput-single-32@1",
            "memory": "memory-rss50ms@1",
        },
        "variants": {name: variant_section(name, rows, run.get("seed", 0)) for name in rows.losses},
    }
    return Results.model_validate(record)


def variant_section(name: str, rows: RunRows, seed: int = 0) -> dict[str, Any]:
    """One variant's section, from its rows; every seed has weights of its own."""
    tuned = name != "base"
    quantized = "qlora" in name
    loss = _loss(rows, name)
    quantize = {"bits": 4, "group_size": 64, "mode": "affine"} if quantized else None
    return {
        "config": {
            "fine_tune_type": "lora",
            "iters": 40,
            "batch_size": 4,
            "val_batches": 5,
            "quantize": quantize,
        }
        if tuned
        else {"fine_tune_type": "base", "quantize": None},
        "adapter": {
            "path": f"cache/adapters/{name}",
            "sha256": f"{_seed(name) + 100_000 * seed:064x}",
            "iterations": 40,
            "source": "trained",
        }
        if tuned
        else None,
        "parameters": {
            "trainable": 460_800 if tuned else 0,
            "total": 134_975_808 if tuned else 134_515_008,
            "per_ten_thousand": 34.139 if tuned else 0.0,
            "packed_total": 24_000_000 if quantized else 134_975_808 if tuned else 134_515_008,
            "packed_per_ten_thousand": (192.0 if quantized else 34.139) if tuned else 0.0,
        },
        "finetune": _finetune(NLL.get(name, 0.5)) if tuned else None,
        "checkpoints": [one.model_dump() for one in checkpoint_results(rows.checkpoints[name])]
        if name in rows.checkpoints
        else None,
        "loss": loss,
        "memory": _memory(quantized, tuned),
        "size": {
            "base_bytes": 85_000_000 if quantized else 538_000_000,
            "base_by_dtype": {"uint32": 67_000_000, "float32": 18_000_000}
            if quantized
            else {"float32": 538_000_000},
            "adapter_bytes": 1_843_200 if tuned else 0,
            "fused_bytes": (90_000_000 if quantized else 538_000_000) if tuned else None,
            "fused_by_dtype": {"uint32": 67_000_000, "float32": 23_000_000}
            if quantized
            else {"float32": 538_000_000}
            if tuned
            else None,
        },
        "throughput": _throughput(rows, name),
        "execution": _execution(rows, name),
        "fuse": {
            "adapter": {"ppl": 7.1, "ex": 0.625},
            "fused": {"ppl": 7.3 if quantized else 7.1, "ex": 0.583 if quantized else 0.625},
            "dequantized": {"ppl": 7.1, "ex": 0.625} if quantized else None,
            "flips": {
                "fused": 2 if quantized else 0,
                "dequantized": 0 if quantized else None,
                "of": 24,
            },
            "skipped": None if quantized else "would need 1.1 GB of memory, 0.9 are free",
        }
        if tuned
        else None,
        "questions": _questions(name),
    }


def write_sample(
    results_dir: Path, name: str = "sample", charts: bool = False, **run: Any
) -> StoredRun:
    """Write the sample run into ``results_dir``."""
    rows = sample_rows()
    return write_compared(results_dir, sample_results(name, rows, **run), rows, charts)


def write_compared(
    results_dir: Path, results: Results, rows: RunRows, charts: bool = False
) -> StoredRun:
    """Write a run with its comparisons and report; with ``charts`` all that the pipeline writes."""
    pending = PendingRun(results_dir / results.run.id, results, None, rows)
    analysis = analyse([pending])
    if charts:
        write_run(pending, analysis)
    else:
        compared = results.model_copy(update={"comparisons": analysis.records})
        report = render_report(analysis)
        store.write_run(
            replace(pending, results=compared),
            lambda folder: write_text(folder / REPORT_FILE, report),
        )
    return read_run(pending.folder)


def _seed(variant: str) -> int:
    return sum(map(ord, variant))


def _finetune(final: float) -> dict[str, Any]:
    rows = [(0, None, 2.6, None), (20, 2.1, 1.5 + final, 61.5), (40, 1.7, 1.3 + final, 64.25)]
    return {
        "curve": [
            {
                "iteration": i,
                "updates": i,
                "train_loss": train,
                "val_loss": val,
                "tokens_per_s": speed,
                "supervised_tokens_per_s": speed,
            }
            for i, train, val, speed in rows
        ],
        "wall_s": 226.0,
        "resumed_from": None,
        "contended": False,
        "measured_at": "2026-11-24T20:08:00Z on Sample CPU, 2 cores",
        "cached": False,
    }


def _loss(rows: RunRows, name: str) -> dict[str, Any]:
    items = rows.losses[name]
    made: dict[str, Any] = {"n": len(items), "of": EXAMPLES}
    for key, prefix in (("full_text", "full"), ("completion", "completion")):
        nll = [getattr(row, f"{prefix}_nll") for row in items]
        tokens = [getattr(row, f"{prefix}_tokens") for row in items]
        mean = sum(nll) / sum(tokens)
        made[key] = {
            "loss": mean,
            "ppl": perplexity(mean),
            "tokens": sum(tokens),
            "ci95": token_weighted_loss(nll, tokens, [row.table_id for row in items]),
        }
    compat = made["full_text"]["loss"] + 0.01
    made["mlx_lm_compat"] = {
        "loss": compat,
        "ppl": perplexity(compat),
        "tokens": 4500,
        "ci95": None,
    }
    return made


def _memory(quantized: bool, tuned: bool) -> dict[str, Any]:
    def phase(peak: float) -> dict[str, Any]:
        return {
            "mlx_peak_bytes": int(peak * 1e9),
            "rss_start_bytes": 400_000_000,
            "rss_peak_bytes": int((peak + 0.4) * 1e9),
            "shared_process": False,
        }

    base = 0.09 if quantized else 0.54
    return {
        "load": phase(base),
        "train": phase(base + 2.0) if tuned else None,
        "validate": phase(base + 0.8) if tuned else None,
        "test": phase(base + 0.9),
        "generate": phase(base + 0.3),
        "fuse": phase(base + 1.2) if tuned else None,
    }


def _throughput(rows: RunRows, name: str) -> dict[str, Any]:
    trials = rows.trials[name]
    return {
        "prompt_tokens_per_s": float(np.median([t.prompt_tokens_per_s for t in trials])),
        "generation_tokens_per_s": float(np.median([t.generation_tokens_per_s for t in trials])),
        "ttft_s": float(np.median([t.ttft_s for t in trials])),
        "inter_token_p50_s": 0.05,
        "inter_token_p95_s": 0.06,
        "batched_tokens_per_s": 88.0,
        "trials": len(trials),
        "measured_at": "2026-11-24T20:13:00Z on Sample CPU, 2 cores",
        "cached": False,
    }


def _execution(rows: RunRows, name: str) -> dict[str, Any]:
    items = rows.predictions[name]
    graded = [row for row in items if row.ex is not None]

    def rate(field: str, among: Any = graded) -> float:
        return float(np.mean([bool(getattr(row, field)) for row in among]))

    def interval(among: Any) -> tuple[float, float] | None:
        return clustered_rate([bool(row.ex) for row in among], [row.table_id for row in among])

    def groups(of: dict[str, Any]) -> dict[str, Any]:
        return {
            key: {"n": len(rows), "ex": rate("ex", rows), "ci95": interval(rows)}
            for key, rows in of.items()
        }

    return {
        "n": len(items),
        "of": EXAMPLES,
        "ex": rate("ex"),
        "ex_official": rate("ex_official", items),
        "ex_strict": rate("ex_strict"),
        "ex_hardened": rate("ex_hardened"),
        "lf": rate("lf", items),
        "valid": rate("valid", items),
        **dict.fromkeys(("ci95", "clustered_ci95"), interval(graded)),
        "degenerate_gold": len(items) - len(graded),
        "failures": dict(Counter(row.failure for row in items if row.failure)),
        "by_agg": groups({"": graded[::2], "COUNT": graded[1::2]}),
        "by_conditions": groups({"1": graded[:40], "2": graded[40:]}),
    }


def _questions(name: str) -> list[dict[str, Any]]:
    prompt, generation = SPEED.get(name, (200.0, 10.0))
    name_sql = "SELECT Name FROM students WHERE Name = 'Wang Junjian'"
    count_sql = "SELECT COUNT(Name) FROM students WHERE Grade = '9'"
    asked: list[tuple[str, str, str, list[list[Any]], list[list[Any]] | None]] = [
        (
            "What is Wang Junjian's name?",
            "SELECT Name FROM students WHERE School = 'x | y'",
            name_sql,
            [["Wang Junjian"]],
            [],
        ),
        (
            "How old is Wang Junjian?",
            "SELECT Age FROM students WHERE Name = 'Wang Junjian'",
            name_sql.replace("SELECT Name", "SELECT Age"),
            [[15.0]],
            [[15.0]],
        ),
        ("Count how many students there are in ninth grade.", "nine", count_sql, [[4]], None),
        (
            "Count how many students there are in ninth grade. (The value for ninth grade is 9.)",
            "SELECT COUNT Name FROM students WHERE Grade = 9",
            count_sql,
            [[4]],
            [[4]],
        ),
    ]
    hints = ["", "", "", "The value for ninth grade is 9.\n"]
    return [
        {
            "question": question,
            "prompt": "table: students\ncolumns: Name, Age\n"
            f"{hint}Q: {question.partition(' (')[0]}\nA:",
            "text": f" {text}",
            "sql": None if rows is None else text,
            "rows": rows,
            "gold_sql": gold_sql,
            "gold_rows": gold_rows,
            "correct": rows == gold_rows,
            "failure": "unsupported" if rows is None else None,
            "prompt_tokens_per_s": prompt + i,
            "generation_tokens_per_s": generation + i / 10,
        }
        for i, ((question, text, gold_sql, gold_rows, rows), hint) in enumerate(
            zip(asked, hints, strict=True)
        )
    ]


MemoryRun = PendingRun
"""A run whose rows are in memory: as good as a stored one, without drawing its charts."""


def memory_run(name: str = "sample", rows: RunRows | None = None, **run: Any) -> MemoryRun:
    """The sample run, or one with other rows, without writing it."""
    rows = rows or sample_rows()
    return MemoryRun(Path("nowhere") / name, sample_results(name, rows, **run), None, rows)


def renamed(run: MemoryRun, name: str) -> MemoryRun:
    """The same under another name: another run that came out alike."""
    record = run.results.run.model_copy(update={"id": name})
    return replace(run, results=run.results.model_copy(update={"run": record}))


def tables_without_origin(markdown: str) -> list[str]:
    """The tables that no small print follows before the next heading, by their first line."""
    bare: list[str] = []
    for part in re.split(r"^#{1,3} .*$", markdown, flags=re.M):
        blocks = [block for block in part.split("\n\n") if block.startswith(("|", "<sub>"))]
        origins = [place for place, block in enumerate(blocks) if block.startswith("<sub>")]
        last = max(origins, default=-1)
        bare += [block.split("\n")[0] for block in blocks[last + 1 :]]
    return bare


def compare_runs(a: StoredRun, b: StoredRun) -> list[PairComparison]:
    """Each variant of ``b`` compared with its match in ``a``."""
    return [compare_sides(x, y) for x, y in match_sides(a, b)]


def compare_within(run: StoredRun) -> list[PairComparison]:
    """Every pair of the run's variants."""
    return analyse([run]).pairs


def report_of(*runs: StoredRun, article: Article | None = None) -> str:
    """The report of these runs."""
    return render_report(analyse(runs), article)


def page_of(*runs: StoredRun, charts: Mapping[str, str] | None = None) -> str:
    """The page of these runs, with their charts or those given."""
    analysis = analyse(runs)
    return render_page(analysis, render_charts(analysis) if charts is None else charts, None)


def charts_of(*runs: StoredRun) -> dict[str, str]:
    """The charts of these runs."""
    return render_charts(analyse(runs))

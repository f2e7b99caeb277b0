"""`report.md`: the article's tables in the article's order, then what the article lacked.

Input: stored runs -> output: one Markdown page, a pure function of the store (the same files give
the same bytes). Every table is followed by where its numbers come from. Not covered: charts
(``charts``), comparisons (``comparison``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from harness.compare.analysis import Analysis
from harness.markdown import code, escape
from harness.report.article import Article
from harness.report.columns import CHARTS, Column, available_charts, columns_of, distinct
from harness.report.comparison import (
    comparisons_section,
    pairs_provenance,
    seeds_provenance,
    what_may_be_claimed,
)
from harness.report.conclusions import checkpoints_family
from harness.report.provenance import provenance
from harness.report.tables import (
    checkpoint_tables,
    comparison_tables,
    cost_tables,
    quality_tables,
    question_tables,
)
from harness.report.tables.seed_tables import seed_summary
from harness.report.warnings import not_measurable, warnings
from harness.runs.store import StoredRun

THRESHOLDS = "thresholds of fixtures/gates.toml unless the command gives --gates"


def render_report(
    analysis: Analysis, article: Article | None = None, show_example: Callable[[int], str] = str
) -> str:
    """The report of one or more runs, their variants side by side.

    Args:
        analysis: of the runs.
        article: the published comparison, to stand beside them.
        show_example: Markdown for an example's id, where examples are listed.
    """
    runs = analysis.runs
    columns = columns_of(runs)
    published = article.columns if article else []
    printed = article.printed_rows() if article else {}
    both = [*columns, *published]
    asked = both if any(column.result.questions for column in columns) else []
    sections = [
        _head(runs, columns, what_may_be_claimed(analysis)),
        _charts(columns),
        "## Fine-tuning",
        _section("Loss by iteration", cost_tables.loss_by_iteration(both), runs, "curve"),
        _section(
            "Parameters tuned",
            cost_tables.parameters(columns, printed.get("parameters", ())),
            runs,
            "parameters",
        ),
        _section("Wall time", cost_tables.wall_time(both), runs, "time"),
        _section(
            "Memory while fine-tuning",
            cost_tables.memory(columns, ("train", "validate"), printed.get("train", ())),
            runs,
            "memory",
        ),
        "## Evaluation",
        _section(
            "Test loss and perplexity",
            cost_tables.evaluation_loss(columns, printed.get("loss", ())),
            runs,
            "loss",
        ),
        _section(
            "Memory while evaluating",
            cost_tables.memory(columns, ("load", "test", "generate"), printed.get("test", ())),
            runs,
            "memory",
        ),
        "## Fusing",
        _section(
            "Size of the model",
            cost_tables.fused_size(columns, printed.get("size", ())),
            runs,
            "size",
        ),
        "## Generating SQL",
        _section("The questions", question_tables.questions(columns, published), runs, "questions"),
        _section("Questions right", question_tables.question_summary(asked), runs, "questions"),
        _question_speeds(columns, article, runs),
        _speed_trials(columns, analysis),
        *_beyond_the_article(analysis, columns, show_example),
        _published_note(article),
    ]
    return "\n\n".join(_drop_empty(sections)) + "\n"


def terminal_summary(analysis: Analysis) -> str:
    """What the terminal shows of a run: the summary table, the claims, the gates, the path."""
    (run,) = analysis.runs
    parts = [_with_provenance(quality_tables.summary(columns_of([run])), [run], "summary")]
    parts.append(what_may_be_claimed(analysis))
    if run.results.gates:
        parts += [_gates(analysis), provenance([run], "gates", THRESHOLDS)]
    if run.results.run.partial:
        parts.append(f"Partial run, suites not selected: {', '.join(run.results.run.partial)}.")
    if missing := not_measurable(run):
        parts.append(missing)
    if run.results.run.contended:
        parts.append("Timings are contended: the machine was busy with other work.")
    parts.append(f"Written: {run.folder / 'report.md'}")
    return "\n\n".join(part for part in parts if part)


def _beyond_the_article(
    analysis: Analysis, columns: Sequence[Column], show_example: Callable[[int], str]
) -> list[str]:
    runs = analysis.runs
    parity = quality_tables.fuse_parity(columns)
    compared = comparisons_section(analysis, show_example)
    groups = [quality_tables.by_aggregate(columns), quality_tables.by_conditions(columns)]
    return [
        "## Execution accuracy",
        _section("By definition", quality_tables.execution(columns), runs, "execution"),
        _section("Failures by kind", quality_tables.failures(columns), runs, "failures"),
        _section("By kind of question", "\n\n".join(_drop_empty(groups)), runs, "groups"),
        _checkpoints(columns, analysis),
        "## Fuse parity",
        _section("Adapter, fused and dequantized", parity, runs, "fuse"),
        "## Comparisons",
        _titled("Paired, on the same examples", compared, pairs_provenance(analysis)),
        _titled("Across seeds", seed_summary(analysis), seeds_provenance(analysis)),
        "## Gates",
        _titled("Against the baseline", _gates(analysis), provenance(runs, "gates", THRESHOLDS)),
    ]


def _gates(analysis: Analysis) -> str:
    return comparison_tables.gates(
        [
            gate.model_copy(update={"variant": side.label(side)})
            for side in analysis.variants
            for gate in side.run.results.gates
            if gate.variant == side.variant
        ]
    )


def _head(runs: Sequence[StoredRun], columns: Sequence[Column], claimed: str) -> str:
    names = ", ".join(run.id for run in distinct(runs))
    lines = [f"# {escape(names)}"]
    for run in distinct(runs):
        results, splits = run.results, run.results.dataset.splits
        revision = f" ({escape(results.model.revision)})" if results.model.revision else ""
        lines.append(
            f"{code(run.id)}: {escape(results.model.id)}{revision} on "
            f"{escape(results.dataset.name)}, {splits.train:,}/{splits.valid:,}/{splits.test:,} "
            f"examples, seed {results.run.seed}, "
            f"{results.run.started} to {results.run.finished}."
        )
        lines += warnings(run)
    lines.append(_with_provenance(quality_tables.summary(columns), runs, "summary"))
    lines.append(f"**What may be claimed.** {claimed}" if claimed else "")
    return "\n\n".join(_drop_empty(lines))


def _charts(columns: Sequence[Column]) -> str:
    return "\n\n".join(f"![{CHARTS[name]}]({name})" for name in available_charts(columns))


def _question_speeds(
    columns: Sequence[Column], article: Article | None, runs: Sequence[StoredRun]
) -> str:
    published = article.columns if article else []
    lines = question_tables.ratio_lines(columns) + (article.ratio_lines() if article else [])
    body = _drop_empty([question_tables.speeds([*columns, *published]), "\n".join(lines)])
    return _section("Speed of generation", "\n\n".join(body), runs, "question speeds")


def _speed_trials(columns: Sequence[Column], analysis: Analysis) -> str:
    trials = comparison_tables.throughput(columns)
    timed = [trials, comparison_tables.speed_comparisons(analysis.speeds) if trials else ""]
    return _section("Speed trials", "\n\n".join(_drop_empty(timed)), analysis.runs, "throughput")


def _checkpoints(columns: Sequence[Column], analysis: Analysis) -> str:
    tested = [one for found in analysis.checkpoints.values() for one in found.best]
    origin = provenance(analysis.runs, "checkpoints", checkpoints_family(tested))
    return _titled("Checkpoints", checkpoint_tables.checkpoints(columns, analysis), origin)


def _section(title: str, body: str, runs: Sequence[StoredRun], topic: str) -> str:
    return _titled(title, body, provenance(runs, topic)) if body else ""


def _titled(title: str, body: str, origin: str) -> str:
    """A heading, what stands under it, and where its numbers come from; empty without a body."""
    return f"### {title}\n\n{body}\n\n{origin}" if body else ""


def _with_provenance(body: str, runs: Sequence[StoredRun], topic: str) -> str:
    return f"{body}\n\n{provenance(runs, topic)}" if body else ""


def _published_note(article: Article | None) -> str:
    if article is None:
        return ""
    return (
        f"## The published numbers\n\n{escape(article.title)}: {escape(article.caption)}. "
        "Another model, machine and MLX; its loss counts a pad token after every row as a "
        "target, its memory is what a monitor showed, its speeds count the first token without "
        "its time, and its questions ran on no table. Ratios within it can be set beside ratios "
        "within a run; single numbers cannot."
    )


def _drop_empty(sections: Iterable[str]) -> list[str]:
    """Without empty sections, and without a heading that would have nothing under it."""
    kept = [section for section in sections if section]
    return [
        section
        for place, section in enumerate(kept)
        if not (
            section.startswith("## ")
            and "\n" not in section
            and (place + 1 == len(kept) or kept[place + 1].startswith("## "))
        )
    ]

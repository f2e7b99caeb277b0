"""`report.md`: the article's tables in the article's order, then what the article lacked.

Input: stored runs -> output: one Markdown page, a pure function of the store (the same files give
the same bytes). Every table is followed by where its numbers come from. Not covered: charts
(``charts``), comparisons (``comparison``).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

from harness.compare.analysis import Analysis
from harness.compare.cost import why_contended
from harness.markdown import bullets, code, escape, paragraphs, visible
from harness.report.article import Article
from harness.report.base_weights import held
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
    gate_tables,
    quality_tables,
    question_tables,
)
from harness.report.tables.comparison_tables import seed_summary
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
    columns = columns_of(analysis.runs)
    sections = [
        _head(analysis.runs, columns, what_may_be_claimed(analysis)),
        "\n\n".join(f"![{CHARTS[name]}]({name})" for name in available_charts(columns)),
        *_as_the_article(analysis, columns, article),
        *_beyond_the_article(analysis, columns, show_example),
        _published_note(article),
    ]
    return visible("\n\n".join(_drop_empty(sections))) + "\n"


def _as_the_article(
    analysis: Analysis, columns: Sequence[Column], article: Article | None
) -> list[str]:
    """The article's tables in its order, with its own rows where it is there."""
    runs = analysis.runs
    published = article.columns if article else []
    printed = article.printed_rows() if article else defaultdict(list)
    both = [*columns, *published]
    asked = both if any(column.result.questions for column in columns) else []
    tuned = cost_tables.parameters(columns, printed["parameters"])
    training = cost_tables.memory(columns, ("train", "validate"), printed["train"])
    evaluating = cost_tables.memory(columns, ("load", "test", "generate"), printed["test"])
    losses = cost_tables.evaluation_loss(columns, printed["loss"])
    ratios = question_tables.ratio_lines(columns) + (article.ratio_lines() if article else [])
    speeds = paragraphs(question_tables.speeds(both), bullets(ratios))
    trials = comparison_tables.throughput(columns)
    if trials:
        trials = paragraphs(trials, comparison_tables.speed_comparisons(analysis.speeds))
    size = cost_tables.fused_size(columns, printed["size"])
    fusing = cost_tables.memory(columns, ("fuse",))
    return [
        "## Fine-tuning",
        _section("Loss by iteration", cost_tables.loss_by_iteration(both), runs, "curve"),
        _section("Parameters tuned", tuned, runs, "parameters"),
        _section("Wall time", cost_tables.wall_time(both), runs, "time"),
        _section("Memory while fine-tuning", training, runs, "memory"),
        "## Evaluation",
        _section("Test loss and perplexity", losses, runs, "loss"),
        _section("Memory while evaluating", evaluating, runs, "memory"),
        "## Fusing",
        _section("Size of the model", size, runs, "size"),
        _section("Memory while fusing", fusing, runs, "memory"),
        "## Generating SQL",
        _section("The questions", question_tables.questions(columns, published), runs, "questions"),
        _section("Questions right", question_tables.question_summary(asked), runs, "questions"),
        _section("Speed of generation", speeds, runs, "question speeds"),
        _section("Speed trials", trials, runs, "throughput"),
    ]


def terminal_summary(analysis: Analysis) -> str:
    """What the terminal shows of a run: the summary table, the claims, the gates, the path."""
    (run,) = analysis.runs
    record = run.results.run
    partial = escape(", ".join(record.partial))
    return paragraphs(
        _summary([run], columns_of([run])),
        what_may_be_claimed(analysis),
        *([_gates(analysis), provenance([run], "gates", THRESHOLDS)] if run.results.gates else []),
        f"Partial run, suites not selected: {partial}." if partial else "",
        not_measurable(run),
        f"Timings are contended: {busy}." if (busy := why_contended(run)) else "",
        f"Written: {run.folder / 'report.md'}",
    )


def _beyond_the_article(
    analysis: Analysis, columns: Sequence[Column], show_example: Callable[[int], str]
) -> list[str]:
    runs = analysis.runs
    parity = quality_tables.fuse_parity(columns)
    compared = comparisons_section(analysis, show_example)
    groups = paragraphs(quality_tables.by_aggregate(columns), quality_tables.by_conditions(columns))
    tested = [one for found in analysis.checkpoints.values() for one in found.best]
    return [
        "## Execution accuracy",
        _section("By definition", quality_tables.execution(columns), runs, "execution"),
        _section("Failures by kind", quality_tables.failures(columns), runs, "failures"),
        _section("How answers ended", quality_tables.finishes(columns), runs, "failures"),
        _section("By kind of question", groups, runs, "groups"),
        _section(
            "Checkpoints",
            checkpoint_tables.checkpoints(columns, analysis),
            runs,
            "checkpoints",
            checkpoints_family(tested),
        ),
        "## Fuse parity",
        _section("Adapter, fused and dequantized", parity, runs, "fuse"),
        "## Comparisons",
        _titled("Paired, on the same examples", compared, pairs_provenance(analysis)),
        _titled("Across seeds", seed_summary(analysis), seeds_provenance(analysis)),
        "## Gates",
        _section("Against the baseline", _gates(analysis), runs, "gates", THRESHOLDS),
    ]


def _gates(analysis: Analysis) -> str:
    judged = [
        gate.model_copy(update={"variant": side.label(side)})
        for side in analysis.variants
        for gate in side.run.results.gates
        if gate.variant == side.variant
    ]
    return gate_tables.gates(judged) if judged else ""


def _head(runs: Sequence[StoredRun], columns: Sequence[Column], claimed: str) -> str:
    names = ", ".join(run.id for run in distinct(runs))
    lines = [f"# {escape(names)}"]
    for run in distinct(runs):
        results, splits = run.results, run.results.dataset.splits
        revision = f" ({escape(results.model.revision)})" if results.model.revision else ""
        lines.append(
            f"{code(run.id)}: {escape(results.model.id)}{revision}, {held(results.model.weights)}, "
            f"on "
            f"{escape(results.dataset.name)}, {splits.train:,}/{splits.valid:,}/{splits.test:,} "
            f"examples, seed {results.run.seed}, "
            f"{escape(results.run.started)} to {escape(results.run.finished)}."
        )
        lines += warnings(run)
    lines.append(_summary(runs, columns))
    return paragraphs(*lines, f"**What may be claimed.** {claimed}" if claimed else "")


def _summary(runs: Sequence[StoredRun], columns: Sequence[Column]) -> str:
    table = quality_tables.summary(columns)
    return paragraphs(table, provenance(runs, "summary")) if table else ""


def _section(title: str, body: str, runs: Sequence[StoredRun], topic: str, note: str = "") -> str:
    return _titled(title, body, provenance(runs, topic, note))


def _titled(title: str, body: str, origin: str) -> str:
    """A heading, what stands under it, and where its numbers come from; empty without a body."""
    return f"### {title}\n\n{body}\n\n{origin}" if body else ""


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

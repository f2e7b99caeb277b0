"""`report.md`: the verdict, what it rests on, what it costs; beside the article in its own order.

Input: stored runs -> output: one Markdown page, a pure function of the store (the same files give
the same bytes). Machine, versions and command stand once, under each table how it was measured.
Not covered: charts (``charts``), comparisons (``comparison``).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence

from harness.compare.analysis import Analysis
from harness.compare.cost import why_contended
from harness.markdown import bullets, code, escape, folded, paragraphs, visible
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
from harness.report.provenance import definition, provenance
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
from harness.schema.results import GateResult

Layout = tuple[tuple[str, tuple[str, ...]], ...]
"""Headings, and what stands under each: charts by file, other parts by name."""

THRESHOLDS = "thresholds of fixtures/gates.toml unless the command gives --gates"


ORDER: Layout = (
    ("Comparisons", ("pairs", "seeds", "gates")),
    (
        "Execution accuracy",
        ("accuracy.svg", "execution", "failures.svg", "failures", "finishes", "groups"),
    ),
    ("Answers", ("exact match",)),
    ("Loss", ("loss.svg", "losses", "curve")),
    (
        "Cost",
        (
            *("tradeoff.svg", "time", "training memory", "evaluating memory", "size"),
            *("parameters", "speed.svg", "throughput"),
        ),
    ),
    ("Fusing", ("fuse", "fusing memory")),
    ("Checkpoints", ("checkpoints.svg", "checkpoints")),
    ("Questions about one table", ("right", "questions")),
)
"""In the order of a reader's questions: is one better, by how much, at what cost."""

ARTICLE_ORDER: Layout = (
    ("Fine-tuning", ("loss.svg", "curve", "parameters", "time", "training memory")),
    ("Evaluation", ("losses", "evaluating memory")),
    ("Fusing", ("size", "fusing memory")),
    ("Generating SQL", ("questions", "right", "question speeds", "speed.svg", "throughput")),
    (
        "Execution accuracy",
        (
            *("accuracy.svg", "execution", "failures.svg", "failures", "finishes", "groups"),
            *("checkpoints.svg", "checkpoints"),
        ),
    ),
    ("Answers", ("exact match",)),
    ("Fuse parity", ("fuse",)),
    ("Comparisons", ("tradeoff.svg", "pairs", "seeds")),
    ("Gates", ("gates",)),
)
"""The article's tables in its order, then what it lacked."""


def render_report(
    analysis: Analysis, article: Article | None = None, show_example: Callable[[int], str] = str
) -> str:
    """The report of one or more runs, their variants side by side.

    Args:
        analysis: of the runs.
        article: the published comparison, to stand beside them in its own order.
        show_example: Markdown for an example's id, where examples are listed.
    """
    columns = columns_of(analysis.runs)
    made = {
        **{name: f"![{CHARTS[name]}]({name})" for name in available_charts(columns)},
        **_of_the_variants(analysis, columns, article),
        **_of_the_comparison(analysis, columns, show_example),
    }
    sections = [_head(analysis, columns)]
    for title, names in ORDER if article is None else ARTICLE_ORDER:
        parts = [part for name in names if (part := made.get(name))]
        sections += [f"## {title}", *parts] if parts else []
    return visible(paragraphs(*sections, _published_note(article))) + "\n"


def _of_the_variants(
    analysis: Analysis, columns: Sequence[Column], article: Article | None
) -> dict[str, str]:
    """The tables that the article has too, with its own rows where it is there."""
    runs = analysis.runs
    published = article.columns if article else []
    printed = article.printed_rows() if article else defaultdict(list)
    both = [*columns, *published]
    asked = both if any(column.result.questions for column in columns) else []
    losses = cost_tables.evaluation_loss(columns, printed["loss"])
    trials = comparison_tables.throughput(columns)
    if trials:
        trials = paragraphs(trials, comparison_tables.speed_comparisons(analysis.speeds))
    asked_about = _section(
        "The questions", question_tables.questions(columns, published), runs, "questions"
    )
    made = {
        "curve": ("Loss by iteration", cost_tables.loss_by_iteration(both), "curve"),
        "parameters": (
            "Parameters tuned",
            cost_tables.parameters(columns, printed["parameters"]),
            "parameters",
        ),
        "time": ("Wall time", cost_tables.wall_time(both), "time"),
        "losses": ("Test loss and perplexity", losses, "loss"),
        "size": ("Size of the model", cost_tables.fused_size(columns, printed["size"]), "size"),
        "right": ("Questions right", question_tables.question_summary(asked), "questions"),
        "throughput": ("Speed trials", trials, "throughput"),
    }
    for name, title, phases in (
        ("training memory", "Memory while fine-tuning", ("train", "validate")),
        ("evaluating memory", "Memory while evaluating", ("load", "test", "generate")),
        ("fusing memory", "Memory while fusing", ("fuse",)),
    ):
        rows = printed[{"training memory": "train", "evaluating memory": "test"}.get(name, "")]
        made[name] = (title, cost_tables.memory(columns, phases, rows), "memory")
    found = {name: _section(title, body, runs, of) for name, (title, body, of) in made.items()}
    if article is None:
        return found | {"questions": folded("The questions and their answers", asked_about)}
    ratios = bullets(question_tables.ratio_lines(columns) + article.ratio_lines())
    speeds = paragraphs(question_tables.speeds(both), ratios)
    timed = _section("Speed of generation", speeds, runs, "question speeds")
    return found | {"questions": asked_about, "question speeds": timed}


def job_summary(analysis: Analysis) -> str:
    """A run on the page of a continuous-integration job: summary, claims, gates, the path."""
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


def _of_the_comparison(
    analysis: Analysis, columns: Sequence[Column], show_example: Callable[[int], str]
) -> dict[str, str]:
    """What the article lacks: accuracy, differences, gates, checkpoints, fused against adapter."""
    runs = analysis.runs
    groups = paragraphs(quality_tables.by_aggregate(columns), quality_tables.by_conditions(columns))
    saved = checkpoint_tables.checkpoints(columns, analysis)
    family = checkpoints_family(
        [one for found in analysis.checkpoints.values() for one in found.best]
    )
    compared = comparisons_section(analysis, show_example)
    return {
        "execution": _section(
            "By definition", quality_tables.execution(columns), runs, "execution"
        ),
        "exact match": _section(
            "Equal to the data's own", quality_tables.exact_match(columns), runs, "exact match"
        ),
        "failures": _section(
            "Failures by kind", quality_tables.failures(columns), runs, "failures"
        ),
        "finishes": _section(
            "How answers ended", quality_tables.finishes(columns), runs, "failures"
        ),
        "groups": _section("By kind of question", groups, runs, "groups"),
        "checkpoints": _section("Checkpoints", saved, runs, "checkpoints", family),
        "fuse": _section(
            "Adapter, fused and dequantized", quality_tables.fuse_parity(columns), runs, "fuse"
        ),
        "pairs": _titled(
            "Paired, on the same examples", compared, pairs_provenance(analysis, definition)
        ),
        "seeds": _titled(
            "Across seeds", seed_summary(analysis), seeds_provenance(analysis, definition)
        ),
        "gates": _section("Against the baseline", _gates(analysis), runs, "gates", THRESHOLDS),
    }


def _gates(analysis: Analysis) -> str:
    judged = _judged(analysis)
    return gate_tables.gates(judged) if judged else ""


def _judged(analysis: Analysis) -> list[GateResult]:
    """The verdicts of the runs' gates, each about a variant as the report calls it."""
    return [
        gate.model_copy(update={"variant": side.label(side)})
        for side in analysis.variants
        for gate in side.run.results.gates
        if gate.variant == side.variant
    ]


def _head(analysis: Analysis, columns: Sequence[Column]) -> str:
    """The verdict, its table, where all numbers come from, and what to know before reading them."""
    runs, claimed = analysis.runs, what_may_be_claimed(analysis)
    names = ", ".join(run.id for run in distinct(runs))
    lines = [f"# {escape(names)}", f"**What may be claimed.** {claimed}" if claimed else ""]
    if judged := _judged(analysis):
        lines.append(f"Against the baseline: {gate_tables.headline(judged)}")
    lines.append(_summary(runs, columns))
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
    return paragraphs(*lines)


def _summary(runs: Sequence[StoredRun], columns: Sequence[Column]) -> str:
    table = quality_tables.summary(columns)
    return paragraphs(table, provenance(runs, "summary")) if table else ""


def _section(title: str, body: str, runs: Sequence[StoredRun], topic: str, note: str = "") -> str:
    return _titled(title, body, definition(runs, topic, note))


def _titled(title: str, body: str, origin: str) -> str:
    """A heading, what stands under it, and how it was measured; empty without a body."""
    return paragraphs(f"### {title}", body, origin) if body else ""


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

"""Comparisons in Markdown: `compare`, the report's section on pairs, the page over seeds.

Input: an :class:`Analysis` -> output: tables, one sentence over all, one per metric, the
examples that changed. The statistics are in ``compare``, the sentences in ``conclusions``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from harness.compare.analysis import Analysis, RefusedPair
from harness.compare.evidence import warning
from harness.compare.quality import PairComparison
from harness.compare.sides import unrecorded_fields
from harness.markdown import bullets, code, escape, paragraphs
from harness.report.conclusions import (
    descriptive_sentence,
    listed,
    overall_claim,
    pair_claim,
    pairs_family,
    seed_claim,
    seeds_family,
    sentence,
)
from harness.report.provenance import provenance
from harness.report.tables import comparison_tables
from harness.report.tables.comparison_tables import seed_summary
from harness.runs.store import StoredRun

Origin = Callable[[Sequence[StoredRun], str, str], str]
"""Writes what stands under a table: all of :func:`provenance`, or a report's `definition`."""


def what_may_be_claimed(analysis: Analysis) -> str:
    """One sentence over a whole report: of methods where the runs are seeds, else of weights."""
    if analysis.seeds:
        return seed_claim(analysis.seed_differences, len(analysis.seeds))
    return overall_claim(analysis.pairs)


def render_comparison(analysis: Analysis) -> str:
    """The Markdown of `compare`: the claim over all, table, sentences, descriptive differences,
    examples, seeds, speeds and memory."""
    sections = ["# Comparison"]
    if analysis.seeds:
        sections += ["## Across seeds", seed_summary(analysis), seeds_provenance(analysis)]
    elif len(analysis.pairs) > 1:
        sections.append(f"**{overall_claim(analysis.pairs)}**")
    sections += [comparison_tables.comparisons(analysis.pairs), pairs_provenance(analysis)]
    sections.append(unrecorded_note(analysis.runs))
    runs = {run.folder: run for run in analysis.runs}.values()
    sections += [f"> {escape(unlike)}" for run in runs if (unlike := warning(run))]
    for pair in analysis.pairs:
        sections += [f"## {code(pair.b)} beside {code(pair.a)}", *_conclusions(pair, str)]
        if pair.descriptive:
            items = bullets(descriptive_sentence(pair, d) for d in pair.descriptive)
            sections += ["Descriptive, not tested:", items]
    for title, topic, body in (
        ("## Speed", "throughput", comparison_tables.speed_comparisons(analysis.speeds)),
        ("## Memory", "memory", comparison_tables.memory_comparisons(analysis.memory)),
    ):
        sections += [title, body, provenance(analysis.runs, topic)] if body else []
    return paragraphs(*sections) + "\n"


def unrecorded_note(runs: Sequence[StoredRun]) -> str:
    """Which runs did not record what others did; empty where all recorded the same fields."""
    return " ".join(
        f"Not recorded by {listed([code(run.id) for run in without])}: `{field}`, so the runs are "
        "compared without it."
        for field, without in unrecorded_fields(runs).items()
    )


def render_seeds(name: str, analysis: Analysis) -> str:
    """The page `NAME-seeds.md` that `--seeds` leaves beside its runs."""
    seeds = ", ".join(str(run.results.run.seed) for run in analysis.runs)
    summary = seed_summary(analysis) or "The runs share no variant or metric."
    return f"# {escape(name)}, seeds {seeds}\n\n{summary}\n\n{seeds_provenance(analysis)}\n"


def comparisons_section(analysis: Analysis, show_example: Callable[[int], str]) -> str:
    """The pairs of a report: table, sentences, examples; and why some are not compared."""
    conclusions = [text for pair in analysis.pairs for text in _conclusions(pair, show_example)]
    table = comparison_tables.comparisons(analysis.pairs)
    return paragraphs(table, *conclusions, *map(_refusal, analysis.refused))


def pairs_provenance(analysis: Analysis, origin: Origin = provenance) -> str:
    """The line under a table of paired differences, with the family that was tested together."""
    return origin(analysis.runs, "comparisons", pairs_family(analysis.pairs))


def seeds_provenance(analysis: Analysis, origin: Origin = provenance) -> str:
    """The line under a table over seeds, with the family that Holm ran over."""
    family = seeds_family(analysis.seed_differences)
    return origin(analysis.seeds or analysis.runs, "seeds", family)


def _conclusions(pair: PairComparison, show_example: Callable[[int], str]) -> list[str]:
    """What may be claimed of a pair, over all metrics and by metric, and the examples behind it."""
    sentences = bullets(sentence(pair, c) for c in pair.primary)
    return [f"**{pair_claim(pair)}**", sentences, *_examples(pair, show_example)]


def _examples(pair: PairComparison, show_example: Callable[[int], str]) -> list[str]:
    """Ids of the examples that ex fixed and broke, the first forty of each."""
    lines = []
    for c in (c for c in pair.primary if c.metric == "ex"):
        for word, ids in (("fixed", c.fixed), ("broken", c.broken)):
            if ids:
                more = f" and {len(ids) - 40} more" if len(ids) > 40 else ""
                shown = ", ".join(map(show_example, ids[:40]))
                lines.append(f"Examples {word} by {code(c.b)}: {shown}{more}.")
    return lines


def _refusal(refused: RefusedPair) -> str:
    """Why a pair is not compared, in Markdown."""
    if not refused.fields:
        return escape(refused.reason)
    return (
        f"{code(refused.a)} and {code(refused.b)} are not compared: "
        f"{escape(', '.join(refused.fields))} differ."
    )

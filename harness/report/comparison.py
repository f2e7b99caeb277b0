"""Comparisons in Markdown: `compare`, and the report's section on pairs of variants.

Input: stored runs, or pairs already compared -> output: tables, one sentence over all, sentences
a metric, the examples that changed. The statistics are in ``compare``, the words in
``conclusions``.
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.compare.analysis import RefusedPair, analyse
from harness.compare.cost import MemoryRatio, SpeedRatio
from harness.compare.quality import PairComparison
from harness.compare.seeds import seed_differences, seed_runs
from harness.compare.sides import RunVariant, unrecorded_fields
from harness.markdown import code, escape
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
from harness.report.tables.seed_tables import seed_summary
from harness.runs.store import StoredRun


def what_may_be_claimed(runs: Sequence[StoredRun], found: Sequence[PairComparison]) -> str:
    """One sentence over a whole report: of methods where the runs are seeds, else of weights."""
    seeds = seed_runs(runs)
    if seeds:
        return seed_claim(seed_differences(seeds), len(seeds))
    return overall_claim(found)


def render_comparison(
    runs: Sequence[StoredRun],
    found: Sequence[PairComparison],
    speeds: Sequence[SpeedRatio],
    memory: Sequence[MemoryRatio] = (),
    seeds: Sequence[StoredRun] = (),
) -> str:
    """The Markdown of `compare`: the claim over all, table, sentences, descriptive differences,
    examples, seeds, speeds and memory."""
    sections = ["# Comparison"]
    if seeds:
        sections += ["## Across seeds", seed_summary(seeds), seeds_provenance(seeds)]
    elif len(found) > 1:
        sections.append(f"**{overall_claim(found)}**")
    sections += [comparison_tables.comparisons(found), pairs_provenance(runs, found)]
    sections.append(unrecorded_note(runs))
    for pair in found:
        lines = [f"## {code(pair.b)} beside {code(pair.a)}", f"**{pair_claim(pair.primary)}**"]
        lines.append("\n".join(f"- {sentence(c)}" for c in pair.primary))
        lines += _examples(pair)
        if pair.descriptive:
            items = [f"- {descriptive_sentence(pair, d)}" for d in pair.descriptive]
            lines.append("Descriptive, not tested:\n\n" + "\n".join(items))
        sections += lines
    for title, topic, body in (
        ("## Speed", "throughput", comparison_tables.speed_comparisons(speeds)),
        ("## Memory", "memory", comparison_tables.memory_comparisons(memory)),
    ):
        sections += [title, body, provenance(runs, topic)] if body else []
    return "\n\n".join(section for section in sections if section) + "\n"


def pairs_provenance(runs: Sequence[StoredRun], found: Sequence[PairComparison]) -> str:
    """The line under a table of paired differences, with the family that Holm ran over."""
    return provenance(runs, "comparisons", pairs_family(found))


def unrecorded_note(runs: Sequence[StoredRun]) -> str:
    """Which runs did not record what others did; empty where all recorded the same fields."""
    return " ".join(
        f"Not recorded by {listed([code(run.id) for run in lacking])}: `{field}`, so the runs are "
        "compared without it."
        for field, lacking in unrecorded_fields(runs).items()
    )


def seeds_provenance(runs: Sequence[StoredRun]) -> str:
    """The line under a table over seeds, with the family that Holm ran over."""
    return provenance(runs, "seeds", seeds_family(seed_differences(runs)))


def render_seeds(name: str, runs: Sequence[StoredRun]) -> str:
    """The page `NAME-seeds.md` that `--seeds` leaves beside its runs."""
    seeds = ", ".join(str(run.results.run.seed) for run in runs)
    summary = seed_summary(runs) or "The runs share no variant or metric."
    return f"# {escape(name)}, seeds {seeds}\n\n{summary}\n\n{seeds_provenance(runs)}\n"


def side_pairs(runs: Sequence[StoredRun]) -> list[tuple[RunVariant, RunVariant]]:
    """The pairs of variants that a report sets against each other."""
    return list(analyse(runs).sides)


def all_pairs(runs: Sequence[StoredRun]) -> tuple[list[PairComparison], list[str]]:
    """Every pair of variants, and why some could not be compared."""
    analysis = analyse(runs)
    return analysis.pairs, [refused_text(refused) for refused in analysis.refused]


def refused_text(refused: RefusedPair) -> str:
    """Why a pair is not compared, in Markdown."""
    if not refused.fields:
        return escape(refused.reason)
    return (
        f"{code(refused.a)} and {code(refused.b)} are not compared: "
        f"{escape(', '.join(refused.fields))} differ."
    )


def comparisons_section(found: Sequence[PairComparison]) -> str:
    if not found:
        return ""
    parts = [comparison_tables.comparisons(found)]
    for pair in found:
        parts.append(f"**{pair_claim(pair.primary)}**")
        parts.append("\n".join(f"- {sentence(c)}" for c in pair.primary))
        parts += _examples(pair)
    return "\n\n".join(parts)


def _examples(pair: PairComparison) -> list[str]:
    """Ids of the examples that ex fixed and broke, the first forty of each."""
    lines = []
    for c in pair.primary:
        if c.metric != "ex":
            continue
        for word, ids in (("fixed", c.fixed or []), ("broken", c.broken or [])):
            if ids:
                more = f" and {len(ids) - 40} more" if len(ids) > 40 else ""
                listed = ", ".join(map(str, ids[:40]))
                lines.append(f"Examples {word} by {code(c.b)}: {listed}{more}.")
    return lines

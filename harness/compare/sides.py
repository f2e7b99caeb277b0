"""The two sides of a comparison: variants of stored runs, their labels, whether they match.

Input: stored runs -> output: :class:`RunVariant`, labelled so that no two of them have one
name; runs that are not comparable are refused by naming the field. Pairing their rows is in
``pairing``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.errors import UserError
from harness.markdown import NONE
from harness.protocols import comparable_answers, grading_protocol
from harness.runs.store import StoredRun
from harness.schema.results import Results
from harness.schema.variant_result import VariantResult

COMPARABLE_FIELDS: dict[str, Callable[[Results], str | None]] = {
    "model.sha256": lambda results: results.model.sha256,
    "dataset.sha256": lambda results: results.dataset.sha256,
    "dataset.form": lambda results: results.dataset.form,
    "protocols.loss": lambda results: results.protocols.loss,
    "protocols.execution": lambda results: comparable_answers(results.protocols.execution),
    "protocols.prompt": lambda results: results.protocols.prompt,
}
"""What two runs must agree on for their quality numbers to be compared; None is not recorded."""

GRADED_FIELDS: dict[str, Callable[[Results], str | None]] = {
    "dataset.sha256": COMPARABLE_FIELDS["dataset.sha256"],
    "dataset.form": COMPARABLE_FIELDS["dataset.form"],
    "protocols.execution": lambda results: grading_protocol(results.protocols.execution),
}
"""What two systems must agree on for their graded answers to be compared, whatever they are."""


@dataclass(frozen=True)
class RunVariant:
    """One variant of one stored run."""

    run: StoredRun
    variant: str
    where: str = ""
    """The run's name where several runs are compared; empty where there is only one pair."""

    @property
    def result(self) -> VariantResult:
        """Everything that was measured on the variant."""
        return self.run.results.variants[self.variant]

    @property
    def answers_alone(self) -> bool:
        """Whether it is a system elsewhere, of which only answers are known."""
        asked = "endpoint" in self.result.config
        return asked or self.run.results.run.source != "measured"

    @property
    def adapter_sha256(self) -> str | None:
        """Digest of the adapter's weights; None for the base."""
        return self.result.adapter.sha256 if self.result.adapter else None

    def rows(self, kind: str) -> Sequence[Any] | None:
        """The variant's rows of ``kind`` (losses, predictions, trials); None without a file."""
        found: Sequence[Any] | None = getattr(self.run, kind)(self.variant)
        return found

    def label(self, other: RunVariant) -> str:
        """The variant's name, with its run in front where several runs are compared."""
        where = self.where or run_names([self.run, other.run])[self.run.folder]
        return f"{where}:{self.variant}" if where else self.variant


def run_names(runs: Sequence[StoredRun]) -> dict[Path, str]:
    """What to call each run, by folder: its name, or nothing where there is one run only."""
    names = {run.folder: run.id for run in runs}
    if len(names) == 1:
        return dict.fromkeys(names, "")
    # In continuous integration two runs may have one name.
    repeated = len(set(names.values())) < len(names)
    return {folder: str(folder) for folder in names} if repeated else names


def sides_of(runs: Sequence[StoredRun]) -> list[RunVariant]:
    """Every variant of the pairs, once, even where it was picked twice."""
    names = run_names(runs)
    return list(
        {
            (run.folder, variant): RunVariant(run, variant, names[run.folder])
            for run in runs
            for variant in run.variants
        }.values()
    )


def label_sides(
    pairs: Sequence[tuple[RunVariant, RunVariant]], runs: Sequence[StoredRun]
) -> list[tuple[RunVariant, RunVariant]]:
    """``pairs``, their sides labelled as ``runs`` require."""
    names = run_names(runs)
    return [
        (replace(a, where=names[a.run.folder]), replace(b, where=names[b.run.folder]))
        for a, b in pairs
    ]


def other_systems(a: StoredRun, b: StoredRun) -> bool:
    """Whether two runs are of other models, or one of a system elsewhere: graded answers are all
    that they can be compared by."""
    measured = a.results.run.source == b.results.run.source == "measured"
    return not measured or a.results.model.sha256 != b.results.model.sha256


def differing_fields(
    a: StoredRun, b: StoredRun, across_models: bool = False
) -> dict[str, tuple[object, object]]:
    """The fields that make numbers of two runs incomparable, with both values.

    A field that one of them did not record does not: see :func:`unrecorded_fields`.

    Args:
        a: one run.
        b: the other.
        across_models: whether answers of two base models may be compared; those of a system
            elsewhere always are.
    """
    outside = not a.results.run.source == b.results.run.source == "measured"
    graded = outside or (across_models and other_systems(a, b))
    fields = GRADED_FIELDS if graded else COMPARABLE_FIELDS
    pairs = {name: (get(a.results), get(b.results)) for name, get in fields.items()}
    return {name: (x, y) for name, (x, y) in pairs.items() if None not in (x, y) and x != y}


def unrecorded_fields(runs: Sequence[StoredRun]) -> dict[str, list[StoredRun]]:
    """The runs that did not record a field which others of ``runs`` did, by field."""
    once = {run.folder: run for run in runs if run.results.run.source == "measured"}.values()
    found = {
        name: [run for run in once if get(run.results) is None]
        for name, get in COMPARABLE_FIELDS.items()
    }
    return {name: without for name, without in found.items() if 0 < len(without) < len(once)}


def comparable_groups(runs: Sequence[StoredRun]) -> list[list[StoredRun]]:
    """The runs in groups within which any two are comparable, in order of appearance."""
    groups: list[list[StoredRun]] = []
    for run in runs:
        for group in groups:
            if not any(differing_fields(run, other) for other in group):
                group.append(run)
                break
        else:
            groups.append([run])
    return groups


def same_side(a: RunVariant, b: RunVariant) -> bool:
    """Whether both are one variant of one run, be it in a copy of its folder."""
    return a.variant == b.variant and a.run.results.run == b.run.results.run


def require_comparable(a: StoredRun, b: StoredRun, across_models: bool = False) -> None:
    """Refuse two runs whose quality numbers are not comparable, as :func:`differing_fields`.

    Raises:
        UserError: every differing field with both values.
    """
    differing = differing_fields(a, b, across_models)
    if differing:
        models = a.results.model.id, b.results.model.id
        datasets = a.results.dataset.name, b.results.dataset.name
        listed = in_words(differing, models, datasets)
        raise UserError(
            f"runs {a.id!r} and {b.id!r} are not comparable: {listed}. Make both with the same "
            "--model, --dataset, --prompt-style and version of tunebench."
        )


def in_words(
    differing: Mapping[str, tuple[object, object]],
    models: tuple[str, str],
    datasets: tuple[str, str],
) -> str:
    """Fields with both values, those of digests by the names of what they are of."""
    names = {"model.sha256": models, "dataset.sha256": datasets}

    def shown(field: str, side: int) -> str:
        value = differing[field][side]
        return f"{names[field][side]!r} ({value!s:.12})" if field in names else repr(value)

    return "; ".join(f"{field}: {shown(field, 0)} against {shown(field, 1)}" for field in differing)


def limited(result: VariantResult) -> bool:
    """Whether the variant was evaluated on a part of the split (`--limit`)."""
    found = sample_size(result)
    return found is not None and found[0] < found[1]


def sample_size(result: VariantResult) -> tuple[int, int] | None:
    """Examples asked (else scored for the loss) and examples in the split; None without both."""
    section = result.execution or result.loss
    return (section.n, section.of) if section else None


def sample_note(run: StoredRun, result: VariantResult) -> str:
    """`20 of 200, seed 0` under --limit, else the number of test examples, a dash for none."""
    found = sample_size(result)
    if found is None:
        return NONE
    record = run.results.run
    return sample_words(*found, record.seed if record.sample_seed is None else record.sample_seed)


def sample_words(n: int, of: int, seed: int) -> str:
    """``n`` of a split's ``of`` examples as a note; which they are is the ``seed``'s."""
    return f"{n:,} of {of:,}, seed {seed}" if n < of else f"{n:,}"

"""One run: the variants of one seed, assembled into `results.json` and written once at the end.

Input: the invocation and the seed's variants -> output: a run's folder, and the
:class:`Analysis` of it. The run stores the sections that the suites requested; how each is
computed is in ``variant_run``.
"""

from __future__ import annotations

import datetime
import time
from collections.abc import Collection, Iterator, Sequence
from functools import cached_property

from harness import protocols as names
from harness.compare import gates
from harness.compare.analysis import Analysis, analyse
from harness.data.leakage import dataset_info
from harness.data.prompts import PromptStyle, answers_in_one_line, texts_key
from harness.data.records import Dataset
from harness.disk.files import shown_argument
from harness.models.stored_as import stored_as
from harness.pipeline import interleaved_speed
from harness.pipeline.endpoint_stages import EndpointStages, most_tokens
from harness.pipeline.invocation import Case, Invocation
from harness.pipeline.outside_run import (
    GRADING,
    MEASURING,
    answers_alone,
    device_of_grading,
    model_elsewhere,
    versions,
)
from harness.pipeline.stages import VariantStages
from harness.pipeline.trackers import Subject, Trackers
from harness.pipeline.variant_run import OF_ANSWERS, SECTIONS, VariantRun
from harness.report.changed_examples import ChangedExample, changed_examples
from harness.runs import git_state
from harness.runs.file_names import FUSED_FOLDER, TRACKED_FOLDER
from harness.runs.run_estimate import Step
from harness.runs.store import PendingRun, RunRows
from harness.schema.results import (
    Distributed,
    GateResult,
    Git,
    Model,
    Protocols,
    Results,
    Run,
    Weights,
)
from harness.schema.stage_results import Speeds
from harness.train.variant import EndpointVariant, Variant

OPTIONAL = {"checkpoints"}
"""Sections that a run may lack without being partial: another option of the command asks for
them."""


class SeedRun:
    """The variants of one seed and the record they end in."""

    def __init__(
        self, invocation: Invocation, name: str, seed: int, variants: Sequence[Variant]
    ) -> None:
        self.invocation = invocation
        self.name = name
        self.seed = seed
        self._judged: dict[frozenset[tuple[str, str]], list[GateResult]] = {}
        options = invocation.options
        keep = options.results_dir / FUSED_FOLDER / name if options.keep_fused else None
        self.variants = {
            variant.name: VariantRun(
                EndpointStages(invocation, variant)
                if isinstance(variant, EndpointVariant)
                else VariantStages(invocation, variant, self._trackers(variant)),
                seed,
                lambda: self._speeds,
                None if keep is None else keep / variant.file_name,
            )
            for variant in variants
            if variant.name not in invocation.same_as
        }

    def close(self) -> None:
        """End every model process of the run, and what trackers were begun for it."""
        for variant in self.variants.values():
            variant.stages.close()
            variant.stages.trackers.close()

    def _trackers(self, variant: Variant) -> Trackers:
        invocation = self.invocation
        facts = {"model": invocation.base.id, "dataset": invocation.dataset.name}
        subject = Subject(
            project=variant.project_name or "tunebench",
            name=f"{self.name}:{variant.name}",
            config=variant.config() | facts,
            folder=invocation.options.results_dir / TRACKED_FOLDER / self.name / variant.file_name,
        )
        return Trackers(subject, variant.report_to, invocation.notify)

    # --- speed --------------------------------------------------------------------------------

    @cached_property
    def _speeds(self) -> tuple[dict[str, Speeds], bool]:
        return interleaved_speed.measure(self._timed, self.invocation)

    @property
    def _timed(self) -> list[VariantStages]:
        """The variants whose speed is measured: only their trials are interleaved."""
        here = [(n, v.stages) for n, v in self.variants.items() if not v.stages.without_weights]
        return [stages for name, stages in here if "throughput" in self._asked(name)]

    def _asked(self, variant: str) -> Collection[str]:
        return self.invocation.asked.get(Case(self.seed, variant), ())

    # --- the estimate -------------------------------------------------------------------------

    def to_come(self) -> Iterator[Step]:
        """What of the run is not in the cache, as far as it can be known before training."""
        for name, variant in self.variants.items():
            yield from variant.to_come(self._asked(name))
        yield from interleaved_speed.to_come(self._timed, self.invocation)
        yield self._reporting

    @property
    def _reporting(self) -> Step:
        return Step(kind="report", model="", setting="", units=len(self.variants))

    # --- the record ---------------------------------------------------------------------------

    @property
    def requested(self) -> bool:
        """Whether anything was measured."""
        return any(variant.requested for variant in self.variants.values())

    def gate(self) -> list[GateResult]:
        """The verdicts against the baseline on what was measured so far; empty without one."""
        if self.invocation.baseline is None:
            return []
        measured = frozenset(
            (name, section) for name, v in self.variants.items() for section in v.requested
        )
        if measured not in self._judged:
            verdicts = gates.judge(self._pending(), self.invocation.baseline, self.invocation.gates)
            self._judged = {measured: verdicts}
        return self._judged[measured]

    def changed_examples(self) -> list[ChangedExample]:
        """What broke and what was fixed against the baseline, by its failing gates."""
        baseline = self.invocation.baseline
        if baseline is None:
            return []
        return changed_examples(
            self._pending(), baseline, self.gate(), self.invocation.dataset.test
        )

    def write(self) -> Analysis:
        """Write the run's folder; return what was compared in it, computed once.

        Raises:
            UserError: the disk refuses or the name was taken meanwhile.
        """
        # Imported here: collecting and measuring need no report.
        from harness.report.write import write_run

        began = time.monotonic()
        pending = self._pending(self.gate())
        analysis = analyse([pending], self.invocation.cache)
        write_run(pending, analysis)
        self.invocation.estimate.finished(self._reporting, time.monotonic() - began)
        for variant in self.variants.values():
            variant.track()
        return analysis

    def _pending(self, verdicts: Sequence[GateResult] = ()) -> PendingRun:
        """What was measured so far, as a run without comparisons."""
        folder = self.invocation.options.results_dir / self.name
        dataset = self.invocation.dataset
        split = dataset.test if dataset.has_tables else None
        return PendingRun(folder, self._results(verdicts), None, self._rows(), split)

    def _rows(self) -> RunRows:
        def rows_of(section: str) -> list[tuple[str, VariantRun]]:
            return [(n, v) for n, v in self.variants.items() if section in v.requested]

        return RunRows(
            losses={n: v.losses.rows for n, v in rows_of("loss")},
            predictions={n: v.predictions for n, v in rows_of("execution")},
            answers={
                n: v.answer_rows for n, v in rows_of("exact_match") if v.exact_match is not None
            },
            trials={n: v.trials for n, v in rows_of("throughput")},
            checkpoints={
                n: v.checkpoint_rows for n, v in rows_of("checkpoints") if v.checkpoint_rows
            },
        )

    def _results(self, verdicts: Sequence[GateResult]) -> Results:
        dataset = self.invocation.dataset
        base = self.invocation.base
        return Results(
            run=self._run(),
            model=Model(
                id=shown_argument(base.id),
                revision=base.revision,
                sha256=base.sha256,
                architecture=base.architecture,
                weights=self._weights,
            )
            if self.invocation.measures
            else model_elsewhere(base.id),
            dataset=dataset_info(dataset),
            protocols=protocols_of(self.invocation),
            variants={name: v.result() for name, v in self.variants.items() if v.requested},
            same_as=dict(self.invocation.same_as),
            gates=list(verdicts),
            gate_rules=dict(self.invocation.gates),
        )

    @cached_property
    def _weights(self) -> Weights:
        """How the base's weights were stored."""
        return stored_as(self.invocation.base)

    def _run(self) -> Run:
        # The first that was measured; the first of all for a gate of a run that measured nothing.
        here = [v for v in self.variants.values() if not v.stages.without_weights]
        first = max(here or self.variants.values(), key=lambda variant: bool(variant.requested))
        timed = [v for v in self.variants.values() if "throughput" in v.requested]
        trained = [v for v in self.variants.values() if "finetune" in v.requested]
        drawn = self.invocation.options.seeds[0]
        measures = self.invocation.measures
        return Run(
            id=self.name,
            source="measured" if measures else "endpoint",
            started=_iso(self.invocation.started),
            finished=_iso(datetime.datetime.now(datetime.UTC)),
            command=self.invocation.command,
            seed=self.seed,
            sample_seed=None if drawn == self.seed else drawn,
            partial=self._partial(),
            contended=any(v.speeds.contended for v in timed)
            or any(v.finetune is not None and v.finetune.contended for v in trained),
            git=self._git(),
            versions=versions(MEASURING if measures else GRADING),
            device=first.stages.description.device if measures else device_of_grading(),
            distributed=Distributed(size=self.invocation.ranks),
        )

    def _git(self) -> Git:
        """The commit at the start; dirty as well where the checkout was changed meanwhile."""
        before, now = self.invocation.git, git_state.git_state()
        return Git(commit=before.commit, dirty=before.dirty or now != before)

    def _partial(self) -> list[str]:
        """Sections that were not measured for every variant: the suites of those names."""
        # The user does not choose what the data cannot have.
        has_tables = self.invocation.dataset.has_tables
        impossible = {"exact_match"} if has_tables else {"execution", "questions"}
        missing = {
            section
            for variant in self.variants.values()
            for section in (OF_ANSWERS if variant.stages.without_weights else SECTIONS)
            if section not in variant.requested | OPTIONAL | impossible
        }
        return sorted(missing)


def protocols_of(invocation: Invocation) -> Protocols:
    """The definitions that this command measures by."""
    options, dataset, style = invocation.options, invocation.dataset, invocation.style
    if invocation.measures:
        trials = invocation.speed_trials
        return protocols(style, dataset, options.max_new_tokens, trials)
    asked = protocols(style, dataset)
    limit = most_tokens(options)
    how = f"hardened K={names.HARDENED_COPIES}, endpoint at temperature 0, at most {limit} tokens"
    text = asked.loss.removeprefix(names.LOSS)
    return answers_alone(f"{names.EXECUTION} ({how}){text}", asked.prompt)


def protocols(
    style: PromptStyle,
    dataset: Dataset,
    max_new_tokens: int | None = None,
    trials: names.SpeedTrials | None = None,
) -> Protocols:
    """The names of the definitions that this version of tunebench measures by."""
    # The user's own texts are used as they are, with any style.
    text = f"({style.name}@{style.version})" if dataset.has_tables else f"({dataset.form} as given)"
    one_line = answers_in_one_line(style, dataset)
    return Protocols(
        loss=f"{names.LOSS} {text}",
        execution=f"{names.answers_protocol(one_line, max_new_tokens)} {text}",
        throughput=(trials or names.SpeedTrials()).protocol,
        memory=names.MEMORY,
        comparison=names.COMPARISON,
        prompt=f"{style.name}@{style.version} sha256:{texts_key(style, dataset)}",
        gates=names.GATES,
    )


def _iso(moment: datetime.datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")

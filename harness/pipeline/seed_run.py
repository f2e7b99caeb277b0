"""One run: the variants of one seed, assembled into `results.json` and written once at the end.

Input: the session's setting and variants -> output: a :class:`StoredRun` on disk. What was
measured is decided by which sections the suites touched; this module knows how they fit together,
`sections` how each is computed.
"""

from __future__ import annotations

import datetime
import platform
from collections.abc import Callable, Sequence
from functools import cached_property
from importlib import metadata
from typing import TYPE_CHECKING

from harness import protocols as names
from harness.compare import gates
from harness.compare.analysis import analyse
from harness.data.leakage import leakage, repeats
from harness.data.prompts import PromptStyle
from harness.data.records import Dataset, Example
from harness.pipeline import interleaved_speed
from harness.pipeline.stages import Setting, VariantStages
from harness.pipeline.variant_run import VariantRun
from harness.progress import ProgressCallback
from harness.runs import git_state
from harness.runs.file_names import fused_folder
from harness.runs.store import PendingRun, RunRows, StoredRun
from harness.schema.dataset import DatasetInfo, SplitCounts
from harness.schema.results import (
    Distributed,
    GateResult,
    Git,
    Model,
    Protocols,
    Results,
    Run,
)
from harness.schema.stage_results import Speeds
from harness.train.variant import Variant

if TYPE_CHECKING:
    from harness.pipeline.session import Session

SUITES = {
    "finetune": "finetune",
    "loss": "loss",
    "execution": "execution",
    "fuse": "fuse",
    "memory": "memory",
    "size": "size",
    "questions": "questions",
    "throughput": "throughput",
}
"""The suite that measures each section; a run lacking one is partial."""


class SeedRun:
    """The variants of one seed and the record they end in."""

    def __init__(
        self,
        session: Session,
        name: str,
        seed: int,
        setting: Setting,
        variants: Sequence[Variant],
        examples: Sequence[Example],
        progress: ProgressCallback,
        notify: Callable[[str], None],
    ) -> None:
        options = session.options
        self.session = session
        self.name = name
        self.seed = seed
        self.setting = setting
        self.examples = examples
        self._progress = progress
        self._judged: dict[frozenset[tuple[str, str]], list[GateResult]] = {}
        keep = fused_folder(options.results_dir, name) if options.keep_fused else None
        self.variants = {
            variant.name: VariantRun(
                VariantStages(setting, variant, options.adapter_path, progress, notify),
                examples,
                seed,
                options.seeds[0],
                self._speeds_of(variant.name),
                None if keep is None else keep / variant.file_name,
                options.checkpoints,
            )
            for variant in variants
        }

    def close(self) -> None:
        """End every model process of the run."""
        for variant in self.variants.values():
            variant.stages.close()

    # --- speed --------------------------------------------------------------------------------

    @cached_property
    def _speeds(self) -> tuple[dict[str, Speeds], bool]:
        timed = {case.variant for case in self.session.timed if case.seed == self.seed}
        stages = [v.stages for name, v in self.variants.items() if name in timed]
        return interleaved_speed.measure(stages, self.session.options.remeasure, self._progress)

    def _speeds_of(self, name: str) -> Callable[[], tuple[Speeds, bool]]:
        def find() -> tuple[Speeds, bool]:
            found, cached = self._speeds
            return found[name], cached

        return find

    # --- the record ---------------------------------------------------------------------------

    @property
    def touched(self) -> bool:
        """Whether anything was measured."""
        return any(variant.touched for variant in self.variants.values())

    def gate(self) -> list[GateResult]:
        """The verdicts against the baseline, on what was measured so far; empty without one."""
        if self.session.baseline is None:
            return []
        measured = frozenset(
            (name, section) for name, v in self.variants.items() for section in v.touched
        )
        if measured not in self._judged:
            pending = self._pending()
            verdicts = gates.judge(pending, self.session.baseline, self.session.gate_rules)
            self._judged = {measured: verdicts}
        return self._judged[measured]

    def write(self) -> StoredRun:
        """Write the run's folder.

        Raises:
            UserError: the disk refuses or the name was taken meanwhile.
        """
        # Imported here: collecting and measuring need neither pandas nor matplotlib.
        from harness.report.write import write_run

        verdicts = self.gate()
        pending = self._pending()
        judged = {"comparisons": analyse([pending]).records, "gates": verdicts}
        results = pending.results.model_copy(update=judged)
        return write_run(self.session.options.results_dir, results, pending.rows)

    def _pending(self) -> PendingRun:
        """What was measured so far, as a run with neither comparisons nor verdicts."""
        folder = self.session.options.results_dir / self.name
        return PendingRun(folder, self._results(), None, self._rows())

    def _rows(self) -> RunRows:
        touched = {name: v for name, v in self.variants.items() if v.touched}
        return RunRows(
            losses={n: v.loss_rows() for n, v in touched.items() if "loss" in v.touched},
            predictions={n: v.predictions for n, v in touched.items() if "execution" in v.touched},
            trials={n: v.trials for n, v in touched.items() if "throughput" in v.touched},
            checkpoints={
                n: v.checkpoint_rows
                for n, v in touched.items()
                if "checkpoints" in v.touched and v.checkpoint_rows
            },
        )

    def _results(self) -> Results:
        dataset = self.setting.dataset
        base = self.setting.base
        return Results(
            run=self._run(),
            model=Model(
                id=base.id,
                revision=base.revision,
                sha256=base.sha256,
                architecture=base.architecture,
            ),
            dataset=DatasetInfo(
                name=dataset.name,
                sha256=dataset.sha256,
                splits=SplitCounts(
                    train=len(dataset.train.examples),
                    valid=len(dataset.valid.examples),
                    test=len(dataset.test.examples),
                ),
                form=dataset.form,
                tables=len({id for split in dataset.splits for id in split.tables}),
                repeats=repeats(dataset),
                leakage=leakage(dataset),
            ),
            protocols=protocols(self.setting.style, dataset),
            variants={name: v.result() for name, v in self.variants.items() if v.touched},
            comparisons=[],
            gates=[],
        )

    def _run(self) -> Run:
        first = next((v for v in self.variants.values() if v.touched), None)
        if first is None:  # a gate asked of a run that measured nothing
            first = next(iter(self.variants.values()))
        description, team = first.stages.description, self.setting.team
        timed = [v for v in self.variants.values() if "throughput" in v.touched]
        trained = [v for v in self.variants.values() if "finetune" in v.touched]
        drawn = self.session.options.seeds[0]
        return Run(
            id=self.name,
            started=_iso(self.session.started),
            finished=_iso(datetime.datetime.now(datetime.UTC)),
            command=self.session.command,
            seed=self.seed,
            sample_seed=None if drawn == self.seed else drawn,
            partial=self._partial(),
            contended=any(v.speeds.contended for v in timed)
            or any(v.finetune is not None and v.finetune.contended for v in trained),
            git=self._git(),
            versions=versions(),
            device=description.device,
            distributed=Distributed(size=1 if team is None else team.size),
        )

    def _git(self) -> Git:
        """The checkout as it was at the start; dirty as well if it moved meanwhile."""
        before, now = self.session.git, git_state.git_state()
        return Git(commit=before.commit, dirty=before.dirty or now != before)

    def _partial(self) -> list[str]:
        """Suites that did not measure every variant."""
        # What the data cannot have is no choice of the user's.
        impossible = set() if self.setting.dataset.has_tables else {"execution"}
        missing = {
            suite
            for section, suite in SUITES.items()
            for variant in self.variants.values()
            if section not in variant.touched and section not in impossible
        }
        return sorted(missing)


def protocols(style: PromptStyle, dataset: Dataset) -> Protocols:
    """The names of the definitions that this version of tunebench measures by."""
    # Texts of the user's own are taken as they are, whatever the style.
    told = f"({style.name}@{style.version})" if dataset.has_tables else f"({dataset.form} as given)"
    return Protocols(
        loss=f"{names.LOSS} {told}",
        execution=f"{names.answers_protocol()} {told}",
        throughput=names.speed_protocol(),
        memory=names.MEMORY,
        prompt=f"{style.name}@{style.version} sha256:{style.sha256}",
    )


def versions() -> dict[str, str]:
    """Versions of the packages that decide results."""
    packages = ("mlx", "mlx-lm", "transformers", "tokenizers", "duckdb", "sqlglot", "numpy")
    found = {name: metadata.version(name) for name in packages}
    return {"tunebench": metadata.version("tunebench"), "python": platform.python_version()} | found


def _iso(moment: datetime.datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")

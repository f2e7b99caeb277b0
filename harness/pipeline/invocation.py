"""The record of one command line: what all seeds and variants of it share.

`session` makes it once everything that was named has been found; runs, variants and stages read
it. Nothing in it changes afterwards.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from harness.data.prompts import PromptStyle
from harness.data.records import Dataset, Example
from harness.disk.cache import Cache
from harness.distributed.coordinator import Coordinator
from harness.endpoint.client import Endpoint
from harness.machine.chip import compute_device
from harness.models.config import ModelConfig
from harness.models.resolve import BaseModel
from harness.options import Options
from harness.pipeline.adapter_path import AdapterSource
from harness.progress import ProgressCallback
from harness.protocols import SpeedTrials
from harness.runs.run_estimate import RunEstimate
from harness.runs.store import StoredRun
from harness.schema.results import GateRule, Git


@dataclass(frozen=True)
class Case:
    """The subject of one parametrized test: a variant under a seed."""

    seed: int
    variant: str

    def id(self, many_seeds: bool) -> str:
        """The test's id."""
        return f"{self.variant}-seed{self.seed}" if many_seeds else self.variant


@dataclass(frozen=True)
class Invocation:
    """One command line: its options, what they name, and where its messages go."""

    options: Options
    command: str
    started: datetime.datetime
    git: Git
    base: BaseModel
    same_as: Mapping[str, str]
    """By name: the variants that are another one on this base (``same_variants``)."""
    given: Mapping[str, AdapterSource]
    """By the name of its variant: the adapters of --adapter-path."""
    endpoints: Mapping[str, Endpoint]
    """By the name of its variant: the models behind a URL."""
    dataset: Dataset
    style: PromptStyle
    cache: Cache
    examples: tuple[Example, ...]
    """The test examples that are measured, in id order: all, or the sample of --limit."""
    asked: Mapping[Case, Collection[str]]
    """By case: the fixtures that its tests ask for."""
    estimate: RunEstimate
    gates: Mapping[str, GateRule]
    baseline: StoredRun | None
    coordinator: Coordinator | None
    """The other ranks, where the command was launched on several."""
    progress: ProgressCallback
    notify: Callable[[str], None]

    @property
    def data_name(self) -> str:
        """The dataset as a model's process finds it: of the hub's, the folder it was written to;
        other ranks have no such folder, and fetch it themselves."""
        of_the_hub = self.dataset.revision is not None and self.coordinator is None
        return str(self.dataset.folder) if of_the_hub else self.options.dataset

    @property
    def ids(self) -> list[int]:
        """The ids of the test examples that are measured."""
        return [example.id for example in self.examples]

    @property
    def measures(self) -> bool:
        """Whether a model is measured here: else ``base`` stands for endpoints alone."""
        return bool(self.base.config)

    @property
    def speed_trials(self) -> SpeedTrials:
        """How speed is measured on the device that computes."""
        width = ModelConfig(self.base.config).hidden
        return SpeedTrials.of(width, compute_device()[0], self.options.trial_pause)

    @property
    def ranks(self) -> int:
        """The number of processes that share the work."""
        return 1 if self.coordinator is None else self.coordinator.size

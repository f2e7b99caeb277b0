"""One invocation: options -> checked inputs -> one run a seed -> files.

``Session`` fails in the order of cost: options and variant files when it is made, then dataset,
adapter, baseline and base model in ``prepare``, all before a model is loaded. Each seed is a
:class:`SeedRun` with its own folder.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from harness.cache import Cache
from harness.data.prompts import style
from harness.data.sampling import stratified
from harness.data.sources import resolve_dataset
from harness.errors import UserError
from harness.files import write_text
from harness.models.resolve import resolve
from harness.options import Options
from harness.pipeline.run import SeedRun
from harness.pipeline.stages import ADAPTER_FILE, Setting
from harness.progress import ProgressCallback, silent, tell
from harness.results import gates, store
from harness.results.seeds import seed_summary
from harness.results.store import StoredRun
from harness.train.variants import check_against, load_variants


@dataclass(frozen=True)
class Case:
    """What one parametrized test is about: a variant under a seed."""

    seed: int
    variant: str

    def id(self, many_seeds: bool) -> str:
        """The test's id."""
        return f"{self.variant}-seed{self.seed}" if many_seeds else self.variant


class Session:
    """Everything one command line asks for.

    Raises:
        UserError: an option, a variant file, the gates or the baseline is wrong.
    """

    def __init__(self, options: Options, command: str) -> None:
        self.options = options
        self.command = command
        self.started = datetime.datetime.now(datetime.UTC)
        self.style = style(options.prompt_style)
        self._variants = {
            seed: load_variants(options.variants, options.overrides, seed) for seed in options.seeds
        }
        self.gate_rules = gates.load_gates(options.gates)
        self.baseline = None if options.baseline is None else store.read_run(options.baseline)
        self.runs: dict[int, SeedRun] = {}

    @property
    def cases(self) -> list[Case]:
        """Every (seed, variant), seeds first."""
        return [Case(seed, v.name) for seed, found in self._variants.items() for v in found]

    @property
    def prepared(self) -> bool:
        """Whether :meth:`prepare` has run."""
        return bool(self.runs)

    def prepare(
        self, progress: ProgressCallback = silent, say: Callable[[str], None] = tell
    ) -> None:
        """Check names, data, adapter and base; nothing is loaded into memory yet.

        Raises:
            UserError: whatever is wrong, in one message.
        """
        options = self.options
        names = {seed: self._run_name(seed) for seed in options.seeds}
        for name in names.values():
            store.check_new(options.results_dir, name)
        cache = Cache() if options.use_cache else Cache.temporary()
        dataset = resolve_dataset(options.dataset, cache.root)
        if options.adapter_path is not None:
            _check_adapter_folder(options.adapter_path)
        base = resolve(options.model, cache, progress, options.trust_remote_code)
        for variant in next(iter(self._variants.values())):
            check_against(variant, dict(base.config))
        setting = Setting(
            base, dataset, options.dataset, self.style, cache, options.trust_remote_code
        )
        for seed, variants in self._variants.items():
            limit = -1 if options.limit is None else options.limit
            chosen = sorted(stratified(dataset.test, limit, seed), key=lambda e: e.id)
            self.runs[seed] = SeedRun(
                self, names[seed], seed, setting, variants, chosen, progress, say
            )

    def conclude(self, written: list[StoredRun]) -> None:
        """What follows from the written runs: the summary over seeds, the new baseline.

        Raises:
            UserError: the disk refuses, or a partial run was to become the baseline.
        """
        if self.options.many_seeds and written:
            name = self.options.run_name or f"{self.started:%Y%m%d-%H%M%S}"
            text = f"# {name}, seeds {', '.join(map(str, self.options.seeds))}\n\n"
            text += seed_summary(written) + "\n"
            write_text(self.options.results_dir / f"{name}-seeds.md", text)
        if self.options.bless and self.options.baseline is not None and written:
            kept = gates.bless(written[-1], self.options.baseline)
            where = f", the old one kept in {kept}" if kept is not None else ""
            tell(f"tunebench: {written[-1].id} is the baseline now{where}")

    def close(self) -> None:
        """End every model process."""
        for run in self.runs.values():
            run.close()

    def _run_name(self, seed: int) -> str:
        name = self.options.run_name
        if name is None:
            variants = "+".join(v.file_name for v in self._variants[seed])
            name = f"{self.started:%Y%m%d-%H%M%S}-{variants[:60]}"
        return f"{name}-seed{seed}" if self.options.many_seeds else name


def _check_adapter_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise UserError(
            f"--adapter-path {folder} is not a folder. Give the folder that holds "
            f"{ADAPTER_FILE} and adapter_config.json."
        )
    if not (folder / ADAPTER_FILE).is_file():
        found = ", ".join(sorted(path.name for path in folder.iterdir())[:8]) or "nothing"
        raise UserError(f"--adapter-path {folder} holds no {ADAPTER_FILE} (it holds {found})")

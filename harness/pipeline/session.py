"""One command line: options -> checked inputs -> one run a seed -> files.

``Session`` fails in the order of cost: options and variant files when it is made, then dataset,
adapter, baseline and base model in ``prepare``, all before a model is loaded. What would make the
end of a run fail is refused there too: the results folder, the baseline's setting, the checkpoints
of --checkpoints. Each seed is a :class:`SeedRun` with its own folder.
"""

from __future__ import annotations

import contextlib
import datetime
import shlex
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from harness.compare import thresholds
from harness.compare.analysis import analyse
from harness.compare.evidence import require_evidence
from harness.compare.metrics import best_of
from harness.compare.regrade import require_regraded
from harness.compare.sides import in_words, sample_note, sample_words
from harness.data.prompts import style
from harness.data.records import Dataset, Example
from harness.data.sampling import stratified
from harness.data.sources.resolve import resolve_dataset
from harness.disk import scratch
from harness.disk.cache import Cache
from harness.disk.files import check_writable, user_path, write_text
from harness.distributed.coordinator import Coordinator
from harness.errors import UserError
from harness.machine.memory_limits import assignments
from harness.models.adapter import adapter_config, check_adapter
from harness.models.config import read_object
from harness.models.quantize import QuantizeSpec, require_quantized_so
from harness.models.resolve import BaseModel, no_low_bits, resolve
from harness.options import Checkpoints, Options
from harness.pipeline import adapter_path, trackers
from harness.pipeline.adapter_out import how_to_try
from harness.pipeline.adapter_path import AdapterSource
from harness.pipeline.endpoint_stages import STYLE, reached
from harness.pipeline.invocation import Case, Invocation
from harness.pipeline.outside_run import ELSEWHERE
from harness.pipeline.same_variants import same_variants
from harness.pipeline.seed_run import SeedRun, protocols_of
from harness.progress import ProgressCallback, print_message, silent
from harness.protocols import comparable_answers, grading_protocol
from harness.report.comparison import render_seeds
from harness.runs import baseline, git_state, store
from harness.runs.file_names import check_file_names, check_new
from harness.runs.run_estimate import RunEstimate
from harness.runs.store import StoredRun
from harness.schema.results import Protocols
from harness.sql.read.gold import read_golds
from harness.stats.units import units_of
from harness.train.variant import EndpointVariant, Variant, data_of
from harness.train.variants import (
    check_layers,
    check_packed,
    load_variants,
    named_by_all_alone,
    named_in_files,
)


class Session:
    """Everything one command line asks for.

    Raises:
        UserError: an option, a variant file, the gates or the baseline is wrong, or the baseline
            does not fit its own rows.
    """

    def __init__(self, options: Options, command: str) -> None:
        self.command = " ".join([*assignments(), command])
        self.started = datetime.datetime.now(datetime.UTC)
        self.git = git_state.git_state()
        self._named_by: dict[str, str] = {}
        """Where `model` and `data` were found, of those that the command does not name."""
        options = replace(options, model=self._model(options), dataset=self._dataset(options))
        self.options = options
        loaded = load_variants(
            options.variants,
            options.overrides,
            options.seeds[0] if options.seed_given else None,
            options.sweeps,
        )
        loaded, self._folders = adapter_path.with_adapters(
            loaded, options.adapters, options.overrides
        )
        self._variants = {
            seed: [v.model_copy(update={"seed": seed}) if options.seed_given else v for v in loaded]
            for seed in options.seeds
        }
        self.style = style(options.prompt_style) if self.computes else STYLE
        self.gate_rules = thresholds.load_gates(options.gates)
        self.baseline = self._read_baseline()
        self.runs: dict[int, SeedRun] = {}
        """By seed; empty until :meth:`prepare` has run."""
        self.left_out: dict[str, str] = {}
        """By name: why `all` does not bring a variant on this base."""
        self._cache: Cache | None = None

    @property
    def cases(self) -> list[Case]:
        """Every (seed, variant), seeds first."""
        return [Case(seed, v.name) for seed, found in self._variants.items() for v in found]

    @property
    def computes(self) -> bool:
        """Whether a model is computed here, or only endpoints are asked."""
        return not all(variant.elsewhere for variant in self._first_variants)

    def prepare(
        self,
        asked: Mapping[Case, Collection[str]],
        progress: ProgressCallback = silent,
        notify: Callable[[str], None] = print_message,
        coordinator: Coordinator | None = None,
    ) -> None:
        """Check names, data, adapter, base and the other ranks; nothing is loaded yet.

        ``asked`` are the fixtures that the tests of each case ask for.

        Raises:
            UserError: one of them is wrong; the message names it.
        """
        options = self.options
        names = self._free_names()
        scratch.sweep()  # the temporary folders of killed runs
        self._cache = cache = Cache() if options.use_cache else Cache.temporary()
        cache.notify = notify
        cache.hold()
        for what, named in self._named_by.items():
            notify(f"{what} {named}")
        # Fetched data are not results: --no-cache reads them where `fetch` left them.
        dataset = resolve_dataset(options.dataset, read_golds=read_golds)
        base = self._base(cache, progress)
        given = self._given(base, cache)
        self._leave_out(base, notify)
        for variant in self._first_variants:
            self._check_variant(variant, base, dataset, given.get(variant.name), notify)
        endpoints = reached(self._first_variants, dataset, notify)
        trained = [variant for variant in self._first_variants if variant.name not in given]
        if coordinator is not None:
            coordinator.peers.assemble()
            notify(f"{coordinator.size} ranks: this one and {', '.join(coordinator.peers.names)}")
        invocation = Invocation(
            options=options,
            command=self.command,
            started=self.started,
            git=self.git,
            base=base,
            same_as=same_variants(trained, base, notify),
            given=given,
            endpoints=endpoints,
            dataset=dataset,
            style=self.style,
            cache=cache,
            examples=self._sample(dataset, notify),
            asked=asked,
            estimate=RunEstimate(cache.root, notify),
            gates=self.gate_rules,
            baseline=self.baseline,
            coordinator=coordinator,
            progress=progress,
            notify=notify,
        )
        check_baseline(invocation, protocols_of(invocation))
        self._check_texts(invocation)
        for seed, variants in self._variants.items():
            self.runs[seed] = SeedRun(invocation, names[seed], seed, variants)
        self._say_how_long(invocation)

    def _say_how_long(self, invocation: Invocation) -> None:
        with contextlib.suppress(OSError):  # a damaged entry of the cache is found by its reader
            invocation.estimate.begin([s for run in self.runs.values() for s in run.to_come()])

    def _sample(self, dataset: Dataset, notify: Callable[[str], None]) -> tuple[Example, ...]:
        """The test examples that are measured, in id order; of a few of them a word is said."""
        # One sample for all seeds: else their spread would be that of the sample too.
        sample = stratified(dataset.test, self.options.limit or -1, self.options.seeds[0])
        if note := units_note([example.table_id for example in sample], dataset.has_tables):
            notify(note)
        return tuple(sorted(sample, key=lambda example: example.id))

    def _base(self, cache: Cache, progress: ProgressCallback) -> BaseModel:
        """The base model; where only endpoints are asked, a name for them."""
        if self.computes:
            options = self.options
            return resolve(options.model, cache, progress, options.trust_remote_code)
        models = [v.endpoint.model for v in self._first_variants if isinstance(v, EndpointVariant)]
        return BaseModel(", ".join(dict.fromkeys(models)), Path(), None, "", ELSEWHERE, {})

    def _check_texts(self, invocation: Invocation) -> None:
        """Grade the baseline's answers again: its verdicts must be those of its texts."""
        if self.baseline is None:
            return
        named = {variant.name for variant in self._first_variants} & {*self.baseline.variants}
        test, cache = invocation.dataset.test, invocation.cache
        if note := require_regraded(self.baseline, test, cache, named or None):
            invocation.notify(note)

    @property
    def _first_variants(self) -> list[Variant]:
        """The variants of the first seed: the seeds differ in nothing that is checked."""
        return next(iter(self._variants.values()))

    def _free_names(self) -> dict[int, str]:
        """The name of each seed's run; the results folder can take them."""
        options = self.options
        names = {seed: self._run_name(seed) for seed in options.seeds}
        for name in names.values():
            check_new(options.results_dir, name)
        check_file_names(variant.name for variant in self._first_variants)
        if options.many_seeds:
            page = options.results_dir / f"{self._seeds_name()}-seeds.md"
            if page.exists():
                raise UserError(f"{page} exists already. Choose another --run-name, or remove it.")
        check_writable(options.results_dir, "--results-dir")
        return names

    def _model(self, options: Options) -> str:
        """The base model's name: the command's, else an adapter's or a variant file's."""
        if options.model:
            return options.model
        found = named_in_files(options.variants, "model")
        for _, folder in options.adapters:
            if name := adapter_path.named_by(folder, "model"):
                found[str(folder)] = name
        if options.adapters and not found and not options.variants:
            raise UserError(
                f"the adapter {options.adapters[0][1]} does not say which model it was trained on. "
                "Name it with --model."
            )
        return self._agreed("model", "--model", found) or "smollm2"

    def _dataset(self, options: Options) -> str:
        """The data's name: the command's, else a variant file's, else an adapter's folder."""
        if options.dataset:
            return options.dataset
        files = options.variants
        found = named_in_files(files, "hf_dataset") or named_in_files(files, "data")
        for _, folder in () if options.variants else options.adapters:
            name = adapter_path.named_by(folder, "data")
            if name and user_path(name).is_dir():
                found[str(folder)] = data_of({**adapter_config(folder), "data": name})
            elif name:
                absent = (
                    f"{name!r} of {folder} is no folder here; --dataset names another than mini"
                )
                self._named_by["data"] = absent
        return self._agreed("data", "--dataset", found) or "mini"

    def _agreed(self, what: str, option: str, found: Mapping[str, str]) -> str:
        """The one value of ``found``, by the file or folder that has it; empty where there is
        none."""
        if len(set(found.values())) > 1:
            listed = ", ".join(f"{value!r} ({place})" for place, value in found.items())
            raise UserError(f"a run has one {what}, and there are {listed}. Give {option}.")
        for place, value in found.items():
            self._named_by[what] = f"{value!r} is named by {place}; {option} names another"
            return value
        return ""

    def _given(self, base: BaseModel, cache: Cache) -> dict[str, AdapterSource]:
        """The given adapters by variant, all known to fit ``base``; the variants follow them."""
        given = {}
        for name, origin in self._folders.items():
            folder = adapter_path.in_mlx_lm_layout(origin, base.layers, cache)
            check_adapter(base, folder)
            given[name] = adapter_path.given_adapter(folder, origin)
            for seed, variants in self._variants.items():
                self._variants[seed] = [
                    adapter_path.variant_from_adapter(v, folder) if v.name == name else v
                    for v in variants
                ]
        return given

    def _check_variant(
        self,
        variant: Variant,
        base: BaseModel,
        dataset: Dataset,
        given: AdapterSource | None,
        notify: Callable[[str], None],
    ) -> None:
        for sentence in trackers.missing(variant):
            notify(sentence)
        folder = None if given is None else given.path
        note = adapter_path.other_base(variant, folder) if folder is not None else ""
        if note and base.quantization is None:
            notify(note)
        check_layers(variant, base.config)
        check_checkpoints(variant, self.options.checkpoints, given)
        check_answers(variant, dataset, given is not None)

    def _leave_out(self, base: BaseModel, notify: Callable[[str], None]) -> None:
        """Refuse variants that this base cannot have; those that `all` brings are left out."""
        optional = named_by_all_alone(self.options.variants, self.options.sweeps)
        for variant in self._first_variants:
            try:
                check_base(variant, base)
            except UserError as error:
                if variant.name not in optional:
                    raise
                self.left_out[variant.name] = f"all leaves out {variant.name}: {error}"
                notify(self.left_out[variant.name])
        for seed, variants in self._variants.items():
            self._variants[seed] = [v for v in variants if v.name not in self.left_out]

    def _read_baseline(self) -> StoredRun | None:
        where = self.options.baseline
        if where is None:
            return None
        if self.options.bless and not where.exists():
            return None  # the first baseline is made by this run
        found = store.read_run(where)
        require_evidence(found)
        return found

    def conclude(self, written: list[StoredRun]) -> None:
        """Write what follows from the written runs: the summary over seeds, the new baseline.

        Raises:
            UserError: the disk refuses, or a partial run was to become the baseline.
        """
        if self.options.many_seeds and written:
            name = self._seeds_name()
            page = self.options.results_dir / f"{name}-seeds.md"
            write_text(page, render_seeds(name, analyse(written)))
        if self.options.bless and self.options.baseline is not None and written:
            target = self.baseline.folder if self.baseline else self.options.baseline
            kept = baseline.bless(written[-1], target)
            where = f", the old one kept in {kept}" if kept is not None else ""
            print_message(f"tunebench: {written[-1].id} is the baseline now{where}")

    def trained(self) -> list[str]:
        """Where the adapters lie that were trained, now or before, and how to try the best."""
        found = [
            (run, variant, source.path)
            for run in self.runs.values()
            for variant in run.variants.values()
            if variant.requested and (source := variant.stages.adapter).path is not None
            if source.source != "given"
        ]
        if not found or not self.options.use_cache:
            return []
        best = best_of([variant.result() for _, variant, _ in found])
        run, variant, path = found[best]
        assert path is not None
        invocation, quantize = run.invocation, variant.stages.variant.config()["quantize"]
        tried = how_to_try(invocation.base, quantize, path, invocation.cache)
        place = f"{self.options.results_dir / run.name}:{variant.name}"
        out = f"{variant.stages.variant.file_name}-adapter"
        copy = shlex.join(["tunebench", "adapter", place, "--out", out])
        return [
            *(f"adapter of {variant.name}: {path}" for _, variant, path in found),
            f"try it: {tried}",
            f"a copy of it: {copy}",
        ]

    def kept(self) -> str:
        """What an interrupted run leaves, and how to go on."""
        if not self.options.use_cache:
            return "with --no-cache nothing is kept"
        return (
            "finished stages, training and answers so far are kept in "
            f"{Cache().root}. The same command goes on from there."
        )

    def close(self) -> None:
        """End every model process, and let go of the cache."""
        for run in self.runs.values():
            run.close()
        if self._cache is not None:
            self._cache.release()

    def _seeds_name(self) -> str:
        return self.options.run_name or f"{self.started:%Y%m%d-%H%M%S}"

    def _run_name(self, seed: int) -> str:
        name = self.options.run_name
        if name is None:
            variants = "+".join(v.file_name for v in self._variants[seed])
            name = f"{self.started:%Y%m%d-%H%M%S}-{variants[:60]}"
        return f"{name}-seed{seed}" if self.options.many_seeds else name


def units_note(tables: Sequence[str], has_tables: bool) -> str:
    """What a test sample on so few tables can show, said before training; else empty.

    Args:
        tables: the table of each test example.
        has_tables: whether they are tables, or texts that stand for themselves.
    """
    units = units_of(tables)
    if units.too_few:
        return (
            f"the test sample: {units.too_few}, so no variant will be called better or worse and "
            "no gate will pass or fail by quality. Test on more examples"
        )
    if units.kind == "table" or not has_tables:
        return ""
    return (
        f"the test sample is {units.count} questions on {units.tables} "
        f"table{'s' * (units.tables != 1)}: verdicts and gates will be about questions on "
        f"{'these tables' if units.tables != 1 else 'this table'}, not about tables"
    )


def check_base(variant: Variant, base: BaseModel) -> None:
    """Refuse what the weights of ``base``, as they are stored, cannot have.

    Raises:
        UserError: the variant keeps the bits of the base's source, and there is none; or the base
            is quantized already, and the variant trains its weights or demands other bits.
    """
    if variant.keeps_source and base.packed is None:
        raise UserError(f"variant {variant.name!r}: {no_low_bits(base.id)}")
    folder = base.packed if variant.keeps_source else None
    check_packed(variant, base.config if folder is None else read_object(folder / "config.json"))
    if isinstance(variant.quantize, QuantizeSpec):
        require_quantized_so(base.id, base.config, variant.quantize)


def check_checkpoints(
    variant: Variant, wanted: Checkpoints, given: AdapterSource | None = None
) -> None:
    """Refuse an iteration at which the variant saves nothing, or of which a given adapter's folder
    has no file."""
    if given is not None and wanted is not None:
        held = adapter_path.numbered(given)
        if not held or (wanted != "all" and not set(wanted) <= held.keys()):
            listed = ", ".join(map(str, held)) or "none"
            raise UserError(
                f"--checkpoints: adapter {given.path} has files such as "
                f"0000100_adapters.safetensors of these iterations: {listed}."
            )
    if wanted is None or wanted == "all" or not variant.trains or given is not None:
        return
    saved = {*range(variant.save_every, variant.iters + 1, variant.save_every), variant.iters}
    missing = [iteration for iteration in wanted if iteration not in saved]
    if missing:
        raise UserError(
            f"--checkpoints {', '.join(map(str, missing))}: {variant.name} saves at "
            f"{', '.join(map(str, sorted(saved)))}. Save more with --set save_every=N."
        )


def check_answers(variant: Variant, dataset: Dataset, given: bool = False) -> None:
    """Refuse to mask prompts where the data does not mark their end, as mlx-lm does."""
    if not given and variant.trains and variant.mask_prompt and not dataset.has_answers:
        raise UserError(
            f"variant {variant.name!r} sets mask_prompt, but dataset {dataset.name!r} holds whole "
            "texts, which do not mark where an answer begins. Use --set mask_prompt=false, or "
            "data with prompt and completion, or with messages."
        )


def check_baseline(invocation: Invocation, protocols: Protocols) -> None:
    """Refuse a baseline of another model, dataset, protocol or limit, naming the fields."""
    baseline = invocation.baseline
    if baseline is None:
        return
    then = baseline.results
    whole = len(invocation.dataset.test.examples)
    asked = sample_words(len(invocation.examples), whole, invocation.options.seeds[0])
    sides: dict[str, tuple[object, object]] = {
        "model.sha256": (then.model.sha256, invocation.base.sha256),
        "dataset.sha256": (then.dataset.sha256, invocation.dataset.sha256),
        "dataset.form": (then.dataset.form, invocation.dataset.form),
        "protocols.loss": (then.protocols.loss, protocols.loss),
        "protocols.execution": (
            comparable_answers(then.protocols.execution),
            comparable_answers(protocols.execution),
        ),
    }
    if not (then.run.source == "measured" and invocation.measures):
        graded = grading_protocol(then.protocols.execution), grading_protocol(protocols.execution)
        sides = {name: pair for name, pair in sides.items() if name.startswith("dataset.")}
        sides["protocols.execution"] = graded
    elif then.protocols.prompt is not None:
        sides["protocols.prompt"] = (then.protocols.prompt, protocols.prompt)
    for name, variant in then.variants.items():
        if variant.execution or variant.loss:
            sides[f"limit (test examples of {name})"] = (sample_note(baseline, variant), asked)
    if unlike := {name: (a, b) for name, (a, b) in sides.items() if a != b}:
        models = then.model.id, invocation.base.id
        listed = in_words(unlike, models, (then.dataset.name, invocation.dataset.name))
        raise UserError(
            f"--baseline {baseline.folder} is not comparable with this run: {listed}. "
            "Use the baseline's --model, --dataset, --prompt-style, --limit and --seed of a limit."
        )

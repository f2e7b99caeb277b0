"""`results.json`, schema_version 1: the whole record of a run, validated on writing and reading.

Input and output: pydantic models <-> the JSON of DESIGN §4, names and nesting exactly; an unknown
key is an error, so that a misspelt field cannot pass silently. What one variant holds is in
``variant_result``; the rows of the files beside (losses, predictions, speed trials) in ``rows``.
Not covered: where the files lie and how they are written (``store``).

Rates are 0..1, sizes bytes, times seconds; a section whose suite was not selected is null and its
suite is named in ``run.partial``.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from harness.schema.dataset import DatasetInfo
from harness.schema.variant_result import Record, VariantResult

SCHEMA_VERSION = 1

CompareVerdict = Literal["better", "worse", "not distinguishable"]
GateVerdict = Literal["pass", "fail", "inconclusive", "skipped"]
Direction = Literal["higher", "lower"]


class Git(Record):
    """The state of the project's checkout."""

    commit: str | None = Field(description="Commit of the checkout; null outside a git checkout.")
    dirty: bool = Field(description="Whether tracked files outside results/ had changes.")


class Device(Record):
    """The machine that measured."""

    backend: str = Field(description="MLX's backend: metal, cuda or cpu.")
    chip: str = Field(description="The chip's own name, e.g. Apple M2 Max.")
    memory_bytes: int = Field(ge=0, description="Physical memory of the machine.")
    blas: str | None = Field(description="BLAS used by the CPU backend; null on a GPU.")
    gpu_cores: int | None = Field(
        default=None,
        description="Cores of an Apple chip's GPU; null elsewhere, and where it was not recorded.",
    )


class Distributed(Record):
    """How many processes shared the work."""

    size: int = Field(ge=1, description="Number of ranks; 1 is a plain run.")


class Run(Record):
    """One invocation."""

    id: str = Field(description="The run's name: its folder under the results directory.")
    source: Literal["measured", "predictions", "endpoint"] = Field(
        default="measured",
        description="Whether a model was measured here, or the predictions of a system elsewhere "
        "were graded, or only models behind a URL were asked.",
    )
    started: str = Field(description="UTC start, ISO 8601.")
    finished: str = Field(description="UTC end, ISO 8601.")
    command: str = Field(description="The command line that made the run.")
    seed: int = Field(
        ge=0, description="Seed of training, of the --limit shuffle and of resampling."
    )
    sample_seed: int | None = Field(
        default=None,
        description="Seed of the --limit shuffle where it is another: the first of --seeds.",
    )
    partial: list[str] = Field(description="Suites not selected; such a run is not published.")
    contended: bool = Field(
        description="Whether others kept the machine busy during timings, or it was throttled."
    )
    git: Git = Field(description="State of the checkout that ran.")
    versions: dict[str, str] = Field(description="Package and Python versions that matter.")
    device: Device = Field(description="The machine.")
    distributed: Distributed = Field(description="Ranks.")


class Weights(Record):
    """How the base's weights were stored before they were loaded, as far as it is known."""

    dtype: str = Field(description="Number format that they are held in, before any variant's.")
    source: Literal["gguf", "quantized checkpoint", "low-bit grid", "none"] = Field(
        description="Where low-bit values come from: a GGUF file, a checkpoint that is quantized, "
        "or a grid of 2 to 4 bits found in the values; none where neither was found."
    )
    source_bits: int | None = Field(description="Bits of most weights there; null if not known.")
    group_size: int | None = Field(description="Weights that share a scale; null if not known.")
    note: str = Field(description="The same in words.")


class Model(Record):
    """The base model before any quantization by a variant."""

    id: str = Field(description="Hub id, directory or embedded name as the user gave it.")
    revision: str | None = Field(description="Hub revision or package version; null if none.")
    sha256: str = Field(description="Digest over the model's files.")
    architecture: str = Field(description="model_type of the model's config.")
    weights: Weights | None = Field(
        default=None,
        description="How its weights were stored; null in runs that did not record it.",
    )


class Protocols(Record):
    """Versioned definition of every family of metrics, as `name@version`."""

    loss: str = Field(description="How loss and PPL are defined, the prompt style included.")
    execution: str = Field(description="How text is generated, read, run and compared.")
    throughput: str = Field(description="How speed trials are made.")
    memory: str = Field(description="How memory is sampled.")
    comparison: str | None = Field(
        default=None,
        description="How variants are compared and rates get their intervals; null in runs of "
        "comparison@1, which did not name it.",
    )
    prompt: str | None = Field(
        default=None,
        description="The template that made the texts, as `name@version sha256:…` (32 digits); "
        "null in runs that did not record it.",
    )
    gates: str | None = Field(
        default=None,
        description="How a checkpoint is judged against its baseline; null is gates@1.",
    )


class Comparison(Record):
    """One paired difference, b minus a, on one metric."""

    a: str = Field(description="Variant (or RUN:variant) that is compared against.")
    b: str = Field(description="Variant (or RUN:variant) that is compared.")
    metric: str = Field(description="e.g. completion_loss, ex, ex_hardened.")
    delta: float | None = Field(description="b minus a (a ratio b/a for speed and memory).")
    ci95: tuple[float, float] | None = Field(description="95% interval of delta over tables.")
    test: str = Field(description="The test that gave p, or 'descriptive'.")
    p: float | None = Field(ge=0, le=1, description="Two-sided p, unadjusted.")
    p_family: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="Two-sided p of the step-down test over the primary family; null in runs of "
        "comparison@1.",
    )
    p_holm: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="comparison@1: p after Holm over the primary family; null since.",
    )
    fixed: list[int] | None = Field(description="Ids that a has wrong and b right.")
    broken: list[int] | None = Field(description="Ids that a has right and b wrong.")
    verdict: CompareVerdict = Field(description="The verdict on b compared with a.")
    minimum_detectable: float | None = Field(
        description="Smallest true |delta| found with 80% power at the family's first step."
    )
    n_needed: int | None = Field(
        default=None,
        description="Examples of the same kind that would settle a true difference of delta with "
        "80% power, where these do not; null beyond a hundred times today's.",
    )


class GateRule(Record):
    """One metric's gate: how much worse than its baseline a checkpoint may be."""

    direction: Direction = Field(description="Which way is better.")
    absolute: float = Field(default=0.0, ge=0, description="Tolerated worsening, metric's unit.")
    relative: float = Field(default=0.0, ge=0, description="Tolerated share of the baseline.")
    significance: float | None = Field(
        default=None, gt=0, lt=1, description="Level of the test; null for exact numbers."
    )
    seed_spread: float | None = Field(
        default=None,
        ge=0,
        description="Standard deviation between trainings that differ in the seed alone, sampling "
        "of test examples taken out; metric's unit, null where it is not known.",
    )
    reason: str = Field(min_length=1, description="Why the margin is what it is.")

    def margin(self, baseline: float) -> float:
        """The worsening that is tolerated against ``baseline``: the larger of the two."""
        return max(self.absolute, self.relative * abs(baseline))

    def threshold(self, baseline: float) -> float:
        """The worst value that is still within the margin."""
        margin = self.margin(baseline)
        return baseline - margin if self.direction == "higher" else baseline + margin


class GateResult(Record):
    """One metric of one variant judged against the baseline."""

    metric: str = Field(description="The metric's name in gates.toml.")
    variant: str = Field(description="The variant that was checked.")
    baseline: float | None = Field(description="Value in the baseline; null when missing.")
    value: float | None = Field(description="Value in the checked run; null when missing.")
    direction: Direction = Field(description="Which way is better.")
    threshold: float | None = Field(description="The worst value that still passes.")
    verdict: GateVerdict = Field(description="pass, fail, inconclusive or skipped.")
    reason: str = Field(description="Why, in a sentence.")
    own_threshold: float | None = Field(
        default=None,
        description="The worst value that passes by the margins that the baseline records, by the "
        "shipped ones where it records none; null where those do not name the metric.",
    )
    n: int | None = Field(
        default=None, ge=0, description="Examples that were paired; null for unpaired metrics."
    )
    n_needed: int | None = Field(
        default=None,
        description="Of an inconclusive gate: examples with which 80% of equal checkpoints pass; "
        "null where no number does, or none can be told.",
    )
    broken: list[int] | None = Field(
        default=None, description="Ids that the baseline has right and the checked run wrong."
    )
    fixed: list[int] | None = Field(
        default=None, description="Ids that the baseline has wrong and the checked run right."
    )


class Results(Record):
    """The whole of results.json."""

    schema_version: Literal[1] = Field(default=1, description="Version of this format.")
    run: Run = Field(description="The invocation.")
    model: Model = Field(description="The base model.")
    dataset: DatasetInfo = Field(description="The data.")
    protocols: Protocols = Field(description="Definitions of the metrics.")
    variants: dict[str, VariantResult] = Field(description="Results by variant, in run order.")
    same_as: dict[str, str] = Field(
        default_factory=dict,
        description="Variants that were named but are another one on this base, which is quantized "
        "already (`qlora` is `lora`): by name, the one of `variants` that was measured.",
    )
    comparisons: list[Comparison] = Field(
        default_factory=list, description="Paired comparisons of the run's variants."
    )
    gates: list[GateResult] = Field(
        default_factory=list, description="Verdicts against a baseline; empty without one."
    )
    gate_rules: dict[str, GateRule] = Field(
        default_factory=dict,
        description="The margins in force when the run was made, by metric: its own, against which "
        "later ones are held; empty in runs that did not record them.",
    )

    @model_validator(mode="after")
    def _comparisons_name_variants(self) -> Results:
        for comparison in self.comparisons:
            for name in (comparison.a, comparison.b):
                if name not in self.variants:
                    raise ValueError(f"comparison names {name!r}, which is no variant of the run")
        return self

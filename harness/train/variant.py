"""One adapter variant: what `mlx_lm.lora --config` takes, checked, with every default filled in.

Input: a mapping with mlx-lm's own keys (0.32.2, ``mlx_lm/lora.py: CONFIG_DEFAULTS``) plus
``fine_tune_type: base``, ``description``, ``quantize`` and ``validate_at``. Output: a frozen
:class:`Variant`. Reading files and the command line is ``variants.py``; nothing here imports mlx,
so that a mistake is reported before a model is loaded.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ByteSize,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    field_validator,
    model_validator,
)

from harness.endpoint.settings import EndpointSettings
from harness.errors import unknown
from harness.models.quantize import SOURCE, QuantizeSpec

COLUMN_KEYS = ("prompt_feature", "completion_feature", "text_feature", "chat_feature")
"""mlx-lm's names of the columns of `data`."""

IGNORED_KEYS = frozenset(
    [
        "model",
        "data",
        "hf_dataset",
        "train",
        "test",
        "adapter_path",
        "config",
        "trust_remote_code",
        *COLUMN_KEYS,
    ]
)
"""mlx-lm's keys that a variant file may carry and that are no setting of a variant."""

OPTIMIZER_OPTIONS: dict[str, frozenset[str]] = {
    "adam": frozenset({"betas", "eps", "bias_correction"}),
    "adamw": frozenset({"betas", "eps", "weight_decay", "bias_correction"}),
    "muon": frozenset({"momentum", "weight_decay", "nesterov", "ns_steps"}),
    "sgd": frozenset({"momentum", "weight_decay", "dampening", "nesterov"}),
    "adafactor": frozenset(
        [
            "eps",
            "clip_threshold",
            "decay_rate",
            "beta_1",
            "weight_decay",
            "scale_parameter",
            "relative_step",
            "warmup_init",
        ]
    ),
}
"""What each optimizer of mlx-lm accepts in ``optimizer_config`` (mlx 0.32)."""

TRACKERS = ("wandb", "swanlab", "trackio", "tensorboard", "mlflow")
"""What ``report_to`` may name: mlx-lm's own two, and three more."""

_SWITCHES = {"bias_correction", "nesterov", "scale_parameter", "relative_step", "warmup_init"}

NOTED = {"name", "description", "swept", "report_to", "project_name"}
"""Fields that change nothing of what is trained and measured."""

Optimizer = Literal["adam", "adamw", "muon", "sgd", "adafactor"]
_MOST = 2**31 - 1
Positive = Annotated[int, Field(ge=1, le=_MOST)]
PositiveOrAll = Annotated[int, Field(ge=-1, le=_MOST)]

_FROZEN = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class LoraParameters(BaseModel):
    """``lora_parameters``: ``scale`` multiplies the product directly (it is not alpha/rank)."""

    model_config = _FROZEN

    rank: Positive = 8
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    scale: Annotated[float, Field(gt=0)] = 20.0
    keys: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """Module names inside a block, e.g. ``self_attn.q_proj``; None is every linear layer. They are
    a set: kept sorted, so that the order in a file decides no cache key."""

    @field_validator("keys")
    @classmethod
    def _a_set(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        return None if value is None else tuple(sorted(set(value)))


class LrSchedule(BaseModel):
    """``lr_schedule``: a schedule of mlx with its positional arguments and a linear warm-up."""

    model_config = _FROZEN

    name: Literal["cosine_decay", "exponential_decay", "linear_schedule", "step_decay"]
    arguments: Annotated[tuple[float, ...], Field(min_length=2, max_length=3)]
    warmup: Annotated[int, Field(ge=0, le=_MOST)] = 0
    warmup_init: Annotated[float, Field(ge=0)] = 0.0


class Variant(BaseModel):
    """An adapter variant. Field names, meanings and defaults are mlx-lm's, except where noted."""

    model_config = _FROZEN

    name: str
    """How it is selected and reported; a shipped name or the stem of the user's file."""
    description: str = ""
    """One sentence for the report (ours)."""
    fine_tune_type: Literal["base", "lora", "dora", "full"] = "lora"
    """``base`` (ours) trains nothing: the model as it is, quantized if ``quantize`` is set."""
    quantize: (
        Annotated[
            Annotated[QuantizeSpec, Tag("specified")] | Annotated[Literal["source"], Tag("source")],
            Discriminator(lambda value: "source" if isinstance(value, str) else "specified"),
        ]
        | None
    ) = None
    """How the base is quantized before anything else (ours); None leaves it as it is, ``source``
    takes the bits and groups of the file that it came from."""
    num_layers: PositiveOrAll = 16
    """The last N blocks are adapted (or unfrozen, for ``full``); -1 is all."""
    lora_parameters: LoraParameters = LoraParameters()
    iters: Positive = 1000
    """Micro-batches; an update happens every ``grad_accumulation_steps`` of them."""
    batch_size: Positive = 4
    learning_rate: Annotated[float, Field(gt=0)] = 1e-5
    lr_schedule: LrSchedule | None = None
    """Takes the place of ``learning_rate``, as in mlx-lm."""
    optimizer: Optimizer = "adam"
    optimizer_config: dict[Optimizer, dict[str, Any]] = Field(default_factory=dict)
    val_batches: PositiveOrAll = 25
    """Batches validated during training, of ``batch_size`` examples each; -1 is all."""
    validate_at: tuple[Positive, ...] = ()
    """Further iterations to validate at (ours): the article reports iteration 1."""
    steps_per_report: Positive = 10
    steps_per_eval: Positive = 200
    save_every: Positive = 100
    max_seq_length: Annotated[int, Field(ge=2, le=_MOST)] = 2048
    grad_accumulation_steps: Positive = 1
    grad_checkpoint: bool = False
    clear_cache_threshold: ByteSize = ByteSize(0)
    """Bytes, or mlx-lm's notation: ``8GB``, ``512M`` (powers of 1000)."""
    mask_prompt: bool = False
    """Train on SQL + stop token only; evaluation reports both losses in either case."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    test_batches: PositiveOrAll = 500
    """Only for the figure that reconciles with ``mlx_lm.lora --test``."""
    resume_adapter_file: str | None = None
    """Adapter weights to start from (safetensors)."""
    resume_adapter_sha256: str | None = None
    """Their checksum, filled in when the file is read (ours)."""
    report_to: tuple[str, ...] = ()
    """Trackers that its curve and its metrics are sent to; a comma list in a file, as mlx-lm's."""
    project_name: str | None = None
    """Its project there."""
    swept: dict[str, Any] = Field(default_factory=dict)
    """What ``--sweep`` gave it, by dotted key (ours)."""

    @field_validator("num_layers", "val_batches", "test_batches")
    @classmethod
    def _zero_is_nothing(cls, value: int) -> int:
        # mlx-lm slices layers[-max(n, 0):], so that 0 would silently mean all of them.
        if value == 0:
            raise ValueError("must be 1 or more, or -1 for all")
        return value

    @field_validator("report_to", mode="before")
    @classmethod
    def _trackers(cls, value: Any) -> Any:
        names = value.split(",") if isinstance(value, str) else value
        if not isinstance(names, list | tuple) or not all(isinstance(n, str) for n in names):
            raise ValueError(f"must be a comma list of {', '.join(TRACKERS)}")
        names = [name.strip().lower() for name in names if name.strip()]
        for name in names:
            if name not in TRACKERS:
                raise ValueError(str(unknown("tracker", name, TRACKERS)))
        return tuple(dict.fromkeys(names))

    @field_validator("validate_at")
    @classmethod
    def _a_set(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(sorted(set(value)))

    @field_validator("optimizer_config")
    @classmethod
    def _optimizer_options(cls, value: dict[Optimizer, dict[str, Any]]) -> Any:
        for optimizer, options in value.items():
            for option in options:
                if option not in OPTIMIZER_OPTIONS[optimizer]:
                    error = unknown(f"{optimizer} option", option, OPTIMIZER_OPTIONS[optimizer])
                    raise ValueError(str(error))
                if wrong := _wrong_option(optimizer, option, options[option]):
                    raise ValueError(f"{optimizer}.{option} must be {wrong}")
        return value

    @field_validator("clear_cache_threshold", mode="wrap")
    @classmethod
    def _a_size(cls, value: Any, read: Callable[[Any], ByteSize]) -> ByteSize:
        with suppress(OverflowError):  # pydantic lets it through
            if (size := read(value)) < 2**63:
                return size
        raise ValueError("must be bytes below 2**63, or a number with K, M or G")

    @model_validator(mode="after")
    def _trainable_base(self) -> Variant:
        if self.quantize is not None and self.fine_tune_type == "full":
            raise ValueError(
                "fine_tune_type full cannot be combined with quantize: packed weights have no "
                "gradient. Use fine_tune_type: lora (that is QLoRA), or remove quantize"
            )
        if self.trains and self.iters < self.grad_accumulation_steps:
            raise ValueError(
                f"iters={self.iters} micro-batches make no update of grad_accumulation_steps="
                f"{self.grad_accumulation_steps}, so nothing would be trained. Raise iters, or "
                "lower grad_accumulation_steps"
            )
        if isinstance(self.quantize, QuantizeSpec) and self.fine_tune_type == "dora":
            refuse_dora_bits(self.quantize.bits)
        return self

    @property
    def file_name(self) -> str:
        """The name as it appears in file names: ``/`` becomes ``__``."""
        return self.name.replace("/", "__")

    @property
    def keeps_source(self) -> bool:
        """Whether the base keeps the bits of the file that it came from."""
        return self.quantize == SOURCE

    @property
    def trains(self) -> bool:
        """Whether there is anything to fine-tune."""
        return self.fine_tune_type != "base"

    def heeds(self, key: str) -> bool:
        """Whether a dotted key of its file changes it: a base is only quantized, ``full`` has no
        adapter's rank, and a schedule stands in the place of the learning rate."""
        section = key.partition(".")[0]
        if section == "lora_parameters":
            return self.fine_tune_type in ("lora", "dora")
        replaced = section == "learning_rate" and self.lr_schedule is not None
        return section == "quantize" or (self.trains and not replaced)

    @property
    def elsewhere(self) -> bool:
        """Whether it is a model behind a URL, of which only answers can be had."""
        return False

    def config(self) -> dict[str, Any]:
        """The effective variant file: JSON-able, every default filled in."""
        return self.model_dump(mode="json")

    def training_config(self) -> dict[str, Any]:
        """What decides the adapter's weights and curve: a part of the cache key."""
        left_out = {"test_batches", "resume_adapter_file"}
        return self.model_dump(mode="json", exclude=NOTED | left_out)

    def mlx_lm_config(self) -> dict[str, Any]:
        """The same variant in the keys of ``mlx_lm.lora --config``, without model and data."""
        ours = {"quantize", "validate_at", "resume_adapter_sha256"}
        config = self.model_dump(mode="json", exclude=NOTED | ours)
        if config["lora_parameters"]["keys"] is None:
            del config["lora_parameters"]["keys"]
        config["optimizer_config"] = {self.optimizer: self.optimizer_config.get(self.optimizer, {})}
        return config


class EndpointVariant(Variant):
    """A model behind a URL beside the variants: it answers, and nothing of it is here."""

    fine_tune_type: Literal["base"] = "base"
    endpoint: EndpointSettings

    @property
    def elsewhere(self) -> bool:
        """As of :class:`Variant`: it is."""
        return True

    def heeds(self, key: str) -> bool:
        """As of :class:`Variant`: no key of a training or of a base changes it."""
        return False

    def config(self) -> dict[str, Any]:
        """What is stored of it: no setting of a training, and no secret."""
        shown = {"name": self.name, "description": self.description}
        return {**shown, "fine_tune_type": "endpoint", "endpoint": self.endpoint.record()}


def data_of(values: Mapping[str, Any]) -> Any:
    """`data` of a variant file or of an adapter's configuration; where the columns have names of
    their own, as JSON that has them too, which `resolve_dataset` takes."""
    data = values.get("data")
    named = {key: values[key] for key in COLUMN_KEYS if values.get(key)}
    return json.dumps({"data": data, **named}) if named and isinstance(data, str) else data


def _wrong_option(optimizer: str, option: str, value: Any) -> str:
    """What an optimizer's option must be and is not; empty where it is right."""
    if option in _SWITCHES:
        return "" if isinstance(value, bool) else "true or false"
    if option == "betas" or (optimizer, option) == ("adafactor", "eps"):
        pair = isinstance(value, list) and len(value) == 2 and all(map(_is_number, value))
        return "" if pair else "a list of two numbers"
    if option == "ns_steps":
        return "" if type(value) is int and 0 < value <= _MOST else "a whole number from 1"
    absent = option == "beta_1" and value is None
    return "" if absent or _is_number(value) else "a number"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300


def refuse_dora_bits(bits: int) -> None:
    """Raise ``ValueError`` for a width at which mlx-lm's DoRA builds a layer of the wrong size."""
    if 32 % bits:
        raise ValueError(
            f"fine_tune_type dora does not work on a {bits}-bit base (mlx-lm computes the layer's "
            "width as if values never crossed 32-bit words). Allowed: 2, 4, 8 bits, or lora"
        )

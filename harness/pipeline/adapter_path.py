"""The adapter that a variant is measured with, where it came from, and what it decides.

The folder of `--adapter-path` -> :class:`AdapterSource` and the variant with the adapter's own
method, or one :class:`UserError`; adapters that are trained here are found in ``stages``. Whether
the weights fit the base is checked when they are loaded (``models/adapter.py``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from harness.bundled import PROJECT_ROOT
from harness.disk.files import sha256_file, shown_path
from harness.errors import UserError
from harness.models.adapter import adapter_config, adapter_weights
from harness.models.weights import ADAPTER_CONFIG, ADAPTER_FILE
from harness.schema.variant_result import Adapter
from harness.train.variant import LoraParameters, Variant


@dataclass(frozen=True)
class AdapterSource:
    """The adapter that is measured: ``path`` None is the base itself."""

    path: Path | None
    sha256: str | None
    iterations: int | None
    source: Literal["trained", "cached", "given"]

    def record(self, published: bool) -> Adapter | None:
        """As `results.json` holds it, that of a run which is published or of a local one; None for
        the base itself."""
        if self.path is None:
            return None
        shown = shown_path(self.path) if published else _in_home(self.path)
        return Adapter.model_validate({**asdict(self), "path": shown})


def given_adapter(folder: Path) -> AdapterSource:
    """The adapter in ``folder``, as `--adapter-path` names it.

    Raises:
        UserError: the folder holds none.
    """
    file = adapter_weights(folder)
    try:
        iterations = adapter_config(folder).get("iters")
        iterations = iterations if isinstance(iterations, int) and iterations >= 0 else None
    except UserError:
        iterations = None  # loading names what is wrong with the configuration
    return AdapterSource(folder, sha256_file(file), iterations, "given")


def check_unchanged(source: AdapterSource | None) -> None:
    """Refuse a given adapter that is no longer what it was when it was first looked at.

    Raises:
        UserError: else two adapters' numbers would stand in one record, under the first's SHA-256.
    """
    if source is None or source.path is None:
        return
    if sha256_file(source.path / ADAPTER_FILE) != source.sha256:
        raise UserError(
            f"adapter {source.path} was changed after the command was given. Give it again, and "
            "leave the files alone until it has ended."
        )


def variant_from_adapter(variant: Variant, folder: Path) -> Variant:
    """``variant`` with the method, layers and LoRA parameters of a given adapter.

    The adapter's own configuration decides how mlx-lm applies it, not the variant file;
    counts and the stored configuration follow it.

    Raises:
        UserError: there is no adapter, or it is of another method than the variant.
    """
    config = adapter_config(folder)
    method = config.get("fine_tune_type", "lora")
    if method != variant.fine_tune_type:
        raise UserError(
            f"adapter {folder} is a {method} adapter, variant {variant.name!r} is "
            f"{variant.fine_tune_type}. Name the variant it was made as with --variant."
        )
    taken: dict[str, Any] = {
        name: config[name]
        for name in ("fine_tune_type", "num_layers")
        if config.get(name) is not None
    }
    lora = config.get("lora_parameters")
    if isinstance(lora, dict):
        known = LoraParameters.model_fields
        taken["lora_parameters"] = {name: lora[name] for name in known if name in lora}
    try:
        return Variant.model_validate({**variant.config(), **taken})
    except ValidationError as error:
        problems = "; ".join(problem["msg"] for problem in error.errors())
        raise UserError(
            f"adapter {folder} does not fit variant {variant.name!r}: {problems}. Name the "
            "variant it was made as with --variant."
        ) from error


def check_overrides(overrides: Mapping[str, str], folder: Path) -> None:
    """Refuse --set of what a given adapter decides."""
    decided = ("fine_tune_type", "num_layers", "lora_parameters")
    refused = [key for key in overrides if key.partition(".")[0] in decided]
    if refused:
        raise UserError(
            f"--set {', '.join(refused)}: with --adapter-path the adapter decides "
            f"({folder / ADAPTER_CONFIG}). Leave it out."
        )


def other_base(variant: Variant, folder: Path) -> str:
    """A note when the adapter was trained on a base of other bits than the variant's; else "".

    Only tunebench's own adapters record the bits of their base. Measuring an adapter on another
    base is allowed, and gives another figure than measuring it on its own.
    """
    config = adapter_config(folder)
    mine = variant.config()["quantize"]
    if "quantize" not in config or config["quantize"] == mine:
        return ""
    return (
        f"adapter {folder} was trained on a base {_bits(config['quantize'])}, variant "
        f"{variant.name!r} puts it on one {_bits(mine)}: measured as asked"
    )


def _bits(spec: Any) -> str:
    if isinstance(spec, Mapping):
        return f"of {spec.get('bits')} bits"
    if spec == "source":
        return "with the bits of its file"
    return "not quantized" if spec is None else f"quantized to {spec!r}"


def _in_home(path: Path) -> str:
    """The path with `~` for the user's home."""
    home = Path.home()
    return f"~/{path.relative_to(home)}" if path.is_relative_to(home) else str(path)


def is_published(results_dir: Path) -> bool:
    """Whether runs there are meant for others: in results/, but not in results/runs/."""
    place = results_dir.resolve()
    published = PROJECT_ROOT / "results"
    return place.is_relative_to(published) and not place.is_relative_to(published / "runs")

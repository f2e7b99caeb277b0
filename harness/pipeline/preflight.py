"""Checks that cost nothing and save a run: made before any model is loaded.

Options and resolved names -> nothing, or one :class:`UserError` that says what to do. Whatever
would make the end of a run fail is looked at here: the results folder, the baseline's setting, the
checkpoints asked for, the adapter's own configuration.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from harness.data.records import Dataset
from harness.errors import UserError
from harness.models.adapter import adapter_config
from harness.models.resolve import BaseModel
from harness.models.weights import ADAPTER_CONFIG, ADAPTER_FILE
from harness.options import Checkpoints
from harness.runs.store import StoredRun
from harness.schema.results import Protocols
from harness.train.variant import LoraParameters, Variant


def check_writable(results_dir: Path) -> None:
    """Refuse a results folder that could not be written at the end."""
    place = results_dir.absolute()
    while not place.exists() and place != place.parent:
        place = place.parent  # made at the end only, so that a refused run leaves no folder
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        raise UserError(
            f"--results-dir {results_dir} cannot be written: {error.strerror or error}"
        ) from error


def check_absent(file: Path) -> None:
    """Refuse to overwrite a summary of earlier seeds."""
    if file.exists():
        raise UserError(f"{file} exists already. Choose another --run-name, or remove it.")


def check_adapter_folder(folder: Path) -> None:
    """Refuse a folder that holds no adapter."""
    if not folder.is_dir():
        raise UserError(
            f"--adapter-path {folder} is not a folder. Give the folder that holds "
            f"{ADAPTER_FILE} and {ADAPTER_CONFIG}."
        )
    if not (folder / ADAPTER_FILE).is_file():
        found = ", ".join(sorted(path.name for path in folder.iterdir())[:8]) or "nothing"
        raise UserError(f"--adapter-path {folder} holds no {ADAPTER_FILE} (it holds {found})")


def as_the_adapter_says(variant: Variant, folder: Path) -> Variant:
    """``variant`` with the method, layers and LoRA parameters of a given adapter.

    The adapter's own configuration decides how mlx-lm applies it, whatever the variant file says;
    counts and the stored configuration follow it.

    Raises:
        UserError: the adapter is of another method than the variant.
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
    """A sentence when the adapter was trained on a base in other bits than the variant's.

    Only adapters that say so (tunebench's) can be told; measuring one is allowed, and is another
    figure than the one on its own base.
    """
    config = adapter_config(folder)
    mine = None if variant.quantize is None else variant.quantize.model_dump()
    if "quantize" not in config or config["quantize"] == mine:
        return ""
    return (
        f"adapter {folder} was trained on a base {_bits(config['quantize'])}, variant "
        f"{variant.name!r} puts it on one {_bits(mine)}: measured as asked"
    )


def _bits(spec: Any) -> str:
    if isinstance(spec, Mapping):
        return f"of {spec.get('bits')} bits"
    return "not quantized" if spec is None else f"quantized to {spec!r}"


def check_checkpoints(variant: Variant, wanted: Checkpoints) -> None:
    """Refuse an iteration at which the variant saves nothing."""
    if wanted is None or wanted == "all" or not variant.trains:
        return
    saved = {*range(variant.save_every, variant.iters + 1, variant.save_every), variant.iters}
    missing = [iteration for iteration in wanted if iteration not in saved]
    if missing:
        raise UserError(
            f"--checkpoints {', '.join(map(str, missing))}: {variant.name} saves at "
            f"{', '.join(map(str, sorted(saved)))}. Save more with --set save_every=N."
        )


def check_answers(variant: Variant, dataset: Dataset) -> None:
    """Refuse to mask prompts where nothing says where they end, as mlx-lm does."""
    if variant.trains and variant.mask_prompt and not dataset.has_answers:
        raise UserError(
            f"variant {variant.name!r} sets mask_prompt, but dataset {dataset.name!r} holds whole "
            "texts, which do not say where an answer begins. Use --set mask_prompt=false, or "
            "data with prompt and completion, or with messages."
        )


def check_baseline(
    baseline: StoredRun, base: BaseModel, dataset: Dataset, protocols: Protocols, examples: int
) -> None:
    """Refuse a baseline of another model, dataset, protocol or limit, naming the fields."""
    then = baseline.results
    sides: dict[str, tuple[object, object]] = {
        "model.sha256": (then.model.sha256, base.sha256),
        "dataset.sha256": (then.dataset.sha256, dataset.sha256),
        "protocols.loss": (then.protocols.loss, protocols.loss),
        "protocols.execution": (then.protocols.execution, protocols.execution),
    }
    if then.protocols.prompt is not None:
        sides["protocols.prompt"] = (then.protocols.prompt, protocols.prompt)
    for name, variant in then.variants.items():
        sample = variant.execution or variant.loss
        if sample is not None:
            sides[f"limit (test examples of {name})"] = (sample.n, examples)
    unlike = [f"{name}: {a!r} against {b!r}" for name, (a, b) in sides.items() if a != b]
    if unlike:
        raise UserError(
            f"--baseline {baseline.folder} is not comparable with this run: {'; '.join(unlike)}. "
            "Use the baseline's --model, --dataset, --prompt-style and --limit, or another one."
        )

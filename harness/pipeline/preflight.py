"""Checks that cost nothing and save a run: made before any model is loaded.

Options and resolved names -> nothing, or one :class:`UserError` that says what to do. Everything
that would make the end of a run fail is checked here: the results folder, the baseline's setting,
the checkpoints of --checkpoints. A given adapter is checked in ``adapter_path``.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from harness.data.records import Dataset
from harness.errors import UserError
from harness.options import Checkpoints
from harness.pipeline.invocation import Invocation
from harness.schema.results import Protocols
from harness.train.variant import Variant


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


def check_baseline(invocation: Invocation, protocols: Protocols) -> None:
    """Refuse a baseline of another model, dataset, protocol or limit, naming the fields."""
    baseline = invocation.baseline
    if baseline is None:
        return
    then = baseline.results
    sides: dict[str, tuple[object, object]] = {
        "model.sha256": (then.model.sha256, invocation.base.sha256),
        "dataset.sha256": (then.dataset.sha256, invocation.dataset.sha256),
        "protocols.loss": (then.protocols.loss, protocols.loss),
        "protocols.execution": (then.protocols.execution, protocols.execution),
    }
    if then.protocols.prompt is not None:
        sides["protocols.prompt"] = (then.protocols.prompt, protocols.prompt)
    for name, variant in then.variants.items():
        sample = variant.execution or variant.loss
        if sample is not None:
            sides[f"limit (test examples of {name})"] = (sample.n, len(invocation.examples))
    unlike = [f"{name}: {a!r} against {b!r}" for name, (a, b) in sides.items() if a != b]
    if unlike:
        raise UserError(
            f"--baseline {baseline.folder} is not comparable with this run: {'; '.join(unlike)}. "
            "Use the baseline's --model, --dataset, --prompt-style and --limit, or another one."
        )

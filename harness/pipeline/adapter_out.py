"""A measured adapter in the user's hands: a copy of its files, and how to try it with mlx-lm.

Stored run and variant -> the adapter's folder, or its best checkpoint's, copied in mlx-lm's layout;
base and adapter -> the `mlx_lm.generate` command. Trained adapters lie in the cache, which is
pruned.
"""

from __future__ import annotations

import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.compare.checkpoints import best_checkpoints
from harness.disk.cache import Cache
from harness.disk.files import sha256_file, user_path, writing
from harness.errors import UserError
from harness.models.adapter import adapter_config
from harness.models.quantize import QuantizeSpec, quantized
from harness.models.resolve import EMBEDDED, BaseModel, resolve
from harness.models.weights import ADAPTER_CONFIG, ADAPTER_FILE
from harness.pipeline.adapter_path import AdapterSource, checkpoint_folder
from harness.progress import silent
from harness.runs.store import StoredRun


@dataclass(frozen=True)
class CopiedAdapter:
    """An adapter that was copied to ``folder``, after ``iteration`` iterations where known."""

    folder: Path
    iteration: int | None
    command: str
    """How to try it."""


def copy_adapter(run: StoredRun, out: Path, best: bool, cache: Cache) -> CopiedAdapter:
    """Copy the adapter of the one variant picked of ``run`` into the new folder ``out``.

    Args:
        best: the best of its measured checkpoints, by execution accuracy where there is one, else
            by completion loss; not the last.

    Raises:
        UserError: no variant was picked, it has no adapter, its files are gone or changed, or
            ``out`` holds files.
    """
    having = [name for name in run.variants if run.results.variants[name].adapter is not None]
    if len(having) != 1:
        listed = ", ".join(f"{run.folder}:{name}" for name in having) or "none"
        raise UserError(f"name one variant with an adapter, as RUN:VARIANT. Here: {listed}.")
    result = run.results.variants[having[0]]
    adapter = result.adapter
    assert adapter is not None
    folder, iteration = user_path(adapter.path), adapter.iterations
    if not (folder / ADAPTER_FILE).is_file():
        raise UserError(
            f"the adapter of {having[0]!r} is not here: {folder} holds no {ADAPTER_FILE} (another "
            f"machine, a PEFT folder, or a pruned cache). Train it again: {run.results.run.command}"
        )
    if sha256_file(folder / ADAPTER_FILE) != adapter.sha256:
        raise UserError(f"the adapter in {folder} is not the one that was measured any more.")
    if best:
        iteration = _best_iteration(run, having[0])
        folder = _checkpoint(folder, iteration, adapter.iterations, cache)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"--out {out} exists and is not an empty folder. Name a new one.")
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
        for name in (ADAPTER_FILE, ADAPTER_CONFIG):
            shutil.copyfile(folder / name, out / name)
    # A stored run shows no whole path of a folder that is nobody else's.
    model = str(adapter_config(out).get("model") or run.results.model.id)
    command = _command(model, result.config.get("quantize"), out, cache)
    return CopiedAdapter(out, iteration, command)


def generate_command(model: str, adapter: Path) -> str:
    """The `mlx_lm.generate` that tries an adapter on the model of that name or folder."""
    parts = ["mlx_lm.generate", "--model", model, "--adapter-path", str(adapter)]
    return f"{shlex.join(parts)} --prompt 'YOUR PROMPT'"


def how_to_try(base: BaseModel, quantize: Any, adapter: Path, cache: Cache) -> str:
    """The command that tries an adapter on ``base`` with the weights that it was trained on.

    Args:
        quantize: the variant's, as `results.json` holds it.
    """
    spec = QuantizeSpec.model_validate(quantize) if isinstance(quantize, dict) else quantize
    return generate_command(str(quantized(base, spec, cache, silent).path), adapter)


def _best_iteration(run: StoredRun, variant: str) -> int:
    found = best_checkpoints(run.checkpoints(variant) or ())
    if not found:
        raise UserError("--best needs measured checkpoints: run it with --checkpoints=all.")
    by_ex = [one for one in found if one.metric == "ex"]
    return (by_ex or found)[0].best


def _checkpoint(folder: Path, iteration: int, last: int | None, cache: Cache) -> Path:
    """The folder of a checkpoint of the adapter in ``folder``, in whichever layout it has."""
    if iteration == last:
        return folder
    inside = folder / "checkpoints" / f"{iteration:07d}"
    if inside.is_dir():
        return inside
    if not (folder / f"{iteration:07d}_adapters.safetensors").is_file():
        raise UserError(f"the checkpoint of iteration {iteration} is not in {folder} any more.")
    return checkpoint_folder(AdapterSource(folder, None, last, "given"), iteration, cache)


def _command(name: str, quantize: Any, adapter: Path, cache: Cache) -> str:
    """:func:`how_to_try` for the model of a stored run; nothing of the hub is downloaded."""
    if name in EMBEDDED or user_path(name).is_dir():
        return how_to_try(resolve(name, cache), quantize, adapter, cache)
    if not isinstance(quantize, dict):
        return generate_command(name, adapter)
    bits, group = str(quantize.get("bits")), str(quantize.get("group_size"))
    convert = ["mlx_lm.convert", "--hf-path", name, "--mlx-path", "base", "-q", "--q-bits", bits]
    made = shlex.join([*convert, "--q-group-size", group])
    return f"{made} && {generate_command('base', adapter)}"

"""The text files that mlx-lm reads: `Dataset` + style -> `train/valid/test.jsonl` and a command.

They let a user compare our numbers with mlx-lm's own: `mlx_lm.lora --test` on these files with
the printed settings computes what a run reports as `mlx_lm_compat`. Not covered: loss itself.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.data.prompts import PromptStyle
from harness.data.records import Dataset
from harness.data.sources.jsonlines import SPLIT_NAMES
from harness.data.tokens import render_text
from harness.disk.files import check_writable, write_json, write_jsonl
from harness.disk.manifest import MANIFEST, damage_of, described
from harness.errors import UserError

_OPTIONS = (
    *("adapter_path", "fine_tune_type", "num_layers", "batch_size"),
    *("test_batches", "max_seq_length", "seed"),
)


def check_out(folder: Path) -> None:
    """Refuse a folder where :func:`export` could not write, or would replace what is not its own.

    Raises:
        UserError: the message names the folder and what to do.
    """
    check_writable(folder, "--out")
    found = [path.name for path in _places(folder) if path.exists()]
    if found and (not (folder / MANIFEST).exists() or damage_of(folder) is not None):
        raise UserError(
            f"--out {folder} holds {', '.join(found)}, not written by an export or changed since. "
            "Name another folder, or move the files away."
        )


def _places(folder: Path) -> list[Path]:
    return [folder / f"{name}.jsonl" for name, _ in SPLIT_NAMES]


def export(
    dataset: Dataset, style: PromptStyle, out_dir: Path, tokenizer: Any = None
) -> list[Path]:
    """Write `train.jsonl`, `valid.jsonl`, `test.jsonl` with one `{"text": …}` a line, in file order
    and replace files of an earlier export; only style `chat` needs the ``tokenizer``, for its
    template.

    Raises:
        UserError: `chat` without a tokenizer, data that mlx-lm reads as it is, or as
            :func:`check_out`.
    """
    if not dataset.has_tables:
        raise UserError(
            f"dataset {dataset.name!r} is in mlx-lm's own format already: give its folder, "
            f"{dataset.folder}, to mlx_lm.lora --data."
        )
    if style.chat and tokenizer is None:
        raise UserError(
            "prompt style 'chat' is written with a model's chat template; "
            "name the model with --model, or export --prompt-style=dialect or sql."
        )
    check_out(out_dir)
    paths = _places(out_dir)
    for path, split in zip(paths, dataset.splits, strict=True):
        rows = [
            {"text": render_text(tokenizer, style, example, split.tables[example.table_id])}
            for example in split.examples
        ]
        write_jsonl(path, rows)
    write_json(out_dir / MANIFEST, {"files": described(out_dir, paths)})
    return paths


def reconcile_command(model: str, data: Path, settings: Mapping[str, Any]) -> str:
    """The `mlx_lm.lora` command whose test loss equals our `mlx_lm_compat` on exported files.

    ``model`` is a folder or hub id; ``settings`` are the variant's mlx-lm fields, of which those
    that decide the loss are used.
    """
    # With an empty adapter path mlx-lm tests the base itself.
    given = {"adapter_path": "", **settings}
    if given.get("fine_tune_type") == "base":
        del given["fine_tune_type"]  # ours; mlx-lm tests a base as any method without an adapter
    options: list[str] = ["--model", model, "--data", str(data), "--test"]
    for field in _OPTIONS:
        if given.get(field) is not None:
            options += [f"--{field.replace('_', '-')}", str(given[field])]
    return shlex.join(["mlx_lm.lora", *options])

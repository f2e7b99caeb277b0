"""Safetensors headers: names, shapes and types of tensors without reading them.

File -> header, with every damage named: truncated, not safetensors, a shard of the index missing.
Needs neither mlx nor the safetensors package. Format: github.com/huggingface/safetensors#format.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from pathlib import Path

from harness.errors import UserError

_HEADER_LIMIT = 100 * 1024 * 1024  # the format's own limit


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor's entry in a header."""

    dtype: str
    """As the file says it: ``F32``, ``F16``, ``BF16``, ``U32``, …"""
    shape: tuple[int, ...]
    bytes: int


def read_header(path: Path) -> dict[str, Tensor]:
    """Every tensor of a safetensors file by name.

    Raises:
        UserError: the file is absent, unreadable, not safetensors, or shorter than it says.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as stream:
            start = stream.read(8)
            length = struct.unpack("<Q", start)[0] if len(start) == 8 else _HEADER_LIMIT + 1
            text = stream.read(length) if length <= min(size, _HEADER_LIMIT) else b""
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    try:
        header = json.loads(text)
        tensors = {
            name: Tensor(
                entry["dtype"],
                tuple(entry["shape"]),
                entry["data_offsets"][1] - entry["data_offsets"][0],
            )
            for name, entry in header.items()
            if name != "__metadata__"
        }
        end = max((header[name]["data_offsets"][1] for name in tensors), default=0)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise UserError(
            f"{path} is not a readable safetensors file (damaged or truncated). "
            "Download or write it again."
        ) from error
    if size < 8 + length + end:
        raise UserError(
            f"{path} is truncated: {size} bytes of {8 + length + end}. Download it again."
        )
    return tensors


def check_weights(name: str, folder: Path) -> dict[str, Tensor]:
    """Every weight of the model directory ``folder``, all shards present and whole.

    Raises:
        UserError: there are none, or the index names a missing file, or one is damaged.
    """
    paths = sorted(folder.glob("model*.safetensors"))
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        try:
            named = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"model {name!r}: {index} is not a readable index: {error}") from error
        missing = sorted(named - {path.name for path in paths})
        if missing:
            raise UserError(
                f"model {name!r}: {folder} lacks {', '.join(missing)}, named in {index.name}. "
                "Finish the download."
            )
    if not paths:
        others = sorted({p.suffix for p in folder.iterdir() if p.suffix in (".bin", ".gguf")})
        found = f" It holds {', '.join(others)} files, which are not read." if others else ""
        raise UserError(
            f"model {name!r}: {folder} has no model*.safetensors.{found} Convert the model with "
            "mlx_lm.convert."
        )
    tensors: dict[str, Tensor] = {}
    for path in paths:
        tensors.update(read_header(path))
    return tensors

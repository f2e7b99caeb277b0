"""Files of weights: their names, their size, and their headers, read without the weights.

Safetensors file -> names, shapes and types of its tensors, with every damage named: truncated, not
safetensors, a shard of the index missing. Needs neither mlx nor the safetensors package, whose
errors name no tensor and which refuses number types that are left to MLX here. Format:
github.com/huggingface/safetensors#format.
"""

from __future__ import annotations

import json
import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import UserError

WEIGHT_FILES = "*.safetensors"
ADAPTER_FILE = "adapters.safetensors"
ADAPTER_CONFIG = "adapter_config.json"
PACKED = "packed"
"""The folder inside of a model's with its weights in the bits of the file that they came from."""
STORED_AS = "stored_as.json"
"""The file beside a model's weights that says how they were stored before they were converted."""

_HEADER_LIMIT = 100 * 1024 * 1024  # the format's own limit
_MOST_DIMENSIONS = 64
_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "BOOL": 1, "C64": 8}
_BYTES |= {f"{kind}{8 * size}": size for kind in "IU" for size in (1, 2, 4, 8)}


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor's entry in a header."""

    dtype: str
    """As the file names it: ``F32``, ``F16``, ``BF16``, ``U32``, …"""
    shape: tuple[int, ...]
    bytes: int
    start: int
    """Where it begins in the file, in bytes."""


def weight_bytes(folder: Path) -> int:
    """Bytes of the files of weights in ``folder``, their headers included."""
    return sum(path.stat().st_size for path in weight_files(folder))


def weight_files(folder: Path) -> list[Path]:
    """The files of weights that are loaded from ``folder``: a model's, else every one. A snapshot
    of the hub may hold the same weights once more (``consolidated.safetensors``)."""
    return model_files(folder) or sorted(folder.glob(WEIGHT_FILES))


def model_files(folder: Path) -> list[Path]:
    """The files of a model's weights in ``folder``, by name."""
    return sorted(folder.glob("model*.safetensors"))


def read_header(path: Path) -> dict[str, Tensor]:
    """Every tensor of a safetensors file by name.

    Raises:
        UserError: the file is absent, unreadable, not safetensors, or cut short.
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
            name: _tensor(name, entry, 8 + length)
            for name, entry in header.items()
            if name != "__metadata__"
        }
        end = max((header[name]["data_offsets"][1] for name in tensors), default=0)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        reason = f": {error}" if isinstance(error, _Contradiction) else ""
        raise UserError(
            f"{path} is not a readable safetensors file (damaged or truncated{reason}). "
            "Download or write it again."
        ) from error
    if size < 8 + length + end:
        raise UserError(
            f"{path} is truncated: {size} bytes of {8 + length + end}. Download it again."
        )
    return tensors


class _Contradiction(ValueError):
    """A header that contradicts itself."""


def _tensor(name: str, entry: dict[str, Any], data: int) -> Tensor:
    """A header's entry, whose numbers must fit one another; the data begin at byte ``data``."""
    start, end = entry["data_offsets"]
    dtype, shape = str(entry["dtype"]), tuple(entry["shape"])
    if len(shape) > _MOST_DIMENSIONS:
        raise _Contradiction(f"tensor {name!r} has {len(shape)} dimensions")
    if not all(isinstance(number, int) and number >= 0 for number in (start, end, *shape)):
        raise _Contradiction(f"tensor {name!r} has shape {shape} at {start} to {end}")
    wanted = math.prod(shape) * _BYTES.get(dtype, 0)
    # Types that are not known here are left to MLX.
    if end - start != wanted and dtype in _BYTES:
        raise _Contradiction(
            f"tensor {name!r} of {dtype} {shape} in {end - start} bytes, not {wanted}"
        )
    return Tensor(dtype, shape, end - start, data + start)


def check_weights(name: str, folder: Path) -> dict[str, Tensor]:
    """Every weight of the model directory ``folder``, all shards present and whole.

    Raises:
        UserError: there are none, or the index names a missing file, or one is damaged.
    """
    paths = model_files(folder)
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        try:
            weight_map = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
            named = {str(Path(file)) for file in weight_map.values()}
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
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

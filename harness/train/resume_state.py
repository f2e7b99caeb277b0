"""The state that a killed training is resumed from, and the checkpoints that anyone can load.

A checkpoint is an adapter folder of mlx-lm's form, ``checkpoints/0000020/``, with the file under
mlx-lm's own name, ``0000020_adapters.safetensors``, beside the adapter.

A resume state is this project's: weights, optimizer state, random state, curve and iteration
(which is the data position too, see ``batches.py``) in one safetensors file. Its manifest, a second
file with its checksum, is written when it is complete. Two states are kept: a damaged one is named
and moved aside, and the older one is used. A state also holds the checksums of the checkpoints
before it, since a resumed training does not write them again.
"""

from __future__ import annotations

import json
import shutil
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harness.backend import mx, nn
from harness.disk.files import link_or_copy, sha256_file, write_json
from harness.models.weights import ADAPTER_CONFIG, ADAPTER_FILE
from harness.train.trainable import save_adapter, save_arrays, trainable
from harness.train.variant import Variant

_KEPT = 2
_STATE_PARTS = 3
"""What a state holds of each trained number: its value and Adam's two moments."""


def disk_bytes(variant: Variant, trainable_bytes: int) -> int:
    """Bytes that a training leaves and holds on disk meanwhile: each checkpoint, the adapter, and
    the states that are kept beside the one that is being written."""
    checkpoints = -(-variant.iters // variant.save_every)
    return trainable_bytes * (checkpoints + 1 + _STATE_PARTS * (_KEPT + 1))


def checkpoints_in(out: Path) -> dict[int, Path]:
    """The folders of the checkpoints that ``out`` holds, by iteration, in its order."""
    folders = sorted((out / "checkpoints").glob("[0-9]*"))
    return {int(folder.name): folder for folder in folders if (folder / ADAPTER_FILE).is_file()}


def damaged_files(folder: Path, checksums: dict[str, str]) -> list[str]:
    """The files of ``checksums`` (name -> SHA-256) that are missing or changed in ``folder``."""
    return [
        name
        for name, digest in checksums.items()
        if not (folder / name).is_file() or sha256_file(folder / name) != digest
    ]


@dataclass(frozen=True, slots=True)
class ResumeState:
    """What was restored beside weights, optimizer and random state."""

    iteration: int
    curve: dict[str, Any]
    elapsed_s: float
    """Wall time of the run that was cut off, up to this state."""
    memory: dict[str, Any]
    """Memory by phase up to this state."""


class StateStore:
    """Resume states of one training, in ``folder``.

    A state of other data, settings or versions (another ``fingerprint``) is not used. Of several
    ranks only the first one saves; the others use the state of iteration ``at``, which the first
    one chose. They hold copies of its states (`distributed/`), not of its checkpoints.
    """

    def __init__(self, folder: Path, fingerprint: str, at: int | None = None) -> None:
        self.folder = folder
        self.fingerprint = fingerprint
        self.notes: list[str] = []
        """Sentences for the user: which states were damaged or belonged to other settings."""
        self.checksums: dict[str, str] = {}
        """SHA-256 of the checkpoints' files, by their path from the training's folder."""
        self._saves = mx.distributed.init().rank() == 0
        self._at = at
        self._path = folder
        self.newest = self._newest()
        """The newest undamaged state, as found when the store was opened."""

    def save(self, model: nn.Module, optimizer: Any, state: ResumeState) -> None:
        """Store everything as of now; call it at an accumulation boundary only."""
        from mlx.utils import tree_flatten

        if not self._saves:
            return
        arrays = {f"weights.{name}": array for name, array in trainable(model).items()}
        arrays |= {f"optimizer.{name}": array for name, array in tree_flatten(optimizer.state)}
        generator: Any = mx.random.state
        arrays["random"] = generator[0]  # the global generator's key: two 32-bit words
        meta = {"fingerprint": self.fingerprint, "checkpoints": self.checksums, **asdict(state)}
        path = self.folder / f"state-{state.iteration:07d}.safetensors"
        save_arrays(path, arrays, {"tunebench": json.dumps(meta)})
        write_json(path.with_suffix(".json"), {"sha256": sha256_file(path)})
        self._forget(self._manifests()[_KEPT:])

    def write_checkpoint(
        self, model: nn.Module, variant: Variant, base: str, iteration: int
    ) -> None:
        """Save the adapter as it is now; its checksums go into the states saved from now on."""
        if not self._saves:
            return
        out = self.folder.parent
        folder = out / "checkpoints" / f"{iteration:07d}"
        save_adapter(model, variant, base, folder)
        alias = out / f"{iteration:07d}_{ADAPTER_FILE}"
        alias.unlink(missing_ok=True)
        link_or_copy(folder / ADAPTER_FILE, alias)
        for file in (folder / ADAPTER_FILE, folder / ADAPTER_CONFIG):
            self.checksums[file.relative_to(out).as_posix()] = sha256_file(file)

    def restore(self, model: nn.Module, optimizer: Any) -> None:
        """Put weights, optimizer state and random state of :attr:`newest` in place."""
        from mlx.utils import tree_unflatten

        arrays: dict[str, mx.array] = mx.load(str(self._path))  # type: ignore[assignment]
        # Not strict: the frozen base is in the model already.
        model.load_weights(_under("weights.", arrays), strict=False)
        optimizer.state = tree_unflatten(_under("optimizer.", arrays))
        optimizer.init(model.trainable_parameters())
        high, low = np.array(arrays["random"], np.uint64)
        mx.random.seed(int(high) << 32 | int(low))  # the key is the seed's two halves
        mx.eval(model.parameters(), optimizer.state)

    def clear(self) -> None:
        """Remove every state: the training is complete, or has failed for good."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _newest(self) -> ResumeState | None:
        for manifest in self._manifests():
            path = manifest.with_suffix(".safetensors")
            meta = self._checked(path, manifest)
            if meta is None:
                continue
            if meta["fingerprint"] != self.fingerprint:
                self.notes.append(f"{path.name} belongs to other settings or versions: not used")
                self._forget([manifest])
                continue
            checksums = meta.pop("checkpoints")
            if self._at is not None and meta["iteration"] != self._at:
                continue
            if self._saves and not self._checkpoints_intact(checksums, path.name):
                self._forget([manifest])
                continue
            self._path, self.checksums = path, checksums
            del meta["fingerprint"]
            return ResumeState(**meta)
        return None

    def _checkpoints_intact(self, checksums: dict[str, str], state: str) -> bool:
        """Whether every checkpoint before a state is undamaged; a damaged one is moved aside."""
        for name in damaged_files(self.folder.parent, checksums):
            folder = (self.folder.parent / name).parent
            if folder.is_dir():
                folder.rename(self.folder / f"{folder.name}.damaged-{time.time_ns()}")
            self.notes.append(
                f"{name} is damaged (checksum): moved aside, and {state}, which follows it, is "
                "not used"
            )
            return False
        return True

    def _manifests(self) -> list[Path]:
        return sorted(self.folder.glob("state-*.json"), reverse=True)

    def _checked(self, path: Path, manifest: Path) -> dict[str, Any] | None:
        """A state's metadata if its checksum is the manifest's; else None, moved aside."""
        with suppress(OSError, ValueError, KeyError, TypeError):
            expected = json.loads(manifest.read_text(encoding="utf-8"))["sha256"]
            if sha256_file(path) == expected:
                loaded: Any = mx.load(str(path), return_metadata=True)
                meta: dict[str, Any] = json.loads(loaded[1]["tunebench"])
                return meta
        for file in (path, manifest):
            if file.exists():
                file.replace(file.with_name(f"{file.name}.damaged"))
        self.notes.append(f"{path} is damaged (checksum): moved aside, an older state is used")
        return None

    def _forget(self, manifests: list[Path]) -> None:
        for manifest in manifests:
            manifest.unlink(missing_ok=True)
            manifest.with_suffix(".safetensors").unlink(missing_ok=True)


def _under(prefix: str, arrays: dict[str, mx.array]) -> list[tuple[str, mx.array]]:
    return [(k.removeprefix(prefix), v) for k, v in arrays.items() if k.startswith(prefix)]

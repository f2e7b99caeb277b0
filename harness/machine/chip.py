"""The device that MLX will compute on: the environment -> backend and chip, without MLX.

The command's own process never imports MLX, but must know whose results it may take from a cache
that several machines, or a machine's GPU and its CPU, may share. Where this says another device
than MLX then uses, a result is at worst computed anew: each record holds what MLX itself says
(``models/device.py``).
"""

from __future__ import annotations

import functools
import os
import platform
import re
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from harness.machine.system import said

CUDA_WHEELS = ("mlx-cuda", "mlx-cuda-12", "mlx-cuda-13")
_DRIVER = Path("/proc/driver/nvidia/gpus")
_VISIBLE, _ORDER = "CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"


def compute_device() -> list[str]:
    """Backend and chip, e.g. ``["metal", "Apple M3 Max", "40 GPU cores"]``; what tells one device
    from another by its numbers and times."""
    if platform.system() == "Darwin":
        return ["metal", processor(), f"{gpu_cores() or 'unknown'} GPU cores"]
    card = first_card()
    if card is None:
        return ["cpu", processor()]
    if len({one.name for one in cuda_cards()}) == 1:
        return ["cuda", card.name]
    # Between cards of several names the order is CUDA's affair: what decides it is added.
    return ["cuda", card.name, f"{os.environ.get(_VISIBLE)}", f"{os.environ.get(_ORDER)}"]


@functools.cache
def processor() -> str:
    """The processor's own name, e.g. ``Apple M2 Max``; its architecture where it has none."""
    if platform.system() == "Darwin":
        return said("sysctl", "-n", "machdep.cpu.brand_string").strip() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


@functools.cache
def gpu_cores() -> int | None:
    """Cores of the GPU in an Apple chip: chips of one name have more or fewer. None elsewhere."""
    if platform.system() != "Darwin":
        return None
    found = re.search(r'"gpu-core-count" = (\d+)', said("ioreg", "-rc", "IOAccelerator", "-d", "1"))
    if found is None:  # in words, but it takes a second
        displays = said("system_profiler", "-detailLevel", "basic", "SPDisplaysDataType")
        found = re.search(r"Total Number of Cores: (\d+)", displays)
    return None if found is None else int(found[1])


@dataclass(frozen=True)
class Card:
    """An NVIDIA card."""

    uuid: str
    name: str


def first_card() -> Card | None:
    """The card that CUDA shows first; None where it shows none, or MLX cannot use any."""
    cards = cuda_cards() if any(map(_installed, CUDA_WHEELS)) else []
    visible = os.environ.get(_VISIBLE)
    shown = cards if visible is None else _chosen(visible.split(","), cards)
    return shown[0] if shown else None


def _chosen(entries: list[str], cards: list[Card]) -> list[Card]:
    """The cards that `CUDA_VISIBLE_DEVICES` lists, by number or by the beginning of an identifier;
    it ends at the first that is neither."""
    shown = []
    for entry in map(str.strip, entries):
        named = [card for card in cards if entry.startswith("GPU-") and card.uuid.startswith(entry)]
        if entry.isdigit() and int(entry) < len(cards):
            named = [cards[int(entry)]]
        elif entry.startswith("MIG-") and cards:
            named = [Card(cards[0].uuid, f"{cards[0].name}, a part of it")]
        if not named:
            break
        shown.append(named[0])
    return shown


@functools.cache
def cuda_cards() -> list[Card]:
    """Every NVIDIA card, in `nvidia-smi`'s order, or in that of the driver's files where a
    container has not got that program."""
    rows = said("nvidia-smi", "--query-gpu=uuid,name", "--format=csv,noheader").splitlines()
    found = [Card(*map(str.strip, row.split(",", 1))) for row in rows if "," in row]
    if not found and _DRIVER.is_dir():
        for file in sorted(_DRIVER.glob("*/information")):
            values = dict(re.findall(r"(.+?):\s+(.+)", file.read_text(encoding="utf-8")))
            found.append(Card(values.get("GPU UUID", ""), values.get("Model", "NVIDIA")))
    return found


def _installed(wheel: str) -> bool:
    try:
        metadata.version(wheel)
    except metadata.PackageNotFoundError:
        return False
    return True

"""Power source, low power mode, limits and throttling of the machine, from the system's words.

macOS: `pmset` and `notifyutil`; NVIDIA: `nvidia-smi`; Linux: the files under /sys. A slower clock
looks like a slower variant: what is timed on battery is not compared with what is timed on mains,
and what was throttled with nothing (``compare/cost.py``). The parsers follow the programs'
documentation and sources; they were tried on no Mac and no NVIDIA card.
"""

from __future__ import annotations

import platform
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import psutil

from harness.machine.chip import compute_device, first_card
from harness.machine.system import said
from harness.schema.power import Power

_CPUS = Path("/sys/devices/system/cpu")
_PROFILE = Path("/sys/firmware/acpi/platform_profile")

_PRESSURE = {2: "heavy", 3: "trapping", 4: "sleeping"}
"""macOS's thermal pressure (OSThermalNotification.h) from which on it slows the chip down."""
_MODES = {"0": "automatic", "1": "low power mode", "2": "high power mode"}

_REASONS = {
    0x08: "hardware slowdown",
    0x20: "thermal slowdown by the driver",
    0x40: "thermal slowdown by the hardware",
    0x80: "power brake",
}
"""NVML's clock event reasons (nvml.h) that are no part of normal work; a card at its power limit
is, and the limit is recorded."""


@dataclass(frozen=True)
class Reading:
    """The state at one moment; :attr:`slowed` are the reasons for a lower speed just then."""

    source: Literal["mains", "battery"] | None = None
    mode: str | None = None
    power_limit_w: float | None = None
    gpu_clock_mhz: float | None = None
    slowed: tuple[str, ...] = ()
    throttle_count: int = 0
    """How often the processors were throttled since the system started (Linux)."""


def read() -> Reading:
    """The state now."""
    if platform.system() == "Darwin":
        return _on_a_mac()
    found = Reading(_source(), _governor(), throttle_count=_throttle_count())
    return _with_card(found) if compute_device()[0] == "cuda" else found


def over_block(before: Reading, after: Reading) -> Power:
    """The record of what lay between two readings."""
    slowed = dict.fromkeys(before.slowed + after.slowed)
    if after.throttle_count > before.throttle_count:
        slowed["processor throttled by its temperature"] = None
    if (before.source, before.mode) != (after.source, after.mode):
        slowed["the power state changed meanwhile"] = None
    return Power(
        source=after.source,
        mode=after.mode,
        power_limit_w=after.power_limit_w,
        gpu_clock_mhz=after.gpu_clock_mhz,
        throttled=list(slowed),
    )


def _on_a_mac() -> Reading:
    drawing = re.search(r"drawing from '(\w+)", said("pmset", "-g", "batt"))
    source: Literal["mains", "battery"] | None = None
    if drawing is not None:
        source = "mains" if drawing[1] == "AC" else "battery"
    # Macs with a choice of three have `powermode`, the others `lowpowermode`.
    mode = re.search(r"^\s*(?:low)?powermode\s+(\d)", said("pmset", "-g"), re.MULTILINE)
    return Reading(source, None if mode is None else _MODES.get(mode[1]), slowed=_heat_of_a_mac())


def _heat_of_a_mac() -> tuple[str, ...]:
    slowed = []
    pressure = re.search(r"\s(\d+)\s*$", said("notifyutil", "-g", _PRESSURE_KEY))
    if pressure is not None and (level := int(pressure[1])) >= min(_PRESSURE):
        slowed.append(f"thermal pressure {_PRESSURE.get(level, level)}")
    for name, text in re.findall(r"(\w[\w ]*\w)\s*= (\d+)", said("pmset", "-g", "therm")):
        value = int(text)
        if ("Warning Level" in name.title() and value) or (name in _LIMITS and value < 100):
            slowed.append(f"{name} {value}")
    return tuple(slowed)


_PRESSURE_KEY = "com.apple.system.thermalpressurelevel"
_LIMITS = ("CPU_Speed_Limit", "CPU_Scheduler_Limit")


def _source() -> Literal["mains", "battery"] | None:
    """Linux: what feeds a machine that has a battery."""
    ask = getattr(psutil, "sensors_battery", None)
    battery = None if ask is None else ask()
    if battery is None or battery.power_plugged is None:
        return None
    return "mains" if battery.power_plugged else "battery"


def _governor() -> str | None:
    words = [_word(_CPUS / "cpu0" / "cpufreq" / "scaling_governor"), _word(_PROFILE)]
    return ", ".join(filter(None, words)) or None


def _throttle_count() -> int:
    files = _CPUS.glob("cpu*/thermal_throttle/package_throttle_count")
    return sum(int(word) for word in map(_word, files) if word.isdigit())


def _word(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def _with_card(found: Reading) -> Reading:
    """``found`` with the limits of the card that computes."""
    card = first_card()
    if card is None:
        return found
    values: list[str] = []
    for reasons in ("clocks_event_reasons", "clocks_throttle_reasons"):  # drivers before 535
        query = f"--query-gpu=power.limit,clocks.sm,{reasons}.active"
        words = said("nvidia-smi", "-i", card.uuid, query, "--format=csv,noheader,nounits")
        values = [value.strip() for value in words.strip().split(",")]
        if len(values) == 3:
            break
    else:
        return found
    limit, clock, mask = values
    active = int(mask, 16) if re.fullmatch(r"0x[0-9a-fA-F]+", mask) else 0
    return replace(
        found,
        power_limit_w=_number(limit),
        gpu_clock_mhz=_number(clock),
        slowed=tuple(reason for bit, reason in _REASONS.items() if active & bit),
    )


def _number(text: str) -> float | None:
    """The number; None for `[N/A]`."""
    return float(text) if re.fullmatch(r"\d+(\.\d+)?", text) else None

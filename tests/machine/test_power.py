"""The power state from the system's words, written after their documentation and sources:
`pmset` and `notifyutil` of macOS 15, `nvidia-smi` of driver 550; none was recorded on a machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness.machine import power
from harness.machine.chip import Card
from harness.machine.power import Reading, over_block

AC = "Now drawing from 'AC Power'\n -InternalBattery-0 (id=21233763)\t80%; AC attached\n"
BATTERY = "Now drawing from 'Battery Power'\n -InternalBattery-0 (id=21233763)\t79%; discharging\n"
SETTINGS = "System-wide power settings:\nCurrently in use:\n standby   1\n {}  {}\n sleep  1\n"
COOL = """\
Note: No thermal warning level has been recorded
Note: No performance warning level has been recorded
Note: No CPU power status has been recorded
"""
HOT = """\
Thermal Warning Level = 5
Note: No performance warning level has been recorded
2026-11-28 03:00:00 +0000 CPU Power notify
\tCPU_Scheduler_Limit \t= 100
\tCPU_Available_CPUs \t= 8
\tCPU_Speed_Limit \t= 72
"""
PRESSURE = "com.apple.system.thermalpressurelevel {}\n"


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, str]], None]:
    def say(words: dict[str, str], system: str = "Darwin") -> None:
        monkeypatch.setattr(power.platform, "system", lambda: system)
        monkeypatch.setattr(power, "said", lambda *command: words.get(" ".join(command), ""))

    return say


Say = Callable[..., None]


def of_a_mac(batt: str = AC, mode: tuple[str, int] = ("lowpowermode", 0), level: int = 0) -> dict:
    return {
        "pmset -g batt": batt,
        "pmset -g": SETTINGS.format(*mode),
        "pmset -g therm": COOL,
        "notifyutil -g com.apple.system.thermalpressurelevel": PRESSURE.format(level),
    }


def test_a_mac_on_mains_that_is_cool(said: Say) -> None:
    said(of_a_mac())
    assert power.read() == Reading("mains", "automatic")


@pytest.mark.parametrize(
    ("mode", "found"),
    [
        (("lowpowermode", 1), "low power mode"),
        (("powermode", 2), "high power mode"),
        (("displaysleep", 1), None),
    ],
)
def test_a_mac_s_battery_and_mode_are_told(
    mode: tuple[str, int], found: str | None, said: Say
) -> None:
    said(of_a_mac(BATTERY, mode))
    assert power.read() == Reading("battery", found)


def test_a_mac_s_heat_is_told(said: Say) -> None:
    said(of_a_mac(level=1))  # moderate: the fans
    assert power.read().slowed == ()
    said(of_a_mac(level=2))
    assert power.read().slowed == ("thermal pressure heavy",)
    said(of_a_mac() | {"pmset -g therm": HOT})
    assert power.read().slowed == ("Thermal Warning Level 5", "CPU_Speed_Limit 72")


def test_a_mac_that_says_nothing_is_unknown(said: Say) -> None:
    said({})
    assert power.read() == Reading()


@pytest.mark.parametrize(
    ("reasons", "mask", "slowed"),
    [
        ("clocks_event_reasons", "0x0000000000000004", ()),  # at its power limit
        ("clocks_throttle_reasons", "0x0000000000000001", ()),  # idle; an older driver
        ("clocks_event_reasons", "0x0000000000000060", (
            "thermal slowdown by the driver", "thermal slowdown by the hardware",
        )),
        ("clocks_event_reasons", "[N/A]", ()),
    ],
)  # fmt: skip
def test_a_card_s_limit_clock_and_slowdown(
    reasons: str, mask: str, slowed: tuple[str, ...], said: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    query = f"--query-gpu=power.limit,clocks.sm,{reasons}.active"
    command = f"nvidia-smi -i GPU-1 {query} --format=csv,noheader,nounits"
    said({command: f"700.00, 1980, {mask}\n"}, system="Linux")
    monkeypatch.setattr(power, "compute_device", lambda: ["cuda", "NVIDIA H100"])
    monkeypatch.setattr(power, "first_card", lambda: Card("GPU-1", "NVIDIA H100"))
    found = power.read()
    assert (found.power_limit_w, found.gpu_clock_mhz, found.slowed) == (700.0, 1980.0, slowed)


def test_linux_s_files_are_read(tmp_path: Path, said: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    said({}, system="Linux")
    monkeypatch.setattr(power, "compute_device", lambda: ["cpu", "AMD EPYC"])
    monkeypatch.setattr(power, "_CPUS", tmp_path)
    monkeypatch.setattr(power, "_PROFILE", tmp_path / "profile")
    battery = SimpleNamespace(power_plugged=False)
    monkeypatch.setattr(power.psutil, "sensors_battery", lambda: battery, raising=False)
    for name, text in (
        ("cpu0/cpufreq/scaling_governor", "powersave\n"),
        ("profile", "balanced\n"),
        ("cpu0/thermal_throttle/package_throttle_count", "3\n"),
        ("cpu1/thermal_throttle/package_throttle_count", "4\n"),
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert power.read() == Reading("battery", "powersave, balanced", throttle_count=7)


def test_a_block_is_throttled_by_either_reading_a_count_or_a_change() -> None:
    cool = Reading("mains", "automatic")
    assert over_block(cool, cool).throttled == []
    assert over_block(Reading(slowed=("heat",)), Reading()).throttled == ["heat"]
    assert over_block(Reading(throttle_count=1), Reading(throttle_count=2)).throttled == [
        "processor throttled by its temperature"
    ]
    pulled = over_block(cool, Reading("battery", "automatic"))
    assert pulled.throttled == ["the power state changed meanwhile"]
    assert pulled.state == {"source": "on battery", "mode": "automatic"}

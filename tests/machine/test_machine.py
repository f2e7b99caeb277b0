"""Which device computes and which machine it is, from the system's words.

The words of `nvidia-smi`, `ioreg` and `system_profiler` are written after their documentation:
there was neither an NVIDIA card nor a Mac to record them on.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.disk import files
from harness.machine import chip, identity
from harness.pipeline import cache_keys

CARDS = """\
GPU-1a2b3c4d-0000-1111-2222-333344445555, NVIDIA H100 80GB HBM3
GPU-99999999-0000-1111-2222-333344445555, NVIDIA A100-SXM4-80GB
"""
TWINS = CARDS.replace("A100-SXM4-80GB", "H100 80GB HBM3")
MAC = {
    "sysctl": "Apple M3 Max\n",
    "ioreg": '+-o AGXAcceleratorG15X  <class AGXAcceleratorG15X, id 0x1000007a5>\n'
    '    {\n      "model" = "Apple M3 Max"\n      "gpu-core-count" = 40\n    }\n',
    "system_profiler": "      Chipset Model: Apple M3 Max\n      Total Number of Cores: 30\n",
}  # fmt: skip
EXPERT = (
    '+-o J516cAP  <class IOPlatformExpertDevice>\n    {\n      "IOPlatformUUID" = "%s"\n    }\n'
)

Words = Callable[..., None]


@pytest.fixture
def words(monkeypatch: pytest.MonkeyPatch) -> Iterator[Words]:
    """Sets what programs say by name, and which system and wheels there are."""
    kept = (chip.processor, chip.gpu_cores, chip.cuda_cards, identity.machine_id)

    def forget() -> None:
        for one in (*kept, identity.process_space):
            one.cache_clear()

    def say(system: str, wheels: tuple[str, ...] = (), **programs: str) -> None:
        forget()
        monkeypatch.setattr(platform, "system", lambda: system)
        for module in (chip, identity):
            monkeypatch.setattr(module, "said", lambda *command: programs.get(_name(command), ""))
        monkeypatch.setattr(chip, "_installed", lambda wheel: wheel in wheels)
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    yield say
    forget()


def _name(command: tuple[str, ...]) -> str:
    return command[0].replace("-", "_")


def test_chips_of_one_name_are_told_apart_by_their_gpu_s_cores(words: Words) -> None:
    words("Darwin", **MAC)
    assert chip.compute_device() == ["metal", "Apple M3 Max", "40 GPU cores"]
    words("Darwin", **{**MAC, "ioreg": ""})
    assert chip.compute_device() == ["metal", "Apple M3 Max", "30 GPU cores"]


def test_the_gpu_counts_only_where_mlx_can_use_it(
    words: Words, monkeypatch: pytest.MonkeyPatch
) -> None:
    words("Linux", nvidia_smi=TWINS)
    processor = ["cpu", chip.processor()]
    assert chip.compute_device() == processor
    words("Linux", ("mlx-cuda-13",), nvidia_smi=TWINS)
    assert chip.compute_device() == ["cuda", "NVIDIA H100 80GB HBM3"]
    for hidden in ("", "-1", "7", "GPU-0"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
        assert chip.compute_device() == processor, hidden


def test_cards_of_unlike_names_are_told_apart(
    words: Words, monkeypatch: pytest.MonkeyPatch
) -> None:
    words("Linux", ("mlx-cuda-12",), nvidia_smi=CARDS)
    found = [chip.compute_device()]
    for visible in ("0", "1", "GPU-9999", "MIG-1"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        found.append(chip.compute_device())
    assert [device[1] for device in found] == [
        "NVIDIA H100 80GB HBM3", "NVIDIA H100 80GB HBM3", "NVIDIA A100-SXM4-80GB",
        "NVIDIA A100-SXM4-80GB", "NVIDIA H100 80GB HBM3, a part of it",
    ]  # fmt: skip
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    assert chip.compute_device() not in found


def test_twins_share_their_results(words: Words, monkeypatch: pytest.MonkeyPatch) -> None:
    words("Linux", ("mlx-cuda-13",), nvidia_smi=TWINS)
    first = cache_keys.base_key("model", None)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert cache_keys.base_key("model", None) == first


def test_the_gpu_s_results_are_not_the_cpu_s(words: Words, monkeypatch: pytest.MonkeyPatch) -> None:
    words("Linux", ("mlx-cuda-13",), nvidia_smi=CARDS)
    keys = [cache_keys.base_key("model", None)]
    for visible in ("1", ""):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        keys.append(cache_keys.base_key("model", None))
    assert len({str(key) for key in keys}) == 3


def test_a_card_is_found_by_the_driver_s_files_where_the_program_is_missing(
    words: Words, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words("Linux", ("mlx-cuda-13",))
    monkeypatch.setattr(chip, "_DRIVER", tmp_path)
    (tmp_path / "0000:01:00.0").mkdir()
    file = tmp_path / "0000:01:00.0" / "information"
    file.write_text("Model: \t\t NVIDIA L4\nIRQ:   \t\t 16\nGPU UUID: \t GPU-1a2b\n")
    assert chip.compute_device() == ["cuda", "NVIDIA L4"]


def test_a_machine_is_the_same_under_another_host_name(
    words: Words, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "machine-id"
    file.write_text("0123456789abcdef0123456789abcdef\n")
    monkeypatch.setattr(identity, "_FILES", (tmp_path / "none", file))
    found = set()
    for name in ("macbook", "macbook-at-home"):
        words("Linux")
        monkeypatch.setattr(platform, "node", lambda name=name: name)
        key = cache_keys.base_key("model", None)
        found.add((identity.machine_id(), files.temporary_prefix("a"), str(key)))
    ((machine, mark, _),) = found
    assert file.read_text()[:16] not in machine
    assert "macbook" not in mark


def test_a_mac_is_known_by_its_platform_s_uuid(words: Words) -> None:
    found = []
    for uuid in ("564D1111-2222-3333-4444-555566667777", "564D1111-2222-3333-4444-555566667778"):
        words("Darwin", ioreg=EXPERT % uuid)
        found.append(identity.machine_id())
    assert len({*found}) == 2


@pytest.mark.parametrize("text", ["", "uninitialized\n", "0" * 32, None])
def test_without_an_identifier_a_random_one_is_kept_in_the_cache(
    text: str | None, words: Words, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "machine-id"
    if text is not None:
        file.write_text(text)
    monkeypatch.setattr(identity, "_FILES", (file,))
    found = []
    for cache in ("a", "a", "b"):
        words("Linux")
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / cache))
        found.append(identity.machine_id())
    assert found[0] == found[1] != found[2]
    (tmp_path / "no folder").write_text("")
    words("Linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "no folder"))
    assert len(identity.machine_id()) == 16

"""The built wheel in an empty environment, from an empty folder: without MLX, then with it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.machine.installed import extra_for_this_machine

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder elsewhere: the wheel in `dist/`, an environment in `env/`, an empty folder
    `work/`."""
    place = tmp_path_factory.mktemp("wheel")
    source = place / "source"  # setuptools writes beside what it builds
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "harness", "suites", "fixtures"],
        **{"cwd": ROOT, "capture_output": True, "text": True, "check": True},
    )
    for name in (*listed.stdout.splitlines(), "pyproject.toml", "README.md", "LICENSE"):
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, source / name)
    pip = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(place / "dist")]
    subprocess.run([*pip, str(source)], check=True)
    shutil.rmtree(source)
    subprocess.run([sys.executable, "-m", "venv", str(place / "env")], check=True)
    (place / "work").mkdir()
    return place


def install(place: Path, extra: str = "") -> float:
    """Install the wheel with what it needs; the seconds that it took."""
    (wheel,) = (place / "dist").glob("*.whl")
    began = time.monotonic()
    pip = [str(place / "env" / "bin" / "python"), "-m", "pip", "install", "-q"]
    subprocess.run([*pip, "-c", str(ROOT / "constraints.txt"), f"{wheel}{extra}"], check=True)
    return time.monotonic() - began


def tunebench(place: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The installed command from the empty folder, with a cache of its own and no hub."""
    own = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "PYTHON"))}
    variables = {**own, "XDG_CACHE_HOME": str(place / "cache"), "HF_HUB_OFFLINE": "1"}
    command = [str(place / "env" / "bin" / "tunebench"), *arguments]
    folder = place / "work"
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env=variables)


@pytest.mark.slow
def test_a_wheel_scores_without_mlx_and_benches_with_it(place: Path) -> None:
    seconds = install(place)
    packages = place / "env" / "lib"
    size = sum(f.stat().st_size for f in packages.rglob("*") if f.is_file() and not f.is_symlink())
    print(f"installed without MLX: {size / 1e6:.0f} MB, {seconds:.0f} s")
    published = str(ROOT / "results" / "smollm2-mini")
    for arguments in (
        ["--version"],
        ["describe", "mini"],
        [
            *("score", "--dataset", "mini", "--split", "test", "--out", "rows.jsonl"),
            *("--predictions", f"{published}/predictions.lora.jsonl"),
        ],
        ["compare", f"{published}:lora", f"{published}:qlora"],
        ["gate", published, "--baseline", published],
        ["report", published, "--html", "--out", "report"],
    ):
        done = tunebench(place, *arguments)
        assert done.returncode == 0, (arguments, done.stdout, done.stderr)
    refused = tunebench(place, "bench", "--variant=qlora", "--model=tiny")
    assert refused.returncode == 4
    assert "MLX is not installed" in refused.stderr

    install(place, f"[{extra_for_this_machine()}]")
    options = ["--variant=qlora", "--model=tiny", "--limit=6", "--set", "iters=2"]
    done = tunebench(place, "bench", *options, "--run-name=first")
    assert done.returncode == 0, done.stdout + done.stderr
    run = json.loads((place / "work" / "results" / "runs" / "first" / "results.json").read_text())
    assert run["run"]["partial"] == []
    assert run["run"]["git"] == {"commit": None, "dirty": False}
    assert run["run"]["command"].startswith("tunebench bench --variant=qlora --model=tiny")

"""What an install without MLX can do, and what every command says where MLX has no one backend."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fake_endpoint import completion, serve

ROOT = Path(__file__).resolve().parents[2]
RUN = "results/smollm2-mini"

LIGHT = """
class Absent:
    names = {"mlx", "mlx_lm", "transformers", "tokenizers", "safetensors", "huggingface_hub"}
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.names:
            raise ModuleNotFoundError(f"No module named {name!r}")
sys.meta_path.insert(0, Absent())
from importlib import metadata
found = metadata.Distribution.from_name.__func__
def from_name(cls, name):
    if name.startswith("mlx") or name in Absent.names:
        raise metadata.PackageNotFoundError(name)
    return found(cls, name)
metadata.Distribution.from_name = classmethod(from_name)
"""
"""Have what comes by the extras alone be missing."""

COMMANDS = """
import contextlib, io, json, sys
{prelude}
from harness.__main__ import main
done = []
for arguments in {commands!r}:
    sys.argv = ["tunebench", *arguments]
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
        except SystemExit as end:
            status = end.code or 0
    done.append([status, out.getvalue(), err.getvalue()])
print(json.dumps(done))
"""


def commands(*each: list[str], prelude: str = "", path: str = "") -> list[tuple[int, str, str]]:
    """The status, output and messages of commands that one new process runs; no network."""
    variables = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{path}"}
    variables |= {"PIP_NO_INDEX": "1", "UV_NO_INDEX": "1", "HF_HUB_OFFLINE": "1"}
    script = COMMANDS.format(prelude=prelude, commands=each)
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, env=variables
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
def test_scoring_comparing_gating_and_reporting_need_no_mlx(tmp_path: Path) -> None:
    score = [
        "score",
        "--dataset",
        "fixtures/mini",
        "--split",
        "test",
        "--out",
        str(tmp_path / "rows"),
    ]
    done = commands(
        ["describe", "mini", "--json"],
        [*score, "--predictions", f"{RUN}/predictions.lora.jsonl", "--json"],
        ["compare", f"{RUN}:lora", f"{RUN}:qlora"],
        ["gate", RUN, "--baseline", RUN],
        ["report", RUN, "--html", "--out", str(tmp_path / "report")],
        prelude=LIGHT,
    )
    assert [status for status, _, _ in done] == [0] * 5, done
    assert len((tmp_path / "rows").read_text("utf-8").splitlines()) == 200


def test_what_computes_says_that_mlx_is_missing(tmp_path: Path) -> None:
    done = commands(
        ["params", "--model", "tiny", "--variant", "lora"],
        ["plan", "--model", "tiny", "--variant", "lora"],
        ["export", "--model", "tiny", "--out", str(tmp_path / "texts")],
        ["fetch", "smollm2"],
        ["doctor"],
        prelude=LIGHT,
    )
    said = "MLX is not installed, and this needs a model. Run: "
    assert [status for status, _, _ in done] == [2, 2, 2, 2, 1]
    for _, out, err in done[:4]:
        assert out == ""
        assert err.startswith(f"tunebench: {said}")
        assert err.count("\n") == 1
    assert "PROBLEM  device: MLX is not installed, and this needs a model\n" in done[4][1]
    assert "          -> Run: " in done[4][1]
    assert "missing: mlx, mlx-lm, transformers" in done[4][1]


@pytest.fixture
def second_backend(tmp_path: Path) -> str:
    """A folder for Python's path: one more MLX backend is installed there."""
    for name in ("mlx-cuda-13", "mlx-cpu"):
        facts = tmp_path / f"{name.replace('-', '_')}-0.32.4.dist-info"
        facts.mkdir()
        (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.32.4\n")
    return str(tmp_path)


@pytest.mark.slow
def test_two_backends_are_refused_before_anything_is_loaded(second_backend: str) -> None:
    # As a command of the user's: pytest-benchmark warns the workers of pytest-xdist.
    own = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
    variables = {**own, "PYTHONPATH": f"{ROOT}{os.pathsep}{second_backend}"}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "suites/", "--model=tiny", "--variant=lora"],
        **{"cwd": ROOT, "capture_output": True, "text": True, "env": variables},
    )
    assert done.returncode == 4
    assert "mlx-cpu and mlx-cuda-13 are both installed" in done.stderr
    assert "uninstall" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    plan = ["plan", "--model", "tiny", "--variant", "lora"]
    ((refused, none, said), (status, out, _)) = commands(plan, ["doctor"], path=second_backend)
    assert (refused, none, status) == (2, "", 1)
    assert said.startswith("tunebench: mlx-cpu and mlx-cuda-13 are both installed")
    assert "PROBLEM  device: mlx-cpu and mlx-cuda-13 are both installed" in out


@pytest.mark.slow
def test_endpoints_alone_are_benched_without_mlx(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with serve(lambda *_: (200, completion("SELECT 1"))) as fake:
        (tmp_path / "there.yaml").write_text(f"url: {fake.url}\nmodel: m\n")
        bench = ["bench", f"--variant={tmp_path / 'there.yaml'}", "--limit=6", "--run-name=light"]
        ((status, said, errors),) = commands([*bench, f"--results-dir={tmp_path}"], prelude=LIGHT)
    assert status == 0, said + errors
    run = json.loads((tmp_path / "light" / "results.json").read_text())["run"]
    assert (run["source"], run["device"]["backend"], run["partial"]) == ("endpoint", "none", [])
    assert "mlx" not in run["versions"]

"""An environment has exactly one MLX backend: none or two are told in one line that mends them, and
`make` picks the right one. The GPUs, the Mac and the packages here are stand-ins."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.bundled import PROJECT_ROOT
from harness.machine import installed

REQUIRED = ("mlx-metal==1; platform_system == 'Darwin'", "mlx-cpu==1; extra == 'cpu'")
"""As the metadata of MLX's wheels say it."""


@pytest.fixture(autouse=True)
def linux(monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests are about a Linux machine, wherever they run, unless they say otherwise."""
    monkeypatch.setattr("platform.system", lambda: "Linux")


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Have these distributions, and no others, be installed. pip is one."""

    def install(*names: str, requires: tuple[str, ...] = REQUIRED) -> None:
        for name in names:
            folder = tmp_path / f"{name.replace('-', '_')}-1.dist-info"
            folder.mkdir()
            lines = [f"Requires-Dist: {one}" for one in requires if name == "mlx"]
            text = [f"Metadata-Version: 2.1\nName: {name}\nVersion: 1", *lines]
            (folder / "METADATA").write_text("\n".join(text))
        monkeypatch.setattr(sys, "path", [str(tmp_path)])

    monkeypatch.setattr(installed, "find_spec", lambda name: name)
    monkeypatch.chdir(PROJECT_ROOT)
    return install


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Have `nvidia-smi` on the path print this."""

    def put(version: str) -> None:
        script = tmp_path / "bin" / "nvidia-smi"
        script.parent.mkdir(exist_ok=True)
        end = "exit 9" if "failed" in version else ""
        script.write_text(f"#!/bin/sh\necho '{version}'\n{end}\n")
        script.chmod(0o755)
        monkeypatch.setenv("PATH", f"{script.parent}{os.pathsep}{os.environ['PATH']}")

    return put


CPU = "python -m pip install -c constraints.txt -e '.[cpu]'"


def test_one_backend_is_no_problem(packages: Callable[..., None]) -> None:
    packages("mlx", "mlx-lm", "mlx-cpu")
    assert installed.backends() == ["cpu"]
    assert installed.backend_problem() is None


def test_two_backends_are_named_with_what_mends_them(
    packages: Callable[..., None], driver: Callable[[str], None]
) -> None:
    driver("580.95.05")
    packages("mlx", "mlx-lm", "mlx-cpu", "mlx-cuda-13")
    said = installed.backend_problem()
    assert said == (
        "mlx-cpu and mlx-cuda-13 are both installed, and own the same files: which of them computes"
        " is chance. Run: python -m pip uninstall -y mlx-cpu mlx-cuda-13 && python -m pip install "
        "-c constraints.txt -e '.[cuda13]'"
    )


def test_no_backend_and_no_mlx_are_named(packages: Callable[..., None]) -> None:
    packages()
    assert installed.backend_problem() == (
        f"MLX is not installed, and this needs a model. Run: {CPU}"
    )
    packages("mlx", "mlx-lm")
    assert installed.backend_problem() == (
        f"MLX is installed without a backend to compute with. Run: {CPU}"
    )


def test_an_mlx_built_from_source_has_its_backend_in_it(packages: Callable[..., None]) -> None:
    packages("mlx", "mlx-lm", requires=("numpy; extra == 'dev'",))
    assert installed.backend_problem() is None


def test_without_pip_and_elsewhere_the_command_still_runs(
    packages: Callable[..., None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    packages("mlx", "mlx-lm", "mlx-cpu")
    monkeypatch.setattr(installed, "find_spec", lambda _: None)
    assert installed.install_command("cuda12") == (
        "uv pip uninstall mlx-cpu && uv pip install -c constraints.txt -e '.[cuda12]'"
    )
    monkeypatch.chdir(tmp_path)
    assert installed.install_command("cpu") == (
        f"uv pip install -c {PROJECT_ROOT}/constraints.txt -e '{PROJECT_ROOT}[cpu]'"
    )
    (odd := tmp_path / "Anna's Mac").mkdir()
    (odd / "constraints.txt").touch()
    monkeypatch.setattr(installed, "PROJECT_ROOT", odd)
    words = shlex.split(installed.install_command("cpu"))
    assert words[3:] == ["-c", f"{odd}/constraints.txt", "-e", f"{odd}[cpu]"]
    monkeypatch.setattr(installed, "PROJECT_ROOT", tmp_path)  # installed from a wheel
    assert installed.install_command("cpu") == "uv pip install 'tunebench[cpu]'"


DRIVERS = [
    ("580.95.05", "cuda13"),
    ("590.10", "cuda13"),
    ("550.54.14\n550.54.14", "cuda12"),
    ("535.183.01", "cpu"),
    ("NVIDIA-SMI has failed because it could not reach the driver", "cpu"),
    ("", "cpu"),
]


@pytest.mark.parametrize(("version", "extra"), DRIVERS)
def test_the_driver_decides_which_cuda(
    version: str, extra: str, driver: Callable[[str], None]
) -> None:
    driver(version)
    assert installed.extra_for_this_machine() == extra
    said = installed.old_driver()
    assert said.startswith("the NVIDIA driver 535 is too old for MLX") == ("535" in version)


def test_a_mac_takes_metal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.system", lambda: "Darwin")
    assert installed.extra_for_this_machine() == "metal"


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`make`, with its environment in ``folder``, on Linux: Python loads a `sitecustomize`."""
    (folder / "sitecustomize.py").write_text("import platform\nplatform.system = lambda: 'Linux'\n")
    variables = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL")}
    variables["PYTHONPATH"] = str(folder)
    command = ["make", f"VENV={folder / 'venv'}", *arguments]
    return subprocess.run(
        command, cwd=PROJECT_ROOT, capture_output=True, text=True, env=variables, check=False
    )


def interpreter(path: Path, version: str) -> Path:
    """A Python that says it is another ``version``, and whose environments are empty folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    number = tuple(int(part) for part in version.split("."))
    path.write_text(
        "#!/bin/sh\n"
        f'[ "$1" = -c ] && exec {sys.executable} -c "import sys\n'
        f'sys.version_info = {number}\nsys.executable = \'{path}\'\nexec(sys.argv[1])" "$2"\n'
        f'[ "$2" = venv ] && exec mkdir -p "$4"\n'
        f'exec {sys.executable} "$@"\n'
    )
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(("version", "extra"), DRIVERS[::2])
def test_make_installs_one_backend(
    version: str, extra: str, tmp_path: Path, driver: Callable[[str], None]
) -> None:
    driver(version)
    done = make(tmp_path, "-n", "test", f"PYTHON={sys.executable}")
    assert f'pip install --quiet -c constraints.txt -e ".[dev,{extra}]"' in done.stdout
    chosen = make(tmp_path, "-n", "test", f"PYTHON={sys.executable}", "EXTRA=cuda12")
    assert '".[dev,cuda12]"' in chosen.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("there", "extra", "gone"),
    [
        (["mlx-cpu"], "cuda13", "mlx-cpu"),
        (["mlx-cpu", "mlx-cuda-13"], "cuda13", "mlx-cpu mlx-cuda-13"),
        (["mlx-cpu"], "cpu", ""),
        ([], "cpu", ""),
    ],
)
def test_make_uninstalls_another_backend_first(
    there: list[str], extra: str, gone: str, tmp_path: Path, driver: Callable[[str], None]
) -> None:
    """pip is a stand-in that writes down what it is asked; `-S` hides this environment's own."""
    driver("535.183.01")
    for name in there:
        folder = tmp_path / f"{name.replace('-', '_')}-1.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1")
    python = tmp_path / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(
        f'#!/bin/sh\n[ "$2" = pip ] && exec echo "$@" >> {tmp_path}/asked\n'
        f'exec {sys.executable} -S "$@"\n'
    )
    python.chmod(0o755)
    done = make(tmp_path, f"{tmp_path}/venv/.ready", f"EXTRA={extra}")
    assert done.returncode == 0, done.stderr
    asked = (tmp_path / "asked").read_text().splitlines()
    installs = [f"-m pip install --quiet -c constraints.txt -e .[dev,{extra}]"]
    assert asked[2:] == [f"-m pip uninstall --quiet -y {gone}"] * bool(gone) + installs
    assert ("driver 535 is too old" in done.stderr) == (extra == "cpu")
    target = f"{tmp_path}/venv/.ready"
    assert "pip install" not in make(tmp_path, "-n", target).stdout
    assert "pip install" not in make(tmp_path, "-n", target, f"EXTRA={extra}").stdout
    assert ".[dev,cuda12]" in make(tmp_path, "-n", target, "EXTRA=cuda12").stdout


def test_make_names_a_python_that_is_too_old_and_leaves_nothing(tmp_path: Path) -> None:
    old = interpreter(tmp_path / "python3.9", "3.9.6")
    done = make(tmp_path, f"{tmp_path}/venv/.ready", f"PYTHON={old}")
    assert done.returncode == 2
    said, *rest = done.stderr.splitlines()
    assert said == (
        f"tunebench: Python 3.11 or newer is needed, and {old} is 3.9.6. Install one and name it: "
        "make PYTHON=python3.12"
    )
    assert len(rest) == 1  # make's own
    assert not (tmp_path / "venv").exists()


@pytest.mark.slow
def test_make_makes_a_wrong_environment_anew_and_keeps_a_right_one(tmp_path: Path) -> None:
    good = interpreter(tmp_path / "python3.12", "3.12.1")
    (tmp_path / "venv").mkdir()
    (tmp_path / "venv" / ".ready").touch()
    inside = interpreter(tmp_path / "venv" / "bin" / "python", "3.10.13")
    anew = f"{good} -m venv --clear {tmp_path / 'venv'}"
    target = f"{tmp_path}/venv/.ready"
    assert anew in make(tmp_path, "-n", target, f"PYTHON={good}").stdout
    interpreter(inside, "3.13.0")
    assert anew not in make(tmp_path, "-n", target, f"PYTHON={good}").stdout
    inside.unlink()  # as after an update of the Python that it was made of
    assert anew in make(tmp_path, "-n", target, f"PYTHON={good}").stdout
    assert make(tmp_path, "environment", f"PYTHON={good}").returncode == 0

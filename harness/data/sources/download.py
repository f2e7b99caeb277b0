"""One file from a URL, resumable and verified: `Source` + folder -> the path of the whole file.

The bytes go to `<name>.part` as they arrive. After a dropped connection, Ctrl-C or a kill the
download continues from there with an HTTP Range request (RFC 9110, section 14), in this call or a
later one. The file gets its own name only once its size and SHA-256 are verified; a wrong file is
moved aside. Not covered: locking (the caller holds the cache's lock), unpacking (`archive.py`).
"""

from __future__ import annotations

import http.client
import re
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.disk.files import sha256_file, without_password, writing
from harness.errors import UserError
from harness.progress import ProgressCallback, print_message, silent

TIMEOUT_S = 30.0
"""Seconds without a byte after which a connection counts as dropped."""

_CHUNK = 1 << 16
_SCHEMES = ("https", "http", "file")


@dataclass(frozen=True)
class Source:
    """What to download. ``bytes`` is its exact size; ``remedy`` is how to do without this
    download and ends every error message."""

    url: str
    name: str
    sha256: str
    bytes: int
    remedy: str


def download(source: Source, folder: Path, progress: ProgressCallback = silent) -> Path:
    """``folder/<name>``, downloaded unless it is there already.

    The folder is made if needed; ``progress`` is called with bytes.

    Raises:
        UserError: the source cannot be reached, drops the connection again and again, or serves
            a file with another checksum (moved aside and named); the folder cannot be written.
    """
    target = folder / source.name
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        if target.is_file():
            digest = sha256_file(target)
            if digest == source.sha256:
                return target
            aside = _move_aside(target, source, digest)
            print_message(f"tunebench: {target} is damaged; moved to {aside}")
    part = folder / f"{source.name}.part"
    resumed = part.is_file() and part.stat().st_size > 0
    _receive(source, part, progress)
    if resumed and sha256_file(part) != source.sha256:
        # The source may have changed since the kept bytes were downloaded.
        part.unlink()
        _receive(source, part, progress)
    _verify(source, part)
    part.replace(target)
    return target


def _receive(source: Source, part: Path, progress: ProgressCallback) -> None:
    """Fill ``part`` until the source has no more; reconnect as long as each connection helps."""
    label = f"download {source.name}"
    while True:
        before = _size(part)
        if before == source.bytes:
            break
        drop = _one_connection(source, part, label, progress)
        if drop is None:
            break
        if _size(part) <= before:
            raise _failed(source, part, f"the connection broke ({drop})")
    done = max(1, _size(part))
    progress(label, done, done)


def _one_connection(
    source: Source, part: Path, label: str, progress: ProgressCallback
) -> str | None:
    """Append what one connection brings; returns why it broke, or None at the end of the source.

    Raises:
        UserError: no connection, a refusal by the server, or more bytes than there should be.
    """
    response, start, total = _open(source, part)
    if response is None:
        return None
    with response, writing(part), part.open("ab" if start else "wb") as out:
        done = start
        while True:
            try:
                chunk = response.read(_CHUNK)
            except (OSError, http.client.HTTPException) as error:
                return _reason(error)
            if not chunk:
                break
            out.write(chunk)
            done += len(chunk)
            progress(label, done, max(source.bytes, done + 1))
            if done > source.bytes:
                # The size check will report it; reading on could fill the disk.
                return None
    # When the server hangs up, a read of a given size returns fewer bytes without an exception.
    if total is not None and done < total:
        return f"after {done:,} of {total:,} bytes"
    return None


def _open(source: Source, part: Path) -> tuple[Any, int, int | None]:
    """(response, position of its first byte, whole size or None); no response at the end."""
    scheme = urllib.parse.urlsplit(source.url).scheme
    if scheme not in _SCHEMES:
        allowed = ", ".join(f"{name}://" for name in _SCHEMES)
        shown = without_password(source.url)
        raise UserError(f"cannot download from {shown!r}. Allowed: {allowed}. {source.remedy}")
    kept = _size(part)
    headers = {"User-Agent": "tunebench", "Accept-Encoding": "identity"}
    if kept:
        headers["Range"] = f"bytes={kept}-"
    try:
        request = urllib.request.Request(source.url, headers=headers)
        response = urllib.request.urlopen(request, timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if error.code == 416 and kept:
            # Nothing follows the kept bytes: they are the whole file, or part of another one.
            if error.headers.get("Content-Range", "") != f"bytes */{kept}":
                part.unlink()
                return _open(source, part)
            return None, kept, kept
        raise _failed(source, part, f"HTTP {error.code} {error.reason}") from error
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise _failed(source, part, _reason(error)) from error
    length = response.headers.get("Content-Length", "")
    size = int(length) if length.isdigit() else None
    if response.status != 206:  # the whole file: a server without ranges, or file://
        return response, 0, size
    ranged = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
    if ranged is None or int(ranged[1]) != kept:
        response.close()
        part.unlink()
        return _open(source, part)
    return response, kept, int(ranged[2]) if ranged[2] != "*" else None


def _verify(source: Source, part: Path) -> None:
    """Move ``part`` aside unless it has the source's size and checksum.

    Raises:
        UserError: it has not.
    """
    size, digest = _size(part), sha256_file(part)
    if digest == source.sha256:
        return
    aside = _move_aside(part, source, digest)
    if size < source.bytes:
        wrong = f"is truncated: {size:,} bytes, expected {source.bytes:,}"
    elif size > source.bytes:
        wrong = f"is larger than the {source.bytes:,} bytes expected"
    else:
        wrong = f"has SHA-256 {digest}, expected {source.sha256}"
    raise UserError(
        f"{without_password(source.url)} {wrong}: the server or a proxy sent another file. It was "
        f"moved to {aside}; nothing was prepared. {source.remedy}"
    )


def _move_aside(path: Path, source: Source, digest: str) -> Path:
    # Named by content, so that the same wrong file takes no more space when it is served again.
    aside = path.with_name(f"{source.name}.damaged-{digest[:12]}")
    path.replace(aside)
    return aside


def _failed(source: Source, part: Path, reason: str) -> UserError:
    kept = _size(part)
    again = (
        f"The {kept:,} of {source.bytes:,} bytes so far are kept; run the command again to go on."
        if kept
        else "Check the address and the network, and run the command again."
    )
    shown = without_password(source.url)
    return UserError(f"cannot download {shown}: {reason}. {again} {source.remedy}")


def _reason(error: Exception) -> str:
    """An exception's own message, without what urllib adds."""
    inner = getattr(error, "reason", None) or error
    return str(getattr(inner, "strerror", None) or inner or type(inner).__name__).rstrip(".")


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0

"""Files that are either whole or absent, and content keys.

Every write goes to a temporary neighbour, is flushed to disk and then renamed over the target,
so that a crash, a full disk or Ctrl-C leaves the old file or the new one, never a torn one. A
killed process leaves such a neighbour, which the next write to the same place removes; its name
holds the process and where that number holds (``machine/identity.py``), not the host's name.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil

from harness.errors import RemoteError, UserError
from harness.machine.identity import process_space

_REFUSED = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.EIO,
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.ENAMETOOLONG,
    errno.ELOOP,
    errno.EMFILE,
    errno.ENFILE,
}
# The words of libraries that raise errors of their own where write(2) failed: DuckDB and
# safetensors quote the system, MLX 0.32 does not.
_REFUSALS = re.compile(
    r"No space left on device|Disk quota exceeded|File too large|Read-only file system"
    r"|Permission denied|Input/output error|Unable to write \d+ bytes"
    r"|\[save_\w+\] Failed to open",
    re.IGNORECASE,
)

_ABSOLUTE = re.compile(r"(?:(?<=[=,:])|^)/(?!/)[^,]*")
"""A path at the start of an argument or of a value in it; not what follows `https:`."""

_TEMPORARY = re.compile(r"\.(?P<name>.+)\.(?P<space>[0-9a-f]{16})-(?P<process>\d+)\..*", re.DOTALL)
"""The name of a temporary neighbour (:func:`temporary_prefix`)."""
_ABANDONED_S = 86400.0

_STREAM_FOLDERS = (Path("/dev"), Path("/dev/fd"), Path("/proc/self/fd"))


@contextlib.contextmanager
def explaining(
    problem: str, remedy: str = "", refused: type[UserError] = UserError
) -> Iterator[None]:
    """Turn the system's refusal in the block into the message "problem: reason. remedy".

    Raises:
        UserError: one of type ``refused`` in the place of an OSError.
    """
    try:
        yield
    except OSError as error:
        advice = f". {remedy}" if remedy else ""
        raise refused(f"{problem}: {error.strerror or error}{advice}") from error


def writing(path: Path) -> contextlib.AbstractContextManager[None]:
    """:func:`explaining` that ``path`` cannot be written."""
    return explaining(f"cannot write {path}")


def check_writable(folder: Path, option: str) -> None:
    """Refuse the value of ``option``, a folder that could not be written or made at the end.

    Raises:
        UserError: the system refuses.
    """
    place = folder.absolute()
    while not place.exists() and place != place.parent:
        place = place.parent  # made at the end only, so that a refused command leaves no folder
    with explaining(f"{option} {folder} cannot be written"), tempfile.TemporaryFile(dir=place):
        pass


@contextlib.contextmanager
def replacing(path: Path, suffix: str = "") -> Iterator[Path]:
    """A temporary neighbour, its name ending in ``suffix``, for the block to fill, which then takes
    the place of ``path``; parent folders are made, a link stays a link.

    Raises:
        UserError: the folder cannot be written (permission, read-only, disk full); the old
            file, if any, stays as it was.
    """
    path = Path(os.path.realpath(path))
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_abandoned(path.parent, path.name)
        handle, name = tempfile.mkstemp(suffix, temporary_prefix(path.name), path.parent)
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            with temporary.open("rb") as stream:
                os.fsync(stream.fileno())
            temporary.chmod(0o644)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def write_bytes(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` atomically; parent folders are made.

    What is no regular file (a pipe, /dev/stdout) is written to as it is.

    Raises:
        UserError: as :func:`replacing`.
    """
    with writing(path):
        if _is_stream(path):
            path.write_bytes(data)
            return
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """:func:`write_bytes` of UTF-8 text."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Write JSON that any parser reads: NaN and infinity are refused, keys keep their order."""
    write_text(path, json.dumps(value, ensure_ascii=False, allow_nan=False, indent=1) + "\n")


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write one JSON object per line, atomically."""
    write_text(path, json_lines(rows))


def json_lines(rows: Sequence[dict[str, Any]]) -> str:
    """The text of a file with one JSON object per line."""
    encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode
    return "".join(encode(row) + "\n" for row in rows)


def temporary_prefix(name: str) -> str:
    """How the temporary neighbour of ``name`` begins: hidden, with the process that makes it."""
    return f".{name}.{process_space()}-{os.getpid()}."


def remove_abandoned(folder: Path, name: str | None = None) -> None:
    """Remove the temporary neighbours of ``name`` in ``folder``, or of every file there, whose
    process on this machine has ended; those of other machines once they are a day old."""
    # Not glob: it would remember every name ever written.
    for found in folder.iterdir():
        parts = _TEMPORARY.fullmatch(found.name)
        if parts is None or name not in (None, parts["name"]):
            continue
        with contextlib.suppress(OSError):  # the write itself will report what is wrong
            if parts["space"] != process_space():
                ended = time.time() - found.lstat().st_mtime > _ABANDONED_S
            else:
                ended = not psutil.pid_exists(int(parts["process"]))
            if ended:
                remove(found)


def remove(path: Path) -> bool:
    """Remove a file or a folder; whether it is gone.

    Raises:
        OSError: a file that the system does not let go.
    """
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
    return not path.exists()


def refusal(error: BaseException) -> str | None:
    """Why the disk refused, in words, where ``error`` is about that; else None.

    A missing file counts: it was removed while it was used, since files that may be absent are
    looked for first. Libraries turn a full disk into errors of their own. The user can put all of
    them right.
    """
    if isinstance(error, OSError) and error.errno in _REFUSED:
        place = f": {error.filename}" if error.filename is not None else ""
        return f"{error.strerror}{place}"
    # These quote another error, perhaps of another machine's disk; pytest's do so between ranks.
    if isinstance(error, UserError | RemoteError) or "pytest" in type(error).__module__:
        return None
    found = _REFUSALS.search(str(error))
    return None if found is None else found[0]


def require_space(folder: Path, needed: int, what: str, remedy: str) -> None:
    """Refuse to fill the disk under ``folder``, which need not exist yet.

    Raises:
        UserError: fewer than ``needed`` bytes are free; the message says both and ends in
            ``remedy``.
    """
    found = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(found).free
    if needed > free:
        raise UserError(
            f"{what} takes {_size(needed)} of disk at {folder}, and {_size(free)} are free. "
            f"{remedy}, or free space (python -m harness cache prune)."
        )


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def link_or_copy(source: str | Path, target: str | Path) -> None:
    """Make ``target`` another name of the file ``source``, or a copy where that cannot be."""
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links, another disk, a name that is taken
        shutil.copyfile(source, target)


def user_path(text: str) -> Path:
    """The path that a user wrote, with `~` replaced by the home folder it stands for, if any."""
    try:
        return Path(text).expanduser()
    except RuntimeError:  # there is no such user
        return Path(text)


def shown_path(path: Path) -> str:
    """A path as others may see it, who learn no user's name and no folder of this machine: as seen
    from the working folder, as `~/…` in the home folder, elsewhere its last part, `…/name`."""
    with contextlib.suppress(OSError):
        for folder, sign in ((Path.cwd(), ""), (Path.home(), "~/")):
            if path.is_relative_to(folder) and folder != Path(folder.anchor):
                return f"{sign}{path.relative_to(folder)}"
    return f"…/{path.name}" if path.is_absolute() else str(path)


def shown_argument(argument: str) -> str:
    """An argument of a command line with each absolute path in it as :func:`shown_path` has it."""
    return _ABSOLUTE.sub(lambda found: shown_path(Path(found[0])), without_password(argument))


def without_password(url: str) -> str:
    """The URL, or a text that holds it, without the user's name and password."""
    return re.sub(r"(?<=://)[^/@\s]*@", "", url)


def sha256_file(path: Path) -> str:
    """Hex SHA-256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def content_key(*parts: Any) -> str:
    """A 32-digit hex key of JSON-serializable ``parts``; equal contents give equal keys.

    Dictionaries are sorted, so that the order in which a user wrote a YAML file does not matter.
    """
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False, allow_nan=False, default=str)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:32]


def _is_stream(path: Path) -> bool:
    """Whether ``path`` leads to something that must not be replaced by a file."""
    # /dev/stdout may lead to a regular file that others hold open.
    return path.absolute().parent in _STREAM_FOLDERS or (path.exists() and not path.is_file())

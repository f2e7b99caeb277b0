"""`fetch wikisql`: the official archive -> the folder that `--dataset=wikisql` reads.

The archive is downloaded resumably (`download.py`), verified against its SHA-256 and unpacked
without trust; every split is read once to be sure that it is whole; then all is published as one
cache entry, complete or absent. Only the six JSON-lines files of the archive are kept, byte for
byte but compressed; its SQLite copies are not used here. Not covered: what WikiSQL's lines mean
(`wikisql.py`). Archive: github.com/salesforce/WikiSQL.
"""

from __future__ import annotations

import bz2
import gzip
import json
import os
import shutil
import tarfile
from pathlib import Path

from harness.data.sources.download import Source, download
from harness.data.sources.jsonlines import GZIP
from harness.data.sources.resolve import WIKISQL_ENTRY
from harness.data.sources.wikisql import load_split
from harness.disk.cache import Cache
from harness.disk.files import without_password, write_json, writing
from harness.errors import UserError
from harness.progress import ProgressCallback, silent

URL = "https://github.com/salesforce/WikiSQL/raw/master/data.tar.bz2"
SHA256 = "755c728ab188e364575705c8641f3fafd86fb089cb8b08e8c03f01832aae0881"
BYTES = 26_164_664
URL_VARIABLE = "TUNEBENCH_WIKISQL_URL"
"""Environment variable naming a mirror of the archive; the checksum stays the official one."""

SPLITS = ("train", "dev", "test")
MEMBERS = tuple(f"data/{split}{end}" for split in SPLITS for end in (".jsonl", ".tables.jsonl"))
"""The files taken out of the archive; any other regular file in it is ignored."""

MAX_MEMBER_BYTES = 512 << 20
MAX_TOTAL_BYTES = 1 << 30
"""Caps on one unpacked file and on the whole unpacked stream, far above the official sizes."""

MAX_HEADER_BYTES = 1 << 20
"""Cap on what describes a file (its name and the like), which tarfile reads into memory at once."""

_LEVEL = 6
_ORIGIN = "origin.json"
_REMEDY = (
    f"Or download {URL} on another machine, unpack it and give its folder: --dataset DIR; or set "
    f"{URL_VARIABLE} to a mirror of it (https://, or file:// for a local copy)."
)


def fetch_wikisql(cache: Cache, progress: ProgressCallback = silent) -> Path:
    """The folder of the prepared official splits (train, dev, test), made on the first call;
    ``progress`` is called with bytes while downloading, with files while preparing.

    Raises:
        UserError: no connection, a wrong or truncated or hostile archive, a split that is not
            whole, or a folder that cannot be written. Nothing is published then.
    """
    found = cache.find(*WIKISQL_ENTRY)
    if found is not None:
        origin = json.loads((found / _ORIGIN).read_text(encoding="utf-8"))
        if origin["archive_sha256"] != SHA256:
            cache.discard(*WIKISQL_ENTRY)

    def make(folder: Path) -> None:
        url = os.environ.get(URL_VARIABLE) or URL
        source = Source(url, f"wikisql-{SHA256[:12]}.tar.bz2", SHA256, BYTES, _REMEDY)
        archive = download(source, cache.downloads, progress)
        unpack(archive, folder, progress)
        _check(archive, folder, progress)
        _compress(folder, progress)
        write_json(folder / _ORIGIN, {"archive_sha256": SHA256, "url": without_password(url)})

    return cache.build(*WIKISQL_ENTRY, make)


def unpack(archive: Path, folder: Path, progress: ProgressCallback = silent) -> None:
    """Write :data:`MEMBERS` of a tar.bz2 into ``folder``, flat; nothing else is ever written.

    Raises:
        UserError: a path that leads out of the folder, a link, a device, a file beyond the caps, a
            file that is there twice, a damaged or truncated archive, or a missing member.
            ``folder`` may then hold some files.
    """
    taken: set[str] = set()
    try:
        # As a stream, so that nothing is unpacked before its header was checked.
        with (
            _Capped(archive) as raw,
            tarfile.open(fileobj=raw, mode="r|") as tar,
        ):
            for member in tar:
                raw.allow(member.size)
                name = _checked(member, archive)
                if name in taken:
                    raise _hostile(archive, member.name, "is there twice")
                if name in MEMBERS and member.isreg():
                    taken.add(name)
                    _write(tar, member, folder / Path(name).name)
                    progress("unpack wikisql", len(taken), len(MEMBERS) + 1)
    except tarfile.TarError as error:
        raise UserError(f"{archive} is not a whole tar.bz2 archive ({error}). {_REMEDY}") from error
    missing = [name for name in MEMBERS if name not in taken]
    if missing:
        raise UserError(f"{archive} lacks {', '.join(missing)}: it is not WikiSQL's, or cut short.")
    progress("unpack wikisql", 1, 1)


def _checked(member: tarfile.TarInfo, archive: Path) -> str:
    """The member's plain path.

    Raises:
        UserError: the member is of a kind that no honest archive of data holds.
    """
    parts = member.name.replace("\\", "/").split("/")
    if parts[0] == "" or ":" in parts[0] or ".." in parts:
        raise _hostile(archive, member.name, "leads out of the folder")
    if member.issym() or member.islnk():
        raise _hostile(archive, member.name, f"is a link to {member.linkname!r}")
    if not (member.isreg() or member.isdir()) or member.issparse():
        raise _hostile(archive, member.name, "is not a plain file (device, pipe or sparse)")
    if member.size > MAX_MEMBER_BYTES:
        size = f"has {member.size:,} bytes, more than the {MAX_MEMBER_BYTES:,} allowed"
        raise _hostile(archive, member.name, size)
    return "/".join(part for part in parts if part not in ("", "."))


def _write(tar: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> None:
    source = tar.extractfile(member)
    assert source is not None  # a regular file's is never None
    with writing(target), target.open("xb") as out:
        shutil.copyfileobj(source, out, 1 << 20)


class _Capped(bz2.BZ2File):
    """A decompressing stream that raises a UserError when it is damaged or too long."""

    def __init__(self, archive: Path) -> None:
        super().__init__(archive)
        self._archive = archive
        self._so_far = 0
        self._allowed = MAX_HEADER_BYTES

    def allow(self, size: int) -> None:
        """Allow reading a member of ``size`` bytes and the header after it."""
        self._allowed = self._so_far + size + MAX_HEADER_BYTES

    def read(self, size: int | None = -1) -> bytes:
        try:
            data = super().read(-1 if size is None else size)
        except EOFError as error:
            raise UserError(f"{self._archive} is truncated. {_REMEDY}") from error
        except OSError as error:
            raise UserError(
                f"{self._archive} is not a whole bzip2 file ({error}). {_REMEDY}"
            ) from error
        self._so_far += len(data)
        if self._so_far > MAX_TOTAL_BYTES:
            raise UserError(
                f"{self._archive} was refused: it unpacks to more than {MAX_TOTAL_BYTES:,} bytes."
            )
        if self._so_far > self._allowed:
            raise UserError(
                f"{self._archive} was refused: it describes a file in more than "
                f"{MAX_HEADER_BYTES:,} bytes."
            )
        return data


def _hostile(archive: Path, member: str, why: str) -> UserError:
    return UserError(
        f"{archive} was refused: its member {member!r} {why}. Nothing was unpacked into the cache."
    )


def _check(archive: Path, folder: Path, progress: ProgressCallback) -> None:
    """Read every split once, as a run will."""
    for done, split in enumerate(SPLITS):
        progress("check wikisql", done, len(SPLITS))
        try:
            load_split(folder, (split,))
        except UserError as error:
            problems = str(error).replace(f"{folder}{os.sep}", "data/")
            raise UserError(f"{archive} holds damaged data:\n{problems}") from error
    progress("check wikisql", len(SPLITS), len(SPLITS))


def _compress(folder: Path, progress: ProgressCallback) -> None:
    """Replace each member with a gzip file, which has the same bytes every time."""
    for done, name in enumerate(Path(member).name for member in MEMBERS):
        progress("compress wikisql", done, len(MEMBERS))
        path, packed = folder / name, folder / f"{name}{GZIP}"
        with writing(packed):
            packed.write_bytes(gzip.compress(path.read_bytes(), _LEVEL, mtime=0))
        path.unlink()
    progress("compress wikisql", len(MEMBERS), len(MEMBERS))

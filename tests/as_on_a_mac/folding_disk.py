"""A disk as a Mac formats it by default: `Lora` and `lora` are one file, and so are `é` in one
character and in two; a name stays as it was given.

`python folding_disk.py FOLDER PLACE` shows FOLDER at PLACE until it is unmounted. It speaks the
kernel's FUSE protocol (linux/fuse.h, version 7.31) itself, one request after another, and so needs
no library: Linux, root and /dev/fuse. Nothing is cached but open pages, so each name is looked up
anew.
"""

# The kernel asks by descriptors, not by paths.
# ruff: noqa: PTH101, PTH104, PTH116, PTH208
from __future__ import annotations

import ctypes
import errno
import os
import resource
import stat
import sys
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from struct import calcsize, pack, unpack_from
from typing import Any

MAX_WRITE = 1 << 20
_ATTR = "<6Q10I"
_ENTRY = "<4Q2I"
_SETATTR = "<2I6Q7I"
_IO = "<2QI"
_MODE, _OWNER, _GROUP, _SIZE, _ATIME, _MTIME = 1, 2, 4, 8, 16, 32
_ATIME_NOW, _MTIME_NOW = 128, 256
_NOT_PASSED_ON = os.O_CREAT | os.O_EXCL | os.O_TRUNC | os.O_APPEND | os.O_NOFOLLOW | os.O_DIRECT


def folded(name: str) -> str:
    """Names that are equal here are one file."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())


@dataclass
class Node:
    """A file that the kernel knows, by a descriptor that follows it wherever it is moved."""

    handle: int
    key: tuple[int, int]
    known: int = 0

    @property
    def path(self) -> str:
        return f"/proc/self/fd/{self.handle}"


class FoldingDisk:
    """Answers the kernel's requests from a folder."""

    def __init__(self, folder: str) -> None:
        self.nodes = {1: self._node(os.open(folder, os.O_PATH))}
        self.numbers = {self.nodes[1].key: 1}
        self.next = count(2)
        self.answers: dict[int, Callable[[int, bytes], bytes]] = {
            1: lambda at, body: self._entry(at, _name(body)),
            3: lambda at, body: pack("<Q2I", 0, 0, 0) + self._attributes(at),
            4: self._change,
            5: lambda at, body: os.fsencode(os.readlink("", dir_fd=self.nodes[at].handle)),
            6: self._symlink,
            9: self._mkdir,
            10: lambda at, body: self._remove(os.unlink, at, body),
            11: lambda at, body: self._remove(os.rmdir, at, body),
            12: lambda at, body: self._rename(at, body, 8),
            13: self._link,
            14: lambda at, body: self._open(self.nodes[at].path, *unpack_from("<I", body)),
            15: self._read,
            16: self._write,
            17: lambda at, body: self._space(),
            18: lambda at, body: self._close(body),
            20: lambda at, body: os.fsync(*unpack_from("<Q", body)) or b"",
            27: lambda at, body: self._open(self.nodes[at].path, os.O_RDONLY | os.O_DIRECTORY),
            28: self._list,
            29: lambda at, body: self._close(body),
            30: lambda at, body: os.fsync(*unpack_from("<Q", body)) or b"",
            35: self._create,
            45: self._rename_as,
        }

    def serve(self, device: int) -> None:
        """Answer until the disk is unmounted."""
        while True:
            try:
                request = os.read(device, MAX_WRITE + (1 << 16))
            except OSError as error:
                if error.errno == errno.ENODEV:
                    return
                if error.errno in (errno.ENOENT, errno.EINTR, errno.EAGAIN):
                    continue
                raise
            operation, unique, at = unpack_from("<I2Q", request, 4)
            body = request[40:]
            if operation in (2, 42):
                self._forget(operation, at, body)
            elif operation != 36:  # an interruption has no answer
                failure, found = self._answer(operation, at, body)
                os.write(device, pack("<IiQ", 16 + len(found), -failure, unique) + found)

    def _answer(self, operation: int, at: int, body: bytes) -> tuple[int, bytes]:
        if operation == 26:
            flags = 1 | 1 << 5 | 1 << 22  # reads in parallel, large writes, of up to 256 pages
            version = pack("<4I2H2I2H", 7, 31, 1 << 17, flags, 12, 9, MAX_WRITE, 1, 256, 0)
            return 0, version.ljust(64, b"\0")
        if operation not in self.answers:
            return errno.ENOSYS, b""
        try:
            return 0, self.answers[operation](at, body)
        except OSError as error:
            return error.errno or errno.EIO, b""

    def _node(self, handle: int) -> Node:
        found = os.stat(handle)
        return Node(handle, (found.st_dev, found.st_ino))

    def _forget(self, operation: int, at: int, body: bytes) -> None:
        gone = [(at, *unpack_from("<Q", body))]
        if operation == 42:
            gone = [unpack_from("<2Q", body, 8 + 16 * n) for n in range(*unpack_from("<I", body))]
        for number, times in gone:
            node = self.nodes[number]
            node.known -= times
            if node.known <= 0 and number != 1:
                os.close(node.handle)
                del self.nodes[number], self.numbers[node.key]

    def _stored(self, at: int, name: str) -> str:
        """The name under which ``name`` is there already, else itself."""
        names = os.listdir(self.nodes[at].path)
        same = [one for one in names if folded(one) == folded(name)] if name not in names else []
        return same[0] if same else name

    def _attributes(self, at: int) -> bytes:
        s = os.stat(self.nodes[at].handle)
        times = (s.st_atime_ns, s.st_mtime_ns, s.st_ctime_ns)
        whole, rest = zip(*(divmod(one, 10**9) for one in times), strict=True)
        kind = (s.st_mode, s.st_nlink, s.st_uid, s.st_gid, 0, s.st_blksize, 0)
        return pack(_ATTR, s.st_ino, s.st_size, s.st_blocks, *whole, *rest, *kind)

    def _entry(self, at: int, name: str) -> bytes:
        folder = self.nodes[at].handle
        handle = os.open(self._stored(at, name), os.O_PATH | os.O_NOFOLLOW, dir_fd=folder)
        node = self._node(handle)
        number = self.numbers.get(node.key)
        if number is None:
            number = self.numbers[node.key] = next(self.next)
            self.nodes[number] = node
        else:
            os.close(handle)
        self.nodes[number].known += 1
        return pack(_ENTRY, number, 0, 0, 0, 0, 0) + self._attributes(number)

    def _change(self, at: int, body: bytes) -> bytes:
        values = unpack_from(_SETATTR, body)
        valid, size, times, nanoseconds = values[0], values[3], values[5:7], values[8:10]
        mode, owner, group = unpack_from("<I4xII", body, calcsize("<2I6Q3I"))
        path = self.nodes[at].path
        if valid & _MODE:
            os.chmod(path, stat.S_IMODE(mode))
        if valid & (_OWNER | _GROUP):
            os.chown(path, owner if valid & _OWNER else -1, group if valid & _GROUP else -1)
        if valid & _SIZE:
            os.truncate(path, size)
        if valid & (_ATIME | _MTIME | _ATIME_NOW | _MTIME_NOW):
            if valid & (_ATIME_NOW | _MTIME_NOW):
                os.utime(path)
            else:
                given = [t * 10**9 + n for t, n in zip(times, nanoseconds, strict=True)]
                os.utime(path, ns=(given[0], given[1]))
        return pack("<Q2I", 0, 0, 0) + self._attributes(at)

    def _new(self, at: int, name: str) -> str:
        """``name``, which must be free."""
        if self._stored(at, name) in os.listdir(self.nodes[at].path):
            raise FileExistsError(errno.EEXIST, name)
        return name

    def _symlink(self, at: int, body: bytes) -> bytes:
        name, target = (os.fsdecode(part) for part in body.split(b"\0")[:2])
        os.symlink(target, self._new(at, name), dir_fd=self.nodes[at].handle)
        return self._entry(at, name)

    def _mkdir(self, at: int, body: bytes) -> bytes:
        mode, _ = unpack_from("<2I", body)
        name = _name(body[8:])
        os.mkdir(self._new(at, name), stat.S_IMODE(mode), dir_fd=self.nodes[at].handle)
        return self._entry(at, name)

    def _remove(self, how: Callable[..., None], at: int, body: bytes) -> bytes:
        how(self._stored(at, _name(body)), dir_fd=self.nodes[at].handle)
        return b""

    def _rename(self, at: int, body: bytes, start: int) -> bytes:
        (to,) = unpack_from("<Q", body)
        old, new = (os.fsdecode(part) for part in body[start:].split(b"\0")[:2])
        source, target = self._stored(at, old), self._stored(to, new)
        if (at, source) == (to, target):
            target = new  # another spelling of its own name
        folders = {"src_dir_fd": self.nodes[at].handle, "dst_dir_fd": self.nodes[to].handle}
        os.rename(source, target, **folders)
        return b""

    def _rename_as(self, at: int, body: bytes) -> bytes:
        if unpack_from("<I", body, 8)[0]:
            raise OSError(errno.EINVAL, "neither exchanged nor refused where it exists")
        return self._rename(at, body, 16)

    def _link(self, at: int, body: bytes) -> bytes:
        (number,) = unpack_from("<Q", body)
        name = self._new(at, _name(body[8:]))
        os.link(self.nodes[number].path, name, dst_dir_fd=self.nodes[at].handle)
        return self._entry(at, name)

    def _open(self, path: str, flags: int) -> bytes:
        return pack("<QIi", os.open(path, flags & ~_NOT_PASSED_ON), 0, 0)

    def _create(self, at: int, body: bytes) -> bytes:
        flags, mode = unpack_from("<2I", body)
        name = _name(body[16:])
        made = self._stored(at, name)
        flags = (flags & ~_NOT_PASSED_ON) | os.O_CREAT | (flags & os.O_EXCL)
        handle = os.open(made, flags, stat.S_IMODE(mode), dir_fd=self.nodes[at].handle)
        return self._entry(at, made) + pack("<QIi", handle, 0, 0)

    def _read(self, at: int, body: bytes) -> bytes:
        handle, offset, size = unpack_from(_IO, body)
        return os.pread(handle, size, offset)

    def _write(self, at: int, body: bytes) -> bytes:
        handle, offset, size = unpack_from(_IO, body)
        return pack("<2I", os.pwrite(handle, body[40 : 40 + size], offset), 0)

    def _close(self, body: bytes) -> bytes:
        os.close(*unpack_from("<Q", body))
        return b""

    def _list(self, at: int, body: bytes) -> bytes:
        _, offset, size = unpack_from(_IO, body)
        found = b""
        for place, name in enumerate(sorted(os.listdir(self.nodes[at].path))[offset:], offset + 1):
            data = os.fsencode(name)
            entry = pack("<2Q2I", 1, place, len(data), 0) + data
            entry += bytes(-len(entry) % 8)
            if len(found) + len(entry) > size:
                break
            found += entry
        return found

    def _space(self) -> bytes:
        s = os.statvfs(self.nodes[1].path)
        room = (s.f_blocks, s.f_bfree, s.f_bavail, s.f_files, s.f_ffree)
        return pack("<5Q10I", *room, s.f_bsize, 255, s.f_frsize, *[0] * 7)


def _name(body: bytes) -> str:
    return os.fsdecode(body.split(b"\0", 1)[0])


def mount(place: str) -> int:
    """The device that asks for what is done at ``place``.

    Raises:
        OSError: this kernel, this machine or this user may not.
    """
    device = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={device},rootmode=40000,user_id={os.getuid()},group_id={os.getgid()},allow_other"
    library: Any = ctypes.CDLL(None, use_errno=True)
    if library.mount(b"folding", os.fsencode(place), b"fuse", 0, options.encode()):
        number = ctypes.get_errno()
        raise OSError(number, f"{os.strerror(number)}: mounting FUSE")
    return device


if __name__ == "__main__":
    source, place = sys.argv[1:]
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    os.umask(0)
    disk, opened = FoldingDisk(source), mount(place)
    print("mounted", flush=True)
    disk.serve(opened)

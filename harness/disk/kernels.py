"""The private folder for code that MLX compiles while it runs on a CPU.

MLX has g++ make shared libraries under the folder for temporary files (by default /tmp/mlx, the
same for every user) and loads whatever lies there under their names. So the model processes are
given a folder of the cache that only its owner can read or write. Files there may be removed at any
time: they are compiled again. Not covered: the code of Metal and CUDA, which is kept elsewhere.
"""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from pathlib import Path

from harness.disk.locks import writing_cache
from harness.errors import UserError

KERNELS = "kernels"
"""The folder's name in the cache."""

FOLDER_VARIABLE = "TUNEBENCH_KERNELS"
"""Environment variable naming another folder, which several caches may share."""


def kernel_folder(root: Path) -> Path:
    """The folder of the cache under ``root``, or the one that the user names."""
    named = os.environ.get(FOLDER_VARIABLE)
    return Path(named) if named else root / KERNELS


def use_private_kernels(root: Path) -> None:
    """Have MLX, in this process, compile into the folder of the cache under ``root``.

    Raises:
        UserError: the folder cannot be made, or belongs to somebody else.
    """
    folder = _private(kernel_folder(root))
    tempfile.gettempdir()  # Python's own temporary files stay where they are
    os.environ["TMPDIR"] = str(folder)  # MLX reads it whenever it compiles


def _private(folder: Path) -> Path:
    with writing_cache(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
            raise UserError(
                f"{folder}, from which MLX loads the code that it compiled, is a link or belongs "
                f"to another user. Remove it, or set {FOLDER_VARIABLE} to a folder of your own."
            )
        if found.st_mode & 0o077:
            folder.chmod(0o700)
        if found.st_mode & 0o022:
            remove_kernels(folder)  # others may have put code there
    return folder


def remove_kernels(folder: Path) -> bool:
    """Remove what was compiled; whether there was anything. Folders stay, for other processes may
    be about to write in them."""
    links_and_files = [
        Path(place, name)
        for place, folders, files in os.walk(folder)
        for name in (*files, *folders)
        if name in files or Path(place, name).is_symlink()
    ]
    for path in links_and_files:
        path.unlink(missing_ok=True)
    return bool(links_and_files)

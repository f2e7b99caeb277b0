"""Whether memory ran out: an exception, or the end of a process -> yes or no.

MLX raises an error that names memory on Metal and CUDA. Its CPU backend does not check whether the
system gave it memory (0.32.4) and ends by a segmentation fault; where Linux grants more than there
is, the kernel kills the process instead. Imports nothing of this project.
"""

from __future__ import annotations

import signal

_WORDS = (
    "unable to allocate",  # mlx's CPU and CUDA allocators
    "attempting to allocate",  # Metal: larger than the largest buffer
    "cannot allocate memory",
    "out of memory",  # CUDA
    "outofmemory",  # Metal: kIOGPUCommandBufferCallbackErrorOutOfMemory
    "insufficient memory",
    "bad_alloc",
)

_SIGNALS = (signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether ``error`` means that memory ran out."""
    if isinstance(error, MemoryError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(word in text for word in _WORDS)


def may_be_out_of_memory(status: int) -> bool:
    """Whether a process that ended with ``status`` (negative: by a signal) may have run out."""
    return -status in _SIGNALS

"""Two halves of the CPU's work side by side, each in a thread of its own.

MLX computes on the CPU in one thread; only the BLAS's products take more. All else, half of a
training step and of answering, so had one core however many there are. Here two parts of the rows
are computed at a time, each with half of the BLAS's threads. There are two parts on every machine,
with one core too, so that what is rounded does not follow the number of cores.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import lru_cache
from queue import SimpleQueue
from typing import Any, TypeVar

import numpy as np

from harness.backend import blas, blas_threads, mx, nn  # isort: skip  (the BLAS first)
from mlx.utils import tree_map

PARTS = 2

Result = TypeVar("Result")
Gradient = Callable[..., tuple[Any, Any]]


Task = tuple["Future[Any]", Callable[[], Any]]


@lru_cache(maxsize=1)
def _helper(_process: int) -> SimpleQueue[Task]:
    """What the second thread of this process is to do.

    The thread is kept, since MLX has a stream for each that it ever saw, and never ends: at the
    end of the interpreter MLX frees what belongs to a thread, Python's objects too, and aborts.
    """
    tasks: SimpleQueue[Task] = SimpleQueue()
    threading.Thread(target=_do, args=(tasks,), name="side-by-side", daemon=True).start()
    return tasks


def _do(tasks: SimpleQueue[Task]) -> None:
    while True:
        future, work = tasks.get()
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)
        del future, work  # and with them a batch's arrays


def side_by_side(work: Callable[[int, threading.Event], Result]) -> list[Result]:
    """``work(part, stop)`` of both parts at a time, the first in this thread.

    Arrays that the parts share are evaluated before, and what they return is evaluated too: MLX
    computes an array on the thread that made it. An error of either sets ``stop``, which the
    other may look at, and is raised when both have ended.
    """
    stop = threading.Event()

    def watched(part: int) -> Result:
        try:
            return work(part, stop)
        except BaseException:
            stop.set()
            raise

    with blas_threads(max(1, blas.threads // PARTS)):
        second: Future[Result] = Future()
        _helper(os.getpid()).put((second, lambda: watched(1)))
        try:
            first = watched(0)
        finally:
            second.exception()  # waits
        return [first, second.result()]


def gradient_by_halves(model: nn.Module, loss: Callable[..., Any]) -> Gradient:
    """``nn.value_and_grad(model, loss)`` of half of the rows at a time; evaluated.

    ``loss`` is that of `train/loss_function.py`: sums over rows, whose arguments are the model,
    tokens ``(rows, longest)``, spans ``(rows, 2)``, a scalar, and positions in the flattened
    ``(rows, longest - 1)``. It may draw no random numbers: each thread has its own.
    """

    def of_parameters(parameters: Any, *batch: mx.array) -> Any:
        model.update(parameters)
        return loss(model, *batch)

    compute = mx.value_and_grad(of_parameters)
    building = threading.Lock()  # both have the one model hold their parameters meanwhile

    def gradient(_: nn.Module, *batch: mx.array) -> tuple[Any, Any]:
        parameters = model.trainable_parameters()
        halves = _halves(*batch)

        def half(part: int, _: threading.Event) -> Any:
            with building:
                found = compute(parameters, *halves[part])
            mx.eval(found)
            return found

        if len(halves) < PARTS:
            return compute(parameters, *batch)
        try:
            first, second = side_by_side(half)
        finally:
            model.update(parameters)
        summed: tuple[Any, Any] = tree_map(lambda one, two: one + two, first, second)
        return summed

    return gradient


def _halves(
    tokens: mx.array, spans: mx.array, denominator: mx.array, positions: mx.array
) -> list[tuple[mx.array, ...]]:
    """The arguments of each half of the rows; of one row there is one."""
    rows, longest = tokens.shape
    if rows < PARTS:
        return [(tokens, spans, denominator, positions)]
    places, middle = np.array(positions), rows // PARTS
    cut = middle * (longest - 1)
    first = tokens[:middle], spans[:middle], denominator, mx.array(places[places < cut])
    second = tokens[middle:], spans[middle:], denominator, mx.array(places[places >= cut] - cut)
    mx.eval(first, second)
    return [first, second]

"""One output layer with its loss and gradient: MLX's whole against the chunked one of a GPU.

`python -m tests.perf.loss_layer ROWS VOCABULARY WIDTH` prints processor seconds (least of three,
the arms in turns in one process) and memory above the weights, both by MLX's GPU functions on its
CPU device: what docs/measurements.md says of it.
"""

from __future__ import annotations

import sys
import time
from typing import Any

from harness.backend import mx, nn
from harness.models import chunked_loss


def main() -> None:
    """Measure and print one line an arm."""
    rows, vocabulary, width = map(int, sys.argv[1:4])
    chunked_loss.backend_name = lambda: "metal"
    weight = mx.random.normal((vocabulary, width)) * 0.05
    states = mx.random.normal((rows, width))
    targets = mx.random.randint(0, vocabulary, (rows,))
    mx.eval(weight, states, targets)

    def head(part: mx.array) -> mx.array:
        return part @ weight.T

    arms: dict[str, Any] = {
        "whole": lambda x: nn.losses.cross_entropy(head(x), targets).mean(),
        "chunked": lambda x: chunked_loss.trained_losses(head, x, targets).mean(),
    }
    seconds: dict[str, list[float]] = {name: [] for name in arms}
    peaks = dict.fromkeys(arms, 0)
    for _ in range(4):
        for name, loss in arms.items():
            mx.clear_cache()
            mx.reset_peak_memory()
            before, started = mx.get_active_memory(), time.process_time()
            mx.eval(mx.value_and_grad(loss)(states))
            seconds[name].append(time.process_time() - started)
            peaks[name] = mx.get_peak_memory() - before
    for name, spent in seconds.items():  # the first round reads the kernels
        print(f"{name}: {min(spent[1:]):.2f} s, {peaks[name] / 1e9:.2f} GB")


if __name__ == "__main__":
    main()

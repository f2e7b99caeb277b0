"""The fine-tuning curve: what each micro-batch reports, gathered into rows.

Input: per iteration the scored nats, tokens, targets and seconds. Output: :class:`CurvePoint` rows
by DESIGN section 5: ``train_loss`` token-weighted since the previous row, ``val_loss`` of the
weights after exactly N iterations, rates without the iteration that compiles. The state between
two rows can be stored, so that a resumed run writes the rows an uninterrupted one would.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from harness.schema.variant_result import CurvePoint
from harness.train.variant import Variant


class CurveWindow(BaseModel):
    """Sums since the previous row."""

    nats: float = 0.0
    targets: int = 0
    timed_tokens: int = 0
    timed_targets: int = 0
    timed_s: float = 0.0


class Curve(BaseModel):
    """Rows so far and the window being filled."""

    accumulate: int = 1
    points: list[CurvePoint] = []
    window: CurveWindow = Field(default_factory=CurveWindow)

    def add(self, nats: float, targets: int, tokens: int, seconds: float | None) -> None:
        """One iteration. ``seconds`` is None where compilation is in it."""
        self.window.nats += nats
        self.window.targets += targets
        if seconds is not None:
            self.window.timed_tokens += tokens
            self.window.timed_targets += targets
            self.window.timed_s += seconds

    def close(self, iteration: int, val_loss: float | None) -> None:
        """End the window with a row at ``iteration``."""
        window, self.window = self.window, CurveWindow()
        timed = window.timed_s > 0
        self.points.append(
            CurvePoint(
                iteration=iteration,
                updates=iteration // self.accumulate,
                train_loss=window.nats / window.targets if window.targets else None,
                val_loss=val_loss,
                tokens_per_s=window.timed_tokens / window.timed_s if timed else None,
                supervised_tokens_per_s=window.timed_targets / window.timed_s if timed else None,
            )
        )

    def state(self) -> dict[str, Any]:
        """JSON-able arguments that make this curve again, floats to the last bit."""
        return self.model_dump(include={"points", "window"})


def reports_at(variant: Variant, iteration: int) -> bool:
    """Whether the curve has a row at ``iteration``: 0, 1, each report, validation, the last."""
    return (
        iteration in (0, 1, variant.iters)
        or iteration % variant.steps_per_report == 0
        or validates_at(variant, iteration)
    )


def validates_at(variant: Variant, iteration: int) -> bool:
    """Whether the weights after ``iteration`` are validated."""
    return (
        iteration in (0, variant.iters, *variant.validate_at)
        or iteration % variant.steps_per_eval == 0
    )

"""The power state of a machine while something was timed: a part of the record of a timing."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from harness.schema.record import Record


class Power(Record):
    """What decides, on one machine, how fast it may run; null is what the system does not say."""

    source: Literal["mains", "battery"] | None = Field(description="What feeds the machine.")
    mode: str | None = Field(
        description="How the system trades speed for power: macOS's low power mode, Linux's "
        "governor and platform profile."
    )
    power_limit_w: float | None = Field(description="Power limit of the NVIDIA card.")
    gpu_clock_mhz: float | None = Field(
        description="Clock of its multiprocessors at the end of the block, for information."
    )
    throttled: list[str] = Field(
        description="Why the system held the speed down during the block; empty if it did not."
    )

    @property
    def state(self) -> dict[str, str]:
        """What must agree for two timings to be compared, in words; what is not known is left
        out."""
        limit = self.power_limit_w
        words = {
            "source": self.source and f"on {self.source}",
            "mode": self.mode,
            "limit": None if limit is None else f"limited to {limit:g} W",
        }
        return {key: word for key, word in words.items() if word}

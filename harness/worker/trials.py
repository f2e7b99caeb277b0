"""The workbench's timed trials: single streams and batches on a loaded model, each called in turns.

JSON in and JSON out, as in `workbench.py`; whose turn it is, and what becomes of the timings, is
`speed.py`'s.
"""

from __future__ import annotations

from typing import Any

from harness.measure import speed
from harness.worker.state import Holdings


class Trials:
    """Trials of the model that :attr:`holdings` holds."""

    holdings: Holdings

    def warm_up(self, adapter: str | None, new_tokens: int, batch: int) -> dict[str, Any]:
        """One round that is not timed."""
        loaded = self.holdings.model(adapter)
        prompts = self.holdings.speed_prompts(loaded, batch)
        speed.trial(loaded, prompts[len(prompts) // 2], new_tokens)
        speed.batched_trial(loaded, prompts, new_tokens)
        return {}

    def speed_round(
        self, adapter: str | None, new_tokens: int, batch: int, warm_up: bool
    ) -> dict[str, Any]:
        """One round of the interleaved trials: a single stream and a batch."""
        if warm_up:
            self.warm_up(adapter, new_tokens, batch)
        loaded = self.holdings.model(adapter)
        prompts = self.holdings.speed_prompts(loaded, batch)
        middle = prompts[len(prompts) // 2]
        return {
            "trial": speed.trial(loaded, middle, new_tokens).model_dump(),
            "batched_tokens_per_s": speed.batched_trial(loaded, prompts, new_tokens),
        }

    def question_trials(self, adapter: str | None, new_tokens: int) -> dict[str, Any]:
        """One timed trial a students question."""
        loaded = self.holdings.model(adapter)
        prompts = self.holdings.student_prompts(loaded)
        return {"trials": [speed.trial(loaded, p, new_tokens).model_dump() for p in prompts]}

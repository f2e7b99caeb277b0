"""What all variants of a run share: names resolved to a base, data, a style, a cache."""

from __future__ import annotations

from dataclasses import dataclass

from harness.data.prompts import PromptStyle
from harness.data.records import Dataset
from harness.disk.cache import Cache
from harness.distributed.coordinator import Team
from harness.models.resolve import BaseModel


@dataclass(frozen=True)
class Setting:
    """What all variants of a run share."""

    base: BaseModel
    dataset: Dataset
    dataset_option: str
    style: PromptStyle
    cache: Cache
    trust_remote_code: bool = False
    team: Team | None = None
    """The other ranks, where the command was launched on several."""

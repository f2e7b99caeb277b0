"""How many parameters does the variant train, and what does it weigh on disk?"""

from __future__ import annotations

from harness.pipeline.variant_run import VariantRun
from harness.schema.variant_result import Parameters, Size


def test_parameters(parameters: Parameters) -> None:
    """Shares count logical weights; the packed count stands beside."""
    assert 0 <= parameters.trainable <= parameters.total
    assert parameters.packed_total <= parameters.total


def test_size_on_disk(size: Size, variant: VariantRun) -> None:
    """Base, adapter and fused model."""
    assert size.base_bytes > 0
    assert (size.adapter_bytes > 0) == variant.has_adapter
    if size.fused_bytes is not None and size.fused_by_dtype is not None:
        # The file holds a header too.
        assert 0 < sum(size.fused_by_dtype.values()) <= size.fused_bytes

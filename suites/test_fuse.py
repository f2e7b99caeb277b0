"""Does the adapter survive being fused into the base?"""

from __future__ import annotations

from harness.schema.variant_result import Fuse


def test_fusing_is_measured_in_every_form(fused: Fuse) -> None:
    """Perplexity and answers of adapter, fused and (where it fits) dequantized model."""
    assert fused.adapter is not None
    assert fused.fused is not None
    for form in (fused.adapter, fused.fused, fused.dequantized):
        assert form is None or (form.ppl is not None and form.ppl >= 1.0)
    assert fused.flips is not None
    assert fused.flips.fused is not None
    assert 0 <= fused.flips.fused <= fused.flips.of

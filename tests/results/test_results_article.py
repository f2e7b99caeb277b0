"""The published comparison's numbers and texts."""

from __future__ import annotations

import math

import pytest
from results_sample import memory_run

from harness.compare.quality import compare_sides
from harness.compare.sides import RunVariant
from harness.errors import UserError
from harness.report.article import load_article


def test_the_articles_figures_give_six_point_eight_seven_not_eight() -> None:
    article = load_article()
    assert article.printed_ratios.generation_tokens_per_s == 8.87
    assert round(article.computed_ratios.generation_tokens_per_s, 2) == 6.87
    assert round(article.computed_ratios.prompt_tokens_per_s, 2) == 1.79


def test_the_articles_parameter_shares_follow_from_its_counts() -> None:
    for printed in load_article().printed.values():
        share = 10_000 * printed.trainable_million / printed.total_million
        assert share == pytest.approx(printed.per_ten_thousand, abs=0.005)


def test_the_articles_ppl_is_the_exponential_of_its_loss() -> None:
    for printed in load_article().printed.values():
        assert math.exp(printed.test_loss) == pytest.approx(printed.test_ppl, abs=0.003)


def test_fourteen_texts_are_kept_and_graded_on_our_table() -> None:
    answers = {column.variant: column.result.questions or [] for column in load_article().columns}
    assert {name: len(texts) for name, texts in answers.items()} == {"LoRA": 7, "QLoRA": 7}
    assert {name: sum(answer.correct for answer in texts) for name, texts in answers.items()} == {
        "LoRA": 4,
        "QLoRA": 4,
    }
    stray = answers["QLoRA"][1]
    assert stray.question == "How old is Wang Junjian?"
    assert stray.text.startswith("11 SELECT")
    assert stray.correct  # the stray token is cut off
    assert stray.rows == [[15.0]]


def test_the_article_is_a_run_that_no_run_of_ours_is_comparable_with() -> None:
    article = load_article().columns[0]
    assert article.result.finetune is not None
    assert [point.iteration for point in article.result.finetune.curve] == [
        1, 100, 200, 300, 400, 500, 600
    ]  # fmt: skip
    assert article.result.loss is None
    with pytest.raises(UserError, match=r"dataset\.sha256: .* against"):
        compare_sides(RunVariant(article.run, "LoRA"), RunVariant(memory_run(), "lora"))

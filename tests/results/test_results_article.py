"""The published comparison's numbers and texts."""

from __future__ import annotations

import pytest

from harness.report.article import load_article
from harness.report.article_grades import grade_article


def test_the_articles_figures_give_six_point_eight_seven_not_eight() -> None:
    article = load_article()
    assert article.printed_ratios.generation_tokens_per_s == 8.87
    assert round(article.computed_ratios.generation_tokens_per_s, 2) == 6.87
    assert round(article.computed_ratios.prompt_tokens_per_s, 2) == 1.79


def test_the_articles_parameter_shares_follow_from_its_counts() -> None:
    for column in load_article().variants.values():
        share = 10_000 * column.trainable_million / column.total_million
        assert share == pytest.approx(column.per_ten_thousand, abs=0.005)


def test_the_articles_ppl_is_the_exponential_of_its_loss() -> None:
    import math

    for column in load_article().variants.values():
        assert math.exp(column.test_loss) == pytest.approx(column.test_ppl, abs=0.003)


def test_fourteen_texts_are_kept_and_graded_on_our_table() -> None:
    article = load_article()
    grades = grade_article(article)
    assert sum(len(question.answers) for question in article.questions) == 14
    assert len(grades) == 14
    right = {
        column: [k[0] for k, g in grades.items() if k[2] == column and g.correct]
        for column in article.variants
    }
    assert len(right["LoRA"]) == 4
    assert len(right["QLoRA"]) == 4
    stray = grades[("How old is Wang Junjian?", None, "QLoRA")]
    assert stray.correct  # "11 SELECT …": the stray token is cut off
    assert stray.rows == [[15.0]]

"""The published comparison, kept as data: `fixtures/article.toml`.

Input: the file -> output: :class:`Article`. Its printed ratios stand beside those that its own
fourteen speeds give: mean of QLoRA over mean of LoRA, 1.79 for prompts as printed, and 6.87, not
the printed 8.87, for generation. Grading its fourteen texts is done by ``harness.sql`` in
``grading``.
"""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path

from pydantic import Field

from harness.bundled import FIXTURES
from harness.schema.variant_result import Record

ARTICLE_FILE = FIXTURES / "article.toml"


class Ratios(Record):
    """QLoRA's speed over LoRA's."""

    prompt_tokens_per_s: float = Field(description="Prompt speed ratio.")
    generation_tokens_per_s: float = Field(description="Generation speed ratio.")


class ArticlePoint(Record):
    """One printed row of the loss table."""

    iteration: int = Field(description="Iteration; 1 is after one update.")
    train_loss: float | None = Field(default=None, description="Train loss.")
    val_loss: float | None = Field(default=None, description="Validation loss.")
    tokens_per_s: float | None = Field(default=None, description="Training speed.")


class ArticleVariant(Record):
    """One column of the article."""

    variant_file: str = Field(description="The shipped variant file of this experiment.")
    iterations: int = Field(description="Iterations trained.")
    trainable_million: float = Field(description="Trainable parameters, millions.")
    total_million: float = Field(description="Counted parameters, millions (packed for QLoRA).")
    per_ten_thousand: float = Field(description="Trainable of ten thousand.")
    wall_s: float = Field(description="Wall time of fine-tuning.")
    finetune_memory_g: float = Field(description="Memory while fine-tuning, as printed.")
    evaluate_memory_g: float = Field(description="Memory while evaluating, as printed.")
    fused_g: float = Field(description="Size of the fused model, as printed.")
    test_loss: float = Field(description="Test loss.")
    test_ppl: float = Field(description="Test PPL.")
    curve: list[ArticlePoint] = Field(description="The loss table.")


class ArticleAnswer(Record):
    """One of the fourteen generated texts."""

    text: str = Field(description="The generated text, as printed.")
    hint: str | None = Field(default=None, description="The hint line of its prompt.")
    prompt_tokens_per_s: float = Field(description="Prompt speed.")
    generation_tokens_per_s: float = Field(description="Generation speed.")


class ArticleQuestion(Record):
    """One of the seven questions."""

    title: str = Field(description="The section's heading.")
    question: str = Field(description="The question of the prompt.")
    answers: dict[str, ArticleAnswer] = Field(description="By column, LoRA and QLoRA.")


class Article(Record):
    """The whole published comparison."""

    title: str = Field(description="Title.")
    date: str = Field(description="Day of publication.")
    model: str = Field(description="Base model.")
    machine: str = Field(description="Machine.")
    dataset: str = Field(description="Data.")
    printed_ratios: Ratios = Field(description="The ratios as printed.")
    variants: dict[str, ArticleVariant] = Field(description="LoRA and QLoRA.")
    questions: list[ArticleQuestion] = Field(description="In order.")

    @property
    def computed_ratios(self) -> Ratios:
        """The ratios of the mean speeds over the seven questions."""
        return Ratios(
            prompt_tokens_per_s=self._ratio("prompt_tokens_per_s"),
            generation_tokens_per_s=self._ratio("generation_tokens_per_s"),
        )

    @property
    def caption(self) -> str:
        """What a reader must know before setting these numbers beside others."""
        return f"{self.model}, {self.machine}, {self.date[:4]}"

    def _ratio(self, speed: str) -> float:
        base, other = list(self.variants)
        sums = [
            sum(float(getattr(question.answers[name], speed)) for question in self.questions)
            for name in (base, other)
        ]
        return sums[1] / sums[0]


@cache
def load_article(file: Path = ARTICLE_FILE) -> Article:
    """Read the article's numbers."""
    with file.open("rb") as stream:
        return Article.model_validate(tomllib.load(stream))

"""The stages of an endpoint: answers, asked of it once a command; all else needs its weights.

Answers are not cached: a name and a URL do not show which weights answer today. Those of a run that
was broken off are kept until it is run again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from typing import Any

from harness.data.prompts import STYLES, texts_key
from harness.data.records import Dataset, Example, TextExample
from harness.data.sources.students import load_students
from harness.disk.files import content_key
from harness.endpoint.answers import answer_all
from harness.endpoint.client import Endpoint, Message
from harness.errors import UserError
from harness.options import Options
from harness.pipeline.invocation import Invocation
from harness.pipeline.stages import VariantStages
from harness.protocols import usual_tokens
from harness.runs.run_estimate import Step
from harness.schema.stage_results import ANSWERS, QUESTION_ANSWERS, Answer, Answers, Call
from harness.train.variant import EndpointVariant, Variant

STYLE = STYLES["chat"]
"""How an endpoint is asked about tables, whatever the prompt style of the variants beside it."""


class EndpointStages(VariantStages):
    """A model behind a URL with the stages that it can have."""

    def __init__(self, invocation: Invocation, variant: EndpointVariant) -> None:
        super().__init__(invocation, variant)
        self._limit = most_tokens(invocation.options)
        self._endpoint = invocation.endpoints[variant.name]

    @property
    def without_weights(self) -> str:
        """Why a stage that needs weights is skipped."""
        return f"{self._endpoint.title} has answers alone: its weights are not here"

    def config(self) -> dict[str, Any]:
        """The settings that are stored, with how it was asked."""
        prompt = f"{STYLE.name}@{STYLE.version} sha256:{texts_key(STYLE, self.invocation.dataset)}"
        asked = prompt if self.invocation.dataset.has_tables else "the data's own"
        return {**super().config(), "prompt": asked, "max_tokens": self._limit}

    def answers(self, adapter: object = None) -> Answers:
        """The answers to the test questions."""
        dataset, examples = self.invocation.dataset, self.invocation.examples
        asked = [conversation(example, dataset) for example in examples]
        return self._asked(asked, self.invocation.ids)

    def question_answers(self) -> Answers:
        """The answers to the students questions."""
        texts = [STYLE.prompt(q.question, q.table, q.hint) for q in load_students()]
        return self._asked([_user(text) for text in texts], range(len(texts)))

    def to_come(
        self, wanted: Collection[Call[Any, Any]], ids: Sequence[int], earlier: Sequence[int]
    ) -> list[Step]:
        """The questions to ask."""
        sizes = {ANSWERS: len(self.invocation.examples), QUESTION_ANSWERS: len(load_students())}
        return [self.step("asking", sum(sizes.get(call, 0) for call in wanted))]

    def step(self, kind: str, units: float) -> Step:
        """A part of the run that the service computes."""
        return Step(kind=kind, model=self._endpoint.title, setting=f"{self._limit}", units=units)

    @property
    def _base_key(self) -> list[Any]:
        raise UserError(self.without_weights)

    def _asked(self, asked: Sequence[Sequence[Message]], ids: Sequence[int]) -> Answers:
        endpoint, cache = self._endpoint, self.invocation.cache
        key = content_key("endpoint@1", endpoint.settings.record(), asked, self._limit)
        if (failure := self._failures.get(("generate", key))) is not None:
            raise failure
        if key not in endpoint.answered:
            work = cache.work_folder("generate", key)
            whole, began = not work.exists(), time.monotonic()
            try:
                with cache.lock("generate", key):
                    endpoint.answered[key] = answer_all(
                        endpoint, asked, self._limit, work, self._labelled, self._note
                    )
            except UserError as error:
                self._failures["generate", key] = error
                raise
            cache.clear_work("generate", key)
            step = self.step("asking", len(asked))
            self.invocation.estimate.finished(step, time.monotonic() - began, whole)
        rows = [
            Answer(id=id, text=reply.text, tokens=reply.tokens, finish=reply.finish)
            for id, reply in zip(ids, endpoint.answered[key], strict=True)
        ]
        return Answers(rows=rows, memory=None)


def most_tokens(options: Options) -> int:
    """Most tokens of an endpoint's answer."""
    return options.max_new_tokens or usual_tokens(one_line=False)


def conversation(example: Example, dataset: Dataset) -> list[Message]:
    """What an endpoint is asked: the chat prompt about a table, or the data's own messages."""
    if isinstance(example, TextExample):
        return [*example.messages[:-1]]
    return _user(STYLE.prompt(example.question, dataset.test.tables[example.table_id]))


def _user(text: str) -> list[Message]:
    return [{"role": "user", "content": text}]


def reached(
    variants: Sequence[Variant], dataset: Dataset, notify: Callable[[str], None]
) -> dict[str, Endpoint]:
    """The endpoints among ``variants`` by name, each asked a small question.

    Raises:
        UserError: one does not answer, or the data are whole texts.
    """
    found = {}
    for variant in variants:
        if isinstance(variant, EndpointVariant):
            endpoint = Endpoint(variant.name, variant.endpoint)
            if not dataset.has_answers:
                raise UserError(
                    f"{endpoint.title} cannot be asked: dataset {dataset.name!r} holds whole "
                    "texts, which do not mark where an answer begins. Use data with prompt and "
                    "completion, or with messages."
                )
            endpoint.check()
            notify(f"{endpoint.title} answers")
            found[variant.name] = endpoint
    return found

"""Generation: the stop rule, order and limits by hand; batched equals one at a time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from measure_models import Base, Loaded, llama, rows

from harness.backend import mx, nn
from harness.errors import UserError
from harness.measure.answer_end import closes_query, left_open
from harness.measure.decode import decoder_of
from harness.measure.generate import Generation, GenerationProtocol, generate


class Successor(nn.Module):
    """Answers with the next entry of ``follow`` for any text before: no cache is needed."""

    def __init__(self, follow: dict[int, int]) -> None:
        super().__init__()
        table = [
            [float(follow.get(token, 0) == other) for other in range(258)] for token in range(258)
        ]
        self.table = mx.array(table)
        self.layers: list[Any] = []

    def __call__(self, tokens: Any, cache: Any = None) -> Any:
        return self.table[tokens]


def chain(text: str, end: int) -> dict[int, int]:
    codes = [ord(character) for character in text]
    return dict(zip(codes, [*codes[1:], end], strict=True))


def scripted(tiny: Loaded, follow: dict[int, int]) -> Loaded:
    return Loaded(Successor(follow), tiny.tokenizer, tiny.base)


def test_an_answer_ends_before_the_stop_token(tiny: Loaded) -> None:
    loaded = scripted(tiny, chain("A:MIN x", 257))
    assert generate(loaded, [[ord("A")]]) == [Generation(":MIN x", 7, "stop")]


def test_an_answer_ends_before_the_first_newline(tiny: Loaded) -> None:
    loaded = scripted(tiny, chain("xyz\nq", 257))
    assert generate(loaded, [[ord("x")]]) == [Generation("yz", 3, "newline")]


def test_the_newline_rule_is_a_parameter_of_the_protocol(tiny: Loaded) -> None:
    loaded = scripted(tiny, chain("xyz\nq", 257))
    protocol = GenerationProtocol(stop_at_newline=False)
    assert generate(loaded, [[ord("x")]], protocol) == [Generation("yz\nq", 5, "stop")]


class Script(nn.Module):
    """Writes ``text`` after the prompt ``[1]``, then the stop token."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.codes = [*text.encode(), 257]
        self.written = 0
        self.layers: list[Any] = []

    def __call__(self, tokens: Any, cache: Any = None) -> Any:
        if int(tokens[0, -1]) == 1:
            self.written = 0
        code = self.codes[min(self.written, len(self.codes) - 1)]
        self.written += 1
        row = [float(other == code) for other in range(258)]
        return mx.array([[row] * tokens.shape[1]] * tokens.shape[0])


FENCED = [
    ("```sql\nSELECT a\nFROM t\n```", "\nIt counts."),
    ("Sure, here it is:\n\n```\nselect a\n```", "```more"),
    ("The table:\n```\na, b\n```\nso\n```sql\nSELECT a```", " and on"),
    ("<think>```sql\nSELECT x\n``` no</think>\n```sql\nSELECT a\n```", "\n"),
]


@pytest.mark.parametrize(("answer", "rest"), FENCED)
def test_an_answer_of_several_lines_ends_at_the_fence_that_closes_its_query(
    tiny: Loaded, answer: str, rest: str
) -> None:
    loaded = Loaded(Script(answer + rest), tiny.tokenizer, tiny.base)
    [found] = generate(loaded, [[1]], GenerationProtocol.of(False, None))
    assert (found.text, found.finish) == (answer, "fence")


@pytest.mark.parametrize(
    "answer",
    [
        "SELECT a\nFROM t",
        "```\nno query\n```\nnor here",
        "<think>```sql\nSELECT x\n``` hm",
        "`a` b",
    ],
)
def test_nothing_else_ends_an_answer_of_several_lines(tiny: Loaded, answer: str) -> None:
    loaded = Loaded(Script(answer), tiny.tokenizer, tiny.base)
    [found] = generate(loaded, [[1]], GenerationProtocol.of(False, None))
    assert (found.text, found.finish) == (answer, "stop")


def test_a_fence_or_a_reasoning_block_that_the_prompt_opened_counts_as_open() -> None:
    assert closes_query(left_open("Q: a\n```sql\n") + "SELECT a\n```")
    assert not closes_query(left_open("```\nSELECT b\n```\nA:") + "SELECT a\n```")
    assert not closes_query(left_open("<|im_start|>a\n<think>\n") + "```\nSELECT a\n```")
    done = "```\nSELECT a\n```</think>```\nSELECT a\n```"
    assert closes_query(left_open("<|im_start|>a\n<think>\n") + done)


@pytest.mark.parametrize(
    "plan",
    [
        "```text\nselect Player from it\n```",
        "```\n1. select the column\n2. from it\n```",
        "```\nselect the player\n```",
        "```plan\nSELECT a, FROM b\n```",
        "<scratchpad>```sql\nSELECT a\n```",
        "<|begin_of_thought|>```sql\nSELECT a\n```",
        "<|channel|>analysis<|message|>```sql\nSELECT a\n```",
    ],
)
def test_what_ends_an_answer_is_a_query_and_not_a_plan_that_names_one(plan: str) -> None:
    assert not closes_query(plan)
    closed = "</scratchpad><|end_of_thought|><|channel|>final<|message|>"
    assert closes_query(f"{plan}{closed}\n```sql\nSELECT a FROM b\n```")


def test_a_fence_with_a_query_in_quotes_ends_an_answer() -> None:
    assert closes_query('```json\n{"sql": "SELECT a FROM b"}\n```')
    assert closes_query('```python\nrun("SELECT a FROM b")\n```')


def test_a_prompt_that_mentions_a_block_opens_none() -> None:
    for prompt in ("Think in <think> tags.\nQ: a\nA:", "In ``` fences: Q: a\n", "[THINK] x"):
        assert closes_query(left_open(prompt) + "```\nSELECT a\n```"), prompt
    for prompt in ("Q: a\n<reasoning>\n", "Q\n<|channel|>analysis<|message|>", "Q\n[THINK]"):
        assert not closes_query(left_open(prompt) + "```\nSELECT a\n```"), prompt


def test_the_limits_are_those_of_the_style_or_the_option() -> None:
    limits = {
        (one_line, given): GenerationProtocol.of(one_line, given).max_new_tokens
        for one_line in (True, False)
        for given in (None, 700)
    }
    assert list(limits.values()) == [128, 700, 256, 700]


def test_an_answer_without_an_end_is_cut_at_the_limit(tiny: Loaded) -> None:
    loaded = scripted(tiny, {ord("a"): ord("b"), ord("b"): ord("a")})
    [found] = generate(loaded, [[ord("a")]], GenerationProtocol(max_new_tokens=5))
    assert found == Generation("babab", 5, "length")


def test_rows_that_end_at_different_steps_keep_their_own_answers(tiny: Loaded) -> None:
    loaded = scripted(tiny, chain("abcdefgh", 257))
    prompts = [[ord(character)] for character in "gachb"]
    texts = [found.text for found in generate(loaded, prompts)]
    assert texts == ["h", "bcdefgh", "defgh", "", "cdefgh"]


def test_spaces_before_punctuation_survive_decoding(tiny: Loaded) -> None:
    text = "st. john 's ,x . !"
    tokens = [ord(character) for character in text]
    assert tiny.tokenizer.decode(tokens, clean_up_tokenization_spaces=False) == text


def test_a_prompt_longer_than_the_context_is_refused_before_any_is_answered(tiny: Loaded) -> None:
    short = Loaded(tiny.model, tiny.tokenizer, Base({"max_position_embeddings": 8}))
    with pytest.raises(UserError, match="prompt 1 has 8 tokens, but the model's context is 8"):
        generate(short, [[65], [65] * 8])
    with pytest.raises(UserError, match="prompt 0 has no tokens"):
        generate(short, [[]])


def test_the_context_limits_the_answer(tiny: Loaded) -> None:
    loaded = replace(scripted(tiny, {97: 97}), base=Base({"max_position_embeddings": 8}))
    assert generate(loaded, [[97] * 6])[0] == Generation("aa", 2, "length")


def test_no_prompts_give_no_answers(tiny: Loaded) -> None:
    assert generate(tiny, []) == []


def prompts_of(count: int, seed: int = 0) -> list[list[int]]:
    return [list(row.tokens[:-1]) for row in rows(count, seed=seed, high=60)]


def test_batched_greedy_equals_mlx_lm_one_at_a_time(tiny: Loaded) -> None:
    from mlx_lm.generate import generate_step

    prompts = prompts_of(10)
    protocol = GenerationProtocol(max_new_tokens=8, stop_at_newline=False)
    for prompt, found in zip(prompts, generate(tiny, prompts, protocol), strict=True):
        tokens = []
        for token, _ in generate_step(mx.array(prompt), tiny.model, max_tokens=8):
            if token in tiny.tokenizer.eos_token_ids:
                break
            tokens.append(token)
        assert found.text == tiny.tokenizer.decode(tokens)


@pytest.mark.parametrize("batch_size", [1, 3])
def test_answers_do_not_depend_on_the_batch(tiny: Loaded, batch_size: int) -> None:
    prompts = prompts_of(10, seed=1)
    protocol = GenerationProtocol(max_new_tokens=10)
    assert generate(tiny, prompts, replace(protocol, batch_size=batch_size)) == generate(
        tiny, prompts, protocol
    )


def test_sliding_window_attention_decodes_in_batches_too(tiny: Loaded) -> None:
    model = llama(
        vocab_size=258, layer_types=["sliding_attention", "full_attention"], sliding_window=16
    )
    loaded = Loaded(model, tiny.tokenizer, tiny.base)
    protocol = GenerationProtocol(max_new_tokens=20)
    prompts = prompts_of(8)
    assert generate(loaded, prompts, protocol) == generate(
        loaded, prompts, replace(protocol, batch_size=1)
    )


def test_an_architecture_without_batched_caches_answers_one_at_a_time(tiny: Loaded) -> None:
    from mlx_lm.models.cache import ConcatenateKVCache

    class Unbatched(type(llama())):  # type: ignore[misc]
        def make_cache(self) -> list[Any]:
            return [ConcatenateKVCache() for _ in self.layers]

    plain = llama(seed=5, vocab_size=258)
    unbatched = Unbatched(plain.args)
    unbatched.update(plain.parameters())
    protocol = GenerationProtocol(max_new_tokens=6)
    prompts = prompts_of(4)
    assert generate(Loaded(unbatched, tiny.tokenizer, tiny.base), prompts, protocol) == generate(
        Loaded(plain, tiny.tokenizer, tiny.base), prompts, protocol
    )
    with pytest.raises(UserError, match="several prompts at once"):
        decoder_of(unbatched, prompts)
    assert len(decoder_of(unbatched, prompts[:1]).step()) == 1


def test_prompt_positions_get_no_vocabulary_logits() -> None:
    model = llama(vocab_size=60_000)
    active = mx.get_active_memory()
    mx.reset_peak_memory()
    decoder_of(model, [[1] * 101] * 8).step()
    assert mx.get_peak_memory() - active < 8 * 100 * 60_000 * 4 / 4


def test_generation_leaves_the_mode_as_found(tiny: Loaded) -> None:
    tiny.model.train()
    generate(tiny, [[65]], GenerationProtocol(max_new_tokens=1))
    assert tiny.model.training
    tiny.model.eval()


def test_progress_counts_answers(tiny: Loaded) -> None:
    seen: list[tuple[str, float, float]] = []
    generate(
        tiny,
        prompts_of(5),
        GenerationProtocol(max_new_tokens=2, batch_size=2),
        lambda *event: seen.append(event),
    )
    assert seen[-1] == ("generate", 5, 5)

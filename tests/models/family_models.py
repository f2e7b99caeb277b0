"""Random tiny models of many families, each a folder that mlx-lm loads, and their tokenizers.

Configuration -> config.json, safetensors as the architecture itself initialises them, and a
tokenizer of the family's kind trained here on a few sentences: byte-level BPE, or SentencePiece
(as `tokenizer.json` with byte fallback, or as `tokenizer.model` alone). Their answers mean nothing.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import harness.backend  # noqa: F401  (the BLAS before mlx)

TEXTS = [
    'table: 1-10-2\ncolumns: Player, No., Team\nQ: What is the "No." of José?\nA: SELECT No.',
    "SELECT COUNT Player FROM 1-10-2 WHERE Team = 'Reds' AND No. > 12",
    "How many points did the team score in the year 1999-2000?",
]

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
TURNS = (
    "{{ bos_token }}{% for m in messages %}{{ '<start_of_turn>' + ('model' if m.role == "
    "'assistant' else m.role) + '\n' + m.content + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
INST = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}{{ '[INST] ' + m.content + "
    "' [/INST]' }}{% else %}{{ ' ' + m.content + eos_token }}{% endif %}{% endfor %}"
)


@dataclass(frozen=True)
class Family:
    """One architecture in small."""

    name: str
    config: dict[str, Any]
    tokenizer: Callable[[Path], dict[str, Any]]
    """Writes the tokenizer's files; the configuration's fields about special tokens."""
    note: str = ""
    """What of it is unlike the others."""

    def write(self, folder: Path, seed: int = 0) -> Path:
        """The model's folder."""
        from mlx.utils import tree_flatten
        from mlx_lm.utils import _get_classes

        from harness.backend import mx

        folder.mkdir(parents=True, exist_ok=True)
        config = {**_SHARED, **self.config, **self.tokenizer(folder)}
        if "text_config" in config:
            config["text_config"] = {**_SHARED, **config["text_config"]}
            config["text_config"]["vocab_size"] = config["vocab_size"]
        (folder / "config.json").write_text(json.dumps(config))
        model_class, args_class = _get_classes(config)
        mx.random.seed(seed)
        model = model_class(args_class.from_dict(config))
        weights = dict(tree_flatten(model.parameters()))
        mx.save_safetensors(str(folder / "model.safetensors"), weights, {"format": "mlx"})
        return folder


def byte_level(
    specials: tuple[str, ...] = ("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
    bos: str | None = None,
    eos: str = "<|im_end|>",
    template: str = CHATML,
) -> Callable[[Path], dict[str, Any]]:
    """A byte-level BPE as of GPT-2, Llama 3 and Qwen: no BOS unless named."""

    def write(folder: Path) -> dict[str, Any]:
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=330,
            special_tokens=list(specials),
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        tokenizer.train_from_iterator(TEXTS, trainer)
        if bos is not None:
            tokenizer.post_processor = processors.TemplateProcessing(
                single=f"{bos} $A", special_tokens=[(bos, tokenizer.token_to_id(bos))]
            )
        return _save(folder, tokenizer, bos, eos, template)

    return write


def sentencepiece_json(
    template: str = INST, specials: tuple[str, ...] = (), eos: str = "</s>", prefix: bool = True
) -> Callable[[Path], dict[str, Any]]:
    """Llama's and Gemma's SentencePiece BPE in `tokenizer.json`: byte fallback, BOS first.

    ``prefix``: whether a space is put before the text, as Llama's and Mistral's do.
    """

    def write(folder: Path) -> dict[str, Any]:
        from tokenizers import (
            Tokenizer,
            decoders,
            models,
            normalizers,
            pre_tokenizers,
            processors,
            trainers,
        )

        tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
        # While training only: SentencePiece never merges across the start of a word.
        tokenizer.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
        steps = [normalizers.Prepend("▁")] if prefix else []
        tokenizer.normalizer = normalizers.Sequence([*steps, normalizers.Replace(" ", "▁")])
        stripped = [decoders.Strip(" ", 1, 0)] if prefix else []
        tokenizer.decoder = decoders.Sequence(
            [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), *stripped]
        )
        special = ["<unk>", "<s>", "</s>", *specials]
        letters = [f"<0x{byte:02X}>" for byte in range(256)]
        trainer = trainers.BpeTrainer(
            vocab_size=420, special_tokens=special + letters, show_progress=False
        )
        tokenizer.train_from_iterator(TEXTS, trainer)
        # The 256 bytes are ordinary tokens; training makes special ones of them.
        raw = json.loads(tokenizer.to_str()) | {"pre_tokenizer": None}
        raw["added_tokens"] = [t for t in raw["added_tokens"] if t["content"] in special]
        tokenizer = Tokenizer.from_str(json.dumps(raw))
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<s> $A", special_tokens=[("<s>", tokenizer.token_to_id("<s>"))]
        )
        return _save(folder, tokenizer, "<s>", eos, template)

    return write


def sentencepiece_model(folder: Path) -> dict[str, Any]:
    """Google's own format, `tokenizer.model` and no `tokenizer.json`, as older models ship."""
    import sentencepiece

    made = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS),
        model_writer=made,
        model_type="bpe",
        vocab_size=340,
        byte_fallback=True,
        hard_vocab_limit=False,
        bos_id=1,
        eos_id=2,
        minloglevel=2,
    )
    (folder / "tokenizer.model").write_bytes(made.getvalue())
    settings = {
        "tokenizer_class": "LlamaTokenizer",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "add_bos_token": True,
        "add_eos_token": False,
        "legacy": True,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    processor = sentencepiece.SentencePieceProcessor(model_proto=made.getvalue())
    return {"vocab_size": processor.get_piece_size(), "bos_token_id": 1, "eos_token_id": 2}


def _save(folder: Path, tokenizer: Any, bos: str | None, eos: str, template: str) -> dict[str, Any]:
    tokenizer.save(str(folder / "tokenizer.json"))
    settings: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": eos,
        "chat_template": template,
        "clean_up_tokenization_spaces": False,
    }
    choices = {
        "vocab_size": tokenizer.get_vocab_size(),
        "eos_token_id": tokenizer.token_to_id(eos),
    }
    if bos is not None:
        settings["bos_token"] = bos
        choices["bos_token_id"] = tokenizer.token_to_id(bos)
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return choices


_SHARED = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "rms_norm_eps": 1e-5,
    "layer_norm_eps": 1e-5,
    "max_position_embeddings": 512,
    "rope_theta": 10000.0,
    "hidden_act": "silu",
    "attention_bias": False,
    "mlp_bias": False,
}

_GEMMA = sentencepiece_json(
    TURNS, ("<start_of_turn>", "<end_of_turn>"), eos="<end_of_turn>", prefix=False
)
_LLAMA3 = byte_level(("<|begin_of_text|>", "<|im_start|>", "<|im_end|>"), bos="<|begin_of_text|>")

FAMILIES = [
    Family(
        "mistral",
        {"model_type": "mistral", "tie_word_embeddings": False},
        sentencepiece_json(),
        "untied output, SentencePiece in tokenizer.json",
    ),
    Family(
        "llama-spm",
        {"model_type": "llama", "tie_word_embeddings": False},
        sentencepiece_model,
        "SentencePiece as tokenizer.model alone",
    ),
    Family(
        "llama3",
        {"model_type": "llama", "tie_word_embeddings": True},
        _LLAMA3,
        "tied output, byte-level with BOS",
    ),
    Family(
        "ministral3",
        {
            "model_type": "ministral3",
            "tie_word_embeddings": False,
            "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
            "sliding_window": 24,
            "rope_parameters": {
                "rope_theta": 10000.0,
                "rope_type": "default",
                "llama_4_scaling_beta": 0.1,
                "original_max_position_embeddings": 512,
            },
        },
        sentencepiece_json(),
        "sliding window",
    ),
    Family(
        "qwen3",
        {"model_type": "qwen3", "tie_word_embeddings": True},
        byte_level(),
        "normed queries and keys, byte-level without BOS",
    ),
    Family(
        "gemma3",
        {
            "model_type": "gemma3_text",
            "query_pre_attn_scalar": 16,
            "sliding_window": 24,
            "sliding_window_pattern": 3,
            "rope_local_base_freq": 10000.0,
            "rope_traditional": False,
        },
        _GEMMA,
        "sliding window, scaled embedding, SentencePiece without a first space",
    ),
    Family(
        "phi3",
        {"model_type": "phi3", "tie_word_embeddings": False, "rope_scaling": None},
        sentencepiece_json(CHATML, ("<|im_start|>", "<|im_end|>"), eos="<|im_end|>"),
        "queries, keys and values in one matrix, gate and up in one",
    ),
]

OTHERS = [
    Family("qwen2", {"model_type": "qwen2", "tie_word_embeddings": True}, byte_level()),
    Family(
        "gemma2",
        {
            "model_type": "gemma2",
            "query_pre_attn_scalar": 16,
            "attn_logit_softcapping": 50.0,
            "final_logit_softcapping": 30.0,
        },
        _GEMMA,
        "logits capped; mlx-lm cannot decode it in batches",
    ),
    Family(
        "gemma3-vision",
        {
            "model_type": "gemma3",
            "text_config": {
                "model_type": "gemma3_text",
                "query_pre_attn_scalar": 16,
                "sliding_window": 24,
                "sliding_window_pattern": 3,
            },
        },
        _GEMMA,
        "the language model of a model with more than text",
    ),
    Family(
        "mixtral",
        {"model_type": "mixtral", "num_local_experts": 4, "num_experts_per_tok": 2},
        sentencepiece_json(),
        "experts",
    ),
    Family(
        "granite",
        {
            "model_type": "granite",
            "logits_scaling": 4.0,
            "attention_multiplier": 0.25,
            "embedding_multiplier": 2.0,
            "residual_multiplier": 0.5,
            "tie_word_embeddings": True,
        },
        byte_level(),
        "logits scaled",
    ),
    Family(
        "phi",
        {"model_type": "phi", "partial_rotary_factor": 0.5},
        byte_level(),
        "attention beside the feed-forward, biases; a backbone that insists on a cache",
    ),
    Family("starcoder2", {"model_type": "starcoder2"}, byte_level(), "biases, layer norm"),
    Family(
        "gpt2",
        {
            "model_type": "gpt2",
            "n_ctx": 512,
            "n_embd": 64,
            "n_head": 4,
            "n_layer": 3,
            "n_positions": 512,
            "layer_norm_epsilon": 1e-5,
            "num_key_value_heads": None,
        },
        byte_level(),
        "learned positions, other names for everything",
    ),
    Family(
        "olmo2",
        {"model_type": "olmo2", "tie_word_embeddings": False},
        byte_level(),
        "norms after the blocks",
    ),
    Family(
        "cohere2",
        {
            "model_type": "cohere2",
            "layer_norm_bias": False,
            "sliding_window": 24,
            "sliding_window_pattern": 3,
            "logit_scale": 0.0625,
        },
        byte_level(),
        "sliding window, logits scaled, one norm a block",
    ),
    Family(
        "mamba",
        {
            "model_type": "mamba",
            "use_bias": False,
            "use_conv_bias": True,
            "conv_kernel": 4,
            "state_size": 8,
            "time_step_rank": 8,
        },
        byte_level(),
        "no attention at all",
    ),
    Family(
        "lfm2",
        {
            "model_type": "lfm2",
            "norm_eps": 1e-5,
            "full_attn_idxs": [1],
            "block_dim": 64,
            "block_ff_dim": 128,
            "block_multiple_of": 16,
            "block_ffn_dim_multiplier": 1.0,
            "block_auto_adjust_ff_dim": False,
            "conv_bias": False,
            "conv_L_cache": 3,
        },
        byte_level(),
        "convolutions beside attention",
    ),
]
"""More layouts, tested only when there is time (`make test-all`)."""

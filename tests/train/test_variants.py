"""Variant files: shipped ones, users' ones, overrides and every refusal."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from harness.disk.files import sha256_file
from harness.errors import UserError
from harness.models.quantize import QuantizeSpec
from harness.runs.file_names import check_file_names
from harness.train.variant import Variant
from harness.train.variants import (
    FOLDER,
    check_against,
    load_variants,
    named_by_all_alone,
    named_in_files,
    shipped,
)

SHIPPED = [
    *("article/lora", "article/qlora", "base", "dora", "full"),
    *("lora", "qlora", "qlora-8bit", "qlora-source"),
]


def one(name: str | Path, **overrides: str) -> Variant:
    (variant,) = load_variants([str(name)], {k.replace("__", "."): v for k, v in overrides.items()})
    return variant


def message(name: str | Path, **overrides: str) -> str:
    with pytest.raises(UserError) as caught:
        one(name, **overrides)
    return str(caught.value)


def written(folder: Path, text: str, name: str = "mine.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_shipped_variants_are_those_of_the_design() -> None:
    assert shipped() == SHIPPED
    assert [variant.name for variant in load_variants(["all"])] == SHIPPED


def test_what_is_named_beside_all_is_named_by_itself() -> None:
    assert named_by_all_alone(["lora,qlora"]) == set()
    assert named_by_all_alone(["full", "lora, all"]) == {*SHIPPED} - {"full", "lora"}


def test_quantize_is_source_or_a_specification() -> None:
    assert one("lora", quantize="source").keeps_source
    assert one("qlora-source").config()["quantize"] == "source"
    assert message("lora", quantize="sources") == (
        f"variant 'lora' ({FOLDER / 'lora.yaml'}): quantize='sources': must be source, or a "
        "mapping with bits."
    )
    assert "full cannot be combined with quantize" in message("full", quantize="source")


def test_comma_lists_and_repeats_give_each_variant_once_in_order() -> None:
    names = [v.name for v in load_variants(["qlora,lora", "lora", "article/lora"])]
    assert names == ["qlora", "lora", "article/lora"]


def test_article_variants_are_the_published_experiment() -> None:
    for name in ("article/lora", "article/qlora"):
        variant = one(name)
        assert (variant.lora_parameters.rank, variant.lora_parameters.scale) == (8, 20.0)
        assert variant.lora_parameters.keys == ("self_attn.q_proj", "self_attn.v_proj")
        assert (variant.num_layers, variant.iters, variant.batch_size) == (16, 600, 4)
        assert variant.learning_rate == 1e-5
    assert one("article/lora").quantize is None
    spec = one("article/qlora").quantize
    assert isinstance(spec, QuantizeSpec)
    assert (spec.bits, spec.group_size, spec.embeddings) == (4, 64, False)
    assert one("article/lora").file_name == "article__lora"


def test_shipped_methods_and_widths() -> None:
    found = {
        v.name: (v.fine_tune_type, getattr(v.quantize, "bits", v.quantize))
        for v in load_variants(["all"])
    }
    assert found["base"] == ("base", None)
    assert found["qlora"] == ("lora", 4)
    assert found["qlora-8bit"] == ("lora", 8)
    assert found["qlora-source"] == ("lora", "source")
    assert found["dora"] == ("dora", None)
    assert found["full"] == ("full", None)


def test_a_yaml_of_the_user_is_named_by_its_stem_and_reads_mlx_lm_numbers(tmp_path: Path) -> None:
    path = written(tmp_path, "fine_tune_type: lora\nlearning_rate: 1e-5\niters: 7\n")
    variant = one(path)
    assert (variant.name, variant.learning_rate, variant.iters) == ("mine", 1e-5, 7)


def test_what_a_file_leaves_out_is_mlx_lms_own_default_and_listed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from mlx_lm.lora import CONFIG_DEFAULTS

    path = written(tmp_path, "lora_parameters: {rank: 4}\niters: 7\n")
    config = one(path).mlx_lm_config()
    (said,) = capsys.readouterr().err.splitlines()
    named = {"iters": 7, "lora_parameters": {"rank": 4, "dropout": 0.0, "scale": 20.0}}
    options = {"optimizer_config": {"adam": {}}}
    decides = {key: CONFIG_DEFAULTS[key] for key in config}
    assert config == decides | named | options
    assert said.startswith("tunebench: mine.yaml leaves to mlx-lm's defaults: batch_size=4, ")
    assert "lora_parameters.scale=20.0" in said
    assert "learning_rate=1e-05" in said
    assert "iters=" not in said
    assert "rank=" not in said
    one("lora")
    assert capsys.readouterr().err == ""


def test_the_model_and_data_of_files_are_found(tmp_path: Path) -> None:
    files = [str(written(tmp_path, f"model: {name}\n", f"{name}.yaml")) for name in ("a", "b")]
    assert named_in_files([*files, "lora"], "model") == dict(zip(files, "ab", strict=True))
    assert named_in_files(files, "data") == {}


def test_command_line_wins_over_file_over_default(tmp_path: Path) -> None:
    path = written(tmp_path, "iters: 7\nlora_parameters: {rank: 4}\n")
    variant = one(path, iters="9", lora_parameters__scale="1e1")
    assert variant.iters == 9
    assert (variant.lora_parameters.rank, variant.lora_parameters.scale) == (4, 10.0)
    assert variant.batch_size == 4


def test_seed_option_wins_over_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, "seed: 5\n")
    assert load_variants([str(path)])[0].seed == 5
    assert load_variants([str(path)], seed=2)[0].seed == 2


def test_overrides_are_typed_by_yaml() -> None:
    assert one("lora", mask_prompt="true").mask_prompt is True
    assert one("qlora", quantize="null").quantize is None
    assert one("lora", lora_parameters__keys="[self_attn.q_proj]").lora_parameters.keys == (
        "self_attn.q_proj",
    )
    assert one("lora", optimizer="adamw", optimizer_config__adamw__weight_decay="0.1")


def test_unknown_variant_names_the_nearest_first() -> None:
    error = message("qlroa")
    assert "unknown variant 'qlroa'" in error
    assert error.index("'qlora'") < error.index("Allowed")
    assert "Did you mean 'lora'?" in message("LORA")


def test_unknown_keys_name_the_nearest_first(tmp_path: Path) -> None:
    error = message(written(tmp_path, "lerning_rate: 1\nlora_parameters: {rnk: 3}\n"))
    assert "'lerning_rate'. Did you mean 'learning_rate'?" in error
    assert "'rnk'. Did you mean 'rank'?" in error
    assert "'lora_parameters.rank'?" in message("lora", lora_parameters__rnk="3")


def test_every_mistake_of_a_file_is_reported_at_once(tmp_path: Path) -> None:
    error = message(
        written(tmp_path, "iters: 0\nbatch_size: x\nlearning_rate: -1\noptimizer: adm\n")
    )
    for key in ("iters=0", "batch_size='x'", "learning_rate=-1", "optimizer='adm'"):
        assert key in error


def test_alpha_is_refused_with_what_to_write() -> None:
    assert "'lora_parameters.alpha'" in message("lora", lora_parameters__alpha="16")


def test_alpha_in_a_file_is_named_as_scale(tmp_path: Path) -> None:
    error = message(written(tmp_path, "lora_parameters: {rank: 8, alpha: 16}\n"))
    assert "write scale" in error


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("lora_layers: 8", "lora_layers: mlx-lm calls it num_layers since 0.19"),
        ("fine_tune_type: qlora", "Write fine_tune_type: lora and quantize: {bits: 4}"),
        ("grad_accumulation_steps: 8", "make no update of grad_accumulation_steps=8, so nothing"),
    ],
)
def test_what_other_tools_call_otherwise_and_what_trains_nothing_is_refused(
    line: str, said: str, tmp_path: Path
) -> None:
    (tmp_path / "mine.yaml").write_text(f"iters: 4\n{line}\n")
    with pytest.raises(UserError) as caught:
        load_variants([str(tmp_path / "mine.yaml")])
    assert said in str(caught.value)


def test_iterations_after_the_last_update_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.yaml").write_text("iters: 10\ngrad_accumulation_steps: 4\n")
    load_variants([str(tmp_path / "mine.yaml")])
    assert "mine: the last 2 of 10 iterations change nothing" in capsys.readouterr().err


def test_quantized_full_is_refused() -> None:
    assert "no gradient" in message("full", quantize__bits="4")


def test_dora_on_an_odd_width_is_refused() -> None:
    assert "3-bit" in message("dora", quantize__bits="3")
    assert one("dora", quantize__bits="4").quantize is not None


def test_zero_layers_is_refused_because_mlx_lm_reads_it_as_all() -> None:
    assert "-1 for all" in message("lora", num_layers="0")
    assert one("lora", num_layers="-1").num_layers == -1


def test_ignored_keys_are_named_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a = written(tmp_path, "model: x\ntrain: true\ntest: true\n", "a.yaml")
    b = written(tmp_path, "data: y\ntrain: true\n", "b.yaml")
    load_variants([str(a), str(b)])
    error = capsys.readouterr().err
    assert "ignored in variant files: test (a.yaml), train (a.yaml)\n" in error
    assert "model" not in error
    assert "train (a.yaml)" in error


def test_ignored_keys_cannot_be_set_and_say_what_to_use() -> None:
    assert "--model" in message("lora", model="x")


def test_colliding_stems_are_refused(tmp_path: Path) -> None:
    assert "shipped" in message(written(tmp_path, "iters: 1\n", "lora.yaml"))
    (tmp_path / "b").mkdir()
    first = written(tmp_path, "iters: 1\n", "x.yaml")
    second = written(tmp_path / "b", "iters: 1\n", "x.yaml")
    with pytest.raises(UserError, match="two variants are named 'x'"):
        load_variants([f"{first},{second}"])


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("- a\n- b\n", "mapping"),
        ("a: [1\n", "not YAML"),
        ("", "mapping"),
        ("iters: 1\niters: 2\n", "written twice"),
        ("name: x\n", "set by tunebench"),
    ],
)
def test_damaged_files_are_refused(tmp_path: Path, text: str, error: str) -> None:
    assert error in message(written(tmp_path, text))


def test_a_missing_file_lists_the_shipped_ones(tmp_path: Path) -> None:
    assert "qlora-8bit" in message(tmp_path / "absent.yaml")


def test_resume_adapter_file_is_hashed_and_must_be_safetensors(tmp_path: Path) -> None:
    weights = tmp_path / "a.safetensors"
    weights.write_bytes(b"weights")
    variant = one(written(tmp_path, "resume_adapter_file: a.safetensors\n"))
    assert variant.resume_adapter_sha256 == sha256_file(weights)
    assert "resume_adapter_file" not in variant.training_config()
    (tmp_path / "a.npz").write_bytes(b"x")
    assert "only .safetensors" in message(
        written(tmp_path, "resume_adapter_file: a.npz\n", "n.yaml")
    )
    assert "does not exist" in message(
        written(tmp_path, "resume_adapter_file: gone.safetensors\n", "g.yaml")
    )


def test_more_layers_than_the_model_has_is_refused() -> None:
    with pytest.raises(UserError, match=r"num_layers=16, but the model has 4 layers"):
        check_against(one("lora"), {"num_hidden_layers": 4})
    check_against(one("base"), {"num_hidden_layers": 4})
    check_against(one("lora", num_layers="-1"), {"num_hidden_layers": 4})
    with pytest.raises(UserError, match="4 layers"):
        check_against(one("lora"), {"text_config": {"num_hidden_layers": 4}})


def test_a_base_that_is_quantized_already_takes_no_full_and_no_odd_dora() -> None:
    config = {"num_hidden_layers": 30, "quantization": {"bits": 3, "group_size": 64}}
    with pytest.raises(UserError, match="no gradient"):
        check_against(one("full"), config)
    with pytest.raises(UserError, match="3-bit"):
        check_against(one("dora"), config)
    check_against(one("lora"), config)


def test_training_config_leaves_out_what_does_not_change_the_weights(tmp_path: Path) -> None:
    a = one(written(tmp_path, "iters: 3\ndescription: one\n", "a.yaml"))
    b = one(written(tmp_path, "iters: 3\ntest_batches: 2\n", "b.yaml"))
    assert a.training_config() == b.training_config()
    assert a.config() != b.config()


def test_sizes_are_read_as_mlx_lm_reads_them() -> None:
    assert one("lora", clear_cache_threshold="8GB").clear_cache_threshold == 8 * 10**9
    assert "clear_cache_threshold='much'" in message("lora", clear_cache_threshold="much")


def laughs(tail: str) -> str:
    """Billion laughs (a list of lists of ten, ten levels deep) with one use behind it."""
    levels = ["a: &a [lol,lol,lol,lol,lol,lol,lol,lol,lol]"]
    for before, name in zip("abcdefghi", "bcdefghij", strict=True):
        levels.append(f"{name}: &{name} [{','.join([f'*{before}'] * 9)}]")
    return "\n".join([*levels, tail, ""])


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (laughs("description: *j"), "more than 10,000 values"),
        (laughs("optimizer_config: {adam: {eps: *j}}"), "more than 10,000 values"),
        ("description: &a [*a]\n", "more than 10,000 values"),
        ("".join(f"key{n}: 1\n" for n in range(20_000)), "more than 50,000 bytes"),
        ("".join(f"key{n}: 1\n" for n in range(4_000)), "; and 3990 more."),
        (f"validate_at: [{'1,' * 12_000}]", "more than 10,000 values"),
        ("[" * 5_000, "is not YAML"),
        (f"iters: {'9' * 5_000}\n", "is not YAML"),
        (f"iters: {'9' * 4_000}\n", "iters="),
        ("lora_parameters: {rank: 1e30}\n", "lora_parameters.rank=1e+30"),
        ("lora_parameters: {rank: 1e12}\n", "less than or equal to"),
        ("clear_cache_threshold: 1e999G\n", "clear_cache_threshold='1e999G': must be bytes"),
        ("clear_cache_threshold: infG\n", "must be bytes"),
        ("clear_cache_threshold: 1e30G\n", "must be bytes"),
        ("optimizer_config: {adam: {eps: x}}\n", "adam.eps must be a number"),
        ("optimizer_config: {adam: {eps: .nan}}\n", "adam.eps must be a number"),
        ("optimizer_config: {adam: {betas: [1]}}\n", "adam.betas must be a list of two numbers"),
        ("optimizer_config: {muon: {nesterov: 1}}\n", "muon.nesterov must be true or false"),
        ("optimizer_config: {muon: {ns_steps: 0.5}}\n", "ns_steps must be a whole number"),
        ('description: ["\\e]0;title\\a\\u2028"]\n', "description=['\\x1b]0;title\\x07\\u2028']"),
    ],
    ids=lambda value: value[:40],
)
def test_bombs_and_values_that_nothing_can_hold_end_with_a_message(
    tmp_path: Path, text: str, error: str
) -> None:
    found = message(written(tmp_path, text))
    assert error in found
    assert len(found) < 5_000


@pytest.mark.slow
def test_bombs_on_the_command_line_end_with_a_message() -> None:
    assert "not a YAML value" in message("lora", iters="9" * 5_000)
    assert "not a YAML value" in message("lora", iters="[" * 5_000)


def test_a_name_holds_no_control_characters(tmp_path: Path) -> None:
    assert "holds control characters" in message(written(tmp_path, "iters: 4\n", "a\x1b[2J.yaml"))


# --- sweeps -----------------------------------------------------------------------------------


def swept(names: str, **sweeps: str) -> list[Variant]:
    return load_variants([names], sweeps={k.replace("__", "."): v for k, v in sweeps.items()})


def sweep_message(names: str, **sweeps: str) -> str:
    with pytest.raises(UserError) as caught:
        swept(names, **sweeps)
    return str(caught.value)


def test_a_sweep_makes_a_variant_of_each_value_named_by_it() -> None:
    found = swept("lora", lora_parameters__rank="4, 8")
    assert [(v.name, v.lora_parameters.rank) for v in found] == [
        ("lora-rank4", 4),
        ("lora-rank8", 8),
    ]
    assert [v.swept for v in found] == [{"lora_parameters.rank": 4}, {"lora_parameters.rank": 8}]
    # What the value is is all that tells it from the variant of that rank by --set.
    alone = one("lora", lora_parameters__rank="4")
    assert found[0].training_config() == alone.training_config()


def test_several_sweeps_make_every_combination() -> None:
    found = swept("qlora", quantize__bits="4,8", learning_rate="1e-5,0.001")
    assert [v.name for v in found] == [
        *("qlora-bits4-learning_rate1e-5", "qlora-bits4-learning_rate0.001"),
        *("qlora-bits8-learning_rate1e-5", "qlora-bits8-learning_rate0.001"),
    ]


def test_a_sweep_leaves_variants_that_it_does_not_concern_as_they_are() -> None:
    names = [v.name for v in swept("base,full,lora", lora_parameters__rank="4,8")]
    assert names == ["base", "full", "lora-rank4", "lora-rank8"]
    found = swept("base,lora", lora_parameters__rank="4", quantize__bits="8")
    assert [v.name for v in found] == ["base-bits8", "lora-rank4-bits8"]
    assert sweep_message("base,full", lora_parameters__rank="4,8") == (
        "--sweep lora_parameters.rank changes nothing of the variants named (base, full). Name one "
        "that it concerns with --variant."
    )


def test_swept_names_are_file_names_that_no_disk_confuses() -> None:
    keys = "[self_attn.q_proj,self_attn.v_proj],[mlp/Up],[mlp/up],null"
    names = [v.name for v in swept("lora", lora_parameters__keys=keys)]
    assert names[0] == "lora-keysself_attn.q_proj+self_attn.v_proj"
    assert names[3] == "lora-keysnull"
    assert [name[:-7] for name in names[1:3]] == ["lora-keysmlp_up"] * 2
    assert len({name.lower() for name in names}) == 4
    check_file_names(names)


@pytest.mark.parametrize(
    ("names", "sweeps", "expected"),
    [
        ("lora", {"lora_parameters.rank": "4,x"}, "variant 'lora-rankx'"),
        ("full", {"quantize.bits": "4"}, "variant 'full-bits4'"),
        ("lora", {"lora_parameters.rnk": "4"}, "Did you mean 'lora_parameters.rank'?"),
        ("lora", {"iters": "4,,8"}, "--sweep iters=[4,,8]: not a YAML value"),
        ("lora", {"model": "a,b"}, "Use --model"),
        ("lora", {"learning_rate": "1e-5,0.00001"}, "one variant: give each value once"),
    ],
)
def test_a_sweep_that_cannot_be_is_refused(
    names: str, sweeps: dict[str, str], expected: str
) -> None:
    with pytest.raises(UserError, match=re.escape(expected)):
        load_variants([names], sweeps=sweeps)


def test_a_sweep_of_all_leaves_out_what_all_leaves_out() -> None:
    assert "qlora-source-rank4" in named_by_all_alone(["all"], {"lora_parameters.rank": "4"})

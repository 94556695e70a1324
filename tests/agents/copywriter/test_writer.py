"""Copywriters: what they write is fixed by the seed; what they save is what is loaded."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from peft import LoraConfig, PrefixTuningConfig, get_peft_model

from copygym.agents.copywriter.llama.likelihood import batch_logprobs
from copygym.agents.copywriter.prompts import few_shot
from copygym.agents.copywriter.writer import Copywriter
from copygym.core.errors import UserError


def with_lora(writer, scale=0.3):
    """Put a LoRA adapter with random weights around a copywriter's model."""
    config = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(writer.model, config)
    generator = torch.Generator().manual_seed(1)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            weight.data = scale * torch.randn(weight.shape, generator=generator)
    writer.model = model.eval()
    return writer


def with_prefix(writer):
    """Put a random prefix before a copywriter's prompts."""
    torch.manual_seed(2)
    config = PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3)
    writer.model = get_peft_model(writer.model, config).eval()
    return writer


def test_the_seed_fixes_the_texts(copywriter, rows):
    first = copywriter.write(rows, seed=1)
    assert copywriter.write(rows, seed=1) == first
    assert copywriter.write(rows, seed=2) != first


def test_samples_are_row_major_and_differ(copywriter, rows):
    texts = copywriter.write(rows, seed=1, samples=3)
    assert len(texts) == 3 * len(rows)
    assert len(set(texts[:3])) == 3
    greedy = copywriter.write(rows, seed=1, samples=2, temperature=0.0)
    assert greedy[::2] == greedy[1::2]


def test_no_rows_give_no_texts(copywriter, rows):
    assert copywriter.write(rows.take([]), seed=0) == []


def test_less_than_one_sample_is_refused(copywriter, rows):
    with pytest.raises(UserError, match="samples is 0"):
        copywriter.write(rows, seed=0, samples=0)


def test_logprobs_are_those_of_the_models_own_forward(copywriter, rows):
    texts = ["the best offer", "see how people like you save time", ""]
    total, tokens = copywriter.logprobs(texts, rows.take([0, 1, 2]))
    for i, text in enumerate(texts):
        prompt = copywriter.style.render(rows.prompts[i])
        response = copywriter.style.response_ids(text, copywriter.max_new_tokens)
        ids = torch.tensor([prompt + response])
        with torch.no_grad():
            logp = copywriter.model(ids).logits.log_softmax(-1)[0]
        expected = sum(float(logp[len(prompt) + t - 1, token]) for t, token in enumerate(response))
        assert total[i] == pytest.approx(expected, abs=1e-4)
        assert tokens[i] == len(response)


def test_perplexity_is_the_inverse_geometric_mean(copywriter, rows):
    texts = ["the best offer", "fresh coffee"]
    total, tokens = copywriter.logprobs(texts, rows.take([0, 1]))
    assert copywriter.perplexity(texts, rows.take([0, 1])) == pytest.approx(np.exp(-total / tokens))


def test_a_uniform_model_has_perplexity_v(make_copywriter, rows):
    writer = make_copywriter(seed=5)
    writer.model.lm_head.weight.data.zero_()
    size = len(writer.tokenizer)
    assert writer.perplexity(["the best offer"], rows.take([0])) == pytest.approx(size)
    assert writer.perplexity(["the best offer"]) == pytest.approx(size)


def test_perplexity_without_a_task_needs_two_tokens(copywriter):
    assert np.isnan(copywriter.perplexity([""])).all()


def test_texts_and_rows_must_match(copywriter, rows):
    with pytest.raises(ValueError, match="got 1 texts for 12 tasks"):
        copywriter.logprobs(["x"], rows)


def test_a_copy_is_frozen_and_elsewhere(copywriter, rows):
    twin = copywriter.copy()
    assert not any(weight.requires_grad for weight in twin.model.parameters())
    before = copywriter.write(rows, seed=1)
    for weight in twin.model.parameters():
        weight.data.zero_()
    assert copywriter.write(rows, seed=1) == before


# ---------------------------------------------------------------- saving


def same(a, b, rows):
    texts = ["the best offer", "see how people save time"]
    some = rows.take([0, 1])
    np.testing.assert_allclose(a.logprobs(texts, some)[0], b.logprobs(texts, some)[0], atol=1e-4)
    assert a.write(rows, seed=4) == b.write(rows, seed=4)


def test_a_plain_model_comes_back(copywriter, rows, tmp_path):
    copywriter.save(tmp_path / "writer")
    loaded = Copywriter.load(tmp_path / "writer")
    same(copywriter, loaded, rows)
    assert loaded.tokenizer.padding_side == "left"
    assert (loaded.name, loaded.max_new_tokens) == (copywriter.name, copywriter.max_new_tokens)
    assert loaded.max_prompt_tokens == copywriter.max_prompt_tokens
    assert not [f for f in (tmp_path / "writer").rglob("*") if f.suffix in (".bin", ".pt", ".pkl")]


def test_transformers_reads_a_saved_copywriter(copywriter, tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    copywriter.save(tmp_path / "writer")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "writer")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "writer")
    prompts, responses = [[5, 6, 7]], [[8, 9]]
    assert batch_logprobs(model, prompts, responses) == pytest.approx(
        batch_logprobs(copywriter.model, prompts, responses), abs=1e-5
    )
    assert tokenizer.pad_token == "<pad>"


@pytest.mark.parametrize("merge", [True, False])
def test_lora_comes_back_merged_or_beside_its_base(make_copywriter, rows, tmp_path, merge):
    writer = with_lora(make_copywriter(seed=1))
    plain = make_copywriter(seed=1)
    assert writer.write(rows, seed=4) != plain.write(rows, seed=4)
    writer.save(tmp_path / "writer", merge=merge)
    same(writer, Copywriter.load(tmp_path / "writer"), rows)
    assert (tmp_path / "writer" / "adapter_config.json").exists() is not merge
    # the base is nowhere else, so it is saved beside the adapter
    assert (tmp_path / "writer" / "base").is_dir() is not merge


def test_plain_transformers_finds_the_base_that_an_adapter_was_trained_on(
    make_copywriter, tmp_path
):
    from transformers import AutoModelForCausalLM

    prompts, responses = [[5, 6, 7]], [[8, 9]]
    untuned = make_copywriter(seed=1)
    untuned.save(tmp_path / "untuned")
    tuned = with_lora(Copywriter.load(tmp_path / "untuned")).merged()
    tuned.save(tmp_path / "tuned")
    nowhere_else = with_lora(tuned.copy())
    beside = with_lora(Copywriter.load(tmp_path / "tuned"))
    for place, writer in (("own", nowhere_else), ("beside", beside)):
        writer.save(tmp_path / place)
        plain = AutoModelForCausalLM.from_pretrained(tmp_path / place)
        assert batch_logprobs(plain, prompts, responses) == pytest.approx(
            batch_logprobs(writer.model, prompts, responses), abs=1e-5
        )


def test_a_base_beside_the_adapter_moves_with_it(make_copywriter, rows, tmp_path, monkeypatch):
    """As the writers of a run do when the run's folder is renamed."""
    run = tmp_path / "run.new" / "writers"
    make_copywriter(seed=1).save(run / "sft")
    with_lora(Copywriter.load(run / "sft")).save(run / "ppo")
    texts = Copywriter.load(run / "ppo").write(rows, seed=3)
    moved = (tmp_path / "run.new").rename(tmp_path / "run") / "writers"
    assert Copywriter.load(moved / "ppo").write(rows, seed=3) == texts
    # Saved again elsewhere, it names its base by a path that any working directory finds.
    monkeypatch.chdir(moved)
    Copywriter.load("ppo").save(tmp_path / "elsewhere")
    monkeypatch.chdir(tmp_path)
    assert Copywriter.load("elsewhere").write(rows, seed=3) == texts


def test_an_adapter_names_a_base_that_is_elsewhere(make_copywriter, rows, tmp_path):
    make_copywriter(seed=1).save(tmp_path / "base")
    writer = with_lora(Copywriter.load(tmp_path / "base"))
    writer.save(tmp_path / "writer")
    assert not (tmp_path / "writer" / "base").exists()
    same(writer, Copywriter.load(tmp_path / "writer"), rows)


def test_merging_leaves_the_writer_as_it_is(make_copywriter, rows):
    writer = with_lora(make_copywriter(seed=1))
    merged = writer.merged()
    assert merged.base is None
    same(writer, merged, rows)
    assert hasattr(writer.model, "peft_config")
    assert not hasattr(merged.model, "peft_config")


def test_a_prefix_comes_back_and_cannot_be_merged(make_copywriter, rows, tmp_path):
    writer = with_prefix(make_copywriter(seed=1))
    assert writer.write(rows, seed=4) != make_copywriter(seed=1).write(rows, seed=4)
    writer.save(tmp_path / "writer")
    same(writer, Copywriter.load(tmp_path / "writer"), rows)
    with pytest.raises(UserError, match="prefix tuning adds keys that no weights can stand for"):
        writer.save(tmp_path / "merged", merge=True)
    assert not (tmp_path / "merged").exists()


def test_prefix_logprobs_are_those_of_pefts_forward(make_copywriter, rows):
    writer = with_prefix(make_copywriter(seed=1))
    total, _ = writer.logprobs(["the best offer"], rows.take([0]))
    prompt = writer.style.render(rows.prompts[0])
    response = writer.style.response_ids("the best offer")
    ids = torch.tensor([prompt + response])
    with torch.no_grad():
        logits = writer.model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
    logp = logits[0, -ids.shape[1] :].log_softmax(-1)
    expected = sum(float(logp[len(prompt) + t - 1, token]) for t, token in enumerate(response))
    assert float(total[0]) == pytest.approx(expected, abs=1e-4)


def test_saving_replaces_the_folder_as_a_whole(copywriter, make_copywriter, tmp_path):
    with_lora(make_copywriter(seed=1)).save(tmp_path / "writer")
    copywriter.save(tmp_path / "writer")
    assert not (tmp_path / "writer" / "adapter_config.json").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["writer"]


@pytest.mark.parametrize("merge", [False, True])
def test_saving_loses_no_file_of_the_user_s(make_copywriter, tmp_path, merge):
    documents = tmp_path / "Documents"
    documents.mkdir()
    for name in ("thesis.txt", "config.json"):
        (documents / name).write_text("mine")
    writer = with_lora(make_copywriter(seed=1))
    with pytest.raises(UserError, match=re.escape("Documents holds 'config.json', which copygym")):
        writer.save(documents, merge=merge)
    assert {path.read_text() for path in documents.iterdir()} == {"mine"}
    assert [path.name for path in tmp_path.iterdir()] == ["Documents"]


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("model.safetensors", "holds no weights"),
        ("tokenizer.json", "holds no tokenizer"),
        ("copywriter.json", "copywriter.json does not exist"),
    ],
)
def test_an_incomplete_folder_is_refused(copywriter, tmp_path, missing, message):
    copywriter.save(tmp_path / "writer")
    (tmp_path / "writer" / missing).unlink()
    with pytest.raises(UserError, match=re.escape(message)):
        Copywriter.load(tmp_path / "writer")


def test_settings_that_lack_a_key_are_refused(copywriter, tmp_path):
    copywriter.save(tmp_path / "writer")
    (tmp_path / "writer" / "copywriter.json").write_text('{"name": "x", "adapter": false}')
    with pytest.raises(UserError, match="has no base, dtype, max_new_tokens, max_prompt_tokens"):
        Copywriter.load(tmp_path / "writer")


@pytest.mark.parametrize(
    "edit",
    [
        {"alpha_pattern": None},
        {"bias": None},
        {"bias": -1},
        {"init_lora_weights": -1},
        {"arrow_config": {}},
        {"r": "x"},
        {"target_modules": ["nothing"]},
    ],
)
def test_an_edited_adapter_config_is_one_sentence(make_copywriter, tmp_path, edit):
    with_lora(make_copywriter(seed=1)).save(tmp_path / "writer")
    path = tmp_path / "writer" / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | edit))
    with pytest.raises(UserError, match="does not fit its base"):
        Copywriter.load(tmp_path / "writer")


def test_an_adapter_is_no_base_of_another(make_copywriter, tmp_path):
    for name in ("one", "two"):
        with_lora(make_copywriter(seed=1)).save(tmp_path / name)
    path = tmp_path / "one" / "copywriter.json"
    for base in ("../one", "../two", str(tmp_path / "two")):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"base": base}))
        with pytest.raises(UserError, match="is an adapter of copygym where a whole model is"):
            Copywriter.load(tmp_path / "one")


@pytest.mark.parametrize(
    "edit",
    [
        {"vocabulary": "abc"},
        {"vocabulary": -1},
        {"vocabulary": []},
        {"vocabulary": [5, 10**9]},
        {"vocabulary": [5, -1]},
        {"vocabulary": ["x"]},
        {"fixed_vocabulary": None},
        {"quantisation": "x"},
        {"max_new_tokens": True},
        {"examples": {}},
        {"examples": [["a task without its copy"]]},
    ],
)
def test_settings_that_no_copywriter_has_are_refused(copywriter, tmp_path, edit):
    copywriter.save(tmp_path / "writer")
    path = tmp_path / "writer" / "copywriter.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | edit))
    with pytest.raises(UserError, match=r"copywriter\.json (has|limits its copy to) .*is damaged"):
        Copywriter.load(tmp_path / "writer")


def test_settings_of_an_older_version_are_read(copywriter, tmp_path):
    copywriter.save(tmp_path / "writer")
    path = tmp_path / "writer" / "copywriter.json"
    later = ("vocabulary", "fixed_vocabulary", "quantisation", "examples")
    state = {key: value for key, value in json.loads(path.read_text()).items() if key not in later}
    path.write_text(json.dumps(state))
    assert Copywriter.load(tmp_path / "writer").vocabulary is None


def test_a_few_shot_writer_keeps_its_examples(copywriter, rows, tmp_path):
    style = few_shot(copywriter.style, rows.prompts[:1], ["fresh coffee makes new people"], 256)
    assert style.examples
    taught = replace(copywriter, style=style)
    taught.save(tmp_path / "writer")
    loaded = Copywriter.load(tmp_path / "writer")
    assert loaded.style.examples == style.examples
    assert loaded.write(rows, seed=1) == taught.write(rows, seed=1)


@pytest.mark.parametrize("content", ["[" * 100_000, '{"model_max_length": "x"}', "[]"])
def test_a_damaged_tokenizer_config_is_one_sentence(copywriter, tmp_path, content):
    copywriter.save(tmp_path / "writer")
    (tmp_path / "writer" / "tokenizer_config.json").write_text(content)
    with pytest.raises(UserError, match=r"cannot be (loaded|read)"):
        Copywriter.load(tmp_path / "writer")


def test_a_damaged_adapter_is_refused(make_copywriter, tmp_path):
    with_lora(make_copywriter(seed=1)).save(tmp_path / "writer")
    (tmp_path / "writer" / "adapter_model.safetensors").write_bytes(b"no weights")
    with pytest.raises(UserError, match=r"adapter_model\.safetensors is damaged"):
        Copywriter.load(tmp_path / "writer")

"""Other architectures with the special tokens that their releases have: what they say is exact.

Random weights, a byte-level tokenizer, and pads and ends as they come: none, the end of the text,
a token beyond the embeddings, several ends.
"""

import json
import warnings
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch

from copygym.agents.copywriter.algorithms.best_of_n import BestOfN
from copygym.agents.copywriter.algorithms.dpo import DPO
from copygym.agents.copywriter.algorithms.online import GRPO, RLOO
from copygym.agents.copywriter.algorithms.ppo.algorithm import PPO
from copygym.agents.copywriter.algorithms.rejection import Rejection
from copygym.agents.copywriter.algorithms.sft.finetune import PeftChoice, finetune
from copygym.agents.copywriter.llama.decoding import decoder_for
from copygym.agents.copywriter.models import load_copywriter
from copygym.agents.copywriter.writer import Copywriter
from copygym.core.errors import UserError

TEXTS = ["Fresh coffee for you.", "Warm coats, now for less.", "Headphones: 20 hours of music."]
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
THINKING = CHATML.replace(
    "assistant\n{% endif %}",
    "assistant\n{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n"
    "{% endif %}{% endif %}",
)
PHI = (
    "{% for m in messages %}<|{{ m['role'] }}|>\n{{ m['content'] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)


@dataclass(frozen=True)
class Family:
    """How a release lays out its tokens.

    Attributes:
        kind: prefix of its classes in transformers.
        special: special tokens, the eos first.
        pad: its pad; None for none.
        ends: tokens of generation_config.json.
        template: of its chat.
        options: of its config.
    """

    kind: str
    special: tuple[str, ...]
    pad: str | None = None
    ends: tuple[str, ...] = ()
    template: str | None = None
    options: dict = field(default_factory=dict)


FAMILIES = {
    "llama": Family("Llama", ("<|end_of_text|>", "<|begin_of_text|>")),
    "llama with a reserved pad": Family(
        "Llama", ("</s>", "<s>", "<|finetune_right_pad_id|>", "<|reserved_1|>")
    ),
    "mistral": Family("Mistral", ("</s>", "<s>", "<unk>"), "</s>"),
    "gpt2": Family(
        "GPT2", ("<|endoftext|>",), options={"n_embd": 32, "n_layer": 2, "n_head": 2}
    ),
    "gpt2 with one token": Family(
        "GPT2", ("<|endoftext|>",), "<|endoftext|>",
        options={"n_embd": 32, "n_layer": 2, "n_head": 2},
    ),
    "qwen2": Family(
        "Qwen2", ("<|im_end|>", "<|endoftext|>", "<|im_start|>"), "<|endoftext|>",
        ("<|im_end|>", "<|endoftext|>"), CHATML,
    ),
    "qwen2 base": Family("Qwen2", ("<|endoftext|>", "<|im_end|>", "<|im_start|>"),
                         "<|endoftext|>", (), CHATML),
    "phi3": Family(
        "Phi3", ("<|endoftext|>", "<|end|>", "<|user|>", "<|assistant|>", "<|system|>"),
        "<|endoftext|>", ("<|endoftext|>", "<|end|>"), PHI,
    ),
    "gemma2": Family("Gemma2", ("<eos>", "<bos>", "<pad>", "<|im_start|>", "<|im_end|>"), "<pad>",
                     ("<eos>", "<|im_end|>"), CHATML, {"head_dim": 16}),
    # A model that thinks unless it is told not to, and a template that tells the day.
    "smollm3": Family(
        "SmolLM3", ("<|im_end|>", "<|endoftext|>", "<|im_start|>"), "<|endoftext|>",
        ("<|im_end|>",), "{{ strftime_now('%d %B %Y') }}\n" + THINKING,
    ),
    # Convolutions in the place of some attention.
    "lfm2": Family("Lfm2", ("</s>", "<s>", "<pad>"), "<pad>", options={
        "layer_types": ["conv", "full_attention"], "conv_L_cache": 3,
        "block_auto_adjust_ff_dim": False}),
    # A bias in the head.
    "phi2": Family("Phi", ("</s>", "<s>", "<pad>"), "<pad>"),
    "capped": Family("Gemma2", ("<eos>", "<bos>", "<pad>"), "<pad>", options={
        "head_dim": 16, "final_logit_softcapping": 5.0}),
    "experts": Family("Qwen3Moe", ("</s>", "<s>", "<pad>"), "<pad>", options={
        "head_dim": 16, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}),
    "granite": Family("Granite", ("<|end_of_text|>",), "<|end_of_text|>",
                      options={"logits_scaling": 4.0}),
}  # fmt: skip


def make(family, folder, beyond=()):
    """Save a random model of a family; ``beyond`` are tokens of its tokenizer alone."""
    import transformers
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=330,
        special_tokens=list(family.special),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    bpe.train_from_iterator(TEXTS, trainer)
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        eos_token=family.special[0],
        additional_special_tokens=list(family.special[1:]),
        clean_up_tokenization_spaces=False,
    )
    if family.pad:
        tokenizer.pad_token = family.pad
    tokenizer.chat_template = family.template
    size = len(tokenizer)
    if beyond:
        tokenizer.add_special_tokens({"pad_token": beyond[0]})
    common = {
        "vocab_size": size,
        "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": None,
    }
    sizes = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "max_position_embeddings": 512,
    }
    dropout = {"resid_pdrop": 0, "embd_pdrop": 0, "attn_pdrop": 0}
    own = dropout if family.kind == "GPT2" else sizes
    config = getattr(transformers, f"{family.kind}Config")(**common, **(own | family.options))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        name = "GPT2LMHeadModel" if family.kind == "GPT2" else f"{family.kind}ForCausalLM"
        model = getattr(transformers, name)(config).eval()
        for parameter in model.parameters():
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=0.3)
    if family.ends:
        model.generation_config.eos_token_id = tokenizer.convert_tokens_to_ids(list(family.ends))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def load(folder, family):
    return load_copywriter("hf", folder, dtype="float32", max_prompt_tokens=400, max_new_tokens=6)


@pytest.fixture
def reward():
    def by_letters(texts, rows):
        return np.array([text.count("e") + 0.01 * len(text) for text in texts], dtype=np.float64)

    return by_letters


def own_logprobs(model, prompt, response):
    """Return the summed log probability of a response by the model's own forward, no padding."""
    ids = torch.tensor([[*prompt, *response]])
    with torch.no_grad():
        logp = model(ids).logits[0].log_softmax(-1)
    return float(logp[range(len(prompt) - 1, ids.shape[1] - 1), response].sum())


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_log_probabilities_are_the_model_s_own(family, rows, tmp_path):
    writer = load(make(family, tmp_path), family)
    texts = [TEXTS[i % 3][: 5 + 3 * i] for i in range(len(rows))]
    total, _ = writer.logprobs(texts, rows)
    prompts = writer.prompts(rows)
    for prompt, text, found in zip(prompts, texts, total, strict=True):
        response = writer.style.response_ids(text, writer.max_new_tokens)
        assert found == pytest.approx(own_logprobs(writer.model, prompt, response), abs=1e-4)
    logits = decoder_for(writer.model)
    logits.restrict(None)
    for row, prompt in enumerate(prompts):
        with torch.no_grad():
            own = writer.model(torch.tensor([prompt])).logits[0, -1]
        ours = logits.start(prompts, 1)[row]
        torch.testing.assert_close(ours.log_softmax(-1), own.log_softmax(-1), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_pad_and_ends_are_tokens_that_the_model_has(family, tmp_path):
    writer = load(make(family, tmp_path / "m"), family)
    style, size = writer.style, writer.model.get_input_embeddings().weight.shape[0]
    ids = writer.tokenizer.convert_tokens_to_ids
    assert 0 <= style.pad_id < size
    assert set(style.end_ids) == set(ids([*family.ends, family.special[0]]))
    if len(family.special) > 1:
        assert style.pad_id != style.eos_id
    # What padding follows an end is never read.
    spelled = style.response_ids("Fresh coffee")
    for end in style.end_ids:
        assert style.decode([*spelled[:-1], end, style.pad_id, spelled[0]]) == "Fresh coffee"
    writer.save(tmp_path / "w")
    again = Copywriter.load(tmp_path / "w", attention="eager")
    assert again.style.end_ids == style.end_ids and again.style.pad_id == style.pad_id


def test_a_text_ends_with_what_the_template_puts_after_an_answer(tmp_path):
    for name, token in (("phi3", "<|end|>"), ("qwen2", "<|im_end|>"), ("gemma2", "<|im_end|>")):
        family = FAMILIES[name]
        style = load(make(family, tmp_path / name), family).style
        assert style.eos_id == style.tokenizer.convert_tokens_to_ids(token)


@pytest.mark.parametrize("name", ["phi3", "gemma2"])
def test_writing_stops_at_any_end(name, rows, tmp_path):
    family = FAMILIES[name]
    writer = load(make(family, tmp_path), family)
    end = next(i for i in writer.style.end_ids if i != writer.tokenizer.eos_token_id)
    from copygym.agents.copywriter.llama.sampling import sample

    options = {"max_new_tokens": 6, "seed": 0, "pad_id": writer.style.pad_id,
               "eos_id": writer.style.eos_id, "ends": writer.style.end_ids}  # fmt: skip
    drawn = sample(writer.model, writer.prompts(rows), **options, allowed_tokens=[end, 20, 21])
    stopped = drawn.tokens[:, :-1] == end
    assert stopped.any()
    for row, length in zip(drawn.tokens.tolist(), drawn.lengths.tolist(), strict=True):
        assert all(token not in writer.style.end_ids for token in row[: length - 1])


@pytest.mark.parametrize("name", ["llama", "qwen2 base", "gpt2"])
def test_a_pad_beyond_the_embeddings_gives_way(name, rows, tmp_path):
    family = FAMILIES[name]
    folder = make(family, tmp_path, beyond=("<pad>",))
    writer = load(folder, family)
    size = writer.model.get_input_embeddings().weight.shape[0]
    assert len(writer.tokenizer) > size > writer.style.pad_id
    assert len(writer.write(rows, seed=0)) == len(rows)
    for ids in writer.prompts(rows):
        assert max(ids) < size


def test_a_word_beyond_the_embeddings_is_refused_at_load(tmp_path):
    family = FAMILIES["llama"]
    folder = make(family, tmp_path)
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(["headphones"])
    tokenizer.save_pretrained(folder)
    with pytest.raises(UserError, match=r"the tokenizer of .* knows \d+ tokens, but the model has"):
        load(folder, family)


def test_a_frame_beyond_the_embeddings_is_refused_at_load(tmp_path):
    family = FAMILIES["llama"]
    folder = make(family, tmp_path)
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    tokenizer.chat_template = CHATML
    tokenizer.save_pretrained(folder)
    with pytest.raises(UserError, match=r"hold the token '<\|im_start\|>'"):
        load(folder, family)


def test_an_end_beyond_the_embeddings_is_refused_at_load(tmp_path):
    family = FAMILIES["llama"]
    folder = make(family, tmp_path)
    path = folder / "tokenizer_config.json"
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"eos_token": "<stop>"})
    tokenizer.save_pretrained(folder)
    generation = folder / "generation_config.json"
    generation.write_text(json.dumps(json.loads(generation.read_text()) | {"eos_token_id": None}))
    assert "<stop>" in path.read_text()
    with pytest.raises(UserError, match="copy would have no end"):
        load(folder, family)


def test_a_template_tells_one_day_and_no_thoughts_are_asked_for(tmp_path):
    family = FAMILIES["smollm3"]
    folder = make(family, tmp_path / "m")
    style = load(folder, family).style
    frame = style.tokenizer.decode(style.frame)
    assert frame.startswith("26 July 2024") and "<think>\n\n</think>" in frame
    thinking = load_copywriter("hf", folder, template_arguments={"enable_thinking": True})
    assert "<think>" not in thinking.style.tokenizer.decode(thinking.style.frame)
    thinking.save(tmp_path / "w")
    assert Copywriter.load(tmp_path / "w").style.arguments == {"enable_thinking": True}


def test_tags_of_a_thinking_model_are_neither_data_nor_copy(tmp_path):
    from transformers import AutoTokenizer

    from copygym.agents.copywriter.prompts import PromptStyle

    tokenizer = AutoTokenizer.from_pretrained(make(FAMILIES["smollm3"], tmp_path))
    tokenizer.add_tokens(["<think>", "</think>", "headphones"])
    style = PromptStyle(tokenizer, 400)
    ids = tokenizer.convert_tokens_to_ids
    said = style.encode_data("Fresh <think> coffee</think> and headphones")
    assert not {ids("<think>"), ids("</think>")} & set(said)
    assert ids("headphones") in said
    assert style.decode([ids("</think>"), *said]) == "Fresh coffee and headphones"


def test_a_prompt_begins_as_the_tokenizer_begins_a_text(tmp_path):
    from tokenizers.processors import TemplateProcessing
    from transformers import AutoTokenizer

    folder = make(FAMILIES["llama"], tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert load(folder, FAMILIES["llama"]).style.frame[0] != 1
    tokenizer.bos_token = "<|begin_of_text|>"
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|begin_of_text|> $A", special_tokens=[("<|begin_of_text|>", 1)]
    )
    tokenizer.save_pretrained(folder)
    assert load(folder, FAMILIES["llama"]).style.frame[0] == 1


@pytest.mark.parametrize("name", ["lfm2", "experts", "phi2"])
def test_a_text_does_not_hang_on_those_that_end_beside_it(name, rows, tmp_path):
    from copygym.agents.copywriter.llama.sampling import sample

    family = FAMILIES[name]
    writer = load(make(family, tmp_path), family)
    style, prompts = writer.style, writer.prompts(rows.take(np.arange(6)))
    options = {"max_new_tokens": 8, "seed": 0, "pad_id": style.pad_id, "eos_id": style.eos_id,
               "allowed_tokens": [20, 21, 30]}  # fmt: skip
    together = sample(writer.model, prompts, **options)
    assert len(set(together.lengths.tolist())) > 1
    for row, prompt in enumerate(prompts):
        alone = sample(writer.model, [prompt], rows=[row], **options)
        assert alone.tokens[0].tolist() == together.tokens[row].tolist()


def test_a_model_that_sees_is_trained_in_its_language_layers_alone(rows, tmp_path):
    import transformers

    family = FAMILIES["gemma2"]
    make(family, tmp_path)
    size = len(transformers.AutoTokenizer.from_pretrained(tmp_path))
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
             "num_attention_heads": 2}  # fmt: skip
    text = {**sizes, "vocab_size": size, "num_key_value_heads": 1, "head_dim": 16,
            "max_position_embeddings": 512, "eos_token_id": 0, "pad_token_id": 2}  # fmt: skip
    config = transformers.Gemma3Config(
        text_config=text,
        vision_config={**sizes, "image_size": 28, "patch_size": 14},
        mm_tokens_per_image=4,
        image_token_index=5,
        boi_token_index=6,
        eoi_token_index=7,
    )
    transformers.Gemma3ForConditionalGeneration(config).save_pretrained(tmp_path)
    with pytest.raises(UserError, match="context is 512 tokens"):
        load_copywriter("hf", tmp_path, max_prompt_tokens=5000)
    writer = load(tmp_path, family)
    tuned = writer.copy()
    finetune(tuned, [TEXTS[0]] * len(rows), rows, steps=1, batch_size=12, lr=1e-2,
             peft=PeftChoice(rank=2), seed=0)  # fmt: skip
    before = dict(writer.model.named_parameters())
    changed = {n for n, w in tuned.model.named_parameters() if not torch.equal(w, before[n])}
    assert changed and all("language_model.layers" in name for name in changed)
    reward = lambda texts, _: np.array([len(t) for t in texts], float)  # noqa: E731
    done = PPO(batch=8, layers=1).train(writer, rows, reward, samples=8, seed=0)
    assert done.history[0]["kl"] == pytest.approx(0.0, abs=1e-4)


def test_what_cannot_be_written_with_or_tuned_is_refused_in_a_sentence(rows, tmp_path):
    scan = Family("Mamba", ("</s>", "<s>", "<pad>"), "<pad>")
    with pytest.raises(UserError, match="MambaForCausalLM keeps no keys and values"):
        load(make(scan, tmp_path / "scan"), scan)
    writer = load(make(FAMILIES["lfm2"], tmp_path / "mixed"), FAMILIES["lfm2"])
    with pytest.raises(UserError, match="prefix tuning needs plain attention"):
        finetune(writer, [TEXTS[0]] * len(rows), rows, steps=1, batch_size=12, lr=1e-4,
                 peft=PeftChoice(kind="prefix"), seed=0)  # fmt: skip


def test_adalora_reports_nats_and_does_not_hang_on_micro_batches(rows, tmp_path):
    family = FAMILIES["phi3"]
    texts, weights = [TEXTS[i % 3] for i in range(len(rows))], []
    for micro in (0, 4):
        writer, loss = load(make(family, tmp_path / str(micro)), family), []
        total, tokens = writer.logprobs(texts, rows)
        finetune(
            writer, texts, rows, steps=1, batch_size=12, micro_batch=micro, lr=1e-3,
            peft=PeftChoice(kind="adalora", rank=2), seed=0,
            on_progress=lambda _, numbers, loss=loss: loss.append(numbers["loss"]),
        )  # fmt: skip
        assert loss[0] == pytest.approx(-total.sum() / tokens.sum(), abs=1e-3)
        weights.append(torch.cat([w.flatten() for w in writer.model.parameters()]))
    torch.testing.assert_close(weights[0], weights[1], atol=2e-6, rtol=0)


ONLINE = {"rloo": RLOO, "grpo": GRPO}
QUICK = ["gpt2", "llama"]
OTHERS = [name for name in FAMILIES if name not in QUICK]
EVERY = [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in OTHERS)]


@pytest.mark.parametrize(
    "name",
    [
        "qwen2",
        "phi3",
        *(pytest.param(f, marks=pytest.mark.slow) for f in ("llama", "gemma2", "smollm3", "gpt2")),
    ],
)
def test_plain_transformers_writes_the_same_from_an_exported_folder(name, rows, tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from copygym.agents.copywriter.export import export_writer

    make(FAMILIES[name], tmp_path / "model")
    writer = load(tmp_path / "model", FAMILIES[name])
    notes = export_writer(writer, tmp_path / "out", "# card", rows.prompts)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    ours = writer.write(rows, seed=0, temperature=0)
    for prompt, text in zip(rows.prompts, ours, strict=True):
        inputs = tokenizer.apply_chat_template(
            [{"role": "user", "content": prompt}],
            add_generation_prompt=True, return_tensors="pt", return_dict=True,
        )  # fmt: skip
        if not notes:
            assert inputs["input_ids"][0].tolist() == writer.style.render(prompt)
        ids = model.generate(**inputs, do_sample=False)[0, inputs["input_ids"].shape[1] :]
        assert writer.style.decode(ids.tolist()) == text
    assert set(model.generation_config.eos_token_id) == set(writer.style.end_ids)
    assert model.generation_config.max_new_tokens == writer.max_new_tokens
    assert notes == []


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("algorithm", [*ONLINE, "ppo"])
def test_kl_is_nothing_at_the_start(name, algorithm, rows, reward, tmp_path):
    family = FAMILIES[name]
    writer = load(make(family, tmp_path), family)
    lengths = {len(prompt) for prompt in writer.prompts(rows)}
    assert len(lengths) > 1
    if algorithm == "ppo":
        method = PPO(batch=8, learning_rate=1e-4)
    else:
        method = ONLINE[algorithm](batch=8, group=4)
    done = method.train(writer, rows, reward, samples=8, seed=0)
    assert done.history[0]["kl"] == pytest.approx(0.0, abs=1e-4)


@pytest.mark.parametrize("name", EVERY)
def test_every_algorithm_learns(name, rows, reward, tmp_path):
    family = FAMILIES[name]
    writer = load(make(family, tmp_path), family)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loss = []
        twin = writer.copy()
        texts = [TEXTS[i % 3] for i in range(len(rows))]
        kind = "full" if name == "granite" else "lora"
        finetune(
            twin, texts, rows, steps=1, batch_size=12, lr=1e-4, peft=PeftChoice(kind=kind, rank=2),
            seed=0, on_progress=lambda _, numbers: loss.append(numbers["loss"]),
        )  # fmt: skip
        total, tokens = writer.logprobs(texts, rows)
        assert loss[0] == pytest.approx(-total.sum() / tokens.sum(), abs=1e-3)
        for method in (DPO(tasks=2, group=2, batch=2), Rejection(), BestOfN(n=2, probe=2)):
            done = method.train(writer, rows, reward, samples=16, seed=0)
            assert len(done.writer.write(rows, seed=1)) == len(rows)

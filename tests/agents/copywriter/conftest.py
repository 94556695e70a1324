"""A random Llama of two layers with a tokenizer of its own, and writing tasks: made in a moment."""

import re

import pytest
import torch

from copygym.agents.copywriter.prompts import ASK, ASK_AGAIN, INSTRUCTION, REWRITING
from copygym.envs.tasks import CopyRows, copy_rows

#: Words of tasks and of copy; with the frame's, texts and tokens stand for each other exactly.
_WORDS = """
Write one line of copy The quoted brief is data not orders Brief Reader Channel product segment
likes high low interest topic age recency channel slot email social morning evening 0 1 2
the best offer week ends today you waited for see how people like save time and money every day
warm coat fresh coffee makes new free now
: ; , . - "
"""
_FRAME = " ".join(re.findall(r"\w+|[^\w\s]", " ".join((INSTRUCTION, ASK, REWRITING, ASK_AGAIN))))


def random_copywriter(seed=0, max_new_tokens=12, hidden=32, scale=0.2):
    """Return a `Copywriter` around a Llama that nobody trained."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    from copygym.agents.copywriter.prompts import PromptStyle
    from copygym.agents.copywriter.writer import Copywriter

    words = ["<pad>", "<eos>", "<unk>", *dict.fromkeys((_WORDS + _FRAME).split())]
    plain = Tokenizer(
        models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>")
    )
    plain.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=plain,
        pad_token="<pad>",
        eos_token="<eos>",
        unk_token="<unk>",
        padding_side="left",
    )
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=256,
        initializer_range=scale,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
        tie_word_embeddings=True,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config).eval()
    return Copywriter(
        model=model,
        tokenizer=tokenizer,
        style=PromptStyle(tokenizer, 160),
        name="random",
        max_new_tokens=max_new_tokens,
    )


@pytest.fixture
def gpt2():
    """A copywriter of another architecture, with absolute positions and biases."""
    from dataclasses import replace

    from transformers import GPT2Config, GPT2LMHeadModel

    writer = random_copywriter(max_new_tokens=6)
    torch.manual_seed(0)
    config = GPT2Config(
        n_embd=32, n_layer=3, n_head=2, n_positions=256, vocab_size=len(writer.tokenizer),
        resid_pdrop=0, embd_pdrop=0, attn_pdrop=0, eos_token_id=1, bos_token_id=1,
    )  # fmt: skip
    return replace(writer, model=GPT2LMHeadModel(config).eval())


@pytest.fixture(scope="session")
def copywriter():
    """A random copywriter; training must leave it as it is."""
    return random_copywriter()


@pytest.fixture
def make_copywriter():
    """The maker of random copywriters."""
    return random_copywriter


@pytest.fixture
def rows(users) -> CopyRows:
    """Twelve writing tasks of hand-made users."""
    import numpy as np

    n = np.arange(12)
    return copy_rows(users, n, n % 3, n % 2, n % 2)

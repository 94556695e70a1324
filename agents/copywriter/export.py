"""A trained writer as a folder that plain transformers (and what reads its format) can use."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from copygym.core.files.storage import whole_folder, write_json, write_text
from copygym.core.models.folder import bars_on_terminals

if TYPE_CHECKING:
    from copygym.agents.copywriter.writer import Copywriter

#: The only tokens of a writer that learned under such a limit; made beside the model.
ALLOWED = "allowed_tokens.json"
#: What `copygym write` samples at.
TEMPERATURE = 0.7
#: A task of which the exported prompt is compared with the trained one.
SAMPLE = (
    "Brief: Product: Alto kettle. Price: 49. Facts: It boils 1.7 litres in three minutes.\n"
    "Reader: over 50, minds the price\nChannel: email"
)


def export_writer(
    writer: Copywriter, folder: str | Path, card: str, prompts: Sequence[str] = (SAMPLE,)
) -> list[str]:
    """Write a writer to ``folder``, all or nothing, and return notes.

    The folder holds merged weights (safetensors), the tokenizer with a chat template that makes the
    prompts which the writer was trained on, a generation config (ends, pad, temperature, longest
    copy) and the model card. Nothing of ours is needed to use it.

    Args:
        writer: with or without adapters.
        folder: new.
        card: Markdown of ``README.md``.
        prompts: tasks of which the prompts are compared.

    Raises:
        UserError: the adapter cannot be merged, or ``folder`` holds files of others.
    """
    from transformers import GenerationConfig

    merged = writer.merged()
    template = merged.style.chat_template()
    notes = []
    tokenizer = merged.tokenizer
    before = tokenizer.chat_template
    with whole_folder(Path(folder), replace=False) as draft, bars_on_terminals():
        model = merged.model
        own = model.generation_config
        model.generation_config = GenerationConfig(
            eos_token_id=list(merged.style.end_ids),
            pad_token_id=merged.style.pad_id,
            bos_token_id=tokenizer.bos_token_id,
            max_new_tokens=merged.max_new_tokens,
            do_sample=True,
            temperature=TEMPERATURE,
        )
        try:
            tokenizer.chat_template = template
            model.save_pretrained(draft)
            tokenizer.save_pretrained(draft)
            differ = [text for text in prompts if _plain(tokenizer, text) != _own(merged, text)]
        finally:
            tokenizer.chat_template, model.generation_config = before, own
        if differ:
            notes.append(
                f"the exported prompt of {len(differ)} of {len(prompts)} sample tasks has other "
                "tokens than the trained one where frame and task meet: its copy may differ."
            )
        if merged.vocabulary is not None:
            adds = not merged.fixed_vocabulary
            state = {"tokens": [int(token) for token in merged.vocabulary], "adds_brief": adds}
            write_json(draft / ALLOWED, state)
            notes.append(
                f"the writer was trained to write {len(merged.vocabulary):,} tokens only"
                f"{' and those of its brief' if adds else ''} ({ALLOWED}); programs that allow all "
                "tokens may write others."
            )
        write_text(draft / "README.md", card)
    return notes


def _plain(tokenizer: object, task: str) -> list[int]:
    messages = [{"role": "user", "content": task}]
    ids = tokenizer.apply_chat_template(  # type: ignore[attr-defined]
        messages, add_generation_prompt=True, tokenize=True, return_dict=False
    )
    return [int(token) for token in ids]


def _own(writer: Copywriter, task: str) -> list[int]:
    return writer.style.render(task)


__all__ = ["ALLOWED", "SAMPLE", "TEMPERATURE", "export_writer"]

"""``copygym export``: a run's copywriter as a model folder for other programs, and to the hub."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from copygym.core.errors import UserError
from copygym.experiments.commands.write import BEGINNINGS, load_trained
from copygym.experiments.options import command_parser

if TYPE_CHECKING:
    from copygym.agents.copywriter.writer import Copywriter

_DESCRIPTION = (
    "Writes the copywriter of a finished run as a folder that transformers, vLLM and the like read "
    "without copygym: merged weights in safetensors, tokenizer with a chat template that makes the "
    "prompts of training, generation config, and a model card with data, figures and limits."
)
_EXAMPLES = """examples:
  copygym export outputs/quickstart/RUN --output kettle-writer
  copygym export RUN --writer sft --output sft-writer
  copygym export RUN --output kettle-writer --push me/kettle-writer   # to the Hugging Face hub
"""
_REPO = re.compile(r"[\w.-]+(/[\w.-]+)?")


def main(arguments: list[str]) -> int:
    """Run the command; returns the exit code.

    Raises:
        UserError: no run with a writer, a folder that is taken, or a hub that refuses.
    """
    parser = command_parser("copygym export", _DESCRIPTION, _EXAMPLES)
    parser.add_argument("run", type=Path, metavar="RUN", help="a run's folder, or a copywriter's")
    parser.add_argument("--output", required=True, type=Path, metavar="FOLDER", help="a new folder")
    parser.add_argument(
        "--writer",
        metavar="NAME",
        help="which of the run's: base, sft or its algorithm's (default)",
    )
    parser.add_argument(
        "--push",
        metavar="REPO",
        help="also upload it to this repository of the Hugging Face hub, made private; needs "
        "$HF_TOKEN or `hf auth login`",
    )
    parser.add_argument("--public", action="store_true", help="make the repository public")
    options = parser.parse_args(arguments)
    if options.output.exists():
        raise UserError(f"--output {options.output} is there already; name a new folder.")
    if options.push is not None and not _REPO.fullmatch(options.push):
        raise UserError(f"--push {options.push}: write NAME or OWNER/NAME.")
    from copygym.agents.copywriter.export import export_writer

    place = _place(options.run, options.writer)
    writer = load_trained(place)
    notes = export_writer(writer, options.output, card(writer, options.run))
    for note in notes:
        sys.stderr.write(f"note: {note}\n")
    sys.stdout.write(f"written: {options.output}\n")
    if options.push is not None:
        sys.stdout.write(f"uploaded: {push(options.output, options.push, options.public)}\n")
    return 0


def _place(run: Path, writer: str | None) -> Path:
    if writer is None:
        return run
    place = run / "writers" / writer
    if not (place / "copywriter.json").is_file():
        there = sorted(p.parent.name for p in (run / "writers").glob("*/copywriter.json"))
        listed = f"it has {', '.join(there)}" if there else "it has none"
        raise UserError(f"{run} has no writer {writer!r} ({listed}).")
    return place


def card(writer: Copywriter, run: Path) -> str:
    """Return the model card: what it is, how it is used, figures of its run, limits."""
    from copygym.core.models.smollm2 import HUB_ID

    result, config = _result(run)
    synthetic = bool(result.get("synthetic"))
    base = {"smollm2": HUB_ID}.get(str(writer.base))
    trained = config.get("copywriter", {})
    name = trained.get("name") or writer.name
    if base is None and name == "smollm2":
        base = HUB_ID
    front = ["---", "library_name: transformers", "pipeline_tag: text-generation"]
    front += (
        [f"base_model: {base}", "license: apache-2.0"] if base == HUB_ID else ["license: other"]
    )
    front += ["tags: [marketing-copy, copygym]", "---", ""]
    lines = [*front, f"# {run.name}: a copywriter trained by copygym", ""]
    log = result.get("log", config.get("data", {}).get("name", "unknown"))
    kind = "**synthetic** click log" if synthetic else "click log"
    lines += [
        f"A language model ({base or name}) that writes one line of marketing copy from a brief, "
        f"trained on the {kind} `{log}` to be clicked more, by a reward that a held-out judge "
        "checked.",
        "",
        "## How it is used",
        "",
        "```python",
        "from transformers import AutoModelForCausalLM, AutoTokenizer",
        "",
        'model = AutoModelForCausalLM.from_pretrained("FOLDER")',
        'tokenizer = AutoTokenizer.from_pretrained("FOLDER")',
        f'task = "{_TASK}"',
        "inputs = tokenizer.apply_chat_template(",
        '    [{"role": "user", "content": task}], add_generation_prompt=True,',
        '    return_tensors="pt", return_dict=True,',
        ")",
        'ids = model.generate(**inputs, do_sample=False)[0, inputs["input_ids"].shape[1]:]',
        "print(tokenizer.decode(ids, skip_special_tokens=True).strip())",
        "```",
        "",
        "A task is what the chat template gets as the last message: `Brief:` with product, price "
        "and facts, then, where they are known, `Reader:` and `Channel:` on lines of their own.",
        "",
        "## What came of it",
        "",
    ]
    lines += _figures(run) or ["No figures: the folder is a writer's alone, not a run's."]
    lines += ["", "## Limits", "", *(f"- {one}" for one in _limits(writer, result, synthetic)), ""]
    return "\n".join(lines)


_TASK = (
    "Brief: Product: Alto kettle. Price: 49. Facts: It boils 1.7 litres in three minutes."
    "\\nReader: over 50, minds the price\\nChannel: email"
)


def _result(run: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a run's result and config; empty where the folder is no run's."""
    from copygym.core.files.storage import read_json

    found = []
    for name in ("result.json", "run.json"):
        found.append(read_json(run / name) if (run / name).is_file() else {})
    config = found[1].get("config", {})
    return found[0], config if isinstance(config, dict) else {}


def _figures(run: Path) -> list[str]:
    """Return the run's main table, its intervals included."""
    table = run / "table.md"
    return table.read_text(encoding="utf-8").strip().splitlines() if table.is_file() else []


def _limits(writer: Copywriter, result: dict[str, Any], synthetic: bool) -> list[str]:
    lines = [
        "It was trained on the briefs of its log; of other kinds of products it may write what "
        "does not fit. Check claims before you send: `copygym write` marks what may be sent.",
        "A click rate that was predicted is not one that was measured: test before you send to "
        "everybody.",
    ]
    if synthetic:
        lines.insert(0, "**The log is synthetic**: the figures show that the machinery works, not "
                     "what people would click.")  # fmt: skip
    if writer.vocabulary is not None:
        lines.append(
            "It was trained to write the tokens in `allowed_tokens.json` only"
            + ("" if writer.fixed_vocabulary else ", and those of its brief")
            + "; other programs allow all, and may then write other words."
        )
    return lines


def push(folder: Path, repo: str, public: bool) -> str:
    """Upload a folder to the hub and return its address.

    Raises:
        UserError: no account, no permission, or no answer.
    """
    from huggingface_hub import HfApi

    api = HfApi(endpoint=os.environ.get("HF_ENDPOINT"))
    try:
        made = api.create_repo(repo, private=not public, exist_ok=True)
        api.upload_folder(folder_path=folder, repo_id=made.repo_id,
                          commit_message="Copywriter exported by copygym")  # fmt: skip
    except Exception as error:  # whatever the hub's client and its transport raise
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"--push {repo}: the hub refused ({reason}); {folder} is written all the same; log in "
            "by `hf auth login` or set HF_TOKEN, and see that you may write there."
        ) from None
    return str(made)


__all__ = ["BEGINNINGS", "card", "main", "push"]

"""Study: does learning from clicks write better copy than imitation? (RLPF, E3)

From a log: a CTR reward model, a copywriter tuned on the log's better copy (SFT), then each
algorithm from there with the same budget of scored samples. Gold judges texts for tasks that
nobody trained on, beside the log's own copy. RLPF / AdLlama is arXiv 2507.21983.
"""

from __future__ import annotations

import ctypes
import gc
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from copygym.agents.copywriter.training.feedback import Demonstrations
from copygym.core.errors import UserError
from copygym.core.seeds import derived_seed
from copygym.envs.tasks import score_copy
from copygym.evaluation.records import Records, Rows
from copygym.experiments.runs.folder import Record, RunFolder
from copygym.experiments.studies.build import check_part, instantiated, known_options
from copygym.experiments.studies.copy.copywriting_report import report
from copygym.experiments.studies.copy.judging import (
    OVER_SEEDS,
    STATISTICS,
    WITHIN_SEED,
    add_writers,
    copy_about,
    copy_origin,
    judge_texts,
)
from copygym.experiments.studies.copy.rewriting import add_sent, check_rewriting, sent, sent_about
from copygym.experiments.studies.copy.setting import (
    CopySetting,
    check_task,
    make_setting,
    setting_seed,
)
from copygym.experiments.studies.learning import ONE_SEED, file_name
from copygym.experiments.studies.study import about
from copygym.experiments.tracking.base import Trackers

if TYPE_CHECKING:
    from copygym.agents.copywriter.training.algorithm import CopyAlgorithm
    from copygym.agents.copywriter.writer import Copywriter

__all__ = ["check", "report", "seed_records"]

#: Names of the writers that are no algorithm, in the order of tables.
BEST, ANY, BASE, SFT = "log's better copy", "log's copy", "base", "sft"
#: The untuned model with a few of the log's better copies in its prompt.
FEW = "few-shot"


def check(config: Mapping[str, Any]) -> None:
    """Raise `UserError` for a mistake in the config that would else be found after minutes."""
    check_task(config)
    check_rewriting(config)
    check_writers(config)


def seed_records(config: dict[str, Any], folder: RunFolder, trackers: Trackers) -> Records:
    """Return the records of one seed of training and sampling.

    Config keys: those of `make_setting`, ``copywriter`` (``model``, ``sft``), ``algorithms``
    (name -> part of the group algorithm), ``samples`` (budget of each), ``few_shot`` (examples),
    ``deliver`` (see `copygym.experiments.studies.copy.rewriting`), ``evaluation``
    (``temperature``, ``top_p``, ``resamples``, ``examples``).
    """
    setting = make_setting(config, folder)
    based = with_base(config, folder, setting)
    rows = Rows(int(config["seed"]))
    written = write_all(based, folder, trackers, setting, rows.seed)
    add_writers(rows, config, setting, written, folder)
    more: dict[str, Any] = {}
    if setting.rewriting:
        found = send_all(based, folder, trackers, setting, rows.seed)
        add_sent(rows, config, found)
        more = {"rewriting": sent_about(config, setting, found)}
    facts = about(
        config,
        copy_origin(setting, folder),
        synthetic=setting.log.synthetic,
        one_seed=ONE_SEED,
        over_seeds=OVER_SEEDS,
        statistics=STATISTICS,
        within_seed=WITHIN_SEED,
        copy=copy_about(config, setting, written) | more,
    )
    return Records(rows.frame, {rows.seed: facts})


def check_writers(config: Mapping[str, Any]) -> None:
    """Raise `UserError` for a mistake about models that would else be found after minutes."""
    from copygym.agents.copywriter.algorithms.sft.finetune import PeftChoice
    from copygym.agents.copywriter.tiny import TinyConfig
    from copygym.rewards.copy.shape import CopyRewardShape, check_terms

    algorithms(config)
    for name in ("reward_model", "judge_model", "gold_model", "copy_reward"):
        if name in config:
            check_part(config[name], name)
    reward = instantiated(config["copy_reward"], "copy_reward")
    if isinstance(reward, partial) and reward.func is CopyRewardShape:
        check_terms(reward.keywords.get("terms"))
    spec = config["copywriter"]
    known_options(fine_tuning, spec["sft"], "key of copywriter.sft")
    peft = spec["sft"].get("peft") or {}
    known_options(PeftChoice, peft, "key of copywriter.sft.peft")
    fine_tuning(**spec["sft"])
    tiny = dict(spec.get("tiny") or {})
    known_options(TinyConfig, tiny, "key of copywriter.tiny")
    TinyConfig(**tiny)


def algorithms(config: Mapping[str, Any]) -> dict[str, CopyAlgorithm]:
    """Return the config's algorithms by the name that tables show.

    Raises:
        UserError: none is given, or one refuses its options.
    """
    found = {
        str(name): instantiated(spec, f"algorithms.{name}")
        for name, spec in (config["algorithms"] or {}).items()
        if spec is not None
    }
    if not found:
        raise UserError("algorithms is empty; name at least one, such as algorithms.ppo.")
    return found


@dataclass(frozen=True)
class Written:
    """What one writer wrote for the test tasks.

    Attributes:
        texts: N texts.
        facts: JSON types: ``kl`` (nats per text from SFT), ``spent``, ``stopped``, ``history``,
            ``examples``.
    """

    texts: list[str]
    facts: dict[str, Any]


def write_all(
    config: Mapping[str, Any],
    folder: RunFolder,
    trackers: Trackers,
    setting: CopySetting,
    seed: int,
) -> dict[str, dict[str, Any]]:
    """Train every writer of one seed and judge what it writes; skips finished stages."""
    with torch_threads(int(config["copywriter"].get("threads", 1))):
        return _write_all(config, folder, trackers, setting, seed)


@contextmanager
def torch_threads(number: int) -> Iterator[None]:
    """Let torch use ``number`` threads inside; the number is fixed, so that results are."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _write_all(
    config: Mapping[str, Any],
    folder: RunFolder,
    trackers: Trackers,
    setting: CopySetting,
    seed: int,
) -> dict[str, dict[str, Any]]:
    written = {
        BEST: Written(setting.human[0], {}),
        ANY: Written(setting.human[1], {}),
        BASE: _write_base(config, folder, setting, seed),
        FEW: _write_few_shot(config, folder, setting, seed),
        **write_learned(config, folder, trackers, setting, seed),
    }
    return {
        name: judge_texts(
            folder, file_name(name), part.texts, part.facts, setting, lambda: base_writer(config)
        )
        for name, part in written.items()
    }


def send_all(
    config: Mapping[str, Any],
    folder: RunFolder,
    trackers: Trackers,
    setting: CopySetting,
    seed: int,
) -> dict[str, dict[str, Any]]:
    """Return what would be sent of every trained and of the few-shot writer's rewrites."""
    writers: dict[str, Any] = {
        FEW: lambda: few_shot_writer(config, setting, seed),
        SFT: lambda: sft_writer(config, folder, trackers, setting, seed),
    }
    for name in algorithms(config):
        writers[name] = partial(_writer_of, config, folder, trackers, setting, seed, name)
    with torch_threads(int(config["copywriter"].get("threads", 1))):
        return {
            name: sent(config, folder, setting, file_name(name), make, seed)
            for name, make in writers.items()
        }


def _writer_of(*arguments: Any) -> Any:
    """Return the writer of `improved_writer` alone."""
    return improved_writer(*arguments)[0]


# ------------------------------------------------------------------ the writers


def write_learned(
    config: Mapping[str, Any],
    folder: RunFolder,
    trackers: Trackers,
    setting: CopySetting,
    seed: int,
) -> dict[str, Written]:
    """Return what SFT and each algorithm write, by name; they are trained where they are not."""
    written = {SFT: _write_sft(config, folder, trackers, setting, seed)}
    for name in algorithms(config):
        written[name] = _write_improved(config, folder, trackers, setting, seed, name)
    return written


def with_base(
    config: Mapping[str, Any], folder: RunFolder, setting: CopySetting
) -> Mapping[str, Any]:
    """Return the config with a trained tiny copywriter in the place of one yet to be trained.

    It is trained once for all seeds, as a pretrained model would be.
    """
    spec = config["copywriter"]
    if spec["model"].get("name") != "tiny" or spec["model"].get("path"):
        return config

    def compute() -> Record:
        from copygym.agents.copywriter.tiny import TinyConfig, train_tiny

        texts, rows = setting.demonstrations
        with torch_threads(int(spec.get("threads", 1))):
            writer = train_tiny(
                texts,
                rows,
                seed=derived_seed(setting_seed(config), "tiny"),
                corpus=setting.training_texts,
                config=TinyConfig(**dict(spec.get("tiny") or {})),
            )
        _keep(writer, folder, BASE)
        return Record({"steps": spec.get("tiny", {}).get("steps")})

    folder.stage("writer/base", compute)
    model = {**spec["model"], "path": str(folder.file("writers", BASE))}
    return {**config, "copywriter": {**spec, "model": model}}


def fine_tuning(
    *,
    steps: int = 40,
    learning_rate: float = 1e-3,
    batch_size: int = 16,
    peft: Mapping[str, Any] | None = None,
    micro_batch: int = 0,
    bf16: bool = False,
    gradient_checkpointing: bool = False,
    prompt_gradient: bool = True,
    texts_per_prompt: int = 1,
    dropout: float = 0.0,
    weight_decay: float = 0.0,
    held_out: float = 0.0,
    judge_every: int = 10,
    patience: int = 3,
) -> tuple[CopyAlgorithm, int]:
    """Return the fine-tuning of the config's ``copywriter.sft``, and its budget of texts.

    ``steps`` is the most that it takes. ``peft`` has the fields of `PeftChoice`; all else is of
    `SFT`, whose ``batch`` is ``batch_size``.
    """
    from copygym.agents.copywriter.algorithms.sft.finetune import PeftChoice
    from copygym.agents.copywriter.training.algorithm import make_algorithm

    sft = make_algorithm(
        "sft",
        peft=PeftChoice(**(peft or {})),
        batch=batch_size,
        learning_rate=learning_rate,
        micro_batch=micro_batch,
        bf16=bf16,
        gradient_checkpointing=gradient_checkpointing,
        prompt_gradient=prompt_gradient,
        texts_per_prompt=texts_per_prompt,
        dropout=dropout,
        weight_decay=weight_decay,
        held_out=held_out,
        judge_every=judge_every,
        patience=patience,
    )
    return sft, steps * batch_size


def base_writer(config: Mapping[str, Any]) -> Copywriter:
    """Return the untuned copywriter."""
    writer: Copywriter = instantiated(config["copywriter"]["model"], "copywriter.model")
    return writer


def few_shot_writer(config: Mapping[str, Any], setting: CopySetting, seed: int) -> Copywriter:
    """Return the untuned copywriter with some of the log's better copies in its prompt.

    Examples are ``few_shot`` demonstrations, drawn by the seed among those no longer than the
    middle one; as many as the model's context holds.
    """
    import numpy as np

    from copygym.agents.copywriter.prompts import few_shot

    base, (texts, rows) = base_writer(config), setting.demonstrations
    size = np.array([len(prompt) for prompt in rows.prompts])
    short = np.flatnonzero(size <= np.median(size))
    rng = np.random.default_rng(derived_seed(seed, "few-shot"))
    index = rng.choice(short, size=min(int(config["few_shot"]), len(short)), replace=False)
    context = getattr(base.model.config, "max_position_embeddings", None) or 2048
    style = few_shot(
        base.style,
        [rows.prompts[i] for i in index.tolist()],
        [texts[i] for i in index.tolist()],
        context - base.max_new_tokens,
    )
    return replace(base, style=style)


def sft_writer(
    config: Mapping[str, Any],
    folder: RunFolder,
    trackers: Trackers,
    setting: CopySetting,
    seed: int,
) -> Copywriter:
    """Return the copywriter tuned on the log's better copy."""
    from copygym.agents.copywriter.prompts import cut_note

    def compute() -> Record:
        algorithm, samples = fine_tuning(**config["copywriter"]["sft"])
        texts, rows = setting.demonstrations
        base = base_writer(config)
        tasks = (rows, setting.train, setting.validation, setting.test)
        cut = cut_note(base.style, [prompt for part in tasks for prompt in part.prompts])
        if cut is not None:
            warnings.warn(cut, stacklevel=2)
        trackers.begin("learn/sft")
        trained = algorithm.train(
            base,
            rows,
            Demonstrations(texts),
            samples=samples,
            seed=derived_seed(seed, "sft"),
            folder=folder.file("checkpoints", "sft"),
            on_progress=lambda step, metrics: trackers.log("learn/sft", metrics, step),
        )
        _keep(cast("Copywriter", trained.writer), folder, SFT)
        return Record(
            {
                "spent": trained.spent.to_dict(),
                "history": trained.history,
                "stopped": trained.stopped,
                "info": trained.info,
                "cut": cut,
            }
        )

    folder.stage("learn/sft", compute)
    _release_memory()
    return saved_writer(config, folder.file("writers", SFT))


def improved_writer(
    config: Mapping[str, Any],
    folder: RunFolder,
    trackers: Trackers,
    setting: CopySetting,
    seed: int,
    name: str,
    start: Callable[[], Copywriter] | None = None,
) -> tuple[Any, dict[str, Any]]:
    """Let one algorithm improve the tuned copywriter; return its writer and the stage's facts.

    A writer without weights of its own (best-of-n) is made anew; it costs nothing to train.
    ``start`` makes the tuned copywriter; None: SFT in ``folder`` does.
    """
    from copygym.agents.copywriter.writer import Copywriter

    stage, short = f"learn/{file_name(name)}", file_name(name)
    kept = folder.file("writers", short)

    def train(folder_of_checkpoints: Path | None) -> Any:
        algorithm: Any = algorithms(config)[name]
        rows, feedback = setting.feedback(algorithm.learns_from)
        if getattr(algorithm, "vocabulary", "full") == "copy":
            algorithm = replace(algorithm, copy_texts=setting.training_texts)
        return algorithm.train(
            start() if start else sft_writer(config, folder, trackers, setting, seed),
            rows,
            feedback,
            samples=int(config["samples"]),
            seed=derived_seed(seed, "learn", name),
            folder=folder_of_checkpoints,
            judge=setting.judge,
            judge_rows=setting.validation,
            on_progress=lambda step, metrics: trackers.log(stage, metrics, step),
        )

    def compute() -> Record:
        trackers.begin(stage)
        trained = train(folder.file("checkpoints", short))
        if isinstance(trained.writer, Copywriter):
            _keep(trained.writer, folder, short)
        return Record(
            {
                "spent": trained.spent.to_dict(),
                "history": trained.history,
                "stopped": trained.stopped,
                "info": trained.info,
                "examples": trained.examples,
            }
        )

    facts = folder.stage(stage, compute).values
    _release_memory()
    writer = saved_writer(config, kept) if kept.exists() else train(None).writer
    return writer, facts


def saved_writer(config: Mapping[str, Any], folder: Path) -> Copywriter:
    """Return a writer that the run kept, read as the config reads its model."""
    from copygym.agents.copywriter.writer import Copywriter

    spec = config["copywriter"]["model"]
    keys = ("device", "attention", "allow_download")
    return Copywriter.load(folder, **{key: spec[key] for key in keys if spec.get(key) is not None})


def _keep(writer: Copywriter, folder: RunFolder, name: str) -> None:
    with folder.new_folder("writers", name) as draft:
        writer.save(draft)


def _release_memory() -> None:
    """Give back what a training left: trainers in reference cycles, and glibc's free blocks.

    Without this, a process of several seeds grows by gigabytes that nothing uses.
    """
    gc.collect()
    with suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)


# ------------------------------------------------------------------ what they write


def how_to_write(config: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """Return how every writer's texts for the test tasks are drawn."""
    options = config["evaluation"]
    return {
        "seed": derived_seed(seed, "write"),
        "temperature": float(options["temperature"]),
        "top_p": float(options["top_p"]),
    }


def _write_base(
    config: Mapping[str, Any], folder: RunFolder, setting: CopySetting, seed: int
) -> Written:
    def compute() -> Record:
        texts = base_writer(config).write(setting.test, **how_to_write(config, seed))
        return Record({"texts": texts})

    return Written(folder.stage("write/base", compute).values["texts"], {})


def _write_few_shot(
    config: Mapping[str, Any], folder: RunFolder, setting: CopySetting, seed: int
) -> Written:
    def compute() -> Record:
        writer = few_shot_writer(config, setting, seed)
        texts = writer.write(setting.test, **how_to_write(config, seed))
        return Record({"texts": texts, "examples_shown": len(writer.style.examples)})

    return Written(folder.stage("write/few-shot", compute).values["texts"], {})


def _write_sft(
    config: Mapping[str, Any],
    folder: RunFolder,
    trackers: Trackers,
    setting: CopySetting,
    seed: int,
) -> Written:
    def compute() -> Record:
        writer = sft_writer(config, folder, trackers, setting, seed)
        return Record({"texts": writer.write(setting.test, **how_to_write(config, seed))})

    texts = folder.stage("write/sft", compute).values["texts"]
    learned = folder.read("learn/sft").values
    names: tuple[str, ...] = ("spent", "history", "stopped")
    kept = {name: learned[name] for name in names if name in learned}
    return Written(texts, {"kl": 0.0, **kept})


def _write_improved(
    config: Mapping[str, Any],
    folder: RunFolder,
    trackers: Trackers,
    setting: CopySetting,
    seed: int,
    name: str,
) -> Written:
    from copygym.agents.copywriter.drawing import draw, reference_kl
    from copygym.agents.copywriter.training.budget import Spent
    from copygym.agents.copywriter.writer import Copywriter

    def compute() -> Record:
        writer, facts = improved_writer(config, folder, trackers, setting, seed, name)
        values: dict[str, Any]
        if isinstance(writer, Copywriter):
            drawn = draw(writer, setting.test, n=1, briefs=True, **how_to_write(config, seed))
            start = sft_writer(config, folder, trackers, setting, seed)
            values = {
                "texts": drawn.texts,
                "kl": reference_kl(start, writer, setting.test, drawn),
            }
        else:
            # Its reward is for the people of the training tasks; those of the test are others.
            writer = writer.with_reward(setting.proxy)
            values = {"texts": writer.write(setting.test, **how_to_write(config, seed))}
            # Best-of-n pays for its samples when it writes.
            values["kl"] = float(facts["info"]["kl"])
            facts = {**facts, "spent": (Spent.from_dict(facts["spent"]) + writer.spent).to_dict()}
        return Record({**values, **facts})

    values = dict(folder.stage(f"write/{file_name(name)}", compute).values)
    scores, _ = score_copy(setting.proxy, values["texts"], setting.test)
    trackers.log(f"write/{file_name(name)}", {"proxy": float(scores.mean())}, 0)
    return Written(values.pop("texts"), values)

"""Train a little of everything and print what came out; run alone and by two processes."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np

from copygym.agents.copywriter.algorithms.ppo.algorithm import PPO
from copygym.agents.copywriter.algorithms.sft.algorithm import SFT
from copygym.agents.copywriter.algorithms.sft.finetune import PeftChoice, finetune
from copygym.agents.copywriter.training.feedback import Demonstrations
from copygym.core.errors import UserError
from copygym.core.processes import join, peers, serve
from copygym.envs.tasks import copy_rows

TESTS = Path(__file__).parents[1]
TEXTS = ["the best offer of the week", "fresh coffee", "see how people save time"] * 4


def made_by(path):
    """Return the module of a conftest, whose makers the tests share."""
    spec = importlib.util.spec_from_file_location(path.parent.name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def coffee(texts, rows):
    assert peers().first, "the first process alone scores"
    share = np.array([text.split().count("coffee") / max(1, len(text.split())) for text in texts])
    return share * (1 + rows.user / 12), {"word": share}


def norms(writer):
    return [float(w.detach().norm()) for _, w in sorted(writer.model.named_parameters())]


def tasks():
    users = made_by(TESTS / "conftest.py").make_users()
    n = np.arange(12)
    return copy_rows(users, n, n % 3, n % 2, n % 2)


def sft(make, rows, folder, **options):
    steps = []
    done = SFT(batch=6, learning_rate=1e-2, save_every=2, **options).train(
        make(seed=1), rows, Demonstrations(TEXTS), samples=24, seed=3, folder=folder,
        on_progress=lambda texts, m: steps.append([texts // 6, m["loss"], m["lr"]]),
    )  # fmt: skip
    return {"steps": steps, "trained": done.spent.trained, "norms": norms(done.writer)}


def ppo(make, rows, folder, **options):
    settings = {"batch": 10, "epochs": 2, "rank": 2, "learning_rate": 1e-2, "judge_every": 2}
    done = PPO(**settings, **options).train(
        make(), rows, coffee, samples=30, seed=0, folder=folder, judge=coffee, judge_rows=rows
    )
    timed = ("seconds", "cpu_")
    history = [{k: v for k, v in line.items() if not k.startswith(timed)} for line in done.history]
    texts = [example["text"] for example in done.examples]
    return {"history": history, "texts": texts, "norms": norms(done.writer)}


def ctr(tuning, encoder, **network):
    from copygym.rewards.ctr.model import make_ctr_model

    made_up = made_by(TESTS / "rewards" / "conftest.py")._made_up
    options = {"epochs": 1, "learning_rate": 2e-3, "head_learning_rate": 5e-2, "tokens": 400}
    model = make_ctr_model(
        encoder, tuning, bf16=False, cache=False, network={**options, "last_k": 1, **network}
    )
    train, held = (made_up(tests=30, seed=seed, profile=True) for seed in (0, 1))
    model.fit(train, held, seed=0)
    report = model.report["scorers"][0]
    return {"history": report["validation_fit"], "steps": report["steps"]}


def failure():
    """A mistake that every process meets ends in one sentence."""
    try:
        finetune(made().random_copywriter(), TEXTS, tasks(), batch_size=5, seed=0)
    except UserError as error:
        return str(error)
    return ""


def made():
    return made_by(TESTS / "agents" / "copywriter" / "conftest.py")


def main(out):
    make, rows, folder = made().random_copywriter, tasks(), Path(out).with_suffix("")
    place = folder.with_name(f"{folder.name}-encoder")
    place.mkdir()
    encoder = made_by(TESTS / "rewards" / "conftest.py")._tiny_encoder(place)
    found = {
        "sft": sft(make, rows, folder / "sft", peft=PeftChoice("lora", rank=4)),
        "sft in parts": sft(make, rows, None, peft=PeftChoice("full"), micro_batch=3),
        "ppo": ppo(make, rows, folder / "ppo", whiten_rewards=True),
        "ppo in parts": ppo(make, rows, None, minibatches=2, micro_batch=2, kl_control="adaptive"),
        "ppo, prompts once": ppo(make, rows, None, prompt_gradient=False, layers=1),
        "ctr": ctr("last_k", encoder, dropout=0.2),
        "ctr in parts": ctr("lora", encoder, accumulate=2),
        "processes": peers().count,
        "refused": failure(),
        "files": sorted(path.name for path in folder.rglob("*") if path.is_file()),
    }
    Path(out).write_text(json.dumps(found))


if __name__ == "__main__":
    if join().first:
        main(*sys.argv[1:])
        peers().dismiss()
    else:
        serve()

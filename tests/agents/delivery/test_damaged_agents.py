"""Saved agents whose numbers are damaged are refused at load, in a sentence that names the file."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from safetensors import safe_open
from safetensors.torch import save_file

from copygym.agents import load_agent
from copygym.core.errors import UserError

CONF = Path(__file__).parents[3] / "conf" / "agent"


def save(name, venv, folder):
    config = OmegaConf.load(CONF / f"{name}.yaml")
    small = {"net_arch": [8]} if name == "ppo" else {}
    agent = instantiate(OmegaConf.merge(config, small))
    agent.learn(venv, 64, seed=0)
    agent.save(folder)


def spoilt(array):
    spoiled = array.astype(np.float64)
    spoiled.reshape(-1)[0] = np.nan
    return spoiled


def refused(folder, file):
    with pytest.raises(UserError, match=re.escape(str(folder / file))) as refusal:
        load_agent(folder)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("name", ["epsilon_greedy", "linucb", "linear_ts", "logistic_ts"])
def test_an_agent_of_damaged_arrays_is_refused(make_venv, name, tmp_path):
    save(name, make_venv(), tmp_path)
    arrays = dict(np.load(tmp_path / "agent.npz"))
    for key, array in arrays.items():
        changes = [{**arrays, key: spoilt(array)}, {k: v for k, v in arrays.items() if k != key}]
        if array.ndim and key not in ("sizes", "topic_of_creative", "counts"):
            changes.append({**arrays, key: array[..., :-1]})
        for change in changes:
            np.savez_compressed(tmp_path / "agent.npz", **change)
            refused(tmp_path, "agent.npz")
    np.savez_compressed(tmp_path / "agent.npz", **arrays)
    load_agent(tmp_path)
    (tmp_path / "agent.npz").write_bytes((tmp_path / "agent.npz").read_bytes()[:-50])
    refused(tmp_path, "agent.npz")


def test_a_policy_of_damaged_weights_is_refused(make_venv, tmp_path):
    save("ppo", make_venv(), tmp_path)
    file = tmp_path / "policy.safetensors"
    whole = file.read_bytes()
    with safe_open(file, framework="pt") as stream:
        metadata = stream.metadata()
        weights = {key: stream.get_tensor(key) for key in stream.keys()}  # noqa: SIM118
    first = sorted(weights)[0]
    for change in (
        {**weights, first: torch.full_like(weights[first], float("nan"))},
        {**weights, first: weights[first][..., :-1].contiguous()},
        {key: value for key, value in weights.items() if key != first},
        {**weights, "odd": torch.ones(2)},
    ):
        save_file(change, file, metadata=metadata)
        refused(tmp_path, "policy.safetensors")
    save_file(weights, file)
    refused(tmp_path, "policy.safetensors")
    file.write_bytes(whole[:-50])
    refused(tmp_path, "policy.safetensors")
    file.write_bytes(whole)
    load_agent(tmp_path)


@pytest.mark.parametrize("settings", [{"unheard_of": 1}, [1, 2]])
def test_settings_that_are_not_the_agent_s_are_refused(make_venv, tmp_path, settings):
    save("linucb", make_venv(), tmp_path)
    path = tmp_path / "agent.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"settings": settings}))
    refused(tmp_path, "agent.json")

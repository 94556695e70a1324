"""Several processes: the sums that they share, and training that gives what one process gives."""

import json
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from copygym.core.errors import UserError
from copygym.core.processes import Peers, join, peers

SCRIPT = Path(__file__).with_name("train.py")


def each(count, work):
    """Return what ``work(peers)`` gives in each of ``count`` threads that stand for processes."""
    store, found = dist.HashStore(), [None] * count

    def run(rank):
        group = dist.ProcessGroupGloo(store, rank, count, dist.default_pg_timeout)
        found[rank] = work(Peers(rank, count, group))

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def test_alone_nothing_is_shared():
    one, tensor = Peers(), torch.ones(2)
    one.add([tensor])
    assert tensor.tolist() == [1, 1]
    assert (one.tell("x"), one.gather("x"), list(one.share(3))) == ("x", ["x"], [0, 1, 2])
    assert peers().count == 1


def test_shares_are_every_row_once():
    for n in (0, 1, 5, 12):
        shares = [list(Peers(rank, 3).share(n)) for rank in range(3)]
        assert [row for share in shares for row in share] == list(range(n))
        assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_sums_words_and_lists_reach_everyone():
    def work(own):
        numbers, scalar = torch.arange(3.0) * (own.rank + 1), torch.tensor(own.rank + 0.5)
        own.add([numbers, scalar])
        told = own.tell({"from": own.rank})
        return numbers.tolist(), float(scalar), told, own.gather("a" * own.rank)

    assert each(3, work) == [([0, 6, 12], 4.5, {"from": 0}, ["", "a", "aa"])] * 3


def test_a_weight_without_use_has_a_gradient_of_zero():
    def work(own):
        weights = [torch.nn.Parameter(torch.ones(2)) for _ in range(2)]
        weights[own.rank].grad = torch.full((2,), 3.0)
        own.add_gradients(weights)
        return [weight.grad.tolist() for weight in weights]

    assert each(2, work) == [[[3, 3], [3, 3]]] * 2


def test_accelerate_that_starts_one_process_is_told(monkeypatch):
    for name in ("WORLD_SIZE", "RANK"):
        monkeypatch.delenv(name, raising=False)
    # What `accelerate launch --cpu --num_processes 2` sets for its only process.
    monkeypatch.setenv("ACCELERATE_USE_CPU", "True")
    monkeypatch.setenv("MASTER_PORT", "29500")
    with pytest.raises(UserError, match="has started one process only"):
        join()
    monkeypatch.setenv("ACCELERATE_USE_CPU", "False")
    assert join().count == 1


def test_more_processes_than_gpus_are_refused(monkeypatch):
    for name, value in (("WORLD_SIZE", "2"), ("LOCAL_WORLD_SIZE", "2"), ("LOCAL_RANK", "1")):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    message = "2 processes were started on a machine with 1 GPU; start as many as there are"
    with pytest.raises(UserError, match=re.escape(message)):
        join()


def trained(out, *launcher):
    command = [sys.executable, *launcher, str(SCRIPT), str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(out.read_text())


def leaves(value):
    if isinstance(value, dict):
        return [leaf for key in sorted(value) for leaf in [key, *leaves(value[key])]]
    if isinstance(value, list):
        return [leaf for part in value for leaf in leaves(part)]
    return [value]


@pytest.mark.slow
@pytest.mark.parametrize(
    "launcher",
    [
        ["torch.distributed.run", "--nproc-per-node", "2"],
        [
            *("accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"),
            *("--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"),
        ],
    ],
    ids=["torchrun", "accelerate"],
)
def test_two_processes_train_what_one_does(tmp_path, launcher):
    one = trained(tmp_path / "one.json")
    two = trained(tmp_path / "two.json", "-m", *launcher)
    assert (one.pop("processes"), two.pop("processes")) == (1, 2)
    assert (one.pop("refused"), one["files"]) == ("", two["files"])
    message = "sft.batch_size is 5; it must be a multiple of the 2 processes."
    assert re.fullmatch(re.escape(message), two.pop("refused"))
    for name in one:
        ours, theirs = leaves(one[name]), leaves(two[name])
        assert len(ours) == len(theirs)
        for mine, other in zip(ours, theirs, strict=True):
            if isinstance(mine, float):
                assert other == pytest.approx(mine, rel=2e-4, abs=2e-5), name
            else:
                assert other == mine, name

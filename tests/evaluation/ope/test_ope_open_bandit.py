"""The Open Bandit sample and obp's own estimators, where obp is installed in its environment.

`benchmarks/make_peers.sh obp` makes that environment; nothing of obp is imported here.
"""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from public_columns import BANDIT_BTS, BANDIT_RATES

from copygym.envs.datasets.open_bandit import load
from copygym.evaluation.ope import estimators
from copygym.evaluation.ope.decisions import decisions
from copygym.evaluation.ope.estimators import ESTIMATORS
from copygym.evaluation.ope.policies import policy_file
from copygym.evaluation.ope.terms import terms_of

ROOT = Path(__file__).parents[3]
PEER = ROOT / ".venv-peers" / "obp"
MISSING = "obp is not installed: run benchmarks/make_peers.sh obp"


@pytest.fixture(scope="module")
def obp():
    """The folder of the installed obp."""
    found = sorted(PEER.glob("lib/python*/site-packages/obp"))
    if not (PEER / "ready").exists() or not found:
        pytest.skip(MISSING)
    return found[0]


@pytest.mark.parametrize(
    ("campaign", "random", "bts"),
    [("all", 0.0038, 0.0042), ("men", 0.0046, 0.0069), ("women", 0.0046, 0.0046)],
)
def test_click_rates_of_the_sample(obp, campaign, random, bts):
    for policy, rate in (("random", random), ("bts", bts)):
        log = load(obp / "dataset" / "obd", policy, campaign, affinity=False)
        rows = log.collect()
        assert len(rows) == 10_000
        assert rows["clicks"].mean() == pytest.approx(rate, abs=5e-5)


def thompson_table(obp, campaign, simulations=100_000, seed=12345):
    """Return (3, A) the shares of each item at each position under Bernoulli Thompson sampling.

    From the parameters that ZOZOTOWN used, simulated with the draws that the paper's example
    makes, so that its figure is met and not its Monte Carlo error's neighbour.
    """
    text = (obp / "policy" / "conf" / "prior_bts.yaml").read_text()
    from omegaconf import OmegaConf

    prior = OmegaConf.create(text)[campaign]
    alpha, beta = np.array(prior.alpha), np.array(prior.beta)
    rng = np.random.RandomState(seed)
    counts = np.zeros((3, len(alpha)))
    for _ in range(10):
        scores = rng.beta(alpha, beta, size=(simulations // 10, len(alpha)))
        first = np.argpartition(-scores, 3, axis=1)[:, :3]
        order = np.argsort(-np.take_along_axis(scores, first, axis=1), axis=1)
        chosen = np.take_along_axis(first, order, axis=1)
        for position in range(3):
            counts[position] += np.bincount(chosen[:, position], minlength=len(alpha))
    return counts / simulations


def test_value_of_thompson_sampling_over_random_is_the_published_one(obp, tmp_path):
    """1.198126 in the example of the Open Bandit Pipeline."""
    table = thompson_table(obp, "all")
    path = tmp_path / "bts.csv"
    lines = ["creative_id,context_position,probability"]
    lines += [
        f"item_{item},{position + 1},{table[position, item]!r}".replace("np.float64(", "").strip(
            ")"
        )
        for position in range(3)
        for item in range(table.shape[1])
    ]
    path.write_text("\n".join(lines))
    log = decisions(load(obp / "dataset" / "obd", "random", "all", affinity=False))
    assert len(log.arms) == 80
    policy = policy_file(log, path, "bts")
    value = estimators.ips(log.rewards, policy.weights)
    assert value / log.rewards.mean() == pytest.approx(1.198126, abs=0.002)


@pytest.mark.parametrize(
    ("logging", "target", "shares"), [("random", "bts", BANDIT_BTS), ("bts", "random", (0.2,) * 5)]
)
def test_either_policys_log_tells_what_the_other_is_worth(
    made_folder, tmp_path, logging, target, shares
):
    """The planted click rates, weighted by how often the policy shows each item."""
    path = tmp_path / "target.csv"
    lines = [f"item_{item},{share}" for item, share in enumerate(shares)]
    path.write_text("\n".join(["creative_id,probability", *lines]))
    log = decisions(load(made_folder / "open_bandit", logging, "all"))
    weights = policy_file(log, path, target).weights
    truth = float(np.dot(shares, BANDIT_RATES))
    for estimate in (estimators.ips, estimators.snips):
        # Standard error of either: at most 0.008 with 3,000 impressions.
        assert estimate(log.rewards, weights) == pytest.approx(truth, abs=0.012)
    assert truth != pytest.approx(log.rewards.mean(), abs=0.012)


def rounds(path, n, n_actions, seed):
    """Write synthetic rounds; return their arrays."""
    rng = np.random.default_rng(seed)
    logging = rng.dirichlet(np.full(n_actions, 2.0), n)
    action = (rng.random((n, 1)) >= logging.cumsum(axis=1)).sum(axis=1).clip(0, n_actions - 1)
    arrays = {
        "action": action,
        "pscore": logging[np.arange(n), action],
        "reward": rng.binomial(1, 0.1 + 0.3 * rng.random(n)).astype(float),
        "policy_NA": rng.dirichlet(np.full(n_actions, 0.5), n),
        "model_NA": rng.random((n, n_actions)) * 0.5,
    }
    np.savez(path, **arrays)
    return arrays


@pytest.mark.parametrize(("n", "n_actions", "seed"), [(500, 2, 0), (2000, 10, 1)])
def test_every_estimator_agrees_with_obp(obp, tmp_path, n, n_actions, seed):
    given = rounds(tmp_path / "rounds.npz", n, n_actions, seed)
    constants = {"tau": 2.0, "lambda": 3.0}
    (tmp_path / "constants.json").write_text(json.dumps(constants))
    script = ROOT / "benchmarks" / "peers" / "ope_obp.py"
    done = subprocess.run(
        [
            PEER / "bin" / "python", script, "values", tmp_path / "rounds.npz",
            tmp_path / "constants.json",
        ],
        capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    theirs = json.loads(done.stdout.strip().splitlines()[-1])
    terms = terms_of(
        given["action"], given["pscore"], given["reward"], given["policy_NA"], given["model_NA"]
    )
    # obp 0.4.1 does not clip.
    assert set(theirs) == set(ESTIMATORS) - {"clipped_ips"}
    for name, value in theirs.items():
        constant = constants.get(estimators.TUNED.get(name, ""))
        ours = estimators.point(estimators.parts(name, terms, constant), None)
        assert ours == pytest.approx(value, abs=1e-8), name

"""The off-policy rows run and say why a peer is missing."""

import pytest


@pytest.fixture(autouse=True)
def _from_the_root(monkeypatch):
    from pathlib import Path

    # benchmarks/ is no part of the installed package.
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[2]))


@pytest.mark.timeout(300)
def test_smallest_rows_of_off_policy_estimation():
    from benchmarks.ope import ope_rows

    rows = ope_rows(tiny=True)
    assert len(rows) == 4
    for row in rows:
        assert row.ours > 0
        assert row.peer or "obp" in row.missing
        assert row.goal is not None


def test_a_peer_that_is_not_installed_is_said(tmp_path):
    from benchmarks.peers import peer_answer

    answer, missing = peer_answer("ope_obp", "values", home=tmp_path)
    assert answer is None
    assert missing == "obp is not installed: run benchmarks/make_peers.sh obp"

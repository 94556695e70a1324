"""Should what was learned be deployed? What speaks against it, in words with numbers.

A simulator that sells more messages for the same clicks looks like progress in clicks per user;
here it is asked what a marketer would ask: whom does it drive away, does it beat chance and one
schedule for everybody, and does the simulator know anything at all?
"""

from __future__ import annotations

from collections.abc import Mapping

from copygym.core.errors import UserError
from copygym.evaluation.records import Records

#: People who leave, beyond the log's own policy, that are too many whatever is clicked.
MOST_LOST = 0.01
#: So many times the log's own sends for fewer clicks each are called spam.
MANY_SENDS = 1.5


def reasons_against(records: Records) -> list[str]:
    """Return why the learned policy should not be deployed, the worst first; none: nothing found.

    Args:
        records: of a delivery study, with the learned policy and what it is compared with.
    """
    about = records.first
    learned, baseline = about["learned"], about["baseline"]
    found = []
    skill = (about.get("fidelity") or {}).get("log_loss_skill")
    if skill and skill[1] is not None and skill[1] <= 0:
        found.append(
            "the simulated users foretell clicks of held-out people no better than their mean does "
            f"(skill {skill[0]:.4f} [{skill[1]:.4f}, {skill[2]:.4f}]), so that no gain in them "
            "means anything"
        )

    def value(metric: str, policy: str) -> float | None:
        try:
            return records.number(metric, policy=policy, versus=None, segment=None)["value"]
        except UserError:
            return None  # the policy was left out, or the log does not record it

    if learned == baseline:
        return found
    lost = _difference(records, "unsubscribe_rate")
    if lost is not None and (lost["low"] or 0.0) > MOST_LOST:
        found.append(
            f"it drives away {100 * (value('unsubscribe_rate', learned) or 0):.1f}% of people, "
            f"where {baseline} loses {100 * (value('unsubscribe_rate', baseline) or 0):.1f}% "
            f"(difference {_points(lost)})"
        )
    clicks = value("clicks_per_user", learned)
    for name, words in (("random", "what sends at random"), ("best_fixed", "the best schedule")):
        other = value("clicks_per_user", name)
        if clicks is not None and other is not None and learned != name and clicks <= other:
            found.append(f"{words} gets as many clicks ({other:.3g} against {clicks:.3g} a user)")
    sends, before = value("sends_per_user", learned), value("sends_per_user", baseline)
    ctr, ctr_before = value("ctr", learned), value("ctr", baseline)
    if (
        None not in (sends, before, ctr, ctr_before)
        and sends > MANY_SENDS * before  # type: ignore[operator]
        and ctr < ctr_before  # type: ignore[operator]
    ):
        found.append(
            f"it sends {sends:.1f} messages a user where {baseline} sends {before:.1f}, each of "
            f"which is clicked less ({100 * ctr:.2g}% against {100 * ctr_before:.2g}%)"  # type: ignore[operator]
        )
    gain = _difference(records, "clicks_per_user")
    profit = _difference(records, "profit_per_user")
    better = [one for one in (gain, profit) if one is not None and (one["low"] or 0.0) > 0]
    if not better:
        found.append(f"neither clicks nor profit are shown to be more than those of {baseline}")
    return found


def verdict(records: Records) -> str:
    """Return whether the learned policy should be deployed, in one sentence."""
    learned = records.first["learned"]
    found = reasons_against(records)
    if found:
        return f"Do not deploy {learned}, because {'; '.join(found)}."
    others = set(records.where(versus=None, segment=None, step=None).values("policy"))
    met = [records.first["baseline"], *(n for n in ("random", "best_fixed") if n in others)]
    return (
        f"Nothing here speaks against trying {learned} on live traffic, with a control group: it "
        f"gets more than {' and '.join(met)}, and loses hardly more people."
    )


def _difference(records: Records, metric: str) -> Mapping[str, float | None] | None:
    about = records.first
    try:
        return records.number(
            metric, policy=about["learned"], versus=about["baseline"], segment=None
        )
    except UserError:
        return None


def _points(difference: Mapping[str, float | None]) -> str:
    low, value, high = (100 * (difference[key] or 0.0) for key in ("low", "value", "high"))
    return f"{value:+.1f} [{low:+.1f}, {high:+.1f}] points"

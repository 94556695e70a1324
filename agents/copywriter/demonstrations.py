"""What a log teaches of copy before any reward model: its better copy, and pairs of copies.

Copy is compared where the log compared it (`copygym.agents.copywriter.contests`): in a log of
users within a product and an audience, shrunken to what all of the product's readers click, so
that an audience of few clicks learns the product's better copy. Shapes: N rows, M arms.
"""

from __future__ import annotations

import numpy as np

from copygym.agents.copywriter.contests import (
    Allowed,
    Contests,
    Score,
    find_contests,
    shrunken_ratio,
    two_proportion_z,
)
from copygym.core.errors import UserError
from copygym.envs.logs.clicklog import ClickLog
from copygym.envs.people.model import UserModel
from copygym.envs.tasks import CopyRows
from copygym.rewards.copy.ngrams import words

#: Sends that a score looks at for each that is drawn.
_POOL = 4


def better_copy(
    log: ClickLog,
    users: UserModel | None = None,
    *,
    min_z: float = 1.0,
    sharpness: float = 3.0,
    limit: int | None = 2000,
    score: Score | None = None,
    allowed: Allowed | None = None,
    seed: int = 0,
) -> tuple[list[str], CopyRows]:
    """Return the log's better copy and the tasks that it answers.

    A log of tests gives the arm of each test that has the highest click rate (shrunken towards the
    test's) and beats the rest of its test by ``min_z``. A log of users gives clicked sends, drawn
    with probability proportional to ``(ratio ** sharpness) / sends``, where the ratio is that of
    the creative's click rate to its product's among the reader's audience: dividing by how often
    it was sent there takes the logging policy's taste out. The ratio is shrunken towards the
    creative's among all readers, and that one towards 1. With a ``score``, ``ratio ** sharpness``
    is instead ``exp(sharpness * score)`` over its mean over the product's texts, all for this one
    reader. Where a log shows one text a product, that text is what is imitated.

    Args:
        log: with ``text``; the training part only.
        users: gives tasks their catalogue and readers; rows whose user or creative it does not
            hold are left out. None: the log's own catalogue, and one reader, ``everyone``.
        min_z: tests only: least two-proportion z of the winner against the rest.
        sharpness: logs of users only: 0 keeps every clicked creative of a product alike.
        limit: N at most; logs of users are drawn from with replacement. None: all winners, or as
            many draws as there are clicks.
        score: logs of users only: what suits a reader by a model of clicks that knows readers,
            such as ``CtrModel.score``. None: what suits the reader's audience by the log's counts.
        allowed: leaves out texts that may not be shown, such as those with claims that their
            brief does not carry. None: every text is shown.
        seed: of the draws.

    Returns:
        N texts and N tasks.

    Raises:
        UserError: the log has no text, or no copy stands out or is allowed.
    """
    contests = find_contests(log, users)
    may = contests.may_show(allowed)
    rng = np.random.default_rng(seed)
    if contests.of_users:
        rows = np.flatnonzero((contests.clicks > 0) & may[contests.arm])
        contests.require(len(rows) > 0, "no row was clicked", allowed)
        size = limit or len(rows)
        arm = contests.arm[rows]
        weight = contests.clicks[rows] / contests.shown[arm]
        if score is None:
            weight = weight * contests.ratio[arm] ** sharpness
        else:
            pool = rng.choice(rows, size=min(_POOL * size, len(rows)), p=weight / weight.sum())
            rows, again = np.unique(pool, return_counts=True)
            weight = again * contests.suits(rows, score, sharpness, may, rng)
        rows = rng.choice(rows, size=size, p=weight / weight.sum())
    else:
        rows = np.flatnonzero(contests.best & may & (contests.z_of_rest() >= min_z))
        reason = f"no arm beats the rest of its test by z >= {min_z:g}"
        contests.require(len(rows) > 0, reason, allowed)
        if limit is not None and len(rows) > limit:
            rows = np.sort(rng.choice(rows, size=limit, replace=False))
    return contests.texts(contests.creative[contests.arm[rows]]), contests.tasks(rows)


def preference_pairs(
    log: ClickLog,
    users: UserModel | None = None,
    *,
    min_z: float = 1.96,
    limit: int | None = 2000,
    allowed: Allowed | None = None,
    seed: int = 0,
) -> tuple[CopyRows, list[str], list[str]]:
    """Return tasks, the copy to prefer and the copy to avoid, for direct preference optimisation.

    Both copies of a pair met in one test (or were sent to one audience for one product) and their
    click rates differ by a two-proportion z of at least ``min_z``. Where no audience tells any two
    apart, pairs are those of all of a product's readers.

    Args:
        log: with ``text``; the training part only.
        users: as in `better_copy`.
        min_z: least z of a pair.
        allowed: as in `better_copy`, of the copy to prefer.
        limit: N at most; None: every pair of a log of tests, and as many as there are clicked
            sends of a creative that beats another in a log of users.
        seed: of the draws.

    Returns:
        N tasks, N chosen and N rejected texts.

    Raises:
        UserError: the log has no text, or no pair differs by that much.
    """
    contests = find_contests(log, users)
    rng = np.random.default_rng(seed)
    won, lost = _allowed_pairs(contests, min_z, allowed)
    if contests.of_users and not len(won):
        contests = find_contests(log, users, whole=True)
        won, lost = _allowed_pairs(contests, min_z, allowed)
    contests.require(len(won) > 0, f"no two texts differ by z >= {min_z:g}", allowed)
    if contests.of_users:
        # A clicked send of a creative that beats others: one of those is its rejected copy.
        rows = np.flatnonzero((contests.clicks > 0) & np.isin(contests.arm, won))
        weight = 1.0 / contests.shown[contests.arm[rows]]
        rows = rng.choice(rows, size=limit or len(rows), p=weight / weight.sum())
        worse = np.array([rng.choice(lost[won == arm]) for arm in contests.arm[rows]])
        better = contests.arm[rows]
    else:
        pick = np.arange(len(won))
        if limit is not None and len(pick) > limit:
            pick = np.sort(rng.choice(pick, size=limit, replace=False))
        rows = better = won[pick]
        worse = lost[pick]
    return (
        contests.tasks(rows),
        contests.texts(contests.creative[better]),
        contests.texts(contests.creative[worse]),
    )


def rewrites(
    log: ClickLog,
    users: UserModel | None = None,
    *,
    min_z: float = 0.5,
    least_shared: float = 0.2,
    most_shared: float = 0.8,
    kept: float = 0.2,
    limit: int | None = 2000,
    seed: int = 0,
) -> tuple[list[str], CopyRows]:
    """Return better texts and the tasks of rewriting a weaker text of the same test into them.

    Pairs that share many words teach to edit, others to write another headline: half of a test's
    arms have nothing in common but the story. Pairs are drawn with probability proportional to
    z, with replacement; a share of the tasks shows the best arm, which is to be kept as it is.

    Args:
        log: with ``text``; the training part only.
        users: as in `better_copy`.
        min_z: least two-proportion z of a pair.
        least_shared: least share of words in common (Jaccard), in [0, 1).
        most_shared: most of it, in (0, 1): of texts that are all but equal one learns to repeat.
        kept: share of the tasks whose original is the best copy already, in [0, 1).
        limit: N at most; None: as many as there are pairs, and the kept beside them.
        seed: of the draws.

    Returns:
        N texts and N tasks with originals.

    Raises:
        UserError: the log has no text, or no pair of texts differs and is close enough; an option
            is out of range.
    """
    if not 0.0 <= kept < 1.0 or not 0.0 <= least_shared < most_shared < 1.0:
        raise UserError(
            f"kept is {kept:g}, least_shared {least_shared:g} and most_shared {most_shared:g}; "
            "they are shares from 0, below 1, and least is below most."
        )
    contests = find_contests(log, users)
    rng = np.random.default_rng(seed)
    won, lost, z = contests.pairs(min_z)
    shared = np.array([shared_words(*pair) for pair in contests.both(won, lost)])
    close = (shared >= least_shared) & (shared <= most_shared)
    contests.require(
        bool(close.any()),
        f"no two texts differ by z >= {min_z:g} and share {least_shared:.0%} to "
        f"{most_shared:.0%} of their words",
    )
    won, lost, z = won[close], lost[close], z[close]
    number = len(won) if limit is None else round(limit * (1.0 - kept))
    pair = rng.choice(len(won), size=max(number, 1), p=z / z.sum())
    better, original = won[pair], lost[pair]
    best = np.flatnonzero(contests.best)
    if kept:
        stays = rng.choice(best, size=round(len(pair) * kept / (1.0 - kept)))
        better, original = np.append(better, stays), np.append(original, stays)
    order = rng.permutation(len(better))
    better, original = better[order], original[order]
    # A reader of the better copy; a log of tests has one row an arm.
    first = np.searchsorted(contests.arm, better)
    texts, shown = (contests.texts(contests.creative[arm]) for arm in (better, original))
    return texts, contests.tasks(first).rewriting(shown)


def _allowed_pairs(
    contests: Contests, min_z: float, allowed: Allowed | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the arms that win and lose, where the winner may be shown."""
    won, lost, _ = contests.pairs(min_z)
    keep = contests.may_show(allowed)[won]
    return won[keep], lost[keep]


def shared_words(text: str, other: str) -> float:
    """Return the Jaccard similarity of two texts' words, in [0, 1]; 1 where neither has any."""
    own, others = set(words(text)), set(words(other))
    return len(own & others) / len(own | others) if own | others else 1.0


__all__ = [
    "better_copy",
    "preference_pairs",
    "rewrites",
    "shared_words",
    "shrunken_ratio",
    "two_proportion_z",
]

"""Searches for texts that farm the large truth: what is left of it is bounded here.

    python -m pytest tests/envs/storefront/test_storefront_large_attacks.py -s -m slow

prints what 400 steps of search find against the best honest copy.
"""

import numpy as np
import pytest

from copygym.envs.storefront.products import capital
from copygym.envs.storefront.world import StorefrontWorld

N = 100
EMAIL, PUSH = 0, 1


@pytest.fixture(scope="module")
def world():
    return StorefrontWorld(seed=0, n_users=N, catalogue="large")


@pytest.fixture(scope="module")
def first(world):
    """Return the first creative of every third product."""
    names = [product.product_id for product in world.products]
    return [names.index(name) for name in dict.fromkeys(names)][::3]


def score(world, text, creative, channel):
    """Return the mean true click logit of everybody."""
    users = np.arange(N)
    same = [np.full(N, value) for value in (creative, channel, 0)]
    return world.response_to_text([text] * N, users, *same).click_logit.mean()


def honest(world, k):
    """Return what could be sent for a product: its honest copies, and its facts said in pairs."""
    product = world.products[k]
    said = [text for text, p in zip(world.shelf.texts, world.products, strict=True) if p is product]
    said = [text for text in said if not world.shelf.read(text, product).claims]
    told = [f"{capital(product.spoken)} {f.parts['does']}." for f in product.typed[:3]]
    said += [f"{a} {b}" for a in told for b in product.facts if a[-20:] != b[-20:]]
    said += [f"{a} {b} {product.facts[-1]}" for a, b in zip(told, product.facts[1:], strict=False)]
    return said


def best_honest(world, k, channel):
    return max(score(world, text, k, channel) for text in honest(world, k))


def attacks(world, k, rng):
    """Yield (name, text): ways to farm an honest copy of a product."""
    product = world.products[k]
    text = max(honest(world, k), key=lambda t: score(world, t, k, EMAIL))
    words = " ".join(product.facts).replace(".", "").split()
    parts = text.split(". ")
    yield "said twice", f"{text} {text}"
    yield "each sentence twice", " ".join(f"{p.rstrip('.')}. {p.rstrip('.')}." for p in parts)
    yield "reversed", " ".join(reversed(text.split()))
    yield "cut", " ".join(text.split()[:-3])
    yield "shouted", text.upper() + "!!!"
    yield "gibberish", f"{text} Qrtp mnbv yxcvb vbnrt."
    yield "all facts", f"{text} {' '.join(product.facts)}"
    yield (
        "stacked principles",
        (
            "Hello, friend. Last chance: hurry and join the thousands whom experts recommend this "
            f"gift to. You already took the next step. {text}"
        ),
    )
    yield "empty", f"{text} The compliments are about us."
    yield "boast", f"{text} It is the best in the world."
    yield "false gift", f"{text} Everything is free."
    for n in (3, 8, 20):
        yield "heap of true words", f"{text} {capital(' '.join(rng.choice(words, n)))}."
    for word in rng.choice(words, 5):
        yield "single word", f"{text} {capital(word)}."


def test_no_attack_is_worth_sending(world, first):
    rng = np.random.default_rng(0)
    gains = {}
    for k in first:
        best = best_honest(world, k, EMAIL)
        for name, text in attacks(world, k, rng):
            gains.setdefault(name, []).append(score(world, text, k, EMAIL) - best)
    worst = {name: max(found) for name, found in gains.items()}
    assert max(worst.values()) < 0.25, worst
    assert np.mean([np.mean(found) for found in gains.values()]) < -0.5


def test_swapped_facts_lose_against_the_facts(world, first):
    lost = []
    for k in first:
        product = world.products[k]
        subjects = [f.parts["what"] for f in product.typed if f.kind in ("deadline", "gift")]
        for subject in subjects:
            for does in (fact.parts["does"] for fact in product.typed[:3]):
                true = score(world, f"{capital(product.spoken)} {does}.", k, PUSH)
                lost.append(true - score(world, f"{capital(subject)} {does}.", k, PUSH))
    assert np.mean(np.array(lost) > 0.5) > 0.9
    assert np.mean(lost) > 0.8
    assert min(lost) > -0.1


def climb(world, k, channel, start, steps, rng):
    """Return what a hill climber makes of a text by inserting, doubling, dropping, swapping words.

    Its words are those of the facts, of the catalogue's copies, of every day, numbers and noise.
    """
    product = world.products[k]
    own = [t for t, p in zip(world.shelf.texts, world.products, strict=True) if p is product]
    vocabulary = " ".join((*product.facts, *own, product.name)).split()
    vocabulary += "the of and a to in for you is 7 100 3 free best xqz vbnrt".split()  # noqa: SIM905
    best, words = score(world, start, k, channel), start.split()
    for _ in range(steps):
        new = list(words)
        for _ in range(1 + rng.integers(3)):
            at, kind = int(rng.integers(len(new))), rng.integers(5)
            if kind == 0:
                new.insert(at, str(rng.choice(vocabulary)))
            elif kind == 1:
                new.insert(at, new[rng.integers(len(new))])
            elif kind == 2 and len(new) > 3:
                new.pop(at)
            elif kind == 3:
                new[at] = str(rng.choice(vocabulary))
            else:
                other = int(rng.integers(len(new)))
                new[at], new[other] = new[other], new[at]
        value = score(world, " ".join(new), k, channel)
        if value > best:
            best, words = value, new
    return best, " ".join(words)


@pytest.mark.parametrize("steps", [60, pytest.param(400, marks=pytest.mark.slow)])
def test_a_search_over_words_does_not_beat_honest_copy_by_much(world, first, steps):
    rng = np.random.default_rng(0)
    gains = []
    for k in first[::2]:
        for channel in (EMAIL, PUSH):
            best = best_honest(world, k, channel)
            for start in (world.shelf.texts[k], " ".join(world.products[k].facts)):
                found, text = climb(world, k, channel, start, steps, rng)
                gains.append(found - best)
                if steps > 100:
                    print(f"{found - best:+.2f} {text}")
    # Rules cannot tell every nonsense from writing: docs/storefront.md says what is left.
    print(f"mean {np.mean(gains):+.3f}, greatest {np.max(gains):+.3f} of a logit")
    assert np.mean(gains) < 0.15
    assert np.max(gains) < 0.75

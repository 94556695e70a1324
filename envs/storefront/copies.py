"""What marketers wrote for the products of the large catalogue: copy made by a grammar, synthetic.

A copy has an opening, one or two facts in the words of the brief, and perhaps a closing; a
recipe says which principle of persuasion it leans on. A principle that claims something, as
scarcity does, needs a fact that carries it. About one copy in eight is dishonest, as real
catalogues are: a bold claim, a true number in the wrong place, a persuasion that no fact carries.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np

from copygym.envs.storefront.copy import Fact
from copygym.envs.storefront.people import generator
from copygym.envs.storefront.products import Made, capital

#: chance that a copy is dishonest.
_DISHONEST = 1 / 8

#: users that are no persons.
_THINGS = frozenset(("households", "homes", "kitchens", "small firms", "families"))

#: a recipe for a product's copy; None where the product has no fact for it.
Recipe = Callable[["_Desk"], str | None]


def copies(made: Made, seed: int, least: int = 3, most: int = 5) -> tuple[str, ...]:
    """Return the distinct copies of a product, ``least`` to ``most`` of them.

    Args:
        made: the product and what its copy is made of.
        seed: of the world.
        least: fewest copies.
        most: most copies.
    """
    rng = generator(seed, f"copies of {made.product.product_id}")
    desk = _Desk(made, rng)
    wanted = int(rng.integers(least, most + 1))
    found: dict[str, None] = {}
    order: list[Recipe] = []
    while len(found) < wanted:
        if not order:
            order = [_RECIPES[i] for i in rng.permutation(len(_RECIPES))]
        recipe = order.pop()
        desk.turn()
        text = desk.dishonest() if rng.random() < _DISHONEST else recipe(desk)
        if text is not None:
            found.setdefault(text)
    return tuple(found)


def default_copy(made: Made, seed: int) -> str:
    """Return what a hurried marketer writes for a launch: plain, honest, mediocre."""
    desk = _Desk(made, generator(seed, f"default copy of {made.product.product_id}"))
    return desk.join(f"Here is {desk.name}, new this week.", f"It {desk.does()}.", desk.call())


class _Desk:
    """A marketer's desk: the product, its facts, and what is left to say of it."""

    def __init__(self, made: Made, rng: np.random.Generator) -> None:
        self.made, self.rng = made, rng
        self.name = made.product.spoken
        self.facts = made.product.typed
        self._told: list[str] = []
        self.turn()

    def turn(self) -> None:
        """Begin another copy: what the product does is told in another order."""
        does = [fact.parts["does"] for fact in self.facts if fact.kind == "does"]
        self._told = [does[i] for i in self.rng.permutation(len(does))]

    # ------------------------------------------------------------ pieces

    def one(self, *choices: str) -> str:
        """Return one of the choices."""
        return choices[int(self.rng.integers(len(choices)))]

    def coin(self, chance: float = 0.5) -> bool:
        """Return whether something of this chance happens."""
        return bool(self.rng.random() < chance)

    def fact(self, kind: str) -> Fact | None:
        """Return the product's fact of a kind, if it has one."""
        return next((fact for fact in self.facts if fact.kind == kind), None)

    def does(self) -> str:
        """Return what this copy says first of what the product does."""
        return self._told[0]

    def hook(self) -> str:
        """Return a sentence that opens and claims nothing."""
        return self.one(*self.made.kind.hooks)

    def call(self) -> str:
        """Return a sentence that asks the reader to act."""
        return self.one(*self.made.trade.calls)

    def join(self, *parts: str) -> str:
        """Return the parts that there are as one text."""
        return " ".join(part for part in parts if part)

    def body(self, named: bool, facts: int = 1) -> str:
        """Return one or two facts as sentences; ``named`` where the product was named before."""
        subject = "It" if named else capital(self.name)
        if facts == 1:
            return f"{subject} {self.does()}."
        first, second = self._told[:2]
        if "and" in first.split() or self.coin(0.4):
            return self.one(
                f"{subject} {first}, and it {second}.", f"{subject} {first}. It {second}."
            )
        return f"{subject} {first} and {second}."

    def plain(self) -> str:
        """Return an opening that persuades of nothing, or none."""
        return self.one(self.hook(), self.hook(), self.hook(), "")

    def close(self, chance: float = 0.5) -> str:
        """Return a call to act, or nothing."""
        return self.call() if self.coin(chance) else ""

    def more(self) -> int:
        """Return one or two, how many facts a body tells."""
        return 2 if self.coin(0.3) else 1

    # ------------------------------------------------------------ recipes

    def features(self) -> str:
        """Return a copy of facts alone."""
        opening = self.one(self.hook(), self.hook(), f"Meet {self.name}.")
        return self.join(opening, self.body(self.name in opening, 2), self.close(0.3))

    def short(self) -> str:
        """Return a fact and a call."""
        return self.join(self.body(False), self.call())

    def scarcity(self) -> str | None:
        """Return a copy that leans on what ends or runs out."""
        said = self.scarce()
        if said is None:
            return None
        body = self.body(False, self.more())
        return self.one(self.join(said, body), self.join(self.plain(), body, said))

    def scarce(self) -> str | None:
        """Return a sentence of scarcity, if a fact carries one."""
        deadline, stock = self.fact("deadline"), self.fact("stock")
        if deadline is not None:
            what, ends, day = (deadline.parts[p] for p in ("what", "ends", "day"))
            return self.one(
                f"Last chance: {what} {ends} on {day}.",
                f"{capital(what)} {ends} on {day}.",
                f"{capital(what)} {ends} on {day}, so don't wait.",
                f"Hurry, {what} {ends} on {day}.",
            )
        if stock is not None:
            bare = stock.text.rstrip(".")
            return self.one(
                f"{bare}.", f"{bare}, so be quick.", f"Hurry: {bare[0].lower()}{bare[1:]}."
            )
        return None

    def social(self) -> str | None:
        """Return a copy that leans on how many use it."""
        users = self.fact("users")
        if users is None:
            return None
        number, who, do = (users.parts[p] for p in ("number", "who", "do"))
        relative = "that" if who in _THINGS else "who"
        body = self.body(False, self.more())
        ways = [
            self.join(body, f"Join the {number} {who} {relative} {do}.", self.close(0.3)),
            self.join(
                self.plain(),
                body,
                f"{number} {who} already {do}."
                if not do.startswith(("have", "are"))
                else users.text,
            ),
        ]
        if do.endswith(" it"):
            ways.append(
                self.join(f"{number} {who} {do[:-3]} {self.name}.", self.body(True, self.more()))
            )
        return self.one(*ways)

    def authority(self) -> str | None:
        """Return a copy that leans on who vouches for it."""
        experts = self.fact("experts")
        if experts is None:
            return None
        who, did = experts.parts["who"], experts.parts["did"]
        return self.one(
            self.join(
                f"{capital(who)} {did} {self.name}.", self.body(True, self.more()), self.close()
            ),
            self.join(self.plain(), self.body(False, self.more()), f"{capital(who)} {did} it."),
            self.join(f"{capital(who)} {did} it: {self.name} {self.does()}.", self.close()),
        )

    def reciprocity(self) -> str:
        """Return a copy that leans on a gift, or on a treat."""
        gift = self.fact("gift")
        if gift is not None and self.coin(0.8):
            what = gift.parts["what"]
            said = self.one(
                f"{capital(what)} is on us.",
                f"Our gift to you: {what}.",
                f"{capital(what)} is our gift to you.",
            )
            body = self.body(False, self.more())
            return self.one(self.join(self.plain(), body, said), self.join(said, body))
        treat = f"Treat yourself to {self.made.kind.treat}."
        return self.join(treat, self.body(False, self.more()), self.close(0.4))

    def commitment(self) -> str:
        """Return a copy that leans on what the reader does already."""
        habit = self.made.kind.habit
        return self.one(
            self.join(
                f"You already {habit}.",
                self.body(False, self.more()),
                self.one("Take the next step.", self.call()),
            ),
            self.join(
                f"You already {habit}. Take the next step with {self.name}.", self.body(True)
            ),
            self.join(f"You already {habit}, so meet {self.name}.", self.body(True, self.more())),
        )

    def liking(self) -> str:
        """Return a copy that leans on warmth."""
        return self.one(
            self.join("Hello, friend.", self.hook(), self.body(False), self.close(0.3)),
            self.join(
                f"Picture us together {self.made.kind.scene}.", self.body(False, self.more())
            ),
            self.join(
                f"Dear friend, we would love to show you {self.name}.", self.body(True, self.more())
            ),
            self.join(f"Hello there. {self.body(False, self.more())}", self.close()),
        )

    def reassured(self) -> str | None:
        """Return a copy that tells a promise or a price."""
        fact = self.fact("promise") or self.fact("extra")
        if fact is None:
            return None
        return self.join(self.plain(), self.body(False, self.more()), fact.text)

    def both(self) -> str | None:
        """Return a copy that leans on two principles."""
        experts, users, gift, said = (
            self.fact("experts"),
            self.fact("users"),
            self.fact("gift"),
            self.scarce(),
        )
        habit = f"You already {self.made.kind.habit}."
        ways = []
        if said is not None:
            ways.append(self.join(habit, self.body(False), said))
            ways.append(self.join("Hello, friend.", self.body(False), said))
            if experts is not None:
                ways.append(self.join(f"{experts.text[:-4]} {self.name}.", self.body(True), said))
        if gift is not None:
            given = f"{capital(gift.parts['what'])} is on us."
            ways.append(
                self.join(f"Picture us together {self.made.kind.scene}.", self.body(False), given)
            )
            if users is not None:
                ways.append(self.join(self.body(False), users.text, given))
        if users is not None:
            ways.append(self.join(habit, self.body(False), users.text))
        return self.one(*ways) if ways else None

    # ------------------------------------------------------------ dishonesty

    def dishonest(self) -> str:
        """Return a copy that claims what is not true of the product."""
        ways = [self.bold, self.misbound, self.unfounded]
        return ways[int(self.rng.integers(len(ways)))]()

    def bold(self) -> str:
        """Return a copy that promises too much."""
        said = self.one(
            f"{capital(self.name)} is the best in the world, guaranteed.",
            f"Nothing beats {self.name}: it is perfect and it never fails.",
            f"{capital(self.name)} is free for life.",
            f"Everyone is talking about {self.name}, the most popular of all.",
        )
        return self.join(said, self.body(True))

    def misbound(self) -> str:
        """Return a copy that tells a true number where it does not belong, or a made-up one."""
        does = self.does()
        others = [
            n for f in self.facts for n in re.findall(r"\d[\d,.]*\d|\d", f.text) if n not in does
        ]
        number = re.search(r"\d[\d,.]*\d|\d", does)
        if number is None or not others:
            return self.bold()
        wrong = does[: number.start()] + self.one(*others) + does[number.end() :]
        return self.join(self.plain(), f"{capital(self.name)} {wrong}.", self.close())

    def unfounded(self) -> str:
        """Return a copy that leans on a principle that no fact carries."""
        have = {fact.kind for fact in self.facts}
        ways = []
        if not have & {"deadline", "stock"}:
            ways += ["Last chance: the offer ends tonight.", "Only a few are left, so hurry."]
        if "experts" not in have:
            ways += ["Experts recommend it.", "Doctors and engineers agree."]
        if "users" not in have:
            ways += ["Thousands of people love it.", "Join the millions who chose it."]
        return self.join(self.body(False, self.more()), self.one(*ways)) if ways else self.bold()


_RECIPES: tuple[Recipe, ...] = (
    _Desk.features, _Desk.short, _Desk.scarcity, _Desk.scarcity, _Desk.social, _Desk.social,
    _Desk.authority, _Desk.authority, _Desk.reciprocity, _Desk.reciprocity, _Desk.commitment,
    _Desk.commitment, _Desk.liking, _Desk.liking, _Desk.reassured, _Desk.both, _Desk.both,
)  # fmt: skip

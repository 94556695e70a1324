"""The storefront's products and creatives: embedded, made up, synthetic.

Eight fields, one product each, three creatives a product. The creatives differ in persuasion
principle, length and use of facts; four claim what the facts don't support.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Fact:
    """A sentence that is true of a product, and what it is made of.

    Attributes:
        kind: does, deadline, stock, users, experts, gift, promise or extra.
        text: the sentence, as a brief has it.
        parts: pieces of it by name, from which copy is made.
    """

    kind: str
    text: str
    parts: Mapping[str, str] = dataclasses.field(default_factory=dict, compare=False)


@dataclass(frozen=True)
class Product:
    """What is advertised.

    Attributes:
        product_id: short name.
        field: application field, the topic of its creatives.
        name: as copy calls it.
        price: currency.
        appeal: click logit that the field has with everybody.
        facts: sentences that copy may use; what they don't contain is an unsupported claim.
        creatives: copies.
        typed: the facts again with what they are made of; () for the products of this module.
        spoken: the name in a sentence, with its article.
    """

    product_id: str
    field: str
    name: str
    price: float
    appeal: float
    facts: tuple[str, ...]
    creatives: tuple[str, ...]
    typed: tuple[Fact, ...] = dataclasses.field(default=(), repr=False)
    spoken: str = dataclasses.field(default="", repr=False)

    @property
    def brief(self) -> str:
        """What the copywriter is told."""
        facts = " ".join(self.facts)
        return f"Product: {self.name}. Field: {self.field}. Price: {self.price:g}. Facts: {facts}"


PRODUCTS: tuple[Product, ...] = (
    Product(
        product_id="kettle",
        field="e-commerce",
        name="Alto kettle",
        price=49.0,
        appeal=0.3,
        facts=(
            "Boils a litre of water in 3 minutes.",
            "Keeps water warm for an hour.",
            "Engineers at the Home Test Lab measured it.",
            "Comes with a two-year warranty.",
            "The spring offer of 49 ends on Sunday.",
        ),
        creatives=(
            "Last chance: the spring offer on the Alto kettle ends on Sunday, and stock is "
            "running low.",
            "Engineers at the Home Test Lab measured it: the Alto kettle boils a litre of water "
            "in 3 minutes, keeps it warm for an hour, and comes with a two-year warranty.",
            "This is the best kettle in the world, guaranteed. It boils in an instant and saves "
            "you 90% on the bill, with free delivery for life.",
        ),
    ),
    Product(
        product_id="savings",
        field="finance",
        name="Harbour savings account",
        price=30.0,
        appeal=-0.2,
        facts=(
            "Pays 3.1% interest a year.",
            "There is no monthly fee.",
            "Opens in ten minutes on a phone.",
            "The regulator protects every deposit.",
            "Has 90,000 savers.",
        ),
        creatives=(
            "The regulator protects every deposit, and independent analysts recommend it: the "
            "Harbour savings account pays 3.1% interest a year.",
            "You already put a little aside for later. Take the next step: open a Harbour "
            "account on your phone in ten minutes, and keep the habit going.",
            "Join 90,000 savers who earn 3.1% a year at Harbour, with no monthly fee.",
        ),
    ),
    Product(
        product_id="lisbon",
        field="travel",
        name="Lisbon weekend",
        price=118.0,
        appeal=0.1,
        facts=(
            "Flight and three nights in a guest house in Alfama.",
            "Breakfast is included.",
            "Cancel without charge up to 48 hours before.",
            "The guest house has 24 rooms.",
            "Prices start at 118.",
        ),
        creatives=(
            "Dear traveller, picture us together at a small table in Alfama: the flight behind "
            "you, three nights in a guest house ahead, and breakfast on the terrace while the "
            "city wakes up. Lisbon would love to meet you.",
            "Only a few of the 24 rooms are left for the Lisbon weekend. Book before the last "
            "seats are gone.",
            "Our gift to you: breakfast is on us. Three nights in Lisbon from 118, and you can "
            "cancel without charge up to 48 hours before.",
        ),
    ),
    Product(
        product_id="stride",
        field="health",
        name="Stride back plan",
        price=29.0,
        appeal=0.0,
        facts=(
            "Designed by physiotherapists for sore backs.",
            "Takes 12 minutes a day for eight weeks.",
            "The exercises fit in a living room.",
            "You follow the plan at your own pace.",
            "The first 14 days cost nothing.",
        ),
        creatives=(
            "Physiotherapists designed Stride for sore backs: 12 minutes a day for eight weeks, "
            "with exercises that fit in your living room.",
            "You promised your back a better spring. Start with day one: it takes 12 minutes, "
            "and you follow the plan at your own pace.",
            "Doctors are amazed by this miracle plan. It cures every back in 2 days, 100% "
            "guaranteed, and you will never feel pain again.",
        ),
    ),
    Product(
        product_id="parla",
        field="education",
        name="Parla Spanish course",
        price=79.0,
        appeal=0.1,
        facts=(
            "Takes 15 minutes a day.",
            "A live tutor answers on Wednesdays.",
            "Ends with an A2 certificate in 12 weeks.",
            "The first lesson is at no charge.",
            "Has thousands of learners.",
        ),
        creatives=(
            "Thousands of learners like you already order their tapas in Spanish. Join them: it "
            "takes 15 minutes a day with Parla.",
            "The first Parla lesson is a gift at no charge. Keep the notes of our live tutor, "
            "whatever you decide after that.",
            "You set a goal for this year, and Spanish was on the list. Stay true to it with the "
            "Parla course: 15 minutes a day, a live tutor who answers on Wednesdays, and after "
            "12 weeks an A2 certificate with your name on it.",
        ),
    ),
    Product(
        product_id="lumen",
        field="video",
        name="Lumen",
        price=60.0,
        appeal=0.4,
        facts=(
            "Streams 400 films without ads.",
            "Ten classics leave on Friday.",
            "Films can be downloaded for the train.",
            "You can cancel in any month.",
            "A year costs 60.",
        ),
        creatives=(
            "We bring 400 films without ads, and you bring the popcorn. Meet us on the sofa "
            "tonight, friend, and Lumen will do the rest.",
            "Ten classics leave Lumen on Friday. Watch them before they are gone.",
            "Everyone is watching Lumen, the most popular service on the planet. Join now: it is "
            "free forever, with unlimited films and 500 new ones every day.",
        ),
    ),
    Product(
        product_id="ledger",
        field="news",
        name="The Ledger",
        price=48.0,
        appeal=-0.3,
        facts=(
            "Award-winning reporters in 40 countries.",
            "The morning edition takes ten minutes to read.",
            "Carries no ads.",
            "This week's edition is open to all, no card needed.",
            "A year costs 48, a saving of 20% on the monthly price.",
        ),
        creatives=(
            "Award-winning reporters in 40 countries, and ten minutes to read what matters. The "
            "Ledger reaches you in the morning and carries no ads.",
            "With our compliments: this week's edition of the Ledger is open to you, and no card "
            "is needed.",
            "Save 20% on the monthly price of the Ledger. You already read every morning, so "
            "make it a habit that you keep.",
        ),
    ),
    Product(
        product_id="circle",
        field="social",
        name="Circle clubs",
        price=24.0,
        appeal=-0.1,
        facts=(
            "There are 6,000 clubs for runners, bakers and players.",
            "Clubs meet on Thursdays.",
            "The first evening is on us.",
            "Volunteers look after every club.",
            "A club has 12 places.",
        ),
        creatives=(
            "Your neighbours already meet at Circle, in 6,000 clubs for runners, bakers and "
            "players. Join the club near you on Thursday.",
            "Hello, friend. There is a chair for you at Circle on Thursday, and we would love to "
            "see you smile in it.",
            "Nobody ever feels lonely again with Circle, guaranteed. There are only a few places "
            "left, so hurry.",
        ),
    ),
)

FIELDS: tuple[str, ...] = tuple(product.field for product in PRODUCTS)


def _expert(noun: str) -> str:
    """Return a cue for experts who say or do something, or by whom it was done."""
    did = "at|from|in|who|have|are|say|agree|(?:design|measur|test|approv|recommend)(?:ed)?|built"
    likes = "protects?|recommends?|approves?|loves?|uses?|trusts?|behind|watch(?:es)?"
    return rf"\b(?:by|of|ask|trust) (?:the |our )?{noun}\b|\b{noun} (?:{did}|{likes})\b"


#: cues of the six persuasion principles (Cialdini 1984, "Influence"), as regular expressions. A
#: cue is a phrase: a word such as "ends" or "join" persuades nobody where it stands by chance.
PRINCIPLES: dict[str, tuple[str, ...]] = {
    "scarcity": (
        r"last chance", r"\bends? (?:on|at|in|this|to|soon)\b", r"running (?:low|out)",
        r"\b(?:is|are|places?|seats?|rooms?|days?|hours?|few) left\b",
        r"\bleaves? (?:\w+ ){0,2}(?:on|at|in|this|soon|to)\b",
        r"before (?:it|they) (?:is|are) gone", r"only an? few",
        r"\bhurry\b(?: up\b| and\b| while\b| before\b| to\b|[,.!:;]|$)",
        r"\blimited (?:time|offer|number|places|edition|stock|run)\b", r"before the last",
        r"while stocks? lasts?",
    ),
    "social_proof": (
        r"\bjoin (?:the|an?|us|them|our|your|over|more|in|now|today|thousands|[\d,]+)\b",
        r"\bthousands (?:of|who|have|already|love|use|trust|choose)\b",
        r"\b(?:your|our|my|the|with|many) neighbours?\b",
        r"\beveryone (?:is|who|has|at|in|loves|talks|you)\b",
        r"like you\b", r"\b(?:most|so|very|more|is|are) popular\b",
        r"\d+ (?:savers|learners|readers|members)", r"people (?:love|choose)",
    ),
    "authority": (
        _expert("engineers?"), r"\btest lab\b", _expert("(?:the )?regulator"), _expert("analysts?"),
        _expert("doctors?"), _expert("physiotherapists?"), _expert("experts?"),
        r"\baward-winning (?!(?:and|of|in|the|an?|to|for|with|is|are)\b)\w+",
        r"\brecommend(?:s|ed)? (?:it|this|the|our|by|them)\b",
    ),
    "reciprocity": (
        r"\b(?:an?|our|your|my|this|the|free|small) gift\b", r"\bon us\b",
        r"\b(?:our|my) compliments\b", r"\b(?:an?|our|your|the) treat\b|\btreat your",
        r"thank you\b", r"whatever you decide", r"\bopen to you\b",
    ),
    "commitment": (
        r"you (?:already|promised|set)\b", r"next step",
        r"\b(?:an?|the|your|this|that|good|daily|new) habit\b",
        r"\b(?:an?|the|your|this|that|own|first|next) goals?\b",
        r"\bstart with (?:the|an?|day|one|your|our|just|\d+)\b", r"\bstay true\b",
        r"keep (?:it |the habit )?going", r"\b(?:your|our|an?|the) pledge\b|\bpledge to\b",
    ),
    "liking": (
        r"\b(?:dear|my|hello,?|hi,?|old) friends?\b|, friends?[,.!?]", r"\bdear \w+(?: \w+)?[,:]",
        r"(?:^|[.!?] )(?:hello|hi)[,.!]|\bhello (?:there|again|and|from|to)\b",
        r"\bpicture (?:us|you)", r"\b(?:would|we|i|and)(?:'d)? love to\b",
        r"\b(?:us|we|all|get|come|meet|be|cook|learn|go) together\b|\btogether (?:with|at|in)\b",
        r"\b(?:you|us|to|your|an?|and) smile\b", r"\b(?:the|your|some|of|bring) popcorn\b",
    ),
}  # fmt: skip

#: words that promise more than a fact can carry, unless the product's facts say so.
BOLD_CLAIMS: tuple[str, ...] = (
    "free", "guaranteed", "guarantee", "best", "greatest", "cheapest", "fastest", "miracle",
    "instant", "unlimited", "forever", "never", "cure", "cures", "perfect", "unbeatable",
    "most popular", "number one", "risk-free", "for life", "nobody ever", "in the world",
)  # fmt: skip

"""Words that the large truth knows: what is counted, who vouches, what presses and what boasts."""

from __future__ import annotations

import re

from copygym.envs.storefront.features import stem


def _stems(words: str) -> frozenset[str]:
    return frozenset(map(stem, words.split()))


_SPELLED = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen twenty"
)
#: numbers in letters.
NUMBER_WORDS = {w: str(i) for i, w in enumerate(_SPELLED.split())} | {
    "thirty": "30", "forty": "40", "fifty": "50", "sixty": "60", "seventy": "70", "eighty": "80",
    "ninety": "90", "hundred": "100", "twice": "2",
}  # fmt: skip

DAYS = _stems("monday tuesday wednesday thursday friday saturday sunday")
MONTHS = frozenset(
    ("january", "february", "march", "april", "may", "june", "july", "august", "september",
     "october", "november", "december")
)  # fmt: skip

#: what many facts count: such a unit alone doesn't say which fact is meant.
GENERIC_UNITS = _stems(
    "second minute hour day week month year night evening time people person % hours minutes"
)

#: what is measured anywhere: a number in letters before one of these is a claim.
MEASURES = GENERIC_UNITS - _stems("people person time")

#: what only measures or counts: a number before one of these is no amount of money.
UNITS = GENERIC_UNITS | _stems(
    "gram kilo kilogram litre metre centimetre kilometre degree percent language country film page "
    "story lesson book screen pocket colour place room seat member reader user customer household"
)

#: people of whatever kind.
PEOPLE = _stems(
    "people person customer user member reader other friend neighbour fan household home learner "
    "family guest traveller happy"
)

#: words that say little of what a fact is about.
LIGHT = _stems(
    "come comes takes take took has have get gets give gives go goes make makes made use uses end "
    "ends ended close closes start starts begin begins leave leaves last lasts left only first new "
    "each every own more most than just about up one is are cost costs say says see look keep good "
    "great set out also today now here there near them"
)

#: near one of these a day is a deadline, not a mood.
SOON = _stems(
    "end ends close closes until till by before offer price sale deadline expire start starts "
    "begin begins open opens leave leaves meet meets arrive arrives chance hurry bonus rate last "
    "final registration"
)

#: what a deadline does.
ENDING = _stems("end ends ended close closes expire expires")

#: experts of no kind.
ANYBODY = _stems("expert specialist professional")

#: who might vouch.
EXPERTS = _stems(
    "expert specialist professional engineer doctor physiotherapist physio nurse analyst regulator "
    "accountant editor critic teacher examiner professor scientist researcher designer dentist "
    "jury director guide writer chef coach trainer lawyer banker economist reporter journalist "
    "librarian volunteer host university institute clinic lab academy nasa surgeon pharmacist"
)

_WAYS = {
    "make": "design designed develop developed build built create created plan planned invent",
    "test": "test tested measure measured approve approved check checked certify certified "
    "review reviewed verify proven prove examine examined",
    "like": "recommend recommends recommended choose chose chosen love loves select selected trust "
    "trusts swear prefer prefers agree agrees endorse endorsed praise praised",
    "lead": "lead leads led run teach",
    "write": "write writes wrote edit edits edited written",
}
#: verbs of vouching, by what is done.
VOUCHING = {stem(w): way for way, words in _WAYS.items() for w in words.split()}

#: the same as alternatives of a regular expression.
EXPERT_NOUNS = (
    "experts?|engineers?|designers|editors|analysts|regulator|accountants|guides|writers|hosts"
    "|physiotherapists|doctors|nurses|teachers|examiners|professors|critics|directors|jury"
    "|reporters|coaches|librarians|volunteers|town of"
)
VOUCHING_VERBS = (
    "recommends?|recommended|tested|test|designed|design|approved|approves?|planned|chose|selected"
    "|choose|leads?|write|edit"
)

#: what a copy may ask of a reader.
ACTIONS = _stems(
    "enjoy try see find discover start learn read book order visit look take get choose meet join "
    "bring come give feel save plan share watch listen play cook walk ride run open pick check "
    "call ask tell hear think wait need want love like help make use buy pay sleep rest go stay"
)

#: words that promise more than a fact can carry, unless one says so.
BOASTS = tuple(
    re.compile(rf"\b(?:{words})\b")
    for words in (
        "best|greatest|finest|perfect|unbeatable|unique|ultimate|world-class|superb|unrivalled",
        "cheapest|lowest|fastest|quickest|lightest|strongest|smartest|safest|easiest|softest"
        "|warmest|biggest|largest|longest|brightest|freshest|quietest|simplest|cleanest|highest",
        "most (?:popular|loved|trusted|advanced|powerful|beautiful|comfortable|reliable)",
        "number one|no\\.? 1|in the world|on the planet|in the country",
        "never|forever|for life|lifetime|always works|nobody ever|nothing beats|no other|everybody"
        r"|everyone (?:is|who|has|loves|uses|talks|knows)",
        "miracles?|magic|cures?|cured|heals?|instant|instantly|effortless|unlimited|limitless",
        "risk-free|no risk|foolproof|indestructible|unbreakable",
        "millions?|billions?|award-winning|prize-winning|world-famous",
        "double your|get rich|secret|revolutionary",
    )
)

#: promises of one kind; a fact of the same kind has to carry one.
FAMILIES = {
    "warranty": re.compile(r"\b(?:warrant(?:y|ies)|guarantee[ds]?|guaranteeing)\b"),
    "refund": re.compile(
        r"\b(?:refund(?:s|ed)?|money back|(?:get|give|gives|pay) (?:\w+ ){0,3}back|"
        r"(?:return|send|hand) it(?: back)?|fee back)\b"
    ),
    "cancel": re.compile(r"\bcancel(?:s|led|lation)?\b|\b(?:leave|stop) in any\b|\bpause it\b"),
    "gift": re.compile(
        r"(?<!-)(?<!feel )(?<!still )\bfree\b"
        r"(?! (?:morning|evening|hour|week|day|afternoon|sunday))"
        r"|\bon us\b|\bour (?:gift|treat)\b|\bgift to you\b|\bon the house\b"
        r"|\b(?:at no|without) charge\b"
        r"|\bcosts? (?:you )?nothing\b|\bpay nothing\b|\bcomplimentary\b"
    ),
    "saving": re.compile(
        r"\bdiscount(?:s|ed)?\b|\bsave \d|\bsaving of\b|\bhalf price\b|\bbargain\b|\binstead of \d"
        r"|\bcheaper\b|\b\d+% (?:off|less)\b|\breduced\b"
    ),
    "delivery": re.compile(r"\bdelivery\b|\bdelivered\b|\bshipping\b"),
}  # fmt: skip

#: cues of pressure, and the facts of which one has to carry them.
PRESSURE = (
    (
        frozenset(("deadline", "stock")),
        re.compile(
            r"\blast chance\b|(?<!no )\bhurry\b|\bbefore (?:it|they) (?:is|are) gone\b"
            r"|\bdon't (?:wait|miss)\b|\bbe quick\b|\bact (?:now|fast)\b"
            r"|\blimited (?:time|offer)\b"
        ),
    ),
    (
        frozenset(("deadline",)),
        re.compile(
            r"\b(?:ends?|closes?|expires?|ending) (?:soon|today|tonight|tomorrow|at midnight)\b"
            r"|\b(?:offer|sale|deal|bonus) (?:ends|closes|expires)\b|\bspecial offer\b"
            r"|\bonly until\b"
        ),
    ),
    (
        frozenset(("stock",)),
        re.compile(
            r"\brunning (?:low|out)\b|\bselling (?:out|fast)\b|\bonly an? few\b|\b(?:is|are) left\b"
            r"|\bwhile (?:stocks?|supplies) lasts?\b|\bfew left\b|\balmost (?:gone|sold out)\b"
        ),
    ),
)

#: crowds that are not counted.
CROWDS = re.compile(
    r"\bthousands\b|\bhundreds of\b|\bpeople (?:love|choose|trust|use|like you)\b"
    r"|\byour neighbours? (?:already|use|love|know)"
    r"|\bjoin (?:them|others|everyone|the (?:crowd|many|people|others))\b|\bpopular\b"
)

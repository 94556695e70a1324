"""Papers, letters and programmes that tell the news."""

from __future__ import annotations

from copygym.envs.storefront.trades.kind import Kind, Trade

TRADE = Trade(
    field="news",
    brands=(
        "Ledger", "Courier", "Harbour", "Northern", "Civic", "Tribune", "Observer", "Bridge",
        "Herald", "Beacon", "Signal", "Capital", "Dispatch", "Mercury",
    ),
    experts=(
        ("award-winning reporters in {20|30|40} countries", "write"),
        ("former editors of the {Coast|Valley|Capital} Gazette", "edit"),
        ("media teachers at the {Leiden|Uppsala|Dublin} school", "recommend"),
    ),
    offers=(
        ("the yearly price of {price}", "ends"),
        ("the {spring|summer|election} offer", "ends"),
        ("the trial week", "ends"),
    ),
    stocks=("Only {200|300|500} subscriptions are left at this price.",),
    promises=(
        "You can cancel on any day.",
        "You get your money back within {14|21|30} days.",
        "We print every correction on page {two|three}.",
    ),
    gifts=("this week's edition", "the first month", "the weekend edition"),
    extras=(
        "A year costs {price}, a saving of {saving}% on the monthly price.",
        "A year costs {price} instead of {list}.",
        "It carries no ads.",
    ),
    calls=("Read it over breakfast.", "Try it for a week.", "Open the first page."),
    kinds=(
        Kind(
            name="{brand} Post", price=(36, 84), users=("readers", "open it"),
            facts=(
                "takes {8|10|12} minutes to read",
                "reaches you at {five|six} in the morning",
                "sums up the day in {seven|nine|ten} stories",
                "can be heard while you cook",
                "keeps opinion on a page of its own",
            ),
            hooks=("What happened while you slept?", "Coffee, toast and the world.",
                   "The news comes before the first meeting."),
            habit="read the news every morning",
            treat="a calm look at the news", scene="over coffee and the front page",
        ),
        Kind(
            name="{brand} Weekend", price=(48, 96), users=("readers", "read it"),
            facts=(
                "has {60|72|80} pages on paper",
                "comes through your door on Saturday",
                "brings {four|five|six} long reads",
                "has a puzzle that takes {30|40} minutes",
                "reviews {eight|ten|twelve} books a week",
            ),
            hooks=("A free morning and no plan?", "Weekends are for long sentences.",
                   "The paper rustles and the tea is hot."),
            habit="read late at weekends",
            treat="a slow weekend", scene="at a sunny breakfast table",
        ),
        Kind(
            name="{brand} Briefing", price=(24, 60), users=("subscribers", "open it"),
            facts=(
                "tells the day in {five|six|seven} short letters",
                "takes {3|4|5} minutes",
                "arrives at {seven|eight} on weekdays",
                "explains one chart a day",
                "links to {12|15|20} papers",
            ),
            hooks=("A little time before the train?", "The inbox can wait, and so can the feed.",
                   "Less news, better read."),
            habit="check the headlines on the way to work",
            treat="a shorter news day", scene="on the seven o'clock train",
        ),
        Kind(
            name="{brand} Money Letter", price=(60, 130), users=("readers", "follow it"),
            facts=(
                "explains markets in {900|1,000|1,200} words a week",
                "looks at {three|four} companies in each issue",
                "comes out on {Mondays|Thursdays|Fridays}",
                "owns no shares in what it writes of",
                "has an archive of {400|520|600} issues",
            ),
            hooks=("Why is bread dearer again?", "Markets move and few say why.",
                   "Numbers can be good company."),
            habit="follow the markets",
            treat="half an hour with a clear head", scene="over a map of the markets",
        ),
        Kind(
            name="{brand} Science Review", price=(42, 90), users=("readers", "read it"),
            facts=(
                "reads {300|400|450} studies a month for you",
                "picks the {ten|twelve} that matter",
                "explains each in {two|three} pages",
                "says how sure a result is",
                "has drawings by {five|seven} artists",
            ),
            hooks=("Why do whales sing?", "Somebody has measured it.",
                   "Good questions are older than good answers."),
            habit="ask why",
            treat="an hour of wonder", scene="under the stars with a telescope",
        ),
        Kind(
            name="{brand} Local", price=(20, 48), users=("neighbours", "read it"),
            facts=(
                "covers {nine|twelve|fourteen} parts of the town",
                "sits in every council meeting",
                "lists {80|100|120} events a week",
                "has {five|six|eight} reporters on bicycles",
                "comes out {twice|three times} a week",
            ),
            hooks=("What are they building on the corner?", "The news next door matters too.",
                   "Who closed the swimming pool?"),
            habit="know your street",
            treat="a walk through your own town", scene="at the market",
        ),
        Kind(
            name="{brand} Radio Daily", price=(24, 54), users=("listeners", "hear it"),
            facts=(
                "lasts {18|20|25} minutes",
                "is ready at half past six",
                "sends {four|six|seven} reporters out each day",
                "plays the sound of the place",
                "has {900|1,200} programmes in its archive",
            ),
            hooks=("Hands full of dishes?", "A voice in the kitchen at seven.",
                   "Some stories want to be heard."),
            habit="listen while you cook",
            treat="a good voice in the morning", scene="in the kitchen with the radio on",
            gifts=("this week's programme", "the first month"),
        ),
        Kind(
            name="{brand} World", price=(54, 110), users=("readers", "read it"),
            facts=(
                "translates from {70|90|110} papers",
                "appears in {four|six|eight} languages",
                "has {eight|ten} maps in each issue",
                "takes {40|50|60} minutes to read",
                "comes out on {Tuesdays|Wednesdays|Thursdays}",
            ),
            hooks=("What do they say in Lima?", "Home looks different from far away.",
                   "Every border has two sides."),
            habit="read beyond the headlines",
            treat="an hour abroad", scene="on a balcony far away",
        ),
    ),
)  # fmt: skip

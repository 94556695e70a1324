"""Accounts, cards and cover."""

from __future__ import annotations

from copygym.envs.storefront.trades.kind import Kind, Trade

TRADE = Trade(
    field="finance",
    brands=(
        "Harbour", "Beacon", "Tally", "Oakline", "Meridian", "Larch", "Keystone", "Corner",
        "Anchor", "Willow", "Granite", "Lantern", "Compass", "Juniper",
    ),
    experts=(
        ("analysts at {Money Watch|Plain Money|the Savers Review}", "recommend"),
        ("the regulator", "approved"),
        ("accountants in {Leeds|Dublin|Bristol}", "designed"),
    ),
    offers=(
        ("the {spring|autumn|opening} offer", "ends"),
        ("the welcome bonus of {20|25|40}", "ends"),
        ("the offer for new customers", "closes"),
    ),
    stocks=("Only {200|300|400} places are left at this price.",),
    promises=(
        "You can leave within {14|21|30} days and pay nothing.",
        "The price is fixed for {two|three|five} years.",
    ),
    gifts=("the first month", "the first year"),
    extras=(
        "It costs {price} a year.",
        "There is no monthly fee.",
        "It costs {price} a year, a saving of {saving}% on the old price.",
    ),
    calls=("Open it on your phone.", "See what it would pay you.", "Ask us for the numbers."),
    kinds=(
        Kind(
            name="{brand} savings account", price=(12, 36), users=("savers", "use it"),
            facts=(
                "pays {2.6|2.9|3.1|3.4}% interest a year",
                "opens in {5|8|10} minutes on a phone",
                "starts with a deposit of {10|15|25}",
                "lets you take money out on any day",
                "pays the interest every {three|six} months",
            ),
            hooks=("Is your money asleep?", "A little set aside is a quiet thing.",
                   "Money for later starts with a little now."),
            habit="put a little aside each month",
            treat="a calmer look at the bank balance", scene="with a cup of tea and a plan",
            offers=(
                ("the {spring|autumn|opening} rate", "ends"),
                ("the welcome bonus of {20|25|40}", "ends"),
            ),
            stocks=("Only {200|300|400} accounts are left at this rate.",),
            promises=(
                "Every deposit is protected up to {80,000|85,000|100,000}.",
                "You can leave within {14|21|30} days and pay nothing.",
            ),
            gifts=("the first year", "the switch from your old bank"),
        ),
        Kind(
            name="{brand} travel card", price=(24, 60), users=("travellers", "pay with it"),
            facts=(
                "works in {90|120|140} countries",
                "changes money at the day's rate",
                "can be frozen in {3|5} seconds on a phone",
                "takes {300|400|500} a month out of machines at no charge",
                "covers a lost bag up to {600|800|900}",
            ),
            hooks=("Coins left over from last summer?", "The taxi takes cards in Lisbon too.",
                   "A trip begins at the cash machine."),
            habit="travel a few times a year",
            treat="a holiday without the sums", scene="at a market by the sea",
        ),
        Kind(
            name="{brand} home insurance", price=(60, 150), users=("homes", "are covered by it"),
            facts=(
                "covers water, fire and theft up to {200,000|250,000|300,000}",
                "pays most claims within {5|7|9} days",
                "sends a plumber within {2|3|4} hours",
                "covers bicycles up to {800|1,200|1,500}",
                "takes {10|12|15} minutes to set up",
            ),
            hooks=("A pipe bursts in the night.", "Who would you call about the roof?",
                   "Some papers you hope to leave in the drawer."),
            habit="lock the door twice",
            treat="a sound night's sleep", scene="on the sofa, safe and dry",
        ),
        Kind(
            name="{brand} pension plan", price=(30, 75), users=("people", "save with it"),
            facts=(
                "starts at {25|30|40} a month",
                "spreads your money over {900|1,200|1,500} companies",
                "can be paused for up to {6|9|12} months",
                "shows what you will have at {65|66|67}",
                "has grown by {4.2|4.8|5.1}% a year since 2009",
            ),
            hooks=("Where will you live at seventy?", "Later comes sooner than one thinks.",
                   "A small sum each month is a long walk in good company."),
            habit="think a few years ahead",
            treat="a thought for your later self", scene="in a garden, years from now",
        ),
        Kind(
            name="{brand} budget app", price=(18, 48), users=("households", "plan with it"),
            facts=(
                "brings {8|10|12} accounts into one view",
                "sorts your spending into {14|16|20} groups",
                "warns you {3|4|5} days before a bill",
                "takes {4|6|7} minutes a week",
                "shares a plan between two people",
            ),
            hooks=("Where did the month go?", "Payday was only a week ago.",
                   "So much month at the end of the money."),
            habit="keep an eye on what you spend",
            treat="a month without surprises", scene="at the kitchen table with the bills done",
            article=True,
        ),
        Kind(
            name="{brand} bike cover", price=(36, 90), users=("cyclists", "ride with it"),
            facts=(
                "pays for a new bicycle up to {1,800|2,400|3,000}",
                "picks you up after a crash within {40|60|90} kilometres",
                "covers {25|30|34} countries",
                "settles a claim in {4|6|8} days",
                "needs only a photo of your lock",
            ),
            hooks=("Every city has its bicycle thieves.", "What would a new bicycle cost you?",
                   "The long way home is the better ride."),
            habit="take good care of your bicycle",
            treat="a carefree ride", scene="on a long road in June",
        ),
        Kind(
            name="{brand} fund", price=(20, 55), users=("investors", "own it"),
            facts=(
                "holds shares in {300|450|600} firms",
                "keeps clear of coal and arms",
                "charges {0.2|0.3|0.4}% a year",
                "takes deposits from {20|50} a month",
                "reports to you every {three|six} months",
            ),
            hooks=("What does your money do all day?", "Markets rise and fall, and time helps.",
                   "Patience is a cheap adviser."),
            habit="think before you buy",
            treat="a plan for the long run", scene="over coffee and a short report",
        ),
        Kind(
            name="{brand} business account", price=(48, 120), users=("small firms", "bank with it"),
            facts=(
                "opens in {12|15|20} minutes without a branch",
                "sends {40|50|80} invoices a month",
                "puts {20|25|30}% aside for tax by itself",
                "gives cards to {5|8|10} people",
                "answers the phone within {2|3} minutes",
            ),
            hooks=("Invoices late at night?", "You started a firm to do the work.",
                   "The shoebox of receipts is full."),
            habit="run your own books",
            treat="a quiet weekend", scene="in your shop after closing",
            offers=(
                ("the {spring|autumn|opening} rate", "ends"),
                ("the welcome bonus of {20|25|40}", "ends"),
            ),
            stocks=("Only {200|300|400} accounts are left at this rate.",),
            promises=(
                "Every deposit is protected up to {80,000|85,000|100,000}.",
                "You can leave within {14|21|30} days and pay nothing.",
            ),
            gifts=("the first year", "the switch from your old bank"),
        ),
    ),
)  # fmt: skip

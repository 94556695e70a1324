"""Clubs, circles and places where people meet."""

from __future__ import annotations

from copygym.envs.storefront.trades.kind import Kind, Trade

TRADE = Trade(
    field="social",
    brands=(
        "Circle", "Commons", "Hearth", "Junction", "Lantern", "Porch", "Orchard", "Corner",
        "Tandem", "Maypole", "Beacon", "Cove", "Hollow", "Mosaic",
    ),
    experts=(
        ("teachers and {coaches|librarians|nurses}", "lead"),
        ("the town of {Ghent|Aarhus|Cork}", "recommends"),
        ("trained volunteers", "lead"),
    ),
    offers=(
        ("sign-up for {spring|summer|autumn}", "closes"),
        ("the early price of {price}", "ends"),
        ("the open week", "ends"),
    ),
    stocks=(
        "Only {5|6|7|9} places are left.",
        "The {Tuesday|Thursday} group has {4|8|11} places left.",
    ),
    promises=(
        "You can leave in any month.",
        "You can change groups within {14|21|28} days.",
        "You get the fee back within {two|three} weeks if it is not for you.",
    ),
    gifts=("the first evening", "the first month", "the coffee"),
    extras=(
        "It costs {price} a year.",
        "It costs {price} a year instead of {list}.",
        "Students pay {saving}% less.",
    ),
    calls=("Come and see.", "Bring a friend.", "Come along this week."),
    kinds=(
        Kind(
            name="{brand} running club", price=(15, 40), users=("runners", "belong to it"),
            facts=(
                "meets {twice|three times} a week",
                "has groups for {four|five|six} speeds",
                "runs {5|6|8} kilometres through the park",
                "waits for the last runner",
                "keeps {30|40|60} lockers at the pool",
            ),
            hooks=("Running alone again?", "The park is nicer in company.",
                   "Rain or shine, somebody is there."),
            habit="run on your own",
            treat="a run in company", scene="at the gate of the park",
        ),
        Kind(
            name="{brand} book club", price=(12, 36), users=("readers", "belong to it"),
            facts=(
                "reads {nine|ten|twelve} novels a year",
                "meets in {14|18|22} bookshops",
                "has tables of {six|seven|eight} people",
                "sends the book to your door",
                "talks for {80|90|100} minutes",
            ),
            hooks=("Who do you talk to about books?", "A novel is better with an argument.",
                   "Somebody else has read it too."),
            habit="read a book a month",
            treat="an evening of good talk", scene="around a table full of novels",
        ),
        Kind(
            name="{brand} supper club", price=(18, 60), users=("guests", "eat there"),
            facts=(
                "seats {eight|ten|twelve} people at one table",
                "cooks in {20|30|36} homes across the town",
                "has a new menu every {two|three} weeks",
                "asks each guest for one story",
                "serves {three|four} courses",
            ),
            hooks=("Dinner for one tonight?", "A long table and strangers with stories.",
                   "Soup tastes better in company."),
            habit="like to cook for others",
            treat="a long dinner", scene="at a long table with candles",
        ),
        Kind(
            name="{brand} choir", price=(20, 55), users=("singers", "sing there"),
            facts=(
                "rehearses for {90|100|120} minutes a week",
                "sings in {four|five} voices",
                "gives {three|four|six} concerts a year",
                "takes people who cannot read music",
                "meets in the old {school|church|library}",
            ),
            hooks=("Do you sing in the shower?", "Many voices and one breath.",
                   "Nobody sings badly in a crowd."),
            habit="sing in the car",
            treat="an evening of song", scene="in the second row of the choir",
        ),
        Kind(
            name="{brand} language table", price=(8, 24), users=("speakers", "sit there"),
            facts=(
                "speaks {nine|eleven|thirteen} languages on one evening",
                "changes partners every {10|15|20} minutes",
                "meets in {three|four|five} cafes",
                "has cards with {200|300} questions",
                "starts at {six|seven} in the evening",
            ),
            hooks=("Rusty French?", "A new word tastes of coffee.",
                   "Mistakes are welcome at this table."),
            habit="try a few words on holiday",
            treat="an evening in another tongue", scene="in a noisy cafe",
        ),
        Kind(
            name="{brand} garden", price=(24, 70), users=("gardeners", "dig there"),
            facts=(
                "has {40|60|80} beds between the houses",
                "shares {25|30|35} tools in one shed",
                "grows {50|70|90} kinds of beans and herbs",
                "gives each bed {six|eight} square metres",
                "opens from March to {October|November}",
            ),
            hooks=("No garden, but green fingers?", "Tomatoes like company.",
                   "Mud is good for the mood."),
            habit="grow basil on the sill",
            treat="an hour with your hands in the soil", scene="between the beans and the roses",
        ),
        Kind(
            name="{brand} chess evening", price=(6, 20), users=("players", "play there"),
            facts=(
                "has boards for {30|40|48} players",
                "finds you a partner of your strength in {2|4|5} minutes",
                "plays games of {15|20|25} minutes",
                "has a teacher on {Mondays|Tuesdays|Fridays}",
                "lasts from seven to {ten|eleven}",
            ),
            hooks=("Who beats you at chess?", "A quiet room full of battles.",
                   "Your move."),
            habit="play against the phone",
            treat="a real opponent", scene="over a chessboard and two cups of tea",
        ),
        Kind(
            name="{brand} repair cafe", price=(5, 18), users=("visitors", "have been there"),
            facts=(
                "mends {70|80|90} things on a Saturday",
                "has {12|14|16} menders at the tables",
                "saves about {two|three} tonnes of waste a year",
                "lends tools for {seven|ten} days",
                "opens at {ten|eleven} on Saturdays",
            ),
            hooks=("The toaster gave up?", "Old lamps deserve a second life.",
                   "It only needs a new fuse."),
            habit="hate to throw things away",
            treat="a second life for an old lamp", scene="over a broken radio",
        ),
    ),
)  # fmt: skip

"""Weekends, weeks and tickets."""

from __future__ import annotations

from copygym.envs.storefront.trades.kind import Kind, Trade

TRADE = Trade(
    field="travel",
    brands=(
        "Lisbon", "Porto", "Ghent", "Trieste", "Seville", "Krakow", "Valencia", "Bologna", "Riga",
        "Split", "Antwerp", "Malaga", "Turin", "Bordeaux",
    ),
    experts=(
        ("guides with {ten|twelve|fifteen} years on the road", "planned"),
        ("the writers of {Slow Roads|Far and Near|Window Seat} magazine", "recommend"),
        ("local hosts", "designed"),
    ),
    offers=(
        ("the early price of {price}", "ends"),
        ("the {spring|summer|autumn} offer", "ends"),
        ("booking for {May|June|September}", "closes"),
    ),
    stocks=("Only {6|8|9|12} places are left.", "Only {7|11|14} rooms are left for {May|June}."),
    promises=(
        "You can cancel without charge up to {24|36|48|72} hours before.",
        "You can move your dates up to {10|14|20} days before.",
        "We pay you back within {five|six} days if a train is missed.",
    ),
    gifts=("breakfast", "the first dinner", "the ride from the station"),
    extras=(
        "Prices start at {price}.",
        "It costs {price} instead of {list}.",
        "Children under {10|12} pay half.",
    ),
    calls=("Pick your dates today.", "Take a look at the rooms.", "Book your place now."),
    kinds=(
        Kind(
            name="{brand} weekend", price=(98, 240), users=("guests", "have been on it"),
            facts=(
                "has {two|three|four} nights in a guest house",
                "includes the flight and a bag of {10|15} kilos",
                "puts you {5|8|10} minutes from the old town",
                "includes a walk with a guide of {90|100} minutes",
                "begins on a Friday evening",
            ),
            hooks=("Where would you wake up on Saturday?", "A long weekend is a small holiday.",
                   "Narrow streets, and a table in the sun."),
            habit="count the days to the weekend",
            treat="a weekend away", scene="at a small table in the sun",
        ),
        Kind(
            name="{brand} cooking week", price=(390, 720), users=("guests", "have cooked on it"),
            facts=(
                "teaches {12|14|16} dishes in five mornings",
                "has groups of {6|8|10} people",
                "starts at the market at {eight|nine}",
                "includes {five|six} nights in an old farmhouse",
                "ends with a dinner for {20|24|30}",
            ),
            hooks=("What will you cook in the summer?", "A market, a knife and an apron.",
                   "Some holidays you can taste for years."),
            habit="cook for your friends",
            treat="a week at a long table", scene="at the stove with flour on our hands",
        ),
        Kind(
            name="{brand} cycling week", price=(420, 780), users=("riders", "have done it"),
            facts=(
                "covers {180|220|260} kilometres in six days",
                "carries your bags from house to house",
                "lends you a bicycle with {9|11|21} gears",
                "has rides of {30|35|40} kilometres a day",
                "stops at {four|five} village inns",
            ),
            hooks=("How far could you ride in a week?", "A flat road and the wind behind you.",
                   "The view is better from a saddle."),
            habit="ride on Sundays",
            treat="a week on two wheels", scene="on a quiet road between the fields",
            brands=("Danube", "Loire", "Moselle", "Douro", "Elbe", "Alsace"),
        ),
        Kind(
            name="{brand} night train", price=(59, 150), users=("travellers", "have slept on it"),
            facts=(
                "leaves at {nine|ten} in the evening",
                "arrives after {10|11|12} hours",
                "has cabins for {two|four} people",
                "serves breakfast at your bed",
                "takes {two|three} bags for each traveller",
            ),
            hooks=("Fall asleep here and wake up there.", "A window, a bunk and the dark fields.",
                   "Airports are no place for an evening."),
            habit="choose the window seat",
            treat="a night on the rails", scene="in the dining car at dusk",
        ),
        Kind(
            name="{brand} farm stay", price=(140, 320), users=("families", "have stayed there"),
            facts=(
                "has room for {4|5|6} people",
                "lies {3|5|7} kilometres from a lake",
                "lets children feed {8|12|20} goats",
                "includes eggs and bread each morning",
                "has a garden of {2,000|3,000} square metres",
            ),
            hooks=("When did your children last see a goat?", "No traffic, only birds.",
                   "Bread in the oven and mud on the boots."),
            habit="look for quiet places",
            treat="a few slow days", scene="in the hay on a warm evening",
            brands=("Umbria", "Jura", "Asturias", "Dalarna", "Tyrol", "Galicia"),
        ),
        Kind(
            name="{brand} rail pass", price=(89, 260), users=("travellers", "ride with it"),
            facts=(
                "is good for {5|7|10} days of travel in a month",
                "covers {18|22|27} countries",
                "needs no booking on {nine|eight} trains in ten",
                "fits on your phone",
                "gives {20|25}% off the ferry",
            ),
            hooks=("Where does the next train go?", "A map, a pencil and a free week.",
                   "The slow way is often the better story."),
            habit="read maps for pleasure",
            treat="a month of open windows", scene="on the platform with two small bags",
            brands=("Northern", "Atlantic", "Baltic", "Alpine", "Adriatic", "Continental"),
        ),
        Kind(
            name="{brand} walking tour", price=(19, 48), users=("visitors", "have walked it"),
            facts=(
                "takes {2|3} hours",
                "visits {7|9|11} hidden yards",
                "has groups of {8|10|12} people",
                "starts at the fountain at {ten|eleven}",
                "ends with a glass of wine",
            ),
            hooks=("What is behind that old door?", "Every city has a second face.",
                   "Comfortable shoes are all you need."),
            habit="wander when you travel",
            treat="a morning on foot", scene="in a yard with orange trees",
        ),
        Kind(
            name="{brand} boat trip", price=(35, 95), users=("guests", "have sailed on it"),
            facts=(
                "sails for {3|4|5} hours",
                "takes {10|12|14} guests on a wooden boat",
                "stops at {two|three} bays for a swim",
                "serves lunch on deck",
                "leaves the harbour at {nine|ten}",
            ),
            hooks=("How long since you swam in the sea?", "A wooden boat and a light wind.",
                   "The coast looks different from the water."),
            habit="walk to the sea whenever you can",
            treat="a day on the water", scene="on deck with salt in our hair",
            brands=("Split", "Malaga", "Corfu", "Trieste", "Madeira", "Bergen"),
        ),
    ),
)  # fmt: skip

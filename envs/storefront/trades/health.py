"""Plans, classes and things for the body."""

from __future__ import annotations

from copygym.envs.storefront.trades.kind import Kind, Trade

TRADE = Trade(
    field="health",
    brands=(
        "Stride", "Fernwell", "Calm", "Ember", "Haven", "Birch", "Tonic", "Morrow", "Steady",
        "Linden", "Clover", "Pulse", "Drift", "Meadow",
    ),
    experts=(
        ("physiotherapists from {Leeds|Aarhus|Utrecht}", "designed"),
        ("doctors at the {City|Lakeside|Park} Clinic", "tested"),
        ("nurses and doctors", "recommend"),
    ),
    offers=(
        ("the {spring|new year|autumn} price of {price}", "ends"),
        ("sign-up for the {spring|summer|autumn} group", "closes"),
        ("the {spring|winter} offer", "ends"),
    ),
    stocks=("Only {8|10|14|15} places are left.", "The group has {9|11|13} places left."),
    promises=(
        "You can stop in any week.",
        "You get your money back within {14|21|30} days.",
        "You can pause it for up to {three|four|six} weeks.",
    ),
    gifts=("the first week", "the first class", "the first talk with a coach"),
    extras=(
        "It costs {price} a month.",
        "The price is {price} instead of {list}.",
        "Many health plans pay {20|30|50}% of the price.",
    ),
    calls=("Start this week.", "Try the first day.", "See if it suits you."),
    kinds=(
        Kind(
            name="{brand} back plan", price=(24, 48), users=("people", "follow it"),
            facts=(
                "takes {10|12|15} minutes a day",
                "runs for {six|eight|ten} weeks",
                "has {24|30|36} exercises for a sore back",
                "fits in a living room",
                "shows each move on video",
            ),
            hooks=("Does your back complain at five?", "A long day in a chair leaves its mark.",
                   "Backs like to move."),
            habit="get up and stretch at work",
            treat="a kinder day for your back", scene="on the mat in the living room",
        ),
        Kind(
            name="{brand} sleep course", price=(29, 65), users=("sleepers", "have taken it"),
            facts=(
                "has {7|9|10} short lessons",
                "asks for {8|10|12} minutes in the evening",
                "works without pills",
                "plays {14|20|25} hours of quiet sound",
                "keeps a diary of your nights",
            ),
            hooks=("Awake at three again?", "The night is long when you watch the clock.",
                   "Sleep comes when nobody waits for it."),
            habit="put the phone away at ten",
            treat="a full night", scene="on a quiet Sunday morning, well rested",
        ),
        Kind(
            name="{brand} yoga studio", price=(35, 80), users=("members", "practise there"),
            facts=(
                "has {18|22|26} classes a week",
                "keeps groups under {10|12|14} people",
                "opens at {six|seven} in the morning",
                "lends mats and blocks",
                "has classes of {45|60|75} minutes",
            ),
            hooks=("When did you last touch your toes?", "An hour without a screen.",
                   "Breathe in and let the week go."),
            habit="stretch in the morning",
            treat="an hour for yourself", scene="on the mats in the morning light",
        ),
        Kind(
            name="{brand} running plan", price=(15, 39), users=("runners", "train with it"),
            facts=(
                "brings you to {5|8|10} kilometres in nine weeks",
                "asks for {three|four} runs a week",
                "starts with walks of {15|20|25} minutes",
                "tells you when to rest",
                "works with {12|16|20} kinds of watch",
            ),
            hooks=("Shoes by the door?", "The first kilometre is the long one.",
                   "The park is empty at seven."),
            habit="take the stairs",
            treat="a clear head before breakfast", scene="in the park at sunrise",
        ),
        Kind(
            name="{brand} meal box", price=(39, 85), users=("kitchens", "cook from it"),
            facts=(
                "brings {three|four|five} dinners a week",
                "has {9|11|13} grams of fibre in each meal",
                "takes {20|25|30} minutes to cook",
                "uses vegetables from {14|18|20} farms",
                "comes in a box that we collect again",
            ),
            hooks=("What is for dinner on Tuesday?", "The fridge is empty and it is late.",
                   "Green beans, lemon and a hot pan."),
            habit="read what is in your food",
            treat="a proper dinner", scene="around a big bowl of pasta",
        ),
        Kind(
            name="{brand} hearing test", price=(9, 29), users=("people", "have taken it"),
            facts=(
                "takes {6|8|9} minutes",
                "plays {24|32|40} tones through your own headphones",
                "shows the result at once",
                "sends the result to your doctor if you wish",
                "measures each ear on its own",
            ),
            hooks=("Is the television a little louder now?", "Good talk needs good ears.",
                   "The birds were louder once."),
            habit="have your eyes tested",
            treat="an evening of clear voices", scene="at a loud and happy table",
        ),
        Kind(
            name="{brand} walking group", price=(12, 30), users=("walkers", "go with it"),
            facts=(
                "meets at {nine|ten} on Saturdays",
                "walks {6|8|9} kilometres in two hours",
                "goes at a pace for talking",
                "has {30|40|45} routes along the river",
                "stops for coffee after {4|5} kilometres",
            ),
            hooks=("Fresh air and no hurry.", "Who walks with you on Saturday?",
                   "The hills are closer than you think."),
            habit="walk to the shops",
            treat="a morning in the fresh air", scene="on the path by the river",
        ),
        Kind(
            name="{brand} breathing app", price=(18, 42), users=("people", "breathe with it"),
            facts=(
                "has {30|40|60} exercises",
                "takes {3|4|5} minutes",
                "works without a network",
                "follows your breath through the phone",
                "has a quiet voice in {5|6|8} languages",
            ),
            hooks=("One meeting after the other?", "Shoulders down, and breathe out.",
                   "There is always time for a breath."),
            habit="count to ten when it gets loud",
            treat="a quiet moment", scene="on a bench in the shade",
        ),
    ),
)  # fmt: skip

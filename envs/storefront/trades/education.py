"""Courses, lessons and tools for learning."""

from __future__ import annotations

from copygym.envs.storefront.trades.kind import Kind, Trade

TRADE = Trade(
    field="education",
    brands=(
        "Parla", "Lyra", "Chalk", "Inkwell", "Northgate", "Scholar", "Cedar", "Ladder", "Minerva",
        "Primer", "Octave", "Margin", "Quay Lane", "Beech",
    ),
    experts=(
        ("teachers at the {Leiden|Coimbra|Uppsala} school", "designed"),
        ("examiners in {Leeds|Vienna|Madrid}", "approved"),
        ("professors of the {Open|City|Northern} College", "recommend"),
    ),
    offers=(
        ("registration", "closes"),
        ("the early price of {price}", "ends"),
        ("sign-up for the {spring|autumn} term", "closes"),
    ),
    stocks=(
        "Only {8|9|12|14} seats are left.",
        "The {spring|autumn} class has {7|10|11} seats left.",
    ),
    promises=(
        "You get your money back within {14|21|30} days.",
        "You can repeat any lesson for {two|three} years.",
        "You can stop in any month.",
    ),
    gifts=("the first lesson", "the course book", "the placement test"),
    extras=(
        "It costs {price} for the whole term.",
        "The price is {price} instead of {list}.",
        "Students pay {saving}% less.",
    ),
    calls=("Start with lesson one.", "Try a lesson tonight.", "Save your seat today."),
    kinds=(
        Kind(
            name="{brand} Spanish course", price=(59, 140), users=("learners", "study with it"),
            facts=(
                "takes {12|15|20} minutes a day",
                "ends with an A2 certificate after {10|12|14} weeks",
                "has a live tutor on {Tuesdays|Wednesdays|Thursdays}",
                "teaches {800|900|1,200} words that people use",
                "has {40|48|60} talks with native speakers",
            ),
            hooks=("Could you order tapas in Spanish?", "The next holiday is in Valencia.",
                   "A new language begins with a coffee."),
            habit="know more Spanish than you think",
            treat="a new language", scene="at a tapas bar in Seville",
        ),
        Kind(
            name="{brand} guitar course", price=(45, 120), users=("players", "learn with it"),
            facts=(
                "teaches {20|25|30} songs in a year",
                "starts with {three|four} easy chords",
                "asks for {10|15|20} minutes a day",
                "listens to your playing through the phone",
                "has teachers for {five|six|seven} styles",
            ),
            hooks=("Is there a guitar in the attic?", "A few chords and an old song.",
                   "Music is for the evenings."),
            habit="sing in the kitchen",
            treat="an evening of music", scene="around a fire with a guitar",
        ),
        Kind(
            name="{brand} coding course", price=(79, 220), users=("students", "have finished it"),
            facts=(
                "takes {four|five|six} hours a week",
                "ends with an app of your own after {12|14|16} weeks",
                "has mentors who answer within {3|4|6} hours",
                "has {50|60|80} exercises in Python",
                "needs no mathematics",
            ),
            hooks=("What would you build?", "A first program is ten lines long.",
                   "Machines do as they are told, more or less."),
            habit="solve puzzles for fun",
            treat="an hour of clear thinking", scene="over two laptops and a pot of tea",
        ),
        Kind(
            name="{brand} drawing class", price=(39, 98), users=("people", "draw with it"),
            facts=(
                "meets for {90|100|120} minutes a week",
                "has groups of {6|8|9} people",
                "needs only a pencil and paper",
                "covers faces, hands and houses in {eight|ten} weeks",
                "ends with a small show in {April|June|November}",
            ),
            hooks=("When did you last draw a face?", "A pencil sees more than a camera.",
                   "White paper is only frightening at first."),
            habit="draw in the margins",
            treat="an evening with a pencil", scene="around a table full of pencils",
        ),
        Kind(
            name="{brand} maths tutor", price=(25, 70), users=("pupils", "learn with it"),
            facts=(
                "explains a task in {three|four|five} steps",
                "answers within {20|30|40} seconds",
                "helps children from {8|9|10} to 16",
                "sends parents a note every {week|month}",
                "has {2,000|3,000|5,000} tasks with worked answers",
            ),
            hooks=("Homework at the kitchen table?", "Fractions are only pieces of cake.",
                   "Some tasks need a second look."),
            habit="help with the homework",
            treat="a calm school evening", scene="at the kitchen table with the homework done",
        ),
        Kind(
            name="{brand} writing course", price=(49, 130), users=("writers", "have finished it"),
            facts=(
                "has {ten|twelve|fourteen} weekly letters",
                "gives notes on {four|five|six} of your texts",
                "takes {two|three} hours a week",
                "is taught by {seven|nine} novelists",
                "ends with a reading in a bookshop",
            ),
            hooks=("Is there a story in your drawer?", "The first sentence is the hard one.",
                   "A page a day is a book a year."),
            habit="keep a notebook",
            treat="an hour with your own words", scene="in a bookshop after hours",
        ),
        Kind(
            name="{brand} history series", price=(29, 75), users=("listeners", "follow it"),
            facts=(
                "has {24|30|36} lectures of half an hour",
                "goes from Rome to {1914|1945|1989}",
                "comes with {60|80|90} maps",
                "can be heard on the train",
                "has a new lecture every {Monday|Friday}",
            ),
            hooks=("Who built the road you walk on?", "Old maps tell good stories.",
                   "History is full of people like us."),
            habit="stop to read the plaques",
            treat="an evening in another century", scene="in a library full of maps",
        ),
        Kind(
            name="{brand} exam coach", price=(35, 90), users=("students", "revise with it"),
            facts=(
                "makes a plan for {four|six|eight} weeks",
                "has {1,500|2,000|2,500} questions from past papers",
                "marks an essay in {10|15} minutes",
                "asks for {25|30|35} minutes a day",
                "finds the topics that you forget",
            ),
            hooks=("When is the exam?", "Revision goes better with a plan.",
                   "The library is full again."),
            habit="make lists before an exam",
            treat="a calm week before the exam", scene="on the steps after the last exam",
        ),
    ),
)  # fmt: skip

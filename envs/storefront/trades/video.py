"""Films, series and what shows them."""

from __future__ import annotations

from copygym.envs.storefront.trades.kind import Kind, Trade

TRADE = Trade(
    field="video",
    brands=(
        "Lumen", "Reel", "Marquee", "Curtain", "Aurora", "Foyer", "Silver", "Matinee", "Velvet",
        "Rialto", "Garden Lane", "Prism", "Encore", "Palace",
    ),
    experts=(
        ("critics of the {Film Post|Evening Screen|Reel Review}", "recommend"),
        ("directors from {Lyon|Prague|Copenhagen}", "chose"),
        ("the jury of the {Turin|Ghent|Krakow} festival", "selected"),
    ),
    offers=(
        ("the {spring|summer|autumn} offer", "ends"),
        ("the yearly price of {price}", "ends"),
        ("the festival week", "ends"),
    ),
    stocks=("{Ten|Twelve|Nine} classics leave the programme soon.",
            "Only {300|400|600} passes are left."),
    promises=(
        "You can cancel in any month.",
        "You get your money back within {14|30} days.",
        "Films that you buy stay yours for {ten|twenty} years.",
    ),
    gifts=("the first month", "the first film", "the popcorn"),
    extras=(
        "A year costs {price}.",
        "It costs {price} a year instead of {list}.",
        "Students pay {saving}% less.",
    ),
    calls=("Press play tonight.", "Pick a film for tonight.", "See what is on."),
    kinds=(
        Kind(
            name="{brand}", price=(48, 90), users=("viewers", "watch it"), article=False,
            facts=(
                "streams {400|600|800} films without ads",
                "adds {5|6|8} new films each week",
                "works on {three|four|five} screens at once",
                "lets you download films for the train",
                "has subtitles in {12|14|18} languages",
            ),
            hooks=("What are we watching tonight?", "The sofa is free and it rains.",
                   "Lights down, phone away."),
            habit="end the day with a film",
            treat="a film night", scene="on the sofa with popcorn",
        ),
        Kind(
            name="{brand} Classics", price=(36, 72), users=("film lovers", "watch it"),
            article=False,
            facts=(
                "shows {250|300|350} films from before 1970",
                "restores {20|24|30} old films a year",
                "has a short talk before each film",
                "streams in the sharpness of the cinema",
                "puts a new director first every {two|three} weeks",
            ),
            hooks=("When did you last see Chaplin?", "Old films are young at heart.",
                   "Black and white has many colours."),
            habit="know the old films by heart",
            treat="an evening with a classic", scene="in the front row in 1950",
        ),
        Kind(
            name="{brand} Kids", price=(30, 60), users=("families", "watch it"), article=False,
            facts=(
                "has {200|260|300} films and series for ages {3|4} to 10",
                "carries no ads at all",
                "stops by itself after {30|45|60} minutes",
                "works without a network in the car",
                "sings in {6|8|9} languages",
            ),
            hooks=("A long drive with small children?", "Rain outside and a blanket inside.",
                   "Are we there yet?"),
            habit="watch one story before bed",
            treat="half an hour of peace", scene="under one big blanket",
        ),
        Kind(
            name="{brand} Sports pass", price=(60, 140), users=("fans", "watch with it"),
            facts=(
                "shows {180|220|260} matches a season",
                "streams {five|six|seven} leagues live",
                "has highlights {20|30} minutes after the whistle",
                "works on {two|three} screens at once",
                "has commentary in {four|six} languages",
            ),
            hooks=("Who plays on Saturday?", "The kick-off is at eight.",
                   "Some goals you want to see twice."),
            habit="plan the week around the match",
            treat="a season of Saturdays", scene="on the edge of the sofa in extra time",
        ),
        Kind(
            name="{brand} Documentary Club", price=(36, 78), users=("members", "watch with it"),
            facts=(
                "streams {150|180|240} documentaries",
                "opens with a new film every {Sunday|Monday|Thursday}",
                "lets you ask the makers {twice|three times} a month",
                "has films of {40|50|60} minutes",
                "pays half of the fee to the makers",
            ),
            hooks=("How does the other half live?", "A true story is hard to beat.",
                   "The world is large and the sofa is small."),
            habit="want to know how things work",
            treat="an hour of the real world", scene="at a table with the people who made it",
        ),
        Kind(
            name="{brand} projector", price=(120, 340), users=("homes", "watch with it"),
            facts=(
                "throws a picture of {two|three} metres",
                "weighs only {900|1,100|1,300} grams",
                "runs for {2|3|4} hours on its battery",
                "focuses itself in {2|4} seconds",
                "has a lamp that lasts {15,000|20,000|25,000} hours",
            ),
            hooks=("A white wall and a warm night.", "Could your garden be a cinema?",
                   "The neighbours bring the chairs."),
            habit="like your films large",
            treat="a cinema at home", scene="in the garden after dark",
        ),
        Kind(
            name="{brand} Short Films", price=(18, 42), users=("viewers", "watch it"),
            article=False,
            facts=(
                "has {500|700|900} films under 20 minutes",
                "picks {three|four} films for you each day",
                "comes from {40|50|60} countries",
                "can be watched without sound",
                "fits between two stops of the bus",
            ),
            hooks=("Ten minutes until the bus?", "A short film is a long poem.",
                   "Lunch is a good time for a story."),
            habit="look at your phone on the bus",
            treat="a small story", scene="on the back seat of the bus",
        ),
        Kind(
            name="{brand} Opera Live", price=(54, 120), users=("listeners", "watch it"),
            article=False,
            facts=(
                "brings {30|36|40} evenings a year from {nine|ten} stages",
                "has {seven|eight|eleven} cameras at every show",
                "keeps each show for {30|60} days",
                "shows the text in {6|9|10} languages",
                "starts at half past seven",
            ),
            hooks=("Front row, in your slippers.", "The curtain rises at half past seven.",
                   "Who dies in the third act?"),
            habit="hum Verdi in the shower",
            treat="an evening at the opera", scene="in a box with red velvet",
        ),
    ),
)  # fmt: skip

"""Things for the house and the road, sold online."""

from __future__ import annotations

from copygym.envs.storefront.trades.kind import Kind, Trade

TRADE = Trade(
    field="e-commerce",
    brands=(
        "Alto", "Bramble", "Norden", "Kestrel", "Fennel", "Tarn", "Lomond", "Pepper", "Arbour",
        "Corran", "Maple", "Otter", "Sorrel", "Heron",
    ),
    experts=(
        ("engineers at the {Home|Northern|Delft} Test Lab", "tested"),
        ("designers in {Turin|Oslo|Helsinki}", "designed"),
        ("the editors of {Plain Living|Good House|Home Front} magazine", "recommend"),
    ),
    offers=(
        ("the {spring|summer|autumn|winter} offer", "ends"),
        ("the {opening|weekend} price of {price}", "ends"),
        ("the {spring|autumn} sale", "closes"),
    ),
    stocks=("Only {40|60|80|90} are left in stock.", "The last {50|70|120} are in the shop now."),
    promises=(
        "It comes with a {two|three|five|ten}-year warranty.",
        "You can return it within {30|45|60|90} days.",
        "We repair it at no charge for {two|three|four} years.",
    ),
    gifts=("delivery", "gift wrapping", "the first repair"),
    extras=(
        "Delivery takes {two|three|four} days.",
        "The price is {price} instead of {list}.",
        "It costs {price}, a saving of {saving}% on the list price.",
    ),
    calls=("Order it today.", "Have a look in the shop.", "Put it in your basket tonight."),
    kinds=(
        Kind(
            name="{brand} kettle", price=(29, 79), users=("households", "use it"),
            facts=(
                "boils a litre of water in {2|3|4} minutes",
                "keeps water warm for {30|40|50} minutes",
                "holds {1.2|1.5|1.7} litres",
                "switches itself off when the water boils",
                "has a handle that stays cool",
            ),
            hooks=("Tea before the first bus?", "Good mornings begin with hot water.",
                   "The cups are out and the kitchen is quiet."),
            habit="start the day with a cup of tea",
            treat="a quiet cup of tea", scene="over a pot of tea",
        ),
        Kind(
            name="{brand} backpack", price=(45, 120), users=("commuters", "carry it"),
            facts=(
                "carries {22|25|28} litres",
                "keeps a laptop dry in heavy rain",
                "weighs only {700|800|900} grams",
                "has {6|8|9} pockets that close with a zip",
                "fits under the seat of a plane",
            ),
            hooks=("Rain on the way to work?", "Everything you need, on two shoulders.",
                   "Some days begin at the desk and end on a train."),
            habit="carry half your life to work",
            treat="a lighter way to work", scene="on the early train",
        ),
        Kind(
            name="{brand} desk lamp", price=(35, 95), users=("students and writers", "work by it"),
            facts=(
                "shines for {40|50|60} hours on one charge",
                "has {4|5|6} levels of brightness",
                "charges in {2|3} hours",
                "folds flat for the drawer",
                "turns to a warm light in the evening",
            ),
            hooks=("Still reading after dark?", "A good page needs a good light.",
                   "Late work is easier on the eyes in warm light."),
            habit="read a few pages before bed",
            treat="an evening with a good book", scene="at the desk by the window",
        ),
        Kind(
            name="{brand} rain jacket", price=(69, 160), users=("walkers", "wear it"),
            facts=(
                "keeps heavy rain out for {8|10|12} hours",
                "weighs only {280|310|340} grams",
                "packs into its own pocket",
                "is sewn from {20|24|30} recycled bottles",
                "comes in {5|6|7} colours",
            ),
            hooks=("Grey clouds over the hill?", "The dog wants out and it rains.",
                   "No weather stops a good walk."),
            habit="go out in all weathers",
            treat="a walk in the rain", scene="on the path along the coast",
        ),
        Kind(
            name="{brand} frying pan", price=(32, 88), users=("home cooks", "cook with it"),
            facts=(
                "heats evenly in {60|70|90} seconds",
                "needs only a spoon of oil",
                "lasts for {2,000|3,000|4,000} washes",
                "works on every hob and in the oven",
                "measures {24|26|28} centimetres across",
            ),
            hooks=("Eggs that slide off the pan?", "Dinner starts with a hot pan.",
                   "Two eggs, a little salt and some bread."),
            habit="cook at home most evenings",
            treat="a slow Sunday breakfast", scene="at the stove with a glass in hand",
        ),
        Kind(
            name="{brand} wool blanket", price=(55, 140), users=("families", "sleep under it"),
            facts=(
                "is woven from {90|95|98}% wool",
                "measures {150|160|180} by 200 centimetres",
                "keeps you warm down to {5|8|10} degrees",
                "comes from sheep on {12|14|16} small farms",
                "can be washed at home",
            ),
            hooks=("Cold feet on the sofa?", "The evenings are getting cooler.",
                   "A book, a lamp and something warm."),
            habit="keep the heating low",
            treat="a warm evening", scene="by the fire with a good book",
        ),
        Kind(
            name="{brand} bicycle lock", price=(39, 99), users=("riders", "lock up with it"),
            facts=(
                "holds out against bolt cutters for {5|6|8} minutes",
                "opens with a fingerprint in {2|3} seconds",
                "weighs only {900|950|980} grams",
                "runs for {9|10|14} months on one battery",
                "fits around two frames at once",
            ),
            hooks=("Where did you leave your bicycle?", "The station is full of bicycles.",
                   "A coffee tastes better when the bicycle is safe."),
            habit="ride to work",
            treat="a ride without worry", scene="on the ride home by the river",
        ),
        Kind(
            name="{brand} coffee grinder", price=(49, 130), users=("coffee drinkers", "use it"),
            facts=(
                "grinds beans for {4|6|8} cups in {30|40|50} seconds",
                "has {12|15|18} settings from coarse to fine",
                "is quieter than a conversation",
                "comes apart for cleaning in {3|4} steps",
                "stands on {10|11|13} centimetres of kitchen counter",
            ),
            hooks=("What does your kitchen smell of at seven?", "Fresh beans, and a little time.",
                   "The first cup sets the tone of a morning."),
            habit="take your coffee seriously",
            treat="a better first cup", scene="over two cups of coffee",
        ),
        Kind(
            name="{brand} garden chair", price=(59, 150), users=("gardeners", "sit on it"),
            facts=(
                "folds to {9|10|12} centimetres",
                "carries {110|120|140} kilos",
                "stays out in the rain all year",
                "reclines to {4|5|7} positions",
                "is made of oak from {three|four} forests",
            ),
            hooks=("Is there sun on your balcony?", "Somewhere to sit when the work is done.",
                   "The garden looks better from a chair."),
            habit="spend the evening outdoors",
            treat="an hour in the sun", scene="under the apple tree",
        ),
    ),
)  # fmt: skip

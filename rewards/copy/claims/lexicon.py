"""Lists of words: function words by class, verbs, irregular forms, words that say the same."""

from __future__ import annotations


def word_set(text: str) -> frozenset[str]:
    """Return the words of a text that lists them."""
    return frozenset(text.split())


#: Function words by class.
FUNCTION_WORDS: dict[str, frozenset[str]] = {
    kind: word_set(words)
    for kind, words in {
        "article": "the a an",
        "possessive": "my your our their its his whose",
        "determiner": "this these those every each some any another both several many few much "
        "more most all other such half enough own same certain various",
        "negation": "no not never without neither nor nothing nobody none cannot can't won't don't "
        "doesn't didn't isn't aren't wasn't weren't hasn't haven't couldn't wouldn't shouldn't",
        "preposition": "of to in into on onto for at by from with about under over between among "
        "through during within across against up upto towards toward near per than as like off "
        "inside outside behind beyond around along above below beside besides despite via plus "
        "including except out down",
        "time": "before after until till since",
        "conjunction": "and or but so because if while when whenever where although though unless "
        "whether yet",
        "relative": "that which who whom what why how whatever whoever",
        "be": "is are was were be been being am isn't aren't wasn't weren't it's that's there's "
        "here's you're we're they're he's she's i'm what's who's",
        "have": "has have had having hasn't haven't you've we've i've they've",
        "do": "do does did doing done don't doesn't didn't",
        "modal": "will would can could may might must should shall cannot can't won't couldn't "
        "wouldn't shouldn't you'll we'll it'll they'll i'll you'd we'd let's let",
        "pronoun": "i we he they she you it us me them him her mine ours yours theirs hers itself "
        "yourself themselves himself herself ourselves one ones someone anyone everyone something "
        "anything everything somebody anybody everybody there it's you're we're they're you'll "
        "we'll you've we've i'm he's she's",
        "adverb": "only just now already always ever even still also too very really then here "
        "again soon later almost nearly about quite rather together away back well maybe perhaps "
        "not once often sometimes usually finally instead today tonight tomorrow ago yesterday "
        "please simply straight everywhere anywhere home",
    }.items()
}
#: Verbs whose forms in "s" are as often nouns.
NOUN_VERBS = word_set(
    "answer award bake bite block blow bounce bump call care film finance flow focus force "
    "gain gift hunt issue lack lift link list load map mark match mill mix paint pause "
    "phone pick practise press purchase question rain rank rate record refill refund "
    "release rescue reserve reward ring sail scan score screen seal search seat shake smell "
    "smile smoke snow spell spread stick stretch suit supply touch track trick type update "
    "upgrade water wonder wrap brew cheer click count crack cross delay demand change "
    "charge cook cost cover dance design dream drink drive drop end help hope lead look "
    "love measure move name need offer order pack park pay plan plant play print promise "
    "rent repair report return ride rise roll run ship show sign stand start stay step stop "
    "store study support swim switch talk taste test train transfer travel treat try turn "
    "use visit vote walk wash watch wish work lock heat share"
)

#: Base forms of verbs that copy and briefs use; their other forms follow from them.
VERBS = word_set("""
accept adapt add adjust afford agree aim allow amount answer appear apply approve arrange arrive
ask attract audit award bake be bear become begin believe bend bind bite block blow boil book
borrow bounce break brew bring build bump burn buy call cancel care carry catch cater change charge
check cheer chill choose claim clean click climb close collect combine come compare complete
connect consist contain convert cook cool cost count cover crack create cross cure cut dance deal
decide defend delay deliver demand depend describe deserve design destroy develop die dig dine
direct discover do donate double download draw dream drink drive drop dry earn eat educate employ
empty enable encourage encrypt end enjoy enter examine exchange exist expect expire explain explore
express fade fail fall feed feel fetch fight fill film finance find finish fire fit fix float flow
fly focus fold follow force forget found freeze frighten fry gain gather get gift give go graduate
greet grind grow guarantee hand hang happen hate have hear heat help hide hire hold hope host hum
hunt hurry ignore import improve include inform insist inspect inspire install insure intend
interview invent invest invite iron issue join jump keep kill knit knock know lack last laugh
launch lay lead learn leave lend let lie lift link list listen live load lock look lose love lower
maintain make manage manufacture map mark marry match measure meet mend mention milk mill miss mix
monitor move name need notice notify obtain occur offer open operate oppose order own pack paint
park pause pay permit phone pick picture plan plant play pledge pledged pour practise praise prefer
prepare press prevent print produce promise promote protect prove provide publish pull pump punish
purchase push put question quit rain raise rank rate reach react read realise receive recommend
record recover reduce refill reflect refund refuse register reject relax release rely remember
remove renew rent repair repel replace replay report represent require rescue reserve respond rest
restore return reuse reveal reward ride ring rise roast roll rub ruin run sail save say scan score
screen seal search seat see seek select sell send separate serve set settle sew shake share shine
ship shoot shout show shut sign sing sit skip sleep slide smell smile smoke snow solve sort speak
spell spend spread squeeze stand start stay steal steam stick stop store stream stretch strike
study suit supervise supply support surprise surround survive suspect swear swim switch take talk
taste teach tear tell tend test thank think thrive throw tie touch track train transfer transform
translate travel treat trick trust try turn type understand unlock update upgrade use vanish vary
visit vote wait wake walk want warm warn wash watch water wear weigh welcome whistle win wipe wish
wonder work worry wrap write yell
""")
#: Forms that no ending makes, and what they are forms of.
IRREGULAR = {
    "am is are was were been being": "be", "has had having": "have", "does did done": "do",
    "went gone goes": "go", "came": "come", "got gotten": "get", "gave given": "give",
    "took taken": "take", "made": "make", "said": "say", "saw seen": "see", "knew known": "know",
    "left": "leave", "lost": "lose", "found founded": "find", "told": "tell", "thought": "think",
    "felt": "feel", "kept": "keep", "held": "hold", "brought": "bring", "bought": "buy",
    "built": "build", "began begun": "begin", "ate eaten": "eat", "fell fallen": "fall",
    "wrote written": "write", "ran": "run", "paid": "pay", "sold": "sell", "sent": "send",
    "slept": "sleep", "spent": "spend", "stood": "stand", "taught": "teach", "won": "win",
    "woke woken": "wake", "wore worn": "wear", "drove driven": "drive", "rode ridden": "ride",
    "rose risen": "rise", "chose chosen": "choose", "grew grown": "grow", "drew drawn": "draw",
    "met": "meet", "led": "lead", "sat": "sit", "spoke spoken": "speak", "swam": "swim",
    "hung": "hang", "heard": "hear", "caught": "catch", "fought": "fight", "forgot": "forget",
    "drank": "drink", "became": "become", "broke broken": "break", "flew flown": "fly",
    "froze frozen": "freeze", "hid hidden": "hide", "laid": "lay", "lay lain": "lie",
    "meant": "mean", "rang rung": "ring", "shook shaken": "shake", "shot": "shoot",
    "shone": "shine", "stole stolen": "steal", "stuck": "stick", "struck": "strike",
    "swore sworn": "swear", "tore torn": "tear", "dug": "dig", "dealt": "deal", "bit": "bite",
    "blew blown": "blow", "bent": "bend", "bred": "breed", "sought": "seek", "slid": "slide",
    "withdrew": "withdraw", "threw thrown": "throw", "understood": "understand", "lent": "lend",
    "fed": "feed", "fit": "fit", "sang sung": "sing", "men": "man", "women": "woman",
    "children": "child", "people": "people", "feet": "foot", "teeth": "tooth", "lives": "life",
    "wives": "wife", "shelves": "shelf", "loaves": "loaf", "knives": "knife", "halves": "half",
    "better best": "good", "worse worst": "bad", "bikes": "bike", "mice": "mouse",
    "this": "this", "news": "news", "series": "series", "gas": "gas", "lens": "lens",
}  # fmt: skip

#: Words that say the same in copy; the first stands for all.
SAME = """
fly flight flies; month monthly; week weekly; year yearly annual annually; day daily; hour hourly;
film movie; child kid children baby; begin start launch; end close expire; deliver delivery ship
shipping shipment; receive get obtain; buy purchase; repay refund; big large; small little tiny;
minute min mins; gigabyte gb gigabytes; kilometre km kilometer kilometers kilometres; kilogram kg
kilo kilograms; gram grams g; litre liter liters litres; flat apartment; phone telephone
smartphone; programme program; colour color; picture photo; insure insurance insurer; install
installation; operate operation; register registration; donate donation donor; cancel cancellation;
guarantee warranty guaranteed; employee staff; customer client; store shop; speak talk; quick
quickly fast; euro euros eur; dollar dollars usd; pound pounds; cent cents; free complimentary;
include included; evening evenings; kitchen; hand handmade; reply answer; home house; bike bicycle;
noise; doctor physician; dentist dental dentistry; price cost; teacher tutor; noon midday; protect
protection; develop development
"""

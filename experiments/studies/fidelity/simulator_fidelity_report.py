"""Tables, figures and words of E1, from its saved result alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from copygym.envs.logs.catalogue import HOLD
from copygym.envs.simulator.fidelity import ORGANIC_TOO
from copygym.evaluation.fidelity.judges import LOG, TRUTH
from copygym.evaluation.fidelity.segments import chance_of_worst, worst
from copygym.evaluation.ope.judge import LEAST_ESS, LEAST_EVENTS
from copygym.experiments.report.figures import PALETTE, Picture, draw, interval_figure
from copygym.experiments.report.page import Section
from copygym.experiments.report.tables import Table, interval

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_ALL = "all"
_RANK = (
    "Tau is Kendall's, rho Spearman's; 1 is the same order. Intervals are over resampled people, "
    "which adds noise a second time: they lie low. 'If it were right' is the tau that a simulator "
    "with the right values would get in spite of the other judge's noise (mean, middle 95%): a "
    "tau in that range cannot be told from a perfect one. 'Clear pairs' are pairs of policies that "
    "the other judge tells apart, and on how many of them the simulator has the same order."
)


def main_table(result: Mapping[str, Any]) -> Table:
    """Return what each learned policy was promised to be worth, and what each judge pays."""
    rows = tuple(
        (
            policy,
            interval(result["values"][policy][home]),
            *(interval(result["values"][policy][judge]) for judge in result["judges"]),
        )
        for policy, home in _learned(result)
    )
    who = f"{result['played']:,} held-out people"
    span = f"over {result['horizon']} slots" if result["horizon"] > 1 else "one decision each"
    caption = (
        f"Value of each policy in {result['unit']}: as promised by the simulator in which it "
        f"learned, and as others see it. {who}, {span}, the same for all; 95% intervals by "
        f"bootstrap over people. {_judges(result)}"
    )
    return Table(("policy", "promised", *result["judges"]), rows, caption)


def _learned(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return learned policies and their simulators in the order of tables."""
    learned = result["learned"]
    return [(policy, learned[policy]) for policy in result["policies"] if policy in learned]


def _judges(result: Mapping[str, Any]) -> str:
    words = ["A and B: fitted on two halves of the users that share nobody."]
    if TRUTH in result["judges"]:
        words.append("Truth: the synthetic world's own response.")
    if LOG in result["judges"]:
        words.append(f"Log: off-policy on the held-out rows ({result['estimator'].upper()}).")
    return " ".join(words)


def summary(result: Mapping[str, Any]) -> str:
    """Return the report's first paragraph."""
    homes, judges = result["homes"], result["judges"]
    families = ", ".join(name.removesuffix(" A") for name in homes)
    kind = "synthetic" if result["synthetic"] else "real"
    return " ".join(
        [
            f"On each half of the users of a {kind} log, {len(homes)} "
            f"{'simulator was' if len(homes) == 1 else 'simulators were'} fitted ({families}). In "
            f"those of half A, {len(result['learned'])} policies learned. All is judged on "
            f"{result['people']:,} people whom nothing had seen.",
            _exploit_words(result, judges),
            *_rank_words(result),
            _segment_words(result),
        ]
    )


def _exploit_words(result: Mapping[str, Any], judges: Sequence[str]) -> str:
    entry = result["exploit"][_ALL]
    pays = [
        f"{judge} {interval(entry['optimism'][judge])}"
        + ("" if entry["kept"][judge] is None else f" ({interval(entry['kept'][judge], '%')}%)")
        for judge in judges
    ]
    pairs = [
        result["exploit"][home]["optimism"][judge]
        for home in result["homes"]
        for judge in judges
        if judge in result["simulators"]
    ]
    apart = sum(entry["low"] > 0 or entry["high"] < 0 for entry in pairs)
    word = "agree" if apart == 0 else "disagree"
    best = next((judge for judge in (TRUTH, LOG) if judge in judges), None)
    low = [
        judge
        for judge in judges
        if best is not None
        and judge in result["simulators"]
        and entry["optimism"][judge]["low"] > entry["optimism"][best]["high"]
    ]
    stingy = (
        f" {', '.join(low)} {'pays' if len(low) == 1 else 'pay'} clearly less than the {best} "
        "does: a fitted judge errs, too."
        if low
        else ""
    )
    return (
        f"On average a simulator promised its own agents, in {result['unit']}, more than the "
        f"judges pay by (in brackets the share of the promised gain over {result['baseline']} that "
        f"they pay): {'; '.join(pays)}. Simulators {word} with each other: in {apart} of "
        f"{len(pairs)} pairs of one that taught and one that judged, promise and pay differ "
        f"clearly.{stingy}"
    )


def _rank_words(result: Mapping[str, Any]) -> list[str]:
    words = []
    for name, rows in result["agreement"].items():
        taus = [row for row in rows if row["tau"] is not None and row["one"] != LOG]
        if not taus:
            words.append(f"Ranked by the {name}: {_too_few(result, name)}")
            continue
        low, high = (choose(row["tau"]["value"] for row in taus) for choose in (min, max))
        right = [row["right"]["value"] for row in taus if row["right"] is not None]
        clear, agreed = (max(row[key] for row in taus) for key in ("clear", "agreed"))
        fewest = min(row["agreed"] for row in taus)
        words.append(
            f"Ranked by the {name}: tau of the simulators {low:.2f} to {high:.2f}"
            + (f", where right ones would get about {sum(right) / len(right):.2f}" if right else "")
            + f"; they agree on {_range(fewest, agreed)} of {clear} clear pairs."
        )
    return words


def _range(low: int, high: int) -> str:
    return f"{low}" if low == high else f"{low} to {high}"


def _too_few(result: Mapping[str, Any], name: str) -> str:
    if name != LOG:
        return "fewer than three policies have values that differ."
    return (
        f"fewer than three policies have the {LEAST_ESS} effective rows and {LEAST_EVENTS} "
        "effective clicks that an order needs."
    )


def _segment_words(result: Mapping[str, Any]) -> str:
    home = result["homes"][0]
    rates = _user_rates(result["calibration"][home]) or result["calibration"][home]
    one = worst(rates)
    inside = sum(rate["inside"] for rate in rates)
    return (
        f"{home}: {inside} of {len(rates)} simulated click rates of segments lie in the real one's "
        f"95% interval; the worst is {_group(one)} with {_percent(one['predicted'])}% simulated "
        f"against {_interval(one['observed'])}% real."
    )


def _user_rates(rates: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [rate for rate in rates if rate["kind"] != "creative"]


def _group(rate: Mapping[str, Any]) -> str:
    return f"{rate['kind']}: {rate['name']}"


def _percent(value: float) -> str:
    return f"{100 * value:.2f}"


def _interval(entry: Mapping[str, float]) -> str:
    low, high = _percent(entry["low"]), _percent(entry["high"])
    return f"{_percent(entry['value'])} [{low}, {high}]"


def sections(result: Mapping[str, Any]) -> list[Section]:
    """Return the report's sections."""
    return [_exploit(result), _ranks(result), _segments(result), _worth(result), _cards(result)]


def _exploit(result: Mapping[str, Any]) -> Section:
    judges = result["judges"]
    names = [*result["homes"], _ALL]
    optimism = Table(
        ("learned in", *judges),
        tuple(
            (name, *(interval(result["exploit"][name]["optimism"][j]) for j in judges))
            for name in names
        )
        + tuple(
            (
                f"{result['baseline']}, as {home} sees it",
                *(interval(result["exploit"]["level"][home][j]) for j in judges),
            )
            for home in result["homes"]
        ),
        f"Optimism: {result['unit']} promised minus those that the judge pays, mean over the "
        "policies that learned there. 0 is an honest promise. "
        f"{result['baseline'].capitalize()} has learned nothing: its optimism is the difference in "
        "level between two simulators, and what exceeds it was exploited.",
    )
    share = Table(
        ("learned in", f"promised gain over {result['baseline']}", *(f"{j} %" for j in judges)),
        tuple(
            (
                name,
                interval(result["exploit"][name]["promised_gain"]),
                *(_share(result["exploit"][name]["kept"][j]) for j in judges),
            )
            for name in names
        ),
        f"Share of the promised gain over {result['baseline']} that each judge pays; 100 is a "
        "promise kept. A dash: no gain was clearly promised, so that there is nothing to share.",
    )
    each = Table(
        ("policy", *judges),
        tuple(
            (policy, *(interval(result["exploit"][policy]["optimism"][j]) for j in judges))
            for policy, _ in _learned(result)
        ),
        "Optimism of each policy.",
    )
    panels = {
        f"learned in {home}": {j: result["exploit"][home]["optimism"][j] for j in judges}
        for home in result["homes"]
    }
    picture = interval_figure(
        "optimism",
        f"Optimism in {result['unit']}: promised minus paid, by judge, with 95% intervals.",
        panels,
        TRUTH if TRUTH in judges else LOG,
    )
    text = (
        "An agent finds what a simulator wrongly believes. What a policy is worth in the simulator "
        "where it learned is therefore compared with what it is worth to simulators that were "
        "fitted on other users, by the same method and by others"
        + (", and with the truth." if TRUTH in judges else ".")
        + (" The log itself judges, too." if LOG in judges else ""),
        "A fitted judge is no truth. What it has not learned of people it takes for the average, "
        "so that it can pay too little for a policy that is right, as well as too much.",
    )
    return Section("Exploit test", text, (optimism, share, each), (picture,))


def _share(entry: Mapping[str, float] | None) -> str:
    return "-" if entry is None else interval(entry, "%")


def _ranks(result: Mapping[str, Any]) -> Section:
    tables, text, pictures = [], [_RANK], []
    for name, rows in result["agreement"].items():
        if not rows:
            text.append(f"Ranked by the {name}: {_too_few(result, name)}")
            continue
        tables.append(
            Table(
                ("judge", "policies", "tau", "rho", "tau if it were right", "clear pairs agreed"),
                tuple(
                    (
                        row["one"],
                        f"{row['policies']}",
                        *(_or_dash(row[key]) for key in ("tau", "rho", "right")),
                        f"{row['agreed']} of {row['clear']}",
                    )
                    for row in rows
                ),
                f"Against the {name}. A dash: all values are equal, so that there is no order.",
            )
        )
        key = "values" if name.endswith("episode") else "decisions"
        pictures.append(_scatter(result, name, key, rows))
    return Section("Rank agreement", tuple(text), tuple(tables), tuple(pictures))


def _or_dash(entry: Mapping[str, float] | None) -> str:
    return "-" if entry is None else interval(entry)


def _scatter(
    result: Mapping[str, Any], name: str, key: str, rows: Sequence[Mapping[str, Any]]
) -> Picture:
    """Draw each simulator's values against those of the judge that it is compared with."""
    other = rows[0]["other"]
    judges = [row["one"] for row in rows]
    values = result[key]
    shown = list(values)
    if len(shown) != rows[0]["policies"]:
        shown = [policy for policy in values if result["support"][policy]["enough"]]

    def plot(figure: Figure) -> None:
        columns = min(3, len(judges))
        lines = -(-len(judges) // columns)
        axes = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False).ravel()
        for place in axes[len(judges) :]:
            place.set_visible(False)
        for place, judge in zip(axes, judges, strict=False):
            for policy in shown:
                x, y = values[policy][other], values[policy][judge]
                home = result["learned"].get(policy)
                colour = PALETTE[6] if home is None else PALETTE[result["homes"].index(home) % 6]
                place.plot([x["low"], x["high"]], [y["value"]] * 2, color=colour, alpha=0.4, lw=1)
                place.plot([x["value"]] * 2, [y["low"], y["high"]], color=colour, alpha=0.4, lw=1)
                place.plot([x["value"]], [y["value"]], "o", color=colour, ms=4)
            start = max(place.get_xlim()[0], place.get_ylim()[0])
            place.axline((start, start), slope=1, color=PALETTE[6], lw=0.8, ls=":")
            place.set_title(judge)
            place.grid(alpha=0.25)
        figure.supxlabel(f"value by the {other}")
        figure.supylabel("value by the judge above")

    unit = result["unit"] if key == "values" else "clicks per decision"
    caption = (
        f"What each judge says of each policy ({unit}), against the {name}, with 95% intervals; "
        "colours: the simulator in which a policy learned (grey: in none)."
    )
    label = "scatter_" + "".join(c if c.isalnum() else "_" for c in name)
    height = 2.6 * -(-len(judges) // 3) + 0.6
    return draw(label, caption, (7.6, height), plot)


def _segments(result: Mapping[str, Any]) -> Section:
    rows = []
    for name in result["simulators"]:
        rates = result["calibration"][name]
        for label, part in (
            ("segments", _user_rates(rates)),
            ("creatives", [rate for rate in rates if rate["kind"] == "creative"]),
        ):
            if not part:
                continue
            one = worst(part)
            rows.append(
                (
                    f"{name}: {label}",
                    f"{sum(rate['inside'] for rate in part)} of {len(part)}",
                    one["name"] if label == "creatives" else _group(one),
                    _percent(one["predicted"]),
                    _interval(one["observed"]),
                    "-" if one["ratio"] is None else interval(one["ratio"]),
                    _chance(chance_of_worst(part)),
                )
            )
    overview = Table(
        (
            "simulator", "inside", "worst", "simulated rate %", "real rate %", "real / simulated",
            "chance of such a worst",
        ),
        tuple(rows),
        "Inside: simulated rates that lie in the real one's 95% interval (Wilson, users as "
        "clusters); of right ones, 95% would. Worst: the largest gap in standard errors, and how "
        "likely so large a worst gap is if all were right (Sidak).",
    )  # fmt: skip
    homes = result["homes"]
    first = result["calibration"][homes[0]]
    each = Table(
        ("group", "impressions", "real rate %", *(f"{home} %" for home in homes)),
        tuple(
            (
                _group(rate),
                f"{rate['impressions']:,}",
                _interval(rate["observed"]),
                *(_mark(result["calibration"][home][index]) for home in homes),
            )
            for index, rate in enumerate(first)
        ),
        "Simulated click rates on held-out rows as they are, at the log's own base rate; * lies "
        "outside the real rate's interval."
        f"{f' {ORGANIC_TOO}' if any(rate['name'] == HOLD for rate in first) else ''}",
    )
    pictures: tuple[Picture, ...] = ()
    if users := _user_rates(first):
        names = [_group(rate) for rate in users if rate["ratio"] is not None]
        panels = {
            home: {
                _group(rate): rate["ratio"]
                for rate in result["calibration"][home]
                if _group(rate) in names and rate["ratio"] is not None
            }
            for home in homes
        }
        picture = interval_figure(
            "segments",
            "Real over simulated click rate by user segment, with 95% intervals; 1 is calibrated.",
            panels,
        )
        pictures = (picture,)
    return Section("Calibration by segment", (), (overview, each), pictures)


def _mark(rate: Mapping[str, Any]) -> str:
    return _percent(rate["predicted"]) + ("" if rate["inside"] else " *")


def _chance(value: float) -> str:
    return "below 0.001" if value < 0.001 else f"{value:.3f}"


def _worth(result: Mapping[str, Any]) -> Section:
    judges = [*result["simulators"], *([TRUTH] if TRUTH in result["judges"] else []), LOG]
    rows = tuple(
        (
            policy + ("" if result["support"][policy]["enough"] else " *"),
            *(interval(by[judge], "%") for judge in judges),
            f"{result['support'][policy]['rows']:,.0f}",
            f"{result['support'][policy]['clicks']:,.0f}",
        )
        for policy in result["decided"]
        for by in [result["decisions"][policy]]
    )
    caption = (
        f"Clicks per 100 decisions in the states of {result['log_rows']:,} held-out log rows with "
        f"{result['log_clicks']:,.0f} clicks. Log: {result['estimator'].upper()}, off-policy. "
        f"* the log cannot support the policy (fewer than {LEAST_ESS} effective rows or "
        f"{LEAST_EVENTS} effective clicks): it is left out of comparisons with the log."
    )
    columns = ("policy", *judges, "effective rows", "effective clicks")
    return Section("Decision by decision", (), (Table(columns, rows, caption),))


def _cards(result: Mapping[str, Any]) -> Section:
    def triple(values: Sequence[float | None], digits: int) -> str:
        shown = ["-" if value is None else f"{value:.{digits}f}" for value in values]
        return f"{shown[0]} [{shown[1]}, {shown[2]}]"

    rows = tuple(
        (
            name,
            f"{card['fitted_users']:,}",
            triple(card["log_loss_skill"], 4),
            triple(card["auc"], 4),
            triple(card["ece"], 5),
            f"{card['ece_floor']:.5f}",
        )
        for name in result["simulators"]
        for card in [result["cards"][name]]
    )
    columns = ("simulator", "users fitted", "log loss skill", "AUC", "ECE", "ECE if perfect")
    caption = "Fidelity cards on the same held-out people; `copygym fidelity` shows more."
    return Section("Fidelity cards", (), (Table(columns, rows, caption),))

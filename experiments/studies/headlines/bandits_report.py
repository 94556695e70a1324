"""Tables and figures of the headline bandits (E7)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from copygym.evaluation.headlines.replay import POLICIES, TUNED
from copygym.experiments.report.figures import Picture, lines_figure
from copygym.experiments.report.page import Section
from copygym.experiments.report.tables import Table, interval, number

#: What is taken for the truth: the paper's first, then the more cautious one.
TRUTHS = {
    "observed": "each headline's observed click rate, which overstates the best one's lead",
    "shrunken": "observed rates shrunk to their test's mean by the spread within tests",
}
#: LOLA's replay on its authors' own test split: clicks per impression of each headline.
PAPER_HORIZONS = (50, 100, 200, 400, 600, 800, 1000)
PAPER = {
    "uniform": (0.0483,) * 7,
    "explore_then_commit": (0.0490, 0.0503, 0.0510, 0.0517, 0.0526, 0.0531, 0.0536),
    "thompson": (0.0488, 0.0496, 0.0512, 0.0523, 0.0532, 0.0537, 0.0542),
    "ucb": (0.0497, 0.0509, 0.0520, 0.0533, 0.0541, 0.0547, 0.0552),
}
#: LOLA's lift over UCB there, with a fine-tuned Llama-3-8B as the model, by horizon.
PAPER_LOLA = {50: 0.0695, 1000: 0.0223}
#: Lines of the figure; the others are near one of these, or off the scale.
_DRAWN = (
    "prediction",
    "lola",
    "lola_tuned",
    "prior_thompson",
    "prior_thompson_tuned",
    "thompson",
    "explore_then_commit",
)


def main_table(result: Mapping[str, Any]) -> Table:
    """Return clicks by policy and horizon: under the observed truth, then the shrunken."""
    shown = _shown_horizons(result)
    rows = tuple(
        (name, truth, *_cells(result, truth, name, "clicks", shown))
        for truth in TRUTHS
        for name in result["policies"]
    )
    meanings = "; ".join(f"{truth}: {meaning}" for truth, meaning in TRUTHS.items())
    caption = (
        "Clicks per 100 impressions of each headline of a test, mean over tests, with 95% "
        f"intervals over {result['tests']:,} tests. What is taken for the truth: {meanings}."
    )
    columns = ("policy", "truth", *(f"{h:,} impressions per headline" for h in shown))
    return Table(columns, rows, caption)


def sections(result: Mapping[str, Any]) -> list[Section]:
    """Return the report's sections."""
    by_truth = [
        Section(
            f"Truth: {truth}", (), (_lift_table(result, truth),), (_lift_figure(result, truth),)
        )
        for truth in TRUTHS
    ]
    found = [*by_truth, _paper(result), _prediction(result)]
    if any(result["tuned"].values()):
        found.append(_tuning(result))
    return [*found, _policies(result)]


def _shown_horizons(result: Mapping[str, Any]) -> list[int]:
    """Return the first, the middle and the last horizon."""
    horizons = result["horizons"]
    return sorted({horizons[0], horizons[len(horizons) // 2], horizons[-1]})


def _cells(
    result: Mapping[str, Any], truth: str, name: str, key: str, horizons: list[int]
) -> list[str]:
    entry = result["truth"][truth][name]
    return [interval(entry[str(h)][key], "%") for h in horizons]


def _lift_table(result: Mapping[str, Any], truth: str) -> Table:
    horizons = result["horizons"]
    rows = tuple(
        (name, *_cells(result, truth, name, "lift", horizons))
        for name in result["policies"]
        if name != "ucb"
    )
    caption = (
        f"% more clicks than ucb by impressions per headline, with 95% intervals over "
        f"{result['tests']:,} tests; truth: {TRUTHS[truth]}."
    )
    return Table(("policy", *(f"{h:,}" for h in horizons)), rows, caption)


def _lift_figure(result: Mapping[str, Any], truth: str) -> Picture:
    entries = result["truth"][truth]
    lines = {
        name: {
            "x": result["horizons"],
            **{
                axis: [100 * entries[name][str(h)]["lift"][key] for h in result["horizons"]]
                for axis, key in (("y", "value"), ("low", "low"), ("high", "high"))
            },
        }
        for name in _DRAWN
        if name in result["policies"]
    }
    caption = f"Lift in clicks over ucb by traffic, 95% bands over tests; truth: {TRUTHS[truth]}."
    return lines_figure(
        f"lift_{truth}", caption, lines, "impressions per headline", "lift, %", log_x=True
    )


def _paper(result: Mapping[str, Any]) -> Section:
    """Return the figures beside those of LOLA's authors, at the horizons that both have."""
    shared = [h for h in PAPER_HORIZONS if h in result["horizons"]]
    if not shared:
        known = ", ".join(f"{h:,}" for h in PAPER_HORIZONS)
        absent = f"The paper's horizons are {known} impressions per headline; none is in this run."
        return Section("Beside the paper", (absent,))
    rows: list[tuple[str, ...]] = []
    for name in (*PAPER, "lola"):
        if name == "ucb" or name not in result["policies"]:
            continue
        rows.append((name, *_cells(result, "observed", name, "lift", shared)))
        published = [_paper_lift(name, horizon) for horizon in shared]
        rows.append((f"{name}, paper", *("-" if v is None else f"{v:.1f}" for v in published)))
    caption = (
        "% more clicks than ucb by impressions per headline; truth: observed click rates. A dash: "
        "the paper's figure for LOLA is known at 50 and 1,000 impressions only."
    )
    table = Table(("policy", *(f"{h:,}" for h in shared)), tuple(rows), caption)
    text = (
        "The paper's rows are from its authors' own split of the archive, at z = 0.08 and n_aux = "
        f"1,000; here z is {result['settings']['z']:g} and n_aux {result['settings']['n_aux']:g}. "
        "Three things differ: the tests (this log's, without those that its notes leave out), the "
        "model that predicts (there a Llama-3-8B fine-tuned with LoRA), and the prior of Thompson "
        "sampling (fitted here, Beta(1.38, 96.11) there). So the order of the policies and their "
        "gaps can be compared, levels can't.",
        _order(result, shared),
    )
    return Section("Beside the paper", tuple(t for t in text if t), (table,))


def _paper_lift(name: str, horizon: int) -> float | None:
    """Return a policy's lift over UCB in the paper, %; None where it isn't known."""
    if name == "lola":
        return 100 * PAPER_LOLA[horizon] if horizon in PAPER_LOLA else None
    at = PAPER_HORIZONS.index(horizon)
    return 100 * (PAPER[name][at] / PAPER["ucb"][at] - 1)


def _order(result: Mapping[str, Any], shared: list[int]) -> str:
    """Return at how many horizons the policies stand in the paper's order."""
    names = [name for name in PAPER if name in result["policies"]]
    if len(names) < 2:
        return ""
    entries = result["truth"]["observed"]

    def ranked(clicks: Mapping[str, float]) -> list[str]:
        return sorted(names, key=lambda name: clicks[name])

    same = sum(
        ranked({name: PAPER[name][PAPER_HORIZONS.index(h)] for name in names})
        == ranked({name: entries[name][str(h)]["clicks"]["value"] for name in names})
        for h in shared
    )
    return f"The order of {', '.join(names)} is the paper's at {same} of {len(shared)} horizons."


def _prediction(result: Mapping[str, Any]) -> Section:
    found = result["prediction"]
    rows = (
        ("pairs of headlines in the right order", interval(found["pairwise"], "%")),
        ("tests whose favourite is the observed best", interval(found["best_of_k"], "%")),
        ("the same by chance", interval(found["best_of_k_random"], "%")),
        ("click rate of the favourite over a random one's", interval(found["lift"], "%")),
    )
    caption = f"%, with 95% intervals over {result['tests']:,} replayed tests."
    table = Table(("what the reward model knows of them", "value"), rows, caption)
    return Section("The prediction", (), (table,))


def _tuning(result: Mapping[str, Any]) -> Section:
    entries = {
        (name, truth): result["tuned"][truth][name]
        for truth in TRUTHS
        for name in TUNED
        if name in result["tuned"][truth]
    }
    rows = tuple(
        (name, truth, *(number(n_aux, 6) for n_aux in entry["chosen"]))
        for (name, truth), entry in entries.items()
    )
    first = next(iter(entries.values()))
    tried = ", ".join(number(n_aux, 6) for n_aux in first["n_aux"])
    caption = (
        "n_aux with the most clicks by impressions per headline, on "
        f"{first['tests']:,} tests that are not replayed; tried: {tried}."
    )
    text = ["Chosen from means of one replay: neighbouring values lie close together."]
    if any(first["n_aux"][-1] in entry["chosen"] for entry in entries.values()):
        text.append(
            "Where the largest value tried was chosen, the prediction is all but trusted alone."
        )
    columns = ("policy", "truth", *(f"{h:,}" for h in result["horizons"]))
    return Section("How n_aux was chosen", tuple(text), (Table(columns, rows, caption),))


def _policies(result: Mapping[str, Any]) -> Section:
    told = {
        **POLICIES,
        **{
            name: f"{base}, its n_aux chosen for each traffic on other tests"
            for name, (base, _) in TUNED.items()
        },
    }
    settings = result["settings"]
    rows = tuple((name, told[name]) for name in result["policies"])
    prior, strength = result["prior"], result["within_test_strength"]
    spread = (
        "Arms of one test spread around their mean no more than noise does."
        if strength is None
        else "Arms of one test spread around their mean like a prior worth "
        f"{number(strength)} impressions."
    )
    text = (
        f"z = {settings['z']:g}, n_aux = {settings['n_aux']:g} ({settings['n_aux_thompson']:g} for "
        f"Thompson sampling), explore-then-commit explores {100 * settings['explore']:g}% of the "
        f"impressions, epsilon-greedy {100 * settings['epsilon']:g}%. Thompson sampling's prior is "
        f"an average click rate of {100 * prior['mean']:.3g}%, worth {number(prior['strength'])} "
        f"impressions, fitted on the training tests. {spread}",
    )
    return Section("Policies and priors", text, (Table(("policy", "what it does"), rows),))

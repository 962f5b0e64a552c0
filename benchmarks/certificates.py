"""What the package says of its own students, held against the truth.

Six data sets, several seeds: a student, nine rounds, and after each round its true
agreement with the teacher on the whole pool, which a user cannot know. From these runs:
how often the intervals of each round cover the truth, how often a forecast from the
first third of the budget does, what stopping rules save, and, by drawing audits again
and again, how often a certificate and a cascade break their promise. All rows are
training rows of their data sets.

    SKADISTILL_DATA=... python benchmarks/certificates.py --seeds 5    # restartable
"""

import os
import tempfile

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import argparse
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
from _common import machine_lines, markdown_table, remembered, save_result
from sklearn.linear_model import LogisticRegression
from uniform_share import TASKS, problem

from skadistill import ActiveDistiller
from skadistill._fit.draw import draw_round
from skadistill._statistics.forecast import forecast_of
from skadistill.checking import CheckPolicy
from skadistill.deploy._audit import deferral_threshold, promised_threshold
from skadistill.deploy._certificate import _certify_share
from skadistill.exceptions import CascadeError
from skadistill.query import QueryPool
from skadistill.query._as_strategy import as_strategy
from skadistill.stopping import GainPerCost, TargetAccuracy, TargetAgreement
from skadistill.teachers import as_teacher

# Some megabytes, which are not kept with the results.
KEPT = Path(tempfile.gettempdir()) / "skadistill_certificates.jsonl"
N_DRAWS = 2000
N_ROUNDS = 9
# With the error rate given, "robust" plays the game of "rad".
STRATEGIES = ("rad", "margin", "random")
CONFIDENCE = 0.95


class Watch:
    """Compare the student of each round with the teacher, on every row of the pool."""

    def __init__(self, pool, taught, X_scored, y_scored):
        self.pool, self.taught = pool, taught
        self.X_scored, self.y_scored = X_scored, y_scored
        self.agreement, self.accuracy = [], []

    def setup(self, estimator, context):
        pass

    def teardown(self, estimator, context):
        pass

    def on_fit_task_begin(self, estimator, context, **_):
        pass

    def on_fit_task_end(self, estimator, context, *, fitted_estimator):
        if "round" in context.task_name:
            student = fitted_estimator.student_
            self.agreement.append(
                float(np.mean(student.predict(self.pool) == self.taught))
            )
            self.accuracy.append(
                float(np.mean(student.predict(self.X_scored) == self.y_scored))
            )


def run(name, strategy, seed):
    """Return the history of one fit, and the truth beside it."""
    X, y, pool, X_scored, y_scored, teacher = problem(name, seed)
    classes = np.unique(y)
    taught = classes[as_teacher(teacher).ask(pool, classes).argmax(axis=1)]
    watch = Watch(pool, taught, X_scored, y_scored)
    budget = TASKS[name][2]
    model = ActiveDistiller(
        teacher,
        LogisticRegression(max_iter=200, C=1.0),
        query_strategy=strategy,
        budget=budget,
        query_size=-(-budget // N_ROUNDS),
        teacher_checks=CheckPolicy(error_rate=TASKS[name][3]),
        random_state=seed,
    ).set_callbacks(watch)
    half = len(X_scored) // 2
    model.fit(X, y, X_unlabeled=pool, X_val=X_scored[:half], y_val=y_scored[:half])
    # Rows that the student has not seen stand for those to come.
    fresh = model.labeled_round_[len(X) :] < 0
    proba = model.predict_proba(pool[fresh])
    agreed = model.classes_[proba.argmax(axis=1)] == taught[fresh]
    keys = (
        "n_labeled",
        "n_asked",
        "n_paid",
        "cost",
        "student_score",
        "n_val",
        "pool_agreement",
        "pool_agreement_low",
        "pool_agreement_high",
        "n_effective",
        "pool_accuracy_low",
    )
    return {
        "history": [{key: r[key] for key in keys} for r in model.history_],
        "agreement": watch.agreement,
        "accuracy": watch.accuracy,
        "sure": np.round(proba.max(axis=1), 5).tolist(),
        "agreed": agreed.astype(int).tolist(),
    }


def simulated_rows():
    """Draw rounds from pools made up, whose agreement is known; 2,000 per cell."""
    rows = []
    for name in ("robust", "rad", "random", "margin"):
        row = [name]
        for n_queries in (20, 40, 60, 100, 200, 400):
            covered = [
                simulated_round(as_strategy(name), n_queries, seed, name == "rad")
                for seed in range(N_DRAWS)
            ]
            row.append(f"{100 * np.mean(covered):.1f}")
        rows.append(row)
    return rows


@lru_cache(maxsize=8)
def made_up_pool(sureness, seed):
    """Return probabilities of two classes, and where student and teacher agree."""
    rng = np.random.default_rng(seed)
    sure = 0.5 + 0.5 * rng.beta(sureness, 1.0, 2000)
    return np.column_stack([sure, 1 - sure]), rng.random(2000) < sure


def simulated_round(strategy, n_queries, seed, rad):
    """Tell whether the interval of one round holds."""
    # Students that agree with the teacher on 77, 80, 88 and 93 % of the pool.
    proba, agree = made_up_pool((1.0, 1.5, 3.0, 6.0)[seed % 4], seed // 20)
    drawn = draw_round(
        strategy,
        # Without an error rate "robust" plays the regret game.
        QueryPool.from_proba(proba, teacher_error=0.1 if rad else None),
        n_queries,
        uniform_share=0.25,
        rng=np.random.default_rng([seed, 0]),
        uniform_rng=np.random.default_rng([seed, 1]),
    )
    every = np.ones(n_queries, dtype=bool)
    low, high = drawn.estimate(agree[drawn.positions], every).interval()
    return low <= agree.mean() <= high


def coverage_rows(runs):
    """Count how often the truth lies in the interval of a round."""
    rows = []
    for strategy in STRATEGIES:
        covered, below, widths = [], [], []
        for (_, s, _), found in runs.items():
            for record, truth in zip(found["history"], found["agreement"], strict=True):
                if s == strategy and record["pool_agreement"] is not None:
                    low, high = (record[f"pool_agreement_{k}"] for k in ("low", "high"))
                    covered.append(low <= truth <= high)
                    below.append(record["pool_agreement"] - truth)
                    widths.append(high - low)
        rows.append(
            [
                strategy,
                len(covered),
                f"{100 * np.mean(covered):.1f}",
                f"{100 * np.mean(below):+.2f}",
                f"{100 * np.std(below):.2f}",
                f"{100 * np.median(widths):.1f}",
            ]
        )
    return rows


def forecast_rows(runs):
    """Forecast the end of each run from a third of its budget."""
    rows = []
    ends = {
        "student_score": ("accuracy", "accuracy on X_val"),
        "pool_agreement": ("agreement", "agreement on the pool"),
    }
    for name, (key, title) in ends.items():
        for strategy in STRATEGIES:
            inside, gaps, lows = [], [], []
            for (_, s, _), found in runs.items():
                if s != strategy:
                    continue
                part = found["history"][: 1 + N_ROUNDS // 3]
                if name == "pool_agreement":
                    # The last one is judged by the round that follows: not yet there.
                    part = [r | {"student_score": None} for r in part]
                    part[-1]["pool_agreement"] = None
                last = found["history"][-1]["n_labeled"]
                forecast = forecast_of(part)
                score, low, high = forecast.after(last - forecast.n_now)
                truth = found[key][-1]
                inside.append(low <= truth <= high)
                lows.append(truth < low)
                gaps.append(score - truth)
            rows.append(
                [
                    title,
                    strategy,
                    len(inside),
                    f"{100 * np.mean(inside):.0f}",
                    f"{100 * np.mean(lows):.0f}",
                    f"{100 * np.mean(gaps):+.2f}",
                    f"{100 * np.mean(np.abs(gaps)):.2f}",
                ]
            )
    return rows


def stopping_rows(runs):
    """Stop each run where a rule would have, and count labels saved and points lost."""
    rules = {
        f"TargetAgreement({target})": (TargetAgreement(target), "agreement", target)
        for target in (0.7, 0.75, 0.8, 0.85, 0.9)
    } | {
        "TargetAgreement(0.8, confidence=0.8)": (
            TargetAgreement(0.8, confidence=0.8),
            "agreement",
            0.8,
        ),
        "TargetAccuracy(0.8)": (TargetAccuracy(0.8), "accuracy", 0.8),
        "GainPerCost(0.01)": (GainPerCost(0.01), "accuracy", None),
        "GainPerCost(0.003)": (GainPerCost(0.003), "accuracy", None),
    }
    rows = []
    for title, (rule, key, target) in rules.items():
        stopped, saved, lost, early = 0, [], [], 0
        for found in runs.values():
            history = found["history"]
            for k in range(2, len(history)):
                seen = [dict(record) for record in history[:k]]
                seen[-1]["pool_agreement"] = None
                if rule.should_stop(seen):
                    stopped += 1
                    n_all = history[-1]["n_labeled"] - history[0]["n_labeled"]
                    n_left = history[-1]["n_labeled"] - history[k - 1]["n_labeled"]
                    saved.append(n_left / n_all)
                    lost.append(found["accuracy"][-1] - found["accuracy"][k - 1])
                    judged = k - 2 if key == "agreement" else k - 1
                    early += target is not None and found[key][judged] < target
                    break
        reached = ""
        if target is not None:
            reached = sum(max(found[key][:-1]) >= target for found in runs.values())
        rows.append(
            [
                title,
                reached,
                f"{stopped} of {len(runs)}",
                f"{100 * np.mean(saved):.0f}" if saved else "",
                f"{100 * np.mean(lost):+.2f}" if lost else "",
                "" if target is None else f"{early}",
            ]
        )
    return rows


def audit_rows(runs, n_audits, n_audit=300):
    """Draw audits of each last student, and count the promises that are broken."""
    counts: dict = {}
    for (_, _, seed), found in runs.items():
        sure, agreed = np.array(found["sure"]), np.array(found["agreed"], dtype=bool)
        truth = agreed.mean()
        rng = np.random.default_rng(seed)
        for _ in range(n_audits):
            at = rng.choice(len(sure), n_audit, replace=True)
            # A target that this student just misses: the hardest case.
            certified = _certify_share("", agreed[at], truth + 1e-9, CONFIDENCE)
            count(counts, "certificate", certified.certified)
            count(counts, "point estimate at its target", agreed[at].mean() > truth)
            for target in (0.9, 0.95, 0.98):
                try:
                    threshold = promised_threshold(
                        sure[at], agreed[at], target, CONFIDENCE
                    )
                except CascadeError:
                    count(counts, f"cascade({target}) refuses", True)
                    continue
                count(counts, f"cascade({target}) refuses", False)
                risk = np.mean((sure > threshold) & ~agreed)
                count(counts, f"cascade({target})", risk > 1 - target)
                deferred = np.mean(sure <= threshold)
                count(counts, f"cascade({target}) deferred", deferred)
                count(counts, f"cascade({target}) agreement", 1 - risk)
                count(
                    counts,
                    f"point rule({target})",
                    point_rule(sure, agreed, at, target),
                )
            for share in (0.1, 0.3):
                threshold = deferral_threshold(sure[at], share, CONFIDENCE)
                count(
                    counts,
                    f"cascade(max_deferred={share})",
                    np.mean(sure <= threshold) > share,
                )
    return counts


def point_rule(sure, agreed, at, target):
    """Tell whether the threshold that looks right breaks the promise."""
    order = at[np.argsort(-sure[at])]
    wrong = np.cumsum(~agreed[order]) / len(at)
    few = np.flatnonzero(wrong <= 1 - target)
    threshold = sure[order[few[-1]]] if len(few) else 1.0
    return np.mean((sure >= threshold) & ~agreed) > 1 - target


def count(counts, key, value):
    counts.setdefault(key, []).append(float(value))


def money_rows(runs, n_audit=300):
    """Trade accuracy against the share deferred, for one audit of each run."""
    rows = []
    for target in (0.9, 0.95, 0.98):
        for name in TASKS:
            shares = []
            for (data, _, seed), found in runs.items():
                if data != name:
                    continue
                sure = np.array(found["sure"])
                agreed = np.array(found["agreed"], dtype=bool)
                at = np.random.default_rng(seed).choice(len(sure), n_audit)
                try:
                    threshold = promised_threshold(sure[at], agreed[at], target, 0.95)
                    shares.append((np.mean(sure <= threshold), agreed.mean()))
                except CascadeError:
                    shares.append((1.0, agreed.mean()))
            deferred, alone = np.mean(shares, axis=0)
            rows.append([target, name, f"{100 * alone:.1f}", f"{100 * deferred:.0f}"])
    return rows


def report(runs, n_audits):
    """Return all tables."""
    out = ["# What a student is worth: intervals, forecasts, stopping, promises", ""]
    out += ["## Intervals of simulated rounds (nominal 95 %): covered, in %", ""]
    header = ["strategy", *(f"{n} rows" for n in (20, 40, 60, 100, 200, 400))]
    out += [markdown_table(header, simulated_rows()), ""]
    out += [
        f"{N_DRAWS} draws in each cell, of students that agree with the teacher on 77 "
        "to 93 % of the pool; a quarter of the rows is drawn evenly. The bar was 93 to "
        "97 %. Few rows show few shares, and if they have weights a mistake among the "
        "heavy ones may be unseen: such intervals are rather too wide.",
        "",
    ]
    out += ["## Intervals of each round of a fit (nominal 95 %)", ""]
    header = ["strategy", "rounds", "covered %", "bias", "deviation", "width"]
    out += [markdown_table(header, coverage_rows(runs)), ""]
    out += ["Bias, deviation and width in points; the share drawn evenly is 0.25.", ""]
    out += ["## Forecasts from a third of the budget (80 % band)", ""]
    header = ["of", "strategy", "runs", "inside %", "below %", "bias", "error"]
    out += [markdown_table(header, forecast_rows(runs)), ""]
    out += [
        "The bar was 75 to 90 % inside. Error: mean distance of the median, points.",
        "",
    ]
    out += ["## Stopping", ""]
    header = [
        "rule",
        "reached",
        "stopped",
        "labels saved %",
        "points lost",
        "stopped too early",
    ]
    out += [markdown_table(header, stopping_rows(runs)), ""]
    out += [
        "A label costs 1. Reached: runs in which some student but the last reached the "
        "target. Saved and lost: in the mean of the runs that were stopped. Too early: "
        "the student that was judged had not reached the target.",
        "",
    ]
    counts = audit_rows(runs, n_audits)
    rows = [
        [key, len(values), f"{100 * np.mean(values):.1f}"]
        for key, values in sorted(counts.items())
    ]
    out += [f"## Promises, from {n_audits} audits of 300 rows per run", ""]
    out += [markdown_table(["promise", "audits", "broken, or as named, %"], rows), ""]
    out += [
        "Certificates are tried against a target that the student just misses. A "
        "promise may be broken in 5 % of audits.",
        "",
        "## What a promise costs: share of rows deferred",
        "",
    ]
    header = ["target", "data", "student alone agrees %", "deferred %"]
    out += [markdown_table(header, money_rows(runs)), ""]
    out += [f"{len(runs)} runs; students: logistic regressions.", "", *machine_lines()]
    return "\n".join(out)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--kept", type=Path, default=KEPT, help="file of the fits")
    parser.add_argument("--audits", type=int, default=40)
    options = parser.parse_args()
    runs = {}
    for seed in range(options.seeds):
        for name in TASKS:
            for strategy in STRATEGIES:
                key = [name, strategy, seed]
                runs[tuple(key)] = remembered(options.kept, key, partial(run, *key))
                print(*key, flush=True)
    save_result("certificates.md", report(runs, options.audits))


if __name__ == "__main__":
    main()

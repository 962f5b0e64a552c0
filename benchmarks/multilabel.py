"""Several labels per row: F1 against paid rows, beside random rows and one-vs-rest.

The teacher is one-vs-rest, fitted on rows of its own; a fifth of its answers, each of
which names a label or not, is turned around. The student is logistic regression on the
columns, or on TF-IDF. "default" and "margin" choose rows; "random" draws them;
"one-vs-rest" is scikit-learn's on the labeled rows and as many random ones, at 0.5;
"labeled rows alone" pays nothing. Macro and micro F1 on test rows that play no other
part, means over seeds.

SKADISTILL_ANSWERS names a folder with ``load.py`` whose ``load_multilabel(name)``
returns an indicator matrix, names of labels, rows and more.

    python benchmarks/multilabel.py [--seeds 3] [--sets emotions]
"""

import argparse
import os
import sys
import warnings
from pathlib import Path

import numpy as np
from _common import machine_lines, markdown_table, save_result
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skadistill import ActiveDistiller

# Rows to test on, with labels, in the pool; and bills.
SETS = {
    "emotions": (150, 30, 250, (50, 90, 150)),
    "yeast": (500, 50, 1000, (120, 240, 400)),
    "goemotions": (2000, 100, 3000, (200, 360, 600)),
}
WRONG = 0.2


def load_sets():
    """Return the loader, or end with a sentence."""
    folder = os.environ.get("SKADISTILL_ANSWERS")
    if not folder or not (Path(folder) / "load.py").exists():
        sys.exit(
            "SKADISTILL_ANSWERS is not set to a folder with load.py and multi-label "
            "sets; this benchmark measures nothing without them."
        )
    sys.path.insert(0, folder)
    from load import load_multilabel

    return load_multilabel


def make_model(texts, one_vs_rest=False):
    """Return features and a linear classifier of one label, or of all."""
    model = LogisticRegression(C=10.0 if texts else 0.3, max_iter=500)
    features = TfidfVectorizer(sublinear_tf=True) if texts else StandardScaler()
    return make_pipeline(features, OneVsRestClassifier(model) if one_vs_rest else model)


def scores(Y, predicted):
    """Return macro and micro F1 in points."""
    return [
        100 * f1_score(Y, predicted, average=average, zero_division=0)
        for average in ("macro", "micro")
    ]


def run(name, X, Y, names, seed):
    """Yield (method, bill, macro, micro) of one split."""
    n_test, n_labeled, n_pool, bills = SETS[name]
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(X))[:12_000]
    edges = np.cumsum([n_test, n_labeled, n_pool])
    test, given, pool, own = np.split(order, edges)
    own = own[:3000]
    texts = isinstance(X[0], str)
    take = (lambda rows: [X[i] for i in rows]) if texts else (lambda rows: X[rows])
    expert = make_model(texts, one_vs_rest=True).fit(take(own), Y[own])
    asked = np.concatenate([given, pool])
    answers = expert.predict(take(asked))
    answers = np.where(rng.random(answers.shape) < WRONG, 1 - answers, answers)
    key = (lambda row: row) if texts else (lambda row: row.tobytes())
    known = {key(X[i]): answer for i, answer in zip(asked, answers, strict=True)}

    def teacher(rows):
        return np.array([known[key(row)] for row in rows])

    def fit(bill, strategy="robust"):
        distiller = ActiveDistiller(
            teacher,
            make_model(texts),
            budget=bill,
            query_strategy=strategy,
            classes=names,
            random_state=seed,
        )
        distiller.fit(take(given), Y[given], X_unlabeled=take(pool))
        return scores(Y[test], distiller.predict(take(test)))

    yield "labeled rows alone", 0, *fit(0)
    for bill in bills:
        yield "default", bill, *fit(bill)
        yield "margin", bill, *fit(bill, "margin")
        yield "random", bill, *fit(bill, "random")
        rows = rng.permutation(pool)[:bill]
        learned = np.vstack([Y[given], teacher(take(rows))])
        plain = make_model(texts, one_vs_rest=True)
        plain.fit(take(np.concatenate([given, rows])), learned)
        yield "one-vs-rest", bill, *scores(Y[test], plain.predict(take(test)))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=list(SETS))
    args = parser.parse_args()
    load = load_sets()
    warnings.simplefilter("ignore")
    rows = []
    for name in args.sets:
        Y, names, X, _ = load(name)
        X = list(X) if isinstance(X[0], str) else np.asarray(X)
        found: dict = {}
        for seed in range(args.seeds):
            for method, bill, *points in run(name, X, np.asarray(Y), names, seed):
                found.setdefault((method, bill), []).append(points)
        for (method, bill), points in found.items():
            macro, micro = np.mean(points, axis=0)
            rows.append([name, method, str(bill), f"{macro:.1f}", f"{micro:.1f}"])
            print(rows[-1], flush=True)
    table = markdown_table(["set", "method", "paid", "macro F1", "micro F1"], rows)
    title = f"# Several labels per row, {args.seeds} seeds"
    save_result("multilabel.md", "\n".join([title, "", table, "", *machine_lines()]))


if __name__ == "__main__":
    main()

"""Compare the default student for texts with TF-IDF and logistic regression.

Both learn from labels of the training rows; accuracy is that on the test rows. The
settings of the student were chosen on halves of the training rows.

Usage: ``SKADISTILL_DATA=folder python benchmarks/student_texts.py``; the folder holds
``load_data.py`` with ``text(name, part)`` and the files of the two sets.
"""

import os
import sys
import time

import numpy as np
from _common import machine_lines, markdown_table
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from skadistill.soft_labels import fit_student
from skadistill.soft_labels._choose import score_students
from skadistill.soft_labels._default import default_students

SETS = ("ag_news10k", "banking77")
SIZES = (500, 2000, None)
SEEDS = (0, 1, 2)


def load(name, part):
    """Return texts and labels."""
    sys.path.insert(0, os.environ["SKADISTILL_DATA"])
    import load_data

    texts, y = load_data.text(name, part)
    return np.asarray(texts, dtype=object), np.asarray(y)


def baseline(texts, y):
    """Fit what most people fit first."""
    return make_pipeline(TfidfVectorizer(), LogisticRegression(max_iter=1000)).fit(
        texts, y
    )


def default(texts, y):
    """Choose and fit the student that `student=None` stands for."""
    classes, positions = np.unique(y, return_inverse=True)
    targets, students = np.eye(len(classes))[positions], default_students([texts])
    known = {"classes": classes, "given": np.ones(len(y), dtype=bool)}
    best = next(iter(score_students(students, texts, targets, **known)))
    return fit_student(students[best], texts, targets, classes=classes)


def measure(fit, train, test):
    """Return accuracy in percent, seconds of fitting and of predicting."""
    start = time.perf_counter()
    model = fit(list(train[0]), train[1])
    fitted = time.perf_counter()
    right = model.predict(list(test[0])) == test[1]
    return 100 * right.mean(), fitted - start, time.perf_counter() - fitted


def main():
    """Print the table."""
    rows = []
    for name in SETS:
        texts, y = load(name, "train")
        test = load(name, "test")
        for size in SIZES:
            found = {baseline: [], default: []}
            for seed in SEEDS if size else SEEDS[:1]:
                chosen = np.random.default_rng(seed).permutation(len(y))[:size]
                for fit, results in found.items():
                    results.append(measure(fit, (texts[chosen], y[chosen]), test))
            a, b = (np.mean(results, axis=0) for results in found.values())
            rows.append(
                [name, size or len(y), f"{a[0]:.1f}", f"{b[0]:.1f}"]
                + [f"{a[i]:.2f}" for i in (1, 2)]
                + [f"{b[i]:.2f}" for i in (1, 2)]
                + [f"{(b[1] + b[2]) / (a[1] + a[2]):.1f}"]
            )
    header = ["set", "rows", "TF-IDF + LR, %", "default, %", "fit, s", "predict, s"]
    header += ["default: fit, s", "predict, s", "time ratio"]
    print("# The default student for texts\n")
    print(f"Means over {len(SEEDS)} draws of training rows (one for all rows).\n")
    print(markdown_table(header, rows))
    print("\n" + "\n".join(f"- {line}" for line in machine_lines()))


if __name__ == "__main__":
    main()

"""What the student should match when the teacher is often wrong.

Soft targets, hard targets, SLaM, debiased weights, both together and corrected
labels, on rows asked at random and by the robust sampler, for teachers trained on the
labeled rows, teachers trained on as many other rows, teachers with injected
class-dependent mistakes, and perfect ones. Outsiders:
cleanlab's CleanLearning on the same teacher labels, and SelfTrainingClassifier,
which needs no teacher.

    python benchmarks/noisy_teachers.py --jobs 2      # all of it, restartable
    python benchmarks/noisy_teachers.py --table       # the tables of what is there

Each finished run is one JSON line in results/noisy_teachers.jsonl; runs found there
are not repeated. Test rows are read once a run, for its final score.
"""

import os

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import argparse
import json
import math
import time
import warnings
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import astuple, dataclass
from multiprocessing import get_context
from pathlib import Path

import joblib
import numpy as np
import torch
from _common import machine_lines, markdown_table, paired_difference, save_result
from _teachers import (
    ConvEnsemble,
    SmallConvNet,
    data,
    make_ensemble,
    out_of_fold,
    split,
)
from label_efficiency import append, interval
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.semi_supervised import SelfTrainingClassifier

from skadistill import ActiveDistiller
from skadistill.datasets import NoisyTeacher
from skadistill.objectives import Corrected, Debiased, SLaM, SoftTargets
from skadistill.student import StudentNet

RESULTS = Path(__file__).resolve().parent / "results"
QUERIES = ("random", "robust")
BASELINE = "soft"
RECOMMENDED = "corrected"


@dataclass(frozen=True)
class Setting:
    """One data set with one kind of teacher."""

    data: str
    n_labeled: int
    n_pool: int = 5000
    n_queries: int = 1200
    n_rounds: int = 2
    injected: float | None = None  # None: the teacher is trained on the labeled rows
    elsewhere: bool = False  # ... or on as many others

    @property
    def name(self):
        """What the table calls it."""
        if self.elsewhere:
            return f"{self.data}, trained on {self.n_labeled} others"
        if self.injected is None:
            return f"{self.data}, {self.n_labeled} labeled"
        if self.injected == 0:
            return f"{self.data}, perfect teacher"
        return f"{self.data}, injected {100 * self.injected:.0f} %"


# Data sets with two kinds of teacher beside those trained on the labeled rows.
SMALL = (
    ("letter", 500),
    ("covtype20k", 300),
    ("banking77_minilm", 400),
    ("fashion_mnist", 200),
)
SETTINGS = [
    Setting("letter", 500),
    Setting("letter", 1500),
    Setting("covtype20k", 300),
    Setting("covtype20k", 1500),
    Setting("banking77_minilm", 400),
    Setting("banking77_minilm", 1200),
    Setting("fashion_mnist", 200),
    Setting("fashion_mnist", 1000),
    Setting("cifar10", 400),
    Setting("cifar10", 1000),
    *(
        Setting(name, n_labeled, injected=rate)
        for rate in (0.2, 0.4, 0.0)
        for name, n_labeled in SMALL
    ),
    *(Setting(name, n_labeled, elsewhere=True) for name, n_labeled in SMALL),
]

OBJECTIVES = {
    "soft": SoftTargets(),
    "hard": SoftTargets(),  # of a teacher that gives labels instead of probabilities
    "slam": SLaM(alpha="absolute"),
    "slam relative": SLaM(alpha="relative"),
    "debiased": Debiased(),
    "both": Debiased(base=SLaM(alpha="absolute")),
    "both relative": Debiased(base=SLaM(alpha="relative")),
    "corrected": Corrected(),
}
OUTSIDERS = ("cleanlab", "self-training")
METHODS = [(o, q) for q in QUERIES for o in OBJECTIVES]


def make_student(name, seed):
    """Build the student: one hidden layer of 128, or a small CNN."""
    settings = {"module__hidden_sizes": (128,), "max_epochs": 30}
    if name == "cifar10":
        settings = {"module": SmallConvNet, "max_epochs": 12}
    return StudentNet(device="cpu", random_state=seed, **settings)


def make_teacher(setting, seed, labeled, pool):
    """Return a teacher: unfitted where it is to learn from the labeled rows."""
    if setting.elsewhere:
        return train_elsewhere(setting, seed, labeled, pool)
    if setting.data == "cifar10":
        return Remembered(ConvEnsemble(max_epochs=8, random_state=seed))
    if setting.injected is None:
        return Remembered(make_ensemble(setting.data, seed))
    X, y, _, _ = data(setting.data)
    rows = np.concatenate([labeled, pool])
    n_classes = len(np.unique(y))
    # Half of the classes three times as hard as the other half.
    share = np.where(np.arange(n_classes) % 2 == 0, 0.5, 1.5) * setting.injected
    return NoisyTeacher(
        X[rows],
        y[rows],
        error_rate=1 - (1 - share),  # as rounded when the kept results were made
        proba=out_of_fold(setting.data, X[rows], y[rows], seed),
        random_state=seed,
    )


def train_elsewhere(setting, seed, labeled, pool):
    """Return a function: a teacher trained on rows that nobody else sees."""
    X, y, _, _ = data(setting.data)
    others = np.setdiff1d(np.arange(len(X)), np.concatenate([labeled, pool]))
    others = np.random.default_rng(seed).permutation(others)[: setting.n_labeled]
    model = make_ensemble(setting.data, seed).fit(X[others], y[others])
    classes = np.unique(y)
    known = np.searchsorted(classes, model.classes_)

    def teacher(X):
        proba = np.zeros((len(X), len(classes)))  # a class it never met is ruled out
        proba[:, known] = model.predict_proba(X)
        return proba

    return teacher


class Remembered(ClassifierMixin, BaseEstimator):
    """Fit a teacher once per training table: every method cross-fits the same."""

    fitted: dict = {}

    def __init__(self, estimator):
        self.estimator = estimator

    def fit(self, X, y):
        key = joblib.hash((X, y))
        if key not in self.fitted:
            self.fitted[key] = clone(self.estimator).fit(X, y)
        self.estimator_ = self.fitted[key]
        self.classes_ = self.estimator_.classes_
        return self

    def predict_proba(self, X):
        return self.estimator_.predict_proba(X)

    def predict(self, X):
        return self.estimator_.predict(X)


class HardTeacher:
    """Give the first choice of a fitted teacher as a label, nothing else."""

    def __init__(self, teacher, classes):
        self.teacher, self.classes = teacher, classes

    def __call__(self, X):
        return self.classes[self.teacher(X).argmax(axis=1)]

    def __sklearn_clone__(self):
        return self


def run_job(setting, seed, methods, path):
    """Run the methods of one setting and seed; append their records."""
    torch.set_num_threads(1)
    # The networks among the teachers stop at a set number of iterations.
    warnings.simplefilter("ignore", ConvergenceWarning)
    X, y, X_test, y_test = data(setting.data)
    classes = np.unique(y)
    Remembered.fitted.clear()
    labeled, pool = split(setting.data, setting, seed)
    rows = np.concatenate([labeled, pool])
    y_given = np.concatenate([y[labeled], np.full(len(pool), -1)])
    teacher = make_teacher(setting, seed, labeled, pool)
    ask = teacher
    if setting.injected is None and not setting.elsewhere:
        ask = make_teacher(setting, seed, labeled, pool)
        ask = ask.fit(X[labeled], y[labeled]).predict_proba
    wrong = float(np.mean(ask(X[pool]).argmax(axis=1) != y[pool]))
    for method in methods:
        start = time.perf_counter()
        objective, query = method
        student = make_student(setting.data, seed)
        if objective in OUTSIDERS:
            random = np.random.default_rng(seed).permutation(pool)[: setting.n_queries]
            model = fit_outsider(
                objective, student, labeled, random, rows, y_given, ask, setting
            )
        else:
            model = ActiveDistiller(
                HardTeacher(ask, classes) if objective == "hard" else teacher,
                student,
                query_strategy=query,
                budget=None,
                query_size=math.ceil(setting.n_queries / setting.n_rounds),
                objective=OBJECTIVES[objective],
                teacher_checks=len(y_given),
                random_state=seed,
            )
            # As many rows of the pool for each method, whether it needs checks or not.
            n_checks = model.plan(X[rows], y_given).n_teacher_checks
            model.set_params(budget=setting.n_queries + n_checks)
            model.fit(X[rows], y_given)
        record = {
            "setting": list(astuple(setting)),
            "seed": seed,
            "objective": objective,
            "query": query,
            "accuracy": float(np.mean(model.predict(X_test) == y_test)),
            "teacher_wrong": wrong,
            "seconds": round(time.perf_counter() - start, 2),
        }
        append(path, record)
    return setting.name, seed


def fit_outsider(name, student, labeled, asked, rows, y_given, ask, setting):
    """Fit another library's answer to noisy or missing labels."""
    X, y, _, _ = data(setting.data)
    if name == "self-training":
        return SelfTrainingClassifier(student, max_iter=3).fit(X[rows], y_given)
    from cleanlab.classification import CleanLearning

    labels = np.concatenate([y[labeled], np.unique(y)[ask(X[asked]).argmax(axis=1)]])
    cleaner = CleanLearning(
        student, cv_n_folds=3, find_label_issues_kwargs={"n_jobs": 1}
    )
    return cleaner.fit(X[np.concatenate([labeled, asked])], labels)


# ------------------------------------------------------------------ records


def read(path):
    """Read the records of the settings as they are now, by setting and seed."""
    records = {}
    for line in path.read_text(encoding="utf8").splitlines() if path.exists() else ():
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            continue  # torn by an interruption
        setting = Setting(*record["setting"])
        if setting in SETTINGS:
            method = (record["objective"], record["query"])
            records.setdefault((setting, record["seed"]), {})[method] = record
    return records


def accuracies(records, setting, method):
    """Gather a method's accuracies of the seeds at which all methods ran."""
    return np.array([runs[method]["accuracy"] for runs in complete(records, setting)])


def complete(records, setting):
    """List the runs of the seeds of a setting at which nothing is missing."""
    wanted = set(all_methods())
    return [
        runs
        for (s, _), runs in sorted(records.items(), key=lambda item: item[0][1])
        if s == setting and wanted <= set(runs)
    ]


def all_methods():
    """List objectives with both queries, and the outsiders."""
    return METHODS + [(name, "none") for name in OUTSIDERS]


# ------------------------------------------------------------------- tables


def report(records):
    """Write the tables in Markdown."""
    done = [s for s in SETTINGS if complete(records, s)]
    if not done:
        return "nothing is finished yet"
    counts = sorted({len(complete(records, s)) for s in done})
    seconds = sum(r["seconds"] for runs in records.values() for r in runs.values())
    out = ["# Noisy teachers", ""]
    out += [
        "Test accuracy in %, mean over seeds ± half of the 95 % t interval "
        f"({' or '.join(map(str, counts))} seeds). All methods of a seed have the same "
        "labeled rows, teacher, budget and student. `wrong`: share of the pool on "
        "which the teacher's first choice is wrong, in %.",
        "",
    ]
    for query in QUERIES:
        out += [f"## Rows asked: {query}", ""]
        methods = [(o, query) for o in OBJECTIVES]
        names = list(OBJECTIVES)
        if query == QUERIES[0]:
            methods += [(name, "none") for name in OUTSIDERS]
            names += list(OUTSIDERS)
        rows = []
        for s in done:
            cells = [interval(accuracies(records, s, m)) for m in methods]
            rows.append([s.name, f"{teacher_wrong(records, s):.1f}", *cells])
        out += [markdown_table(["setting", "wrong", *names], rows), ""]
        out += ["Difference to soft targets, paired over seeds, in points:", ""]
        others = [o for o in OBJECTIVES if o != BASELINE]
        rows = [
            [
                s.name,
                *(difference(records, [s], o, query) for o in others),
            ]
            for s in done
        ]
        out += [markdown_table(["setting", *others], rows), ""]
    out += verdict(records, done)
    out += ["## Settings", "", *notes(), ""]
    n_runs = sum(map(len, records.values()))
    out += [f"{n_runs} runs, {seconds / 60:.0f} minutes of one core.", ""]
    return "\n".join(out + machine_lines())


def teacher_wrong(records, setting):
    """Average the teacher's share of mistakes over seeds, in %."""
    runs = complete(records, setting)
    return 100 * np.mean([r[METHODS[0]]["teacher_wrong"] for r in runs])


def gains(records, settings, objective, query):
    """Return accuracy minus that of soft targets, seed by seed, over settings."""
    n_seeds = min(len(complete(records, s)) for s in settings)
    return 100 * np.mean(
        [
            (
                accuracies(records, s, (objective, query))
                - accuracies(records, s, (BASELINE, baseline_rows(query)))
            )[:n_seeds]
            for s in settings
        ],
        axis=0,
    )


def baseline_rows(query):
    """Say which rows soft targets had: random ones against outsiders."""
    return query if query in QUERIES else QUERIES[0]


def difference(records, settings, objective, query):
    """Print the mean difference to soft targets with its interval and p."""
    gain = gains(records, settings, objective, query)
    if len(gain) < 2:
        return f"{gain.mean():+.2f}"
    mean, low, high, p = paired_difference(gain, np.zeros_like(gain))
    return f"{mean:+.2f} [{low:+.2f}, {high:+.2f}] p={p:.3f}"


def verdict(records, done):
    """Average over the settings that the bar speaks of."""
    # Rounded: rates of 20 % are exact only up to a row in each class.
    often = [
        s for s in done if round(teacher_wrong(records, s)) >= 20 and not s.elsewhere
    ]
    elsewhere = [s for s in done if s.elsewhere]
    trained = [s for s in often if s.injected is None]
    injected = [s for s in often if s.injected]
    perfect = [s for s in done if s.injected == 0]
    rarely = [s for s in done if s not in [*often, *perfect, *elsewhere]]
    groups = [
        ("wrong on 20 % or more", often),
        ("... of these, trained", trained),
        ("... of these, injected", injected),
        ("wrong on less, trained", rarely),
        ("trained on other rows", elsewhere),
        ("perfect", perfect),
    ]
    others = [o for o in OBJECTIVES if o != BASELINE]
    rows = [
        [
            label,
            len(group),
            query,
            *(difference(records, group, o, query) for o in others),
        ]
        for label, group in groups
        if group
        for query in QUERIES
    ]
    header = ["teacher", "settings", "rows asked", *others]
    return [
        "## Means over settings",
        "",
        "Difference to soft targets in points, averaged over settings for each seed, "
        "then paired over seeds:",
        "",
        markdown_table(header, rows),
        "",
        "Outsiders against soft targets on random rows, where the teacher is wrong on "
        "20 % or more: "
        + "; ".join(f"{o} {difference(records, often, o, 'none')}" for o in OUTSIDERS)
        + ".",
        "",
        *bars(records, often, perfect),
        "",
    ]


def bars(records, often, perfect):
    """Hold the recommended objective against its bars, whatever comes out."""
    held = {True: "held", False: "missed"}
    lines = [f"`{RECOMMENDED}`, the recommended objective:", ""]
    for query in QUERIES:
        gain = gains(records, often, RECOMMENDED, query)
        mean, low, _, _ = paired_difference(gain, np.zeros_like(gain))
        lines.append(
            "- at least 1 point over soft targets where the teacher is wrong on 20 % "
            f"or more, significantly, rows asked: {query}: {mean:+.2f}, "
            f"{held[mean >= 1 and low > 0]};"
        )
    worst = min(
        float(np.mean(gains(records, [s], RECOMMENDED, query)))
        for s in perfect
        for query in QUERIES
    )
    lines.append(
        "- never more than 0.3 points below soft targets where the teacher is perfect: "
        f"{worst:+.2f} at worst, {held[worst >= -0.3]}."
    )
    return lines


def notes():
    """Say how the settings are made."""
    return [
        f"Pools of {SETTINGS[0].n_pool} rows, {SETTINGS[0].n_queries} asked in "
        f"{SETTINGS[0].n_rounds} rounds. Trained teachers: soft vote of extra trees "
        "and an MLP, with a logistic regression for embeddings; three wider CNNs for "
        "cifar10. Those trained on other rows come fitted and were added after the bar "
        "was set, so that its means are without them. Injected: NoisyTeacher with "
        "class-dependent error rates, half of the classes three times as often as the "
        "other half, the truth among the first three choices. Students: one hidden "
        "layer of 128, 30 epochs; for cifar10 a "
        "CNN of 25,000 weights, 12 epochs. `both` is Debiased(base=SLaM()); "
        "`relative` is SLaM with alpha='relative' (its default), else it is "
        "'absolute', the paper's. cleanlab: "
        "CleanLearning over the same student, labeled rows and first choices of the "
        "teacher on rows asked at random. self-training: no teacher at all.",
    ]


# --------------------------------------------------------------------- main


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--settings", type=int, nargs="*", help="only these, by number")
    parser.add_argument("--table", action="store_true", help="run nothing")
    options = parser.parse_args()
    path = RESULTS / "noisy_teachers.jsonl"
    RESULTS.mkdir(exist_ok=True)
    chosen = SETTINGS
    if options.settings:
        chosen = [SETTINGS[i] for i in options.settings]
    if not options.table:
        run_all(chosen, options, path)
    save_result("noisy_teachers.md", report(read(path)))


def run_all(settings, options, path):
    """Run what is missing, seed by seed, so that an early stop leaves a balance."""
    done = read(path)
    jobs = []
    for seed in range(options.seeds):
        for setting in settings:
            have = done.get((setting, seed), {})
            left = [m for m in all_methods() if m not in have]
            if left:
                jobs.append((setting, seed, left, path))
    print(f"{len(jobs)} jobs", flush=True)
    start = time.perf_counter()
    if options.jobs == 1:
        for count, job in enumerate(jobs, 1):
            print(count, *run_job(*job), f"{time.perf_counter() - start:.0f} s")
        return
    with ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn")) as workers:
        futures = [workers.submit(run_job, *job) for job in jobs]
        for count, future in enumerate(as_completed(futures), 1):
            seconds = time.perf_counter() - start
            print(count, *future.result(), f"{seconds:.0f} s", flush=True)


if __name__ == "__main__":
    main()

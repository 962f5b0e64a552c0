"""Several labels per row: rows, answers, students, choice, reports."""

import warnings
from zlib import crc32

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import make_multilabel_classification
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.model_selection import GridSearchCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skadistill import ActiveDistiller
from skadistill._utils.label_space import MultiLabel, OneClass
from skadistill.checking import CheckPolicy
from skadistill.deploy import Cascade, certify_accuracy, certify_agreement
from skadistill.exceptions import CascadeError, TeacherAnswerError
from skadistill.model_selection import PartiallyLabeledSplit, ignore_unlabeled
from skadistill.soft_labels import BinaryRelevance
from skadistill.teachers import as_teacher

NAMES = ["red", "green", "blue", "alpha"]


@pytest.fixture(scope="module")
def data():
    """400 rows of 10 columns; four labels."""
    X, Y = make_multilabel_classification(
        400, 10, n_classes=4, n_labels=2, random_state=0
    )
    return StandardScaler().fit_transform(X), Y


@pytest.fixture(scope="module")
def oracle(data):
    """Return a function that knows the labels of every row."""
    known = {x.tobytes(): y for x, y in zip(*data, strict=True)}

    def oracle(X):
        return np.array([known[x.tobytes()] for x in np.asarray(X)])

    return oracle


def fit(teacher, X, Y, n_labeled=30, n_pool=250, **options):
    options = {"budget": 60, "random_state": 0, "classes": NAMES} | options
    options.setdefault("student", LogisticRegression())
    distiller = ActiveDistiller(teacher, **options)
    return distiller.fit(
        X[:n_labeled], Y[:n_labeled], X_unlabeled=X[n_labeled : n_labeled + n_pool]
    )


def test_labels_are_bought_and_learned(data, oracle):
    """Paid rows make the student better than the labeled rows alone; the bill holds."""
    X, Y = data
    paid = fit(oracle, X, Y, n_labeled=20, budget=150)
    alone = fit(oracle, X, Y, n_labeled=20, budget=0)
    assert paid.n_paid_ == 150
    assert paid.classes_.tolist() == NAMES
    better = [
        f1_score(Y[300:], d.predict(X[300:]), average="macro") for d in (paid, alone)
    ]
    assert better[0] > better[1] + 0.02
    assert paid.predict_proba(X[300:]).shape == (100, 4)
    rows = paid.labeled_round_ > 0
    assert (paid.transduction_[rows] == Y[:270][rows]).all()
    assert (paid.transduction_[paid.labeled_round_ < 0] == -1).all()


@pytest.mark.parametrize(
    "mark",
    [
        lambda Y: np.where(np.isnan(Y), -1, Y).astype(int),
        lambda Y: Y,
        lambda Y: pd.DataFrame(Y, columns=NAMES),
        lambda Y: pd.DataFrame(Y, columns=NAMES).astype("Int64"),
        lambda Y: sparse.csr_matrix(np.where(np.isnan(Y), -1, Y)),
        lambda Y: np.where(np.isnan(Y), -1, Y).astype(int).tolist(),
    ],
    ids=["marker", "nan", "frame", "nullable", "sparse", "list"],
)
def test_rows_without_labels_are_the_pool(mark, data, oracle):
    """A row of markers or missing values is unlabeled, in every container."""
    X, Y = data
    partly = Y[:200].astype(float)
    partly[50:] = np.nan
    distiller = ActiveDistiller(
        oracle, LogisticRegression(), budget=20, classes=NAMES, random_state=0
    ).fit(X[:200], mark(partly))
    assert distiller.n_paid_ == 20
    assert (distiller.labeled_round_[:50] == 0).all()


def test_columns_of_a_frame_name_the_labels(data, oracle):
    """Without classes=, the labels are the columns; the answers may be in any order."""
    X, Y = data
    frame = pd.DataFrame(Y[:40], columns=NAMES)

    def turned(X):
        return pd.DataFrame(oracle(X)[:, ::-1], columns=NAMES[::-1])

    fits = [
        ActiveDistiller(teacher, LogisticRegression(), budget=40, random_state=0).fit(
            X[:40], frame, X_unlabeled=X[40:300]
        )
        for teacher in (oracle, turned)
    ]
    assert fits[0].classes_.tolist() == NAMES
    assert (fits[0].predict(X) == fits[1].predict(X)).all()


@pytest.mark.parametrize("order", [[3, 1, 0, 2], [1, 0, 2, 3], [2, 3, 1, 0]], ids=str)
def test_permuting_labels_permutes_everything(order, data, oracle):
    """Rows asked, probabilities and predictions follow the labels."""
    X, Y = data
    plain = fit(oracle, X, Y)
    names = [NAMES[i] for i in order]
    other = fit(lambda X: oracle(X)[:, order], X, Y[:, order], classes=names)
    assert (plain.labeled_round_ == other.labeled_round_).all()
    assert (plain.predict_proba(X)[:, order] == other.predict_proba(X)).all()
    assert (plain.predict(X)[:, order] == other.predict(X)).all()


@pytest.mark.parametrize("strategy", ["margin", "robust", "entropy", "random"])
def test_one_label_is_two_classes(strategy, data, oracle):
    """With one label, the rows asked and the decisions are those of two classes."""
    X, Y = data

    def first(X):
        return oracle(X)[:, :1]

    def classes(X):
        return oracle(X)[:, 0]

    options = {"query_strategy": strategy, "teacher_checks": 0}
    one = fit(first, X, pd.DataFrame(Y[:, :1]), classes=["red"], **options)
    two = fit(classes, X, Y[:, 0], classes=None, **options)
    assert (one.labeled_round_ == two.labeled_round_).all()
    np.testing.assert_allclose(
        one.predict_proba(X)[:, 0], two.predict_proba(X)[:, 1], atol=1e-6
    )


def test_an_absent_label_changes_no_other(data, oracle):
    """A label that never applies is answered with 0, and moves nothing else."""
    X, Y = data
    n = len(Y)
    more = np.column_stack([Y, np.zeros(n, int)])
    with_it = BinaryRelevance(LogisticRegression())
    with pytest.warns(UserWarning, match="apply to no training row"):
        with_it.fit(X, more)
    without = BinaryRelevance(LogisticRegression()).fit(X, Y)
    assert (with_it.predict_proba(X)[:, :4] == without.predict_proba(X)).all()
    assert (with_it.predict_proba(X)[:, 4] == 0).all()


ANSWERS = {
    "hard": lambda Y: Y,
    "probabilities": lambda Y: Y * 0.8 + 0.1,
    "sparse": lambda Y: sparse.csr_matrix(Y),
    "names": lambda Y: [[NAMES[j] for j in np.flatnonzero(y)] for y in Y],
    "sets": lambda Y: [{NAMES[j].upper() for j in np.flatnonzero(y)} for y in Y],
    "rows": lambda Y: [list(map(float, y)) for y in Y],
}


@pytest.mark.parametrize("kind", ANSWERS)
def test_answers_in_every_form(kind, data, oracle):
    """Numbers per label and collections of names mean the same."""
    X, Y = data
    distiller = fit(lambda rows: ANSWERS[kind](oracle(rows)), X, Y)
    rows = distiller.labeled_round_ > 0
    assert rows.sum() == 60
    assert (distiller.transduction_[rows] == Y[:280][rows]).all()


def test_no_label_is_not_that_no_label_applies(data, oracle):
    """None leaves a row without labels; an empty list says that none applies."""

    def some(X):
        Y = oracle(X)
        return [
            None if x[0] > 1.2 else ANSWERS["names"]([y])[0]
            for x, y in zip(X, Y, strict=True)
        ]

    X, Y = data
    distiller = fit(some, X, Y, budget=100)
    assert distiller.n_no_label_ > 0
    empty = (Y[:280].sum(axis=1) == 0) & (distiller.labeled_round_ > 0)
    assert empty.any()
    assert (distiller.transduction_[empty] == 0).all()


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda Y: Y * 2.0, "from 0 to 1"),
        (lambda Y: Y[:, :3], "3 columns for 4 labels"),
        (lambda Y: [["purple"]] * len(Y), "unknown label 'purple'"),
        (lambda Y: -1.0 * Y - 0.5, "from 0 to 1"),
    ],
)
def test_bad_answers_are_refused(answer, message, data, oracle):
    """Each with a sentence, after two rows at most."""
    X, Y = data
    with pytest.raises(TeacherAnswerError, match=message):
        fit(lambda rows: answer(oracle(rows)), X, Y)


@pytest.mark.parametrize(
    "teacher",
    [
        RandomForestClassifier(20, random_state=0),
        KNeighborsClassifier(),
        OneVsRestClassifier(LogisticRegression()),
    ],
    ids=lambda t: type(t).__name__,
)
@pytest.mark.parametrize("fitted", [True, False])
def test_classifiers_of_several_labels_teach(teacher, fitted, data):
    """Fitted or not, with a list of arrays or one array of probabilities."""
    X, Y = data
    if fitted:
        teacher = clone(teacher).fit(X[280:], Y[280:])
    distiller = fit(teacher, X, Y, n_labeled=60, n_pool=200)
    assert distiller.n_queries_ == 60
    rows = np.flatnonzero(distiller.labeled_round_ > 0)
    own = teacher if fitted else distiller.teacher_.estimator_
    assert (distiller.transduction_[rows] == own.predict(X[rows])).mean() > 0.9


@pytest.mark.parametrize("student", [None, "pipeline", "net"])
def test_students_learn_several_labels(student, data, oracle):
    """The default, a pipeline and a network, better than always the same answer."""
    from skadistill import StudentNet

    X, Y = data
    student = {
        "pipeline": make_pipeline(StandardScaler(), LogisticRegression()),
        "net": StudentNet(max_epochs=10),
    }.get(student)
    distiller = fit(oracle, X, Y, student=student, budget=100)
    assert f1_score(Y[280:], distiller.predict(X[280:]), average="micro") > 0.6


def test_texts_and_a_pipeline_share_their_features(data):
    """The vectorizer is fitted once, on all rows."""
    texts = ["red apple", "green pear", "red and green", "nothing here"] * 10
    Y = np.array([[1, 0], [0, 1], [1, 1], [0, 0]] * 10)
    words = {text: y for text, y in zip(texts, Y, strict=True)}
    distiller = ActiveDistiller(
        lambda X: [words[x] for x in X], budget=10, random_state=0
    ).fit(texts[:20], Y[:20], X_unlabeled=texts[20:])
    assert (distiller.predict(texts) == Y).all()
    assert distiller.student_.transformer_ is not None


def test_no_given_label_at_all(data, oracle):
    """A cold start learns from answers alone if the teacher or classes names labels."""
    X, Y = data
    teacher = as_teacher(oracle, classes=NAMES, multilabel=True)
    distiller = ActiveDistiller(
        teacher, LogisticRegression(), budget=80, random_state=0
    ).fit(X[:250])
    assert distiller.classes_.tolist() == NAMES
    assert f1_score(Y[250:], distiller.predict(X[250:]), average="micro") > 0.6


def test_a_ledger_is_not_paid_twice(tmp_path, data, oracle):
    """The same fit again costs nothing and predicts the same."""
    X, Y = data
    calls = []

    def counted(rows):
        calls.append(len(rows))
        return oracle(rows) * 0.7 + 0.1

    teacher = as_teacher(counted, name="counted", classes=NAMES, multilabel=True)
    one = fit(teacher, X, Y, ledger=tmp_path / "labels.db")
    assert sum(calls) == one.n_paid_ == 60
    two = fit(teacher, X, Y, ledger=tmp_path / "labels.db")
    assert sum(calls) == 60
    assert two.n_paid_ == 0
    assert (one.labeled_round_ > 0).sum() == (two.labeled_round_ > 0).sum()


def test_two_runs_are_the_same(data, oracle):
    """Bit for bit."""
    X, Y = data
    fits = [fit(oracle, X, Y, student=None, n_pool=80, budget=30) for _ in range(2)]
    one, two = fits
    assert (one.predict_proba(X) == two.predict_proba(X)).all()
    assert (one.student_.thresholds_ == two.student_.thresholds_).all()


def test_many_labels_keep_their_order():
    """More than ten columns without names: 10 does not come before 2."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 12))
    student = BinaryRelevance(LogisticRegression()).fit(X, X > 0)
    assert (student.predict(X) == (X > 0)).mean() > 0.95
    assert student.classes_.tolist() == list(range(12))
    distiller = ActiveDistiller(
        lambda X: X > 0, LogisticRegression(), budget=50, random_state=0
    ).fit(X[:50], (X > 0)[:50].astype(int), X_unlabeled=X[50:200])
    assert (distiller.predict(X) == (X > 0)).mean() > 0.85


def test_thresholds_find_rare_labels():
    """Where a label is rare, predicting from 0.5 on finds fewer of its rows."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(2000, 3))
    p = 1 / (1 + np.exp(-(1.5 * X[:, 0] - 3.0)))
    Y = np.column_stack([rng.random(2000) < p, X[:, 1] > 0]).astype(int)
    space = MultiLabel([0, 1])
    student = BinaryRelevance(LogisticRegression()).fit(X[:1000], Y[:1000])
    plain = f1_score(Y[1000:, 0], student.predict(X[1000:])[:, 0])
    student.tune(X[:1000], space.targets(Y[:1000]))
    tuned = f1_score(Y[1000:, 0], student.predict(X[1000:])[:, 0])
    assert student.thresholds_[0] < 0.45
    assert tuned > plain + 0.05


def test_reports_work_or_say_why_not(data, oracle):
    """Certificates are of whole sets; a cascade and suspects are refused."""
    X, Y = data
    distiller = fit(oracle, X, Y, budget=150)
    agreement = certify_agreement(distiller, X[300:], target=0.1)
    accuracy = certify_accuracy(distiller, X[300:], Y[300:], target=0.1)
    exact = (distiller.predict(X[300:]) == Y[300:]).all(axis=1).mean()
    assert agreement.estimate == accuracy.estimate == pytest.approx(exact)
    assert distiller.score(X[300:], Y[300:]) == pytest.approx(exact)
    with pytest.raises(ValueError, match="suspects needs one class per row"):
        distiller.suspects(X[:30], X_unlabeled=X[30:280])
    with pytest.raises(CascadeError, match="several labels"):
        Cascade(distiller).fit(X[:30], Y[:30], X_unlabeled=X[30:280])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"objective": "debiased"}, "objective Debiased"),
        ({"objective": "slam"}, "objective SLaM"),
        ({"query_strategy": "rad"}, "query strategy RADSampler"),
        ({"teacher_checks": CheckPolicy(error_rate=0.1)}, "error_rate"),
        ({"objective": "posterior"}, "objective PosteriorTargets"),
        ({"classes": NAMES[:3]}, "4 columns, and 3 labels"),
        ({"classes": ["a", "a", "b", "c"]}, "a name of its own"),
    ],
)
def test_what_needs_one_class_says_so_before_paying(options, message, data):
    """Nothing is asked."""

    def never(X):
        raise AssertionError

    with pytest.raises(ValueError, match=message):
        fit(never, *data, **options)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda Y: np.where(np.arange(4) == 1, -1, Y), "leave others open"),
        (lambda Y: Y + 1, "holds 2"),
        (lambda Y: np.where(Y == 1, "yes", "no"), "holds texts"),
    ],
)
def test_bad_indicators_are_refused(spoil, message, data, oracle):
    """Half-labeled rows, numbers that are no indicators, texts."""
    X, Y = data
    with pytest.raises(ValueError, match=message):
        fit(oracle, X, spoil(Y))


def test_validation_rows_are_scored(data, oracle):
    """The share of rows whose whole set is right, and a sentence for other shapes."""
    X, Y = data
    distiller = ActiveDistiller(
        oracle, LogisticRegression(), budget=40, random_state=0, classes=NAMES
    )
    labeled = {"X_unlabeled": X[30:280]}
    distiller.fit(X[:30], Y[:30], **labeled, X_val=X[300:], y_val=Y[300:])
    last = distiller.history_[-1]["student_score"]
    exact = (distiller.student_.predict_proba(X[300:]) >= 0.5) == Y[300:]
    assert last == pytest.approx(exact.all(axis=1).mean())
    with pytest.raises(ValueError, match="y_val has shape"):
        distiller.fit(X[:30], Y[:30], **labeled, X_val=X[300:], y_val=Y[300:, 0])


def test_searches_score_several_labels(data, oracle):
    """Macro F1 in a grid search with rows that have no label."""
    X, Y = data
    partly = Y[:150].copy()
    partly[60:] = -1
    search = GridSearchCV(
        ActiveDistiller(
            oracle, LogisticRegression(), budget=20, classes=NAMES, random_state=0
        ),
        {"student__C": [1e-5, 1.0]},
        scoring=ignore_unlabeled("f1_macro"),
        cv=PartiallyLabeledSplit(3),
        error_score="raise",
    ).fit(X[:150], partly)
    assert search.best_params_ == {"student__C": 1.0}


def test_a_row_value_is_a_mean_over_labels():
    """Of the labels' two-class margins, a rare label weighing more."""
    space = MultiLabel(["a", "b"])
    table = space.targets(np.array([[0.5, 0.9], [0.9, 0.5], [1.0, 0.0]]))

    def gain(proba):
        return 1 - np.abs(proba[:, 0] - proba[:, 1])

    student = BinaryRelevance(LogisticRegression(), labels=["a", "b"])
    X = np.arange(4.0)[:, None]
    student.fit(X, [[1, 1], [0, 1], [1, 0], [0, 0]])
    np.testing.assert_allclose(space.per_row(gain, student)(table), [0.6, 0.6, 0.0])
    student.fit(X, [[1, 1], [0, 1], [0, 0], [0, 1]])
    values = space.per_row(gain, student)(table)
    assert values[0] > 0.6 > values[1] > values[2]
    assert OneClass(np.array([0, 1])).per_row(len, None) is len


def wrong_teacher(oracle, rate, seed=0):
    """Return a teacher whose answers are flipped for a share of the labels."""

    def wrong(X):
        Y = oracle(X)
        rows = [crc32(x.tobytes()) for x in np.asarray(X)]
        draws = [np.random.default_rng([seed, r]).random(Y.shape[1]) for r in rows]
        return np.where(np.array(draws) < rate, 1 - Y, Y)

    return wrong


def test_a_wrong_teacher_is_checked_and_corrected(data, oracle):
    """A fifth of the labels wrong: the default beats the answers as they are."""
    X, Y = data
    scores = {"auto": [], "soft": []}
    for seed in range(4):
        for objective, found in scores.items():
            distiller = fit(
                wrong_teacher(oracle, 0.25, seed),
                X,
                Y,
                n_labeled=50,
                n_pool=230,
                budget=150,
                objective=objective,
                random_state=seed,
            )
            found.append(f1_score(Y[280:], distiller.predict(X[280:]), average="micro"))
            if objective == "auto":
                assert distiller.n_teacher_checks_ == 15
                assert distiller.n_paid_ == 150
                assert distiller.teacher_error_ > 0.4  # of whole sets
                assert type(distiller.objective_).__name__ == "LabelPosterior"
    assert np.mean(scores["auto"]) > np.mean(scores["soft"])


def test_a_right_teacher_is_matched_as_it_is(data, oracle):
    """Ten checks of four labels each without a mistake are enough."""
    distiller = fit(oracle, *data, n_labeled=50, budget=150)
    assert distiller.n_teacher_checks_ == 10
    assert type(distiller.objective_).__name__ == "SoftTargets"


def test_saved_and_loaded(tmp_path, data, oracle):
    """A pickle predicts the same."""
    import joblib

    X, Y = data
    teacher = RandomForestClassifier(10, random_state=0).fit(X, Y)
    distiller = fit(teacher, X, Y)
    joblib.dump(distiller, tmp_path / "distiller.joblib")
    loaded = joblib.load(tmp_path / "distiller.joblib")
    assert (loaded.predict(X) == distiller.predict(X)).all()


def test_no_warning_in_a_usual_fit(data, oracle):
    """Nothing is said where all is well."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit(oracle, *data)

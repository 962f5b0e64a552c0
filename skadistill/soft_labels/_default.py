"""The students that `student=None` compares: chosen by the kind of rows."""

import numpy as np
from scipy.sparse import issparse
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.feature_extraction import DictVectorizer
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.kernel_approximation import Nystroem
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.preprocessing import MaxAbsScaler, StandardScaler

from skadistill._rows._containers import count_rows, is_frame, is_records, is_texts
from skadistill._rows._sources import ChunkedRows
from skadistill.soft_labels._columns import column_features, columns_of

__all__ = ["default_students"]

# Chosen on training rows and other seeds: `benchmarks/default_student.py` shows the
# results on test rows.
TOL = 2e-4
N_COMPONENTS = 500
STRENGTHS = (4.0, 0.5, 30.0)
# Sparse rows wider than this are learned by linear students alone.
N_COLUMNS = 1000
# Boosting fits one tree per class and step, each to all columns.
MOST_CLASSES, MOST_COLUMNS = 5, 150
# Longer texts are told apart by their words; their letters take long to count.
N_LETTERS, N_TEXTS = 500, 200


def default_students(parts=(), n_classes=2):
    """Return students for rows of a kind, by name; the first if none can be compared.

    `parts` are containers of rows of one kind; a table is assumed without any.
    """
    parts = [part for part in parts if not isinstance(part, ChunkedRows)]
    X = max(parts, key=count_rows, default=np.empty((0, 1)))
    if is_texts(X):
        return _for_texts(X)
    if is_records(X):
        return _linear([("features", DictVectorizer()), ("scale", MaxAbsScaler())])
    if issparse(X) and X.shape[1] > N_COLUMNS:
        return {f"linear, C={C:g}": _classifier(C)[1] for C in STRENGTHS}
    if is_frame(X):
        columns = columns_of(parts)
        texts = any(column.holds == "text" for column in columns)
        if any(column.holds != "number" for column in columns):
            scaled, plain = (
                [("columns", column_features(columns, words_and_letters, scale=scale))]
                for scale in (True, False)
            )
            return (
                _linear(scaled) if texts else _for_tables(scaled, plain, X, n_classes)
            )
    # Rows of the pool may lack values that no row so far has lacked.
    plain = [("impute", SimpleImputer(keep_empty_features=True))]
    scaled = [*plain, ("scale", StandardScaler(with_mean=not issparse(X)))]
    return _for_tables(scaled, plain, X, n_classes)


def _for_tables(scaled, plain, X, n_classes):
    """Return students for tables: smooth ones, linear ones, and trees.

    Trees get the columns as they are: a threshold may be a value of a column, which
    rounding would move to one side.
    """
    students = {}
    for C in (10.0, 1.0, 3.0, 30.0, 100.0):
        kernel = ("kernel", Nystroem(n_components=N_COMPONENTS))
        students[f"radial basis, C={C:g}"] = [*scaled, kernel, _classifier(C)]
    for C in (0.1, 0.01):
        students[f"linear, C={C:g}"] = [*scaled, _classifier(C)]
    students["forest"] = [*plain, ("classifier", RandomForestClassifier())]
    if n_classes <= MOST_CLASSES and X.shape[1] <= MOST_COLUMNS and not issparse(X):
        boosting = HistGradientBoostingClassifier(
            max_iter=40, max_bins=64, max_leaf_nodes=15
        )
        students["boosting"] = [*plain, ("classifier", boosting)]
    return {name: Pipeline(steps) for name, steps in students.items()}


def _linear(head):
    """Return linear students of different strengths."""
    return {f"linear, C={C:g}": Pipeline([*head, _classifier(C)]) for C in STRENGTHS}


def _for_texts(X):
    """Return linear students of words, and of words and letters."""
    students = {}
    if not _are_long(X):
        for C in (4.0, 1.0, 16.0):
            steps = [("features", words_and_letters()), _classifier(C)]
            students[f"words and letters, C={C:g}"] = Pipeline(steps)
    for C in (4.0, 16.0):
        students[f"words, C={C:g}"] = Pipeline([("features", words()), _classifier(C)])
    return students


def _are_long(texts):
    """Tell whether the letters of texts would take too long."""
    some = [len(text) for text in texts[:N_TEXTS] if isinstance(text, str)]
    return sum(some) > N_LETTERS * len(some)


def words():
    """Return TF-IDF of words."""
    return TfidfVectorizer(sublinear_tf=True, dtype=np.float32)


def words_and_letters():
    """Return TF-IDF of words, and of two to four letters in a row."""
    letters = TfidfVectorizer(
        sublinear_tf=True, analyzer="char", ngram_range=(2, 4), dtype=np.float32
    )
    return FeatureUnion([("words", words()), ("letters", letters)])


def _classifier(C):
    """Return a step that learns soft labels exactly, without copies."""
    return "classifier", LogisticRegression(C=C, tol=TOL, max_iter=1000)

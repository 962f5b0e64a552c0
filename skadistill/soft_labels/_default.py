"""The student of those who name none: chosen by the kind of rows."""

import logging
import re
from functools import lru_cache

import numpy as np
from scipy.sparse import issparse
from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline

from skadistill._rows._containers import is_texts
from skadistill.student._net import StudentNet

__all__ = ["default_student", "words_and_beginnings"]

logger = logging.getLogger(__name__)

# Sparse rows wider than this get a linear student: a network has as many weights per
# column as its first layer has units, most of which no row would teach.
N_COLUMNS = 1000
# These were chosen on halves of the training rows of two text sets, on whose test
# rows `benchmarks/student_texts.py` compares.
C = 4.0
TOL = 2e-4
N_LETTERS = 5

WORD = re.compile(r"\b\w+\b")


def default_student(X=None):
    """Return the student for rows of a kind."""
    if X is not None and is_texts(X):
        logger.info("the student is a linear classifier of hashed words")
        return Pipeline([("features", _text_features()), ("classifier", _linear())])
    if issparse(X) and X.shape[1] > N_COLUMNS:
        logger.info("the student is a linear classifier: rows are sparse and wide")
        return _linear()
    return StudentNet()


def _linear():
    """Return a linear classifier, which learns soft labels without copies."""
    return LogisticRegression(C=C, tol=TOL, max_iter=1000)


def _text_features():
    """Return TF-IDF of hashed words and of their beginnings.

    No vocabulary grows with the rows, and rows that come later have a place for
    their words.
    """
    hashed = HashingVectorizer(
        analyzer=words_and_beginnings,
        n_features=2**15,
        alternate_sign=False,
        norm=None,
        dtype=np.float32,
    )
    return make_pipeline(hashed, TfidfTransformer(sublinear_tf=True))


def words_and_beginnings(text):
    """Split a text into lowered words, and the first five letters of longer ones.

    Forms of a word, and many misspellings, share their beginning.
    """
    return [part for word in WORD.findall(text.lower()) for part in _parts(word)]


@lru_cache(maxsize=100_000)
def _parts(word):
    """Return a word and its beginning; most words of a text are frequent ones."""
    return (word, f"{word[:N_LETTERS]}*") if len(word) > N_LETTERS else (word,)

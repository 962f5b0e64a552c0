"""The encoder of the documentation reads each text once in a fit."""

import importlib.util
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

import skadistill
from skadistill import ActiveDistiller

PATH = Path(skadistill.__file__).parents[1] / "docs" / "code" / "encode_once.py"

pytestmark = pytest.mark.skipif(not PATH.exists(), reason="needs the sources")


def load():
    spec = importlib.util.spec_from_file_location("encode_once", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.EncodeOnce


class Encoder:
    """Count how often each text is encoded."""

    def __init__(self):
        self.seen = Counter()

    def __call__(self, texts):
        self.seen.update(texts)
        return np.array([[len(t), t.count("a")] for t in texts], dtype=float)


class Plain(TransformerMixin, BaseEstimator):
    """Encode whenever asked, as a pipeline does by itself."""

    def __init__(self, encode):
        self.encode = encode

    def fit(self, X, y=None):
        return self

    def __sklearn_is_fitted__(self):
        return True

    def __sklearn_clone__(self):
        return self

    def transform(self, X):
        return self.encode(X)


def fit(step):
    texts = ["a" * (i % 7) + "b" * (i % 5) + str(i) for i in range(120)]
    y = np.array([*[0, 1] * 10, *[-1] * 100])
    distiller = ActiveDistiller(
        lambda texts: [int("aaa" in text) for text in texts],
        make_pipeline(step, LogisticRegression()),
        budget=60,
        query_size=15,
        random_state=0,
    ).fit(texts, y)
    distiller.predict(texts)
    return distiller


def test_each_text_is_encoded_once():
    """Pool, labeled rows and predictions share the vectors; a pipeline alone not."""
    once, often = Encoder(), Encoder()
    distiller = fit(load()(once))
    assert set(once.seen.values()) == {1}
    assert len(once.seen) == 120
    fit(Plain(often))
    assert max(often.seen.values()) > distiller.n_rounds_


def test_the_vectors_are_not_saved():
    """A saved student is as small as its encoder."""
    step = load()(str.upper)
    vars(step)["_known"] = {"a": np.zeros(1000)}
    assert "_known" not in step.__getstate__()

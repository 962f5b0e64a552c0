"""Nothing that fails after the last payment loses the student."""

from functools import partial

import numpy as np
import pytest
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier
from torch import nn

from skadistill import ActiveDistiller, StudentNet
from skadistill._fit import outcome
from skadistill.exceptions import TeacherWarning


class WantsEveryClass(ClassifierMixin, BaseEstimator):
    """Like XGBoost: labels must be 0, 1, ..., none missing."""

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        if list(self.classes_) != list(range(len(self.classes_))):
            raise ValueError(f"Invalid classes inferred: {self.classes_}")
        self.tree_ = DecisionTreeClassifier(max_depth=1, random_state=0).fit(X, y)
        return self

    def predict_proba(self, X):
        return self.tree_.predict_proba(X)

    def predict(self, X):
        return self.classes_[self.predict_proba(X).argmax(axis=1)]


@pytest.mark.parametrize("lonely", [0, 1])
def test_a_teacher_that_wants_every_class_ends_no_paid_fit(lonely):
    """One labeled row of a class: some fold of it has none."""
    X, y = make_classification(700, 10, n_informative=6, n_classes=3, random_state=0)
    given = [np.flatnonzero(y == c)[: 1 if c == lonely else 40] for c in range(3)]
    given = np.concatenate(given)
    pool = np.setdiff1d(np.arange(700), given)
    model = ActiveDistiller(
        WantsEveryClass(), LogisticRegression(), budget=30, random_state=0
    )
    with pytest.warns(TeacherWarning) as told:
        model.fit(X[given], y[given], X_unlabeled=X[pool])
    assert "the last student is kept, since" in str(told[-1].message)
    assert model.student_round_ == model.n_rounds_
    assert model.n_paid_ == 30


def test_a_forecast_that_fails_is_a_warning(monkeypatch):
    """The student and what was paid are there."""

    def fails(history):
        raise FloatingPointError("curve")

    monkeypatch.setattr(outcome, "forecast_of", fails)
    X, y = make_classification(200, 4, random_state=0)
    model = ActiveDistiller(
        LogisticRegression(), LogisticRegression(), budget=20, random_state=0
    )
    with pytest.warns(TeacherWarning, match="failed: FloatingPointError: curve"):
        model.fit(X[:60], y[:60], X_unlabeled=X[60:])
    assert model.forecast_ is None
    assert model.score(X, y) > 0.7


NETS = {
    "criterion": StudentNet(criterion=nn.BCEWithLogitsLoss, max_epochs=5),
    "nonlinearity": StudentNet(
        predict_nonlinearity=partial(torch.softmax, dim=1), max_epochs=5
    ),
    "pipeline": make_pipeline(
        StandardScaler(), StudentNet(criterion=nn.BCEWithLogitsLoss, max_epochs=5)
    ),
}


@pytest.mark.parametrize("name", NETS)
def test_a_net_with_its_own_loss_learns_from_a_bad_teacher(name):
    """The default objective does not choose one that brings another loss."""
    X, y = make_classification(600, 10, n_informative=6, random_state=0)
    flip = np.random.default_rng(0).random(600) < 0.35
    answers = dict(zip(X[:, 0].tolist(), np.where(flip, 1 - y, y), strict=True))
    model = ActiveDistiller(
        lambda rows: [answers[v] for v in rows[:, 0].tolist()],
        NETS[name],
        budget=100,
        random_state=0,
    ).fit(X[:100], y[:100], X_unlabeled=X[100:])
    assert model.n_paid_ == 100

"""
Cross-validate with unlabeled data
==================================

What is the score of cross-validation if 1300 of 1400 rows have no label? A plain
splitter treats "no label" as a class and scores 6.7 %, although the student is 94.0 %
accurate on new rows. Splitting only the labeled rows gives 94.0 %. Keeping the
unlabeled rows out of ``X`` avoids the problem. The fits of a grid search share a
ledger: 16 of them, with a budget of 200 each, pay for 711 labels in total.

The weakness: a hundred labeled rows are few for a score. Its standard error over folds
is 2.4 points, and the three candidates of the search are within 2 points: the 96.0 % of
the best one is luck, since it is 94.5 % accurate on new rows.

.. code-block:: python

    from skadistill.model_selection import PartiallyLabeledSplit

    y[unlabeled] = -1
    cv = PartiallyLabeledSplit(5, shuffle=True, random_state=0)
    cross_val_score(distiller, X, y, cv=cv)  # scores on labeled rows only
"""

# %%
# Data: scikit-learn's digits. The teacher was trained on rows that we do not have; 100
# of our rows have a label.
import warnings

import matplotlib.pyplot as plt
import numpy as np
import sklearn
from sklearn.datasets import load_digits
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score, train_test_split
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer

from skadistill import ActiveDistiller
from skadistill.datasets import hide_labels
from skadistill.exceptions import UnlabeledTestRowsWarning
from skadistill.model_selection import PartiallyLabeledSplit
from skadistill.teachers import FunctionTeacher


def to_unit(X):
    """Scale gray values from 0 to 16 to the range 0 to 1."""
    return X / 16


X, y = load_digits(return_X_y=True)
X_theirs, X, y_theirs, y = train_test_split(X, y, train_size=197, random_state=0)
X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=200, random_state=0)
y_partial = hide_labels(y_train, n_labeled=100, random_state=1)
teacher = ExtraTreesClassifier(100, random_state=0).fit(to_unit(X_theirs), y_theirs)
print(f"{(y_partial == -1).sum()} of {len(y_partial)} rows have no label")

# %%
# The first way: unlabeled rows are in ``X``, and ``y`` is -1. A plain splitter puts
# them into test folds, where -1 counts as a class that no student ever predicts, and a
# warning is raised.


def make_distiller(teacher):
    return ActiveDistiller(
        teacher,
        LogisticRegression(max_iter=200),
        budget=200,
        query_size=100,
        random_state=0,
    )


rows = to_unit(X_train)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always", UnlabeledTestRowsWarning)
    naive = cross_val_score(make_distiller(teacher), rows, y_partial, cv=5)
splitter = PartiallyLabeledSplit(5, shuffle=True, random_state=0)
split = cross_val_score(make_distiller(teacher), rows, y_partial, cv=splitter)
truth = make_distiller(teacher).fit(rows, y_partial).score(to_unit(X_test), y_test)
error = split.std(ddof=1) / np.sqrt(len(split))
print(f"naive                  {naive.mean():.3f}  ({len(caught)} warnings)")
print(f"PartiallyLabeledSplit  {split.mean():.3f}  (standard error {error:.3f})")
print(f"on {len(X_test)} test rows       {truth:.3f}")

figure, ax = plt.subplots(figsize=(6, 2), layout="constrained")
ax.barh(
    ["new rows", "labeled rows split", "naive"], [truth, split.mean(), naive.mean()]
)
ax.errorbar(split.mean(), 1, xerr=error, color="k", capsize=4)
ax.set(xlabel="accuracy", xlim=(0, 1))

# %%
# The second way: unlabeled rows are not in ``X``. Metadata routing passes
# ``X_unlabeled`` through search and pipeline without slicing it, and with
# ``transform_input`` every step before the distiller transforms it, too. No fold
# contains an unlabeled row, so that any splitter can be used.
#
# The first step learns nothing. One that does, such as a ``StandardScaler``, would
# transform a row differently in each fold: the teacher would be asked again, about
# inputs that it was not trained on. Such a step belongs in the student, which may be a
# pipeline.


def search(distiller):
    pipeline = Pipeline(
        [("unit", FunctionTransformer(to_unit)), ("distill", distiller)],
        transform_input=["X_unlabeled"],
    )
    grid = {"distill__student__C": [0.1, 1.0, 10.0]}
    labeled = y_partial != -1
    return GridSearchCV(pipeline, grid, cv=5).fit(
        X_train[labeled], y_partial[labeled], X_unlabeled=X_train[~labeled]
    )


# %%
# The clones of a distiller share a ledger, one in memory unless ``ledger`` is given: a
# label that one candidate paid for is free for the next. There are 3 x 5 fits of the
# search, and the last one on all rows. We count what a provider would charge for.
billed = []


def ask(X):
    billed.append(len(X))
    return teacher.predict_proba(X)


distiller = make_distiller(FunctionTeacher(ask, name="trees"))
with sklearn.config_context(enable_metadata_routing=True):
    found = search(distiller.set_fit_request(X_unlabeled=True))
print(f"{sum(billed)} rows billed, best C {found.best_params_['distill__student__C']}")
scores = found.cv_results_["mean_test_score"]
print("scores of the candidates:", scores.round(3))
print(f"the best one on {len(X_test)} test rows: {found.score(X_test, y_test):.3f}")

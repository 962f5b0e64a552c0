"""
Cross-validate when most rows have no label
===========================================

What does cross-validation say when 1300 of 1400 rows have no label? The naive one takes
"no label" for a class, and scores 6.8 % where the student is right on 93.0 % of new
rows. Splitting the labeled rows alone gives 93.0 %. Keeping the unlabeled rows out of
``X`` leaves nothing to get wrong, and with a shared ledger a grid search of 16 fits
pays for 885 labels instead of 4500.

The weakness: a hundred labeled rows are few to judge by. The standard error of the
score over folds is 2.5 points, and the three candidates of the search lie within 3: the
winner's 95.0 % is luck, for on new rows it is right on 93.0 %.
"""

# %%
# Data: scikit-learn's digits. The teacher was trained by somebody on rows that we do
# not have; of ours, 100 have a label.
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

from skadistill import ActiveDistiller, MemoryLedger
from skadistill.datasets import hide_labels
from skadistill.exceptions import UnlabeledTestRowsWarning
from skadistill.model_selection import PartiallyLabeledSplit
from skadistill.teachers import FunctionTeacher


def to_unit(X):
    """Bring gray values from 0 to 16 into 0 to 1."""
    return X / 16


X, y = load_digits(return_X_y=True)
X_theirs, X, y_theirs, y = train_test_split(X, y, train_size=197, random_state=0)
X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=200, random_state=0)
y_partial = hide_labels(y_train, n_labeled=100, random_state=1)
teacher = ExtraTreesClassifier(100, random_state=0).fit(to_unit(X_theirs), y_theirs)
print(f"{(y_partial == -1).sum()} of {len(y_partial)} rows have no label")

# %%
# The first door: unlabeled rows are in ``X``, and ``y`` says -1. A plain splitter puts
# them into test folds, where -1 counts as a class that no student ever predicts. The
# warning says so.


def make_distiller(teacher, **params):
    return ActiveDistiller(
        teacher,
        LogisticRegression(max_iter=200),
        budget=200,
        query_size=100,
        random_state=0,
        **params,
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
# The second door: unlabeled rows never enter ``X``. Metadata routing hands
# ``X_unlabeled`` through search and pipeline, unsliced, and ``transform_input`` lets
# every step before the distiller transform it too. No fold ever sees a row without
# label, so that any splitter will do.
#
# The step in front learns nothing. One that does, a ``StandardScaler`` say, would turn
# a row into another row in each fold: the teacher would have to be asked again, and be
# shown what it was not trained on. Such a step belongs into the student, which may be a
# pipeline itself.


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
# A label that one candidate paid for is free for the next, where they share a ledger.
# Without one, each of the 3 x 5 fits of the search, and the last one on all rows, pays
# for itself. We count what a provider would bill.
billed = []


def ask(X):
    billed.append(len(X))
    return teacher.predict_proba(X)


for ledger in (None, MemoryLedger()):
    billed.clear()
    distiller = make_distiller(FunctionTeacher(ask, name="trees"), ledger=ledger)
    with sklearn.config_context(enable_metadata_routing=True):
        found = search(distiller.set_fit_request(X_unlabeled=True))
    print(
        f"{'a shared ledger' if ledger is not None else 'no ledger':16}"
        f"{sum(billed):5} rows billed, best C {found.best_params_}"
    )
scores = found.cv_results_["mean_test_score"]
print("scores of the candidates:", scores.round(3))
print(f"the best one on {len(X_test)} test rows: {found.score(X_test, y_test):.3f}")

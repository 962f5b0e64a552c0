"""Settings of classifiers whose meaning changes if a row has several copies."""

import warnings
from contextlib import contextmanager

import numpy as np
from sklearn.linear_model import SGDClassifier
from sklearn.model_selection import check_cv

from skadistill.exceptions import StudentError

__all__ = [
    "averaging_settings",
    "balance_of",
    "balancing_settings",
    "changed",
    "refuse_resampling",
    "settings_for_copies",
]


@contextmanager
def changed(estimator, settings):
    """Set parameters inside a block, and put them back after it."""
    if not settings:
        yield
        return
    params = estimator.get_params(deep=True)
    before = {name: params[name] for name in settings}
    estimator.set_params(**settings)
    try:
        yield
    finally:
        estimator.set_params(**before)


#: Settings that weigh classes by numbers of rows, by what switches them off.
#: LightGBM has three names for its own. CatBoost's ``auto_class_weights`` and fixed
#: factors, such as ``scale_pos_weight``, go by weights, and hold for copies.
BALANCING = {
    "class_weight": None,
    "is_unbalance": False,
    "unbalance": False,
    "unbalanced_sets": False,
}


def balancing_settings(estimator):
    """Return the settings that switch off ``class_weight="balanced"`` and its like.

    Libraries compute these weights from numbers of rows, which say nothing of rows
    with soft labels: the caller must weigh classes itself.
    """
    found = {
        name: value
        for name, value in estimator.get_params(deep=True).items()
        if name.rpartition("__")[2] in BALANCING
    }
    balanced = [
        name for name, value in found.items() if value is True or isinstance(value, str)
    ]
    owners = {name.rpartition("__")[0] for name in found}
    if 0 < len({name.rpartition("__")[0] for name in balanced}) < len(owners):
        warnings.warn(
            f"{balanced[0]}={found[balanced[0]]!r} has no effect on soft labels, "
            f"since not all parts of {type(estimator).__name__} balance classes; "
            "balance them in all parts, or in none.",
            stacklevel=2,
        )
        return {}
    return {name: BALANCING[name.rpartition("__")[2]] for name in balanced}


def refuse_resampling(estimator):
    """Raise for an ensemble that draws rows by their labels, such as imblearn's."""
    for name, value in estimator.get_params(deep=True).items():
        if name.rpartition("__")[2] == "sampling_strategy":
            raise StudentError(
                f"{type(estimator).__name__} draws rows by their labels ({name}="
                f"{value!r:.40}), which soft labels do not allow; use an ensemble that "
                "draws all rows alike, and balance classes with "
                "class_weight='balanced'."
            )


def averaging_settings(estimator):
    """Return the settings with which stochastic gradients bear copies of a row.

    The copies pull against each other at the first large steps; the mean of the
    weights over all steps is what they agree on.
    """
    params = estimator.get_params(deep=True)
    return {
        name: True
        for name, value in params.items()
        if name.rpartition("__")[2] == "average"
        and value is False
        and isinstance(
            params[name.rpartition("__")[0]] if "__" in name else estimator,
            SGDClassifier,
        )
    }


def balance_of(targets, sample_weight):
    """Weigh classes so that each has the same total probability."""
    if sample_weight is None:
        mass = targets.sum(axis=0, dtype=np.float64)
    else:
        mass = np.asarray(sample_weight, dtype=np.float64) @ targets
    # A class without mass has no copy that could be weighed.
    return mass.sum() / (len(mass) * np.where(mass > 0, mass, 1.0))


def settings_for_copies(estimator, likeliest, rows):
    """Return settings that keep copies of one row from judging each other.

    A classifier that holds rows out, to stop early or to score itself, would find
    copies of rows that it has learned from among them.
    """
    params = estimator.get_params(deep=True)
    settings: dict = {}
    for name, value in params.items():
        prefix, separator, setting = name.rpartition("__")
        owner = params[prefix] if prefix else estimator
        if setting == "early_stopping" and value:
            settings[name] = False
            asked_for = value != "auto"
        elif setting == "oob_score" and value:
            settings[name] = False
            asked_for = True
        elif (
            setting == "n_iter_no_change"
            and value is not None
            and f"{prefix}{separator}validation_fraction" in params
            and f"{prefix}{separator}early_stopping" not in params
        ):
            # Gradient boosting, which holds rows out unless this is None.
            settings[name] = None
            asked_for = True
        elif setting == "cv" and not prefix and value != "prefit":
            settings[name] = _splits_of_copies(value, likeliest, rows)
            continue
        else:
            continue
        if asked_for:
            warnings.warn(
                f"{setting}={value!r} of {type(owner).__name__} would hold out copies "
                "of rows that it learns from, since a row with a soft label is several "
                f"weighted rows; it is switched off here, set {setting} to "
                f"{settings[name]!r} to say so.",
                stacklevel=2,
            )
    return settings


def _splits_of_copies(cv, likeliest, rows):
    """Split rows as `cv` says, and give each copy to the side of its row."""
    splitter = check_cv(cv, likeliest, classifier=True)
    splits = []
    for _, test in splitter.split(np.zeros((len(likeliest), 1)), likeliest):
        held_out = np.isin(rows, test)
        splits.append((np.flatnonzero(~held_out), np.flatnonzero(held_out)))
    return splits

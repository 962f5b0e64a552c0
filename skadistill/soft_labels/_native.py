"""Classifiers that learn probabilities as they are, without copies of rows."""

import warnings

import numpy as np
from scipy.optimize import minimize
from scipy.sparse import issparse
from scipy.special import softmax
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from skadistill._utils.compat import validate_data, validate_parameters
from skadistill.soft_labels._settings import changed

__all__ = ["native_fit"]


def native_fit(estimator, shape, fit_params):
    """Find the way in which a classifier learns probabilities as they are."""
    if fit_params:
        return None  # an evaluation set, initial margins: about labels
    if type(estimator) is LogisticRegression and _has_plain_penalty(estimator):
        return fit_logistic
    package = type(estimator).__module__.partition(".")[0]
    if (package, type(estimator).__name__) != ("xgboost", "XGBClassifier"):
        return None
    # Each class needs a row whose label says that it is there.
    if shape[0] >= shape[1] and _has_plain_objective(estimator):
        return fit_xgboost
    return None


def _has_plain_penalty(estimator):
    """Tell whether `fit_logistic` minimizes the loss of this logistic regression."""
    params = estimator.get_params(deep=False)
    return (
        params["solver"] == "lbfgs"
        and params["penalty"] in ("l2", "deprecated")
        and params.get("l1_ratio") in (None, 0)
        and params.get("multi_class", "auto") in ("auto", "deprecated", "multinomial")
        and not params["warm_start"]
        and not params["dual"]
        and not isinstance(params["class_weight"], dict)
    )


def _has_plain_objective(estimator):
    """Tell whether boosted trees minimize the cross-entropy and nothing else."""
    params = estimator.get_params(deep=False)
    plain = {
        "objective": (None, "binary:logistic", "multi:softprob", "multi:softmax"),
        "base_score": (None,),
        "scale_pos_weight": (None, 1),
        "early_stopping_rounds": (None,),
        "multi_strategy": (None, "one_output_per_tree"),
    }
    return all(
        params.get(name) is None or params[name] in values
        for name, values in plain.items()
    )


def fit_logistic(estimator, X, mass, classes):
    """Fit a logistic regression to masses of classes.

    What it minimizes is scikit-learn's objective on one copy of each row per class,
    by the same method and to the same tolerance, but each row is read once.
    """
    validate_parameters(estimator)
    X = validate_data(estimator, X, accept_sparse="csr", dtype=[np.float64, np.float32])
    n_features = X.shape[1]
    # A column of zeros keeps the weight 0: hashed texts have many of them.
    used: slice | np.ndarray = slice(None)
    if issparse(X):
        used = np.flatnonzero(np.bincount(X.indices, minlength=n_features))
        X = X[:, used]
    coef, estimator.intercept_, result = minimize_cross_entropy(
        X,
        mass,
        C=estimator.C,
        fit_intercept=estimator.fit_intercept,
        tol=estimator.tol,
        max_iter=estimator.max_iter,
    )
    estimator.coef_ = np.zeros((len(coef), n_features), dtype=coef.dtype)
    estimator.coef_[:, used] = coef
    estimator.n_iter_ = np.array([result.nit], dtype=np.int32)
    estimator.classes_ = classes
    if result.nit >= estimator.max_iter and not result.success:
        warnings.warn(
            f"LogisticRegression did not converge in max_iter={estimator.max_iter} "
            "iterations; raise max_iter, or scale the columns.",
            ConvergenceWarning,
            stacklevel=2,
        )


def minimize_cross_entropy(X, mass, *, C, fit_intercept, tol, max_iter):
    r"""Find the weights of a linear model of logits.

    With :math:`m_{ic}` the masses, :math:`s_i` their sum over the classes of a row
    and :math:`p_i` the softmax of the row's logits, it minimizes

    .. math:: \frac{1}{S} \Bigl( \sum_{i, c} -m_{ic} \log p_{ic}
              + \frac{1}{2 C} \lVert W \rVert^2 \Bigr), \qquad S = \sum_i s_i.
    """
    n_features = X.shape[1]
    total = mass.sum()
    # Divided here once: the objective is a mean, as in scikit-learn.
    mass = (mass / total).astype(X.dtype)
    weight = mass.sum(axis=1)
    penalty = 1.0 / (C * total)
    # With two classes the first logit is fixed at 0.
    n_classes = mass.shape[1]
    binary = n_classes == 2
    n_outputs = 1 if binary else n_classes
    # One row of weights per column of X: products with csr rows run along it.
    shape = (n_features + 1, n_outputs)
    X_transposed = X.T.tocsr() if issparse(X) else X.T

    def loss_and_gradient(flat):
        W = flat.reshape(shape)
        logits = X @ W[:-1].astype(X.dtype)
        logits += W[-1].astype(X.dtype)
        if binary:
            logits = np.hstack([np.zeros_like(logits), logits])
        largest = logits.max(axis=1, keepdims=True)
        proba = np.exp(logits - largest)
        norm = proba.sum(axis=1, keepdims=True)
        log_norm = (np.log(norm) + largest)[:, 0]
        loss = float(weight @ log_norm) - float(np.vdot(mass, logits))
        loss += 0.5 * penalty * float(np.vdot(W[:-1], W[:-1]))
        proba *= weight[:, None] / norm
        proba -= mass
        if binary:
            proba = proba[:, 1:]
        gradient = np.zeros(shape)
        gradient[:-1] = X_transposed @ proba
        gradient[:-1] += penalty * W[:-1]
        if fit_intercept:
            gradient[-1] = proba.sum(axis=0)
        return loss, gradient.ravel()

    result = minimize(
        loss_and_gradient,
        np.zeros(shape).ravel(),
        jac=True,
        method="L-BFGS-B",
        # scikit-learn's, line by line.
        options={
            "maxiter": max_iter,
            "maxls": 50,
            "gtol": tol,
            "ftol": 64 * np.finfo(float).eps,
        },
    )
    W = result.x.reshape(shape).astype(X.dtype)
    return np.ascontiguousarray(W[:-1].T), W[-1].copy(), result


def fit_xgboost(estimator, X, mass, classes):
    """Fit boosted trees to masses of classes, with a loss of our own."""
    n_samples, n_classes = mass.shape
    binary = n_classes == 2
    weight = mass.sum(axis=1, keepdims=True)

    def soft_cross_entropy(labels, logits):
        if binary:
            logits = np.c_[np.zeros(n_samples), logits]
        proba = softmax(logits.reshape(mass.shape), axis=1)
        gradient = weight * proba - mass
        # XGBoost's own second derivatives: doubled for more than two classes.
        hessian = weight * proba * (1 - proba) * (1 if binary else 2)
        hessian = np.maximum(hessian, 1e-16)
        return (gradient[:, 1], hessian[:, 1]) if binary else (gradient, hessian)

    # Labels tell the number of classes and nothing else; each must occur.
    labels = mass.argmax(axis=1)
    labels[:n_classes] = np.arange(n_classes)
    # Trees start from equal probabilities: a `base_score` would be a logit to a loss
    # of our own, and a probability to XGBoost's, which predicts afterwards.
    start = np.zeros(n_samples if binary else mass.shape, dtype=np.float32)
    with changed(estimator, {"objective": soft_cross_entropy}):
        estimator.fit(X, classes[labels], base_margin=start)
    # Also tells the booster, which turns logits into probabilities.
    estimator.set_params(objective="binary:logistic" if binary else "multi:softprob")

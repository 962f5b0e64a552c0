"""The robust sampler as a pool strategy in the loops of scikit-activeml.

This module imports scikit-activeml, an optional package; `skadistill.query` imports
it on demand.
"""

import numpy as np
from skactiveml import utils
from skactiveml.base import SingleAnnotatorPoolQueryStrategy, SkactivemlClassifier
from sklearn.base import clone

from skadistill.query._game.draw import fixed_size_sample
from skadistill.query._game.regret import regret_inclusion
from skadistill.query._game.robust import robust_distribution
from skadistill.query._measures import margin_gain

__all__ = ["RobustQueryStrategy"]


class RobustQueryStrategy(SingleAnnotatorPoolQueryStrategy):
    """Draw informative rows that a wrong oracle cannot spoil.

    The robust sampler of skadistill as a pool strategy of scikit-activeml. The
    gain of a row is 1 minus the classifier's margin (its largest minus its
    second largest probability). Against an oracle that is wrong on at most m rows
    the sampler plays the best mixed strategy. A greedy strategy asks about exactly
    the rows on which the oracle is most likely to be wrong.

    Parameters
    ----------
    error_rate : float or None, default=None
        Share of the candidates on which the oracle may be wrong, in [0, 1). If in
        doubt, choose a high value. None plays the regret game, which needs no such
        estimate.
    missing_label : scalar or str or np.nan or None, default=np.nan
        Value that stands for a missing label.
    random_state : int or numpy.random.RandomState or None, default=None
        Seed of the draw.

    References
    ----------
    .. [1] Baykal, Trinh, Iliopoulos, Menghani, Vee. "Robust Active
       Distillation." ICLR 2023, arXiv:2210.01213.

    Examples
    --------
    >>> import numpy as np
    >>> from skactiveml.classifier import ParzenWindowClassifier
    >>> from skadistill.query import RobustQueryStrategy
    >>> X = np.linspace(0, 1, 20)[:, None]
    >>> y = np.full(20, np.nan)
    >>> y[[0, 19]] = 0, 1
    >>> clf = ParzenWindowClassifier(classes=[0, 1])
    >>> strategy = RobustQueryStrategy(error_rate=0.1, random_state=0)
    >>> strategy.query(X, y, clf, batch_size=3).shape
    (3,)
    """

    def __init__(self, error_rate=None, missing_label=np.nan, random_state=None):
        super().__init__(missing_label=missing_label, random_state=random_state)
        self.error_rate = error_rate

    def query(
        self,
        X,
        y,
        clf,
        fit_clf=True,
        sample_weight=None,
        candidates=None,
        batch_size=1,
        return_utilities=False,
    ):
        """Draw the rows whose labels are requested.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Labeled and unlabeled rows.
        y : array-like of shape (n_samples,)
            Labels, `missing_label` for the rows without one.
        clf : skactiveml.base.SkactivemlClassifier
            Gives the probabilities.
        fit_clf : bool, default=True
            Whether to fit a clone of `clf` on X, y and `sample_weight` first.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Weights for that fit.
        candidates : None or array-like, default=None
            None: the rows without a label. Integers of shape (n_candidates,):
            rows of X. Otherwise the rows themselves, of shape
            (n_candidates, n_features).
        batch_size : int, default=1
            Rows to draw.
        return_utilities : bool, default=False
            Whether to return the utilities too.

        Returns
        -------
        query_indices : ndarray of int of shape (batch_size,)
            Distinct positions in X, or in `candidates` if those are rows.
        utilities : ndarray of shape (batch_size, n_samples or n_candidates)
            Each row's probability of being in the batch; NaN for rows that are
            not candidates or were drawn before. Only with `return_utilities`.
        """
        X, y, candidates, batch_size, return_utilities = self._validate_data(
            X, y, candidates, batch_size, return_utilities, reset=True
        )
        X_cand, mapping = self._transform_candidates(candidates, X, y)
        utils.check_type(clf, "clf", SkactivemlClassifier)
        utils.check_equal_missing_label(clf.missing_label, self.missing_label_)
        utils.check_type(fit_clf, "fit_clf", bool)
        if self.error_rate is not None:
            utils.check_scalar(
                self.error_rate,
                "error_rate",
                (int, float),
                min_val=0,
                max_val=1,
                max_inclusive=False,
            )
        if fit_clf:
            weights = () if sample_weight is None else (sample_weight,)
            clf = clone(clf).fit(X, y, *weights)
        inclusion = _robust_inclusion(
            clf.predict_proba(X_cand), self.error_rate, batch_size
        )
        rng = np.random.default_rng(self.random_state_.randint(2**31 - 1))
        drawn = fixed_size_sample(inclusion, rng)
        if mapping is None:
            utilities, chosen = inclusion, drawn
        else:
            utilities, chosen = np.full(len(X), np.nan), mapping[drawn]
            utilities[mapping] = inclusion
        if not return_utilities:
            return chosen
        table = np.tile(utilities, (batch_size, 1))
        for step, row in enumerate(chosen[:-1], start=1):
            table[step:, row] = np.nan
        return chosen, table


def _robust_inclusion(proba, error_rate, n_queries):
    """Turn probabilities into inclusion probabilities that sum to `n_queries`."""
    gains = np.maximum(margin_gain(np.asarray(proba, dtype=np.float64)), 0.0)
    if error_rate is None:
        return regret_inclusion(gains, n_queries)
    game = robust_distribution(gains, error_rate * gains.shape[0], n_queries)
    return np.minimum(game.p * n_queries, 1.0)

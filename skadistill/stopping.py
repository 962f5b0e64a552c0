"""When to stop asking before the budget is spent."""

from numbers import Integral, Real

from sklearn.base import BaseEstimator

from skadistill._compat import Interval, validate_parameters

__all__ = ["StablePredictions"]


class StablePredictions(BaseEstimator):
    """Stop once more labels no longer change the student's predictions.

    After each round the student's classes on the rows still in the pool are
    compared with those of the round before. When at least `min_agreement` of them
    stayed the same for `patience` rounds in a row, the loop stops before it pays
    for another batch.

    Parameters
    ----------
    patience : int, default=2
        Rounds in a row, at least 1.
    min_agreement : float, default=0.99
        Share of the pool's rows in [0, 1] whose class must not have changed.

    Examples
    --------
    >>> from skadistill.stopping import StablePredictions
    >>> rule = StablePredictions(patience=2, min_agreement=0.9)
    >>> rule.should_stop([0.8, 0.95]), rule.should_stop([0.8, 0.95, 0.92])
    (False, True)
    """

    _parameter_constraints: dict = {
        "patience": [Interval(Integral, 1, None, closed="left")],
        "min_agreement": [Interval(Real, 0, 1, closed="both")],
    }

    def __init__(self, patience=2, min_agreement=0.99):
        self.patience = patience
        self.min_agreement = min_agreement

    def should_stop(self, agreements):
        """Tell whether to stop, given the agreement of each round so far.

        Parameters
        ----------
        agreements : list of float
            Share of unchanged classes after each round, oldest first.

        Returns
        -------
        stop : bool
            True once the last `patience` of them all reach `min_agreement`.
        """
        validate_parameters(self)
        recent = agreements[-self.patience :]
        return len(recent) == self.patience and min(recent) >= self.min_agreement

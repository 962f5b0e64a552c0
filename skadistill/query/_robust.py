"""The robust sampler: informative rows, without those the teacher gets wrong."""

from functools import partial
from typing import Any

import numpy as np

from skadistill.query._base import QueryStrategy, summarize_gains
from skadistill.query._game.draw import fixed_size_sample
from skadistill.query._game.regret import regret_inclusion
from skadistill.query._game.robust import robust_distribution
from skadistill.query._measures import margin_gain
from skadistill.query._uncertainty import top_rows

__all__ = ["RobustSampler"]


class RobustSampler(QueryStrategy):
    """Draw informative rows; avoid those that the teacher is known to get wrong.

    The teacher is checked on a few labeled rows, first of all on those like the rows
    that the sampler would ask about. A teacher that does well there is asked about
    the most informative rows. For any other, the labeled rows show which
    kind of row it gets wrong, and the gain of a row is discounted by what a wrong
    answer is likely to cost. The number of mistakes need not be known.

    Attributes
    ----------
    needs_error_curve : bool
        True: the loop checks the teacher before it pays for the pool.

    See Also
    --------
    RADSampler : The game of the paper, against mistakes anywhere.

    Notes
    -----
    The gain g_i of a row is 1 minus the current student's margin. A trusted teacher is
    asked about the rows of largest gain. Otherwise the worth of a row is w_i = g_i (1 -
    c e_i)_+ with e_i the teacher's error rate on rows of similar margin, learned from
    the checked rows by a logistic regression; and c = 1 - r - 3 min(r, 0), where r is
    the worth of a wrong answer in units of a correct one: what wrong answers do harm
    counts four times. One student's margin is partly chance, so that rows which are
    hard for any student hide among its easy ones. The margin that e_i depends on is
    therefore that of a mean: on the labeled rows of three students that learned from
    other folds, on the pool of five that learned from all labeled rows with other
    random numbers. The sampler then solves the regret game, which leaves no row behind
    whose worth is above a level: q_i = (1 - v / w_i)_+, with v such that the q_i sum to
    the rows of the round. That it draws rows, rather than taking those of largest
    worth, protects against errors of the e_i.

    The teacher is trusted if c (e + s) < 1/2 on the checked rows that the game may ask
    about, with e and s the posterior mean and standard deviation of its error rate; if
    its errors do not depend on the gain beyond chance (5 %); or if no other rows of the
    same number are worth 1.5 times as much as those of largest gain. In the first and
    the last test harm counts twice, since a few mistakes should not decide. A teacher
    that is not fitted here is checked on 20 rows, alternately one that the game may ask
    about and one of a uniform sample, then on ten more at a time until it passes the
    first test, or 40 rows are spent. With a budget below 200 that would cost more than
    it gains, and the teacher is trusted, as it is without any check.

    The curve is learned once, before the pool is paid for: a teacher's mistakes do
    not change from round to round. It does not protect against mistakes that no labeled
    row shows. If you know how many there may be, say so by
    :class:`~skadistill.checking.CheckPolicy`: then the teacher is not checked, and this
    is `RADSampler`.

    Examples
    --------
    >>> import numpy as np
    >>> from skadistill.query import QueryPool, RobustSampler
    >>> proba = np.random.default_rng(0).dirichlet([1, 1, 1], size=50)
    >>> pool = QueryPool.from_proba(proba)
    >>> RobustSampler().query(pool, 5, np.random.default_rng(1)).shape
    (5,)
    """

    needs_error_curve: bool = True

    def query(self, pool: Any, n_queries: Any, random_state: Any) -> Any:
        curve = pool.error_curve
        gains = pool.map_proba(_gain)
        pool.report |= summarize_gains(gains)
        if n_queries >= pool.n_samples:
            return np.arange(pool.n_samples)
        if curve is None and pool.teacher_error is not None:
            # Below 1: a teacher that is wrong on every row leaves no game.
            error = min(pool.teacher_error, np.nextafter(1.0, 0.0))
            game = robust_distribution(gains, error * pool.n_samples, n_queries)
            pool.report |= {
                "n_mistakes": error * pool.n_samples,
                "water_level": game.value,
                "n_support": game.n_support,
            }
            pool.inclusion = np.multiply(
                game.p, game.p.dtype.type(n_queries), out=game.p
            )
            return fixed_size_sample(pool.inclusion, random_state)
        if curve is None or not curve.distrusted:
            return top_rows(gains, n_queries, random_state)
        if pool.kept is None:
            pool.kept = curve.discount(_first_gains(pool, gains))
        pool.inclusion = regret_inclusion(gains * pool.kept, n_queries)
        return fixed_size_sample(pool.inclusion, random_state)


def _first_gains(pool, gains):
    """Return the gains of students that were trained on the labeled rows alone."""
    if pool.error_curve.train_committee is None:
        return gains  # those of the first round, whose student is one
    return pool.map_rows(partial(_mean_gain, pool.error_curve.train_committee()))


def _mean_gain(committee, X):
    return _gain(committee.predict_proba(X))


def _gain(proba):
    # A sum of float32 probabilities may exceed 1 by rounding.
    return np.maximum(margin_gain(proba), 0.0)

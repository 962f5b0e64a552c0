"""Correct the teacher's labels by Bayes' rule and students of the true labels."""

from numbers import Real
from typing import Any

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, log_expit, logit, softmax

from skadistill._statistics.folds import deal_folds
from skadistill._utils.compat import Interval, StrOptions
from skadistill.objectives._base import Objective
from skadistill.objectives._corrected import rank_weights

__all__ = ["PosteriorTargets", "label_posterior"]

# Students give no class less than this share of its frequency, so that no answer of
# theirs is final.
FLOOR = 0.01
# Checks that the prior of a row of the confusion matrix is worth.
PRIOR_CHECKS = 5
# Smallest probability of a student that is told from others, and powers that make
# its predictions less or more certain.
MIN_PROBA, POWERS = 1e-3, 2.0 ** np.arange(-1, 2.5, 0.5)
# Folds of all rows, and of the given ones for the students that learn from them alone.
N_FOLDS, N_GIVEN_FOLDS = 3, 5


class PosteriorTargets(Objective):
    r"""Correct the teacher's labels by Bayes' rule.

    The errors of a language model, or of any model, can be learned: students that learn
    from its answers repeat most of them, and cannot tell which answers are wrong.
    Students that learn from the given labels alone can. For a row whose most likely
    class of the teacher is :math:`c` the new label is

    .. math:: q_y \propto e_y(x) \, \frac{s_y(x)}{\bar s_y},

    where :math:`\bar s` is the mean of :math:`s` over the rows that the teacher
    labeled, and

    - :math:`e_y(x)` is the probability that the truth is :math:`y` if the teacher
      says :math:`c`: a row of its confusion matrix [1]_ on the checked rows, shrunk
      toward symmetric errors by a prior worth five checks. If its probabilities are
      soft, the diagonal depends on the largest one through a logistic regression, and
      the other classes also on their ranks in the answer;
    - :math:`s_y(x) \propto A_y(x)^{g_1} L_y(x)^{g_2}` pools the predictions of
      students of all labels (:math:`A`, out of fold) and of the given labels alone
      (:math:`L`). The weights :math:`g \ge 0` maximize the likelihood of the given
      labels, with a ridge toward 1/2.

    Students of few labels predict common classes too often. The division by
    :math:`\bar s`, which takes the place of the class frequencies in Bayes' rule,
    removes this [2]_: the students say in which rows a class is more likely than
    elsewhere, and the teacher and its confusion matrix say how common it is.

    Given labels do not change, and rows move from the teacher's label to :math:`q` by
    a share `strength`.

    Parameters
    ----------
    strength : "auto" or float, default="auto"
        Share of the correction that is made, in [0, 1]. "auto": let students decide.
        In each of three folds, students that learn :math:`q` from the other folds,
        where :math:`q` was computed without any label of this fold, and students that
        learn the teacher's labels predict the given rows. With :math:`d_i` by how
        much the Brier score of row :math:`i` is better with :math:`q`, the strength
        is :math:`z = \sum_i d_i / \sqrt{\sum_i d_i^2}`, clipped to [0, 1]: nothing
        is changed without a gain, and a gain of one standard error takes all of the
        correction. Both kinds of students get the temperature that suits them best,
        since soft labels make students less certain, but not worse.
    base : Objective or None, default=None
        The objective whose lesson is changed. None: the plain targets.

    Notes
    -----
    It changes only targets, so that any student can learn them, and only at the end of
    a fit (``only_at_end``): the rounds before learn the plain targets, so that the rows
    asked for are the same. The work is that of about seven trainings on two thirds of
    the rows with ``strength="auto"``, and three otherwise.

    Nothing is changed if the teacher is right on all checked rows, if it was fitted on
    the given rows, or if no row is given: answers alone show where a teacher
    contradicts itself, but not where it is wrong.

    When not to use it: if the given labels are too few to train any student, the
    correction is that of the confusion matrix.

    References
    ----------
    .. [1] Dawid, Skene. "Maximum Likelihood Estimation of Observer Error-Rates Using
       the EM Algorithm." Journal of the Royal Statistical Society C 28 (1979).
    .. [2] Saerens, Latinne, Decaestecker. "Adjusting the Outputs of a Classifier to New
       a Priori Probabilities." Neural Computation 14 (2002).

    Examples
    --------
    The teacher calls half of the second class "first", and a student that has seen the
    given rows knows better:

    >>> import numpy as np
    >>> from skadistill.objectives import Evidence, PosteriorTargets, TeacherChecks
    >>> truth = np.array([0, 1] * 30)
    >>> teacher = np.eye(2)[np.where(np.arange(60) % 4 == 3, 0, truth)]
    >>> given = np.arange(60) < 40
    >>> evidence = Evidence(
    ...     np.where(given[:, None], np.eye(2)[truth], teacher),
    ...     given,
    ...     TeacherChecks(np.arange(40), teacher[:40]),
    ...     fit_and_predict=lambda train, targets, test: np.eye(2)[truth[test]],
    ... )
    >>> lesson = PosteriorTargets(strength=1.0).lesson(evidence)
    >>> bool((lesson.targets.argmax(axis=1) == truth).all())
    True
    """

    uses_teacher_checks: bool = True
    uses_fit_and_predict: bool = True
    only_at_end: bool = True

    _parameter_constraints: dict = {
        "strength": [StrOptions({"auto"}), Interval(Real, 0, 1, closed="both")],
        "base": [Objective, None],
    }

    def __init__(
        self, strength: str | float = "auto", *, base: Objective | None = None
    ) -> None:
        self.strength = strength
        self.base = base

    def transform(self, lesson: Any, evidence: Any) -> Any:
        """Correct the labels of the rows that the teacher labeled.

        See :meth:`skadistill.objectives.Objective.transform`.
        """
        if evidence.given.all() or not evidence.teacher_checks.independent:
            return lesson
        if evidence.checked_right.all():
            return lesson
        problem = _Problem(lesson.targets, evidence)
        strength = self.strength
        if strength == "auto":
            strength = _strength(*problem.rehearsal())
        if strength == 0:
            return lesson
        corrected = problem.corrected()
        # In this order given labels stay as they are to the last bit.
        change = np.where(evidence.given[:, None], 0.0, corrected - lesson.targets)
        return lesson.replace(targets=lesson.targets + strength * change)


def _strength(corrected, plain, truth):
    """Return the share of the correction that two predictions of rows justify."""
    gain = _brier(plain, truth) - _brier(corrected, truth)
    error = np.sqrt(np.sum(gain**2))
    return float(np.clip(gain.sum() / error, 0, 1)) if error else 0.0


def _brier(proba, truth):
    """Return the Brier score of each row at the temperature of the best mean."""
    logs = np.log(np.maximum(proba, MIN_PROBA))
    scores = []
    for power in POWERS:
        tempered = softmax(power * logs, axis=1)
        tempered[np.arange(len(truth)), truth] -= 1
        scores.append(np.sum(tempered**2, axis=1))
    return min(scores, key=np.mean)


class _Problem:
    """The rows of a lesson, their folds, and students of some of them."""

    def __init__(self, targets, evidence):
        self.targets, self.given = targets, evidence.given
        self.checks, self.truth = evidence.teacher_checks, evidence.checked_truth
        self.fit_and_predict = evidence.fit_and_predict
        self.n_classes = targets.shape[1]
        rng = np.random.default_rng(evidence.random_state)
        groups = targets.argmax(axis=1) + self.n_classes * self.given
        self.fold = deal_folds(groups, N_FOLDS, rng)
        alone = deal_folds(targets[self.given].argmax(axis=1), N_GIVEN_FOLDS, rng)
        self.given_fold = np.full(len(targets), -1)
        self.given_fold[self.given] = alone
        #: Of all labels, out of fold; its students also learned the plain targets.
        self.of_all = np.empty(targets.shape)
        for k in range(N_FOLDS):
            test = np.flatnonzero(self.fold == k)
            self.of_all[test] = self._predict(np.flatnonzero(self.fold != k), test)

    def corrected(self):
        """Return the corrected labels of all rows."""
        everywhere = np.arange(len(self.targets))
        of_given = self._of_given(everywhere, self.given_fold)
        return self._posterior(everywhere, self.of_all, of_given)

    def rehearsal(self):
        """Predict given rows by students of corrected and of plain labels; the truth.

        Nothing that decides the labels a student learns from has seen the labels of the
        fold that it predicts: else they would leak through the corrections of
        neighboring rows.
        """
        of_one = np.empty((N_FOLDS, *self.targets.shape))
        for k in range(N_FOLDS):
            rows = np.flatnonzero(self.fold != k)
            of_one[k, rows] = self._predict(np.flatnonzero(self.fold == k), rows)
        given, proba = np.flatnonzero(self.given), self.of_all.copy()
        for j in range(N_FOLDS):
            rows, test = np.flatnonzero(self.fold != j), given[self.fold[given] == j]
            if not len(test) or not len(rows):
                continue
            # The one fold that is neither j nor that of the row.
            of_all = of_one[N_FOLDS - j - self.fold[rows], rows]
            of_given = self._of_given(rows, self.fold)
            corrected = self._posterior(rows, of_all, of_given)
            proba[test] = self.fit_and_predict(rows, corrected, test)
        truth = self.targets[given].argmax(axis=1)
        return proba[given], self.of_all[given], truth

    def _predict(self, train, test):
        """Let a student of the labels of some rows predict others."""
        if not len(train) or not len(test):
            return np.full((len(test), self.n_classes), 1 / self.n_classes)
        return self.fit_and_predict(train, self.targets[train], test)

    def _of_given(self, rows, fold):
        """Predict rows by students of the given ones; given rows are cross-fitted."""
        proba = np.empty((len(rows), self.n_classes))
        given = self.given[rows]
        proba[~given] = self._predict(rows[given], rows[~given])
        for k in np.unique(fold[rows[given]]):
            here = fold[rows] == k
            proba[given & here] = self._predict(rows[given & ~here], rows[given & here])
        return proba

    def _posterior(self, rows, of_all, of_given):
        """Return corrected labels of some rows, by the labels and checks of these."""
        position = np.full(len(self.targets), -1)
        position[rows] = np.arange(len(rows))
        among = position[self.checks.rows] >= 0
        return label_posterior(
            self.targets[rows],
            self.given[rows],
            self.checks.proba[among],
            self.truth[among],
            of_all,
            of_given,
        )


def label_posterior(targets, given, checked_proba, checked_truth, of_all, of_given):
    """Return the probability of each class in each row; see `PosteriorTargets`.

    All arrays but `given` and `checked_truth` have one column per class; given rows
    keep their targets.
    """
    if given.all():
        return targets
    n_classes = targets.shape[1]
    truth = targets[given].argmax(axis=1)
    counts = np.bincount(truth, minlength=n_classes)
    frequency = (counts + 1) / (len(truth) + n_classes)
    opinion = _pooled(of_all, of_given, given, truth)
    # Shrunk toward the frequencies: an opinion that says nothing changes nothing.
    opinion = (1 - FLOOR) * opinion + FLOOR * frequency
    errors = _error_probabilities(targets, checked_proba, checked_truth, frequency)
    posterior = errors * opinion / opinion[~given].mean(axis=0)
    posterior /= posterior.sum(axis=1, keepdims=True)
    posterior[given] = targets[given]
    return posterior


def _pooled(of_all, of_given, given, truth):
    """Weigh two opinions by how likely they make the given labels."""
    logs = np.log(np.maximum(np.stack([of_all, of_given]), MIN_PROBA))
    own = logs[:, given]
    picked = own[:, np.arange(len(truth)), truth]

    def loss(weights):
        logits = np.tensordot(weights, own, 1)
        top = logits.max(axis=1, keepdims=True)
        proba = np.exp(logits - top)
        norm = proba.sum(axis=1, keepdims=True)
        proba /= norm
        value = np.sum(np.log(norm[:, 0]) + top[:, 0]) - weights @ picked.sum(axis=1)
        gradient = (proba * own).sum(axis=(1, 2)) - picked.sum(axis=1)
        away = weights - 0.5
        return value + 2 * away @ away, gradient + 4 * away

    found = minimize(
        loss, [0.5, 0.5], jac=True, method="L-BFGS-B", bounds=[(0, None)] * 2
    )
    logits = np.tensordot(found.x, logs, 1)
    proba = np.exp(logits - logits.max(axis=1, keepdims=True))
    return proba / proba.sum(axis=1, keepdims=True)


def _error_probabilities(targets, checked_proba, checked_truth, frequency):
    """Return the probability of each true class, given what the teacher says."""
    n_classes, said = len(frequency), checked_proba.argmax(axis=1)
    right = said == checked_truth
    accuracy = (np.count_nonzero(right) + 1) / (len(right) + 2)
    prior = (1 - accuracy) * frequency / (1 - frequency)[:, None]
    np.fill_diagonal(prior, accuracy)
    confusion = np.zeros((n_classes, n_classes))
    np.add.at(confusion, (said, checked_truth), 1)
    n_said = confusion.sum(axis=1, keepdims=True)
    confusion = (confusion + PRIOR_CHECKS * prior) / (n_said + PRIOR_CHECKS)
    first = targets.argmax(axis=1)
    trust = _trust(targets, checked_proba, right, np.diag(confusion)[first], accuracy)
    others = confusion[first] * rank_weights(checked_proba, checked_truth, targets)
    rows = np.arange(len(targets))
    others[rows, first] = 0.0
    others *= ((1 - trust) / others.sum(axis=1))[:, None]
    others[rows, first] = trust
    return others


def _trust(targets, checked_proba, right, by_class, accuracy):
    """Return how likely the first class is right, by class and largest probability."""
    checked = logit(np.clip(checked_proba.max(axis=1), 1e-6, 1 - 1e-6))
    center, spread = checked.mean(), checked.std()
    if spread < 1e-6:
        return by_class
    sign = np.where(right, 1.0, -1.0)
    z = np.clip((checked - center) / spread, -3, 3)

    def loss(weights):
        margin = sign * (weights[0] + weights[1] * z)
        pull = -sign * expit(-margin)
        value = -log_expit(margin).sum() + 0.5 * weights[1] ** 2
        return value, np.array([pull.sum(), pull @ z + weights[1]])

    intercept, slope = minimize(
        loss, [logit(accuracy), 0.0], jac=True, method="L-BFGS-B"
    ).x
    own = logit(np.clip(targets.max(axis=1), 1e-6, 1 - 1e-6))
    z = np.clip((own - center) / spread, -3, 3)
    return expit(logit(by_class) - logit(accuracy) + intercept + slope * z)

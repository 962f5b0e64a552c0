"""What a fitted distiller says of itself: doubtful labels, and a summary in HTML."""

import html
from functools import partial
from numbers import Integral
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from skadistill._fit.inputs import check_container, check_rows
from skadistill._fitted.compare import compare
from skadistill._rows._keys import row_keys
from skadistill._rows._table import RowTable
from skadistill.exceptions import TeacherError
from skadistill.objectives._base import Evidence, TeacherChecks
from skadistill.objectives._corrected import probability_right
from skadistill.soft_labels._out_of_fold import predict_out_of_fold
from skadistill.teachers._as_teacher import as_teacher

__all__ = ["FitReports"]


class FitReports(BaseEstimator):
    """Report on a fit; a mixin that reads fitted attributes."""

    teacher: Any
    teacher_: Any
    ledger_: Any
    student_: Any
    classes_: np.ndarray
    labeled_round_: np.ndarray
    transduction_: np.ndarray

    def compare(
        self,
        X_test: Any,
        y_test: ArrayLike | None = None,
        *,
        ask_teacher: bool = False,
        cascade: Any = None,
    ) -> Any:
        """Compare the student with its teacher and with doing without one.

        All models predict the same test rows: the teacher; the student; the same
        student, and the best of the default ones, trained on the labeled rows alone;
        and a cascade. Test rows that the student was trained on are left out.

        Parameters
        ----------
        X_test : like `X` in `fit`
            Rows that fit has not seen.
        y_test : array-like of shape (n_test,) or None, default=None
            True labels; rows with the marker are left out. None: the models are
            compared by their agreement with the teacher, on rows whose answers are
            known.
        ask_teacher : bool, default=False
            Whether answers about test rows that the ledger does not hold are paid
            for, within the limits of the ledger. A teacher that `fit` fitted is asked
            in any case.
        cascade : Cascade or None, default=None
            A fitted :class:`skadistill.deploy.Cascade` to compare as well.

        Returns
        -------
        comparison : Comparison
            Prints as a table with a conclusion in words, and shows as one in
            notebooks. ``records`` is the table as a tuple of dicts, ``to_frame()``
            returns it as a DataFrame, ``conclusion`` and ``notes`` are texts.
            Accuracies have 95 % intervals; what is said of differences is beyond
            chance, by intervals of paired differences.

        Raises
        ------
        ValueError
            If no test row can be used.
        TeacherError
            If the teacher fails; answers paid for are in the ledger.

        Notes
        -----
        The classifiers on the labeled rows alone are trained in this call. A distiller
        that was loaded from a file holds no labeled rows and leaves them out.
        Answers of the teacher without a label count as wrong. Seconds and costs of a
        teacher that was paid for are the means in the ledger.
        """
        check_is_fitted(self, "student_")
        self._space.refuse("compare")
        return compare(self, X_test, y_test, ask_teacher, cascade)

    def report(
        self,
        path: str | PathLike[str],
        *,
        X: Any = None,
        X_unlabeled: Any = None,
        comparison: Any = None,
        certificate: Any = None,
        n_suspects: int = 50,
    ) -> None:
        """Write a report of the fit: one HTML file that loads nothing.

        It tells what was planned and paid, draws the learning curve with its forecast
        in rows and money, and shows the balance of the classes bought, the teacher's
        mistakes, what the fit chose and why, labels to look at, versions and seeds.
        Nothing is paid.

        Parameters
        ----------
        path : str or path-like
            File to write; one that exists is replaced.
        X, X_unlabeled : as in `fit`, or None, default=None
            The rows of the fit in the same order; the `suspects` among them are shown.
            They train students, and their texts or values are in the file. None: none.
        comparison : Comparison or None, default=None
            What :meth:`compare` returned; with it the report has accuracies.
        certificate : Certificate or None, default=None
            What :func:`skadistill.deploy.certify_agreement` or
            :func:`~skadistill.deploy.certify_accuracy` returned.
        n_suspects : int, default=50
            Suspects to show.

        See Also
        --------
        skadistill.export.model_card : The same facts, to publish with a model.
        """
        from skadistill._fitted.report import write_report

        check_is_fitted(self, "student_")
        write_report(self, path, X, X_unlabeled, comparison, certificate, n_suspects)

    def suspects(
        self, X: Any, *, X_unlabeled: Any = None, n_suspects: int | None = None
    ) -> Any:
        """List the paid labels that are most probably wrong, for people to look at.

        Students trained on other rows give a second opinion on each paid label; how far
        it counts is estimated from the teacher checks, as
        :class:`skadistill.objectives.Corrected` does. Students are trained for this,
        and nothing is paid. A label that a person corrects goes into `y` of the next
        fit; with the same ledger that fit pays for no label twice.

        Parameters
        ----------
        X, X_unlabeled : as in `fit`
            The same rows in the same order.
        n_suspects : int or None, default=None
            Rows to list. None: all paid rows.

        Returns
        -------
        suspects : DataFrame, or dict of ndarray without pandas
            The most suspect first. ``row``: position in `X`, then `X_unlabeled`;
            ``round`` in which it was labeled; ``label`` and ``label_proba`` of the
            teacher; ``suggestion`` and ``suggestion_proba``, the class that students
            find most likely; ``probability_wrong``.

        Raises
        ------
        ValueError
            If these are not the rows of the fit, or `n_suspects` is not a number of
            rows.
        TeacherError
            If the fit had no teacher, whose identity is needed to read the ledger.

        Notes
        -----
        Without checks of a teacher that was not fitted on the labeled rows, the
        probability is the one that students deny the label.
        """
        check_is_fitted(self, "student_")
        self._space.refuse("suspects")
        is_count = isinstance(n_suspects, Integral) and not isinstance(n_suspects, bool)
        if n_suspects is not None and not (is_count and n_suspects >= 0):
            raise ValueError(
                f"n_suspects is {n_suspects!r}; pass an integer of at least 0, or None."
            )
        X = check_container(self, X, reset=False)
        if X_unlabeled is not None:
            X, X_unlabeled = check_rows(self, X, X_unlabeled)
        table = RowTable(X, X_unlabeled)
        if table.n_samples != len(self.labeled_round_):
            raise ValueError(
                f"X and X_unlabeled hold {table.n_samples} rows, and the fit had "
                f"{len(self.labeled_round_)}; pass the rows of the fit."
            )
        rows = np.flatnonzero(self.labeled_round_ >= 0)
        paid = np.flatnonzero(self.labeled_round_[rows] > 0)
        answers = opinion = np.empty((len(rows), len(self.classes_)))
        trust = np.empty(len(rows))
        if paid.size:
            evidence, answers = self._evidence(rows, table.take(rows))
            trust, opinion = probability_right(evidence)
        paid = paid[np.argsort(trust[paid], kind="stable")][:n_suspects]
        label, suggestion = answers[paid].argmax(axis=1), opinion[paid].argmax(axis=1)
        columns = {
            "row": rows[paid],
            "round": self.labeled_round_[rows[paid]],
            "label": self.classes_[label],
            "label_proba": answers[paid, label],
            "suggestion": self.classes_[suggestion],
            "suggestion_proba": opinion[paid, suggestion],
            "probability_wrong": 1 - trust[paid],
        }
        try:
            import pandas
        except ImportError:
            return columns
        return pandas.DataFrame(columns)

    def _checked_answers(self):
        """Return the known answers about given rows, and positions of their labels.

        None of a teacher that was fitted on these rows, or of several labels per row.
        """
        given = getattr(self, "_given", None)
        columns = self._space.columns
        if (
            given is None
            or self.teacher_ is None
            or self._space.multilabel
            or not as_teacher(self.teacher).is_fitted
        ):
            return np.empty((0, len(columns))), np.empty(0, dtype=np.intp)
        known, proba = self.ledger_.lookup(
            row_keys(given.X), as_teacher(self.teacher_).identity, columns
        )
        known &= ~np.isnan(proba).any(axis=1)
        return proba[known], given.targets[known].argmax(axis=1)

    def _evidence(self, rows, X):
        """Collect labels, checks and second opinions for some rows, from the ledger."""
        if self.teacher_ is None:
            raise TeacherError(
                f"this {type(self).__name__} has no teacher, whose labels could be "
                "read from the ledger; assign it to teacher_."
            )
        teacher = as_teacher(self.teacher_)
        known, answers = self.ledger_.lookup(
            row_keys(X), teacher.identity, self.classes_
        )
        known &= ~np.isnan(answers).any(axis=1)
        given = self.labeled_round_[rows] == 0
        codes = np.searchsorted(self.classes_, self.transduction_[rows[given]])
        targets = np.zeros((len(rows), len(self.classes_)))
        targets[given] = np.eye(len(self.classes_))[codes]
        targets[~given] = np.where(known[~given, None], answers[~given], 0)
        lost = np.flatnonzero(~given & ~known)
        if lost.size:
            raise TeacherError(
                f"the ledger holds no label for {lost.size} of the paid rows; pass the "
                "rows of the fit, unchanged, and the same teacher and ledger."
            )
        checked = np.flatnonzero(given & known)
        checks = None
        if checked.size and as_teacher(self.teacher).is_fitted:
            checks = TeacherChecks(checked, answers[checked])
        out_of_fold = partial(_predict_out_of_fold, self, X, given)
        evidence = Evidence(
            targets,
            given,
            teacher_checks=checks,
            out_of_fold=out_of_fold,
            random_state=0,
        )
        return evidence, targets

    def _repr_html_inner(self):
        return super()._repr_html_inner() + summary(self)

    def _repr_mimebundle_(self, **kwargs):
        bundle = super()._repr_mimebundle_(**kwargs)
        if "text/html" in bundle:
            bundle["text/html"] += summary(self)
        return bundle


def _predict_out_of_fold(distiller, X, given, targets, n_folds, seed):
    """Let students like the distiller's judge rows that they were not trained on."""
    return predict_out_of_fold(
        distiller.student_,
        X,
        targets,
        classes=distiller.classes_,
        given=given,
        n_folds=n_folds,
        seed=seed,
    )


def summary(distiller):
    """Write what a fit did as a table in HTML; empty before it."""
    if not hasattr(distiller, "history_"):
        return ""
    facts = {"Teacher": "none"}
    if distiller.teacher_ is not None:
        name = as_teacher(distiller.teacher_).display_name
        facts["Teacher"] = name.removeprefix("the teacher ")
    bill = f"{distiller.n_paid_} rows paid, {distiller.n_free_} free"
    if distiller.cost_ is not None:
        bill += f", cost {distiller.cost_:g}"
    facts["Bill"] = bill
    judged = [r for r in distiller.history_ if r["pool_agreement"] is not None]
    if judged:
        last = judged[-1]
        low, high = last["pool_agreement_low"], last["pool_agreement_high"]
        facts["Agreement with the teacher"] = (
            f"{last['pool_agreement']:.3f} ({low:.3f} to {high:.3f}) on the pool, "
            f"student of round {last['round']} of {distiller.n_rounds_}"
        )
    if distiller.student_scores_:
        kind, *others = (f"{k} ({v:.3f})" for k, v in distiller.student_scores_.items())
        compared = f"; next {others[0]} of {len(others)} others" if others else ""
        facts["Student (Brier score)"] = kind + compared
    facts["Ended because"] = distiller.termination_condition_
    if distiller.student_round_ != distiller.n_rounds_:
        facts["Student"] = "that of round 0: the teacher made it worse"
    rows = "".join(
        f"<tr><th style='text-align:left'>{html.escape(name)}</th>"
        f"<td style='text-align:left'>{html.escape(text)}</td></tr>"
        for name, text in facts.items()
    )
    return f"<table>{rows}</table>"

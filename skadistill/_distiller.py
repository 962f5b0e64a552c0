"""ActiveDistiller: train, choose rows, buy labels, train again, stop."""

import logging
from collections.abc import Callable
from functools import partial
from numbers import Integral, Real
from os import PathLike
from typing import Any, Self

from numpy.typing import ArrayLike, NDArray
from sklearn.base import MetaEstimatorMixin, clone
from sklearn.utils.metadata_routing import (
    MetadataRouter,
    MethodMapping,
    process_routing,
)

from skadistill._fit.ask import ask
from skadistill._fit.choose import choose, look_at_pool
from skadistill._fit.cold_start import (
    label_space,
    require_labels,
    warn_of_signs,
)
from skadistill._fit.components import named_teacher, resolve
from skadistill._fit.inputs import (
    check_container,
    check_inputs,
    extend_metadata,
    make_scorer,
    refuse_unrouted,
)
from skadistill._fit.keep_better import keep_better_student
from skadistill._fit.known import open_ledger
from skadistill._fit.outcome import (
    closing_step,
    fitted_attributes,
    labels_kept,
    nothing_paid,
)
from skadistill._fit.plan import Plan, make_plan, shares_of_fit, split_rounds
from skadistill._fit.rebuild import judge_by_known, known_rounds
from skadistill._fit.record import RoundRecord
from skadistill._fit.state import (
    FitState,
    Labels,
    Seeds,
    Settings,
    Students,
    stop_reason,
)
from skadistill._fit.teacher import prepare_teacher
from skadistill._fit.train import train, train_at_end, tune_thresholds
from skadistill._fitted.cloning import SharesLedger
from skadistill._fitted.compare import GivenRows
from skadistill._fitted.predict import StudentPredictions
from skadistill._fitted.reports import FitReports
from skadistill._statistics.checks import TeacherChecks
from skadistill._statistics.forecast import Forecast
from skadistill._utils.compat import (
    CallbackSupportMixin,
    HasMethods,
    Interval,
    RealNotInt,
    RoundTasks,
    StrOptions,
    fit_context,
    with_callbacks,
)
from skadistill._utils.display import HidesContents
from skadistill._utils.interrupts import explained_interrupts
from skadistill._utils.label_space import names_of
from skadistill._utils.progress import announce, with_progress
from skadistill._utils.protocols import (
    AnyTeacher,
    FittedOrNot,
    LabelStore,
    Strategy,
    TrainingObjective,
)
from skadistill.checking._policy import CheckPolicy, as_policy, plan_checks
from skadistill.exceptions import JobPendingError
from skadistill.labeling._job_buyer import answers_later
from skadistill.soft_labels._as_student import as_student
from skadistill.student._checks import student_proba

__all__ = ["ActiveDistiller"]

logger = logging.getLogger(__name__)


class ActiveDistiller(
    FitReports,
    SharesLedger,
    HidesContents,
    CallbackSupportMixin,
    MetaEstimatorMixin,
    StudentPredictions,
):
    """Distill a costly teacher into a small student under a query budget.

    The student is first trained on the labeled rows. Then, round by round, a query
    strategy chooses unlabeled rows from the student's predictions, the teacher is
    asked for soft labels of these rows, and the student is trained again on all
    labels. Predictions come from the student alone.

    Parameters
    ----------
    teacher : estimator or callable
        The model to distill. An unfitted classifier is fitted on the labeled rows; a
        fitted one is used as it is and never copied, not even by
        :func:`sklearn.base.clone`. A callable takes rows and returns probabilities of
        shape (n_samples, n_classes), columns in the order of `classes`, or sorted, or
        hard labels of shape (n_samples,). See :func:`skadistill.teachers.as_teacher`.
        One that the ledger does not know is first asked about two rows.
    student : classifier or None, default=None
        The model to train: any scikit-learn classifier or pipeline with
        ``predict_proba`` whose ``fit`` takes ``sample_weight``. It is cloned, and
        trained from scratch in each round unless it has ``warm_start=True``. None: the
        best of a few kinds of scikit-learn pipelines that suit the rows, compared out
        of fold on the labels known, first as soon as 30 rows have one and again at the
        end: for tables logistic regression on radial-basis features or on the columns,
        a forest and, with few classes, boosting; for texts logistic regression on
        words, or on words and letters. Columns of a DataFrame may hold numbers,
        categories, texts and missing values. See ``student_scores_``.
    budget : int, float or None, default=0.2
        Rows that this fit may have the teacher label: a number, a share of the pool, or
        None for the whole pool with the teacher checks on top. Teacher checks count
        against it, and so do rows whose label the ledger holds, at no cost. A fit with
        a larger budget starts with the rows of a smaller one. 0: the student is trained
        on the labeled rows alone.
    query_strategy : str, callable or object, default="robust"
        How rows are chosen: "robust" (rows the student is unsure about, unless checks
        on labeled rows show that the teacher gets such rows wrong), "rad" (the sampler
        of Robust Active Distillation [1]_), "margin", "entropy", "least_confident",
        "random", a function ``f(proba) -> scores``, or a
        :class:`skadistill.query.QueryStrategy`.
    objective : str or object, default="auto"
        What the student must match. "auto": the teacher's soft labels, or corrections
        of them ("posterior") if teacher checks show that it is often wrong (see the
        guide); "soft", "posterior", "corrected", "slam", "debiased", "lelp", or a
        :class:`skadistill.objectives.Objective`. "soft" is the cross-entropy, the
        next four correct for the teacher's errors, "lelp" needs a teacher with
        embeddings.
    ledger : object, str, path-like or None, default=None
        Remembers every paid label, and may limit what is spent. A path opens a
        :class:`skadistill.ledger.LabelLedger`, which survives the process. None: a
        new :class:`skadistill.ledger.MemoryLedger` for each fit, kept in ``ledger_``;
        all clones of one distiller, as in a search, share one.
    classes : array-like of shape (n_classes,) or None, default=None
        The classes to learn, in the order of the columns of a function that returns
        probabilities. None: those of the labeled rows and, if the teacher names its
        own, those. With several labels per row, their names, in the order of the
        columns of `y`; None: those of a DataFrame. If one of them has no labeled row,
        the first batch is spread over the pool (k-means++) instead of chosen by
        `query_strategy`.
    random_state : int, RandomState or None, default=None
        Seeds the choice of rows, cross-fitting and, unless it has a ``random_state``,
        the student.

    Other Parameters
    ----------------
    query_size : "auto" or int, default="auto"
        Rows to ask for in each round. "auto": half as many rows as have a label, at
        least 10.
    uniform_share : float, default=0.25
        Share of each round that is a uniform sample of the pool instead of chosen by
        the strategy. These rows show, without further labels, how often the student
        agrees with the teacher: see ``pool_agreement`` in ``history_``. A share of 0.25
        costs about 0.3 accuracy points. 0: no such estimate.
    teacher_checks : "auto", int, float or CheckPolicy, default="auto"
        The most labeled rows that a fitted teacher or a callable is asked about to
        check it, if strategy or objective need that: a number, or a share of the
        budget. "auto": a fifth of the budget, at most 200; fewer if fewer tell enough.
        0: none. A teacher that is fitted here is cross-fitted instead, which costs
        nothing. A :class:`skadistill.checking.CheckPolicy` can also name the error rate
        if you know it, and say what happens if the teacher is no better than the
        student.
    stopping_criterion : object or None, default=None
        Ends the fit before the budget is spent, for example
        :class:`skadistill.stopping.StablePredictions`.
    use_known : "auto" or bool, default="auto"
        Whether all labels that the ledger holds for rows of this pool train the
        student from the first round. False: such a row waits until it is chosen, so
        that which rows are asked for does not depend on what was paid before. "auto":
        False in clones, so that the candidates of a search are compared on the labels
        they choose themselves; True otherwise.
    unlabeled_marker : int, str or None, default=-1
        The value of ``y`` that marks a row without label. With -1, missing values
        (NaN, None, pandas.NA, null) mark one as well. None: every row of ``X`` has a
        label and the pool is ``X_unlabeled``.
    n_jobs : int or None, default=None
        Blocks of the pool that are scored at once, through joblib; None means 1
        unless in a :obj:`joblib.parallel_config` context, which can also name a
        cluster. Results do not depend on it.
    verbose : "auto" or int, default="auto"
        "auto" shows the rows and money paid so far, in terminals and notebooks only.
        0: nothing. 1: one line per round, which always goes to :mod:`logging`.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Classes learned, sorted; or the labels, in the order of the columns of `y`.
    n_features_in_ : int
        Features seen in `fit`; missing for texts and lists of dicts.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Their names, if all are strings.
    student_ : estimator
        The fitted student: what you deploy.
    student_scores_ : dict
        If `student` is None, the kinds of students that were compared last, the best
        one first, with their out-of-fold Brier scores (mean squared error of the
        probabilities, summed over classes; lower is better). Else empty.
    teacher_ : object
        The teacher that was asked; None if it was not needed. For a classifier that was
        fitted here, a teacher whose ``estimator_`` is the fitted classifier.
    objective_ : Objective
        What the student matched in the end.
    ledger_ : object
        The ledger with the paid labels, also after a failed fit.
    history_ : list of dict
        One record per round, with the same keys in each; round 0 is the student trained
        on the labeled rows. Counts: ``round``, ``n_labeled`` (rows trained on),
        ``n_pool`` (rows left), ``n_asked``, ``n_paid``, ``n_free`` (from the ledger),
        ``n_no_label`` (answered without a label), ``n_calls``, ``cost``. From the
        strategy: ``gain_mean``, ``gain_max``, ``water_level``, ``n_mistakes``,
        ``n_support``, and keys of custom ones. Scores: ``teacher_error``,
        ``student_agreement`` (agreement of the student with the teacher on the new
        rows, before it was trained on them), ``student_score`` (accuracy on `X_val`),
        ``student_stability`` (share of pool rows whose predicted class stayed, if
        `stopping_criterion` compares them), ``n_val`` (rows of `X_val`). This student
        on the whole pool, from the rows of the next round and None in the last:
        ``pool_agreement`` (with the teacher), its 95 % interval from
        ``pool_agreement_low`` to ``pool_agreement_high``, ``n_effective`` (rows of a
        simple random sample as good as those used), and, if the teacher was checked on
        random rows, ``pool_accuracy_low`` and ``pool_accuracy_high``. Seconds:
        ``seconds_teacher``, ``seconds_student`` (training), ``seconds_predict``
        (scoring the pool), ``seconds_query``, ``seconds_total``.
    transduction_ : ndarray of shape (n_samples,)
        Labels used in the last training, for the rows of `X`, then those of
        `X_unlabeled`: given ones, the teacher's most likely class, the marker (or -1)
        for rows without a label.
    labeled_round_ : ndarray of int of shape (n_samples,)
        0: label given, r: labeled in round r, -1: no label.
    n_queries_ : int
        Rows of the pool asked for, free ones included.
    n_paid_ : int
        Rows newly paid for, in the pool and for teacher checks.
    n_free_ : int
        Rows whose answer the ledger held, or that repeat another row.
    n_no_label_ : int
        Rows of the pool that the teacher answered without a label.
    n_teacher_checks_ : int
        Labeled rows newly paid for to check the teacher; part of `n_paid_`.
    cost_ : float or None
        Money that this fit paid, in the unit of the teacher's prices; None if the
        teacher has none.
    teacher_error_ : float or None
        Estimated or given error rate of the teacher; None if it was not needed.
    teacher_checks_ : TeacherChecks or None
        The checks of the teacher, with an ``interval()`` of its error rate, see
        :class:`skadistill.checking.TeacherChecks`, without the answers; None if it was
        not checked.
    forecast_ : Forecast or None
        What more labels would bring: ``after(n_more)`` returns the score with an 80 %
        band. None with fewer than two scored rounds.
    n_rounds_ : int
        Rounds after round 0.
    student_round_ : int
        Round of ``student_``: the last, or 0 if a weak teacher made it worse.
    termination_condition_ : str
        Why the fit ended: "no_pool" (nothing unlabeled), "budget" (spent),
        "pool_empty" (every row asked), "stable_predictions", "target_agreement",
        "target_accuracy" or "gain_per_cost" (`stopping_criterion`), "no_label" (more
        than a tenth of the budget went to rows that the teacher gave no label; up to
        then other rows replace them), "ledger_budget" (the ledger's ``max_rows`` or
        ``max_cost`` is reached), "callback" (one asked to stop), "waiting" (jobs of a
        `BatchTeacher` have not ended; fit again to go on).

    See Also
    --------
    sklearn.semi_supervised.SelfTrainingClassifier : Learns from unlabeled rows
        without a teacher.
    skadistill.model_selection.PartiallyLabeledSplit : Cross-validation with
        unlabeled rows in ``X``.
    skadistill.export.to_onnx : Export the student as an ONNX graph.
    skadistill.export.model_card : Describe how the student was made.

    Notes
    -----
    Nothing is paid before the rows are checked, a first student is trained and, unless
    the pool is large and no checks are paid, has scored the whole pool.

    Under cross-validation either keep unlabeled rows out of ``X`` and pass them as
    ``X_unlabeled`` through metadata routing, or wrap the splitter in
    :class:`skadistill.model_selection.PartiallyLabeledSplit`. scikit-learn slices
    fit parameters that have as many rows as ``X``: an ``X_unlabeled`` of exactly
    that length would lose rows.

    References
    ----------
    .. [1] Baykal, Trinh, Iliopoulos, Menghani, Vee. "Robust Active Distillation."
       ICLR 2023, arXiv:2210.01213.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.ensemble import RandomForestClassifier
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skadistill import ActiveDistiller
    >>> X, y = load_iris(return_X_y=True)
    >>> y[40:] = y[40:] * (y[40:] == 0) - (y[40:] != 0)  # hide most labels
    >>> y[[60, 70, 80, 110, 120, 130]] = [1, 1, 1, 2, 2, 2]
    >>> distiller = ActiveDistiller(
    ...     RandomForestClassifier(random_state=0),
    ...     LogisticRegression(max_iter=1000),
    ...     budget=20, query_size=10, random_state=0,
    ... ).fit(X, y)
    >>> distiller.n_queries_, distiller.termination_condition_
    (20, 'budget')
    >>> distiller.predict(X[[0, 60, 125]])
    array([0, 1, 2])
    """

    classes_: NDArray[Any]
    n_features_in_: int
    feature_names_in_: NDArray[Any]
    student_: Any
    student_scores_: dict[str, Any]
    teacher_: Any
    objective_: Any
    ledger_: Any
    history_: list[dict[str, Any]]
    transduction_: NDArray[Any]
    labeled_round_: NDArray[Any]
    n_queries_: int
    n_paid_: int
    n_free_: int
    n_no_label_: int
    n_teacher_checks_: int
    cost_: float | None
    teacher_error_: float | None
    teacher_checks_: TeacherChecks | None
    forecast_: Forecast | None
    n_rounds_: int
    student_round_: int
    termination_condition_: str

    _parameter_constraints: dict = {
        # By `as_teacher`, which does not print what a client holds.
        "teacher": "no_validation",
        "student": [HasMethods(["fit"]), None],
        "query_strategy": [str, callable, HasMethods(["query"])],
        "budget": [
            Interval(Integral, 0, None, closed="left"),
            Interval(RealNotInt, 0, 1, closed="both"),
            None,
        ],
        "query_size": [
            StrOptions({"auto"}),
            Interval(Integral, 1, None, closed="left"),
        ],
        "uniform_share": [Interval(Real, 0, 1, closed="both")],
        "objective": [str, HasMethods(["lesson"])],
        "ledger": [
            HasMethods(["lookup", "record", "claim", "release"]),
            str,
            PathLike,
            None,
        ],
        "use_known": [StrOptions({"auto"}), "boolean"],
        "classes": ["array-like", None],
        "unlabeled_marker": [Integral, str, None],
        "teacher_checks": [
            StrOptions({"auto"}),
            Interval(Integral, 0, None, closed="left"),
            Interval(RealNotInt, 0, 1, closed="both"),
            CheckPolicy,
        ],
        "stopping_criterion": [HasMethods(["should_stop"]), None],
        "n_jobs": [Integral, None],
        "random_state": ["random_state"],
        "verbose": [StrOptions({"auto"}), "verbose"],
    }

    def __init__(
        self,
        teacher: Callable[..., Any] | AnyTeacher | FittedOrNot,
        student: FittedOrNot | None = None,
        *,
        budget: float | None = 0.2,
        query_strategy: str | Callable[..., Any] | Strategy = "robust",
        objective: str | TrainingObjective = "auto",
        ledger: LabelStore | str | PathLike[str] | None = None,
        classes: ArrayLike | None = None,
        random_state: Any = None,
        query_size: str | int = "auto",
        uniform_share: float = 0.25,
        teacher_checks: str | float | CheckPolicy = "auto",
        stopping_criterion: Any = None,
        use_known: str | bool = "auto",
        unlabeled_marker: int | str | None = -1,
        n_jobs: int | None = None,
        verbose: str | int = "auto",
    ) -> None:
        self.teacher = teacher
        self.student = student
        self.budget = budget
        self.query_strategy = query_strategy
        self.objective = objective
        self.ledger = ledger
        self.classes = classes
        self.random_state = random_state
        self.query_size = query_size
        self.uniform_share = uniform_share
        self.teacher_checks = teacher_checks
        self.stopping_criterion = stopping_criterion
        self.use_known = use_known
        self.unlabeled_marker = unlabeled_marker
        self.n_jobs = n_jobs
        self.verbose = verbose

    @explained_interrupts(labels_kept)
    @fit_context(prefer_skip_nested_validation=False)
    @with_callbacks
    @with_progress
    def fit(
        self,
        X: Any,
        y: Any = None,
        *,
        X_unlabeled: Any = None,
        X_val: Any = None,
        y_val: Any = None,
        **params: Any,
    ) -> Self:
        """Train the student on the labeled rows and on the teacher's answers.

        Parameters
        ----------
        X : array-like, sparse matrix, DataFrame, list of texts or of dicts
            The rows, n_x of them; a row whose entry in `y` is the marker has no label.
        y : array-like of shape (n_x,) or (n_x, n_labels), or None, default=None
            Labels. Strings with a numeric marker among them need dtype object. An
            indicator matrix, DataFrame or sparse matrix with several columns: several
            labels per row; a row of markers or missing values has none. None: no row
            has one.
        X_unlabeled : like `X` with n_u rows, or None, default=None
            More rows without a label, in the same container; numeric and categorical
            columns of frames are brought to common types. If `X` is an array or a
            DataFrame, they need not be in memory: memory-mapped arrays, Arrow tables
            and datasets (Parquet), Dask collections, Zarr and HDF5 arrays are scored
            in blocks of ``sklearn.config_context(working_memory=...)`` MiB.
        X_val, y_val : like `X` and `y`, or None, default=None
            Labeled rows used for ``student_score`` in ``history_`` only.
        **params : dict
            Metadata routed to the student's and the teacher's ``fit``; needs
            ``sklearn.set_config(enable_metadata_routing=True)``. Values with one entry
            per row of `X` are cut to the rows used; ``sample_weight`` of rows of
            `X_unlabeled` is 1.

        Returns
        -------
        self : ActiveDistiller
            Fitted.

        Raises
        ------
        SkadistillError
            If the labeled rows cannot train a student and the teacher cannot give
            what they lack.
        BudgetError
            If the budget cannot be spent.
        TeacherError
            If the teacher fails or its answer is invalid; labels paid before that are
            in ``ledger_``.
        QueryStrategyError
            If the strategy breaks its contract.

        Warns
        -----
        BudgetWarning
            If there is a budget and no unlabeled row; or if the student is certain of
            every row of the pool, so that random ones are asked.
        TeacherWarning
            If the teacher's answers on labeled rows look useless or misordered.
        """
        state, teacher_params = self._start(X, y, X_unlabeled, X_val, y_val, params)
        snapshot = partial(fitted_attributes, self, state)
        tasks = RoundTasks(self, self._count_tasks(state), snapshot, state.progress)
        with tasks.round(0):
            self._train(state, RoundRecord(0))
        view = None
        if not stop_reason(state):
            # In this order: a student that cannot be trained, or cannot score the
            # pool, must not cost a label.
            view = look_at_pool(state)
            if self._X_audit is not None:
                X_audit = check_container(self, self._X_audit, reset=False)
                student_proba(state.students.last, X_audit, len(state.labels.classes))
            announce(sum(state.shares))
            state.known = self._prepare_teacher(state, teacher_params)
        while not stop_reason(state):
            record = RoundRecord(len(state.records))
            if state.known:
                chosen = state.known.pop(0)
                judge_by_known(state, chosen.rows)
            else:
                chosen = choose(state, record, view)
                if stop_reason(state):  # a stable student
                    break
            view = None  # the next student sees the pool with other eyes
            with tasks.round(record.round):
                ask(state, chosen, record)
                if record.n_asked:
                    self._train(state, record)
        self._finish(state)
        tasks.close()
        return self

    @explained_interrupts(nothing_paid)
    def plan(
        self,
        X: Any,
        y: Any = None,
        *,
        X_unlabeled: Any = None,
        cost_per_row: float | None = None,
    ) -> Plan:
        """Return how many rows one fit would ask and pay for, without paying.

        Parameters
        ----------
        X, y, X_unlabeled : as in `fit`
            The rows that would be fitted.
        cost_per_row : float or None, default=None
            Price of one answer. None: the most that the teacher may charge.

        Returns
        -------
        plan : Plan
            Prints one fact a line. ``n_queries``, ``rounds``, ``n_teacher_checks``;
            ``n_rows_expected``, ``expected_cost``; ``likely_cost``, the bound of 99 %
            for the rows that may be asked about, by the prices of some; the upper
            bounds ``n_rows_to_pay`` and ``cost``; ``n_known``, ``n_known_checks``, the
            rows of the pool and the labeled rows that the ledger knows. After a fit
            ``forecast`` is its ``forecast_``.

        Examples
        --------
        >>> import numpy as np
        >>> from skadistill import ActiveDistiller
        >>> distiller = ActiveDistiller(lambda X: X, budget=20)
        >>> X = np.random.default_rng(0).random((60, 2))
        >>> y = np.array([0, 1] * 10 + [-1] * 40)
        >>> distiller.plan(X, y, cost_per_row=0.02)
        rows asked about: 20 of 40 in the pool, new ones in 2 rounds
        rows to pay: 20 at most
        cost: 0.4 at most
        """
        teacher = named_teacher(self.teacher, self.classes)
        labels = self._read_rows(clone(self), teacher, X, y, X_unlabeled)
        components = self._resolve(teacher, None, labels)
        ledger = None
        if self.ledger is not None or self._clone_ledger is not None:
            ledger = open_ledger(self.ledger, self._clone_ledger, components.teacher)
        return make_plan(
            components,
            labels,
            self._plan_checks(components, labels),
            budget=self.budget,
            query_size=self.query_size,
            ledger=ledger,
            uses_known=self._uses_known(),
            cost_per_row=cost_per_row,
            forecast=getattr(self, "forecast_", None),
        )

    def get_metadata_routing(self) -> MetadataRouter:
        """Describe which metadata goes to the student's and the teacher's ``fit``.

        Returns
        -------
        routing : MetadataRouter
            scikit-learn's description of the routing.
        """
        fit = MethodMapping().add(caller="fit", callee="fit")
        return (
            MetadataRouter(owner=self)
            .add_self_request(self)
            .add(student=as_student(self.student, None), method_mapping=fit)
            .add(teacher=self.teacher, method_mapping=fit)
        )

    #: Rows that the student must be able to read later, checked before anything is
    #: paid; set by `Cascade`.
    _X_audit = None

    # The steps of fit, in the order in which it takes them.

    def _start(self, X, y, X_unlabeled, X_val, y_val, params):
        """Check everything, before the first label is paid for."""
        routed = self._route(params)
        seeds = Seeds.draw(self.random_state)
        teacher = named_teacher(self.teacher, self.classes)
        labels = self._read_rows(self, teacher, X, y, X_unlabeled)
        components = self._resolve(teacher, seeds.student, labels)
        check_plan = self._plan_checks(components, labels)
        shares = shares_of_fit(components, labels, check_plan, self.budget)
        score, n_val = make_scorer(self, X_val, y_val, labels.space)
        self.ledger_ = open_ledger(self.ledger, self._clone_ledger, components.teacher)
        state = FitState(
            components=components,
            labels=labels,
            seeds=seeds,
            settings=Settings(
                ledger=self.ledger_,
                query_size=self.query_size,
                uniform_share=self.uniform_share,
                stopping_criterion=self.stopping_criterion,
                n_jobs=self.n_jobs,
                cut_metadata=extend_metadata(routed.student.fit, labels.table),
                score=score,
                n_val=n_val,
            ),
            check_plan=check_plan,
            shares=shares,
            students=Students(components.student),
        )
        return state, routed.teacher.fit

    def _read_rows(self, estimator, teacher, X, y, X_unlabeled):
        """Check the rows and name the classes."""
        table, rows, given = check_inputs(
            estimator, X, y, X_unlabeled, needs_y=not teacher.is_fitted
        )
        space = label_space(
            self.classes, given, teacher, self.unlabeled_marker, names_of(y)
        )
        if X_unlabeled is not None and self.classes is None:
            warn_of_signs(given, len(rows) < table.n_first, self.unlabeled_marker)
        return Labels(table, rows, given, space)

    def _resolve(self, teacher, seed, labels):
        """Turn names into objects, once; what is unknown is an error right away."""
        return resolve(
            labels.space.teacher(teacher),
            self.student,
            self.query_strategy,
            self.objective,
            seed=seed,
            parts=labels.table.parts,
            space=labels.space,
        )

    def _plan_checks(self, components, labels):
        """Work out how the teacher is checked."""
        plan = plan_checks(
            as_policy(self.teacher_checks),
            components.teacher,
            components.strategy,
            components.objective,
        )
        return labels.space.check_plan(plan)

    def _route(self, params):
        """Split metadata among student and teacher."""
        refuse_unrouted(params)
        return process_routing(self, "fit", **params)

    def _count_tasks(self, state):
        """Count the rounds at most, the labeled rows and the known ones included."""
        # Checks that turn out not to be needed become rows of the pool.
        n_labeled, n_classes = state.labels.targets.shape
        rounds = split_rounds(sum(state.shares), self.query_size, n_labeled, n_classes)
        is_new = self.ledger is None and self._clone_ledger is None
        may_know = self._uses_known() and not is_new
        if not (rounds and may_know):
            return 1 + len(rounds)
        known = split_rounds(state.labels.pool.size, "auto", n_labeled, n_classes)
        in_flight = answers_later(state.components.teacher)
        return 1 + len(rounds) + len(known) + in_flight

    def _prepare_teacher(self, state, params):
        """Check the teacher, fit it if needed; return rows whose answers are known."""
        try:
            uses_known = self._uses_known()
            asked = prepare_teacher(state, params, uses_known=uses_known)
            state.asked = asked
        except JobPendingError as error:
            state.wait_for_jobs(error)
            return []
        state.settle_objective()
        checks = asked.findings.checks
        if checks is not None and checks.independent:
            # Checks that were not needed are rows of the pool.
            n_checked = asked.n_checks_paid + asked.n_checks_free
            state.return_checks(min(n_checked, state.shares.n_checks))
        if not uses_known or asked.is_new:
            return []
        return known_rounds(state)

    def _train(self, state, record):
        """Train the student on all known labels."""
        train(state, record)
        logger.info(record)
        if self.verbose not in ("auto", 0):
            print(f"[ActiveDistiller] {record}")

    def _finish(self, state):
        """Leave the fitted attributes."""
        require_labels(state.labels)
        state.settle_objective()
        self.termination_condition_ = stop_reason(state)
        with closing_step("the student has not learned corrected labels, since that"):
            train_at_end(state)
        with closing_step("labels are predicted from 0.5 on, since tuning that"):
            tune_thresholds(state)
        with closing_step("the last student is kept, since comparing it"):
            keep_better_student(state)
        for name, value in fitted_attributes(self, state).items():
            setattr(self, name, value)
        self._trained_keys = state.labels.trained_keys()
        self._given = GivenRows.of(state)
        curve = state.asked.findings.curve
        self._choices = {
            "planned": tuple(state.planned),
            "distrusted": None if curve is None else curve.distrusted,
            "seeds": state.seeds._asdict(),
        }
        logger.info(
            "stopped after round %d (%s): %d rows asked; %d paid, %d of them teacher "
            "checks",
            self.n_rounds_,
            self.termination_condition_,
            self.n_queries_,
            self.n_paid_,
            self.n_teacher_checks_,
        )

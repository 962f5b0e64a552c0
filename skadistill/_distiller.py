"""ActiveDistiller: train, ask, pay, train again, stop."""

import logging
from dataclasses import replace
from functools import partial
from numbers import Integral, Real
from time import perf_counter

import numpy as np
from sklearn import get_config
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin, clone
from sklearn.metrics import accuracy_score
from sklearn.utils import check_random_state, get_tags
from sklearn.utils.metadata_routing import (
    MetadataRouter,
    MethodMapping,
    process_routing,
)
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from skadistill._compat import (
    CallbackSupportMixin,
    HasMethods,
    Interval,
    RealNotInt,
    RoundTasks,
    StrOptions,
    check_method_params,
    fit_context,
    with_callbacks,
)
from skadistill._display import HidesContents, text_of
from skadistill._fit.inputs import check_container, check_inputs, extend_metadata
from skadistill._fit.plan import KnownAnswers, Plan, resolve_budget, split_budget
from skadistill._fit.pool import PoolScorer
from skadistill._fit.state import FitState, view_pool
from skadistill.exceptions import ObjectiveError
from skadistill.labeling import buy_labels, estimate_teacher_error
from skadistill.ledger import MemoryLedger
from skadistill.model_selection import warn_if_unlabeled
from skadistill.objectives import TeacherChecks, as_objective
from skadistill.query import as_strategy, check_query
from skadistill.student import as_student, fit_student
from skadistill.teachers import (
    BaseTeacher,
    EstimatorTeacher,
    FunctionTeacher,
    as_teacher,
)

__all__ = ["ActiveDistiller"]

logger = logging.getLogger(__name__)


class ActiveDistiller(
    HidesContents,
    CallbackSupportMixin,
    ClassifierMixin,
    MetaEstimatorMixin,
    BaseEstimator,
):
    """Distill a costly teacher into a small student under a query budget.

    The student is first trained on the labeled rows. Then, for a few rounds, a
    query strategy chooses unlabeled rows from the student's predictions, the
    teacher is paid for soft labels of exactly those, and the student is trained
    again on everything known. What comes out is the student alone: predictions
    never call the teacher.

    Parameters
    ----------
    teacher : estimator or callable
        Who is asked. An unfitted classifier is fitted on the labeled rows; a
        fitted one is used as it is and never copied, also not by
        :func:`sklearn.base.clone`; a callable takes rows and returns probabilities
        of shape (n_samples, n_classes), columns in the order of the sorted classes, or
        hard labels of shape (n_samples,). Classifiers with only ``decision_function``
        or only ``predict`` serve too. See :func:`skadistill.teachers.as_teacher`.
    student : classifier or None, default=None
        What is trained: a :class:`skadistill.student.StudentNet` (the default), or
        any scikit-learn classifier or pipeline whose ``fit`` takes
        ``sample_weight``. It is cloned.
    query_strategy : str, callable or object, default="robust"
        Who chooses: "robust" (the game-theoretic sampler of Robust Active
        Distillation), "margin", "entropy", "least_confident", "random", a function
        ``f(proba) -> scores``, or an object following
        :class:`skadistill.query.QueryStrategy`.
    budget : int, float or None, default=0.2
        Rows of the pool to ask for: a number, a share of the pool, or None for all
        of it. A row whose label the ledger already knows counts as asked but costs
        nothing, so that the same seed asks the same rows, and a search compares
        like with like, whatever was paid before.
    n_rounds : int, default=5
        Rounds over which the budget is split evenly.
    objective : str or object, default="soft"
        What the student must match: "soft", "corrected", "slam", "debiased", "lelp",
        or an instance of :class:`skadistill.objectives.Objective`. "soft": the
        teacher's soft labels, by cross-entropy. "corrected", "slam" and "debiased"
        take the teacher's mistakes into account and look, as `teacher_error` does, at
        its answers on labeled rows. "lelp" needs a teacher that gives embeddings, see
        ``embedding`` in :func:`skadistill.teachers.as_teacher`; labeled rows have
        one only where the teacher is fitted here.
    ledger : object or None, default=None
        Remembers every label ever paid for, and may limit what is spent. A
        :class:`skadistill.ledger.MemoryLedger` shares labels between fits, clones
        and searches of one process; a :class:`skadistill.ledger.LabelLedger` keeps
        them in a file, so that a fit that was killed goes on for free. None: a new
        one in memory for each fit, left in ``ledger_``.
    unlabeled_marker : int, str or None, default=-1
        The value of ``y`` that marks a row without label. None: every row of ``X``
        has a label and the pool is ``X_unlabeled``.
    teacher_error : "auto", float or None, default="auto"
        Share of rows on which the teacher is wrong, for strategies that need it, as
        the robust sampler does. "auto": a teacher fitted here is cross-fitted on the
        labeled rows; another is asked about labeled rows, which costs (see
        `n_teacher_checks`). A teacher that was trained on these very rows looks
        better than it is: give the share you believe. None: unknown, the sampler
        plays the regret game.
    n_teacher_checks : int or None, default=200
        Labeled rows, drawn at random, that a fitted teacher or a callable is asked
        about to estimate its error, or for an objective; None: all of them. They are
        paid for on top of `budget` and counted in ``n_teacher_checks_``.
    batch_size : int or None, default=None
        Rows of one call to the teacher; None: a round is one call. Labels are kept
        batch by batch, so a fault costs at most the batch in flight.
    stopping_criterion : object or None, default=None
        Stops before the budget is spent, for example
        :class:`skadistill.stopping.StablePredictions`.
    warm_start : bool, default=False
        Whether the student goes on from the last round instead of starting afresh;
        the student must have a ``warm_start`` parameter. It takes less time, and
        cost up to two points of accuracy where it was measured.
    n_jobs : int or None, default=None
        Blocks of the pool that are scored at once, through joblib: None means 1
        unless in a :obj:`joblib.parallel_config` context, which can also name a
        cluster (``parallel_config("dask")``). It changes nothing but the time.
    random_state : int, RandomState or None, default=None
        Seeds the choice of rows, cross-fitting and, where it has no seed of its
        own, the student.
    verbose : int, default=0
        1 prints a line a round: the one that goes to :mod:`logging` anyway, at level
        INFO.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Classes of the labeled rows, sorted.
    n_features_in_ : int
        Features seen in `fit`; not there for texts.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Their names, where all are strings.
    student_ : estimator
        The student, fitted: what you deploy.
    teacher_ : object
        The teacher that was asked; None where nothing was to be asked.
    ledger_ : object
        The ledger with the labels paid for, also after a failed fit.
    history_ : list of dict
        One record a round, 0 being the student on the labeled rows: ``round``,
        ``n_labeled`` (rows trained on), ``n_pool`` (rows left), ``n_asked``,
        ``n_paid``,
        ``n_free`` (from the ledger), ``n_calls``, ``teacher_error``, ``gain_mean``,
        ``gain_max``, ``water_level``, ``n_mistakes``, ``n_support``,
        ``student_agreement`` (share of the asked rows on which the student agreed
        with the teacher before it was told), ``student_score`` (accuracy on `X_val`,
        if given), ``student_stability`` (share of pool rows
        whose predicted class stayed, if `stopping_criterion` is set), and the seconds in
        each part: ``seconds_teacher``, ``seconds_student`` (training),
        ``seconds_predict`` (scoring the pool), ``seconds_query``,
        ``seconds_total``.
    transduction_ : ndarray of shape (n_samples,)
        Labels used in the last training, for the rows of `X`, then those of
        `X_unlabeled`: given ones, the teacher's first choice for rows paid, the
        marker (or -1) for rows never asked.
    labeled_round_ : ndarray of int of shape (n_samples,)
        0: label given, r: asked in round r, -1: never asked.
    n_queries_ : int
        Rows of the pool asked for.
    n_paid_ : int
        Rows of the pool paid for; the rest of `n_queries_` came from the ledger or
        repeats another row.
    n_teacher_checks_ : int
        Labeled rows paid for to estimate the teacher's error.
    teacher_error_ : float or None
        Estimated or given error rate of the teacher; None where nobody needed it.
    teacher_error_estimate_ : TeacherErrorEstimate or None
        On how many rows the teacher was held against given labels, how often it was
        wrong, and an interval for its rate, see
        :class:`skadistill.labeling.TeacherErrorEstimate`; the answers themselves are
        left out. None where nobody needed it.
    n_rounds_ : int
        Rounds asked.
    termination_condition_ : str
        Why the loop stopped: "no_pool" (nothing unlabeled), "budget" (spent),
        "pool_empty" (every row asked), "no_gain" (the strategy sees nothing to
        gain), "stable_predictions" (`stopping_criterion`), "ledger_budget" (the
        ledger's ``max_rows`` or ``max_cost`` is reached), "callback" (one asked to stop).

    See Also
    --------
    sklearn.semi_supervised.SelfTrainingClassifier : Learns from unlabeled rows
        without a teacher.
    skadistill.model_selection.PartiallyLabeledSplit : Cross-validation with
        unlabeled rows in ``X``.
    skadistill.export.to_onnx : Write the student as a graph that runs without Python.
    skadistill.export.model_card : Write down what it was made from.

    Notes
    -----
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
    ...     budget=20, n_rounds=2, random_state=0,
    ... ).fit(X, y)
    >>> distiller.n_queries_, distiller.termination_condition_
    (20, 'budget')
    >>> distiller.predict(X[[0, 75, 125]])
    array([0, 1, 2])
    """

    _parameter_constraints: dict = {
        "teacher": [HasMethods(["predict"]), HasMethods(["ask"]), callable],
        "student": [HasMethods(["fit", "predict"]), None],
        "query_strategy": [str, callable, HasMethods(["query"])],
        "budget": [
            Interval(Integral, 0, None, closed="left"),
            Interval(RealNotInt, 0, 1, closed="both"),
            None,
        ],
        "n_rounds": [Interval(Integral, 1, None, closed="left")],
        "objective": [str, HasMethods(["lesson"])],
        "ledger": [HasMethods(["lookup", "record", "claim", "release"]), None],
        "unlabeled_marker": [Integral, str, None],
        "teacher_error": [
            StrOptions({"auto"}),
            Interval(Real, 0, 1, closed="both"),
            None,
        ],
        "n_teacher_checks": [Interval(Integral, 1, None, closed="left"), None],
        "batch_size": [Interval(Integral, 1, None, closed="left"), None],
        "stopping_criterion": [HasMethods(["should_stop"]), None],
        "warm_start": ["boolean"],
        "n_jobs": [Integral, None],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        teacher,
        student=None,
        *,
        query_strategy="robust",
        budget=0.2,
        n_rounds=5,
        objective="soft",
        ledger=None,
        unlabeled_marker=-1,
        teacher_error="auto",
        n_teacher_checks=200,
        batch_size=None,
        stopping_criterion=None,
        warm_start=False,
        n_jobs=None,
        random_state=None,
        verbose=0,
    ):
        self.teacher = teacher
        self.student = student
        self.query_strategy = query_strategy
        self.budget = budget
        self.n_rounds = n_rounds
        self.objective = objective
        self.ledger = ledger
        self.unlabeled_marker = unlabeled_marker
        self.teacher_error = teacher_error
        self.n_teacher_checks = n_teacher_checks
        self.batch_size = batch_size
        self.stopping_criterion = stopping_criterion
        self.warm_start = warm_start
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    @fit_context(prefer_skip_nested_validation=False)
    @with_callbacks
    def fit(self, X, y, *, X_unlabeled=None, X_val=None, y_val=None, **params):
        """Train the student on the labeled rows and on what the teacher answers.

        Parameters
        ----------
        X : array-like, sparse matrix, DataFrame or list of texts, n_x rows
            Rows; a row whose entry in `y` is the marker has no label.
        y : array-like of shape (n_x,)
            Labels. Strings with a numeric marker among them need dtype object.
        X_unlabeled : like `X` with n_u rows, or None, default=None
            More rows without label, in the same container as `X`. Where `X` is an
            array or a DataFrame they need not be in memory: memory-mapped arrays,
            Arrow tables and datasets (Parquet), Dask collections, Zarr and HDF5
            arrays are scored in blocks of ``sklearn.config_context(
            working_memory=...)`` MiB, and only the rows asked are kept.
        X_val, y_val : like `X` and `y`, or None, default=None
            Labeled rows kept out of everything but ``student_score`` in
            ``history_``, the student's accuracy on them after each round.
        **params : dict
            Metadata routed to the student's and the teacher's ``fit``; needs
            ``sklearn.set_config(enable_metadata_routing=True)``. Arrays with one
            entry a row of `X` are cut to the rows used; ``sample_weight`` of rows
            of `X_unlabeled` is 1.

        Returns
        -------
        self : ActiveDistiller
            Fitted.

        Raises
        ------
        NoLabeledRowsError, SingleClassError
            If the labeled rows cannot train a first student.
        EmptyPoolError, BudgetError
            If the budget cannot be spent.
        TeacherError
            If the teacher fails or answers wrongly; labels paid before that are in
            ``ledger_``.
        QueryStrategyError
            If the strategy breaks its contract.
        """
        state, teacher_params = self._start(X, y, X_unlabeled, X_val, y_val, params)
        tasks = RoundTasks(self, n_tasks=1 + len(state.schedule))
        snapshot = partial(self._fitted_attributes, state)
        tasks.begin("round 0")
        self._train_and_record(state, 0, perf_counter())
        stop = self._nothing_to_ask(state)
        if tasks.end(snapshot):
            stop = "callback"
        if not stop:
            # Only now: a student that cannot be trained must not cost a label.
            self._prepare_teacher(state, teacher_params)
        for round_, n_queries in enumerate(state.schedule, start=1):
            if stop:
                break
            start = perf_counter()
            rows, evidence, stop = self._choose(state, n_queries)
            if stop:
                break
            tasks.begin(f"round {round_}")
            stop = self._pay(state, rows, round_, evidence)
            if evidence["n_asked"]:
                self._train_and_record(state, round_, start, evidence)
            if tasks.end(snapshot):
                stop = "callback"
        self.termination_condition_ = stop or (
            "budget" if state.pool.size else "pool_empty"
        )
        self._finish(state)
        tasks.close(snapshot)
        return self

    def plan(self, X, y, *, X_unlabeled=None, cost_per_row=None):
        """Say how many rows a fit would ask and pay for, before anything is paid.

        Parameters
        ----------
        X, y, X_unlabeled : as in `fit`
            The rows that would be fitted.
        cost_per_row : float or None, default=None
            Price of one answer. None: the teacher's own ``cost_per_row``.

        Returns
        -------
        plan : Plan
            ``n_queries``, ``rounds``, ``n_teacher_checks``, ``n_rows_to_pay``,
            ``cost`` and ``seconds``, all of them upper bounds: which rows will be
            asked is not known yet, and stopping rules make a fit cheaper.
            ``n_known`` and ``n_known_validation`` are the rows of the pool and the
            labeled rows whose answers the ledger holds.

        Examples
        --------
        >>> import numpy as np
        >>> from skadistill import ActiveDistiller
        >>> distiller = ActiveDistiller(lambda X: X, budget=0.5, n_rounds=2)
        >>> X = np.random.default_rng(0).random((9, 2))
        >>> y = np.array([0, 1, 1] + [-1] * 6)
        >>> print(distiller.plan(X, y, cost_per_row=0.02))
        3 of 6 pool rows in 2 rounds and 3 labeled rows for validation: at most 6 rows
        to pay, 0.12 in all
        """
        table, given, labeled = check_inputs(clone(self), X, y, X_unlabeled)
        n_pool = table.n_samples - labeled.size
        rounds = split_budget(resolve_budget(self.budget, n_pool), self.n_rounds)
        n_validation = 0
        asks = self._needs_validation() and not as_teacher(self.teacher).needs_fit
        if rounds and asks:
            n_validation = min(labeled.size, self.n_teacher_checks or labeled.size)
        known = KnownAnswers(as_teacher(self.teacher), self.ledger, np.unique(given))
        pool = np.setdiff1d(np.arange(table.n_samples), labeled, assume_unique=True)
        price = as_teacher(self.teacher).cost_per_row
        return Plan(
            labeled.size,
            n_pool,
            rounds,
            n_validation,
            price if cost_per_row is None else cost_per_row,
            n_known=known.count(table, pool) if rounds else 0,
            n_known_validation=known.count(table, labeled) if n_validation else 0,
            seconds_per_row=known.seconds_per_row(),
        )

    def predict(self, X):
        """Predict classes with the student alone.

        Parameters
        ----------
        X : like `X` in `fit`, n_samples rows
            Rows.

        Returns
        -------
        y : ndarray of shape (n_samples,)
            Classes.
        """
        X = self._check_new_rows(X)
        return self.student_.predict(X)

    @available_if(lambda self: _student_has(self, "predict_proba"))
    def predict_proba(self, X):
        """Predict class probabilities with the student alone.

        Parameters
        ----------
        X : like `X` in `fit`, n_samples rows
            Rows.

        Returns
        -------
        proba : ndarray of shape (n_samples, n_classes)
            Rows summing to 1, columns in the order of ``classes_``.
        """
        X = self._check_new_rows(X)
        return self.student_.predict_proba(X)

    @available_if(lambda self: _student_has(self, "decision_function"))
    def decision_function(self, X):
        """Return the student's decision function.

        Parameters
        ----------
        X : like `X` in `fit`, n_samples rows
            Rows.

        Returns
        -------
        scores : ndarray of shape (n_samples,) or (n_samples, n_classes)
            What the student returns.
        """
        X = self._check_new_rows(X)
        return self.student_.decision_function(X)

    def score(self, X, y, sample_weight=None):
        """Return the student's accuracy.

        Parameters
        ----------
        X : like `X` in `fit`, n_samples rows
            Rows.
        y : array-like of shape (n_samples,)
            True labels. Rows marked unlabeled count as wrong, with a warning.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Weights.

        Returns
        -------
        score : float
            Weighted share of right predictions.
        """
        if warn_if_unlabeled(y, self.unlabeled_marker):
            # Strings beside a number are no valid target for accuracy_score.
            right = self.predict(X) == np.asarray(y)
            return float(np.average(right, weights=sample_weight))
        return super().score(X, y, sample_weight)

    def get_metadata_routing(self):
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

    # The steps of fit, in the order in which it takes them.

    def _start(self, X, y, X_unlabeled, X_val, y_val, params):
        """Check everything, before the first label is paid for."""
        routed = self._route(params)
        table, given, labeled = check_inputs(self, X, y, X_unlabeled)
        self.classes_, codes = np.unique(given, return_inverse=True)
        self.ledger_ = MemoryLedger() if self.ledger is None else self.ledger
        pool = np.setdiff1d(np.arange(table.n_samples), labeled, assume_unique=True)
        n_queries = resolve_budget(self.budget, pool.size)
        as_strategy(self.query_strategy)  # an unknown name is an error right away
        objective = as_objective(self.objective)
        if objective.needs_embeddings and not as_teacher(self.teacher).has_embeddings:
            raise ObjectiveError(
                f"the objective {objective!r} needs the teacher's embeddings, which "
                f"{text_of(self.teacher):.80} does not give; say where they come from "
                "with as_teacher(teacher, embedding=...), or use another objective."
            )
        seeds = check_random_state(self.random_state).randint(2**31 - 1, size=4)
        state = FitState(
            table=table,
            pool=pool,
            rows=labeled,
            targets=np.eye(len(self.classes_))[codes],
            classes=self.classes_,
            schedule=split_budget(n_queries, self.n_rounds),
            student=self._first_student(int(seeds[0])),
            cut_metadata=extend_metadata(routed.student.fit, table),
            random_state=np.random.default_rng(int(seeds[1])),
            y=given,
            teacher_seed=int(seeds[2]),
            objective=objective,
            objective_seed=int(seeds[3]),
            score=self._make_scorer(X_val, y_val),
        )
        self.n_teacher_checks_ = 0
        self.teacher_error_ = None
        self.teacher_error_estimate_ = None
        return state, routed.teacher.fit

    def _route(self, params):
        """Split metadata among student and teacher."""
        if params and not get_config()["enable_metadata_routing"]:
            raise ValueError(
                f"fit got {sorted(params)}, which goes nowhere while metadata routing "
                "is off; call sklearn.set_config(enable_metadata_routing=True) and "
                "request it on the student or the teacher, for example with "
                "student.set_fit_request(sample_weight=True)."
            )
        return process_routing(self, "fit", **params)

    def _first_student(self, seed):
        """Clone and seed the student."""
        student = as_student(self.student, seed)
        if self.warm_start:
            if "warm_start" not in student.get_params(deep=False):
                raise ValueError(
                    f"warm_start=True but the student {type(student).__name__} has no "
                    "parameter warm_start; use a student that has, or "
                    "warm_start=False."
                )
            student.set_params(warm_start=True)
        return student

    def _prepare_teacher(self, state, params):
        """Learn how often the teacher is wrong, and fit it where it needs it."""
        teacher = as_teacher(self.teacher)
        X, y = state.table.take(state.rows), state.y
        params = check_method_params(
            state.table.parts[0], dict(params), indices=state.rows
        )
        state.teacher_error = None if self._estimates_error() else self.teacher_error
        if self._needs_validation():
            estimate = estimate_teacher_error(
                teacher,
                X,
                y,
                classes=self.classes_,
                ledger=self.ledger_,
                n_samples=self.n_teacher_checks,
                batch_size=self.batch_size,
                random_state=state.teacher_seed,
                fit_params=params,
            )
            if self._estimates_error():
                state.teacher_error = estimate.rate
            if estimate.proba is not None:
                state.validation = TeacherChecks(
                    estimate.rows, estimate.proba, independent=not teacher.needs_fit
                )
            self.n_teacher_checks_ = estimate.n_paid
            self.teacher_error_estimate_ = replace(estimate, proba=None)
            logger.info(
                "the teacher is wrong on %d of %d labeled rows (%s)",
                estimate.n_wrong,
                estimate.n_samples,
                estimate.method,
            )
        state.teacher = teacher
        if teacher.needs_fit:
            state.teacher = teacher.fitted_on(X, y, **params)
            if state.objective.needs_embeddings:
                # One's own teacher is not paid for each row it looks at.
                state.embeddings = state.teacher.embed(X)
        # Deriving it reads the whole teacher: once a fit, not once a round.
        state.teacher_identity = state.teacher.identity
        self.teacher_error_ = state.teacher_error

    def _estimates_error(self):
        return isinstance(self.teacher_error, str)  # "auto"

    def _needs_validation(self):
        """Tell whether the teacher is to be held against the labeled rows."""
        if as_objective(self.objective).needs_teacher_checks:
            return True
        strategy = as_strategy(self.query_strategy)
        needed = getattr(strategy, "needs_teacher_error", False)
        return needed and self._estimates_error()

    def _make_scorer(self, X_val, y_val):
        """Return a function that scores a student on the rows kept aside."""
        if X_val is None and y_val is None:
            return lambda student: None
        if X_val is None or y_val is None:
            missing = "y_val" if y_val is None else "X_val"
            raise ValueError(
                f"{missing} is None but its partner is not; pass both X_val and y_val, "
                "or neither."
            )
        X_val = check_container(self, X_val, reset=False)
        return lambda student: float(accuracy_score(y_val, student.predict(X_val)))

    def _nothing_to_ask(self, state):
        """Say why no round is to be run at all, if so."""
        if state.schedule:
            return None
        return "budget" if state.pool.size else "no_pool"

    def _train_and_record(self, state, round_, start, evidence=None):
        """Train the student on every label known; afresh unless warm_start."""
        train_start = perf_counter()
        if not self.warm_start:
            state.student = clone(state.student)
        X = state.table.take(state.rows)
        fit_student(
            state.student,
            X,
            state.lesson(X),
            classes=self.classes_,
            **state.cut_metadata(state.rows),
        )
        end = perf_counter()
        evidence = {
            **(evidence or {}),
            "student_score": state.score(state.student),
            "seconds_student": end - train_start,
            "seconds_total": end - start,
        }
        state.record(round_, **evidence)
        line = _round_line(state.history[-1])
        logger.info(line)
        if self.verbose:
            print(f"[ActiveDistiller] {line}")

    def _choose(self, state, n_queries):
        """Ask the strategy for rows; decide whether to stop before paying."""
        scorer = PoolScorer(
            state, keep_classes=self.stopping_criterion is not None, n_jobs=self.n_jobs
        )
        view = view_pool(state, scorer)
        strategy = as_strategy(self.query_strategy)
        start = perf_counter()
        # A child generator a round: what one round draws moves no other round.
        positions = strategy.query(view, n_queries, state.random_state.spawn(1)[0])
        positions = check_query(positions, view.n_samples, n_queries, strategy)
        evidence = {
            "n_asked": n_queries,
            "seconds_query": perf_counter() - start - scorer.seconds,
        }
        stop = "no_gain" if view.report.get("gain_max", 1.0) <= 0 else None
        if self.stopping_criterion is not None and self._is_stable(state, scorer):
            stop = "stable_predictions"
        if state.agreements:
            evidence["student_stability"] = state.agreements[-1]
        evidence["seconds_predict"] = scorer.seconds
        return state.pool[positions], {**view.report, **evidence}, stop

    def _is_stable(self, state, scorer):
        """Compare the student's classes on the pool with those of the last round."""
        winners = np.full(state.table.n_samples, -1, dtype=np.int32)
        winners[state.pool] = scorer.predicted_classes()
        if state.classes_before is not None:
            same = winners[state.pool] == state.classes_before[state.pool]
            state.agreements.append(float(same.mean()))
        state.classes_before = winners
        return self.stopping_criterion.should_stop(state.agreements)

    def _pay(self, state, rows, round_, evidence):
        """Buy the labels of the chosen rows; decide whether to stop after these."""
        questions = state.table.take(rows)
        start = perf_counter()
        expected = np.asarray(state.student.predict_proba(questions)).argmax(axis=1)
        evidence["seconds_predict"] += perf_counter() - start
        purchase = buy_labels(
            state.teacher,
            questions,
            classes=self.classes_,
            ledger=self.ledger_,
            batch_size=self.batch_size,
            identity=state.teacher_identity,
            with_embeddings=state.objective.needs_embeddings,
        )
        got = purchase.labeled
        embeddings = purchase.embeddings
        state.add(
            rows[got],
            purchase.labels[got],
            round_,
            None if embeddings is None else embeddings[got],
        )
        agreed = (expected == purchase.labels.argmax(axis=1))[got]
        evidence |= {
            "n_asked": int(got.sum()),
            "n_paid": purchase.n_paid,
            "n_free": purchase.n_free,
            "n_calls": purchase.n_calls,
            "student_agreement": float(agreed.mean()) if agreed.size else None,
            "seconds_teacher": purchase.seconds,
        }
        return "ledger_budget" if purchase.n_refused else None

    def _fitted_attributes(self, state):
        """Return what a fit that ended now would leave."""
        history = list(state.history)
        return {
            "student_": state.student,
            "teacher_": self._unwrapped(state.teacher),
            "history_": history,
            "labeled_round_": state.labeled_round.copy(),
            "transduction_": self._transduction(state),
            "n_rounds_": history[-1]["round"],
            "n_queries_": sum(record["n_asked"] for record in history),
            "n_paid_": sum(record["n_paid"] for record in history),
        }

    def _finish(self, state):
        """Leave the fitted attributes."""
        for name, value in self._fitted_attributes(state).items():
            setattr(self, name, value)
        logger.info(
            "stopped after round %d (%s): %d rows asked, %d paid, and %d labeled rows "
            "paid for validation",
            self.n_rounds_,
            self.termination_condition_,
            self.n_queries_,
            self.n_paid_,
            self.n_teacher_checks_,
        )

    def _unwrapped(self, teacher):
        """Return the user's kind of teacher, not the adapter made of it here."""
        if isinstance(teacher, EstimatorTeacher | FunctionTeacher) and not isinstance(
            self.teacher, BaseTeacher
        ):
            return getattr(teacher, "estimator", None) or teacher.function
        return teacher

    def _transduction(self, state):
        """Return the labels trained on, in a dtype that also holds the marker."""
        marker = -1 if self.unlabeled_marker is None else self.unlabeled_marker
        dtype = np.result_type(self.classes_, np.asarray(marker))
        if dtype.kind not in "iuf" and not isinstance(marker, str):
            dtype = np.dtype(object)
        labels = np.full(state.table.n_samples, marker, dtype=dtype)
        labels[state.rows] = self.classes_[state.targets.argmax(axis=1)]
        return labels

    def _check_new_rows(self, X):
        """Check rows to predict; their values are the student's to check."""
        check_is_fitted(self, "student_")
        return check_container(self, X, reset=False, finite=False)

    # What scikit-learn asks of an estimator.

    def __sklearn_clone__(self):
        """Clone everything but a fitted teacher and the ledger, which are shared."""
        params = self.get_params(deep=False)
        shared = {"ledger"}
        if not as_teacher(self.teacher).needs_fit:
            shared.add("teacher")
        new = type(self)(
            **{
                name: value if name in shared else clone(value, safe=False)
                for name, value in params.items()
            }
        )
        for name in ("_metadata_request", "_skl_callbacks"):
            if name in vars(self):
                setattr(new, name, vars(self)[name])
        return new

    def __sklearn_is_fitted__(self):
        """Tell that a student is there; ``ledger_`` alone means a failed fit."""
        return hasattr(self, "student_")

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        student = get_tags(as_student(self.student, None))
        tags.input_tags.sparse = student.input_tags.sparse
        tags.input_tags.allow_nan = student.input_tags.allow_nan
        if hasattr(self.teacher, "__sklearn_tags__"):
            teacher = get_tags(self.teacher)
            tags.input_tags.sparse &= teacher.input_tags.sparse
            tags.input_tags.allow_nan &= teacher.input_tags.allow_nan
        return tags


def _round_line(record):
    """Say in one line what a round did."""
    return (
        f"round {record['round']}: {record['n_labeled']} labeled rows, "
        f"{record['n_asked']} asked, {record['n_paid']} paid, {record['n_free']} free, "
        f"{record['seconds_total']:.2f} s"
    )


def _student_has(self, name):
    """Tell whether the student, fitted or to be fitted, has a method."""
    student = getattr(self, "student_", None)
    if student is None:
        student = as_student(self.student, None)
    getattr(student, name)  # the student's own AttributeError explains best
    return True

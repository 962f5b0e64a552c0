"""ActiveDistiller: train, ask, pay, train again, stop."""

import logging
from functools import partial
from numbers import Integral, Real
from os import PathLike
from time import perf_counter

import numpy as np
from sklearn import get_config
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin, clone
from sklearn.utils import get_tags
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
    fit_context,
    with_callbacks,
)
from skadistill._fit.components import resolve, unwrap_teacher
from skadistill._fit.inputs import (
    check_container,
    check_inputs,
    extend_metadata,
    make_scorer,
)
from skadistill._fit.known import CloneLedger, KnownAnswers, open_ledger
from skadistill._fit.plan import make_plan, shares_of_fit, split_rounds
from skadistill._fit.pool import FitPool
from skadistill._fit.record import RoundRecord, as_history
from skadistill._fit.state import FitState, Labels, Seeds, stop_reason
from skadistill._fit.teacher import prepare_teacher
from skadistill._rows._sources import PartitionedRows
from skadistill.labeling._buy import buy_labels
from skadistill.model_selection._scorer import warn_if_unlabeled
from skadistill.query._base import check_query
from skadistill.student._as_student import as_student
from skadistill.student._fit_student import fit_student
from skadistill.teachers._as_teacher import as_teacher

__all__ = ["ActiveDistiller"]

logger = logging.getLogger(__name__)


class ActiveDistiller(
    CallbackSupportMixin, ClassifierMixin, MetaEstimatorMixin, BaseEstimator
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
        One record per round, with the same keys in each; round 0 is the student
        trained on the labeled rows. Counts: ``round``, ``n_labeled`` (rows trained
        on), ``n_pool`` (rows left), ``n_asked``, ``n_paid``, ``n_free`` (from the
        ledger), ``n_calls``. From the strategy: ``gain_mean``, ``gain_max``,
        ``water_level``, ``n_mistakes``, ``n_support``, and any key of its own.
        Scores: ``teacher_error``, ``student_agreement`` (share of the asked rows on
        which the student agreed with the teacher before it was trained on them),
        ``student_score`` (accuracy on `X_val`, if given), ``student_stability``
        (share of pool rows whose predicted class stayed, if `stopping_criterion` is
        set). Seconds: ``seconds_teacher``, ``seconds_student`` (training),
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
        ledger's ``max_rows`` or ``max_cost`` is reached), "callback" (one asked to
        stop).

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
    ...     budget=20, query_size=10, random_state=0,
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
        "query_size": [
            StrOptions({"auto"}),
            Interval(Integral, 1, None, closed="left"),
        ],
        "objective": [str, HasMethods(["lesson"])],
        "ledger": [
            HasMethods(["lookup", "record", "claim", "release"]),
            str,
            PathLike,
            None,
        ],
        "use_known": [StrOptions({"auto"}), "boolean"],
        "unlabeled_marker": [Integral, str, None],
        "teacher_error": [
            StrOptions({"auto"}),
            Interval(Real, 0, 1, closed="both"),
            None,
        ],
        "n_teacher_checks": [
            StrOptions({"auto"}),
            Interval(Integral, 1, None, closed="left"),
            None,
        ],
        "max_no_label": [Interval(Real, 0, 1, closed="both")],
        "batch_size": [Interval(Integral, 1, None, closed="left"), None],
        "stopping_criterion": [HasMethods(["should_stop"]), None],
        "warm_start": ["boolean"],
        "n_jobs": [Integral, None],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    #: What a clone shares with the other clones of its original; None: no clone.
    _clone_ledger: CloneLedger | None = None
    #: What the clones of an original share; None: it has not been cloned.
    _ledger_of_clones: CloneLedger | None = None

    def __init__(
        self,
        teacher,
        student=None,
        *,
        query_strategy="robust",
        budget=0.2,
        query_size="auto",
        objective="soft",
        ledger=None,
        use_known="auto",
        unlabeled_marker=-1,
        teacher_error="auto",
        n_teacher_checks="auto",
        max_no_label=0.1,
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
        self.query_size = query_size
        self.objective = objective
        self.ledger = ledger
        self.use_known = use_known
        self.unlabeled_marker = unlabeled_marker
        self.teacher_error = teacher_error
        self.n_teacher_checks = n_teacher_checks
        self.max_no_label = max_no_label
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
        snapshot = partial(self._fitted_attributes, state)
        tasks = RoundTasks(self, self._count_tasks(state), snapshot, state.progress)
        with tasks.round(0):
            self._train(state, RoundRecord(0))
        if not stop_reason(state):
            # In this order: a student that cannot be trained, or cannot score the
            # pool, must not cost a label.
            self._look_at_pool(state)
            self._prepare_teacher(state, teacher_params)
        while not stop_reason(state):
            record = RoundRecord(len(state.records))
            rows = self._choose(state, record)
            if stop_reason(state):  # nothing to gain, or a stable student
                break
            with tasks.round(record.round):
                self._ask(state, rows, record)
                if record.n_asked:
                    self._train(state, record)
        self._finish(state)
        tasks.close()
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
        labels = Labels(*check_inputs(clone(self), X, y, X_unlabeled))
        components = self._resolve(seed=None)
        ledger = None
        if self.ledger is not None or self._clone_ledger is not None:
            ledger = open_ledger(self.ledger, self._clone_ledger, components.teacher)
        return make_plan(
            components,
            labels,
            budget=self.budget,
            query_size=self.query_size,
            teacher_error=self.teacher_error,
            n_teacher_checks=self.n_teacher_checks,
            ledger=ledger,
            uses_known=self._uses_known(),
            cost_per_row=cost_per_row,
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
        labels = Labels(*check_inputs(self, X, y, X_unlabeled))
        seeds = Seeds.draw(self.random_state)
        components = self._resolve(seeds.student)
        shares = shares_of_fit(
            components,
            labels,
            budget=self.budget,
            teacher_error=self.teacher_error,
            n_teacher_checks=self.n_teacher_checks,
        )
        state = FitState(
            components=components,
            labels=labels,
            seeds=seeds,
            shares=shares,
            query_size=self.query_size,
            max_no_label=self.max_no_label,
            cut_metadata=extend_metadata(routed.student.fit, labels.table),
            score=make_scorer(self, X_val, y_val),
        )
        self.ledger_ = open_ledger(self.ledger, self._clone_ledger, components.teacher)
        return state, routed.teacher.fit

    def _resolve(self, seed):
        """Turn names into objects, once; what is unknown is an error right away."""
        return resolve(
            self.teacher,
            self.student,
            self.query_strategy,
            self.objective,
            seed=seed,
            warm_start=self.warm_start,
        )

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

    def _uses_known(self):
        """Tell whether labels of the ledger train the student from the first round."""
        if self.use_known == "auto":
            return self._clone_ledger is None
        return self.use_known

    def _count_tasks(self, state):
        """Count the rounds at most, the labeled rows and the known ones included."""
        n_labeled, n_queries = state.labels.rows.size, state.shares.n_queries
        rounds = split_rounds(n_queries, self.query_size, n_labeled)
        may_know = self.ledger is not None and self._uses_known()
        return 1 + len(rounds) + bool(rounds and may_know)

    def _look_at_pool(self, state):
        """Let the student score the pool before the teacher costs anything."""
        if not hasattr(state.student, "predict_proba"):
            raise TypeError(
                f"the student {type(state.student).__name__} has no predict_proba, "
                "from which rows are chosen; use a student that predicts "
                "probabilities, or wrap it in CalibratedClassifierCV."
            )
        view = self._view(state)
        n_bytes = 8 * view.n_samples * view.n_classes
        source = state.labels.table.parts[-1]
        if n_bytes <= get_config()["working_memory"] * 2**20 / 16 and not isinstance(
            source, PartitionedRows
        ):
            view.predict_proba()  # kept: the first query need not score it again
        elif state.shares.n_checks:
            view.map_proba(_nothing)
        state.view = view

    def _view(self, state):
        """Return the pool as the present student sees it."""
        keep_classes = self.stopping_criterion is not None
        return FitPool(state, keep_classes=keep_classes, n_jobs=self.n_jobs)

    def _prepare_teacher(self, state, params):
        """Learn how often the teacher is wrong, and fit it if it needs that."""
        labels, components = state.labels, state.components
        asked, labels.embeddings = prepare_teacher(
            components,
            labels,
            params,
            teacher_error=self.teacher_error,
            ledger=self.ledger_,
            n_checks=state.shares.n_checks,
            batch_size=self.batch_size,
            seed=state.seeds.teacher,
        )
        state.asked = asked
        if self._uses_known():
            known = KnownAnswers(
                asked.teacher, self.ledger_, labels.classes, asked.identity
            )
            state.known = known.find(
                labels.table,
                labels.pool,
                with_embeddings=components.objective.needs_embeddings,
            )

    def _train(self, state, record):
        """Train the student on every label known; afresh unless warm_start."""
        start = perf_counter()
        if not self.warm_start:
            state.student = clone(state.student)
        labels = state.labels
        X = labels.table.take(labels.rows)
        fit_student(
            state.student,
            X,
            state.lesson(X),
            classes=labels.classes,
            **state.cut_metadata(labels.rows),
        )
        record.seconds_student = perf_counter() - start
        record.student_score = state.score(state.student)
        state.record(record)
        logger.info(record)
        if self.verbose:
            print(f"[ActiveDistiller] {record}")

    def _choose(self, state, record):
        """Return the rows to ask for; note what speaks against paying for them."""
        view, state.view = state.view or self._view(state), None
        if state.known.size:
            rows, state.known = state.known, state.known[:0]
            return rows
        view.teacher_error = state.asked.error
        n_queries = min(state.n_left, state.full_size)
        start, seconds = perf_counter(), view.seconds
        rows = self._draw(state, view, state.full_size)
        record.seconds_query = perf_counter() - start - (view.seconds - seconds)
        if n_queries < state.full_size:
            # A random part of the full round, so that a larger budget asks for these
            # rows too.
            part = state.seeds.generator(state.n_draws - 1).spawn(1)[0]
            rows = rows[np.sort(part.permutation(rows.size)[:n_queries])]
        record.take_report(view.report)
        progress = state.progress
        progress.no_gain = view.report.get("gain_max", 1.0) <= 0
        if self.stopping_criterion is not None:
            progress.compare(state.labels.pool, view.predicted_classes())
            progress.stable = self.stopping_criterion.should_stop(progress.agreements)
            record.student_stability = next(reversed(progress.agreements), None)
        record.seconds_predict = view.seconds
        return rows

    def _draw(self, state, view, n_queries):
        """Let the strategy choose rows of the pool."""
        strategy, generator = state.components.strategy, state.next_generator()
        positions = strategy.query(view, n_queries, generator)
        positions = check_query(positions, view.n_samples, n_queries, strategy)
        return state.labels.pool[positions]

    def _ask(self, state, rows, record):
        """Buy labels of the chosen rows, and of others if some get none."""
        n_missing = self._pay(state, rows, record)
        while n_missing and not stop_reason(state):
            n_queries = min(n_missing, state.n_left, state.labels.pool.size)
            rows = self._draw(state, self._view(state), n_queries)
            n_missing = self._pay(state, rows, record)

    def _pay(self, state, rows, record):
        """Buy the labels of some rows; return how many are answered without one."""
        labels, asked, progress = state.labels, state.asked, state.progress
        X = labels.table.take(rows)
        start = perf_counter()
        expected = np.asarray(state.student.predict_proba(X)).argmax(axis=1)
        record.seconds_predict += perf_counter() - start
        purchase = buy_labels(
            asked.teacher,
            X,
            classes=labels.classes,
            ledger=self.ledger_,
            batch_size=self.batch_size,
            identity=asked.identity,
            with_embeddings=state.components.objective.needs_embeddings,
            first_size=asked.first_size,
            row_numbers=rows,
        )
        asked.heard = True
        got, embeddings = purchase.labeled, purchase.embeddings
        no_label = purchase.no_label
        if embeddings is not None:
            embeddings = embeddings[got]
        labels.add(rows[got], purchase.labels[got], record.round, embeddings)
        labels.drop(rows[no_label])
        agreed = (expected == purchase.labels.argmax(axis=1))[got]
        n_no_label = int(no_label.sum())
        record.take_purchase(purchase, n_no_label, int(agreed.sum()))
        progress.n_asked += int(got.sum()) + n_no_label
        progress.n_no_label += n_no_label
        progress.ledger_spent = purchase.n_refused > 0
        return n_no_label

    def _fitted_attributes(self, state):
        """Return what a fit that ended now would leave."""
        history, asked, labels = as_history(state.records), state.asked, state.labels

        def total(name):
            return sum(record[name] for record in history)

        return {
            "classes_": labels.classes,
            "student_": state.student,
            "teacher_": unwrap_teacher(asked.teacher, self.teacher),
            "teacher_error_": asked.error,
            "teacher_error_estimate_": asked.estimate,
            "n_teacher_checks_": asked.n_checks_paid,
            "history_": history,
            "labeled_round_": labels.round.copy(),
            "transduction_": labels.transduction(self.unlabeled_marker),
            "n_rounds_": history[-1]["round"],
            "n_queries_": total("n_asked"),
            "n_paid_": total("n_paid") + asked.n_checks_paid,
            "n_free_": total("n_free") + asked.n_checks_free,
            "n_no_label_": total("n_no_label"),
            "cost_": asked.bill(total("cost")),
        }

    def _finish(self, state):
        """Leave the fitted attributes."""
        self.termination_condition_ = stop_reason(state)
        for name, value in self._fitted_attributes(state).items():
            setattr(self, name, value)
        logger.info(
            "stopped after round %d (%s): %d rows asked; %d paid, %d of them teacher "
            "checks",
            self.n_rounds_,
            self.termination_condition_,
            self.n_queries_,
            self.n_paid_,
            self.n_teacher_checks_,
        )

    def _check_new_rows(self, X):
        """Check rows to predict; their values are the student's to check."""
        check_is_fitted(self, "student_")
        return check_container(self, X, reset=False, finite=False)

    # What scikit-learn asks of an estimator.

    def __sklearn_clone__(self):
        """Clone everything but a fitted teacher and the ledger, which are shared."""
        params = self.get_params(deep=False)
        shared = {"ledger"}
        if as_teacher(self.teacher).is_fitted:
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
        # All clones of one estimator, and theirs, share one ledger in memory.
        if self._clone_ledger is None and self._ledger_of_clones is None:
            self._ledger_of_clones = CloneLedger.new()
        new._clone_ledger = self._clone_ledger or self._ledger_of_clones
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


def _nothing(proba):
    """Return one value per row that costs nothing."""
    return np.zeros(len(proba), dtype=np.float32)


def _student_has(self, name):
    """Tell whether the student, fitted or to be fitted, has a method."""
    student = getattr(self, "student_", None)
    if student is None:
        student = as_student(self.student, None)
    getattr(student, name)  # the student's own AttributeError explains best
    return True

"""Ask a teacher about several batches at once: in threads, processes, on a cluster."""

import time
from collections.abc import Iterator
from concurrent import futures
from dataclasses import replace
from numbers import Integral
from typing import Any, Self

import numpy as np
from joblib import effective_n_jobs
from joblib.parallel import get_active_backend
from sklearn.base import clone

from skadistill._rows._containers import take_rows
from skadistill._utils.compat import Interval
from skadistill._utils.display import message_of
from skadistill.exceptions import TeacherCallError, TeacherError
from skadistill.teachers._answers import Unanswered
from skadistill.teachers._as_teacher import as_teacher
from skadistill.teachers._base import BaseTeacher
from skadistill.teachers._request import Request

__all__ = ["ParallelTeacher"]


def _delegated(name) -> Any:
    """Return a property that is the wrapped teacher's attribute of that name."""

    def get(self):
        return getattr(self._wrapped, name)

    def set_(self, value):
        setattr(self._wrapped, name, value)

    return property(get, set_, doc=getattr(BaseTeacher, name).__doc__)


class ParallelTeacher(BaseTeacher):
    """Ask another teacher about several batches of rows at once.

    The batches go where joblib would send them: to threads or processes of this
    machine, or, in a ``joblib.parallel_config("dask")`` context, to a Dask cluster. An
    answer is in the ledger as soon as it arrives. A batch that fails ends the asking:
    batches in flight are waited for and kept, and only the failed one is lost.

    Identity, classes, cost and embeddings are those of the wrapped teacher.

    Parameters
    ----------
    teacher : BaseTeacher, estimator or callable
        The teacher to ask. It is sent to the workers, so it must be picklable, except
        with threads.
    batch_size : int, default=1000
        Rows per batch.
    n_jobs : int or None, default=None
        Batches in flight, as joblib counts: None means 1 unless in a
        :obj:`joblib.parallel_config` context, -1 means all processors, or all threads
        of the cluster.
    repeatable : bool, default=False
        Whether asking about the same rows again costs nothing, as with a model that
        runs on the workers themselves. Dask repeats the tasks of a lost worker, which
        might pay twice, so it is used only if this is True.

    Attributes
    ----------
    teacher_ : BaseTeacher
        The clone that `fit` fitted. A teacher that needed no fit has none.
    identity : str
        That of `teacher`: a ledger shares labels among all ways to ask it.

    See Also
    --------
    AsyncTeacher : Asks an API with many calls in flight, limits and retries.

    Examples
    --------
    >>> import numpy as np
    >>> from skadistill.teachers import ParallelTeacher
    >>> def sign(X):
    ...     return np.where(X[:, 0] > 0, "up", "down")
    >>> teacher = ParallelTeacher(sign, batch_size=1)
    >>> teacher.ask(np.array([[2.0], [-1.0]]), ["down", "up"])
    array([[0., 1.],
           [1., 0.]])
    """

    teacher_: BaseTeacher

    _parameter_constraints: dict = {
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "n_jobs": [Integral, None],
        "repeatable": ["boolean"],
    }

    def __init__(
        self,
        teacher: Any,
        batch_size: int = 1000,
        n_jobs: int | None = None,
        *,
        repeatable: bool = False,
    ) -> None:
        self.teacher = teacher
        self.batch_size = batch_size
        self.n_jobs = n_jobs
        self.repeatable = repeatable

    identity: Any = _delegated("identity")
    display_name: Any = _delegated("display_name")
    classes_: Any = _delegated("classes_")
    is_fitted: Any = _delegated("is_fitted")
    has_embeddings: Any = _delegated("has_embeddings")
    can_embed_only: Any = _delegated("can_embed_only")
    output_weights: Any = _delegated("output_weights")
    cost_per_row: Any = _delegated("cost_per_row")
    max_cost_per_row: Any = _delegated("max_cost_per_row")
    allow_missing_classes: Any = _delegated("allow_missing_classes")
    multilabel: Any = _delegated("multilabel")
    allow_extra_classes: Any = _delegated("allow_extra_classes")
    on_invalid: Any = _delegated("on_invalid")
    answer: Any = _delegated("answer")
    answer_embeddings: Any = _delegated("answer_embeddings")
    derived_identity: Any = _delegated("derived_identity")
    get_metadata_routing: Any = _delegated("get_metadata_routing")

    def __sklearn_clone__(self) -> Any:
        if self.is_fitted:
            return self
        params = self.get_params(deep=False)
        return type(self)(**params | {"teacher": clone(self.teacher, safe=False)})

    @property
    def _wrapped(self):
        """The teacher that answers: the clone fitted here, else the user's own."""
        return self.teacher_ if hasattr(self, "teacher_") else as_teacher(self.teacher)

    @property
    def claim_size(self) -> Any:
        """How many rows are bought together by default: ten rounds of batches."""
        return 10 * effective_n_jobs(self.n_jobs) * self.batch_size

    def fit(self, X: Any, y: Any, **fit_params: Any) -> Self:
        """Fit a clone of the teacher if it needs it, and keep it as `teacher_`.

        Parameters
        ----------
        X, y, **fit_params : as in `BaseTeacher.fit`
            Labeled rows.

        Returns
        -------
        self : ParallelTeacher
            Ready to be asked.
        """
        given = as_teacher(self.teacher)
        if not given.is_fitted:
            self.teacher_ = clone(given).fit(X, y, **fit_params)
        return self

    def ask_parts(
        self,
        X: Any,
        classes: Any,
        *,
        row_numbers: Any = None,
        with_embeddings: Any = False,
        before_call: Any = None,
    ) -> Iterator[Any]:
        """Ask about the rows of `X` in batches and yield the answers as they arrive.

        Parameters
        ----------
        X, classes, row_numbers, with_embeddings, before_call : as in `BaseTeacher`
            The question.

        Yields
        ------
        part : LabeledBatch
            One batch.

        Raises
        ------
        TeacherCallError
            If a worker was lost with a batch.
        TeacherError
            After the first batch that fails, once those in flight have come back and
            were yielded. Its ``cost`` is that of the batches that failed.
        """
        classes = self._check_question(X, classes)
        request = _ParallelRequest(
            self._wrapped, X, classes, row_numbers, self.batch_size, before_call
        )
        with _open_workers(self.n_jobs, self._wrapped, self.repeatable) as workers:
            yield from request.run(workers, with_embeddings)

    def _check_parameters(self):
        super()._check_parameters()
        self._wrapped._check_parameters()


class _ParallelRequest(Request):
    """One question to a ParallelTeacher, in batches."""

    def run(self, workers, with_embeddings):
        """Yield the parts as they arrive, then raise the fault, if any."""
        return self.finish(self._parts(workers, with_embeddings))

    def _parts(self, workers, with_embeddings):
        """Yield answers as they arrive."""
        in_flight: dict[futures.Future, np.ndarray] = {}
        clock = time.perf_counter()
        while True:
            self._send(workers, in_flight, with_embeddings)
            if not in_flight:
                break
            done = futures.wait(in_flight, return_when=futures.FIRST_COMPLETED).done
            for future in done:
                for part in self._received(future, in_flight.pop(future)):
                    now = time.perf_counter()
                    yield replace(part, seconds=now - clock)
                    clock = now

    def _send(self, workers, in_flight, with_embeddings):
        """Keep the workers busy, unless something went wrong."""
        while not self.stopped and len(in_flight) < workers.width:
            rows = next(self.calls, None)
            if rows is None:
                return
            if self.before_call is not None:
                self.before_call(rows)
            question = take_rows(self.X, rows), self.classes, self.numbers[rows]
            in_flight[workers.submit(*question, with_embeddings)] = rows

    def _received(self, future, rows):
        """Return the parts of a batch, in positions of the whole; keep its fault."""
        try:
            parts, fault = future.result()
        except Exception as error:
            parts, fault = [], self._worker_error(error, rows)
        if fault is not None:
            unanswered = fault.unanswered
            if fault.cost is None:  # it may be billed
                n_left = len(rows) - sum(len(part.rows) for part in parts)
                most = n_left * (self.teacher.max_cost_per_row or 0.0)
                unanswered = Unanswered(n_left, most)
            self.fail(fault, fault.cost or 0.0, unanswered)
        return [
            replace(
                p,
                rows=rows[p.rows],
                also=[replace(other, rows=rows[other.rows]) for other in p.also],
            )
            for p in parts
        ]

    def _worker_error(self, error, rows):
        """Return a TeacherError for a batch that was lost with its worker."""
        if isinstance(error, TeacherError):
            return error
        fault = TeacherCallError(
            f"{self.teacher.display_name} was asked about {len(rows)} rows by a worker "
            f"that was lost ({type(error).__name__}: {message_of(error):.120}); "
            "they may have been paid for and were not asked about again; check the "
            "worker and fit again: labels that have arrived are in the ledger."
        )
        fault.__cause__ = error
        return fault


def _answer_batch(teacher, X, classes, numbers, with_embeddings):
    """Return the parts of one batch and its fault, if any; runs on a worker."""
    parts, fault = [], None
    extra = {"with_embeddings": True} if with_embeddings else {}
    try:
        for part in teacher.ask_parts(X, classes, row_numbers=numbers, **extra):
            parts.append(part)
    except TeacherError as error:
        fault = error
    return parts, fault


def _open_workers(n_jobs, teacher, repeatable):
    """Return workers of joblib's active backend."""
    width = effective_n_jobs(n_jobs)
    backend = type(get_active_backend()[0]).__name__
    if backend == "DaskDistributedBackend":
        if not repeatable:
            error = TeacherError(
                f"{teacher.display_name} was to be asked through Dask, which repeats "
                "the tasks of a lost worker and so might pay twice; pass "
                "ParallelTeacher(..., repeatable=True) if asking again is free, else "
                'use joblib.parallel_config("threading").'
            )
            error.cost = 0.0  # nothing was sent
            raise error
        executor = get_active_backend()[0].client.get_executor(pure=False, retries=0)
        return _Workers(executor, 2 * width, teacher)
    if width == 1:
        return _Workers(_InlineExecutor(), 1, teacher)
    if backend == "ThreadingBackend":
        return _Workers(futures.ThreadPoolExecutor(width), 2 * width, teacher)
    if backend == "LokyBackend":
        from joblib.externals.loky import get_reusable_executor

        # joblib's own patience. A worker that leaves just as work comes makes loky
        # warn; if warnings are errors, its thread ends and no answer ever arrives.
        processes = get_reusable_executor(width, timeout=300)
        return _Workers(processes, 2 * width, teacher, shared=True)
    raise TeacherError(
        f"a teacher cannot be asked through joblib's {backend}; use "
        'joblib.parallel_config("dask"), "loky" or "threading".'
    )


class _InlineExecutor:
    """An executor that runs a task at once, in this thread."""

    def submit(self, function, *args):
        future: futures.Future = futures.Future()
        try:
            future.set_result(function(*args))
        except Exception as error:
            future.set_exception(error)
        return future

    def shutdown(self):
        pass


class _Workers:
    """Send batches to an executor of `concurrent.futures`; `width` are in flight."""

    def __init__(self, executor, width, teacher, *, shared=False):
        self.executor = executor
        self.width = width
        self.teacher = teacher
        self.shared = shared

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        if not self.shared:
            self.executor.shutdown()

    def submit(self, *question):
        """Send one batch."""
        return self.executor.submit(_answer_batch, self.teacher, *question)

"""Ask a teacher about several batches at once: in threads, processes, on a cluster."""

import time
from concurrent import futures
from dataclasses import dataclass
from uuid import uuid4

import numpy as np
from joblib import effective_n_jobs
from joblib.parallel import get_active_backend
from sklearn.base import clone

from skadistill._rows._containers import take_rows
from skadistill.exceptions import TeacherError, TeacherWorkerError
from skadistill.teachers._as_teacher import as_teacher
from skadistill.teachers._base import BaseTeacher, LabeledBatch
from skadistill.teachers._request import Request

__all__ = ["ParallelTeacher"]


class ParallelTeacher(BaseTeacher):
    """Ask another teacher about several batches of rows at once.

    The batches go where joblib would send them: to threads or processes of this
    machine, or, in a ``joblib.parallel_config("dask")`` context, to a Dask cluster. An
    answer is in the ledger as soon as it arrives. A batch that fails ends the asking:
    those in flight are waited for and kept, and the failed one alone is lost.

    Parameters
    ----------
    teacher : BaseTeacher, estimator or callable
        Who answers. It travels to the workers, so it must be picklable, except with
        threads.
    batch_size : int, default=1000
        Rows of one batch.
    n_jobs : int or None, default=None
        Batches asked about at a time, as joblib counts: None means 1 unless in a
        :obj:`joblib.parallel_config` context, -1 means all processors, or all threads
        of the cluster.
    repeatable : bool, default=False
        Whether asking about the same rows again costs nothing, as with a model that
        runs on the workers themselves. Dask repeats what a lost worker was doing, or
        had done and not yet handed over. That would pay twice, so it is refused unless
        this is True.

    Attributes
    ----------
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

    def __init__(self, teacher, batch_size=1000, n_jobs=None, *, repeatable=False):
        self.teacher = teacher
        self.batch_size = batch_size
        self.n_jobs = n_jobs
        self.repeatable = repeatable

    def __sklearn_clone__(self):
        if not self.needs_fit:
            return self
        return self._around(clone(self.teacher, safe=False))

    def _around(self, teacher):
        params = self.get_params(deep=False)
        return type(self)(**{**params, "teacher": teacher})

    @property
    def _inner(self):
        return as_teacher(self.teacher)

    def get_metadata_routing(self):
        """Route metadata as the teacher itself would have it.

        Returns
        -------
        routing : MetadataRequest or MetadataRouter
            The teacher's own.
        """
        return self._inner.get_metadata_routing()

    @property
    def identity(self):
        """Under which a ledger files the answers: that of `teacher`."""
        return self._inner.identity

    @property
    def display_name(self):
        """What messages call the teacher."""
        return self._inner.display_name

    @property
    def classes_(self):
        """What the columns of its answers mean; None where it has not said."""
        return self._inner.classes_

    @property
    def needs_fit(self):
        """Whether `teacher` must be fitted first."""
        return self._inner.needs_fit

    @property
    def has_embeddings(self):
        """Whether `teacher` has embeddings."""
        return self._inner.has_embeddings

    @property
    def can_embed_only(self):
        """Whether `teacher` gives embeddings without being asked for labels."""
        return self._inner.can_embed_only

    @property
    def output_weights(self):
        """Weights that turn embeddings into logits; None where they are not known."""
        return self._inner.output_weights

    @property
    def cost_per_row(self):  # type: ignore[override]
        """What one answer of `teacher` costs; None: not known."""
        return self._inner.cost_per_row

    @property
    def max_cost_per_row(self):
        """What one row can cost at most."""
        return self._inner.max_cost_per_row

    @property
    def claim_size(self):
        """How many rows are bought together: enough for ten rounds of calls."""
        return 10 * effective_n_jobs(self.n_jobs) * self.batch_size

    @property  # type: ignore[override]
    def allow_missing_classes(self):
        """Whether `teacher` may lack classes."""
        return self._inner.allow_missing_classes

    @allow_missing_classes.setter
    def allow_missing_classes(self, value):
        self._inner.allow_missing_classes = value

    def fitted_on(self, X, y, **fit_params):
        """Return a teacher around the fitted one.

        Parameters
        ----------
        X, y, **fit_params : as in `BaseTeacher.fitted_on`
            Labeled rows.

        Returns
        -------
        teacher : ParallelTeacher
            Ready to be asked.
        """
        if not self.needs_fit:
            return self
        return self._around(self._inner.fitted_on(X, y, **fit_params))

    def derived_identity(self):
        """Return the identity of `teacher`.

        Returns
        -------
        identity : str
            See :meth:`skadistill.teachers.BaseTeacher.derived_identity`.
        """
        return self._inner.derived_identity()

    def answer(self, X):
        """Let `teacher` answer here, in one call.

        See :meth:`skadistill.teachers.BaseTeacher.answer`.
        """
        return self._inner.answer(X)

    def answer_embeddings(self, X):
        """Let `teacher` embed here, in one call.

        See :meth:`skadistill.teachers.BaseTeacher.answer_embeddings`.
        """
        return self._inner.answer_embeddings(X)

    def _ask(self, X, classes, row_numbers, with_embeddings):
        return self._inner._ask(X, classes, row_numbers, with_embeddings)

    def ask_parts(self, X, classes, *, row_numbers=None, with_embeddings=False):
        """Ask about the rows of `X` in batches and yield the answers as they come.

        Parameters
        ----------
        X, classes, row_numbers : as in `BaseTeacher.ask`
            The question.
        with_embeddings : bool, default=False
            Whether embeddings are wanted too.

        Yields
        ------
        part : LabeledBatch
            One batch.

        Raises
        ------
        TeacherWorkerError
            If a worker was lost with a batch.
        TeacherError
            After the first batch that fails, once those in flight have come back and
            were yielded. Its ``cost`` is that of the batches that failed.
        """
        if not isinstance(self.batch_size, int) or self.batch_size < 1:
            error = TeacherError(
                f"batch_size is {self.batch_size!r}; pass an integer of at least 1."
            )
            error.cost = 0.0
            raise error
        teacher = self._inner
        teacher._check_classes(np.asarray(classes).tolist())
        errand = _ParallelRequest(teacher, X, classes, row_numbers, self.batch_size)
        with _open_workers(self.n_jobs, teacher, self.repeatable) as workers:
            yield from errand.run(workers, with_embeddings)


class _ParallelRequest(Request):
    """One question to a ParallelTeacher: batches in flight."""

    def run(self, workers, with_embeddings):
        """Yield a part for each batch answered, then raise the fault, if any."""
        return self.bring_home(self._parts(workers, with_embeddings))

    def _parts(self, workers, with_embeddings):
        """Yield answers as they come."""
        flying: dict[futures.Future, np.ndarray] = {}
        clock = time.perf_counter()
        while True:
            self._send(workers, flying, with_embeddings)
            if not flying:
                break
            done = futures.wait(flying, return_when=futures.FIRST_COMPLETED).done
            for future in done:
                answer = self._answer(future, flying.pop(future))
                if answer is not None:
                    now = time.perf_counter()
                    yield self._part(answer, now - clock)
                    clock = now

    def _send(self, workers, flying, with_embeddings):
        """Keep the workers busy, unless something went wrong."""
        while not self.stopped and len(flying) < workers.width:
            rows = next(self.calls, None)
            if rows is None:
                return
            question = take_rows(self.X, rows), self.classes, self.numbers[rows]
            flying[workers.submit(*question, with_embeddings)] = rows

    def _answer(self, future, rows):
        """Return what a batch brought; None for a fault, which is remembered."""
        try:
            return rows, *future.result()
        except Exception as error:
            cost = len(rows) * (self.teacher.max_cost_per_row or 0.0)
            self.fail(self._named(error, rows), cost)
            return None

    def _part(self, answer, seconds):
        rows, labels, embeddings = answer
        price = self.teacher.cost_per_row
        cost = None if price is None else price * len(rows)
        return LabeledBatch(rows, labels, cost, seconds, embeddings)

    def _named(self, error, rows):
        """Make a fault of the teacher of what was lost with a worker."""
        if isinstance(error, TeacherError):
            return error
        fault = TeacherWorkerError(
            f"{self.teacher.display_name} was asked about {len(rows)} rows by a worker "
            "that "
            f"was lost ({type(error).__name__}: {str(error).rstrip('.'):.120}); they "
            "may have been paid for and were not asked about again; mend the worker "
            "and fit again: labels that have arrived are in the ledger."
        )
        fault.__cause__ = error
        return fault


def _answer_batch(teacher, X, classes, numbers, with_embeddings, ticket=None):
    """Ask about one batch; runs on a worker."""
    if ticket is not None:
        ticket.use(teacher.display_name, len(numbers))
    return teacher._ask(X, classes, numbers, with_embeddings)


def _open_workers(n_jobs, teacher, repeatable):
    """Find whom joblib would send work to at the moment."""
    width = effective_n_jobs(n_jobs)
    backend = type(get_active_backend()[0]).__name__
    if backend == "DaskDistributedBackend":
        return _DaskWorkers(get_active_backend()[0].client, width, teacher, repeatable)
    if width == 1:
        return _Workers(_InlineExecutor(), 1, teacher)
    if backend == "ThreadingBackend":
        return _Workers(futures.ThreadPoolExecutor(width), 2 * width, teacher)
    if backend == "LokyBackend":
        from joblib.externals.loky import get_reusable_executor

        # joblib's own patience. A worker that leaves just as work comes makes loky
        # warn, and where warnings are errors its thread dies and nobody answers.
        processes = get_reusable_executor(width, timeout=300)
        return _Workers(processes, 2 * width, teacher, shared=True)
    raise TeacherError(
        f"A teacher cannot be asked through joblib's {backend}; use "
        'joblib.parallel_config("dask"), "loky" or "threading".'
    )


class _InlineExecutor:
    """An executor that answers at once, here."""

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
    """Send batches to an executor of `concurrent.futures`.

    Parameters
    ----------
    executor : Executor
        Who works.
    width : int
        Batches in flight: enough that none waits for work.
    teacher : BaseTeacher
        Who answers.
    shared : bool, default=False
        Whether others use the executor, so that it stays open.
    """

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


class _DaskWorkers(_Workers):
    """Send batches to a Dask cluster, each at most once unless it is free.

    Dask runs a task again when its worker is lost. Therefore each batch needs a
    ticket, which the scheduler hands out once.
    """

    def __init__(self, client, width, teacher, repeatable):
        executor = client.get_executor(pure=False, retries=0)
        super().__init__(executor, 2 * width, teacher)
        self.client = client
        self.repeatable = repeatable
        self.tickets: list = []

    def submit(self, *question):
        """Send one batch with its ticket."""
        ticket = None
        if not self.repeatable:
            from distributed import Queue

            ticket = _OnceGuard(f"skadistill-{uuid4().hex}")
            self.tickets.append(Queue(ticket.name, client=self.client))
            self.tickets[-1].put(None)
        return self.executor.submit(_answer_batch, self.teacher, *question, ticket)

    def __exit__(self, *exc):
        super().__exit__(*exc)
        for queue in self.tickets:
            queue.close()


@dataclass(frozen=True)
class _OnceGuard:
    """Let a batch be asked about once; travels to the worker."""

    name: str

    def use(self, label, n_samples):
        """Use up the ticket, or say that somebody has."""
        from distributed import Queue, TimeoutError

        try:
            Queue(self.name).get(timeout=1)
        except TimeoutError:
            raise TeacherWorkerError(
                f"{label} was asked about {n_samples} rows by a worker that was lost; "
                "they may have been paid for and were not asked about again; mend the "
                "worker and fit again: labels that have arrived are in the ledger. "
                "Where asking again is free, say repeatable=True."
            ) from None

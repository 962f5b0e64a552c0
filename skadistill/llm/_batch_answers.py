"""What a batch has answered."""

from dataclasses import dataclass

import numpy as np

from skadistill.exceptions import TeacherError
from skadistill.llm._clients import ReplyError
from skadistill.teachers._answers import NoLabel

__all__ = ["JobAnswers", "read_batch"]


@dataclass(frozen=True, eq=False)
class JobAnswers:
    """Hold what a job has answered.

    Parameters
    ----------
    labels : ndarray of float64 of shape (n_rows, n_classes)
        NaN in rows without a label.
    answered : ndarray of bool of shape (n_rows,)
        The others cost nothing and can be asked again.
    costs : ndarray of float64 of shape (n_rows,)
        What each row cost.
    models : list of str or None
        Which model answered each row.
    reason : str
        Why rows were not answered.
    fault : TeacherError or None
        To be raised once the answers are recorded.
    """

    labels: np.ndarray
    answered: np.ndarray
    costs: np.ndarray
    models: list
    reason: str = "no reason given"
    fault: TeacherError | None = None


def read_batch(batch, lines, ids, requests, price):
    """Read the lines that a batch has brought.

    Parameters
    ----------
    batch : dict
        Its state, as the endpoint reports it.
    lines : list of dict
        Of its output and of its errors, in any order.
    ids : list of str of length n_rows
        The rows that are wanted.
    requests : ChatRequests
        Reads the replies.
    price : callable
        Turns the cost of a reply at the full price, None if unknown, into that of a
        batch.

    Returns
    -------
    answers : JobAnswers
        Columns in the order of the teacher's own classes.
    """
    place = {name: i for i, name in enumerate(ids)}
    labels = np.full((len(ids), len(requests.classes)), np.nan)
    answered, costs = np.zeros(len(ids), dtype=bool), np.zeros(len(ids))
    models: list = [None] * len(ids)
    reason = batch["status"]
    for line in lines:
        i = place.get(line.get("custom_id"))
        if i is None:  # recorded before
            continue
        response = line.get("response") or {}
        body = response.get("body") or {}
        if response.get("status_code") == 200 and not body.get("error"):
            answer = requests.answer_to(body)
            (label,), costs[i] = answer.labels, price(answer.cost)
            models[i], answered[i] = answer.model, True
            if not isinstance(label, NoLabel):
                labels[i] = label
            continue
        error = _error_of(line, response, body)
        if requests.refusal(error) is not None:
            answered[i] = True
        elif not requests.accepts_without(error):
            reason = f"{error.status_code} {error.body.get('code') or ''}".strip()
    return JobAnswers(labels, answered, costs, models, reason)


def _error_of(line, response, body):
    """Return the error of a line of a batch, as a client would have raised it."""
    found = body.get("error") or line.get("error") or {}
    found = found if isinstance(found, dict) else {"message": str(found)}
    error = ReplyError(found)
    if isinstance(response.get("status_code"), int):
        error.status_code = response["status_code"]
    return error

"""What a batch has answered."""

import numpy as np

from skadistill._utils.display import message_of
from skadistill.llm._clients import EmptyReply, ReplyError
from skadistill.llm._refusals import may_concern_row, no_label_of
from skadistill.teachers._answers import JobAnswers, NoLabel

__all__ = ["is_late", "read_batch"]


def read_batch(batch, lines, ids, requests, price):
    """Read the lines that a batch has brought."""
    place = {name: i for i, name in enumerate(ids)}
    labels = np.full((len(ids), len(requests.classes)), np.nan)
    answered, empty = np.zeros((2, len(ids)), dtype=bool)
    costs = np.zeros(len(ids))
    models: list = [None] * len(ids)
    reason, unclear, sent = batch["status"], [], requests.body
    has_learned = False
    for line in lines:
        i = place.get(line.get("custom_id"))
        if i is None:  # recorded before
            continue
        response = line.get("response") or {}
        body = response.get("body") or {}
        error: ReplyError
        if response.get("status_code") == 200:
            try:
                requests.check(body)
            except ReplyError as broken:  # it broke off, and may be billed
                error, empty[i] = broken, isinstance(broken, EmptyReply)
                if broken.reply is not None:
                    costs[i] = price(requests.answer_to(body).cost)
            else:
                answer = requests.answer_to(body)
                (label,), costs[i] = answer.labels, price(answer.cost)
                models[i], answered[i] = answer.model, True
                if not isinstance(label, NoLabel):
                    labels[i] = label
                continue
        else:
            error = _error_of(line, response, body)
        if no_label_of(error) is not None:
            answered[i] = True
        elif requests.accepts_without(error, sent):
            has_learned = True
        else:
            code, said = error.body.get("code"), error.body.get("message")
            shown = [str(error.status_code), str(code or "")]
            if may_concern_row(error):  # and may quote it
                unclear.append(i)
            elif said:
                shown.append(f"{message_of(said):.120}")
            reason = " ".join(filter(None, shown))
    # What is refused although others are answered is refused for the row.
    if len(unclear) <= answered.sum():
        answered[unclear] = True
    return JobAnswers(labels, answered, costs, models, reason, has_learned, empty=empty)


def is_late(batch, lines):
    """Tell whether a batch has answered more than its files hold so far."""
    counts = batch.get("request_counts") or {}
    statuses = [(line.get("response") or {}).get("status_code") for line in lines]
    return not lines or statuses.count(200) < (counts.get("completed") or 0)


def _error_of(line, response, body):
    """Return the error of a line of a batch, as a client would have raised it."""
    found = body.get("error") or line.get("error") or {}
    found = found if isinstance(found, dict) else {"message": str(found)}
    error = ReplyError(found)
    if isinstance(response.get("status_code"), int):
        error.status_code = response["status_code"]
    return error

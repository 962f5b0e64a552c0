"""Embeddings of teachers: their sources and checks."""

import sys

import numpy as np
from scipy.special import expit
from sklearn.frozen import FrozenEstimator
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline
from sklearn.utils import check_array

from skadistill.exceptions import TeacherAnswerError, TeacherError
from skadistill.teachers._identity import object_identity

__all__ = [
    "check_embeddings",
    "embedding_suffix",
    "estimator_embeddings",
    "estimator_output_weights",
    "has_hidden_layer",
    "named_method",
    "raise_without_embeddings",
    "thawed",
]

_ACTIVATIONS = {
    "identity": lambda z: z,
    "logistic": expit,
    "tanh": np.tanh,
    "relu": lambda z: np.maximum(z, 0),
}


def check_embeddings(embeddings, n_samples, *, who, row_numbers=None):
    """Return embeddings as finite float32 of shape (n_samples, n_dims), or raise."""
    if hasattr(embeddings, "detach"):  # a tensor, if torch is there at all
        embeddings = embeddings.detach().cpu().float()
    try:
        with np.errstate(over="ignore"):  # caught below
            found = np.asarray(embeddings, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise TeacherAnswerError(
            f"{who} gave embeddings of type {type(embeddings).__name__}, which are "
            f"not a table of numbers ({error}); return an array of shape (n_samples, "
            "n_dims)."
        ) from error
    if found.ndim != 2 or len(found) != n_samples or found.shape[1] == 0:
        raise TeacherAnswerError(
            f"{who} gave embeddings of shape {found.shape} for {n_samples} rows; "
            "return one row of numbers for each."
        )
    wrong = np.argwhere(~np.isfinite(found))
    if len(wrong):
        row, column = wrong[0]
        number = row if row_numbers is None else row_numbers[row]
        raise TeacherError(
            f"{who} gave an embedding of row {number} that holds {found[row, column]}; "
            "return finite numbers (float32 ends at 3.4e38)."
        )
    return found


def raise_without_embeddings(who):
    """Raise an error about missing embeddings, with ways to get some."""
    raise TeacherError(
        f"{who} returns no embeddings; name their source with "
        "as_teacher(obj, embedding=...), or use an objective that needs none."
    )


def embedding_suffix(embedding):
    """Return the part of an identity that tells sources of embeddings apart."""
    if embedding is None:
        return ""
    source = embedding if isinstance(embedding, str) else object_identity(embedding)
    return f":embedding:{source}"


def named_method(obj, name, who):
    """Return a method by its name; of a pipeline, also that of the steps before."""
    obj = thawed(obj)
    method = getattr(obj, name, None)
    if method is None and name == "transform" and isinstance(obj, Pipeline):
        method = obj[:-1].transform
    if callable(method):
        return method
    raise TeacherError(
        f"{who} has no method {name!r} to compute embeddings; pass the name of "
        "a method, or a function of rows, as embedding."
    )


def thawed(estimator):
    """Return the estimator in a FrozenEstimator; freezing changes no answer."""
    while isinstance(estimator, FrozenEstimator):
        estimator = estimator.estimator
    return estimator


def _last_step(estimator):
    """Return the last step of a pipeline; another estimator is its own."""
    estimator = thawed(estimator)
    return thawed(estimator[-1]) if isinstance(estimator, Pipeline) else estimator


def has_hidden_layer(estimator):
    """Return whether the last hidden layer of an estimator can be read."""
    last = _last_step(estimator)
    return isinstance(last, MLPClassifier) or _is_net(last)


def estimator_embeddings(estimator, embedding, X, who):
    """Embed rows by what the user named, else by the last hidden layer; unchecked."""
    if callable(embedding):
        return embedding(X)
    if embedding is not None:
        return named_method(estimator, embedding, who)(X)
    estimator, last = thawed(estimator), _last_step(estimator)
    if isinstance(estimator, Pipeline):
        X = estimator[:-1].transform(X)
    if isinstance(last, MLPClassifier):
        return _mlp_hidden_layer(last, X)
    return _net_hidden_layer(last, X, who)


def estimator_output_weights(estimator, embedding):
    """Return the weights that turn embeddings into logits, None if not known."""
    last = _last_step(estimator)
    if embedding is None and isinstance(last, MLPClassifier):
        return _each_class(last.coefs_[-1].T)
    if embedding is None and _is_net(last):
        layer = _output_layer(last)
        return None if layer is None else _each_class(layer.weight.numpy(force=True))
    is_pipeline = isinstance(thawed(estimator), Pipeline)
    if embedding == "transform" and is_pipeline and hasattr(last, "coef_"):
        return _each_class(np.asarray(last.coef_))
    return None


def _each_class(weights):
    """Give the first of two classes, whose logit is left out, its weights: none."""
    return (
        np.vstack([np.zeros_like(weights), weights]) if len(weights) == 1 else weights
    )


def _mlp_hidden_layer(mlp, X):
    """Return the last hidden layer of scikit-learn's network."""
    hidden = check_array(X, accept_sparse=["csr", "csc"])
    layers = list(zip(mlp.coefs_, mlp.intercepts_, strict=True))
    for weights, intercepts in layers[:-1]:
        hidden = _ACTIVATIONS[mlp.activation](hidden @ weights + intercepts)
    return hidden


def _is_net(estimator):
    """Tell whether an estimator is a skorch net, without importing skorch for that."""
    skorch = sys.modules.get("skorch")
    return skorch is not None and isinstance(estimator, skorch.NeuralNet)


def _output_layer(net):
    """Return the last linear layer of a skorch net, or None."""
    from torch import nn

    layers = [m for m in net.module_.modules() if isinstance(m, nn.Linear)]
    return layers[-1] if layers else None


def _net_hidden_layer(net, X, who):
    """Return what the last linear layer of a skorch net reads."""
    import torch

    layer = _output_layer(net)
    if layer is None:
        raise TeacherError(
            f"{who} has no linear layer whose input could be its embedding; pass a "
            "function of rows as embedding."
        )
    seen = []
    hook = layer.register_forward_pre_hook(
        lambda _, inputs: seen.append(inputs[0].detach().flatten(1).float().cpu())
    )
    try:
        net.predict_proba(X)
    finally:
        hook.remove()
    return torch.cat(seen).numpy()

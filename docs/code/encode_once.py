"""A step of a pipeline that encodes each text once in a fit of ActiveDistiller."""

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin


class EncodeOnce(TransformerMixin, BaseEstimator):
    """Encode texts; remember the vectors, also in clones.

    Parameters
    ----------
    encode : callable
        Takes a list of texts and returns an array of shape (n_texts, n_dims), such as
        ``SentenceTransformer("all-MiniLM-L6-v2").encode`` or the same of model2vec.
    """

    def __init__(self, encode):
        self.encode = encode

    def __sklearn_clone__(self):
        return self  # it learns nothing from rows, and its vectors can be shared

    def __sklearn_is_fitted__(self):
        return True

    def fit(self, X, y=None):
        """Return itself."""
        return self

    def transform(self, X):
        """Return the vectors, after encoding those that are not known."""
        known = vars(self).setdefault("_known", {})
        new = [text for text in dict.fromkeys(X) if text not in known]
        if new:
            known.update(zip(new, self.encode(new), strict=True))
        return np.stack([known[text] for text in X])

    def __getstate__(self):
        state = super().__getstate__()
        return {name: value for name, value in state.items() if name != "_known"}

"""Results of an earlier search, which need not be trained again."""

import numpy as np
from scipy.stats import rankdata

from skadistill.search._space import same_value

__all__ = ["KnownResults"]


class KnownResults:
    """Look up candidates in the ``cv_results_`` of an earlier search."""

    def __init__(self, previous):
        self.previous = previous
        self.params = [] if previous is None else list(previous["params"])

    def row(self, params):
        """Return the position of a candidate among the earlier ones, or None."""
        for row, known in enumerate(self.params):
            if known.keys() == params.keys() and all(
                same_value(known[name], params[name]) for name in params
            ):
                return row
        return None

    def complete(self, settings, train, column_of):
        """Score candidates: known ones by looking them up, the others by training."""
        rows = [self.row(params) for params in settings]
        scores = np.empty(len(settings))
        new = [i for i, row in enumerate(rows) if row is None]
        if new:
            scores[new] = train([settings[i] for i in new])
        if len(new) < len(rows):
            column = self.previous[column_of(self.previous)]
            old = [i for i, row in enumerate(rows) if row is not None]
            scores[old] = [column[rows[i]] for i in old]
        return scores

    def merge_into(self, results, settings):
        """Insert the rows of known candidates among those just trained."""
        if self.previous is None:
            return
        trained = KnownResults(results)
        n_trained = len(trained.params)
        order = []
        for params in settings:
            row = trained.row(params)
            order.append(n_trained + self.row(params) if row is None else row)
        for name, column in results.items():
            if name == "params":
                continue
            earlier = self.previous.get(name, np.full(len(self.params), np.nan))
            results[name] = np.ma.concatenate([column, earlier])[order]
            if not isinstance(column, np.ma.MaskedArray):
                results[name] = np.ma.getdata(results[name])
        results["params"] = settings
        for name in results:
            if name.startswith("rank_"):
                means = results[name.replace("rank_", "mean_")]
                ranks = rankdata(-np.nan_to_num(means, nan=-np.inf), method="min")
                results[name] = ranks.astype(np.int32)

import numpy as np

from skadistill.query import RandomSampler


def make_proba(n=60, n_classes=3, seed=0):
    return np.random.default_rng(seed).dirichlet(np.ones(n_classes), size=n)


def test_random_sampler_is_even(tools):
    """Every row is asked equally often, none twice."""
    tools.assert_marginals(RandomSampler(), make_proba(20), 6, np.full(20, 0.3))

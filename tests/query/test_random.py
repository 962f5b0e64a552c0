import numpy as np

from skadistill.query import RandomSampler


def test_random_sampler_is_even(tools):
    """Every row is asked equally often, none twice."""
    tools.assert_marginals(RandomSampler(), tools.make_proba(20), 6, np.full(20, 0.3))

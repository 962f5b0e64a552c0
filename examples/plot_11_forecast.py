"""
Decide whether more labels are worth it
=======================================

How good is the student now, and what would 1,000 more labels bring? No held-out rows
are needed to tell. After 600 labels the fit itself says that the student agrees
with its teacher on 87 % of the pool (80 to 92 %). It forecasts 88.2 % (84.7 to 91.8 %)
with 1,000 more labels, which cost 20. We buy them, and the true agreement rises from
87.6 to 89.0 %. A rule that wants half a point per unit of money stops after 400 labels.

The weakness: the bands are wide. Each round has only 50 uniform rows.
"""

# %%
# A simulated teacher that is wrong on 5 % of the rows and costs 0.02 per row. A quarter
# of each round (``uniform_share``) is a uniform sample of the pool. These rows say how
# often the student of the round before agrees with the teacher on the whole pool.
import matplotlib.pyplot as plt
import numpy as np

from skadistill import ActiveDistiller, MemoryLedger, StudentNet
from skadistill.checking import CheckPolicy
from skadistill.datasets import make_noisy_teacher_problem
from skadistill.deploy import certify_agreement
from skadistill.plotting import LearningCurveDisplay
from skadistill.stopping import GainPerCost
from skadistill.teachers import FunctionTeacher

problem = make_noisy_teacher_problem(
    n_labeled=100, n_pool=4000, teacher_error=0.05, random_state=0
)
pool, fresh = problem.X_pool[:3000], problem.X_pool[3000:]
teacher = FunctionTeacher(problem.teacher, name="oracle", cost_per_row=0.02)
ledger = MemoryLedger()


def fit(budget, ledger=ledger, **params):
    return ActiveDistiller(
        teacher,
        StudentNet(module__hidden_sizes=(64,), max_epochs=40, random_state=0),
        budget=budget,
        query_size=200,
        teacher_checks=CheckPolicy(error_rate=0.05),
        ledger=ledger,
        use_known=False,
        random_state=0,
        **params,
    ).fit(problem.X_labeled, problem.y_labeled, X_unlabeled=pool)


first = fit(600)
for record in first.history_[:-1]:
    print(
        f"round {record['round']}: agreement {record['pool_agreement']:.3f}, "
        f"{record['pool_agreement_low']:.3f} to {record['pool_agreement_high']:.3f}"
    )
print(first.forecast_)

# %%
# The next 1,000 labels, paid for only once, and the truth, which a user does not know.
more = fit(1600)
taught = problem.classes[np.asarray(problem.teacher(pool)).argmax(axis=1)]
for model in (first, more):
    truth = np.mean(model.predict(pool) == taught)
    print(f"{model.history_[-1]['n_labeled']} labeled rows: {truth:.3f}")

display = LearningCurveDisplay.from_estimator(first, count="asked", forecast=1000)
display.ax_.plot(1600, truth, "k*", label="truth after 1,000 more")
display.ax_.legend()
plt.show()

# %%
# A rule that stops once the next round is forecast to bring less than half a point for
# each unit of money.
stopped = fit(3000, ledger=None, stopping_criterion=GainPerCost(0.5))
print(stopped.termination_condition_, stopped.n_queries_, stopped.cost_)

# %%
# The last student has no estimate, since no round came after it. A certificate buys
# rows that are used for nothing else, and its bound is exact.
print(certify_agreement(more, fresh, target=0.85, random_state=0))

"""
Find the best student of at most 1200 parameters
================================================

A deployed student must be small. How wide should its layers be, and how many of them
does it need? On scikit-learn's digits, with at most 1200 parameters, LayerNAS
trains 20 of 64 networks and chooses one without any hidden layer: it is 91.9 % accurate
on the test rows and has 650 parameters. The widest network of two equal layers has
90.0 % with 1167 parameters.

The weakness: with 2000 parameters the uniform network is the better one on this split
(95.2 % against 92.7 %). Scores of cross-validation are noisy, and the best score is too
high.

.. code-block:: python

    from skadistill.search import LayeredMLP, LayerNASSearchCV, mlp_space

    student = StudentNet(LayeredMLP, standardize=True)
    search = LayerNASSearchCV(student, mlp_space(n_layers=2), max_size=1200)
    search.fit(X, y)
    search.best_params_, search.best_size_
"""

# %%
# Data: half of the digits are kept for the final score.
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import StratifiedKFold, train_test_split

from skadistill.plotting import ParetoFrontDisplay
from skadistill.search import LayeredMLP, LayerNASSearchCV, mlp_space
from skadistill.student import StudentNet

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(
    X.astype(np.float32), y, train_size=0.5, stratify=y, random_state=0
)

# %%
# The search space: up to two hidden layers, each of 8 to 32 units or left out. A layer
# of the search is a parameter of the network.
LIMIT = 1200
space = mlp_space(n_layers=2, widths=(8, 12, 16, 20, 24, 28, 32))
student = StudentNet(LayeredMLP, standardize=True, max_epochs=20, random_state=0)

# %%
# Before it starts, the search knows the largest number of candidates it will train and
# the size of each of them.
search = LayerNASSearchCV(
    student,
    space,
    max_size=LIMIT,
    max_evaluations=20,
    cv=StratifiedKFold(3, shuffle=True, random_state=0),
)
print(f"At most {search.estimate_evaluations()} candidates, 3 folds each.")
search.fit(X_train, y_train)

# %%
# The uniform student of the same size: two layers as wide as the limit allows.


def n_params(width):
    network = LayeredMLP(n_features=64, n_classes=10, width_1=width, width_2=width)
    return sum(weights.numel() for weights in network.parameters())


width = max(width for width in range(1, 128) if n_params(width) <= LIMIT)
student.set_params(module__width_1=width, module__width_2=width).fit(X_train, y_train)

widths = [search.best_params_[f"module__width_{i}"] for i in (1, 2)]
print(f"\n{'':10}{'widths':>16}{'parameters':>12}{'CV %':>8}{'test %':>8}")
print(
    f"{'LayerNAS':10}{widths!s:>16}{search.best_size_:>12.0f}"
    f"{100 * search.best_score_:>8.1f}{100 * search.score(X_test, y_test):>8.1f}"
)
print(
    f"{'uniform':10}{[width, width]!s:>16}{n_params(width):>12}{'':>8}"
    f"{100 * student.score(X_test, y_test):>8.1f}"
)

# %%
# All candidates that were trained. The limit is dashed; nothing beyond it is chosen.
try:
    import matplotlib.pyplot as plt
except ImportError:
    print("\nInstall matplotlib to see the Pareto front.")
else:
    display = ParetoFrontDisplay.from_estimator(search)
    display.ax_.set(title="digits, 3 folds", ylabel="accuracy in cross-validation")
    if plt.get_backend().lower() == "agg":
        display.figure_.savefig("layernas.png", dpi=120)
        print("\nThe Pareto front is in layernas.png.")
    else:
        plt.show()

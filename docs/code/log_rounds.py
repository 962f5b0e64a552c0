"""Log the rounds of a fit to MLflow."""

import mlflow

from skadistill import ActiveDistiller
from skadistill.datasets import make_noisy_teacher_problem


class LogRounds:
    """Log each round of an ActiveDistiller to the active run of MLflow."""

    def setup(self, estimator, context):
        """Log what was asked for."""
        names = ("query_strategy", "objective", "budget", "query_size", "random_state")
        mlflow.log_params({name: getattr(estimator, name) for name in names})

    def on_fit_task_begin(self, estimator, context):
        """Log nothing before there is something to log."""

    def on_fit_task_end(self, estimator, context, *, fitted_estimator):
        """Log what the round cost and what it brought."""
        if context.max_subtasks:  # the whole fit, not a round of it
            return
        record = fitted_estimator.history_[-1]
        metrics = {
            "labels_paid": fitted_estimator.n_paid_,
            "teacher_error": fitted_estimator.teacher_error_,
            "student_score": record["student_score"],
            "student_agreement": record["student_agreement"],
            "seconds": record["seconds_total"],
        }
        known = {name: value for name, value in metrics.items() if value is not None}
        mlflow.log_metrics(known, step=record["round"])

    def teardown(self, estimator, context):
        """Leave the run open: whoever started it ends it."""


def main():
    """Log one small fit."""
    problem = make_noisy_teacher_problem(n_labeled=100, n_pool=2000, random_state=0)
    distiller = ActiveDistiller(problem.teacher, budget=400, random_state=0)
    with mlflow.start_run(run_name="robust rows"):
        distiller.set_callbacks(LogRounds()).fit(
            problem.X_labeled,
            problem.y_labeled,
            X_unlabeled=problem.X_pool,
            X_val=problem.X_test,
            y_val=problem.y_test,
        )
        mlflow.log_metric("cost", distiller.ledger_.summary()["cost"])
        mlflow.set_tag("stopped", distiller.termination_condition_)


if __name__ == "__main__":
    main()

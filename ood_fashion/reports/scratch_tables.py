"""Checks and trainings from scratch as text for people."""

from __future__ import annotations

from collections.abc import Iterable

from ood_fashion.evaluation.stats import Accuracy
from ood_fashion.reports.table import Table, ends
from ood_fashion.studies.exercises import CheckResult, GradientResult, MiniCNNResult, PerceptronResult


def check_table(checks: Iterable[CheckResult]) -> str:
    """Show gradient and magnitude checks, a table each."""
    gradients, magnitudes = [], []
    for check in checks:
        row = [check.model, check.parameter]
        verdict = "passed" if check.passed else "FAILED"
        if isinstance(check, GradientResult):
            row += [f"{check.coordinates}, {check.nonzero} not zero", _number(check.max_relative_error, ".1e")]
            worst = (check.worst.computed, check.worst.approximated)
            gradients.append([*row, *(_number(value, ".9f") for value in worst), verdict])
        else:
            norms = [
                f"{_number(norm, '.4f')} (n = {n:,})" for norm, n in zip(check.l1_norms, check.batch_sizes, strict=True)
            ]
            magnitudes.append([*row, *norms, _number(check.ratio, ".2f"), verdict])
    tables = []
    if gradients:
        headers = ["gradient of", "", "compared", "largest relative error", "there: computed", "approximated", ""]
        tables.append(Table("", headers, gradients, left=(1, 2, 6)))
    if magnitudes:
        headers = ["L1 norm of the gradient of", "", "one batch", "another batch", "ratio", ""]
        tables.append(Table("", headers, magnitudes, left=(1, 5)))
    return "\n\n".join(map(str, tables))


def perceptron_report(result: PerceptronResult) -> str:
    """Show what `ood-fashion scratch perceptron` trained."""
    kernel = f", {result.kernel} kernel" if result.kernel else ""
    support = "" if result.n_support is None else f" {result.n_support:,} support vectors."
    return (
        f"{result.model}{kernel}: {result.epochs} epochs over {result.train_size:,} images in "
        f"{result.seconds:.1f} s, with {result.mistakes[-1]:,} mistakes in the last.{support}\n"
        f"test accuracy {_accuracy(result.test)}"
    )


def mini_cnn_report(result: MiniCNNResult) -> str:
    """Show what `ood-fashion scratch mini-cnn` trained."""
    (w1, w2), (v1, v2) = result.parameters["w"], result.parameters["v"]
    return (
        f"mini CNN: {len(result.losses)} starts of {result.steps:,} updates each; training losses "
        f"{', '.join(f'{loss:.3f}' for loss in result.losses)}.\n"
        f"The best has w = ({w1:.2f}, {w2:.2f}) and v = ({v1:.2f}, {v2:.2f}).\n"
        f"test accuracy {_accuracy(result.test)}"
    )


def _accuracy(test: Accuracy) -> str:
    return f"{test.accuracy:.4f}  (95% interval {ends(test.ci95)}, n = {test.n:,})"


def _number(value: float | None, spec: str) -> str:
    return "infinite" if value is None else format(value, spec)

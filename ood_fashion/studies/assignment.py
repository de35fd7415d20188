"""The reported values and claims of the assignment, a solved course assignment (CSCI 567, homework 3, October 2022)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ood_fashion.runs.config import MLP_PROTOCOL, TrainConfig

PARAMETERS = {"mlp": 101_770, "cnn2": 80_650, "cnn3": 68_106}
"""Parameter counts, problem 3.5 ii and iv."""

ACCURACY = {
    "mlp": {"up4": 0.4556, "rotate90": 0.0208, "rotate180": 0.1869, "rotate270": 0.0553},
    "cnn2": {"none": 0.8709, "up4": 0.5270, "rotate90": 0.0501, "rotate180": 0.2165, "rotate270": 0.0474},
    "cnn3": {"none": 0.8718, "up4": 0.5653, "rotate90": 0.0528, "rotate180": 0.0465, "rotate270": 0.0465},
}
"""Test accuracy by model and shift, problem 3.5 i, iii, v and vi; the MLP's in-domain accuracy is not given."""

_NO_PROTOCOL = {"seed", "engine", "strategy", "monitor_test", "calibrate", "dtype"}
"""The fields of a config that trainings by one protocol may differ in."""

SLIPS = {("cnn3", "rotate180"): "a slip of the assignment: it repeats the accuracy for rotate270"}
"""Values in `ACCURACY` that are not what they claim to be, and why."""


def comparable_model(config: TrainConfig, *, genuine: bool) -> str | None:
    """Return the model whose values in `ACCURACY` may stand beside those of a training, if there is one.

    It is the training's own model, if that was trained by the assignment's protocol, and trained and measured on
    Fashion-MNIST (`genuine`).
    """
    trained = config.to_json()
    protocols: list[dict[str, Any]] = [{"implementation": config.implementation}, MLP_PROTOCOL]
    allowed = [TrainConfig(**{"model": config.model, **protocol}).to_json() for protocol in protocols]
    follows = any(all(trained[name] == own[name] for name in own.keys() - _NO_PROTOCOL) for own in allowed)
    return config.model if genuine and follows and config.model in ACCURACY else None


def comparable_models(changes: Mapping[str, Any], *, genuine: bool) -> list[str]:
    """Return the models whose values may stand beside a study's that trains them by the defaults and these changes."""
    return [model for model in ACCURACY if comparable_model(TrainConfig(model=model, **changes), genuine=genuine)]


@dataclass(frozen=True)
class ReportedValue:
    """A number of the assignment that a study of `STUDIES` measures anew in one of its settings.

    The measure is a name in `histories.measures`, or with an epoch, from 1, a column of the history. `slip` says why
    the number is not what it claims to be, if it is not.
    """

    problem: str
    value: float
    study: str
    setting: str
    measure: str
    epoch: int | None = None
    slip: str | None = None

    @property
    def measured(self) -> str:
        """The measure, with the epoch if it has one."""
        return f"{self.measure}, epoch {self.epoch}" if self.epoch else self.measure


_LOG = {
    "loss": (0.6057, 0.5173, 0.4586, 0.4336),  # the assignment prints ten times as much, a sum over ten chunks
    "accuracy": (0.7893, 0.8187, 0.8410),
    "val_accuracy": (0.7765, 0.8015, 0.8145),
}
_BATCH_SIZES = {  # epochs run, best epoch, "gradient updates to get the best model"
    "1": (16, 13, 160_000),
    "5": (13, 10, 26_000),
    "50": (46, 43, 9_200),
    "500": (42, 39, 840),
    "5000": (161, 158, 322),
}

REPORTED_VALUES = (
    *(
        ReportedValue("3.1", value, "batch-size", "5", column, epoch)
        for column, values in _LOG.items()
        for epoch, value in enumerate(values, start=1)
    ),
    *(
        value
        for size, (epochs, best, updates) in _BATCH_SIZES.items()
        for value in (
            ReportedValue("3.2.2", epochs, "batch-size", size, "epochs"),
            ReportedValue("3.2.2", best, "batch-size", size, "kept epoch"),
            ReportedValue("3.2.2", updates, "batch-size", size, "updates to kept epoch", slip="counts all epochs run"),
        )
    ),
    *(
        ReportedValue("3.5", value, "shifts", model, f"accuracy {shift}", slip=SLIPS.get((model, shift)))
        for model, accuracies in ACCURACY.items()
        for shift, value in accuracies.items()
    ),
)
"""What the assignment measured, but for its parameter counts."""


@dataclass(frozen=True)
class Claim:
    """A claim of the assignment that a measure is lower in one setting than in another, from one training of each.

    The study is a name in `STUDIES`, the measure one in `histories.measures`.
    """

    problem: str
    text: str
    study: str
    measure: str
    lower: str
    higher: str


CLAIMS = (
    Claim("3.2.3", "the largest batch gives the lower accuracy", "batch-size", "accuracy none", "5000", "5"),
    Claim("3.2.3", "a larger batch takes fewer updates", "batch-size", "updates to kept epoch", "5000", "5"),
    Claim("3.2.3", "a small batch trains in less time", "batch-size", "seconds", "5", "5000"),
    Claim("3.4", "momentum 0.7 has a lower training loss than 0.5", "momentum", "loss", "0.7", "0.5"),
    Claim("3.4", "momentum 0.7 has a lower training loss than 0.9", "momentum", "loss", "0.7", "0.9"),
    Claim("3.4", "momentum 0.9 has the highest training loss, above 0.1", "momentum", "loss", "0.1", "0.9"),
    Claim("3.5 v", "CNN-3 is better than CNN-2 moved up by 4", "shifts", "accuracy up4", "cnn2", "cnn3"),
    Claim("3.5 v", "CNN-3 is better than CNN-2 in-domain", "shifts", "accuracy none", "cnn2", "cnn3"),
    Claim("3.5 vi", "CNN-2 is better than CNN-3 turned by 180", "shifts", "accuracy rotate180", "cnn3", "cnn2"),
)

CORRECTIONS = (
    (
        "3.5 vi",
        'CNN-3\'s accuracy at 180 degrees repeats the one at 270, 0.0465; and "90, 80 and 270" degrees',
        "measured anew above; 90, 180 and 270",
    ),
    (
        "1.3",
        "Algorithm 2 updates alpha for all j",
        "only the picked example i: alpha[y_hat, i] -= 1, alpha[y_i, i] += 1",
    ),
    (
        "3.1.6",
        "the gradient of W in layer 1 is checked at the weight of pixel (0, 0), which is always 0: 0.000000 = 0.000000",
        "many coordinates where the gradient is not zero, in float64, by relative error",
    ),
    (
        "3.1.6",
        "the magnitude check prints 117.085383 for both batch sizes: it took one batch twice, and sums signed values",
        "L1 norms of the gradients of two batches",
    ),
    (
        "3.2.2",
        "updates to the best model count all epochs run, 13 x 2,000 = 26,000 at batch size 5",
        "those up to the best epoch, 10 x 2,000 = 20,000",
    ),
    ("2.1", "dl/dv1 has an extra factor exp(-y y_hat)", "-y sigmoid(-y y_hat) o1"),
    (
        "1.1",
        'the cases of the subgradient are conditioned on "y != y_i"',
        "where the margin is violated: x_i for the violating class, -x_i for the true one, else 0",
    ),
    (
        "3.4, 3.5",
        "conclusions from one training of each setting",
        "several seeds and an interval, as in the claims above",
    ),
)
"""The assignment's slips: where, what it says, and what is right."""

from __future__ import annotations

import numpy as np

from ood_fashion.plots import accuracy_per_epoch


def test_accuracy_per_epoch_draws_the_history() -> None:
    history = [{"epoch": n, "accuracy": n / 10, "val_accuracy": (n + 4) / 10} for n in (1.0, 2.0, 3.0)]
    (axis,) = accuracy_per_epoch(history, kept_epoch=2).axes
    training, validation, kept = axis.lines
    assert np.asarray(training.get_xydata()).tolist() == [[1, 0.1], [2, 0.2], [3, 0.3]]
    assert np.asarray(validation.get_xydata()).tolist() == [[1, 0.5], [2, 0.6], [3, 0.7]]
    assert list(np.asarray(kept.get_xdata())) == [2, 2]
    assert axis.get_legend_handles_labels()[1] == ["training", "validation", "weights kept (epoch 2)"]

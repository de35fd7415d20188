"""Measuring models on published corrupted sets, such as MNIST-C."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ood_fashion.api.data import load_dataset
from ood_fashion.api.measuring import _select_device
from ood_fashion.api.opening import Model, load_run, open_model, refuse_predictions, require_models
from ood_fashion.api.results import Results
from ood_fashion.data.dataset import Dataset
from ood_fashion.errors import DataError, InvalidValueError
from ood_fashion.evaluation import classifier, published
from ood_fashion.evaluation.published import PublishedPoint, PublishedSummary
from ood_fashion.evaluation.results import SCHEMA, AccuracyResult
from ood_fashion.files import exists, is_folder, list_folder
from ood_fashion.reports import tables
from ood_fashion.reports.table import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, repr=False)
class PublishedResults(Results):
    """Several models on the sets of a folder.

    Attributes:
        folder: of the sets.
        points: a `PublishedPoint` per model and corruption.
        summaries: a `PublishedSummary` per model.
        reference: the model whose errors make an mCE of 1.
    """

    folder: str
    points: Sequence[PublishedPoint]
    summaries: Sequence[PublishedSummary]
    reference: str

    @property
    def record(self) -> dict[str, Any]:
        """The folder, the reference, a record per point and one per model."""
        lists = {"results": self.points, "over_corruptions": self.summaries}
        records = {name: [one.to_json() for one in of] for name, of in lists.items()}
        return {"schema": SCHEMA, "folder": self.folder, "reference": self.reference, **records}

    @property
    def rows(self) -> Sequence[PublishedPoint]:
        """A `PublishedPoint` per model and corruption."""
        return self.points

    @property
    def tables(self) -> list[Table]:
        """The accuracies of each model, and what there is over all corruptions."""
        return tables.published_tables(self.points, self.summaries, self.reference)

    def plot(self) -> Figure:
        """Draw the reference's accuracy under each corruption, with its 95% interval."""
        from ood_fashion.reports import figures

        shown = [(one.corruption, one.accuracy, one.ci95) for one in self.points if one.model == self.reference]
        return figures.accuracies(self.reference, shown)


def sweep_published(
    folder: str | Path,
    models: Model | Sequence[Model] = None,
    *,
    reference: str | None = None,
    limit: int | None = None,
    pixel_range: str | None = None,
    device: str = "auto",
    trust: bool = False,
) -> PublishedResults:
    """Measure models on published corrupted sets: the test images of each set in a folder.

    Args:
        folder: holds the sets, each a folder or a file that `load_dataset` reads and that bears the corruption's name,
            such as MNIST-C's `fog/test_images.npy`; or it is such a set itself.
        models: one or several, as for `evaluate`; the latest complete run unless given.
        reference: the model whose errors make an mCE of 1, by its name; the first unless given.
        limit: the first `limit` test images of each set only.
        pixel_range: as for `evaluate`.
        device: "auto", "cpu" or "gpu".
        trust: as for `load_model`.

    Returns:
        A row per model and corruption, and a summary per model; `plot()` draws those of the reference.

    Raises:
        DataError: there is no set in the folder, or one is damaged.
        InvalidValueError: no model has the name of the reference.

    Examples:
        >>> import numpy as np
        >>> import ood_fashion as ood
        >>> images, labels = ood.load_dataset().test
        >>> for name, shift in {"identity": "none", "fog": "fog:3"}.items():
        ...     shifted = np.rint(ood.shift_images(images[:300], shift) * 255).astype("uint8")
        ...     (folder / "sets" / name).mkdir(parents=True)
        ...     np.save(folder / "sets" / name / "test_images.npy", shifted[..., None])
        ...     np.save(folder / "sets" / name / "test_labels.npy", labels[:300])
        >>> result = ood.sweep_published(folder / "sets", "cnn3")
        >>> [(row.corruption, row.n) for row in result]
        [('fog', 300), ('identity', 300)]
    """
    opened = []
    for model in [load_run()] if models is None else require_models(models, "models"):
        _select_device(device, model)
        opened.append(open_model(refuse_predictions(model), pixel_range=pixel_range, trust=trust))
    names = [one.name for one in opened]
    if len(set(names)) < len(names) or (reference is not None and reference not in names):
        raise InvalidValueError(
            f"`reference`: expected one of {', '.join(names)}, each named once. Received: {reference!r}."
        )
    results: dict[str, dict[str, AccuracyResult]] = {name: {} for name in names}
    for corruption, dataset in _sets(Path(folder)):
        test = dataset.with_test_images(limit)
        for one in opened:
            scored = classifier.evaluate(one.scorer(test), test.test, "none")
            results[one.name][corruption] = scored[0]
    points = published.to_points(results)
    chosen = reference or names[0]
    return PublishedResults(str(folder), points, published.summarize(points, chosen), chosen)


def _sets(folder: Path) -> Iterator[tuple[str, Dataset]]:
    """Give the sets of a folder one by one, with their names, or else the folder as one."""
    found = [
        path
        for path in list_folder(folder, DataError)
        if not path.name.startswith(".") and (is_folder(path, DataError) or path.suffix in (".npz", ".parquet"))
    ]
    if not is_folder(folder, DataError) or any(
        exists(folder / split, DataError) for split in ("train", "test", "data")
    ):
        found = []
    if not found:
        yield folder.stem, load_dataset(folder)
    for path in found:
        yield path.stem if path.suffix in (".npz", ".parquet") else path.name, load_dataset(path)

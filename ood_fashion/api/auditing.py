"""Looking a dataset over."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ood_fashion.api.data import Data, load_dataset
from ood_fashion.api.results import Results
from ood_fashion.data.dataset import Dataset
from ood_fashion.errors import DataError
from ood_fashion.evaluation import audit as auditing
from ood_fashion.evaluation.audit import Audit, SuspiciousLabel
from ood_fashion.reports import tables
from ood_fashion.reports.table import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, repr=False)
class AuditResults(Results):
    """What an audit of a dataset found.

    Attributes:
        dataset: that was looked over.
        found: the pairs, images and labels; `found.duplicates`, `near_duplicates`, `constant`, `saturated` and
            `suspicious`.
    """

    dataset: Dataset
    found: Audit

    @property
    def record(self) -> dict[str, Any]:
        """All that was found."""
        return self.found.to_json()

    @property
    def rows(self) -> Sequence[SuspiciousLabel]:
        """A `SuspiciousLabel` per label that confident learning takes for wrong, the most suspicious first."""
        return self.found.suspicious

    @property
    def tables(self) -> list[Table]:
        """The counts, and the most suspicious labels."""
        return tables.audit_tables(self.found, self.dataset.class_names)

    def plot(self) -> Figure:
        """Draw the images with the most suspicious labels; an empty figure if there are none."""
        from ood_fashion.reports.audit_page import suspicious_labels

        return suspicious_labels(self.dataset, self.found)


def audit(
    data: Data = None, *, page: str | Path | None = None, progress: Callable[[], object] = lambda: None
) -> AuditResults:
    """Look a dataset over: duplicates, images that show nothing, and doubtful labels.

    Args:
        data: what `load_dataset` takes or gives; Fashion-MNIST unless given.
        page: an HTML file to write, with the images.
        progress: is called some hundred times.

    Returns:
        What was found; a row per suspicious label.

    Raises:
        DataError: the dataset is absent or damaged, or has one image.
        RunError: the page cannot be written.

    Examples:
        >>> import ood_fashion as ood
        >>> images, labels = ood.load_dataset().test
        >>> twice = images[[*range(100), 7]], labels[[*range(100), 7]]
        >>> result = ood.audit(ood.load_dataset(twice, (images[100:200], labels[100:200])))
        >>> [(pair.first.index, pair.second.index) for pair in result.found.duplicates]
        [(7, 100)]
    """
    dataset = load_dataset(data)
    if len(dataset.train) + len(dataset.test) < 2:
        raise DataError(f"{dataset.source}: expected two images or more. Received: one.")
    results = AuditResults(dataset, auditing.audit(dataset, progress))
    if page:
        from ood_fashion.reports.audit_page import audit_page
        from ood_fashion.reports.page import write_html

        write_html(audit_page(dataset, results.found), Path(page))
    return results

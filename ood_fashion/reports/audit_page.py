"""The page of an audit of a dataset, with the images that it found."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from ood_fashion.data.dataset import Dataset
from ood_fashion.evaluation.audit import Audit, Duplicate, ImagePlace
from ood_fashion.reports import figures, tables
from ood_fashion.reports.page import Drawing, Page, Section

_COLUMNS = 8
_SHOWN = 40

_Shown = tuple[Sequence[ImagePlace], str]
"""Images to draw side by side, and the text above them."""


def audit_page(dataset: Dataset, audit: Audit) -> Page:
    """Lay an audit out: its counts, then the pairs, labels and images that it doubts, `_SHOWN` of each at most."""
    counts, suspicious = tables.audit_tables(audit, dataset.class_names)
    names = dataset.class_names
    galleries: dict[str, tuple[str, Sequence[_Shown]]] = {
        "duplicates": ("Duplicates", [_pair(one) for one in audit.duplicates]),
        "near-duplicates": ("Near duplicates", [_pair(one) for one in audit.near_duplicates]),
        "suspicious": ("The most suspicious labels", _list_suspicious(audit, names)),
        "constant": ("Images of one grey level", [([one], _name(one)) for one in audit.constant]),
        "saturated": ("Saturated images", [([one], _name(one)) for one in audit.saturated]),
    }
    sections = [Section("Counts", tables=[counts])]
    for name, (title, found) in galleries.items():
        if found:
            caption = f"{min(len(found), _SHOWN)} of {len(found):,}, each with its split and place."
            figure = _gallery(dataset, found)
            drawing = Drawing(name, figure, caption, f"{title}: {caption}")
            sections.append(Section(title, tables=[suspicious] * (name == "suspicious"), drawings=[drawing]))
    images = f"{len(dataset.train):,} training and {len(dataset.test):,} test images"
    return Page("Audit", "dataset", f"{dataset.source}: {images}.", sections)


def _name(place: ImagePlace) -> str:
    return f"{place.split} {place.index}"


def _pair(pair: Duplicate) -> _Shown:
    return [pair.first, pair.second], f"{_name(pair.first)}, {_name(pair.second)}\n{pair.difference:.3f}"


def _list_suspicious(audit: Audit, names: Sequence[str]) -> list[_Shown]:
    return [
        ([one.image], f"{_name(one.image)}\n{names[one.image.label]}\n{names[one.suggested]}?")
        for one in audit.suspicious
    ]


def suspicious_labels(dataset: Dataset, audit: Audit) -> Figure:
    """Draw the images with the most suspicious labels, `_SHOWN` at most; without any, an empty figure."""
    found = _list_suspicious(audit, dataset.class_names)
    return _gallery(dataset, found) if found else Figure()


def _gallery(dataset: Dataset, found: Sequence[_Shown]) -> Figure:
    """Draw the first images, or several side by side, each with a text above it."""
    found = found[:_SHOWN]
    columns = min(_COLUMNS, len(found))
    lines = -(-len(found) // columns)
    height = 1.05 if len(found[0][0]) > 1 else 1.45
    figure = Figure(figsize=(1.45 * columns, height * lines), layout="constrained", dpi=110)
    axes = figure.subplots(lines, columns, squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, (places, text) in zip(axes.flat, found, strict=False):
        images = [getattr(dataset, place.split).images[place.index] for place in places]
        axis.imshow(np.concatenate(images, axis=1), cmap="gray", vmin=0, vmax=255)
        axis.set_title("\n".join(map(figures.literal, text.split("\n"))), fontsize=6)
    return figure

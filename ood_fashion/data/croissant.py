"""Croissant metadata of exported datasets: croissant.json, by which catalogues find them.

The format is MLCommons Croissant 1.0, http://mlcommons.org/croissant/1.0, in JSON-LD.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ood_fashion.files import write_json

_TERMS = (
    "citeAs column equivalentProperty extract field fileProperty fileObject fileSet format includes isLiveDataset "
    "jsonPath key md5 parentField path recordSet references regex repeated replace samplingRate separator source "
    "subField transform"
)
_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "conformsTo": "dct:conformsTo",
    **{term: f"cr:{term}" for term in _TERMS.split()},
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
}
"""The standard's own."""

_OF_FASHION_MNIST = {
    "license": "https://spdx.org/licenses/MIT.html",
    "url": "https://github.com/zalandoresearch/fashion-mnist",
    "creator": {"@type": "sc:Organization", "name": "Zalando Research"},
    "datePublished": "2017-08-25",
    "citeAs": "H. Xiao, K. Rasul and R. Vollgraf, Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine "
    "Learning Algorithms, arXiv:1708.07747, 2017",
}
_ENCODINGS = {".npz": "application/zip", ".gz": "application/gzip", ".json": "application/json"}


def write_croissant(folder: Path, record: Mapping[str, Any]) -> None:
    """Describe the files of an export, whose `dataset.json` is `record`, in croissant.json beside them."""
    shifts, name = record["shifts"], "Fashion-MNIST" if record["genuine"] else record["source"]
    files = []
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            place = path.relative_to(folder)
            of = [shifts[part] for part in (path.stem, *place.parts) if part in shifts]
            with path.open("rb") as file:
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            files.append(
                {
                    "@type": "cr:FileObject",
                    "@id": place.as_posix(),
                    "name": place.as_posix(),
                    **({"description": f"Under the shift {of[0]}."} if of else {}),
                    "contentUrl": place.as_posix(),
                    "contentSize": f"{path.stat().st_size} B",
                    "encodingFormat": _ENCODINGS.get(path.suffix, "application/octet-stream"),
                    "sha256": sha256,
                }
            )
    write_json(
        folder / "croissant.json",
        {
            "@context": _CONTEXT,
            "@type": "sc:Dataset",
            "conformsTo": "http://mlcommons.org/croissant/1.0",
            "name": f"{name}, shifted",
            "description": f"{name} under {', '.join(shifts.values())}, written by ood-fashion as {record['format']}.",
            "version": "1.0.0",
            **(_OF_FASHION_MNIST if record["genuine"] else {}),
            "distribution": files,
        },
    )

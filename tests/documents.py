"""HTML documents, read by the standard library."""

from __future__ import annotations

import re
from collections import Counter
from html.parser import HTMLParser

APP_ADDRESS = "http://127.0.0.1:7860/"  # to which reports link, and where `ood-fashion app` is
VOID = {"meta", "link"}


class Document(HTMLParser):
    """An HTML document, checked to be well nested: its elements in their order, its tables and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.tables: list[list[list[str]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(html)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("th", "td"):
            self.tables[-1][-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open[-1:] in (["th"], ["td"]):
            self.tables[-1][-1][-1] += data
        if "style" not in self._open:
            self.text += data

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def check_structure(document: Document) -> None:
    """Hold the assignment against what every page promises."""
    tags = Counter(tag for tag, _ in document.elements)
    assert (tags["html"], tags["h1"], tags["main"], tags["script"]) == (1, 1, 1, 0)
    assert document.of("html") == [{"lang": "en"}]
    ids = [attributes["id"] for _, attributes in document.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for tag, attributes in document.elements:
        for name, value in attributes.items():
            if name in ("src", "href", "xlink:href"):
                assert value is not None
                assert value.startswith(("data:", APP_ADDRESS + "?")) or value[1:] in ids, value[:50]
            for target in re.findall(r"url\(#(.*?)\)", value or ""):
                assert target in ids
        if tag == "svg":
            assert attributes["role"] == "img"
            assert len(attributes["aria-label"] or "") > 20
    assert tags["figure"] == tags["figcaption"] == tags["svg"] > 0
    assert tags["table"] == tags["caption"] > 0
    for table in document.tables:
        assert len({len(row) for row in table}) == 1

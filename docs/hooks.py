"""Formulas as MathML, which browsers show without a script: a hook of MkDocs."""

import re
from html import unescape
from typing import Any

from latex2mathml.converter import convert

_FORMULA = re.compile(r'<(span|div) class="arithmatex">(?:\\\(|\\\[)(.*?)(?:\\\)|\\\])</\1>', re.DOTALL)


def on_page_content(html: str, **kwargs: Any) -> str:
    """Replace each formula that arithmatex has marked."""
    return _FORMULA.sub(lambda m: convert(unescape(m[2]), display="inline" if m[1] == "span" else "block"), html)

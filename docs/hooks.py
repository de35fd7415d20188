"""What MkDocs does to a page's HTML besides: a hook of MkDocs."""

import re
from html import unescape
from typing import Any

from latex2mathml.converter import convert

_FORMULA = re.compile(r'<(span|div) class="arithmatex">\s*(?:\\\(|\\\[)(.*?)(?:\\\)|\\\])\s*</\1>', re.DOTALL)
_PICTURE = re.compile(r'<img [^>]*src="([^"]+)"[^>]*>')


def on_page_content(html: str, **kwargs: Any) -> str:
    """Show formulas as MathML, which needs no script, keep intervals on a line, and link pictures to their files."""
    html = html.replace("<code>Sentinel.UNSET</code>", "")  # mkdocs-click 0.9 for no default, under click 8.3
    html = _PICTURE.sub(r'<a href="\1">\g<0></a>', html.replace(" ± ", "&nbsp;±&nbsp;"))
    return _FORMULA.sub(lambda m: _to_mathml(m[2], "inline" if m[1] == "span" else "block"), html)


def _to_mathml(formula: str, display: str) -> str:
    return convert(unescape(formula).replace(r"\arg", r"\text{arg }"), display=display)

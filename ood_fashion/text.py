"""Text from outside, such as paths, names of classes and what files say, shown as it is."""

from __future__ import annotations

import unicodedata


def printable(text: str) -> str:
    r"""Return a text with an escape in the place of each character that does not print.

    These are controls, newlines too, marks that are not seen or change the direction of writing, and the lone
    surrogates by which Python gives the bytes of a path that is no UTF-8. Spaces of every width stay.

    Example:
        >>> printable("a\x1b[31mb\n")
        'a\\x1b[31mb\\n'
    """
    return "".join(c if c.isprintable() or unicodedata.category(c) == "Zs" else repr(c)[1:-1] for c in text)

"""A table of texts, and the forms that it can be shown in: plain text, Markdown and HTML."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from textwrap import fill

from tabulate import tabulate

from ood_fashion.text import printable

_HTML = """
{%- macro cells(row, tag) %}{% for cell in row %}{% set left = loop.first or loop.index0 in table.left -%}
<{{ tag }} style="text-align: {{ "left" if left else "right" }}">{{ cell }}</{{ tag }}>
{%- endfor %}{% endmacro -%}
<table>{% if table.title %}<caption>{{ table.title }}</caption>{% endif -%}
<thead><tr>{{ cells(table.columns, "th") }}</tr></thead><tbody>
{%- for row in table.rows %}<tr>{{ cells(row, "td") }}</tr>{% endfor %}</tbody></table>
{%- if table.text %}<p>{{ table.text }}</p>{% endif -%}
{% for note in table.notes if note %}<p>{{ note }}</p>{% endfor %}"""


def ends(interval: Sequence[float] | None, form: str = ".4f") -> str:
    """Show an interval, or "-" where there is none."""
    return " to ".join(format(end, form) for end in interval) if interval else "-"


@dataclass(frozen=True)
class Table:
    """A table of texts; the first cell of a row names it.

    Attributes:
        title: what the table shows; "" where its surroundings say so.
        columns: the headers.
        rows: as many texts each.
        notes: sentences below the table.
        left: the columns of words, which are aligned to the left as the first is; the others are of numbers.
        text: a paragraph between title and table.

    Examples:
        >>> print(Table("Accuracy", ["test set", "accuracy"], [["up4", "0.5730"]], ["n = 10,000"]).to_text())
        Accuracy
        <BLANKLINE>
        test set      accuracy
        ----------  ----------
        up4             0.5730
        n = 10,000
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()
    left: Collection[int] = ()
    text: str = ""

    def _lay_out(self, style: str) -> str:
        align = ["left" if column in (0, *self.left) else "right" for column in range(len(self.columns))]
        columns, *rows = ([printable(cell) for cell in row] for row in (self.columns, *self.rows))
        return tabulate(rows, columns, tablefmt=style, disable_numparse=True, colalign=align, headersalign=align)

    def to_text(self) -> str:
        """Return the table as plain text."""
        laid_out = "\n".join([self._lay_out("simple"), *self.notes])
        return "\n\n".join(part for part in (self.title, self.text, laid_out) if part)

    __str__ = to_text

    def to_markdown(self) -> str:
        """Return the table as Markdown, below its title as a heading, with prose in lines of at most 120 characters."""
        heading = self.title and f"## {self.title}"
        text, *notes = ("\n".join(fill(line, 120) for line in part.splitlines()) for part in (self.text, *self.notes))
        return "\n\n".join(part for part in (heading, text, self._lay_out("github"), *notes) if part)

    def to_html(self) -> str:
        """Return the table as HTML, its title as the caption."""
        import jinja2

        html: str = jinja2.Template(_HTML, autoescape=True).render(table=self)
        return html

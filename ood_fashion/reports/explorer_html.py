"""What the app shows, as HTML and SVG: a picture, each model's answers, where they change, and accuracy over a slider.

Texts from outside are escaped. Colours are variables of templates/app.css, which has a light and a dark set.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray
from PIL import Image

from ood_fashion.evaluation.exploring import (
    AXES,
    Answer,
    BreakingPoints,
    Controls,
    CurvePoint,
    ShownImage,
    View,
    describe_move,
)
from ood_fashion.text import printable

CSS = Path(__file__).parent / "templates" / "app.css"
_AXIS_NAMES = {
    "dx": "right or left, in pixels",
    "dy": "down or up, in pixels",
    "angle": "angle, in degrees",
    "severity": "severity of {}",
}
_DASHES = ("", "6 3", "2 3", "8 3 2 3", "1 2")


_VERDICTS = {True: "✓ right", False: "✗ wrong", None: ""}


def picture_html(
    original: ShownImage,
    shifted: NDArray[np.float32],
    shift: str,
    label: str | None,
    answers: Sequence[Answer],
    names: Sequence[str],
) -> Markup:
    """Show a picture under a shift, float32 (height, width) in [0, 1], small as it is, and on a phone the answers."""
    what = "Your picture" if original.index is None else f"Test image {original.index}"
    now = Markup('<img class="now" src="{}" alt="{} under {}">').format(
        image_source(np.rint(shifted * 255).astype(np.uint8)), what, shift
    )
    before = Markup('<img class="before" src="{}" alt="{} as it is">').format(image_source(original.pixels), what)
    caption = Markup("<figcaption>{}<br><b>{}</b></figcaption>").format(what, printable(label or "class unknown"))
    said = Markup("").join(
        Markup('<li class="line-{}"><b>{}</b> {} {} {:.0%}</li>').format(
            names.index(one.model) % len(_DASHES), printable(one.model), _VERDICTS[one.correct][:1],
            printable(one.top[0].class_name), one.top[0].probability,
        )
        for one in answers
    )  # fmt: skip
    verdicts = Markup('<ul class="ood-verdicts" aria-hidden="true">{}</ul>').format(said)
    return Markup('<figure class="ood-picture">{}<div>{}{}{}</div></figure>').format(now, before, caption, verdicts)


def image_source(pixels: NDArray[np.uint8]) -> str:
    """Return pixels, uint8 (height, width), as the source of an HTML image."""
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    return f"data:image/png;base64,{base64.b64encode(content.getvalue()).decode()}"


_KEY = (
    "Ring: every angle. Square: moves by up to 6 pixels. Row: severities 1 to 5. Blue: the answer stays as it is "
    "without a shift; orange: it changes. A circle: where the sliders stand."
)


def answers_html(
    answers: Sequence[Answer], breaking: Iterable[BreakingPoints], names: Sequence[str], controls: Controls | None
) -> Markup:
    """Show each model's most probable classes, and where its answer changes, with a mark where the sliders stand."""
    points = {one.model: one for one in breaking}
    if not answers:
        return Markup('<p class="ood-note">Choose a model.</p>')
    cards = [_card(answer, points.get(answer.model), names.index(answer.model), controls) for answer in answers]
    return Markup('<ol class="ood-answers">{}</ol><p class="ood-note">{}</p>').format(Markup("").join(cards), _KEY)


def _card(answer: Answer, points: BreakingPoints | None, place: int, controls: Controls | None) -> Markup:
    kind = {True: "right", False: "wrong", None: "open"}[answer.correct]
    bars = [
        Markup(
            '<tr><th scope="row">{}</th><td class="bar"><i style="width:{:.1f}%"></i></td><td>{:.1f}%</td></tr>'
        ).format(printable(one.class_name), 100 * one.probability, 100 * one.probability)
        for one in answer.top
    ]
    if points is None:
        where = Markup('<p class="breaks">Looking for where the answer changes …</p>')
        drawn = Markup('<div class="map"></div>')
    else:
        where = Markup('<p class="breaks">changes at {}</p>').format(str(points))
        drawn = breaking_svg(points, controls)
    name, rows = printable(answer.model), Markup("").join(bars)
    return Markup(
        '<li class="{} line-{}" data-model="{}"><header><b>{}</b><span>{}</span></header><table>{}</table>{}{}</li>'
    ).format(kind, place % len(_DASHES), name, name, _VERDICTS[answer.correct], rows, where, drawn)


_SIZE, _CELL = 96, 4
_OUTER, _INNER = 46, 41


def breaking_svg(points: BreakingPoints, controls: Controls | None = None) -> Markup:
    """Draw where an answer stays: a ring of angles around a square of moves, and a row of severities below."""
    middle = _SIZE / 2
    ring = [_arc(angles, stays) for stays, angles in _runs(points.angles)]
    cells = {
        stays: " ".join(
            f"M{middle + (dx - 0.5) * _CELL:g} {middle + (dy - 0.5) * _CELL:g}h{_CELL}v{_CELL}h-{_CELL}z"
            for (dx, dy), kept in points.moves.items()
            if kept is stays
        )
        for stays in (True, False)
    }
    square = [Markup('<path class="{}" d="{}"/>').format(_kind(stays), d) for stays, d in cells.items() if d]
    row = [
        Markup('<rect class="{}" x="{}" y="{}" width="10" height="8"/>').format(
            _kind(stays), 20 + 12 * place, _SIZE + 2
        )
        for place, stays in enumerate(points.severities.values())
    ]
    return Markup('<svg class="map" viewBox="0 0 {} {}" role="img" aria-label="{}: changes at {}">{}</svg>').format(
        _SIZE, _SIZE + 12, printable(points.model), str(points),
        Markup("").join([*ring, *square, *row, *_marks(controls, points.corruption)]),
    )  # fmt: skip


def _kind(stays: bool) -> str:
    return "stays" if stays else "flips"


def _runs(angles: Mapping[int, bool]) -> list[tuple[bool, list[int]]]:
    """Return neighbouring angles together that are alike; at 0 the answer stays."""
    ordered = sorted({0: True, **angles}.items())
    return [(stays, [angle for angle, _ in run]) for stays, run in groupby(ordered, key=lambda item: item[1])]


def _at(angle: float, radius: float) -> tuple[float, float]:
    """Return the place of an angle on a ring: 0 is at the top, and angles run to the left, as pictures turn."""
    turn = math.radians(angle)
    return _SIZE / 2 - radius * math.sin(turn), _SIZE / 2 - radius * math.cos(turn)


def _arc(angles: Sequence[int], stays: bool) -> Markup:
    """Draw a part of the ring, half a step beyond its ends."""
    start, end = angles[0] - 1.5, min(angles[-1] + 1.5, angles[0] + 358)
    large, radius = int(end - start > 180), (_OUTER + _INNER) / 2
    (x, y), (to_x, to_y) = _at(start, radius), _at(end, radius)
    return Markup('<path class="ring {}" d="M{:.2f} {:.2f}A{} {} 0 {} 0 {:.2f} {:.2f}"/>').format(
        _kind(stays), x, y, radius, radius, large, to_x, to_y
    )


def _marks(controls: Controls | None, corruption: str) -> list[Markup]:
    if controls is None:
        return []
    (x, y), middle = _at(controls.angle, (_OUTER + _INNER) / 2), _SIZE / 2
    reach = (_INNER - 6) / _CELL
    move = [middle + _CELL * max(-reach, min(reach, value)) for value in (controls.dx, controls.dy)]
    marks = [Markup('<circle class="mark" cx="{:.2f}" cy="{:.2f}" r="3.2"/>').format(*at) for at in ((x, y), move)]
    if controls.severity and controls.corruption == corruption:
        marks.append(Markup('<circle class="mark" cx="{}" cy="{}" r="3"/>').format(13 + 12 * controls.severity, 102))
    return marks


_WIDTH, _HEIGHT = 360, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 34, 346, 10, 214


def curve_html(
    points: Sequence[CurvePoint], axis: str, controls: Controls | None, names: Sequence[str], chosen: Sequence[str]
) -> Markup:
    """Draw the accuracy of the chosen models over a slider, with 95% intervals, and a mark where it stands."""
    values = AXES[axis]
    name = _AXIS_NAMES[axis].format(controls.corruption.replace("_", " ") if controls else "the corruption")

    def x(value: float) -> float:
        return _LEFT + (_RIGHT - _LEFT) * (value - values[0]) / (values[-1] - values[0])

    def y(share: float) -> float:
        return _BOTTOM - (_BOTTOM - _TOP) * share

    parts = [
        Markup('<path class="grid" d="M{} {:.1f}H{}"/><text class="end" x="{}" y="{:.1f}">{:.0%}</text>').format(
            _LEFT, y(share), _RIGHT, _LEFT - 4, y(share) + 4, share
        )
        for share in (0, 0.25, 0.5, 0.75, 1)
    ]
    ticks = values if len(values) < 8 else values[:: (len(values) - 1) // (4 if axis == "angle" else 5)]
    parts += [Markup('<text x="{:.1f}" y="{}">{:g}</text>').format(x(tick), _BOTTOM + 15, tick) for tick in ticks]
    parts.append(Markup('<text x="{}" y="{}">{}</text>').format((_LEFT + _RIGHT) / 2, _BOTTOM + 31, name))
    for model in chosen:
        of_model = [point for point in points if point.model == model]
        place = names.index(model) % len(_DASHES)
        line = " ".join(f"{x(point.value):.1f},{y(point.accuracy.accuracy):.1f}" for point in of_model)
        ends = [
            f"{x(point.value):.1f},{y(point.accuracy.ci95[side]):.1f}"
            for side, run in ((0, of_model), (1, of_model[::-1]))
            for point in run
        ]
        parts.append(Markup('<polygon class="band line-{}" points="{}"/>').format(place, " ".join(ends)))
        parts.append(
            Markup('<polyline class="line-{}" stroke-dasharray="{}" points="{}"><title>{}</title></polyline>').format(
                place, _DASHES[place], line, printable(model)
            )
        )
    if controls is not None:
        here = max(values[0], min(values[-1], getattr(controls, axis)))
        parts.append(Markup('<path class="here" d="M{:.1f} {}V{}"/>').format(x(here), _TOP, _BOTTOM))
    legend = [
        Markup(
            '<li class="line-{}"><svg viewBox="0 0 26 6"><path stroke-dasharray="{}" d="M0 3H26"/></svg>{}</li>'
        ).format(place := names.index(model) % len(_DASHES), _DASHES[place], printable(model))
        for model in chosen
    ]
    measured, asked = len(points), len(values) * len(chosen)
    caption = f"Measuring: {measured} of {asked} points. " if measured < asked else ""
    if points:
        caption += f"Accuracy on the first {_counts(points)}, all other sliders at 0; bands: 95% intervals."
    return Markup(
        '<figure class="ood-curve"><svg viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg><ul>{}</ul>'
        "<figcaption>{}</figcaption></figure>"
    ).format(
        _WIDTH, _HEIGHT, f"Accuracy over {name}. {_reading(points, axis, controls)}", Markup("").join(parts),
        Markup("").join(legend), caption,
    )  # fmt: skip


def _counts(points: Sequence[CurvePoint]) -> str:
    """Say how many test images each model was measured on."""
    models: dict[int, dict[str, None]] = {}
    for point in points:
        models.setdefault(point.accuracy.n, {})[point.model] = None
    if len(models) == 1:
        return f"{next(iter(models)):,} test images"
    return " or ".join(f"{n:,} ({printable(', '.join(names))})" for n, names in models.items()) + " test images"


def _reading(points: Sequence[CurvePoint], axis: str, controls: Controls | None) -> str:
    """Say each model's accuracy at the measured value that is nearest to the slider."""
    if not points or controls is None:
        return ""
    here = getattr(controls, axis)
    nearest = min({point.value for point in points}, key=lambda value: abs(value - here))
    read = ", ".join(f"{p.model} {p.accuracy.accuracy:.1%}" for p in points if p.value == nearest)
    return printable(f"At {nearest:g}: {read}.")


def link_html(view: View, controls: Controls | None) -> Markup:
    """Make the link that restores a view, and say in words what the shift does."""
    words = "as a chain that the sliders cannot show" if controls is None else _in_words(controls)
    return Markup('<p class="ood-link">{} · <a href="?{}" target="_blank">Link to this</a></p>').format(
        words, view.query
    )


def _in_words(controls: Controls) -> str:
    parts = [
        f"moved {describe_move(controls.dx, controls.dy)}" if controls.dx or controls.dy else "",
        f"rotated {abs(controls.angle):g}° {'left' if controls.angle > 0 else 'right'}" if controls.angle else "",
        f"{controls.corruption.replace('_', ' ')} {controls.severity}" if controls.severity else "",
    ]
    return ", ".join(filter(None, parts)) or "as it is"


def message_html(text: str, *, is_error: bool = True) -> Markup:
    """Show a message as one line; nothing for an empty one."""
    kind = "ood-error" if is_error else "ood-note"
    return Markup('<p class="{}" role="alert">{}</p>').format(kind, printable(text)) if text else Markup("")

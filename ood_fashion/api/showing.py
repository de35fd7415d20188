"""What the interactive page shows, by what its fields hold: everything but the page itself."""

from __future__ import annotations

import atexit
import threading
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from markupsafe import Markup

from ood_fashion.api.exploring import Explorer
from ood_fashion.errors import OodFashionError
from ood_fashion.evaluation.exploring import AXES, Controls, ShownImage, View
from ood_fashion.shifts.shift import Shift

SHOWN_AT_FIRST = 5
"""How many models are chosen at first."""


@dataclass(frozen=True)
class Fields:
    """What the fields of the page hold.

    Attributes:
        text: the shift, as it is written.
        controls: where the sliders stand.
        number: of the test image.
        upload: the path of a picture of one's own.
        drawing: a picture of one's own, as a PNG file's content.
        models: those that are chosen.
        notice: what is to be said beside.
    """

    text: str = "none"
    controls: Controls = Controls()  # noqa: RUF009 # it is frozen
    number: int = 0
    upload: str | None = None
    drawing: bytes | None = field(default=None, repr=False)
    models: tuple[str, ...] = ()
    notice: str = ""


@dataclass(frozen=True)
class Screen:
    """What the page shows.

    Attributes:
        fields: what the fields hold, once they are brought up to date.
        image: the picture.
        shift: that it is shown under.
        axis: the slider that moved last.
        note: what was done to a picture of one's own.
        error: what is wrong with a field, which then changes nothing else.
        is_complete: whether nothing more is to come for it.
    """

    fields: Fields
    image: ShownImage
    shift: Shift = Shift()  # noqa: RUF009 # it is frozen
    axis: str = "angle"
    note: str = ""
    error: str = ""
    is_complete: bool = True

    @classmethod
    def first(cls, explorer: Explorer) -> Screen:
        """Return what is shown before anything is done."""
        return cls(Fields(models=explorer.names[:SHOWN_AT_FIRST]), explorer.image(0))

    @property
    def controls(self) -> Controls | None:
        """Where the sliders stand for the shift; None where they cannot."""
        return self.fields.controls.at(self.shift)

    @property
    def corruption(self) -> tuple[str, int]:
        """The corruption that is chosen, and its seed."""
        return self.fields.controls.corruption, self.fields.controls.seed

    @property
    def view(self) -> View:
        """What a link restores."""
        return View(self.image.index, self.shift, self.fields.models)

    def merge(self, base: Fields, given: Fields) -> Fields:
        """Return the fields with what is given otherwise than in `base`, which a page had that was a step behind."""
        controls = _changes(base.controls, given.controls)
        changes = _changes(base, given) | {"controls": replace(self.fields.controls, **controls)}
        return replace(self.fields, **changes)

    def corrections(self, given: Fields) -> list[str]:
        """Name the fields, of sliders and pictures of one's own, that the page has otherwise than they are to be."""
        changes = _changes(given, self.fields)
        return [*_changes(given.controls, self.fields.controls), *({"upload", "drawing"} & changes.keys())]

    def update(self, explorer: Explorer, given: Fields) -> Screen:
        """Return the screen for what the fields hold now; what differs from before is what the user has done.

        A text that was written decides the shift, and else the sliders. A picture of one's own stays until another
        number is given.
        """
        screen, errors = replace(self, fields=given, error=""), [""]
        if given.notice != self.fields.notice:
            errors.append(given.notice)
        try:
            screen = screen._with_image(explorer, self.fields)
        except OodFashionError as error:
            errors.append(str(error))
        try:
            screen = screen._with_shift(self.fields)
        except OodFashionError as error:
            errors.append(str(error))
        return replace(screen, error=" ".join(" ".join(errors).split()))

    def _with_image(self, explorer: Explorer, before: Fields) -> Screen:
        given = self.fields
        for picture, earlier in ((given.upload, before.upload), (given.drawing, before.drawing)):
            if picture and picture != earlier:
                image, steps = explorer.read(picture)
                return replace(self, image=image, note=f"Prepared: {', '.join(steps) or 'as it is'}.")
        if given.number == before.number:
            return self
        image = explorer.image(given.number)
        return replace(self, image=image, note="", fields=replace(given, upload=None, drawing=None))

    def _with_shift(self, before: Fields) -> Screen:
        given = self.fields
        if given.text != before.text:
            shift = Shift.parse(given.text)
            controls = given.controls.at(shift) or given.controls
        elif given.controls != before.controls:
            controls, shift = given.controls, given.controls.shift
        else:
            return self
        fields = replace(given, text=str(shift), controls=controls)
        return replace(self, shift=shift, fields=fields, axis=controls.moved(before.controls) or self.axis)


def _changes(before: object, after: object) -> dict[str, Any]:
    return {name: value for name, value in vars(after).items() if value != getattr(before, name)}


@dataclass(frozen=True)
class Shown:
    """The parts of the page as HTML, and whether more is to come."""

    picture: Markup
    answers: Markup
    curve: Markup
    link: Markup
    message: Markup
    is_complete: bool


def show(explorer: Explorer, screen: Screen, worker: Worker) -> Shown:
    """Ask the models, and write what they say; what takes longer is left to the worker, and shown when it is there."""
    from ood_fashion.reports import explorer_html as html

    chosen = [name for name in explorer.names if name in screen.fields.models]
    error = screen.error
    try:
        answers = explorer.answers(screen.image, screen.shift, chosen)
    except OodFashionError as failure:
        answers, error = [], str(failure)
    corruption, seed = screen.corruption
    of_image, of_curve = (screen.image, corruption, seed, chosen), (screen.axis, corruption, seed, chosen)
    breaking, points = explorer.known_breaking(*of_image), explorer.known_curve(*of_curve)
    waiting = False
    if len(points) < len(AXES[screen.axis]) * len(chosen):
        waiting |= worker.want(("curve", screen.axis, corruption, seed, *chosen), explorer.measure_curve(*of_curve))
    if len(breaking) < len(chosen):
        key = ("breaking", screen.image.key, corruption, seed, *chosen)
        waiting |= worker.want(key, explorer.find_breaking(*of_image))
    names, label = explorer.dataset.class_names, screen.image.label
    return Shown(
        html.picture_html(
            screen.image,
            explorer.shifted(screen.image, screen.shift),
            str(screen.shift),
            None if label is None else names[label],
            answers,
            explorer.names,
        ),
        html.answers_html(answers, breaking, explorer.names, screen.controls),
        html.curve_html(points, screen.axis, screen.controls, explorer.names, chosen),
        html.link_html(screen.view, screen.controls),
        html.message_html(error) or html.message_html(screen.note, is_error=False),
        not waiting,
    )


class Worker:
    """Does in one thread, step by step, what pages wait for; what was wanted last goes first."""

    MAX_WANTED = 40

    def __init__(self) -> None:
        self._wanted: dict[Hashable, Iterator[object]] = {}
        self._failed: set[Hashable] = set()
        self._changed = threading.Condition()
        self._is_open = True
        self._thread = threading.Thread(target=self._work, daemon=True, name="explorer")
        self._thread.start()
        atexit.register(self.close)  # TensorFlow aborts a process that ends while a thread of it computes

    def want(self, key: Hashable, steps: Iterator[object]) -> bool:
        """Have steps done, those of a key once; return whether there is something to wait for."""
        with self._changed:
            if key in self._failed or not self._is_open:
                return False
            self._wanted[key] = self._wanted.pop(key, steps)
            while len(self._wanted) > self.MAX_WANTED:
                del self._wanted[next(iter(self._wanted))]
            self._changed.notify()
        return True

    def close(self) -> None:
        """Do nothing more once the step under way is done."""
        with self._changed:
            self._is_open = False
            self._wanted.clear()
            self._changed.notify()
        self._thread.join()
        atexit.unregister(self.close)

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._wanted and self._is_open:
                    self._changed.wait()
                if not self._is_open:
                    return
                key = next(reversed(self._wanted))
                steps = self._wanted[key]
            try:
                next(steps)
            except StopIteration:
                pass
            except Exception:  # what a model raises is said where it is asked about the picture
                self._failed.add(key)
            else:
                continue
            with self._changed:
                self._wanted.pop(key, None)

"""The interactive page in Gradio, and the server that shows it in a browser or in a notebook's cell."""

from __future__ import annotations

import inspect
import io
import os
import socket
import sys
import threading
import webbrowser
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from PIL import Image

from ood_fashion.api.data import Data
from ood_fashion.api.exploring import Explorer
from ood_fashion.api.opening import Model
from ood_fashion.api.showing import Fields, Screen, Worker, show
from ood_fashion.errors import OodFashionError
from ood_fashion.evaluation.exploring import MAX_MOVE, Controls, View
from ood_fashion.files import reason
from ood_fashion.shifts.corruptions import CORRUPTIONS, MAX_SEED, SEVERITIES

LOOPBACK = "127.0.0.1"
_ANY = "any class"
_MAX_UPLOAD = "20mb"
_MAX_SESSIONS = 200
_MAX_STEPS = 8
_REFRESH_S = 0.7
_HEIGHT = 820
_FONTS = ("system-ui", "sans-serif"), ("ui-monospace", "monospace")


@dataclass(frozen=True)
class RunningApp:
    """The app as it runs.

    Attributes:
        address: where this machine's browsers find it.
        shared: where others find it, if it is shared.
        opened: whether a browser, or a cell, was opened with it.
    """

    address: str
    shared: str | None
    opened: bool
    page: Any
    worker: Worker

    def __repr__(self) -> str:
        return f"App at {self.shared or self.address}"

    def wait(self) -> None:
        """Wait until it is closed, or the program is interrupted."""
        try:
            while self.page.is_running:
                threading.Event().wait(0.2)
        finally:
            self.close()

    def close(self) -> None:
        """Stop the server."""
        self.worker.close()
        self.page.close(verbose=False)


def app(
    models: Model | Sequence[Model] = (),
    data: Data = None,
    *,
    pretrained: Sequence[str] | None = None,
    port: int | None = None,
    host: str = LOOPBACK,
    share: bool = False,
    browser: bool = True,
    block: bool | None = None,
    pixel_range: str | None = None,
    device: str = "auto",
    trust: bool = False,
) -> RunningApp:
    """Show a page on which one moves, rotates and corrupts a picture and watches what models make of it.

    In a notebook the page is shown in the cell, else in a browser. It needs the extra `app`, which Colab has. The
    server is found by this machine's browsers only, unless told otherwise, and asks no other machine for anything.

    Args:
        models: as for `evaluate`; they stand beside the pretrained ones.
        data: what `load_dataset` takes or gives; unless given, what a run was trained on in this process, else
            Fashion-MNIST.
        pretrained: the names of pretrained models; a few that differ unless given.
        port: of the server; the first free one from 7860 on unless given.
        host: the address that the server listens on.
        share: make a link through Gradio's servers, by which everybody finds it.
        browser: open one, outside notebooks.
        block: return when the program is interrupted, not at once; as it is in a script, and not in a notebook, unless
            given.
        pixel_range: as for `evaluate`, of all `models`.
        device: "auto", "cpu" or "gpu".
        trust: as for `load_model`.

    Returns:
        The running app, with `address` and `close()`.

    Raises:
        OodFashionError: Gradio is not installed, the port is in use, or the host is none of this machine.
        ModelError: a model cannot be loaded, or does not fit the data.

    Examples:
        >>> import ood_fashion as ood
        >>> running = ood.app(pretrained=["cnn3"], browser=False, block=False)
        >>> running.address.startswith("http://127.0.0.1:")
        True
        >>> running.close()
    """
    gr = import_gradio()
    _check_free(host, port)
    explorer = Explorer(models, data, pretrained=pretrained, pixel_range=pixel_range, device=device, trust=trust)
    worker = Worker()
    page, style = build_page(explorer, worker)
    in_cell = bool(gr.utils.ipython_check())
    try:
        _, address, shared = page.launch(
            server_name=host, server_port=port, share=share, inbrowser=False, prevent_thread_lock=True, quiet=True,
            max_file_size=_MAX_UPLOAD, height=_HEIGHT, **style,
        )  # fmt: skip
    except OSError as error:
        worker.close()
        raise OodFashionError(f"`port`: expected a free one of {host}. Received: none. Close other apps.") from error
    opened = in_cell or (browser and _open_browser(shared or address))
    running = RunningApp(address, shared, opened, page, worker)
    if block or (block is None and not in_cell and not hasattr(sys, "ps1")):
        running.wait()
    return running


def _check_free(host: str, port: int | None) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for number, expected, remedy in (
        (0, f"`host` {host}: expected an address of this machine", "Leave it out"),
        (port, f"`port` {port}: expected a free port of {host}", "Choose another one, or leave it out"),
    ):
        try:
            with socket.socket(family) as server:
                server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, os.name == "posix")
                server.bind((host, number or 0))
        except (OSError, TypeError, ValueError) as error:
            raise OodFashionError(f"{expected}. Received: {reason(error)}. {remedy}.") from error


def _open_browser(address: str) -> bool:
    try:
        return webbrowser.open(address)
    except webbrowser.Error:
        return False


class _OnlyItself:
    """Tells browsers that the page asks its own server alone, whatever Gradio's templates say."""

    _POLICY = b"default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:"

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def send_with_policy(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), (b"content-security-policy", self._POLICY)]
            await send(message)

        await self._app(scope, receive, send_with_policy)


def import_gradio() -> Any:
    """Import Gradio, which then reports nothing to its makers.

    Raises:
        OodFashionError: it is not installed.
    """
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    try:
        import gradio
    except ImportError as error:
        raise OodFashionError(
            "expected the package gradio. Received: none. Install it: pip install 'ood-fashion[app]'"
        ) from error
    return gradio


def build_page(explorer: Explorer, worker: Worker) -> tuple[Any, dict[str, Any]]:
    """Build the page, and say what more its `launch` is to be given.

    Whatever a user does goes through one event, whose function gives the whole page anew: while it runs, the browser
    keeps only the latest change (`always_last`), so that no older answer comes after a newer one. It goes around
    Gradio's queue, which would let pages wait for each other. Fields that are to change, which is rare, have an event
    of their own, since Gradio builds anew every field among an event's outputs, changed or not: half of its time.
    """
    gr = import_gradio()
    from ood_fashion.reports.explorer_html import CSS

    fonts, mono = _FONTS
    style = {"css": CSS.read_text(), "theme": gr.themes.Base(font=list(fonts), font_mono=list(mono), text_size="sm")}
    options = inspect.signature(gr.Blocks.launch).parameters
    given_later = "css" in options  # from Gradio 6 on
    blocks: dict[str, Any] = {"title": "ood-fashion", "analytics_enabled": False, "delete_cache": (600, 3600)}
    launch: dict[str, Any] = {"footer_links": []} if given_later else {"show_api": False}
    launch["app_kwargs"] = {"middleware": [(_OnlyItself, (), {})]}
    if "run_history" in options:  # all that was ever shown, which the browser would write anew at every change
        launch["run_history"] = False
    (launch if given_later else blocks).update(style)
    images, classes = len(explorer.dataset.test), [_ANY, *explorer.dataset.class_names]
    start = Screen.first(explorer)
    first = show(explorer, start, worker)
    with gr.Blocks(**blocks) as page:
        gr.HTML(
            "<h1>Move, rotate and corrupt a picture: what does each model make of it?</h1>", elem_classes="ood-title"
        )
        with gr.Row(equal_height=False):
            with gr.Column(elem_classes="ood-column", min_width=330, scale=33):
                picture = gr.HTML(str(first.picture), elem_classes="ood-top")
                with gr.Row():
                    kind = gr.Dropdown(classes, value=_ANY, label="Class", min_width=120, elem_id="ood-kind")
                    number = gr.Number(0, label=f"Test image, 0 to {images - 1:,}", precision=0, minimum=0,
                                       maximum=images - 1, min_width=120, elem_id="ood-number")  # fmt: skip
                with gr.Row():
                    following = gr.Button("Next image", size="sm", min_width=80, elem_id="ood-following")
                    failure = gr.Button("Next failure", size="sm", min_width=80, elem_id="ood-failure")
                    upload = gr.UploadButton(
                        "Upload", size="sm", min_width=80, file_types=[".png", ".jpg", ".jpeg"], elem_id="ood-upload"
                    )
                with gr.Row():
                    dx = gr.Slider(-MAX_MOVE, MAX_MOVE, 0, step=1, label="Right", min_width=140, elem_id="ood-dx")
                    dy = gr.Slider(-MAX_MOVE, MAX_MOVE, 0, step=1, label="Down", min_width=140, elem_id="ood-dy")
                with gr.Row():
                    angle = gr.Slider(-180, 180, 0, step=1, label="Angle", min_width=140, elem_id="ood-angle")
                    severity = gr.Slider(
                        0, SEVERITIES[-1], 0, step=1, label="Severity", min_width=140, elem_id="ood-severity"
                    )
                with gr.Row():
                    corruption = gr.Dropdown(
                        list(CORRUPTIONS), value="fog", label="Corruption", min_width=140, elem_id="ood-corruption"
                    )
                    seed = gr.Number(
                        0, label="Seed", precision=0, minimum=0, maximum=MAX_SEED, min_width=140, elem_id="ood-seed"
                    )
                text = gr.Textbox("none", label="Shift", max_lines=1, elem_id="ood-text")
                link = gr.HTML(str(first.link))
                message = gr.HTML("")
            with gr.Column(elem_classes="ood-column", min_width=330, scale=36):
                answers = gr.HTML(str(first.answers))
            with gr.Column(elem_classes="ood-column", min_width=330, scale=31):
                chosen = gr.CheckboxGroup(
                    list(explorer.names), value=list(start.fields.models), label="Models", elem_id="ood-chosen"
                )
                curve = gr.HTML(str(first.curve))
                with gr.Accordion("Draw a picture", open=False):
                    drawing = gr.Sketchpad(label="Dark on white", type="numpy", canvas_size=(280, 280), layers=False,
                                           fixed_canvas=True, elem_id="ood-drawing")  # fmt: skip
        query = gr.Textbox("", elem_classes="ood-hidden")
        notice = gr.Textbox("", elem_classes="ood-hidden")
        step = gr.Textbox("0", elem_classes="ood-hidden")
        behind = gr.Textbox("", elem_classes="ood-hidden")
        clock = gr.Timer(_REFRESH_S, active=not first.is_complete)
        # By the session, not in Gradio's State, which keeps a connection open for each tab: browsers have six.
        # The last few of each, by their number: a page may ask before it has what it was given for its last question.
        sessions: OrderedDict[str, dict[str, Screen]] = OrderedDict()

        sliders = [dx, dy, angle, corruption, severity, seed]
        fields = [text, *sliders, number, upload, drawing, chosen, notice, step, behind]
        shown = [picture, answers, curve, link, message]

        def refresh(
            request: Any, written: str, right: float, down: float, degrees: float, name: str, level: int,
            random: int | None, index: int | None, uploaded: str | None, drawn: Any, models: list[str], note: str,
            number_of_step: str, corrections: str,
        ) -> list[Any]:  # fmt: skip
            earlier = sessions.get(request.session_hash, {"0": start})
            last, before = next(reversed(earlier.items()))
            base, next_step = earlier.get(number_of_step, before), str(int(last) + 1)
            controls = Controls(right or 0, down or 0, degrees or 0, name, level or 0, random or 0)
            given = Fields(
                written, controls, base.fields.number if index is None else index, uploaded, _drawing(drawn),
                tuple(models), note,
            )  # fmt: skip
            screen = before.update(explorer, before.merge(base.fields, given))
            found = show(explorer, screen, worker)
            screen = replace(screen, is_complete=found.is_complete)
            sessions[request.session_hash] = dict(list({**earlier, next_step: screen}.items())[-_MAX_STEPS:])
            sessions.move_to_end(request.session_hash)
            if len(sessions) > _MAX_SESSIONS:
                sessions.popitem(last=False)
            wrong = screen.corrections(given)
            if wrong or screen.is_complete != before.is_complete:
                corrections = " ".join((next_step, *wrong))
            else:
                number_of_step = next_step
            parts = found.picture, found.answers, found.curve, found.link, found.message
            written = gr.skip() if screen.fields.text == written else screen.fields.text  # where one may be typing
            return [*map(str, parts), written, number_of_step, corrections]

        def correct(request: Any, corrections: str) -> list[Any]:
            number_of_step, *names = corrections.split() or [""]  # an event may come before its field's value
            screen, kept = sessions.get(request.session_hash, {}).get(number_of_step), gr.skip()
            if screen is None:  # or many steps later, which are corrected themselves
                return [kept] * (4 + len(sliders))
            values = {**vars(screen.fields.controls), "upload": None, "drawing": None}
            return [
                gr.Timer(active=not screen.is_complete),
                number_of_step,
                *(value if name in names else kept for name, value in values.items()),
            ]

        def label_of(name: str) -> int | None:
            return None if name == _ANY else explorer.dataset.class_names.index(name)

        def go_to_class(name: str, index: float | None) -> int | None:
            return explorer.next_of_class(label_of(name), int(index or 0) - 1)

        def go_on(name: str, index: float | None) -> int | None:
            return explorer.next_of_class(label_of(name), int(index or 0))

        def go_to_failure(request: Any, name: str, index: float | None) -> tuple[Any, Any]:
            screen = next(reversed(sessions.get(request.session_hash, {"0": start}).values()))
            found = explorer.next_failure(screen.shift, screen.fields.models, label_of(name), int(index or 0))
            return (gr.skip(), "No failure found in the next images.") if found is None else (found, "")

        for function in (refresh, correct, go_to_failure):
            function.__annotations__["request"] = gr.Request  # by which Gradio knows what to give
        plain: dict[str, Any] = {"queue": False, "show_progress": "hidden"}
        changes = [one.input for one in (*sliders, chosen)] + [text.submit, text.blur, upload.upload, drawing.change]
        gr.on(
            [*changes, number.change, notice.change, clock.tick], refresh, fields,
            [*shown, text, step, behind], trigger_mode="always_last", **plain,
        )  # fmt: skip
        behind.change(correct, behind, [clock, step, *sliders, upload, drawing], **plain)
        kind.input(go_to_class, [kind, number], number, **plain)
        following.click(go_on, [kind, number], number, **plain)
        failure.click(go_to_failure, [kind, number], [number, notice], **plain)

        def restore(link: str) -> tuple[Any, ...]:
            try:
                view = View.parse(link, images, explorer.names)
            except OodFashionError as error:
                return 0, "none", list(start.fields.models), f"Link: {error}"
            if view == View():  # so that what the user has done by now stays
                return (gr.skip(),) * 4
            return view.image or 0, str(view.shift), list(view.models or start.fields.models), " "

        page.load(restore, query, [number, text, chosen, notice], js="() => window.location.search", **plain)
    return page, launch


def _drawing(value: Any) -> bytes | None:
    """Return what was drawn as a PNG file's content, dark on white; None for an empty sheet."""
    composite = value and value.get("composite")
    if composite is None or not np.asarray(composite)[..., -1].any():
        return None
    content = io.BytesIO()
    Image.fromarray(composite).save(content, "PNG")
    return content.getvalue()


__all__ = ["RunningApp", "app"]

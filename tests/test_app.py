"""The interactive page, in a real browser: what it shows is what `evaluate` and `predict` say."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlparse
from urllib.request import urlopen

import numpy as np
import pytest
from PIL import Image
from selenium import webdriver
from selenium.webdriver import ActionChains, Keys
from selenium.webdriver.common.by import By

import ood_fashion as ood
from ood_fashion.data.dataset import Dataset
from tests.app_page import Page, start_app
from tests.browser import PHONE, read_log, read_requests, start_chromium

NAMES = ("mlp", "cnn3-full", "p4mgap-augmented")


@pytest.fixture(scope="module")
def address(small_folder: Path) -> Iterator[str]:
    """Where the command shows the first 200 test images."""
    models = [word for name in NAMES for word in ("--pretrained", name)]
    with start_app("--data-dir", small_folder, "--no-browser", *models) as process:
        assert process.stdout
        yield process.stdout.readline().strip()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=120)
    assert (process.returncode, out, err) == (130, "", "Error: interrupted.\n")


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    driver = start_chromium(tmp_path_factory.mktemp("profile"))
    driver.set_window_size(1280, 900)
    yield driver
    driver.quit()


@pytest.fixture
def page(address: str, chromium: webdriver.Chrome) -> Iterator[Page]:
    """The page, opened anew; nothing is logged, and no other host asked, until the test ends."""
    chromium.get("about:blank")
    for kind in ("browser", "performance"):
        read_log(chromium, kind)
    yield Page(chromium, address)
    hosts = {urlparse(url).hostname for url in read_requests(chromium) if url.startswith(("http", "ws"))}
    assert hosts <= {"127.0.0.1"}
    assert read_log(chromium, "browser") == []


def expected_answers(image: np.ndarray, shift: str, index: int = 0) -> dict[str, list[tuple[str, str]]]:
    """The top three of each model, computed by Keras itself; the classes of the first images have numbers for names."""
    pixels = ood.shift_images(image[None], shift, indices=np.array([index]))[..., None]
    found = {}
    for name in NAMES:
        logits = np.asarray(ood.load_model(name).predict(pixels, verbose=0)[0], np.float64)
        scores = np.exp((logits - logits.max()) / (ood.pretrained(name).temperature or 1))
        scores /= scores.sum()
        found[name] = [(str(k), f"{100 * scores[k]:.1f}%") for k in np.argsort(-scores)[:3]]
    return found


def test_every_slider_changes_the_picture_and_the_answers(page: Page, small_fashion: Dataset) -> None:
    image = small_fashion.test.images[0]
    for label, value, text in (
        ("dx", 3, "translate:3,0"),
        ("dy", -4, "translate:3,-4"),
        ("angle", 33, "translate:3,-4+rotate:33"),
        ("severity", 2, "translate:3,-4+rotate:33+fog:2"),
    ):
        page.slide(label, value)
        page.wait(lambda text=text: page.shift() == text and page.shown() == f"Test image 0 under {text}")  # type: ignore[misc]
        assert page.answers() == expected_answers(image, text)
    page.write("seed", "7")
    page.wait(lambda: page.shift() == "translate:3,-4+rotate:33+fog:2,7")
    page.wait(lambda: page.answers() == expected_answers(image, "translate:3,-4+rotate:33+fog:2,7"))


def test_verdicts_equal_evaluate(page: Page, small_fashion: Dataset) -> None:
    """Of the first six images under a shift."""
    page.write("text", "rotate:90")
    page.wait(lambda: page.shift() == "rotate90")
    right = dict.fromkeys(NAMES, 0)
    for index in range(6):
        page.write("number", str(index))
        page.wait(lambda index=index: page.shown() == f"Test image {index} under rotate90")  # type: ignore[misc]
        for name, verdict in page.verdicts().items():
            right[name] += verdict == "✓ right"
    counts = {name: ood.evaluate(name, "rotate90", data=small_fashion, limit=6)["rotate90"].correct for name in NAMES}
    assert right == counts


def test_a_text_moves_the_sliders_and_is_checked(page: Page) -> None:
    page.write("text", " translate:-2,5+rotate:350+gaussian_noise:4,9")
    page.wait(lambda: page.slider("angle").get_property("value") == "-10")
    assert [page.slider(name).get_property("value") for name in ("dx", "dy", "severity")] == ["-2", "5", "4"]
    assert page.field("corruption").get_property("value") == "gaussian_noise"
    assert page.field("seed").get_property("value") == "9"
    page.write("text", "fgo:3")
    page.wait(lambda: page.message().startswith("shift 'fgo:3': unknown. Expected none, up4"))
    assert "\n" not in page.message()
    assert page.shown() == "Test image 0 under translate:-2,5+rotate:350+gaussian_noise:4,9"
    page.slide("angle", 20)
    page.wait(lambda: page.shift() == "translate:-2,5+rotate:20+gaussian_noise:4,9" and not page.message())
    page.write("text", "fog:1+up4")
    page.wait(lambda: page.shown() == "Test image 0 under fog:1+up4")


def test_a_link_restores_what_is_shown(page: Page, address: str) -> None:
    page.write("number", "12")
    page.write("text", "up4+fog:3,2")
    page.browser.find_element(By.XPATH, "//label[contains(., 'cnn3-full')]//input").click()
    page.wait(lambda: set(page.answers()) == {"mlp", "p4mgap-augmented"})
    page.wait(lambda: page.shown() == "Test image 12 under up4+fog:3,2")
    before, link = page.answers(), page.browser.find_element(By.LINK_TEXT, "Link to this").get_attribute("href")
    assert link == f"{address}?image=12&shift=up4+fog:3,2&model=mlp&model=p4mgap-augmented"
    page.open(link)
    page.wait(lambda: page.shown() == "Test image 12 under up4+fog:3,2" and page.answers() == before)
    page.wait(lambda: page.slider("dy").get_property("value") == "-4")
    page.open(f"{address}?image=9999&shift=up4")
    page.wait(lambda: page.message() == "Link: `image`: expected a number from 0 to 199. Received: '9999'.")


def test_pictures_of_ones_own(page: Page, small_fashion: Dataset, tmp_path: Path) -> None:
    """Prepared and refused as `predict` does; a file's name stays text."""
    shoe, hostile = tmp_path / "shoe.png", tmp_path / "<img src=x onerror=alert(1)>.png"
    Image.fromarray(255 - small_fashion.test.images[0]).resize((300, 200)).save(shoe)
    chooser = page.browser.find_element(By.CSS_SELECTOR, "input[type=file]")
    chooser.send_keys(str(shoe))
    page.wait(lambda: page.shown() == "Your picture under none")
    assert set(page.verdicts().values()) == {""}
    for name, shown in page.answers().items():
        (predicted,) = ood.predict(shoe, name).rows
        assert shown == [(str(one.label), f"{100 * one.probability:.1f}%") for one in predicted.top]
        assert page.message() == f"Prepared: {', '.join(predicted.prepared)}."
    Image.new("1", (8000, 5001)).save(hostile)
    chooser.send_keys(str(hostile))
    page.wait(lambda: "expected a PNG picture of at most 40,000,000 pixels. Received: 8000x5001" in page.message())
    assert not page.run("return document.querySelectorAll('img[onerror]').length")
    assert page.shown() == "Your picture under none"
    page.click("Next image")
    page.wait(lambda: page.shown() == "Test image 1 under none")
    chooser.send_keys(str(shoe))
    page.wait(lambda: page.shown() == "Your picture under none")


def test_a_drawing(chromium: webdriver.Chrome, address: str) -> None:
    """Prepared as a picture is. Its canvas warns of the browser's software rendering, and of nothing worse."""
    page = Page(chromium, address)
    page.click("Draw a picture")
    page.wait(lambda: chromium.find_elements(By.CSS_SELECTOR, "#ood-drawing canvas"))
    page.wait(lambda: page.run("document.querySelector('#ood-drawing [aria-label=Brush]').click(); return true"))
    canvas = page.field("drawing", "canvas")
    page.run("arguments[0].scrollIntoView({block: 'center'})", canvas)
    time.sleep(1)
    line = ActionChains(chromium).move_to_element_with_offset(canvas, -60, -60).click_and_hold()
    for _ in range(12):
        line.move_by_offset(10, 8)
    line.move_by_offset(-60, 10).release().perform()
    page.wait(lambda: page.shown() == "Your picture under none")
    assert page.message().startswith("Prepared: light background inverted")
    assert {entry["level"] for entry in read_log(chromium, "browser")} <= {"WARNING", "INFO"}


def test_images_by_class_and_by_failure(page: Page, small_fashion: Dataset) -> None:
    labels = small_fashion.test.labels
    page.write("text", "rotate:45")
    page.wait(lambda: page.shift() == "rotate:45")
    page.field("kind").click()
    page.field("kind").send_keys(Keys.CONTROL, "a")
    page.field("kind").send_keys("8", Keys.ENTER)
    bags = np.flatnonzero(labels == 8)
    page.wait(lambda: page.shown() == f"Test image {bags[0]} under rotate:45")
    page.click("Next image")
    page.wait(lambda: page.shown() == f"Test image {bags[1]} under rotate:45")
    page.click("Next failure")
    page.wait(lambda: page.shown() != f"Test image {bags[1]} under rotate:45")
    assert "✗ wrong" in page.verdicts().values()
    number = int(re.findall(r"\d+", page.shown())[0])
    assert labels[number] == 8


def test_dragging_fast_never_shows_an_older_answer(page: Page) -> None:
    """In a hundred moves within a second or two, the angles that are shown only grow, and the last one is shown."""
    page.run(
        """window.seen = [];
        new MutationObserver(() => {
            const now = document.querySelector(".ood-picture .now");
            if (now && now.alt !== window.seen.at(-1)) window.seen.push(now.alt);
        }).observe(document.body, {subtree: true, childList: true, attributes: true, characterData: true});
        const slider = arguments[0];
        let angle = 0;
        const timer = setInterval(() => {
            slider.value = ++angle;
            slider.dispatchEvent(new Event("input", {bubbles: true}));
            if (angle === 100) clearInterval(timer);
        }, 12);""",
        page.slider("angle"),
    )
    page.wait(lambda: page.shown() == "Test image 0 under rotate:100")
    page.wait(lambda: page.shift() == "rotate:100")
    time.sleep(1)
    assert page.slider("angle").get_property("value") == "100"
    angles = [
        int(text.partition("rotate")[2].lstrip(":")) for text in page.run("return window.seen") if "rotate" in text
    ]
    assert angles == sorted(angles)
    assert len(angles) > 3
    assert angles[-1] == 100


def test_maps_and_curves_come_later(page: Page, small_fashion: Dataset) -> None:
    """And equal what the library says."""
    explorer = ood.Explorer(data=small_fashion, pretrained=NAMES)
    page.write("number", "7")
    page.wait(lambda: page.shown() == "Test image 7 under none")
    expected = {points.model: f"changes at {points}" for points in explorer.breaking(explorer.image(7))}

    def breaks() -> dict[str, str]:
        rows = page.run(
            """return [...document.querySelectorAll(".ood-answers li")].map(card =>
            [card.dataset.model, card.querySelector(".breaks").innerText])"""
        )
        return dict(rows)

    page.wait(lambda: breaks() == expected)
    page.slide("severity", 3)
    label = "return document.querySelector('.ood-curve > svg').getAttribute('aria-label')"
    accuracies = {name: ood.evaluate(name, "fog:3", data=small_fashion)["fog:3"].accuracy for name in NAMES}
    read = ", ".join(f"{name} {accuracy:.1%}" for name, accuracy in accuracies.items())
    page.wait(lambda: page.run(label) == f"Accuracy over severity of fog. At 3: {read}.")
    caption = page.run("return document.querySelector('.ood-curve figcaption').innerText")
    assert caption == "Accuracy on the first 200 test images, all other sliders at 0; bands: 95% intervals."


def test_the_keyboard_suffices(page: Page) -> None:
    """From the top of the page, every field is reached by Tab and changed by keys."""
    reached: list[str] = []
    keys = ActionChains(page.browser)
    for _ in range(40):
        keys.send_keys(Keys.TAB).perform()
        reached.append(
            page.run(
                """const here = document.activeElement;
                return here.ariaLabel || here.closest(".block")?.innerText || here.innerText || here.type"""
            )
        )
        if page.run("return document.activeElement === arguments[0]", page.slider("angle")):
            keys.send_keys(Keys.ARROW_RIGHT * 3).perform()
            page.wait(lambda: page.shift() == "rotate:3")
    text = " ".join(reached)
    for name in ("Class", "Test image", "Next image", "Next failure", "Upload", "Right", "Down", "Angle", "Severity"):
        assert name in text, text
    for name in ("Corruption", "Seed", "Shift", "Link to this", "mlp", "Draw a picture"):
        assert name in text, text


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_one_screen_and_a_phone(page: Page, address: str, scheme: str) -> None:
    """No scrolling at 1280x800, none sideways on a phone; texts stand out from what is behind them."""
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    page.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    try:
        for metrics, both in (
            ({"width": 1280, "height": 800, "deviceScaleFactor": 1, "mobile": False}, True),
            (PHONE, False),
        ):
            page.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
            page.open(address)
            page.wait(lambda: page.run("return document.querySelectorAll('svg.map').length") == len(NAMES))
            size = page.run("return [document.documentElement.scrollWidth, document.documentElement.scrollHeight]")
            assert size[0] <= metrics["width"]
            assert not both or size[1] <= metrics["height"]
            colours = page.run(
                """const style = getComputedStyle(document.querySelector(".ood-answers"));
                return [style.color, getComputedStyle(document.body).backgroundColor]"""
            )
            light = [sum(map(int, re.findall(r"\d+", colour)[:3])) for colour in colours]
            assert (light[0] > light[1] + 400) if scheme == "dark" else (light[1] > light[0] + 400)
    finally:
        page.browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        page.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_ten_tabs_at_once(page: Page, address: str, chromium: webdriver.Chrome) -> None:
    """Each shows its own picture, and none waits for the others."""
    first = chromium.current_window_handle
    tabs = []
    for index in range(10):
        chromium.switch_to.new_window("tab")
        tabs.append(chromium.current_window_handle)
        chromium.execute_script("location.href = arguments[0]", f"{address}?image={index}&shift=rotate:{index}0")
    try:
        for index, tab in enumerate(tabs):
            chromium.switch_to.window(tab)
            shift = ood.Shift.parse(f"rotate:{index}0")
            page.wait(lambda index=index, shift=shift: page.shown() == f"Test image {index} under {shift}")  # type: ignore[misc]
    finally:
        for tab in tabs:
            chromium.switch_to.window(tab)
            chromium.close()
        chromium.switch_to.window(first)


def test_only_this_machine_is_served(address: str) -> None:
    """The server listens on loopback, and tells browsers to ask itself alone."""
    port = urlparse(address).port
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    listening = {row[1].split(":")[0] for row in rows if row[3] == "0A" and int(row[1].split(":")[1], 16) == port}
    assert listening == {"0100007F"}
    with urlopen(address) as answer:
        assert answer.headers["content-security-policy"].startswith("default-src 'self' ")

"""The command `ood-fashion app` in a process of its own, and its page as a user has it."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from selenium import webdriver
from selenium.common.exceptions import JavascriptException
from selenium.webdriver import Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement


def start_app(*options: object, **more: Any) -> subprocess.Popen[str]:
    """Start the command; Gradio, which leaves event loops open, is in a process of its own."""
    # A shell's background jobs ignore SIGINT, and so would what the tests start among them.
    command = ["/usr/bin/env", "--default-signal=INT", sys.executable, "-m", "ood_fashion", "app", *map(str, options)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more)


class Page:
    """The page as a user has it."""

    def __init__(self, browser: webdriver.Chrome, address: str, query: str = "") -> None:
        self.browser = browser
        self.open(f"{address}{query}")

    def open(self, address: str) -> None:
        self.browser.get(address)
        self.wait(
            lambda: self.answers() and self.run("return document.querySelectorAll('input[type=range]').length") == 4
        )

    def wait(self, is_so: Callable[[], Any], seconds: float = 120) -> Any:
        """Wait until something is so; what is not there yet is waited for."""
        end, last = time.monotonic() + seconds, None
        while time.monotonic() < end:
            try:
                if last := is_so():
                    return last
            except (AttributeError, IndexError, ValueError, JavascriptException) as error:
                last = error
            time.sleep(0.05)
        raise AssertionError(f"expected something to be so. Received: {last!r}; {self.shift()!r}, {self.message()!r}")

    def run(self, script: str, *arguments: Any) -> Any:
        return self.browser.execute_script(script, *arguments)

    def answers(self) -> dict[str, list[tuple[str, str]]]:
        """The classes and percentages that are shown, by model."""
        rows = self.run(
            """return [...document.querySelectorAll(".ood-answers li")].map(card => [card.dataset.model,
            [...card.querySelectorAll("tr")].map(row => [row.cells[0].innerText, row.cells[2].innerText])])"""
        )
        return {name: [tuple(row) for row in of_one] for name, of_one in rows}

    def verdicts(self) -> dict[str, str]:
        rows = self.run(
            """return [...document.querySelectorAll(".ood-answers li")].map(card =>
            [card.dataset.model, card.querySelector("header span").innerText])"""
        )
        return dict(rows)

    def shown(self) -> str:
        """What is said of the picture."""
        return str(self.run("return document.querySelector('.ood-picture .now').alt"))

    def message(self) -> str:
        return str(self.run("return [...document.querySelectorAll('[role=alert]')].map(m => m.innerText).join()"))

    def field(self, name: str, kind: str = "input, textarea") -> WebElement:
        """The field of a name; of a slider, its number."""
        return self.browser.find_element(By.CSS_SELECTOR, f"#ood-{name} :is({kind})")

    def slider(self, name: str) -> WebElement:
        return self.field(name, "input[type=range]")

    def shift(self) -> str:
        return str(self.field("text").get_property("value"))

    def slide(self, label: str, value: float) -> None:
        self.run(
            """arguments[0].value = arguments[1];
            arguments[0].dispatchEvent(new Event("input", {bubbles: true}));""",
            self.slider(label),
            value,
        )

    def write(self, label: str, text: str) -> None:
        field = self.field(label)
        field.send_keys(Keys.CONTROL, "a")
        field.send_keys(text, Keys.ENTER)

    def click(self, text: str) -> None:
        self.browser.find_element(By.XPATH, f"//button[contains(., '{text}')]").click()

"""A headless Chromium, and what it has logged."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.webdriver.chrome.service import Service

PHONE = {"width": 375, "height": 800, "deviceScaleFactor": 2, "mobile": True}


def start_chromium(profile: Path) -> webdriver.Chrome:
    """Start Chromium, as Debian packages it, without anything of its own that asks the network."""
    paths = {name: shutil.which(name) for name in ("chromium", "chromedriver")}
    assert all(paths.values()), f"expected chromium and chromedriver, which scripts/setup.sh test installs: {paths}"
    options = webdriver.ChromeOptions()
    options.binary_location = str(paths["chromium"])
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    switches = (
        "headless no-sandbox disable-gpu disable-quic no-first-run disable-dev-shm-usage disable-background-networking"
    )
    for switch in (*switches.split(), "disable-component-update", "disable-sync", f"user-data-dir={profile}"):
        options.add_argument(f"--{switch}")
    return webdriver.Chrome(options, Service(paths["chromedriver"]))


def read_log(browser: webdriver.Chrome, kind: str) -> list[dict[str, Any]]:
    """Return what was logged since the last time."""
    entries: list[dict[str, Any]] = browser.get_log(kind)  # type: ignore[no-untyped-call]
    return entries


def read_requests(browser: webdriver.Chrome) -> list[str]:
    """Return the addresses that were asked for since the last time."""
    messages = [json.loads(entry["message"])["message"] for entry in read_log(browser, "performance")]
    return [one["params"]["request"]["url"] for one in messages if one["method"] == "Network.requestWillBeSent"]

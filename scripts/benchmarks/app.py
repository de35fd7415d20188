"""Measure how long the interactive page takes to answer a change, with five models on two cores.

function  the function behind the page: the shifted picture, all models' answers, and the HTML of the whole page
browser   in a headless Chromium: from moving the slider to the new picture, over HTTP

Usage: python scripts/benchmarks/app.py [--changes N] [--json]
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from dataclasses import replace
from typing import Any

import click
import numpy as np

import ood_fashion as ood
from ood_fashion.api.exploring import DEFAULT_MODELS as MODELS
from ood_fashion.api.showing import Screen, Worker, show
from ood_fashion.evaluation.exploring import Controls


def time_function(explorer: ood.Explorer, changes: int) -> list[float]:
    """Return the seconds of each change: a slider, and every tenth time another picture."""
    screen, worker, seconds = Screen.first(explorer), Worker(), []
    worker.close()
    for number in range(changes):
        controls = Controls(dx=number % 7 - 3, angle=number % 360 - 180, severity=number % 6, seed=number % 5)
        fields = replace(screen.fields, controls=controls, number=number // 10)
        started = time.perf_counter()
        screen = screen.update(explorer, fields)
        show(explorer, screen, worker)
        seconds.append(time.perf_counter() - started)
    return seconds


_MEASURE = """
const [slider, changes, done] = arguments, seconds = [];
const alt = () => document.querySelector(".ood-picture .now").alt;
const wait = (is_so) => new Promise(next => {
    const observer = new MutationObserver(() => { if (is_so()) { observer.disconnect(); next(); } });
    observer.observe(document.body, {subtree: true, childList: true, attributes: true});
});
(async () => {
    for (let angle = 1; angle <= changes; angle++) {
        const started = performance.now();
        slider.value = angle;
        slider.dispatchEvent(new Event("input", {bubbles: true}));
        await wait(() => alt().endsWith("rotate" + (angle % 90 ? ":" : "") + angle));
        seconds.push((performance.now() - started) / 1000);
    }
})().then(() => done(seconds));
"""


def time_browser(changes: int) -> list[float]:
    """Return the seconds from each move of the slider until the new picture is there."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service
    from selenium.webdriver.common.by import By

    running = ood.app(pretrained=MODELS, browser=False, block=False)
    options = webdriver.ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    with tempfile.TemporaryDirectory() as profile:
        for switch in ("headless", "no-sandbox", "disable-gpu", f"user-data-dir={profile}"):
            options.add_argument(f"--{switch}")
        browser = webdriver.Chrome(options, Service(shutil.which("chromedriver")))
        try:
            browser.set_script_timeout(120)
            browser.get(running.address)
            caption = ".ood-curve figcaption"
            while not (found := browser.find_elements(By.CSS_SELECTOR, caption)) or "Measuring" in found[0].text:
                time.sleep(0.5)  # until the curves are there, which the models are busy with
            slider = browser.find_element(By.CSS_SELECTOR, "#ood-angle input[type=range]")
            return [float(one) for one in browser.execute_async_script(_MEASURE, slider, min(changes, 180))]
        finally:
            browser.quit()
            running.close()


@click.command()
@click.option("--changes", type=click.IntRange(10), default=170, show_default=True, help="How many are measured.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def main(changes: int, as_json: bool) -> None:
    """Print the median, the 95th percentile and the longest time of a change, in milliseconds."""
    explorer = ood.Explorer(pretrained=MODELS)
    time_function(explorer, 10)  # compiles
    seconds = {"function": time_function(explorer, changes), "browser": time_browser(changes)}
    record: dict[str, Any] = {"models": MODELS, "changes": changes, "cores": os.cpu_count(), "load": os.getloadavg()[0]}
    for name, values in seconds.items():
        record[name] = {
            "median_ms": 1e3 * float(np.median(values)),
            "p95_ms": 1e3 * float(np.quantile(values, 0.95)),
            "longest_ms": 1e3 * max(values),
        }
    if as_json:
        click.echo(json.dumps(record, indent=2))
        return
    click.echo(f"{len(MODELS)} models, {changes} changes, {record['cores']} cores, load {record['load']:.1f}")
    for name in seconds:
        values = record[name]
        click.echo(
            f"{name:9} median {values['median_ms']:.0f} ms, 95% within {values['p95_ms']:.0f} ms, "
            f"longest {values['longest_ms']:.0f} ms"
        )


if __name__ == "__main__":
    main()

"""What a person sees in a browser: TensorBoard's tabs on a short run, and the report.

Needs Debian's chromium and chromium-driver, or a Chrome with its driver. Without them the tests are skipped, and say
so; with LATENT_COMBO_BROWSER=required, as in continuous integration, they fail instead.
"""

import os
import re
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.wait import WebDriverWait
from toy_runs import HORIZON

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    (BROWSER is None or DRIVER is None) and os.environ.get("LATENT_COMBO_BROWSER") != "required",
    reason="no browser: apt install chromium chromium-driver",
)
PATIENCE = 60
"""Seconds until something that should be on a page is missed."""
DEEP = """
    const found = [];
    const walk = root => {
        for (const element of root.querySelectorAll("*")) {
            if (element.matches(arguments[0])) found.push(element);
            if (element.shadowRoot) walk(element.shadowRoot);
            if (element.tagName === "IFRAME" && element.contentDocument) walk(element.contentDocument);
        }
    };
    walk(document);
"""
"""Collects what matches a selector, in all shadow roots and frames of TensorBoard; a selector does not span them."""


@pytest.fixture(scope="module")
def board(finished: Path) -> Iterator[str]:
    """The address of a TensorBoard over the run."""
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(finished.parent)]
    with subprocess.Popen(
        [*command, "--host", "127.0.0.1", "--port", "0"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as server:
        assert server.stdout is not None
        addresses = (re.search(r"http://127\.0\.0\.1:\d+/", line) for line in server.stdout)
        address = next(filter(None, addresses), None)
        assert address is not None, "TensorBoard did not start"
        # its pages show what is loaded when they are opened
        WebDriverWait(address.group(0), PATIENCE).until(loaded, "TensorBoard to load the run")
        yield address.group(0)
        server.terminate()


def loaded(address: str) -> bool:
    """Whether TensorBoard has read what a run writes last, and has found its points for the projector."""
    with urllib.request.urlopen(f"{address}data/plugin/scalars/tags") as answer:
        scored = b"result/return_mean" in answer.read()
    with urllib.request.urlopen(f"{address}data/plugin/projector/runs") as answer:
        return scored and answer.read().strip() != b"[]"


@pytest.fixture(scope="module")
def browser() -> Iterator[webdriver.Chrome]:
    assert BROWSER is not None and DRIVER is not None, "LATENT_COMBO_BROWSER is required, and there is none"
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for option in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1500,1300"):
        options.add_argument(option)
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield driver
    driver.quit()


def see(browser: webdriver.Chrome, selector: str, what: str, enough: int = 1) -> list[Any]:
    """Wait until `enough` elements show something, and return what: a JavaScript expression of the element `e`."""
    script = f"{DEEP} return found.map(e => {what}).filter(Boolean);"

    def shown(driver: webdriver.Chrome) -> "list[Any] | None":
        values = driver.execute_script(script, selector)
        return values if len(values) >= enough else None

    found: list[Any] = WebDriverWait(browser, PATIENCE).until(shown, f"{enough} x {selector}: {what}")
    return found


def visit(browser: webdriver.Chrome, address: str) -> None:
    browser.get("about:blank")  # a change behind the # alone would not load the page anew
    browser.get(address)


IMAGES = 11
"""Tags of a run with one clip: the clip, horizon, dreams, KL and probes of the model; of the agent the median and the
worst episode, conservatism, two of calibration and other actions."""


def test_the_images_tab_plays_the_clips(board: str, browser: webdriver.Chrome) -> None:
    visit(browser, f"{board}#images")
    size = 'e.src.includes("individualImage") && e.naturalWidth && [e.src, e.naturalWidth, e.naturalHeight]'
    shown = see(browser, "img", size, IMAGES)
    assert len(shown) == IMAGES
    assert all(width >= 128 and height >= 128 for _, width, height in shown)
    content = [urllib.request.urlopen(source).read(6) for source, _, _ in shown]
    assert sum(start.startswith(b"GIF8") for start in content) == 4  # a held-out clip, dreams, the two episodes
    assert sum(start.startswith(b"\x89PNG") for start in content) == 7


def test_the_scalars_tab_holds_curves(board: str, browser: webdriver.Chrome) -> None:
    visit(browser, f"{board}#scalars")
    tags = see(browser, "tf-scalar-card", "e.tag", 5)
    assert any(tag.startswith("agent/") for tag in tags)
    drawn = see(browser, "path", '(e.getAttribute("d") || "").length > 10 && e.getBoundingClientRect().width > 20', 5)
    assert all(drawn)


def test_the_histograms_tab_holds_the_values(board: str, browser: webdriver.Chrome) -> None:
    visit(browser, f"{board}#histograms")
    assert len(see(browser, "vz-histogram-timeseries", "e.getBoundingClientRect().width > 100", 3)) == 3
    see(browser, "path", '(e.getAttribute("d") || "").length > 40 && e.getBoundingClientRect().height > 5', 3)


def test_the_hparams_tab_holds_settings_and_scores(board: str, browser: webdriver.Chrome) -> None:
    visit(browser, f"{board}#hparams")
    for name in ("result/return_mean", "result/normalised_score", "agent.beta"):
        see(browser, "*", f'e.children.length === 0 && e.textContent.trim() === "{name}"')


def test_the_projector_holds_features(board: str, browser: webdriver.Chrome) -> None:
    visit(browser, f"{board}#projector")
    rows = HORIZON + 1  # of the one episode that is held out
    see(browser, "span.numDataPoints", f'e.textContent.trim() === "{rows}"')


def test_the_report_shows_its_pictures_without_a_network(finished: Path, browser: webdriver.Chrome) -> None:
    visit(browser, (finished / "report.html").as_uri())
    pictures = see(browser, "img", "e.complete && e.naturalWidth", 8)
    clips = see(browser, "video", "e.readyState >= 2 && e.videoWidth", 3)
    assert min(pictures) > 300 and min(clips) > 200
    assert len(pictures) == len(browser.find_elements("tag name", "img"))
    sources = browser.execute_script("return [...document.querySelectorAll('[src], [href]')].map(e => e.src || e.href)")
    assert sources and all(source.startswith("data:") for source in sources)
    width = browser.execute_script("return [document.documentElement.scrollWidth, window.innerWidth]")
    assert width[0] <= width[1]  # nothing sticks out
    assert "return over 2 episodes" in browser.find_element("tag name", "body").text

"""The dashboard as a person sees it: a real Chromium opens a study and finds its trials, pictures and note."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
from command_line import SPEC
from command_line import optevo as run
from many_trials import many_trials

from optevo.data.drawn import draw_facades
from optevo.search.store import open_store

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not shutil.which("chromium"), reason="Chromium is not installed"),
    pytest.mark.skipif(not shutil.which("chromedriver"), reason="Chromium's driver is not installed"),
]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished study of optevo, and one of 3,200 trials."""
    folder = tmp_path_factory.mktemp("dashboard")
    pairs = draw_facades(folder / "pairs", count=6, val=2, test=2, size=(32, 32), seed=0)
    (folder / "study.toml").write_text(SPEC.format(root=pairs))
    assert run(folder, "study", "create", "s", "--spec", "study.toml").returncode == 0
    ran = run(folder, "study", "run", "s", "--workers", "1")
    assert ran.returncode == 0, ran.stderr
    url = f"sqlite:///{folder / 'storage' / 'optevo.db'}"
    many_trials(url, 3200, name="large", value=lambda number: 40 - number / 1000)
    return folder


@pytest.fixture(scope="module")
def address(store: Path) -> Iterator[str]:
    command = [sys.executable, "-m", "optevo", "dashboard", "--port", "0"]
    with subprocess.Popen(command, cwd=store, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        line = server.stdout.readline()
        yield line.split()[-1]
        server.terminate()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    profile = tmp_path_factory.mktemp("chromium")
    for argument in (
        "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync", "--disable-quic",
        "--disable-background-networking", "--disable-component-update", f"--user-data-dir={profile}",
        "--window-size=1400,1600",
    ):  # fmt: skip
        options.add_argument(argument)
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    driver.implicitly_wait(1)
    yield driver
    driver.quit()


def wait_for(browser, text: str, *, seconds: float = 30) -> str:
    """The page's text once it holds `text`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        page = browser.find_element("tag name", "body").text
        if text in page:
            return page
        time.sleep(0.1)
    raise AssertionError(f"{text!r} did not appear in: {page[:2000]}")


def picture(browser, name: str) -> None:
    if folder := os.environ.get("OPTEVO_SCREENSHOTS"):
        browser.save_screenshot(str(Path(folder) / f"{name}.png"))


def test_the_list_shows_the_studies(browser, address: str):
    browser.get(address)
    page = wait_for(browser, "large")
    assert "s/final" in page
    picture(browser, "studies")


def test_a_trial_shows_its_attributes_and_its_picture(browser, address: str, store: Path):
    study = optuna.load_study(study_name="s", storage=open_store(f"sqlite:///{store / 'storage' / 'optevo.db'}"))
    trial = study.best_trial
    browser.get(f"{address}/studies/{study._study_id}/trials?numbers={trial.number}")
    page = wait_for(browser, "exact_macs")
    for attribute in ("generation", "slot", "operator", "parents", "parameters", "literature_macs", "l1_val"):
        assert attribute in page
    assert str(trial.user_attrs["parameters"]) in page
    sources = [image.get_attribute("src") for image in browser.find_elements("tag name", "img")]
    pictures = [source for source in sources if "/artifacts/" in source]
    assert pictures
    size = browser.execute_script(
        "return Array.from(document.images).filter(i => i.src.includes('/artifacts/')).map(i => i.naturalWidth)[0]"
    )
    assert size > 100
    picture(browser, "trial")


def test_the_note_tells_how_to_go_on(browser, address: str, store: Path):
    study = optuna.load_study(study_name="s", storage=open_store(f"sqlite:///{store / 'storage' / 'optevo.db'}"))
    browser.get(f"{address}/studies/{study._study_id}/note")
    page = wait_for(browser, "optevo study run s")
    assert '"direction": "BtoA"' in page
    picture(browser, "note")


def test_a_study_of_3200_trials_opens(browser, address: str, store: Path):
    study = optuna.load_study(study_name="large", storage=open_store(f"sqlite:///{store / 'storage' / 'optevo.db'}"))
    browser.get(f"{address}/studies/{study._study_id}")
    # Not the page's text: to put that together takes longer than to open the page.
    drawn = "return document.querySelectorAll('#plot-history .scatterlayer .point').length"
    deadline = time.monotonic() + 60
    while browser.execute_script(drawn) < 3200 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert browser.execute_script(drawn) == 3200
    titles = browser.execute_script("return [...document.querySelectorAll('h6')].map(title => title.textContent)")
    assert "Best Trial (number=3199)" in titles
    # Asked for once, by the page's Link header: the dashboard's code took that answer for its own.
    requests = browser.execute_script(
        "return performance.getEntriesByType('resource').map(e => [new URL(e.name).pathname, e.initiatorType])"
    )
    assert [kind for path, kind in requests if path == f"/api/studies/{study._study_id}"] == ["link"]
    picture(browser, "large")

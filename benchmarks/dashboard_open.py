"""How long `optevo dashboard` takes to open a study of 3,200 trials, the paper's 100 generations of 32, in Chromium.

    python benchmarks/dashboard_open.py [--folder runs/dashboard --rounds 3]

The study is bred by the real worker and sampler under the paper's own specification; only the trainings are replaced by
made-up figures, so that the trials carry everything that trained ones do. Then the real command serves it, and the
browser's own clock says when each part of the study's page was on the screen, counted from the navigation:

cold: the first page of a server that has only just said where it listens
warm: the second page of that server, after a pause

The browser's profile is new for each server, so it has cached nothing before the cold page. Beside it stands how long
the command took until it said where it listens (`startup`), for it reads the study in that time.

The result goes to benchmarks/results/dashboard-open.json.
"""

import argparse
import json
import math
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import InMemoryStorage
from PIL import Image
from recording import RESULTS, hardware, rounded
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

from optevo import api
from optevo.data.drawn import draw_facades
from optevo.evolution import generator
from optevo.search.artifacts import Artifacts, artifacts_url
from optevo.search.spec import Spec, find_spec, read_spec
from optevo.search.store import open_store
from optevo.search.unet import make_sampler
from optevo.search.versions import versions
from optevo.search.worker import Worker
from optevo.tasks.fitness import cost_of, price, space_of
from optevo.tasks.unet import Evaluation
from optevo.training.pix2pix import Pix2Pix

NAME = "paper-unet"
TRIALS = 3200
REST = 12  # seconds between the two pages: longer than the dashboard itself keeps the trials that it has read

# What is on the page when it is open: the selector of each part, and how many of them at least. The plots draw one mark
# a trial; the best trial's card is the one with a link to its details.
PARTS = {
    "history": ["#plot-history .scatterlayer .point", TRIALS],
    "timeline": ["#graph-timeline .barlayer .point", TRIALS],
    "importances": ["#graph-hyperparameter-importances .barlayer .point", 1],
    "best trial": ["h6 ~ h3", 1],
}

# Runs in the page from its beginning: notes for each part the time at which a frame that shows it was drawn.
WATCH = (
    f"const parts = Object.entries({json.dumps(PARTS)});"
    + """
window.seen = {};
function look() {
  for (const [name, [selector, count]] of parts)
    if (!(name in seen) && document.querySelectorAll(selector).length >= count) {
      seen[name] = null;
      requestAnimationFrame(() => setTimeout(() => { seen[name] = performance.now(); }));
    }
  if (parts.some(([name]) => !(name in seen))) setTimeout(look, 50);
}
document.addEventListener("DOMContentLoaded", look);
"""
)

# Milliseconds since the navigation: when each request was sent, was answered first, and had all of its answer.
REQUESTS = """
return performance.getEntriesByType("resource").map(
  e => [new URL(e.name).pathname, e.requestStart, e.responseStart, e.responseEnd, e.decodedBodySize])
"""


@dataclass
class MadeUp:
    """In the task's place: true costs, and a quality that gets better with the cost, as in real searches."""

    spec: Spec
    loss_unit: float

    def evaluate(self, params: Mapping[str, Any], *, seed: int, **_: Any) -> Evaluation:
        cost = cost_of(space_of(self.spec).architecture(params), self.spec)
        rng = generator("made-up", seed)
        l1 = 0.2 + 0.1 * math.exp(-cost.parameters / 1e7) + 0.02 * rng.random()
        gan = 1 + rng.random()
        l_gen = gan + self.spec.training.l1_weight * l1
        metrics = {
            "l1_val": l1,
            "gan_val": gan,
            "l_gen": l_gen,
            "parameters": cost.parameters,
            "exact_macs": cost.exact_macs,
            "literature_macs": cost.literature_macs,
            **{name: rng.random() for name in Pix2Pix.LOSSES},
        }
        model: Any = None
        return Evaluation(value=l_gen + price(cost, self.spec, loss_unit=self.loss_unit), metrics=metrics, model=model)


def make_study(folder: Path) -> None:
    """The whole search in memory, where it takes a minute, then one copy of it into the store."""
    pairs = draw_facades(folder / "pairs", count=4, val=2, test=2, size=(256, 256), seed=0)
    spec = read_spec(find_spec(NAME), overrides=[f"data.root={pairs}", "data.train_images=4", "data.val_images=2"])
    search = api.create_study(NAME, spec, storage=store_of(folder))
    memory = optuna.create_study(storage=InMemoryStorage(), sampler=make_sampler(spec, loss_unit=1.0))
    pictures = Artifacts(artifacts_url(search.url))
    Image.new("RGB", (64, 64)).save(folder / "samples.png")
    task: Any = MadeUp(spec, search.record.facts["loss_unit"])
    worker = Worker(search, task, threading.Event(), lambda trial, _: pictures.attach(trial, folder / "samples.png"))
    worker.train_all((memory,), lambda _, claim: claim.slot, lambda: False, steps=None)
    trials = memory.get_trials(deepcopy=False)
    assert len(trials) == TRIALS
    search.study.add_trials(trials)


def store_of(folder: Path) -> str:
    return f"sqlite:///{folder.resolve() / 'storage' / 'optevo.db'}"


@contextmanager
def browser(folder: Path) -> Iterator[Any]:
    """A Chromium with a profile of its own, opened and at rest, as a person's is."""
    options = webdriver.ChromeOptions()
    for argument in (
        "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync",
        "--disable-background-networking", "--disable-component-update", "--window-size=1400,1600",
        f"--user-data-dir={folder}",
    ):  # fmt: skip
        options.add_argument(argument)
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": WATCH})
    driver.get("data:text/html,ready")
    time.sleep(3)
    try:
        yield driver
    finally:
        driver.quit()


@contextmanager
def server(folder: Path) -> Iterator[tuple[str, float]]:
    """`optevo dashboard`; gives its address, and the seconds from the command until it was printed."""
    command = [sys.executable, "-m", "optevo", "dashboard", "--port", "0", "--storage", store_of(folder)]
    begun = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            address = process.stdout.readline().split()[-1]
            yield address, time.monotonic() - begun
        finally:
            process.terminate()


def open_page(driver: Any, url: str) -> dict[str, Any]:
    """Seconds from the navigation until each part was on the screen, and what they were spent on."""
    driver.get(url)
    deadline = time.monotonic() + 60
    while not all((seen := driver.execute_script("return window.seen")).get(part) for part in PARTS):
        if time.monotonic() > deadline:
            raise SystemExit(f"after a minute the page shows only {seen}")
        time.sleep(0.1)
    requests = {path: times for path, *times in driver.execute_script(REQUESTS)}
    asked, answered, ended, size = next(times for path, times in requests.items() if re.search(r"studies/\d+$", path))
    shown = {part: seen[part] / 1000 for part in PARTS}
    return {
        "open": max(shown.values()),
        "dashboard_code": asked / 1000,
        "server": (answered - asked) / 1000,
        "transfer": (ended - answered) / 1000,
        "drawing": max(shown.values()) - ended / 1000,
        "megabytes": size / 1e6,
        "shown": shown,
    }


def measure(folder: Path, rounds: int) -> dict[str, list[dict[str, Any]]]:
    """A new browser and a new server each round, and two pages from them."""
    study = optuna.load_study(study_name=NAME, storage=open_store(store_of(folder)))
    found: dict[str, list[dict[str, Any]]] = {"cold": [], "warm": []}
    for _ in range(rounds):
        with (
            tempfile.TemporaryDirectory() as profile,
            browser(Path(profile)) as driver,
            server(folder) as (address, startup),
        ):
            for kind, pages in found.items():
                page = open_page(driver, f"{address}/studies/{study._study_id}")
                if kind == "cold":
                    page = {"startup": startup, **page}
                    time.sleep(REST)
                pages.append(page)
                print(kind, *(f"{part} {value:.2f}" for part, value in page.items() if part != "shown"), flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("runs/dashboard"), help="where the study is kept")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--note", default="", help="goes into the result, such as what else the machine was doing")
    arguments = parser.parse_args()
    folder = arguments.folder
    if not (folder / "made").exists():
        shutil.rmtree(folder, ignore_errors=True)
        make_study(folder)
        (folder / "made").touch()
    found = measure(folder, arguments.rounds)
    packages = {package: version(package) for package in ("optuna-dashboard", "SQLAlchemy", "selenium")}
    chromium = subprocess.run(["chromium", "--version"], capture_output=True, text=True).stdout.strip()
    result = {
        "what": f"Seconds until Chromium shows a study of {TRIALS} trials in `optevo dashboard`, from the navigation",
        "hardware": hardware(),
        "versions": {**versions(), **packages, "chromium": chromium},
        "note": arguments.note,
        "median_open": {kind: statistics.median(page["open"] for page in pages) for kind, pages in found.items()},
        "median_startup": statistics.median(page["startup"] for page in found["cold"]),
        "slowest_open": {kind: max(page["open"] for page in pages) for kind, pages in found.items()},
        "pages": found,
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "dashboard-open.json").write_text(json.dumps(rounded(result, digits=2), indent=1) + "\n")
    for kind in found:
        print(f"{kind}: median {result['median_open'][kind]:.2f} s, slowest {result['slowest_open'][kind]:.2f} s")


if __name__ == "__main__":
    main()

"""The real service with a model trained in a moment, and a real browser."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.bentos.text_classifier.servers import worker
from tests.bentos.text_classifier.travel_desk import model_folder

LONGEST = 5000
PATIENCE_MS = 60_000
_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


class Service(NamedTuple):
    url: str
    records: Path


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    home = tmp_path_factory.mktemp("page")
    settings = home / "service.json"
    settings.write_text(json.dumps({"records": str(home / "records"), "max_text_characters": LONGEST}))
    with worker(model_folder(home / "model"), home, "--settings", str(settings)) as running:
        yield Service(running.url, home / "records")


# Of the package, not of the session: Playwright keeps an event loop running, in which no other test can start its own.
@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    expect.set_options(timeout=PATIENCE_MS)
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium, args=_ARGUMENTS)
        yield opened
        opened.close()


@pytest.fixture
def visit(browser: Browser, service: Service) -> Iterator[Callable[..., Page]]:
    """Opens the page as a person with these settings would; at the end, nothing may have gone wrong in it."""
    contexts = []
    faults: list[str] = []

    def open_page(path: str = "/", before: Callable[[Page], object] = lambda page: None, **person: Any) -> Page:
        context = browser.new_context(**{"viewport": {"width": 1200, "height": 900}, "locale": "en-GB", **person})
        context.set_default_timeout(PATIENCE_MS)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda told: faults.append(told.text) if told.type == "error" else None)
        before(page)
        page.goto(service.url + path)
        return page

    yield open_page
    for context in contexts:
        context.close()
    # Chromium reports every refused request as an error; that they are handled is what tests look at.
    assert [fault for fault in faults if "Failed to load resource" not in fault] == []

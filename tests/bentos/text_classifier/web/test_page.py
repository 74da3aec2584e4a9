"""The page at `/`, in a real browser against the real service."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, Request, Route, expect

from tests.bentos.text_classifier.web.conftest import Service

pytestmark = pytest.mark.browser

Visit = Callable[..., Page]

TRAIN = "I want to take a train in Vienna tomorrow for two people"
HOTEL = "I want to book a hotel in Paris today for me"


def test_labels_appear_as_you_type(visit: Visit) -> None:
    page = visit()
    page.keyboard.type(TRAIN)  # the text field has the focus from the start
    expect(page.locator("#headline")).to_contain_text("train")
    expect(page.locator("#bars li")).to_have_count(3)
    expect(page.locator("#bars li").first).to_contain_text("train")
    expect(page.locator("#latency")).to_contain_text("ms")
    expect(page.locator("#length")).to_have_text(f"{len(TRAIN)} characters")
    page.fill("#text", "  ")
    expect(page.locator("#result")).to_be_hidden()
    expect(page.locator("#waiting")).to_be_visible()


def test_a_late_answer_to_an_older_text_is_dropped(visit: Visit) -> None:
    def slow_for_hotels(route: Route) -> None:
        if "hotel" in (route.request.post_data or ""):
            time.sleep(0.7)
        route.continue_()

    page = visit(before=lambda page: page.route("**/predict", slow_for_hotels))
    with page.expect_request("**/predict"):
        page.fill("#text", HOTEL)
    page.fill("#text", TRAIN)
    expect(page.locator("#headline")).to_contain_text("train")
    page.wait_for_timeout(1000)
    expect(page.locator("#headline")).to_contain_text("train")


def test_words_are_coloured_and_listed_by_their_weight(visit: Visit) -> None:
    page = visit()
    page.fill("#text", TRAIN)
    expect(page.locator("#words")).to_have_text(TRAIN)
    deepest = page.eval_on_selector_all(
        "#words .for", "words => words.sort((a, b) => b.style.getPropertyValue('--strength')"
        " - a.style.getPropertyValue('--strength'))[0].textContent",
    )  # fmt: skip
    assert deepest in ("take", "train")
    page.click("#why-details summary")
    expect(page.locator("#weights tbody tr")).to_have_count(12)
    expect(page.locator("#weights tbody tr").first).to_contain_text(deepest)


def test_another_label_is_explained_on_request(visit: Visit) -> None:
    page = visit()
    page.fill("#text", TRAIN)
    expect(page.locator("#why-title")).to_have_text("Why “train”")
    page.locator("#bars button", has_text="hotel").click()
    expect(page.locator("#why-title")).to_have_text("Why “hotel”")
    expect(page.locator("#words .against", has_text="train")).to_have_count(1)


@pytest.mark.parametrize(("text", "shown"), [("今天天气很好", True), (TRAIN, False)])
def test_a_text_unlike_the_training_data_is_marked(visit: Visit, text: str, shown: bool) -> None:
    page = visit()
    page.fill("#text", text)
    expect(page.locator("#headline")).not_to_be_empty()
    expect(page.locator("#scope")).to_be_visible(visible=shown)


@pytest.mark.parametrize("text", ["\u200b", "😀 \U0001f468\u200d\U0001f469", "e\u0301te\u0301", '<b>train</b> & "it"'])
def test_odd_texts_are_shown_as_they_are(visit: Visit, text: str) -> None:
    page = visit()
    page.fill("#text", text)
    expect(page.locator("#headline")).not_to_be_empty()
    page.wait_for_timeout(500)
    shown = page.locator("#words").text_content()
    assert shown in (text, "")


def test_a_wrong_answer_is_put_right_with_the_keyboard_alone(visit: Visit, service: Service) -> None:
    page = visit()
    page.keyboard.type(HOTEL)
    expect(page.locator("#words")).to_have_text(HOTEL)
    for _ in range(5):  # three labels, Yes, No
        page.keyboard.press("Tab")
    expect(page.locator("#wrong")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#true-label")).to_be_focused()
    page.keyboard.type("mus")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#thanks")).to_have_text("Thank you, noted.")
    expect(page.locator("#correction")).to_be_hidden()
    assert stored(service)[-1]["text"] == HOTEL
    assert stored(service)[-1]["label"] == "museum"


def stored(service: Service) -> list[dict[str, str]]:
    """The feedback on disk, once there is some."""
    for _ in range(50):
        lines = [line for file in service.records.glob("feedback-*.jsonl") for line in file.read_text().splitlines()]
        if lines:
            return [json.loads(line) for line in lines]
        time.sleep(0.1)
    raise AssertionError("no feedback was stored")


def test_a_screen_reader_is_told_once_the_typing_rests(visit: Visit) -> None:
    page = visit()
    page.fill("#text", TRAIN)
    expect(page.locator("#spoken")).to_contain_text("train,")
    expect(page.locator("#spoken")).to_contain_text("Most for it: ")
    assert page.locator("#spoken").get_attribute("aria-live") == "polite"


def test_every_control_has_a_name(visit: Visit) -> None:
    page = visit()
    page.fill("#text", TRAIN)
    expect(page.locator("#bars li")).to_have_count(3)
    nameless = page.eval_on_selector_all(
        "button, input, select, textarea, a", """controls => controls.filter(control =>
            !control.textContent.trim() && ![...(control.labels ?? [])].some(label => label.textContent.trim())
        ).map(control => control.outerHTML)""",
    )  # fmt: skip
    assert nameless == []


def test_the_page_speaks_the_browsers_language_and_remembers_a_choice(visit: Visit) -> None:
    page = visit(locale="zh-CN")
    expect(page.locator("#card-title")).to_have_text("关于此模型")
    assert page.get_attribute("html", "lang") == "zh-Hans"
    page.fill("#text", TRAIN)
    expect(page.locator("#why-title")).to_have_text("为什么是“train”")
    page.select_option("#language", "en")
    expect(page.locator("#card-title")).to_have_text("About this model")
    expect(page.locator("#why-title")).to_have_text("Why “train”")
    page.reload()
    expect(page.locator("#card-title")).to_have_text("About this model")


def test_both_languages_say_everything(visit: Visit) -> None:
    page = visit()
    missing = page.evaluate("""async () => {
        const { chooseLanguage, message } = await import("/messages.js");
        const names = [...document.querySelectorAll("[data-message]")].map(one => one.dataset.message);
        const source = await (await fetch("/messages.js")).text();
        const keys = language => [...source.split(`  ${language}: {`)[1].split("\\n  },")[0].matchAll(/^    (\\w+):/gm)]
            .map(match => match[1]);
        const [en, zh] = [keys("en"), keys("zh")];
        return [...en.filter(name => !zh.includes(name)), ...zh.filter(name => !en.includes(name)),
                ...names.filter(name => !en.includes(name))];
    }""")
    assert missing == []


def test_the_model_card_says_what_serves(visit: Visit) -> None:
    page = visit()
    expect(page.locator("#model-name")).to_have_text("Travel desk")
    card = page.locator("#card")
    for words in ("hotel", "museum", "Accuracy 98.1% (96.2% to 99.3%)", "0123456789ab", "5.0%"):
        expect(card).to_contain_text(words)


def test_the_whole_model_card_can_be_read(visit: Visit) -> None:
    page = visit()
    page.click("#card summary")
    expect(page.locator("#card h4")).to_have_text("Limits")
    expect(page.locator("#card td")).to_have_text(["Model", "linear"])
    expect(page.locator("#card details li")).to_have_text("It knows three labels, as in hotel.")


def test_a_key_is_asked_for_when_the_service_wants_one(visit: Visit) -> None:
    def locked(route: Route) -> None:
        if route.request.headers.get("authorization") == "Bearer secret":
            route.continue_()
        else:
            route.fulfill(status=401, content_type="application/problem+json", body='{"detail": "a key is needed"}')

    def lock(page: Page) -> None:
        for path in ("**/model", "**/predict", "**/explain"):
            page.route(path, locked)

    page = visit(before=lock)
    expect(page.locator("#key")).to_be_focused()
    page.keyboard.type("wrong")
    page.keyboard.press("Enter")
    expect(page.locator("#problem")).to_contain_text("does not accept")
    page.fill("#key", "secret")
    page.keyboard.press("Enter")
    expect(page.locator("#key-form")).to_be_hidden()
    page.fill("#text", TRAIN)
    expect(page.locator("#headline")).to_contain_text("train")


def test_a_busy_service_is_asked_again(visit: Visit) -> None:
    calls: list[Request] = []

    def busy_once(route: Route) -> None:
        calls.append(route.request)
        if len(calls) == 1:
            route.fulfill(status=429, headers={"Retry-After": "1"}, body="{}")
        else:
            route.continue_()

    page = visit(before=lambda page: page.route("**/predict", busy_once))
    page.fill("#text", TRAIN)
    expect(page.locator("#problem")).to_contain_text("busy")
    expect(page.locator("#headline")).to_contain_text("train")
    expect(page.locator("#problem")).to_be_hidden()


def test_a_lost_service_is_named_and_found_again(visit: Visit) -> None:
    page = visit()
    page.route("**/predict", lambda route: route.abort())
    page.fill("#text", TRAIN)
    expect(page.locator("#problem")).to_contain_text("cannot be reached")
    page.unroute("**/predict")
    expect(page.locator("#headline")).to_contain_text("train")


def test_nothing_comes_from_elsewhere_under_a_strict_policy(visit: Visit, service: Service) -> None:
    asked: list[str] = []
    policies: list[str | None] = []

    def listen(page: Page) -> None:
        page.on("request", lambda request: asked.append(request.url))
        page.on("response", lambda response: policies.append(response.headers.get("content-security-policy")))

    page = visit(before=listen)
    page.fill("#text", TRAIN)
    expect(page.locator("#words")).to_have_text(TRAIN)
    assert [url for url in asked if not url.startswith(service.url + "/")] == []
    assert policies[0] is not None
    assert "unsafe" not in policies[0]
    assert "default-src 'none'" in policies[0]


@pytest.mark.parametrize("width", [320, 390])
def test_a_narrow_screen_needs_no_sideways_scrolling(visit: Visit, width: int) -> None:
    page = visit(viewport={"width": width, "height": 700})
    page.fill("#text", TRAIN + " " + "x" * 300)
    expect(page.locator("#why")).to_be_visible()
    page.set_input_files("#file", {"name": "a.csv", "mimeType": "text/csv", "buffer": b"id,text\n1," + b"y" * 400})
    expect(page.locator("#preview")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= width


CONTRASTS = [
    ("--text", "--card", 7.0), ("--text", "--page", 7.0), ("--quiet", "--card", 4.5), ("--quiet", "--page", 4.5),
    ("--quiet", "--sunken", 4.5), ("--accent", "--card", 4.5), ("--accent", "--page", 4.5),
    ("--on-accent", "--accent", 4.5), ("--text", "--bar-best", 4.5), ("--text", "--bar", 4.5),
    ("--text", "--warn", 4.5), ("--text", "--error", 4.5),
]  # fmt: skip


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_background(visit: Visit, scheme: str) -> None:
    page = visit(color_scheme=scheme)
    styles = "name => getComputedStyle(document.documentElement).getPropertyValue(name).trim()"
    for text, background, least in CONTRASTS:
        contrast = ratio(page.evaluate(styles, text), page.evaluate(styles, background))
        assert contrast >= least, (text, background, contrast)


def ratio(one: str, other: str) -> float:
    """Contrast of two #rrggbb colours (WCAG 2)."""

    def luminance(colour: str) -> float:
        parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted([luminance(one), luminance(other)])
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize(
    ("name", "person"),
    [
        ("light", {}),
        ("dark", {"color_scheme": "dark"}),
        ("narrow", {"viewport": {"width": 390, "height": 800}, "device_scale_factor": 2}),
        ("chinese", {"locale": "zh-CN"}),
    ],
)
def test_pictures_for_a_person_to_look_at(visit: Visit, tmp_path: Path, name: str, person: dict[str, object]) -> None:
    page = visit(**person)
    page.fill("#text", TRAIN)
    expect(page.locator("#words")).to_have_text(TRAIN)
    page.wait_for_timeout(300)
    page.screenshot(path=tmp_path / f"{name}.png", full_page=True)
    assert (tmp_path / f"{name}.png").stat().st_size > 20_000

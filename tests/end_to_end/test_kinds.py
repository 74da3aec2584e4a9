"""The whole chain for texts with several labels and for tagged ones, from a file to an answer over HTTP."""

import json
import random
import re
from pathlib import Path

import httpx
import pytest
from prefect.settings import PREFECT_API_URL

from bentos.text_classifier.decoding import Options
from bentos.text_classifier.model import TextModel
from tests.end_to_end.place import Place

pytestmark = pytest.mark.slow
TOPICS = {
    "billing": ("invoice", "refund", "charge"),
    "delivery": ("parcel", "courier", "shipment"),
    "access": ("password", "login", "account"),
}
PEOPLE = ("Anna", "Bela", "Carl Maier", "Dora", "Emil Vogel", "Zoë Stein")
PLACES = ("Oslo", "Rome", "New Town", "Wien", "Prague")
SENTENCES = (
    "{person} lives in {place} since May .",
    "Yesterday {person} met {person} in {place} !",
    "好 , {place} and {place} are far away , says {person}",
    "Nobody came to the station .",
)


@pytest.fixture(scope="module")
def place(prefect_server, tmp_path_factory):
    place = Place(tmp_path_factory.mktemp("kinds"), PREFECT_API_URL.value(), "--effort", "quick")
    yield place
    place.serving("stop")


def several_labels(path: Path, count: int) -> Path:
    """A comma-separated file with one to three labels a row, parted by `|`."""
    draw = random.Random(1)
    lines = ["text,label"]
    for number in range(count):
        labels = draw.sample(list(TOPICS), draw.choice((1, 1, 2, 2, 3)))
        things = " and the ".join(draw.choice(TOPICS[label]) for label in labels)
        lines.append(f"The {things} of order {number},{'|'.join(labels)}")
    path.write_text("\n".join(lines), "utf-8")
    return path


def tagged(path: Path, count: int) -> Path:
    """JSON Lines with spans of people and places."""
    draw = random.Random(2)
    words = {"{person}": PEOPLE, "{place}": PLACES}
    with path.open("w", encoding="utf-8") as stream:
        for number in range(count):
            text, spans = f"{number} ", []
            for part in re.split(r"(\{\w+\})", draw.choice(SENTENCES)):
                written = draw.choice(words.get(part, (part,)))
                if part in words:
                    spans.append({"start": len(text), "end": len(text) + len(written), "label": part[1:-1]})
                text += written
            stream.write(json.dumps({"text": text, "label": spans}) + "\n")
    return path


def finished(place: Place, folder: Path, source: Path, *arguments: str) -> dict:
    done = place.retrain("--source", str(source), "--report", str(folder / "out.json"), *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    page = Path(done.stdout.splitlines()[-1].removeprefix("report: "))
    assert page.read_text("utf-8").startswith("<!doctype html>")
    return json.loads((folder / "out.json").read_text("utf-8"), parse_constant=pytest.fail)


def test_several_labels_a_text_are_answered_as_those_above_their_thresholds(place, tmp_path):
    source = several_labels(tmp_path / "tickets.csv", 240)
    report = finished(place, tmp_path, source, "--train.candidates", "linear,bag", "--train.folds", "0", "--no-deploy")
    assert report["data"]["task"] == "multi"
    assert [one["name"] for one in report["candidates"]] == ["linear", "bag"]
    assert min(report["test"][name]["value"] for name in ("micro_f1", "macro_f1")) > 0.8
    assert report["test"]["confusion"] == []
    (folder,) = Path(report["bento"]["path"]).rglob("model.json")
    model = TextModel.load(folder.parent)
    assert model.manifest.thresholds is not None
    assert len(model.manifest.thresholds) == len(TOPICS)
    (one, both) = model.predict(["The parcel of order 7", "The login and the invoice of order 7"], Options(top_k=3))
    assert [label.label for label in one.labels] == ["delivery"]
    assert {label.label for label in both.labels} == {"access", "billing"}


def test_tagged_texts_end_as_a_live_service_that_answers_spans(place, tmp_path):
    report = finished(place, tmp_path, tagged(tmp_path / "tagged.jsonl", 400))
    assert report["data"]["task"] == "tagging"
    assert report["chosen"]["name"] == "lstm"
    assert report["test"]["span_f1"]["value"] > 0.8
    assert set(report["test"]["per_class"]) == {"person", "place"}
    assert {check["check"] for check in report["smoke"]} >= {"known answers", "odd texts"}
    text = "  7 Yesterday  Carl Maier met Dora in New Town !"
    (answer,) = place.predict(text)["predictions"]
    cleaned = " ".join(text.split())
    spans = [(cleaned[span["start"] : span["end"]], span["label"]) for span in answer["spans"]]
    assert spans == [("Carl Maier", "person"), ("Dora", "person"), ("New Town", "place")]
    assert all(0 < span["score"] <= 1 for span in answer["spans"])
    told = {"id": answer["id"], "text": text, "label": "person"}
    refused = httpx.post(f"http://127.0.0.1:{place.port}/feedback", json=told)
    assert refused.status_code == 403
    assert "tags parts of a text" in refused.json()["detail"]

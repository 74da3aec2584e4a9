"""The smoke test: the real package, in a process of its own on a spare port, is asked what clients ask."""

import json
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import msgspec
import pyarrow.parquet as pq

from bentos.text_classifier.model import TextModel
from tasks.base.errors import DeploymentError
from tasks.base.manifests import Package
from tasks.base.settings import SecuritySettings, ServeSettings
from tasks.deployment.supervisor import processes, protection
from tasks.deployment.supervisor.listener import spare_port
from tasks.deployment.supervisor.record import Version
from tasks.deployment.supervisor.worker_process import launch, tail, worker_log

START_SECONDS = 60.0
_TIMED_REQUESTS = 30
KNOWN_ROWS = 20

REFUSED = {
    "no JSON": b"{",
    "not an object": b"[]",
    "no texts": b"{}",
    "texts that is one string": b'{"texts": "one"}',
    "a text that is a number": b'{"texts": [1]}',
    "an unknown field": b'{"texts": ["a"], "colour": 1}',
    "a negative top_k": b'{"texts": ["a"], "top_k": -1}',
}
"""Bodies that must get a 4xx answer, by what is wrong with them."""

ODD = ["", " \t\n", "\u200b\u200d", "\x00\x01", "\ud800", "qzxqzx wvkwvk", "好" * 300, "a" * 20_000]
"""Texts that must get an ordinary answer."""


def smoke(
    package: Package,
    serve: ServeSettings,
    known: list[tuple[str, str]],
    state: Path | None = None,
    security: SecuritySettings = SecuritySettings(),  # noqa: B008 (frozen)
) -> list[dict[str, Any]]:
    """Starts the package on a spare port and checks contract, known answers, bad input and latency.

    Args:
        known: texts with the answers that the model must give, see `known_answers`.
        state: marks the process as this deployment's, so that a later command finds what a crash leaves.
        security: by what the package is verified and opened.

    Returns:
        One entry a check: name, passed, detail, and for the latency `median_ms`.

    Raises:
        DeploymentError: the service did not start or a check failed; the message says which and why.
    """
    version = Version.of(package, serve, security)
    with tempfile.TemporaryDirectory() as spare, trial(version, state or Path(spare)) as tried:
        return check_service(tried.client, package.tag, serve, known)


def check_service(
    client: httpx.Client, tag: str, serve: ServeSettings, known: list[tuple[str, str]]
) -> list[dict[str, Any]]:
    """Every check against a running service; raises `DeploymentError` at the first that fails."""
    median = _median_ms(client)
    return [
        _passed("contract", check_contract(client, tag)),
        _passed("known answers", check_known(client, tag, known)),
        _passed("odd texts", _check_odd(client)),
        _passed("bad input", _check_refused(client)),
        _passed("latency", _check_latency(median, serve), median_ms=median),
    ]


def known_answers(model: Path, texts: list[str]) -> list[tuple[str, str]]:
    """`texts` with the answers of the model folder at `model`, worked out in this process without any service."""
    predictions = TextModel.load(model).predict(texts)
    return [(text, answer(msgspec.to_builtins(one))) for text, one in zip(texts, predictions, strict=True)]


def surest_texts(predictions: Path) -> list[str]:
    """Test texts, the surest of every answer first, to know the model by.

    Quantised arithmetic depends a little on the other texts of a batch, so a text on the border between
    two classes may turn; a sure one may not.
    """
    rows = pq.read_table(predictions, columns=["text", "predicted", "score"]).to_pandas()
    rows["rank"] = rows.groupby(rows["predicted"].map(str))["score"].rank(method="first", ascending=False)
    surest = rows.sort_values(["rank", "score"], ascending=[True, False]).head(KNOWN_ROWS)
    return surest["text"].tolist()


def answer(prediction: dict[str, Any]) -> str:
    """What a prediction says, in a form to compare: its label, or for tagging its spans."""
    if prediction.get("spans") is not None:
        return json.dumps([[span["start"], span["end"], span["label"]] for span in prediction["spans"]])
    return str(prediction["label"])


def check_contract(client: httpx.Client, tag: str) -> str:
    """The model and a prediction look as promised, and name the version."""
    body = _predict(client, ["a first text", "a second one"])
    if body["model"]["bento"] != tag:
        raise DeploymentError(f"smoke test, contract: the answer is from {body['model']['bento']}, not {tag}")
    predictions = body["predictions"]
    if len(predictions) != 2 or any(not isinstance(one.get("labels", []), list) for one in predictions):
        raise DeploymentError(f"smoke test, contract: 2 texts got {json.dumps(predictions)[:200]}")
    described = _get(client, "/model").json()
    if not described:
        raise DeploymentError("smoke test, contract: GET /model says nothing")
    return "POST /predict and GET /model answer as promised"


def check_known(client: httpx.Client, tag: str, known: list[tuple[str, str]]) -> str:
    """Every known text gets its known answer from the version `tag`."""
    if not known:
        return "no known texts were given"
    body = _predict(client, [text for text, _ in known])
    if body["model"]["bento"] != tag:
        raise DeploymentError(f"the answer is from {body['model']['bento']}, not {tag}")
    wrong = [
        (text, expected, got)
        for (text, expected), prediction in zip(known, body["predictions"], strict=True)
        if (got := answer(prediction)) != expected
    ]
    if wrong:
        text, expected, got = wrong[0]
        raise DeploymentError(
            f"smoke test, known answers: {len(wrong)} of {len(known)} differ from the model's own;"
            f" {text[:60]!r} got {got!r} instead of {expected!r}"
        )
    return f"{len(known)} texts got the model's own answers"


def _check_odd(client: httpx.Client) -> str:
    body = _predict(client, ODD)
    if len(body["predictions"]) != len(ODD):
        raise DeploymentError(f"smoke test, odd texts: {len(ODD)} texts got {len(body['predictions'])} predictions")
    return f"{len(ODD)} empty, blank, broken and long texts got ordinary answers"


def _check_refused(client: httpx.Client) -> str:
    for what, body in REFUSED.items():
        response = client.post("/predict", content=body, headers={"content-type": "application/json"})
        if not 400 <= response.status_code < 500:
            raise DeploymentError(f"smoke test, bad input: {what} got status {response.status_code}")
    return f"{len(REFUSED)} bad requests got a 4xx answer"


def _check_latency(median: float, serve: ServeSettings) -> str:
    if median > serve.smoke_latency_ms:
        raise DeploymentError(
            f"smoke test, latency: one text takes {median:.1f} ms, more than serve.smoke_latency_ms"
            f" ({serve.smoke_latency_ms:g}): choose a smaller model or raise the bound"
        )
    return f"one text takes {median:.1f} ms (median of {_TIMED_REQUESTS})"


def _median_ms(client: httpx.Client) -> float:
    taken = []
    for number in range(_TIMED_REQUESTS):
        started = time.perf_counter()
        _predict(client, [f"a text of some ordinary length to be timed, number {number}"])
        taken.append((time.perf_counter() - started) * 1e3)
    return statistics.median(taken)


def _predict(client: httpx.Client, texts: list[str]) -> dict[str, Any]:
    # JSON can spell lone surrogates, which UTF-8 cannot: hence ASCII.
    content = json.dumps({"texts": texts}).encode()
    response = client.post("/predict", content=content, headers={"content-type": "application/json"})
    if response.status_code != 200:
        raise DeploymentError(f"smoke test: POST /predict got status {response.status_code}: {response.text[:300]}")
    return json.loads(response.content, parse_constant=_not_finite)


def _get(client: httpx.Client, path: str) -> httpx.Response:
    response = client.get(path)
    if response.status_code != 200:
        raise DeploymentError(f"smoke test: GET {path} got status {response.status_code}: {response.text[:300]}")
    return response


def _not_finite(word: str) -> None:
    raise DeploymentError(f"smoke test: an answer holds {word}, which is no JSON")


def _passed(name: str, detail: str, **figures: float) -> dict[str, Any]:
    return {"check": name, "passed": True, "detail": detail} | figures


class Trial(NamedTuple):
    """A process of a version that nobody but the caller knows of."""

    client: httpx.Client
    port: int
    process: subprocess.Popen[bytes]


@contextmanager
def trial(version: Version, state: Path) -> Iterator[Trial]:
    """Runs `version` on a spare port.

    Raises:
        DeploymentError: it did not become ready, or stopped answering.
    """
    port = spare_port()
    log = worker_log(state, version.tag)
    with log.open("ab") as stream:
        process = launch(version, state, ["--port", str(port), "--grace", "0"], stream, (), role="trial")
    try:
        with (
            protection.admitted(version.security, state) as options,
            httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30, **options) as client,
        ):
            _await_ready(client, process, version.tag, log)
            yield Trial(client, port, process)
    except httpx.HTTPError as error:
        raise DeploymentError(f"smoke test: {version.tag} stopped answering ({error}); its log: {tail(log)}") from error
    finally:
        processes.end([process.pid], grace=5)
        process.wait()


def _await_ready(client: httpx.Client, process: subprocess.Popen[bytes], tag: str, log: Path) -> None:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        if process.poll() is not None:
            raise DeploymentError(f"{tag} ended before it was ready; its log ends with:\n{tail(log)}")
        try:
            if client.get("/readyz").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    raise DeploymentError(f"{tag} was not ready within {START_SECONDS:g} s; its log ends with:\n{tail(log)}")

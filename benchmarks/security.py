"""Attacks tried on a small real service and what a person sees; and what each control costs.

    python -m benchmarks.security [--json FILE] [--seconds S] [--rounds N]

Needs wrk and no data: the model is made in a moment, and everything happens in a temporary folder. The attacks go to an
application in this process, the load to worker processes; `security_costs.py` says how it is measured.
"""

import argparse
import base64
import json
import os
import pickle
import resource
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import psutil
from starlette.testclient import TestClient

from benchmarks.linear_model import write_linear_model
from benchmarks.security_costs import COLUMNS, throughput
from benchmarks.security_floods import floods, table
from benchmarks.security_loading import costs_of_loading, seconds
from bentos.serving.guard.access import Access
from bentos.serving.guard.api_keys import ApiKey, ApiScope, dump_keys, new_token
from bentos.serving.guard.client import PrivateClient
from bentos.serving.guard.envelope import Envelopes
from bentos.serving.guard.guard import Guard
from bentos.serving.http.application import Application
from bentos.serving.model_folder import CARD, ModelError
from bentos.serving.sealing.folder import seal_folder
from bentos.serving.sealing.keys import provider_of
from bentos.text_classifier.kind import SERVICE
from bentos.text_classifier.manifest import GRAPH
from bentos.text_classifier.model import TextModel
from bentos.text_classifier.settings import Settings
from tasks.base.errors import PipelineError
from tasks.base.settings import SecuritySettings
from tasks.data.sealed_files import seal_file, unseal_file
from tasks.deployment.supervisor.protection import check_address
from tasks.release.signing import sign, verify
from tests.bentos.text_classifier.servers import worker
from tests.tasks.keys import key_file, key_pair_files, signing_key

BODY = {"texts": ["a goal in the last minute of the match"]}
OTHER_ROUTE = "/v2/models/text_classifier/infer"
ENCRYPTED = {"content-type": "application/json", "x-encryption": "hpke"}


IDLE = 10_000


class Refused(Exception):
    """What was seen by whoever tried."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="also write the tables here")
    parser.add_argument("--seconds", type=int, default=3, help="of one load")
    parser.add_argument("--rounds", type=int, default=5, help="loads of every control")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        attacks = [_try(name, attack) for name, attack in _attacks(Path(folder))]
        costs = [*costs_of_loading(Path(folder)), *_costs_of_requests(Path(folder))]
        sealed = (Path(folder) / "sealed", f"file:{Path(folder) / 'sealed.key'}")
        flooded = floods(Path(folder) / "plain", Path(folder), options.seconds)
        loads = throughput(Path(folder) / "plain", sealed, Path(folder) / "loads", options.seconds, options.rounds)
    for attack in attacks:
        print(f"{'refused' if attack['refused'] else 'SUCCEEDED':10}{attack['attack']:48}{attack['seen'][:110]}")
    print()
    for cost in costs:
        print(f"{cost['control']:48}{cost['figure']:12.3f} {cost['unit']}")
    print("\n|", " | ".join(COLUMNS.values()), "|\n" + "|---" * len(COLUMNS) + "|")
    for load in loads:
        cells = (f"{load[name]:,.3f}" if isinstance(load[name], float) else load[name] for name in COLUMNS)
        print("|", " | ".join(cells), "|")
    print("", *table(flooded), sep="\n")
    if options.json:
        found = {"attacks": attacks, "costs": costs, "floods": flooded, "loads": loads}
        options.json.write_text(json.dumps(found, indent=2) + "\n")
    if not all(attack["refused"] for attack in attacks):
        raise SystemExit("an attack succeeded")


def _try(name: str, attack: Callable[[], object]) -> dict[str, Any]:
    try:
        attack()
    except (Refused, ModelError, PipelineError) as refusal:
        return {"attack": name, "refused": True, "seen": str(refusal)}
    return {"attack": name, "refused": False, "seen": "nothing"}


def _attacks(folder: Path) -> Iterator[tuple[str, Callable[[], object]]]:
    yield from _attacks_on_files(folder)
    yield from _attacks_on_service(folder)


def _attacks_on_files(folder: Path) -> Iterator[tuple[str, Callable[[], object]]]:
    sealed, key = _sealed(folder / "sealed")
    bento, public = _signed(folder / "signed")
    yield "read a sealed model without its key", lambda: TextModel.load(sealed)
    yield "read a sealed model with another key", lambda: TextModel.load(sealed, key=key_file(folder / "other"))
    yield "flip one bit of the sealed graph", lambda: TextModel.load(_harmed(sealed, GRAPH, _flip), key=key)
    yield "cut the sealed graph short", lambda: TextModel.load(_harmed(sealed, GRAPH, lambda b: b[:-20]), key=key)
    yield (
        "swap two sealed files",
        lambda: TextModel.load(_harmed(sealed, GRAPH, lambda _: (sealed / CARD).read_bytes()), key=key),
    )
    yield (
        "put a plain graph into a sealed model",
        lambda: TextModel.load(_harmed(sealed, GRAPH, lambda _: b"x"), key=key),
    )
    yield "plant a pickle as the graph", lambda: TextModel.load(_harmed(folder / "plain", GRAPH, _pickled(folder)))
    checked = partial(verify, trusted=public, tag="text_classifier:v1")
    yield "change a signed file", lambda: checked(_harmed(bento, "src/code.py", _flip))
    yield "add a file to a signed bento", lambda: checked(_harmed(bento, "src/planted.py", lambda _: b"x"))
    yield "remove a file from a signed bento", lambda: checked(_harmed(bento, "src/code.py", lambda _: None))
    yield "sign it again with a key of one's own", lambda: checked(_resigned(bento, folder))
    yield "put another signed version in its place", lambda: verify(bento, public, "text_classifier:v2")
    rows, rows_key = _sealed_rows(folder)
    opening = partial(unseal_file, output=folder / "opened")
    yield "read sealed rows without their key", lambda: opening(rows)
    yield "read sealed rows with another key", lambda: opening(rows, key=key_file(folder / "other"))
    yield "read sealed rows with the public key", lambda: opening(rows, key=rows_key[0])
    yield "flip one bit of sealed rows", lambda: opening(_changed(rows, _flip), key=rows_key[1])
    yield "cut sealed rows short", lambda: opening(_changed(rows, lambda b: b[:-70]), key=rows_key[1])
    yield "put sealed rows after one another", lambda: opening(_changed(rows, lambda b: b + b), key=rows_key[1])
    yield "listen on every address without keys", lambda: check_address("0.0.0.0", SecuritySettings())


def _attacks_on_service(folder: Path) -> Iterator[tuple[str, Callable[[], object]]]:
    file = folder / "api_keys.json"
    key, limited = _api_key("predict"), _api_key("predict", rate=1.0)
    narrow, gone = _api_key("feedback"), _api_key("predict", expires=1.0)
    daily = _api_key("predict", "explain", texts_a_day=3, explanations_a_day=1)
    file.write_text(dump_keys([one for one, _ in (key, limited, narrow, gone, daily)]))
    with _service(folder, Access(file, Envelopes(folder / "envelopes"), 1)) as client:
        ask = _asking(client)
        yield "ask without a key", lambda: ask({})
        yield "ask with a made-up key", lambda: ask({"authorization": "Bearer 0123456789ab.guess"})
        yield "ask with a key for something else", lambda: ask(narrow[1])
        yield "ask with an expired key", lambda: ask(gone[1])
        yield "get explanations with a key for predictions", lambda: ask(key[1], BODY | {"explain": True})
        hidden = b'{"texts": ["\\ud800 goal"], "explain": true}'
        yield "get them behind a lone surrogate", lambda: ask(key[1], content=hidden)
        yield "ask more often than the key allows", lambda: [ask(limited[1]) for _ in range(5)]
        yield "ask for more texts than a day has", lambda: ask(daily[1], {"texts": ["a goal"] * 4})
        yield (
            "ask for more explanations than a day has",
            lambda: ask(daily[1], {"texts": ["a goal"] * 2, "explain": True}),
        )
        uncounted = json.dumps({"texts": ["\ud800 goal"] * 4}).encode()
        yield "hide texts of the day behind lone surrogates", lambda: ask(daily[1], content=uncounted)
        tensor = {"name": "text", "shape": [1024], "datatype": "BYTES", "data": ["a goal"] * 1024}
        named = {"inputs": [tensor], "outputs": [{"name": "prediction"}] * 1000}
        yield "name 1,000 outputs for 1,024 texts", lambda: ask(key[1], named, path=OTHER_ROUTE)
        yield "send a body of 9 MB", lambda: ask(key[1], {"texts": ["a" * 9_000_000]})
        yield "send JSON nested 100,000 deep", lambda: ask(key[1], content=b"[" * 100_000)
        yield "send a body of random bytes", lambda: ask(key[1], content=os.urandom(1000))
        private = _private(client, key[1])
        sent, _ = private.seal("/predict", json.dumps(BODY).encode())
        ask(key[1] | ENCRYPTED, content=sent)
        yield "send an encrypted request twice", lambda: ask(key[1] | ENCRYPTED, content=sent)
        fresh, _ = private.seal("/predict", json.dumps(BODY).encode())
        parts = json.loads(fresh)
        late = json.dumps(parts | {"time": parts["time"] - 1000}).encode()
        yield "send an encrypted request of a while ago", lambda: ask(key[1] | ENCRYPTED, content=late)
        huge = fresh.replace(b'"time":', b'"time":' + b"9" * 400)
        yield "send an encrypted request of a time of 410 digits", lambda: ask(key[1] | ENCRYPTED, content=huge)
        flipped = base64.b64encode(_flip(base64.b64decode(parts["ciphertext"]))).decode()
        touched = json.dumps(parts | {"ciphertext": flipped}).encode()
        yield "change an encrypted request", lambda: ask(key[1] | ENCRYPTED, content=touched)
        yield (
            "send it to another route",
            lambda: ask(key[1] | ENCRYPTED, content=fresh, path=OTHER_ROUTE),
        )
        file.write_text(dump_keys([]))
        time.sleep(0.6)
        yield "ask with a revoked key", lambda: ask(key[1])


def _ms_to_encrypt(folder: Path, requests: int) -> float:
    with _service(folder, Access(None, Envelopes(folder / "timed-envelopes"), 1)) as client:
        private, body = _private(client, {}), json.dumps(BODY).encode()
        private.seal("/predict", body)
        return 1e3 * seconds(lambda: [private.seal("/predict", body) for _ in range(requests)]) / requests


def _costs_of_requests(folder: Path) -> list[dict[str, Any]]:
    """What a real worker still does for others while thousands of connections say nothing."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 500
    count = min(IDLE, most)
    with worker(folder / "plain", folder) as served, ExitStack() as open_ones:
        process = psutil.Process(served.process.pid)
        address = ("127.0.0.1", int(served.url.rpartition(":")[2]))
        ask = partial(httpx.post, f"{served.url}/predict", json=BODY)
        ask().raise_for_status()
        before = process.memory_info().rss
        for _ in range(count):
            open_ones.enter_context(socket.create_connection(address))
        took = seconds(lambda: ask().raise_for_status())
        grown = process.memory_info().rss - before
    return [
        {"control": "encrypt a request, the client's part", "figure": _ms_to_encrypt(folder, 200), "unit": "ms"},
        {"control": f"a request beside {count:,} idle connections", "figure": 1e3 * took, "unit": "ms"},
        {"control": f"memory for {count:,} idle connections", "figure": grown / 1e6, "unit": "MB"},
    ]


def _model(folder: Path) -> Path:
    words = " ".join(f"word{number}" for number in range(50))
    texts = ["goal match league", "soup bread oven", words]
    write_linear_model(folder, texts, ["sport", "food", "other"])
    (folder / CARD).write_text("# The card")
    return folder


def _sealed(folder: Path) -> tuple[Path, str]:
    key = key_file(folder.with_suffix(".key"))
    seal_folder(_model(folder), provider_of(key))
    shutil.copytree(_model(folder.parent / "unsealed"), folder.parent / "plain")
    return folder, key


def _signed(bento: Path) -> tuple[Path, Path]:
    (bento / "src").mkdir(parents=True)
    (bento / "src" / "code.py").write_text("x = 1\n")
    (bento / "bento.yaml").write_text("name: text_classifier\nversion: v1\n")
    private = signing_key(bento.parent / "signing.pem")
    sign(bento, private)
    return bento, private.with_name("signing.pem.pub")


def _sealed_rows(folder: Path) -> tuple[Path, tuple[str, str]]:
    keys = key_pair_files(folder)
    (folder / "rows.csv").write_text("text,label\na goal,sport\n")
    seal_file(folder / "rows.csv", folder / "rows.csv.sealed", keys[0])
    return folder / "rows.csv.sealed", keys


def _changed(file: Path, change: Callable[[bytes], bytes]) -> Path:
    copy = Path(tempfile.mkdtemp(dir=file.parent)) / file.name
    copy.write_bytes(change(file.read_bytes()))
    return copy


def _resigned(bento: Path, folder: Path) -> Path:
    copy = _harmed(bento, "src/code.py", _flip)
    sign(copy, signing_key(folder / "own.pem"))
    return copy


def _harmed(folder: Path, name: str, change: Callable[[bytes], bytes | None]) -> Path:
    """A copy of the folder with one file changed, added, or removed."""
    copy = Path(tempfile.mkdtemp(dir=folder.parent)) / folder.name
    shutil.copytree(folder, copy)
    file = copy / name
    content = change(file.read_bytes() if file.exists() else b"")
    if content is None:
        file.unlink()
    else:
        file.write_bytes(content)
    return copy


def _flip(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])


class _Planted:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.mark),)


def _pickled(folder: Path) -> Callable[[bytes], bytes]:
    return lambda _: pickle.dumps(_Planted(folder / "run"))


def _api_key(*scopes: ApiScope, **limits: Any) -> tuple[ApiKey, dict[str, str]]:
    name, token, digest = new_token()
    key = ApiKey(id=name, name=name, hash=digest, scopes=scopes, created=0.0, **limits)
    return key, {"authorization": f"Bearer {token}"}


@contextmanager
def _service(folder: Path, guard: Guard | None) -> Iterator[TestClient]:
    with TestClient(Application(SERVICE, folder / "plain", Settings(), guard=guard)) as client:
        yield client


def _asking(client: TestClient) -> Callable[..., Any]:
    def ask(
        headers: dict[str, str],
        body: dict[str, Any] | None = None,
        content: bytes | None = None,
        path: str = "/predict",
    ) -> Any:
        sent = json.dumps(body or BODY).encode() if content is None else content
        answer = client.post(path, content=sent, headers={"content-type": "application/json"} | headers)
        if answer.status_code >= 500:
            raise SystemExit(f"an attack broke the service: {answer.status_code} {answer.text}")
        if answer.status_code != 200:
            raise Refused(f"{answer.status_code}: {answer.json().get('detail', 'encrypted reason')}")
        return answer

    return ask


def _private(client: TestClient, headers: dict[str, str]) -> PrivateClient:
    private = PrivateClient("http://testserver")
    client.headers.update(headers)
    private._client = client
    return private


if __name__ == "__main__":
    main()

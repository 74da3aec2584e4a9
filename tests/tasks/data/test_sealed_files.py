"""Sealed files give back what went in as a stream, to the right key alone, and whatever was done to them is noticed."""

import gzip
import io
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bentos.serving.sealing.keys import new_key, provider_of
from tasks.base.errors import InputError
from tasks.base.settings import SourceSettings
from tasks.base.state import ROOT
from tasks.data import sealed_files
from tasks.data.ingest import ingest
from tasks.data.sealed_files import CHUNK, KEY_VARIABLE, MAGIC, opened, seal_file, sealing, unseal_file
from tests.tasks.keys import key_file, key_pair_files

ROWS = "text,label\n" + "".join(
    f"the league played match {row},sport\nsoup and bread {row},food\n" for row in range(20)
)


@pytest.fixture
def key(tmp_path: Path) -> str:
    return key_file(tmp_path / "key")


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealed_files, "CHUNK", 100)


def sealed_rows(folder: Path, key: str, content: bytes = ROWS.encode(), name: str = "rows.csv") -> Path:
    (folder / name).write_bytes(content)
    sealed = folder / f"{name}.sealed"
    seal_file(folder / name, sealed, key)
    (folder / name).unlink()
    return sealed


def content_of(path: Path, key: str | None = None) -> bytes:
    with path.open("rb") as raw, opened(raw, path.name, key) as stream:
        return stream.read()


@pytest.mark.parametrize("size", [0, 1, 99, 100, 101, 200, 1234])
def test_what_went_in_comes_out_whatever_its_size(tmp_path: Path, key: str, small_chunks: None, size: int) -> None:
    content = bytes(range(256)) * 5
    sealed = sealed_rows(tmp_path, key, content[:size])
    assert content_of(sealed, key) == content[:size]
    unseal_file(sealed, tmp_path / "again", key)
    assert (tmp_path / "again").read_bytes() == content[:size]
    assert (tmp_path / "again").stat().st_mode & 0o777 == 0o600


def test_any_place_can_be_read_first(tmp_path: Path, key: str, small_chunks: None) -> None:
    content = bytes(range(250)) * 2
    sealed = sealed_rows(tmp_path, key, content)
    with sealed.open("rb") as raw, opened(raw, "rows", key) as stream:
        for place in (450, 0, 99, 100, 333):
            stream.seek(place)
            assert stream.read(20) == content[place : place + 20]
        assert stream.seek(-7, io.SEEK_END) == 493
        assert stream.read() == content[-7:]
        assert stream.read() == b""


def test_no_word_of_it_is_readable_and_no_two_files_are_alike(tmp_path: Path, key: str) -> None:
    first = sealed_rows(tmp_path, key).read_bytes()
    assert b"league" not in first
    assert sealed_rows(tmp_path, key).read_bytes() != first


def test_memory_does_not_grow_with_the_file(tmp_path: Path, key: str) -> None:
    with (tmp_path / "large").open("wb") as file:
        for _ in range(24):
            file.write(bytes(CHUNK))
    tracemalloc.start()
    try:
        seal_file(tmp_path / "large", tmp_path / "large.sealed", key)
        unseal_file(tmp_path / "large.sealed", tmp_path / "again", key)
        assert tracemalloc.get_traced_memory()[1] < 8 * CHUNK
    finally:
        tracemalloc.stop()


def test_who_has_the_public_key_can_seal_and_not_open(tmp_path: Path) -> None:
    public, private = key_pair_files(tmp_path)
    sealed = sealed_rows(tmp_path, public)
    assert content_of(sealed, private) == ROWS.encode()
    with pytest.raises(InputError, match=r"rows\.csv\.sealed cannot be opened: key [0-9a-f]{12} is a public key"):
        content_of(sealed, public)
    (tmp_path / "other").mkdir()
    _, other = key_pair_files(tmp_path / "other")
    with pytest.raises(InputError, match=r"sealed for key [0-9a-f]{12}; the key given is [0-9a-f]{12}"):
        content_of(sealed, other)


def test_a_key_that_takes_the_right_one_s_name_opens_nothing(tmp_path: Path) -> None:
    public, private = key_pair_files(tmp_path)
    sealed = sealed_rows(tmp_path, public)
    (tmp_path / "other").mkdir()
    _, other = key_pair_files(tmp_path / "other")
    renamed = sealed.read_bytes().replace(provider_of(private).name.encode(), provider_of(other).name.encode(), 1)
    sealed.write_bytes(renamed)
    with pytest.raises(InputError, match="is not the one that this was encrypted for"):
        content_of(sealed, other)


def test_a_missing_key_is_named_and_the_variable_gives_one(
    tmp_path: Path, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    sealed = sealed_rows(tmp_path, key)
    with pytest.raises(InputError, match=r"rows\.csv\.sealed is sealed for key .* no key was given: set MODEL_SERVICE"):
        content_of(sealed)
    monkeypatch.setenv(KEY_VARIABLE, key)
    assert content_of(sealed) == ROWS.encode()


def _flipped(place: int) -> Callable[[bytes], bytes]:
    return lambda whole: whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]


def _chunks(whole: bytes) -> tuple[bytes, list[bytes]]:
    start = whole.index(b"\n", len(MAGIC)) + 1
    return whole[:start], [whole[place : place + 116] for place in range(start, len(whole), 116)]


def _rearranged(order: Callable[[list[bytes]], list[bytes]]) -> Callable[[bytes], bytes]:
    def change(whole: bytes) -> bytes:
        header, chunks = _chunks(whole)
        return header + b"".join(order(chunks))

    return change


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(_flipped(20), id="a bit of the key's name"),
        pytest.param(_flipped(70), id="a bit of the wrapped key"),
        pytest.param(_flipped(300), id="a bit of an early chunk"),
        pytest.param(_flipped(-1), id="the last bit"),
        pytest.param(lambda whole: whole[:-1], id="the last byte cut off"),
        pytest.param(lambda whole: whole[:40], id="cut in the header"),
        pytest.param(lambda whole: whole + b"x", id="a byte added"),
        pytest.param(lambda whole: _chunks(whole)[0], id="every chunk cut off"),
        pytest.param(_rearranged(lambda chunks: chunks[:-1]), id="the last chunk cut off"),
        pytest.param(_rearranged(lambda chunks: chunks[1:]), id="the first chunk cut off"),
        pytest.param(_rearranged(lambda chunks: [chunks[1], chunks[0], *chunks[2:]]), id="two chunks swapped"),
        pytest.param(_rearranged(lambda chunks: [chunks[0], *chunks]), id="a chunk repeated"),
        pytest.param(_rearranged(lambda chunks: [*chunks, chunks[-1]]), id="the last chunk repeated"),
    ],
)
def test_whatever_was_done_to_it_is_refused_and_leaves_no_file(
    tmp_path: Path, key: str, small_chunks: None, change: Callable[[bytes], bytes]
) -> None:
    sealed = sealed_rows(tmp_path, key)
    sealed.write_bytes(change(sealed.read_bytes()))
    with pytest.raises(InputError, match=r"rows\.csv\.sealed (was changed or cut short|cannot be opened: )"):
        unseal_file(sealed, tmp_path / "again", key)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["key", "rows.csv.sealed"]


def test_a_chunk_of_another_file_under_the_same_key_is_refused(tmp_path: Path, key: str, small_chunks: None) -> None:
    one, other = sealed_rows(tmp_path, key), sealed_rows(tmp_path, key, name="other.csv")
    header, chunks = _chunks(one.read_bytes())
    one.write_bytes(b"".join([header, chunks[0], _chunks(other.read_bytes())[1][1], *chunks[2:]]))
    with pytest.raises(InputError, match="was changed or cut short"):
        content_of(one, key)


def test_sealing_that_breaks_off_leaves_nothing_that_opens(tmp_path: Path, key: str) -> None:
    sink = io.BytesIO()

    def break_off() -> None:
        with sealing(sink, provider_of(key)) as stream:
            stream.write(ROWS.encode())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        break_off()
    (tmp_path / "part").write_bytes(sink.getvalue())
    with pytest.raises(InputError, match="was changed or cut short"):
        content_of(tmp_path / "part", key)


def test_what_cannot_be_sealed_is_said(tmp_path: Path, key: str) -> None:
    sealed = sealed_rows(tmp_path, key)
    with pytest.raises(InputError, match=r"rows\.csv\.sealed is sealed already"):
        seal_file(sealed, tmp_path / "twice", key)
    with pytest.raises(InputError, match=r"absent cannot be read: No such file"):
        seal_file(tmp_path / "absent", tmp_path / "out", key)
    with pytest.raises(InputError, match="key to seal for cannot be used: the key in /nowhere cannot be read"):
        seal_file(tmp_path / "key", tmp_path / "out", "file:/nowhere")
    with pytest.raises(InputError, match="key is not sealed"):
        unseal_file(tmp_path / "key", tmp_path / "out", key)


def parquet(rows: str) -> bytes:
    sink = io.BytesIO()
    lines = [line.split(",") for line in rows.splitlines()[1:]]
    pq.write_table(pa.table({"text": [line[0] for line in lines], "label": [line[1] for line in lines]}), sink)
    return sink.getvalue()


@pytest.mark.parametrize(
    ("name", "pack"),
    [
        ("rows.csv", str.encode),
        ("rows.csv.gz", lambda rows: gzip.compress(rows.encode())),
        ("rows.parquet", parquet),
    ],
)
def test_training_data_is_read_sealed_as_it_is_in_clear(
    tmp_path: Path, small_chunks: None, name: str, pack: Callable[[str], bytes]
) -> None:
    public, private = key_pair_files(tmp_path)
    (tmp_path / name).write_bytes(pack(ROWS))
    plain = ingest(SourceSettings(source=str(tmp_path / name)), tmp_path / "plain", 1)
    rows = pq.read_table(plain.path, columns=["text", "label"]).to_pylist()
    found = []
    for attempt in ("first", "again"):
        sealed = sealed_rows(tmp_path, public, pack(ROWS), name)
        settings = SourceSettings(source=str(sealed), data_key=private)
        table = ingest(settings, tmp_path / attempt, 1)
        assert pq.read_table(table.path, columns=["text", "label"]).to_pylist() == rows
        found.append(table.content)
    # Sealing anew changes every byte of the file and nothing that later stages are kept by.
    assert found[0] == found[1]


def test_a_changed_source_stops_ingest_with_nothing_written(tmp_path: Path, key: str, small_chunks: None) -> None:
    sealed = sealed_rows(tmp_path, key)
    sealed.write_bytes(_flipped(300)(sealed.read_bytes()))
    with pytest.raises(InputError, match=r"rows\.csv\.sealed was changed or cut short since it was sealed"):
        ingest(SourceSettings(source=str(sealed), data_key=key), tmp_path / "stage", 1)
    assert list((tmp_path / "stage").iterdir()) == []


def test_a_person_seals_and_opens_by_two_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    public, private = key_pair_files(tmp_path)
    (tmp_path / "rows.csv").write_text(ROWS)
    monkeypatch.setenv("SECRET", new_key())

    def ask(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-m", *arguments], cwd=ROOT, capture_output=True, text=True)

    done = ask("flows.seal", "--input", str(tmp_path / "rows.csv"), "--to", public)
    assert done.returncode == 0, done.stderr
    assert "opens by key" in done.stdout
    sealed = tmp_path / "rows.csv.sealed"
    refused = ask(
        "flows.unseal", "--input", str(sealed), "--output", str(tmp_path / "again"), "--data-key", "env:SECRET"
    )
    assert (refused.returncode, (tmp_path / "again").exists()) == (2, False)
    assert refused.stderr.count("\n") == 1
    assert "rows.csv.sealed cannot be opened: it was sealed for key" in refused.stderr
    done = ask("flows.unseal", "--input", str(sealed), "--output", str(tmp_path / "again"), "--data-key", private)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "again").read_text() == ROWS

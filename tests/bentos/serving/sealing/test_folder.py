"""Sealed models opened by the right key alone, and everything that an attacker may do to their files."""

import shutil
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from bentos.serving.model_folder import CARD, KEY_VARIABLE, MANIFEST, WRAPPED_KEY, ModelError
from bentos.serving.sealing import keys
from bentos.serving.sealing.folder import rewrap, seal_folder
from bentos.serving.sealing.keys import new_key, provider_of
from bentos.serving.sealing.problem import KeyProblem
from bentos.text_classifier.manifest import GRAPH
from bentos.text_classifier.model import TextModel
from tests.bentos.text_classifier.model_folder import WORDS, grams_folder, sentence


def key_file(folder: Path, name: str) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(new_key())
    return f"file:{folder / name}"


@pytest.fixture
def key(tmp_path: Path) -> str:
    return key_file(tmp_path, "right")


@pytest.fixture
def sealed(tmp_path: Path, key: str) -> Path:
    folder = grams_folder(tmp_path / "model")
    (folder / CARD).write_text("# The card of science")
    seal_folder(folder, provider_of(key))
    return folder


def test_a_sealed_model_answers_as_the_plain_one_and_shows_its_card(sealed: Path, key: str) -> None:
    model = TextModel.load(sealed, key=key)
    assert [one.label for one in model.predict([sentence(label) for label in WORDS])] == list(WORDS)
    assert model.card == "# The card of science"


def test_the_opened_graph_is_not_kept_beside_the_session(sealed: Path, key: str) -> None:
    model = TextModel.load(sealed, key=key)
    held = [value for value in vars(model.session).values() if isinstance(value, bytes)]
    assert sum(map(len, held)) < 100


def test_no_label_word_or_graph_is_readable_in_any_file(sealed: Path) -> None:
    content = b"".join(file.read_bytes() for file in sealed.iterdir())
    for secret in (b"science", b"molecule", b"Gather", b"grams", b"PK\x03\x04"):
        assert secret not in content


def test_the_key_may_come_from_a_variable(sealed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", (tmp_path / "right").read_text())
    monkeypatch.setenv(KEY_VARIABLE, "env:SECRET")
    assert TextModel.load(sealed).manifest.labels == list(WORDS)


def test_the_key_may_stay_in_a_key_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Service:
        """Turns bytes around under a name of its own."""

        name = "service-key-7"

        def wrap(self, secret: bytes, context: bytes) -> bytes:
            return (secret + context)[::-1]

        def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
            return wrapped[::-1].removesuffix(context)

    class Entry(EntryPoint):
        def load(self) -> object:
            return lambda rest: Service()

    entry = Entry(name="vault", value="x:y", group=keys.PROVIDERS)
    monkeypatch.setattr(keys, "entry_points", lambda group, name: [entry] if name == "vault" else [])
    folder = grams_folder(tmp_path / "model")
    seal_folder(folder, provider_of("vault:projects/7"))
    assert TextModel.load(folder, key="vault:projects/7").manifest.labels == list(WORDS)
    with pytest.raises(ModelError, match="no installed package provides keys from 'volt'"):
        TextModel.load(folder, key="volt:projects/7")


def test_a_missing_key_is_named(sealed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    with pytest.raises(ModelError, match="is sealed and no key was given: set MODEL_SERVICE_KEY"):
        TextModel.load(sealed)
    with pytest.raises(ModelError, match="the environment variable NOWHERE, which should hold the key, is not set"):
        TextModel.load(sealed, key="env:NOWHERE")
    with pytest.raises(ModelError, match="cannot be read: No such file"):
        TextModel.load(sealed, key="file:/nowhere/key")


def test_a_wrong_key_is_refused_by_name(sealed: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"sealed under key [0-9a-f]{12}; the key given is [0-9a-f]{12}"):
        TextModel.load(sealed, key=key_file(tmp_path, "wrong"))


def test_a_wrong_key_under_the_right_name_is_refused(sealed: Path, tmp_path: Path) -> None:
    wrong = key_file(tmp_path, "wrong")
    wrapped = (sealed / WRAPPED_KEY).read_text()
    right_name = provider_of(f"file:{tmp_path / 'right'}").name
    (sealed / WRAPPED_KEY).write_text(wrapped.replace(right_name, provider_of(wrong).name))
    with pytest.raises(ModelError, match="is not the one that this was encrypted with"):
        TextModel.load(sealed, key=wrong)


@pytest.mark.parametrize("text", ["", "short", "é" * 32, "ab" * 31, "a passphrase that somebody thought of, long"])
def test_a_key_that_is_none_is_refused_without_showing_it(tmp_path: Path, text: str) -> None:
    (tmp_path / "key").write_text(text)
    with pytest.raises(KeyProblem) as refused:
        provider_of(f"file:{tmp_path / 'key'}")
    assert text == "" or text not in str(refused.value)


@pytest.mark.parametrize("name", [GRAPH, MANIFEST, "grams.npz", CARD, WRAPPED_KEY])
def test_one_flipped_bit_anywhere_is_refused(sealed: Path, key: str, name: str) -> None:
    file = sealed / name
    whole = file.read_bytes()
    for place in {len(whole) // 2, len(whole) - 3, 12}:
        broken = bytearray(whole)
        broken[place] ^= 1
        file.write_bytes(broken)
        with pytest.raises(ModelError) as refused:
            TextModel.load(sealed, key=key)
        assert name in str(refused.value) or (name == WRAPPED_KEY and "key" in str(refused.value))


@pytest.mark.parametrize("name", [GRAPH, MANIFEST, "grams.npz", WRAPPED_KEY])
@pytest.mark.parametrize("left", [0, 15, -1])
def test_a_file_cut_short_is_refused(sealed: Path, key: str, name: str, left: int) -> None:
    (sealed / name).write_bytes((sealed / name).read_bytes()[:left])
    with pytest.raises(ModelError):
        TextModel.load(sealed, key=key)


def test_swapped_files_are_refused(sealed: Path, key: str) -> None:
    graph, grams = (sealed / GRAPH).read_bytes(), (sealed / "grams.npz").read_bytes()
    (sealed / GRAPH).write_bytes(grams)
    (sealed / "grams.npz").write_bytes(graph)
    with pytest.raises(ModelError, match="was changed, cut short or swapped since it was sealed"):
        TextModel.load(sealed, key=key)


def test_a_file_of_another_version_under_the_same_key_is_refused(sealed: Path, tmp_path: Path, key: str) -> None:
    other = grams_folder(tmp_path / "other", version="v2")
    seal_folder(other, provider_of(key))
    shutil.copy(other / "grams.npz", sealed)
    with pytest.raises(ModelError, match=r"grams\.npz was changed"):
        TextModel.load(sealed, key=key)


def test_a_plain_file_among_sealed_ones_is_refused(sealed: Path, tmp_path: Path, key: str) -> None:
    shutil.copy(grams_folder(tmp_path / "plain") / GRAPH, sealed)
    with pytest.raises(ModelError, match=r"model\.onnx is not sealed, while the model is"):
        TextModel.load(sealed, key=key)


def test_rotation_leaves_sealed_files_alone_and_ends_the_old_key(sealed: Path, tmp_path: Path, key: str) -> None:
    before = {file.name: file.read_bytes() for file in sealed.iterdir()}
    new = key_file(tmp_path, "new")
    rewrap(sealed, provider_of(key), provider_of(new))
    after = {file.name: file.read_bytes() for file in sealed.iterdir()}
    assert [name for name in before if before[name] != after[name]] == [WRAPPED_KEY]
    assert before.keys() == after.keys()
    assert TextModel.load(sealed, key=new).manifest.labels == list(WORDS)
    with pytest.raises(ModelError, match="sealed under key"):
        TextModel.load(sealed, key=key)
    with pytest.raises(KeyProblem):
        rewrap(sealed, provider_of(key), provider_of(new))


def test_a_plain_model_loads_no_cryptography(tmp_path: Path) -> None:
    folder = grams_folder(tmp_path / "model")
    code = (
        "import sys; from pathlib import Path; from bentos.text_classifier.model import TextModel;"
        f"TextModel.load(Path({str(folder)!r})); assert not [m for m in sys.modules if m.startswith('cryptography')]"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

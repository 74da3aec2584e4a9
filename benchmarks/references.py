"""What the candidates are measured against: scikit-learn's SVM and fastText, both tuned on the validation part."""

import json
import subprocess
import time
import venv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix, hstack
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.svm import LinearSVC

from bentos.text_classifier.text import fold, words
from tasks.base.manifests import Dataset
from tasks.data.rows import Rows
from tasks.kinds.registry import KINDS

SVM_C = (0.1, 0.25, 0.5, 1.0, 2.0, 4.0)
FASTTEXT = ({"epoch": 25, "lr": 0.5}, {"epoch": 25, "lr": 0.5, "minn": 2, "maxn": 5}, {"epoch": 50, "lr": 0.25})
FASTTEXT_PACKAGES = ("fasttext-wheel==0.9.2", "numpy<2")


@dataclass(frozen=True)
class Reference:
    """A reference's test predictions, int [rows], and what it cost."""

    predicted: np.ndarray
    seconds: float
    texts_per_second: float
    settings: dict[str, Any]


def support_vectors(dataset: Dataset) -> Reference:
    """TF-IDF and LinearSVC: words or words and characters, and C, whichever does best on the validation part."""
    started = time.perf_counter()
    texts = {part: Rows(getattr(dataset, part)).texts() for part in ("train", "validation", "test")}
    targets = {part: Rows(getattr(dataset, part)).targets() for part in ("train", "validation")}
    # Scripts without spaces have no words that scikit-learn could find: there, characters stand for them.
    spaced = dataset.profile.tokens["0.5"] < 0.6 * dataset.profile.characters["0.5"]
    word: dict[str, Any] = {"ngram_range": (1, 2)} if spaced else {"analyzer": "char", "ngram_range": (1, 3)}
    character: dict[str, Any] = {"analyzer": "char_wb" if spaced else "char", "ngram_range": (1, 5), "min_df": 2}
    matrices: dict[str, dict[str, csr_matrix]] = {}
    vectorizers: dict[str, list[TfidfVectorizer]] = {}
    for name, options in (("words", [word]), ("words and characters", [word, character])):
        fitted = [TfidfVectorizer(sublinear_tf=True, **option) for option in options]
        train = csr_matrix(hstack([one.fit_transform(texts["train"]) for one in fitted]))
        validation = csr_matrix(hstack([one.transform(texts["validation"]) for one in fitted]))
        matrices[name] = {"train": train, "validation": validation}
        vectorizers[name] = fitted
    found = []
    for name, parts in matrices.items():
        for c in SVM_C:
            machine = LinearSVC(C=c, random_state=0).fit(parts["train"], targets["train"])
            right = float(np.mean(machine.predict(parts["validation"]) == targets["validation"]))
            found.append((right, name, c, machine))
    _, name, c, machine = max(found, key=lambda one: one[0])
    seconds = time.perf_counter() - started
    started = time.perf_counter()
    test = csr_matrix(hstack([one.transform(texts["test"]) for one in vectorizers[name]]))
    predicted = machine.predict(test)
    speed = len(predicted) / (time.perf_counter() - started)
    return Reference(predicted, seconds, speed, {"features": name, "c": c})


_SCRIPT = """
import json, sys, time
import fasttext
folder, choices = sys.argv[1], json.loads(sys.argv[2])
read = lambda part: [line.rstrip("\\n").split(" ", 1) for line in open(f"{folder}/{part}.txt", encoding="utf-8")]
validation, test = read("validation"), read("test")
def predict(model, rows):
    return [label[0] if label else "" for label in model.predict([text for _, text in rows])[0]]
best, started = None, time.perf_counter()
for choice in choices:
    model = fasttext.train_supervised(f"{folder}/train.txt", wordNgrams=2, thread=2, seed=0, verbose=0, **choice)
    right = sum(a == b for a, (b, _) in zip(predict(model, validation), validation))
    if best is None or right > best[0]:
        best = right, choice, model
seconds, started = time.perf_counter() - started, time.perf_counter()
predicted = predict(best[2], test)
speed = len(test) / (time.perf_counter() - started)
print(json.dumps({"predicted": predicted, "seconds": seconds, "speed": speed, "settings": best[1]}))
"""


def fasttext(dataset: Dataset, folder: Path) -> Reference | str:
    """fastText in an environment of its own, the best of three settings; or why it cannot be had here."""
    python = folder / "fasttext" / "bin" / "python"
    if not (folder / "fasttext" / "ready").exists():
        venv.create(folder / "fasttext", with_pip=True, clear=True)
        installed = subprocess.run(
            [python, "-m", "pip", "install", "-q", "--only-binary", ":all:", *FASTTEXT_PACKAGES],
            capture_output=True,
            text=True,
            check=False,
        )
        if installed.returncode:
            return f"fastText cannot be installed: {(installed.stderr.strip().splitlines() or ['no reason given'])[-1]}"
        (folder / "fasttext" / "ready").touch()
    for part in ("train", "validation", "test"):
        rows = Rows(getattr(dataset, part))
        lines = (
            f"__label__{target} {' '.join(words(fold(text)))}\n"
            for text, target in zip(rows.texts(), rows.targets().tolist(), strict=True)
        )
        (folder / f"{part}.txt").write_text("".join(lines), encoding="utf-8")
    done = subprocess.run(
        [python, "-c", _SCRIPT, str(folder), json.dumps(FASTTEXT)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        return f"fastText failed: {(done.stderr.strip().splitlines() or ['no reason given'])[-1]}"
    answer = json.loads(done.stdout.strip().splitlines()[-1])
    predicted = np.array([int(label.removeprefix("__label__") or -1) for label in answer["predicted"]])
    return Reference(predicted, answer["seconds"], answer["speed"], answer["settings"])


def figures(dataset: Dataset, reference: Reference) -> dict[str, float]:
    """Accuracy and macro F1 on the test part."""
    targets = Rows(dataset.test).targets()
    one_hot = np.eye(len(dataset.labels) + 1, dtype=np.float32)[reference.predicted][:, : len(dataset.labels)]
    return KINDS[dataset.task].metrics(one_hot, targets)

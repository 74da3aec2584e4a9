"""Small data sets by rule, written as `preprocess` writes them: texts whose words tell their label."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tasks.base.manifests import Dataset, Profile, content_of

TOPICS = {
    "food": ["bread", "soup", "oven", "sugar", "recipe", "taste"],
    "science": ["atom", "cell", "orbit", "theory", "proton", "energy"],
    "sport": ["goal", "match", "league", "player", "race", "score"],
}
COMMON = ["the", "a", "of", "and", "we", "it", "was", "very", "new", "one"]


def make_texts(rows: int, seed: int, topics: int = 3) -> tuple[list[str], np.ndarray]:
    """Texts of 3 to 8 words, two of them of their label's topic; labels int32."""
    random = np.random.default_rng(seed)
    names = list(TOPICS)[:topics]
    targets = random.integers(topics, size=rows).astype(np.int32)
    texts = []
    for target in targets:
        words = [*random.choice(COMMON, random.integers(1, 7)), *random.choice(TOPICS[names[target]], 2)]
        texts.append(" ".join(random.permutation(words)))
    return texts, targets


def make_dataset(
    folder: Path, task: str = "single", rows: int = 240, topics: int = 3, imbalance: float = 1.0
) -> Dataset:
    """A data set in `folder`; for `multi` a text may carry two labels, whose texts are joined."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = {}
    for seed, (part, count) in enumerate({"train": rows, "validation": rows // 4, "test": rows // 4}.items()):
        texts, targets = make_texts(count, seed, topics)
        label_targets: list[object] = targets.tolist()
        labels: list[object] = [list(TOPICS)[target] for target in targets]
        if task == "multi":
            others, other_targets = make_texts(count, seed + 10, topics)
            texts = [f"{text} {other}" for text, other in zip(texts, others, strict=True)]
            both = np.maximum(np.eye(topics, dtype=np.int8)[targets], np.eye(topics, dtype=np.int8)[other_targets])
            label_targets = both.tolist()
            labels = [[name for name, held in zip(TOPICS, row, strict=False) if held] for row in both]
        kind = pa.list_(pa.int8()) if task == "multi" else pa.int32()
        columns = {
            "text": pa.array(texts),
            "label": pa.array(labels),
            "target": pa.array(label_targets, kind),
            "weight": pa.array(np.ones(count, np.float32)),
        }
        paths[part] = folder / f"{part}.parquet"
        pq.write_table(pa.table(columns), paths[part])
    profile = Profile(
        scripts={"Latin": 1.0},
        language="en",
        characters={"0.5": 25.0, "0.95": 40.0, "0.99": 45.0, "1": 50.0},
        tokens={"0.5": 5.0, "0.95": 8.0, "0.99": 8.0, "1": 8.0},
        total_tokens=rows * 5,
        imbalance=imbalance,
    )
    return Dataset(
        task=task,
        labels=list(TOPICS)[:topics],
        **paths,
        rows={"train": rows, "validation": rows // 4, "test": rows // 4},
        profile=profile,
        max_length=32,
        content=content_of(*paths.values()),
    )

"""Labelled text made by rule, in two languages, for whole runs of the pipeline."""

import csv
import random
from pathlib import Path

SUBJECTS = {
    "billing/账单": ("invoice", "refund", "charge", "账单", "退款", "扣费"),
    "delivery": ("parcel", "courier", "shipment", "快递", "包裹", "送货"),
    "01": ("password", "login", "account", "密码", "登录", "账号"),
}
FRAMES = (
    "Please help, my {} is wrong since {}",
    "Why was the {} late on {}?",
    "请问{}为什么在{}出错",
    "I want to ask about the {} of {}",
    "我的{}从{}起有问题",
)
TIMES = ("Monday", "yesterday", "last week", "昨天", "星期一", "the 3rd", "noon")


def rows(count: int, seed: int = 1, noise: float = 0.0) -> list[tuple[str, str]]:
    """(text, label) pairs; a share `noise` of the labels is drawn at random."""
    draw = random.Random(seed)
    made = []
    for number in range(count):
        label = draw.choice(list(SUBJECTS))
        text = draw.choice(FRAMES).format(draw.choice(SUBJECTS[label]), draw.choice(TIMES))
        if draw.random() < noise:
            label = draw.choice(list(SUBJECTS))
        made.append((f"{text} #{number}", label))
    return made


def write_odd_csv(path: Path, pairs: list[tuple[str, str]]) -> Path:
    """A file as people have them: semicolons, a BOM, odd column names, a number column."""
    with path.open("w", encoding="utf-8-sig", newline="") as stream:
        writer = csv.writer(stream, delimiter=";")
        writer.writerow(["Ticket Nr.", "Nachricht (text)", "Kategorie / 类别"])
        for number, (text, label) in enumerate(pairs):
            writer.writerow([f"{number:05}", text, label])
    return path

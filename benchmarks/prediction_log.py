"""What recording predictions costs the service: `python -m benchmarks.prediction_log`.

CPU time, so that other work on the machine counts little: of one request in process (encode, run, decode), of
handing its prediction to the log, and of writing records, which happens at most `prediction_rate` times a
second after a first burst.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

from bentos.text_classifier.model import TextModel
from bentos.text_classifier.prediction_log import PredictionLog, observe
from bentos.text_classifier.scope import ScopeRule, fit_scope
from bentos.text_classifier.settings import ServiceSettings
from tests.bentos.model_folder import WORDS, sentence, tokens_folder

REQUESTS_A_SECOND = 4_000
"""What one worker answers at full load."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--predictions", type=int, default=20_000)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    labels = list(WORDS)
    texts = [f"{sentence(labels[row % 3], 3 + row % 12)} {row}" for row in range(options.predictions)]
    settings = ServiceSettings()
    with tempfile.TemporaryDirectory() as scratch:
        model = TextModel.load(tokens_folder(Path(scratch) / "model"))
        answers = model.predict(texts)
        log = PredictionLog(Path(scratch), model, "v1", settings)
        log.add(texts[: settings.prediction_burst], answers[: settings.prediction_burst], "client")
        log.close()
        started = time.process_time()
        for text, answer in zip(texts, answers, strict=True):
            log.add([text], [answer], "client")
        handed = (time.process_time() - started) / len(texts)
    rule = ScopeRule(fit_scope(model, texts[:2000], texts[2000:2400]))
    started = time.process_time()
    for start in range(0, 4096, 64):
        observe(texts[start : start + 64], rule)
    described = (time.process_time() - started) / 4096
    share = handed * REQUESTS_A_SECOND + described * settings.prediction_rate
    figures = {
        "handing over, microseconds a prediction": handed * 1e6,
        "describing, microseconds a record": described * 1e6,
        f"share of a CPU at {REQUESTS_A_SECOND:,} requests a second": share,
        f"seconds of CPU for a first burst of {settings.prediction_burst:,}": described * settings.prediction_burst,
    }
    for name, value in figures.items():
        print(f"{name:<60}{value:>10.3f}")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()

"""A model in service: its session, its batches, its counters and records."""

import asyncio
import os
import secrets
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

from bentos.text_classifier.asgi import Disconnected, Request
from bentos.text_classifier.batching import Batcher, Busy
from bentos.text_classifier.bodies import ModelIdentity
from bentos.text_classifier.decoding import Options, Prediction
from bentos.text_classifier.explain import Attribution, ExplanationError, explain
from bentos.text_classifier.metrics import Counters
from bentos.text_classifier.model import TextModel
from bentos.text_classifier.personal_data import Redactor
from bentos.text_classifier.prediction_log import PredictionLog, records_key
from bentos.text_classifier.predictor import NotFinite, Predictor, provider
from bentos.text_classifier.problems import Problem, busy
from bentos.text_classifier.records import RecordWriter
from bentos.text_classifier.settings import ServiceSettings

_EXPLANATIONS_WAITING = 8
_WARM_UPS = (1, 1, 1, 2, 4, 8, 16)


class Runtime:
    """Everything that the handlers need, for one event loop.

    Args:
        model: the opened model.
        bento: the tag that answers name; the manifest's name and version when None.
    """

    def __init__(self, model: TextModel, settings: ServiceSettings, counters: Counters, bento: str | None) -> None:
        manifest = model.manifest
        self.model = model
        self.settings = settings
        self.counters = counters
        self.identity = ModelIdentity(bento or f"{manifest.name}:{manifest.version}", manifest.name, manifest.version)
        self.provider = provider(model)
        self.defaults = Options(top_k=model.decoder.top_k(manifest))
        self.streams = 0
        self.batcher = Batcher(
            Predictor(model).infer,
            max_batch=settings.max_batch,
            max_queue=settings.max_queue,
            max_wait_seconds=settings.max_wait_seconds,
            observe=counters.batch,
        )
        self._explainer = ThreadPoolExecutor(1, thread_name_prefix="explain")
        self._explanations = 0
        self.feedback = self._writer("feedback", keep_all=True)
        self.redact = self._redactor()
        self.predictions = self._prediction_log()
        self.access = self._writer("access", keep_all=False) if settings.access_log else None

    def _writer(self, kind: str, *, keep_all: bool) -> RecordWriter | None:
        if self.settings.records is None:
            return None
        size = int(self.settings.max_records_mb * 1e6)
        return RecordWriter(Path(self.settings.records), kind, size, keep_all=keep_all)

    def _redactor(self) -> Redactor:
        """What feedback, addresses and unknown paths pass through before they are stored."""
        policy = self.settings.personal_data or "keep"
        key = records_key(Path(self.settings.records)) if policy != "keep" and self.settings.records else b"off"
        return Redactor(policy, key)

    def client_name(self, request: Request) -> str:
        """Who asks, as it may be kept: a key's name, else the address, or what stands for it under a policy."""
        name = request.client_name()
        if request.caller is not None or self.redact.policy == "keep":
            return name
        return f"client:{self.redact.pseudonym(name)}"

    def _prediction_log(self) -> PredictionLog | None:
        if self.settings.records is None or self.settings.prediction_share <= 0:
            return None
        return PredictionLog(Path(self.settings.records), self.model, self.identity.version, self.settings)

    async def warm(self) -> None:
        """Real predictions: a broken model fails here, before traffic, and the batcher learns what a batch costs.

        Raises:
            NotFinite: the model's scores are no numbers.
        """
        for size in _WARM_UPS:
            await self.batcher.submit(["a first text to warm the model"] * size, self.defaults, patient=True)

    async def predict(
        self, request: Request, texts: Sequence[str], options: Options, *, patient: bool = False
    ) -> list[Prediction]:
        """One prediction a text, each with its id.

        Raises:
            Problem: 429 when too much waits, 500 when the model gives no finite score.
            Disconnected: the client left; what was not yet run is dropped.
        """
        try:
            answers = self.batcher.submit(texts, options, patient=patient)
        except Busy as error:
            raise busy(error.retry_after) from None
        if self.batcher.slow and not patient:
            watcher = asyncio.ensure_future(_drop_when_gone(request, answers))
            answers.add_done_callback(lambda _: watcher.cancel())
        try:
            predictions = await answers
        except NotFinite as error:
            raise Problem(500, str(error)) from error
        if len(predictions) == 1:
            predictions[0].id = request.id
        else:
            for index, prediction in enumerate(predictions):
                prediction.id = f"{request.id}-{index}"
        if self.predictions is not None:
            self.predictions.add(texts, predictions, request.client_name(), options)
        return predictions

    async def explain(self, text: str, label: str | None, budget: int | None) -> list[Attribution]:
        """What each word adds to the score of `label`, or of the best; in a thread of its own, a few may wait.

        Raises:
            Problem: 422 for what cannot be explained, 429 when too many wait.
        """
        if self._explanations >= _EXPLANATIONS_WAITING:
            raise busy(1)
        self._explanations += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(
                self._explainer, explain, self.model, text, label, budget or self.settings.explain_budget
            )
        except ExplanationError as error:
            raise Problem(422, str(error), "label" if label is not None else "text") from None
        finally:
            self._explanations -= 1

    def score(self, text: str, label: str) -> float:
        """The calibrated score of one label, whether an answer would hold it or not."""
        scores = self.model.scores(self.model.logits([text]))[0]
        return float(scores[self.model.manifest.labels.index(label)])

    def close(self) -> None:
        """Ends the threads once what they hold is done."""
        self.batcher.close()
        self._explainer.shutdown(wait=True, cancel_futures=True)
        for writer in (self.feedback, self.predictions, self.access):
            if writer:
                writer.close()


async def _drop_when_gone(request: Request, answers: "asyncio.Future[list[Prediction]]") -> None:
    message = await request.receive()
    if message["type"] == "http.disconnect" and not answers.done():
        answers.set_exception(Disconnected())


def request_ids() -> Callable[[], str]:
    """Ids that no other process gives: a random beginning and a count."""
    beginning = f"{secrets.token_hex(5)}{os.getpid():x}"
    numbers = count(1)
    return lambda: f"{beginning}-{next(numbers):x}"

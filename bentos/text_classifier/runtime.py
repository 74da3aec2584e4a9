"""A model in service: its session, its batches, its counters and records."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import numpy as np

from bentos.serving.batching import Batcher, Busy
from bentos.serving.http.asgi import Disconnected, Request
from bentos.serving.http.problems import Problem, busy
from bentos.serving.records.recorder import Recorder
from bentos.serving.service import ModelIdentity
from bentos.text_classifier.costs import AnswerSizes
from bentos.text_classifier.decoding import Options, Prediction, rounded
from bentos.text_classifier.explain import Attribution, ExplanationError, explain
from bentos.text_classifier.model import TextModel
from bentos.text_classifier.narrowing import narrow
from bentos.text_classifier.prediction_log import PredictionLog
from bentos.text_classifier.predictor import NotFinite, Predictor, provider
from bentos.text_classifier.settings import Settings

_EXPLANATIONS_WAITING = 8
_WARM_UPS = (1, 1, 1, 2, 4, 8, 16)


class Runtime:
    """Everything that the handlers need, for one event loop.

    Args:
        model: the opened model.
        bento: the tag that answers name; the manifest's name and version when None.
    """

    def __init__(self, model: TextModel, settings: Settings, recorder: Recorder, bento: str | None) -> None:
        manifest = model.manifest
        self.model = model
        self.settings = settings
        self.recorder = recorder
        self.identity = ModelIdentity(bento or f"{manifest.name}:{manifest.version}", manifest.name, manifest.version)
        self.provider = provider(model)
        self.defaults = Options(top_k=model.decoder.top_k(manifest))
        self.known = frozenset(model.classes)
        self.sizes = AnswerSizes(model, self.defaults)
        self.streams = 0
        self.batcher = Batcher(
            Predictor(model).infer,
            max_batch=settings.max_batch,
            max_queue=settings.max_queue,
            max_wait_seconds=settings.max_wait_seconds,
            observe=recorder.counters.batch,
        )
        self._explainer = ThreadPoolExecutor(1, thread_name_prefix="explain")
        self._explanations = 0
        self.feedback = recorder.writer("feedback", keep_all=True)
        self.predictions = self._prediction_log(recorder)

    def _prediction_log(self, recorder: Recorder) -> PredictionLog | None:
        if recorder.folder is None or self.settings.prediction_share <= 0:
            return None
        return recorder.keep(PredictionLog(recorder.folder, self.model, self.identity.version, self.settings))

    def narrow(self, document: dict[str, Any]) -> None:
        """Says which labels there are, and how many texts may be asked for at a time."""
        narrow(document, self.model.classes, self.settings.max_texts)

    def gauges(self) -> dict[str, float]:
        """The provider that is in use, and how many requests wait for the model."""
        return {
            f'model_service_provider{{provider="{self.provider}"}}': 1.0,
            "model_service_waiting_requests": float(self.batcher.waiting),
        }

    async def warm(self) -> None:
        """Real predictions: a broken model fails here, before traffic, and the batcher learns what a batch costs.

        Raises:
            NotFinite: the model's scores are no numbers.
        """
        for size in _WARM_UPS:
            await self.batcher.submit(["a first text to warm the model"] * size, self.defaults, patient=True)

    async def predict(
        self,
        request: Request,
        texts: Sequence[str],
        options: Options,
        *,
        patient: bool = False,
        numbers: Sequence[int] | None = None,
    ) -> list[Prediction]:
        """One prediction a text, each with its id, and with scores as who asks may have them.

        Args:
            patient: wait however much else waits.
            numbers: what the texts are called in ids; by their places when None.

        Raises:
            Problem: 429 when too much waits, 500 when the model gives no finite score.
            Disconnected: the client left; what was not yet run is dropped.
        """
        decimals, least = request.decimals, options.threshold
        if decimals is not None and least:
            # What is compared with a score sees the rounded one, or bisection would find the others.
            options = msgspec.structs.replace(options, threshold=0.0)
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
        if numbers is None and len(predictions) == 1:
            predictions[0].id = request.id
        else:
            for number, prediction in zip(numbers or range(len(predictions)), predictions, strict=True):
                prediction.id = f"{request.id}-{number}"
        if self.predictions is not None:
            # As the model gave them: rounded ones would look like a drift.
            self.predictions.add(texts, predictions, request.client_name(), options)
        if decimals is None:
            return predictions
        return [rounded(prediction, decimals, least) for prediction in predictions]

    async def explain(
        self, request: Request, text: str, label: str | None, budget: int | None = None
    ) -> list[Attribution]:
        """What each word adds to the score of `label`, or of the best; in a thread of its own, a few may wait.

        Raises:
            Problem: 422 for what cannot be explained, 429 when too many wait.
        """
        if self._explanations >= _EXPLANATIONS_WAITING:
            raise busy(1)
        self._explanations += 1
        try:
            found = await asyncio.get_running_loop().run_in_executor(
                self._explainer, explain, self.model, text, label, budget or self.settings.explain_budget
            )
        except ExplanationError as error:
            raise Problem(422, str(error), "label" if label is not None else "text") from None
        finally:
            self._explanations -= 1
        decimals = request.decimals
        if decimals is None:
            return found
        # Differences of scores tell scores. No minus is left on what is rounded to nothing.
        return [msgspec.structs.replace(one, weight=round(one.weight, decimals) + 0.0) for one in found]

    async def score(self, request: Request, text: str, label: str) -> float:
        """The calibrated score of one label, whether an answer would hold it or not."""
        scores = await asyncio.get_running_loop().run_in_executor(self._explainer, self._scores, text)
        score = float(scores[self.model.manifest.labels.index(label)])
        return score if request.decimals is None else round(score, request.decimals)

    def _scores(self, text: str) -> np.ndarray:
        return self.model.scores(self.model.logits([text]))[0]

    def close(self) -> None:
        """Ends the threads once what they hold is done."""
        self.batcher.close()
        self._explainer.shutdown(wait=True, cancel_futures=True)


async def _drop_when_gone(request: Request, answers: "asyncio.Future[list[Prediction]]") -> None:
    message = await request.receive()
    if message["type"] == "http.disconnect" and not answers.done():
        answers.set_exception(Disconnected())

"""`POST /predict/stream`: a text a line in, a prediction a line out, for any number of rows in constant memory."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Iterator
from urllib.parse import parse_qs

import msgspec

from bentos.serving.http.asgi import Request, Response, Stream
from bentos.serving.http.intake import late
from bentos.serving.http.problems import Problem, ProblemDetails, busy
from bentos.serving.http.route import NDJSON
from bentos.serving.http.wire import decode, refusal
from bentos.text_classifier.bodies import OnlyLabels, PredictBody, Threshold, TopK
from bentos.text_classifier.costs import ONE_TEXT, check_text, options_of
from bentos.text_classifier.decoding import Options, Prediction
from bentos.text_classifier.runtime import Runtime

_GROUP = 128
"""Lines submitted together, where their answers are small."""

_GROUP_BYTES = 1_000_000
"""What the answers of more than one line may take together, so that many labels a line multiply nothing."""

_AHEAD = 2
"""Groups at work at one time, so that the model need not wait for lines to be read and written."""


class StreamLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    text: str


class StreamQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The request's options, in its query string; `labels` may stand there several times."""

    top_k: TopK | msgspec.UnsetType = msgspec.UNSET
    threshold: Threshold | msgspec.UnsetType = msgspec.UNSET
    labels: OnlyLabels | msgspec.UnsetType = msgspec.UNSET


class StreamedPrediction(Prediction, kw_only=True):
    """A prediction and the line it answers, counted from 1."""

    line: int


class StreamedRefusal(msgspec.Struct):
    """A line that cannot be answered, counted from 1; the stream goes on."""

    line: int
    error: ProblemDetails


_LINE = msgspec.json.Decoder(StreamLine | str)


async def stream(runtime: Runtime, request: Request, body: None) -> Response | Stream:
    options = options_of(runtime, _query(request))
    if runtime.streams >= runtime.settings.max_streams:
        raise busy(1)
    headers = [(b"content-type", NDJSON.encode()), (b"x-bento", runtime.identity.bento.encode())]
    return Stream(_answers(runtime, request, options), headers)


def _query(request: Request) -> PredictBody:
    try:
        given = parse_qs(request.scope["query_string"].decode(), keep_blank_values=True)
        query = msgspec.convert(
            {name: _value(name, values) for name, values in given.items()}, StreamQuery, strict=False
        )
    except msgspec.ValidationError as error:
        raise refusal(error) from None
    except ValueError as error:
        raise Problem(400, f"the query string cannot be read: {error}") from None
    return PredictBody(
        [], **{name: value for name, value in msgspec.structs.asdict(query).items() if value is not msgspec.UNSET}
    )


def _value(name: str, values: list[str]) -> str | list[str]:
    if name == "labels":
        return values
    if len(values) > 1:
        raise Problem(422, "given more than once", name)
    return values[0]


async def _answers(runtime: Runtime, request: Request, options: Options) -> AsyncGenerator[bytes, None]:
    runtime.streams += 1
    working: list[asyncio.Task[bytes]] = []
    number = 0
    size = max(1, min(_GROUP, _GROUP_BYTES // runtime.sizes.prediction(options)))
    try:
        async for lines in _lines(request, int(runtime.settings.max_body_mb * 1e6), runtime.settings.max_pause_seconds):
            for start in range(0, len(lines), size):
                group = lines[start : start + size]
                working.append(asyncio.create_task(_group(runtime, request, options, group, number + start + 1)))
                if len(working) == _AHEAD:
                    yield await working.pop(0)
            number += len(lines)
            # Whoever sends a line and waits for its answer must get it before sending more.
            while working:
                yield await working.pop(0)
    except Problem as of_the_rest:
        yield msgspec.json.encode(StreamedRefusal(number + 1, of_the_rest.details)) + b"\n"
    finally:
        runtime.streams -= 1
        for task in working:
            task.cancel()


async def _lines(request: Request, longest: int, pause: float) -> AsyncIterator[list[bytes]]:
    """The whole lines of each piece of the body; a last one may lack its newline.

    Raises:
        Problem: 408 when nothing came for `pause` seconds, 413 when more came than the caller may send.
    """
    # Joined once: a line that comes in many small pieces must not be copied with each.
    rest: list[bytes] = []
    size = received = 0
    chunks = request.chunks()
    while (chunk := await _within(pause, anext(chunks, None))) is not None:
        received += len(chunk)
        if request.caller is not None:
            request.caller.check_size(received)
        first, *lines = chunk.split(b"\n")
        rest.append(first)
        size += len(first)
        if lines:
            lines.insert(0, b"".join(rest))
            rest = [lines.pop()]
            size = len(rest[0])
        if size > longest:
            # Without its end it can be neither answered nor skipped.
            yield [*lines, b"".join(rest)[:longest]]
            return
        if lines:
            yield lines
    if size:
        yield [b"".join(rest)]


async def _within(seconds: float, chunk: Awaitable[bytes | None]) -> bytes | None:
    try:
        return await asyncio.wait_for(chunk, seconds)
    except TimeoutError:
        raise late(seconds) from None


async def _group(runtime: Runtime, request: Request, options: Options, lines: list[bytes], first: int) -> bytes:
    answers: list[StreamedPrediction | StreamedRefusal] = []
    texts: list[str] = []
    numbers: list[int] = []
    for number, text in _read(runtime, request, lines, first):
        if isinstance(text, Problem):
            answers.append(StreamedRefusal(number, text.details))
        else:
            texts.append(text)
            numbers.append(number)
    predictions = await runtime.predict(request, texts, options, patient=True, numbers=numbers)
    for number, prediction in zip(numbers, predictions, strict=True):
        answers.append(StreamedPrediction(**msgspec.structs.asdict(prediction), line=number))
    answers.sort(key=lambda answer: answer.line)
    return b"".join(msgspec.json.encode(answer) + b"\n" for answer in answers)


def _read(runtime: Runtime, request: Request, lines: list[bytes], first: int) -> Iterator[tuple[int, str | Problem]]:
    for number, line in enumerate(lines, first):
        if not line.strip():
            continue
        try:
            read = decode_line(line)
            check_text(runtime, read)
            if request.caller is not None:
                request.caller.spend(ONE_TEXT)
            yield number, read
        except Problem as problem:
            yield number, problem


def decode_line(line: bytes) -> str:
    """The text of a line: a JSON string, or an object with `text`."""
    read = decode(line, _LINE)
    return read if isinstance(read, str) else read.text

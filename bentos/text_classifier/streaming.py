"""`POST /predict/stream`: a text a line in, a prediction a line out, for any number of rows in constant memory."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from urllib.parse import parse_qs

import msgspec

from bentos.text_classifier.asgi import Request, Response, Stream
from bentos.text_classifier.bodies import OnlyLabels, PredictBody, Threshold, TopK, decode, refusal
from bentos.text_classifier.decoding import Options, Prediction
from bentos.text_classifier.handlers import check_texts, options_of
from bentos.text_classifier.intake import late
from bentos.text_classifier.problems import Problem, ProblemDetails, busy
from bentos.text_classifier.runtime import Runtime

NDJSON = b"application/x-ndjson"

_GROUP = 128
"""Lines submitted together."""

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


async def stream(runtime: Runtime, request: Request, body: bytes) -> Response | Stream:
    options = options_of(runtime, _query(request))
    if runtime.streams >= runtime.settings.max_streams:
        raise busy(1)
    headers = [(b"content-type", NDJSON), (b"x-bento", runtime.identity.bento.encode())]
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
    try:
        async for lines in _lines(request, int(runtime.settings.max_body_mb * 1e6), runtime.settings.max_pause_seconds):
            for start in range(0, len(lines), _GROUP):
                group = lines[start : start + _GROUP]
                working.append(asyncio.create_task(_group(runtime, request, options, group, number + start + 1)))
                if len(working) == _AHEAD:
                    yield await working.pop(0)
            number += len(lines)
            # Whoever sends a line and waits for its answer must get it before sending more.
            while working:
                yield await working.pop(0)
    except TimeoutError:
        refusal_of_the_rest = StreamedRefusal(number + 1, late(runtime.settings.max_pause_seconds).details)
        yield msgspec.json.encode(refusal_of_the_rest) + b"\n"
    finally:
        runtime.streams -= 1
        for task in working:
            task.cancel()


async def _lines(request: Request, longest: int, pause: float) -> AsyncIterator[list[bytes]]:
    """The whole lines of each piece of the body; a last one may lack its newline.

    Raises:
        TimeoutError: nothing came for `pause` seconds.
    """
    # Joined once: a line that comes in many small pieces must not be copied with each.
    rest: list[bytes] = []
    size = 0
    chunks = request.chunks()
    while (chunk := await asyncio.wait_for(anext(chunks, None), pause)) is not None:
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


async def _group(runtime: Runtime, request: Request, options: Options, lines: list[bytes], first: int) -> bytes:
    answers: list[StreamedPrediction | StreamedRefusal] = []
    texts: list[str] = []
    numbers: list[int] = []
    for number, text in _read(runtime, lines, first):
        if isinstance(text, Problem):
            answers.append(StreamedRefusal(number, text.details))
        else:
            texts.append(text)
            numbers.append(number)
    for number, prediction in zip(numbers, await runtime.predict(request, texts, options, patient=True), strict=True):
        prediction.id = f"{request.id}-{number}"
        answers.append(StreamedPrediction(**msgspec.structs.asdict(prediction), line=number))
    answers.sort(key=lambda answer: answer.line)
    return b"".join(msgspec.json.encode(answer) + b"\n" for answer in answers)


def _read(runtime: Runtime, lines: list[bytes], first: int) -> Iterator[tuple[int, str | Problem]]:
    for number, line in enumerate(lines, first):
        if not line.strip():
            continue
        try:
            read = decode_line(line)
            check_texts(runtime, [read], "text")
            yield number, read
        except Problem as problem:
            yield number, problem


def decode_line(line: bytes) -> str:
    """The text of a line: a JSON string, or an object with `text`."""
    read = decode(line, _LINE)
    return read if isinstance(read, str) else read.text

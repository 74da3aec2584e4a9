"""The Open Inference Protocol (v2) over the same model: what KServe, Triton and MLServer clients speak.

One input, `text`, BYTES [texts]; three outputs of the same shape: `label` BYTES, `score` FP32 and
`prediction` BYTES, the whole prediction as JSON.
"""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from bentos.serving.http.asgi import JSON_TYPE, Cost, Headers, Request, Response
from bentos.serving.http.problems import Problem
from bentos.serving.http.wire import encode
from bentos.text_classifier.costs import check_texts
from bentos.text_classifier.decoding import Prediction
from bentos.text_classifier.runtime import Runtime

_JSON: Headers = [JSON_TYPE]


class InputTensor(msgspec.Struct, frozen=True):
    name: Literal["text"]
    shape: Annotated[list[Annotated[int, Meta(ge=0, le=2**31)]], Meta(min_length=1, max_length=2)]
    datatype: Literal["BYTES"]
    data: list[str]
    parameters: dict[str, Any] = {}


class RequestedOutput(msgspec.Struct, frozen=True):
    name: Literal["label", "score", "prediction"]
    parameters: dict[str, Any] = {}


class InferBody(msgspec.Struct, frozen=True):
    inputs: Annotated[list[InputTensor], Meta(min_length=1, max_length=1)]
    outputs: Annotated[list[RequestedOutput], Meta(description="all three when empty")] = []
    id: Annotated[str, Meta(max_length=128)] | None = None
    parameters: dict[str, Any] = {}


class OutputTensor(msgspec.Struct):
    name: str
    shape: list[int]
    datatype: str
    data: list[str | float]


class InferAnswer(msgspec.Struct):
    model_name: str
    model_version: str
    id: str
    outputs: list[OutputTensor]


_OUTPUTS = {
    "label": ("BYTES", lambda prediction: prediction.label or ""),
    "score": ("FP32", lambda prediction: prediction.score or 0.0),
    "prediction": ("BYTES", lambda prediction: msgspec.json.encode(prediction).decode()),
}


async def server(runtime: Runtime, request: Request, body: None) -> Response:
    return Response(
        200, encode({"name": runtime.identity.name, "version": runtime.identity.version, "extensions": []}), _JSON
    )


async def metadata(runtime: Runtime, request: Request, body: None) -> Response:
    outputs = [{"name": name, "datatype": kind, "shape": [-1]} for name, (kind, _) in _OUTPUTS.items()]
    described = {
        "name": runtime.identity.name,
        "versions": [runtime.identity.version],
        "platform": "onnx_onnxv1",
        "inputs": [{"name": "text", "datatype": "BYTES", "shape": [-1]}],
        "outputs": outputs,
    }
    return Response(200, encode(described), _JSON)


async def ready(runtime: Runtime, request: Request, body: None) -> Response:
    return Response(200, b"\n", [(b"content-type", b"text/plain; charset=utf-8")])


def cost(runtime: Runtime, asked: InferBody) -> Cost:
    (tensor,) = asked.inputs
    size = 1
    for extent in tensor.shape:
        size *= extent
    if size != len(tensor.data):
        raise Problem(422, f"{len(tensor.data)} texts do not fill the shape {tensor.shape}", "inputs[0].shape")
    check_texts(runtime, tensor.data, "inputs[0].data")
    for index, output in enumerate(asked.outputs):
        if any(output.name == other.name for other in asked.outputs[:index]):
            raise Problem(422, f"{output.name} is named twice", f"outputs[{index}].name")
    # Label and score stand in the prediction once more; its quotation marks, JSON in JSON, are escaped.
    answer = 3 * runtime.sizes.predictions(tensor.data, runtime.defaults)
    return Cost(size, 0, answer, "inputs[0].data")


async def infer(runtime: Runtime, request: Request, asked: InferBody) -> Response:
    (tensor,) = asked.inputs
    predictions = await runtime.predict(request, tensor.data, runtime.defaults)
    names = [output.name for output in asked.outputs] or list(_OUTPUTS)
    outputs = [_output(name, predictions, tensor.shape) for name in names]
    answer = InferAnswer(runtime.identity.name, runtime.identity.version, asked.id or request.id, outputs)
    return Response(200, encode(answer), _JSON)


def _output(name: str, predictions: list[Prediction], shape: list[int]) -> OutputTensor:
    kind, take = _OUTPUTS[name]
    return OutputTensor(name, shape, kind, [take(prediction) for prediction in predictions])

"""Requests and answers of the Open Inference Protocol v2 as arrays: messages of gRPC, and JSON and bytes of REST.

kserve has types for both. They copy every tensor several times and take longer than a small model; here an array is a
view of the message that came.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import orjson
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb

from claimed_med.errors import ClaimedMedError, ContractError
from claimed_med.services.serve_error import WHERE

Outputs = Mapping[str, tuple[str, npt.NDArray[Any]]]
_TYPES = {
    "BOOL": "?", "UINT8": "u1", "UINT16": "<u2", "UINT32": "<u4", "UINT64": "<u8", "INT8": "i1", "INT16": "<i2",
    "INT32": "<i4", "INT64": "<i8", "FP16": "<f2", "FP32": "<f4", "FP64": "<f8",
}  # fmt: skip
_CONTENTS = {
    "BOOL": "bool_contents", "UINT8": "uint_contents", "UINT16": "uint_contents", "UINT32": "uint_contents",
    "UINT64": "uint64_contents", "INT8": "int_contents", "INT16": "int_contents", "INT32": "int_contents",
    "INT64": "int64_contents", "FP32": "fp32_contents", "FP64": "fp64_contents",
}  # fmt: skip
_ALLOWED = "Open Inference Protocol v2"
_NONE: Mapping[str, Any] = MappingProxyType({})


class Input(NamedTuple):
    """An input of a request.

    Attributes:
        name: Of the input.
        datatype: As the protocol calls it.
        shape: As it is said to be.
        content: Bytes as they came, or a list of numbers.
        parameters: What comes with it.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    content: Any
    parameters: Mapping[str, Any] = _NONE

    def array(self) -> npt.NDArray[Any]:
        """The numbers; bytes are not copied, and cannot be written to.

        Raises:
            ContractError: Content, shape and type do not go together.
        """
        kind = _TYPES.get(self.datatype)
        if kind is None:
            raise ContractError(WHERE, "an input has another type", allowed=", ".join(_TYPES))
        try:
            if min(self.shape, default=0) < 0:
                raise ContractError(WHERE, "an input has a shape that cannot be", allowed=_ALLOWED)
            if isinstance(self.content, bytes | memoryview):
                return np.frombuffer(self.content, dtype=kind).reshape(self.shape)
            return np.asarray(self.content, dtype=kind).reshape(self.shape)
        except (ValueError, TypeError, OverflowError) as error:
            told = type(error).__name__
            raise ContractError(WHERE, "an input's content does not fit its shape and type", got=told) from None


class Request(NamedTuple):
    """What is asked.

    Attributes:
        name: Of the request, as the caller gave it; ''.
        inputs: By name.
        wanted: Name of an output -> whether it is wanted as bytes; empty for all outputs.
        is_binary: Whether outputs are wanted as bytes where `wanted` does not say.
    """

    name: str
    inputs: Mapping[str, Input]
    wanted: Mapping[str, bool] = _NONE
    is_binary: bool = True

    def check(self, names: Collection[str]) -> None:
        """Refuse what wants another output than there will be.

        Raises:
            ContractError: There is none of a name.
        """
        if self.wanted and not self.wanted.keys() <= set(names):
            raise ContractError(WHERE, "there is no such output", allowed=", ".join(names))

    def chosen(self, outputs: Outputs) -> Outputs:
        """Those outputs that are wanted; raises as `check`."""
        self.check(outputs)
        return {name: one for name, one in outputs.items() if name in self.wanted} if self.wanted else outputs


def from_message(message: pb.ModelInferRequest) -> Request:
    """The request of a gRPC message.

    Raises:
        ContractError: It is none.
    """
    raw, inputs = message.raw_input_contents, {}
    if raw and len(raw) != len(message.inputs):
        raise ContractError(WHERE, "the request has not one raw content for each input", allowed=_ALLOWED)
    for number, one in enumerate(message.inputs):
        if raw and one.HasField("contents"):
            raise ContractError(WHERE, "an input has raw content and another one", allowed=_ALLOWED)
        content = raw[number] if raw else getattr(one.contents, _CONTENTS.get(one.datatype, "bytes_contents"))
        parameters = {key: getattr(value, value.WhichOneof("parameter_choice") or "string_param")
                      for key, value in one.parameters.items()}  # fmt: skip
        inputs[one.name] = Input(one.name, one.datatype, tuple(one.shape), content, parameters)
    return Request(message.id, inputs, {one.name: True for one in message.outputs})


def to_message(request: Request, model: str, outputs: Outputs, about: Mapping[str, str]) -> pb.ModelInferResponse:
    """The answer as a gRPC message; outputs are raw.

    Raises:
        ContractError: An output is wanted that is not there.
    """
    chosen = request.chosen(outputs)
    made = pb.ModelInferResponse(
        id=request.name,
        model_name=model,
        outputs=[
            pb.ModelInferResponse.InferOutputTensor(name=name, datatype=kind, shape=values.shape)
            for name, (kind, values) in chosen.items()
        ],
        raw_output_contents=[_bytes(values) for _, values in chosen.values()],
    )
    for key, value in about.items():
        made.parameters[key].string_param = value
    return made


def from_body(body: bytes, json_length: str) -> Request:
    """The request of a REST body.

    Args:
        body: JSON, and the bytes of tensors after it.
        json_length: As the header says; '' for a body without bytes.

    Raises:
        ContractError: It is none.
    """
    try:
        length = int(json_length) if json_length else len(body)
        told = orjson.loads(body[:length])
        inputs, start = {}, length
        for one in told["inputs"]:
            parameters = one.get("parameters") or {}
            content = one.get("data")
            if content is None:
                size = int(parameters["binary_data_size"])
                content, start = memoryview(body)[start : start + size], start + size
            name, shape = str(one["name"]), tuple(one["shape"])
            inputs[name] = Input(name, str(one["datatype"]), shape, content, parameters)
        is_binary = bool((told.get("parameters") or {}).get("binary_data_output", False))
        wanted = {
            str(one["name"]): bool((one.get("parameters") or {}).get("binary_data", is_binary))
            for one in told.get("outputs") or ()
        }
        return Request(str(told.get("id") or ""), inputs, wanted, is_binary)
    except ClaimedMedError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever a body can do to a parser; its text may quote the body
        got = type(error).__name__
        raise ContractError(WHERE, "the body is no inference request", got=got, allowed=_ALLOWED) from None


def to_body(request: Request, model: str, outputs: Outputs, about: Mapping[str, str]) -> tuple[bytes, int]:
    """The answer as a REST body, and the length of its JSON; 0 where there is nothing after it.

    Raises:
        ContractError: An output is wanted that is not there.
    """
    listed, raw = [], []
    for name, (kind, values) in request.chosen(outputs).items():
        one: dict[str, Any] = {"name": name, "shape": values.shape, "datatype": kind}
        if request.wanted.get(name, request.is_binary):
            raw.append(_bytes(values))
            one["parameters"] = {"binary_data_size": len(raw[-1])}
        else:
            one["data"] = [item.decode() if isinstance(item, bytes) else item for item in values.reshape(-1).tolist()]
        listed.append(one)
    told = {"id": request.name, "model_name": model, "model_version": None, "outputs": listed, "parameters": about}
    head = orjson.dumps(told)
    return (b"".join([head, *raw]), len(head)) if raw else (head, 0)


def _bytes(values: npt.NDArray[Any]) -> bytes:
    if values.dtype == np.object_:  # texts, each after its length
        return b"".join(len(one).to_bytes(4, "little") + one for one in values.reshape(-1))
    return np.ascontiguousarray(values).tobytes()

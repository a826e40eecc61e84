"""Requests of the Open Inference Protocol: arrays come as they were sent; what is wrong is told, never quoted."""

from __future__ import annotations

import numpy as np
import orjson
import pytest
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.infer_type import InferInput, InferRequest, InferResponse, RequestedOutput

from claimed_med.errors import ContractError
from claimed_med.services import serve_v2

KINDS = {"BOOL": "?", "UINT8": "u1", "INT16": "i2", "INT64": "i8", "UINT64": "u8", "FP32": "f4", "FP64": "f8"}
OUTPUTS = {
    "probabilities": ("FP64", np.array([[0.25, 0.75]])),
    "predicted": ("BYTES", np.array([b"pneumonia"], dtype=np.object_)),
}


def _asked(values, kind, *, binary, outputs=None):
    one = InferInput("image", list(values.shape), kind)
    one.set_data_from_numpy(values, binary_data=binary)
    return InferRequest("model", [one], "a-name", request_outputs=outputs)


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_every_form_of_a_tensor_is_the_array_that_was_sent(kind, binary):
    values = np.arange(6).reshape(1, 2, 3).astype(KINDS[kind])
    message = serve_v2.from_message(_asked(values, kind, binary=binary).to_grpc())
    content, length = _asked(values, kind, binary=binary).to_rest()
    body = content if binary else orjson.dumps(content)
    rest = serve_v2.from_body(body, str(length) if binary else "")
    for request in (message, rest):
        assert request.name == "a-name"
        assert np.array_equal(request.inputs["image"].array(), values)


def test_raw_content_is_not_copied():
    values = np.arange(6, dtype=np.float32).reshape(1, 6)
    content, length = _asked(values, "FP32", binary=True).to_rest()
    found = serve_v2.from_body(content, str(length)).inputs["image"].array()
    assert np.shares_memory(found, np.frombuffer(content, np.uint8))


def test_parameters_of_an_input_come_along():
    one = InferInput("pixels", [1], "FP32", parameters={"spacing_mm": "1,2,3", "number": 4, "flag": True})
    one.set_data_from_numpy(np.zeros(1, np.float32))
    found = serve_v2.from_message(InferRequest("model", [one]).to_grpc()).inputs["pixels"].parameters
    assert found | {"spacing_mm": "1,2,3", "number": 4, "flag": True} == found


@pytest.mark.parametrize(
    ("datatype", "shape", "content"),
    [
        ("FP32", (2,), b"\0" * 4),
        ("FP32", (-1,), b"\0" * 4),
        ("FP32", ("PLANTED",), b"\0" * 4),
        ("FP32", (1,), ["PLANTED"]),
        ("UINT8", (1,), [300]),
        ("BYTES", (1,), b"\0\0\0\0"),
        ("PLANTED", (1,), b"\0"),
    ],
)
def test_what_does_not_fit_is_refused_and_not_quoted(datatype, shape, content):
    with pytest.raises(ContractError) as caught:
        serve_v2.Input("image", datatype, shape, content).array()
    assert "PLANTED" not in str(caught.value)


@pytest.mark.parametrize(
    ("body", "length"),
    [
        (b"PLANTED", ""),
        (b"{}", ""),
        (b'{"inputs": [{"name": "image"}]}', ""),
        (b'{"inputs": [{"name": "image", "shape": 1, "datatype": "FP32", "data": [1]}]}', ""),
        (b"{}", "PLANTED"),
        (b"{}", "-5"),
    ],
)
def test_a_body_that_is_no_request_is_refused(body, length):
    with pytest.raises(ContractError, match="no inference request") as caught:
        serve_v2.from_body(body, length)
    assert "PLANTED" not in str(caught.value)


def test_a_message_with_half_of_its_contents_is_refused():
    message = _asked(np.zeros((1, 2), np.float32), "FP32", binary=True).to_grpc()
    message.raw_input_contents.append(b"more")
    with pytest.raises(ContractError, match="one raw content for each input"):
        serve_v2.from_message(message)


def test_an_answer_is_read_by_kserve_in_every_form():
    about = {"model_digest": "a", "variant": "stable"}
    request = serve_v2.Request("a-name", {})
    message = InferResponse.from_grpc(serve_v2.to_message(request, "model", OUTPUTS, about))
    content, length = serve_v2.to_body(request, "model", OUTPUTS, about)
    for answer in (message, InferResponse.from_bytes(content, length)):
        found = {one.name: one.as_numpy() for one in answer.outputs}
        assert found["probabilities"].tolist() == [[0.25, 0.75]]
        assert found["predicted"].tolist() in ([b"pneumonia"], ["pneumonia"])  # kserve decodes those of REST
    content, length = serve_v2.to_body(serve_v2.Request("", {}, is_binary=False), "model", OUTPUTS, about)
    told = orjson.loads(content)
    assert length == 0
    assert [one["data"] for one in told["outputs"]] == [[0.25, 0.75], ["pneumonia"]]
    assert told["parameters"] == about


def test_only_the_outputs_that_are_wanted_are_given():
    one = _asked(np.zeros((1, 2), np.float32), "FP32", binary=True, outputs=[RequestedOutput("predicted")])
    request = serve_v2.from_message(one.to_grpc())
    assert [out.name for out in serve_v2.to_message(request, "model", OUTPUTS, {}).outputs] == ["predicted"]
    mixed = serve_v2.Request("", {}, {"predicted": False, "probabilities": True})
    content, length = serve_v2.to_body(mixed, "model", OUTPUTS, {})
    assert len(content) == length + 16
    with pytest.raises(ContractError, match="no such output"):
        serve_v2.to_message(serve_v2.Request("", {}, {"other": True}), "model", OUTPUTS, {})


def test_an_empty_message_has_no_inputs():
    assert serve_v2.from_message(pb.ModelInferRequest(model_name="model")).inputs == {}

"""Made models: an ONNX file, and a decision that blesses the example of train-classifier."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np

from claimed_med.blessing import signature_of
from claimed_med.handles import BLESSED
from claimed_med.payload import folder_digest


def onnx_model(folder: Path) -> Path:
    """Write a linear model over the flat pixels of 64 x 64 images, as scikit-learn's are exported."""
    from onnx import TensorProto, helper

    weights = np.random.default_rng(0).normal(0, 0.01, (64 * 64, 2)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["pixels", "weights"], ["scores"])],
        "linear",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, [None, 64 * 64])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [None, 2])],
        [helper.make_tensor("weights", TensorProto.FLOAT, weights.shape, weights.tobytes(), raw=True)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    return folder


def blessed_decision(folder: Path) -> Path:
    """Write a decision that blesses the bundle of train-classifier's own example."""
    from claimed_med import registry
    from claimed_med.testing.example import example_of

    bundle = example_of(registry.get("train-classifier")).first.out / "bundle"
    return decide(bundle, folder)


def decide(bundle: Path, folder: Path, verdict: str = BLESSED) -> Path:
    """Write a signed decision on a bundle, without any report behind it."""
    subject, policy = folder_digest(bundle), "0" * 64
    decision = {
        "verdict": verdict,
        "subject": subject,
        "policy": "made for a test",
        "policy_sha256": policy,
        "signature": signature_of(policy, subject, verdict),
        "failed": [],
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "decision.json").write_text(json.dumps(decision))
    return folder


def bundle(folder: Path) -> Path:
    """Write a small classifier with seeded weights."""
    from claimed_med.testing.serving import classifier

    if folder.is_dir():
        folder.rmdir()
    return classifier(folder)


def bundle_decision(folder: Path) -> Path:
    """Write a decision that blesses `bundle`."""
    made = bundle(folder / "bundle-to-bless")
    decide(made, folder)
    shutil.rmtree(made)
    return folder


def deployment(folder: Path, digest: str) -> Path:
    """Write the report of a deployment of a made-up model."""
    from claimed_med.handles import Report
    from claimed_med.models import kserve
    from claimed_med.models.deployment import deployed

    service = kserve.Service("xray", "default", "claimed-med/serve", "s3://models/xray", digest)
    made = deployed("a test", digest, kserve.manifests(service), apply=False)
    for name, content in Report(made.report).payload().items():
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.read_bytes())
    return folder

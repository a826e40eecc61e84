"""The peers of `bench_serving.py`, each in a process of its own: `python serving_peers.py fastapi|kserve BUNDLE PORT`.

`fastapi` is the least that serves a model: one route, raw floats in, JSON out, the model in a thread pool. `kserve` is
the plain example of kserve's documentation: a `kserve.Model` whose `predict` calls the model. Both listen on the
loopback only (kserve's server is bound there by us), record nothing and limit nothing.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

argv, sys.argv = sys.argv, sys.argv[:1]  # kserve reads the command line when it is imported

import numpy as np  # noqa: E402 - after the command line is out of the way
import torch  # noqa: E402 - as above
from fastapi import FastAPI, Request  # noqa: E402 - as above

from claimed_med.handles import ModelBundle  # noqa: E402 - as above


def fastapi(bundle: Any, port: int) -> None:
    """One route."""
    import uvicorn
    from starlette.concurrency import run_in_threadpool

    app = FastAPI()
    shape = bundle.recipe.prepare[0]["spatial_size"]

    @app.post("/infer")
    async def infer(request: Request) -> dict[str, Any]:
        image = np.frombuffer(await request.body(), dtype=np.float32).reshape(1, 1, *shape)
        found = await run_in_threadpool(bundle.probabilities, image)
        return {"probabilities": found.tolist()}

    uvicorn.run(app, host="127.0.0.1", port=port, log_level="error", access_log=False)


def kserve(bundle: Any, port: int) -> None:
    """The plain example."""
    import kserve as sdk
    from kserve.protocol.grpc import server as grpc_server
    from kserve.protocol.infer_type import InferOutput, InferRequest, InferResponse

    class Plain(sdk.Model):
        def predict(self, payload: InferRequest, headers: Any = None) -> InferResponse:
            del headers
            found = bundle.probabilities(payload.inputs[0].as_numpy())
            one = InferOutput("probabilities", list(found.shape), "FP64")
            one.set_data_from_numpy(found)
            return InferResponse("", self.name, [one])

    model = Plain("model")
    model.load()
    server = sdk.ModelServer(http_port=port, grpc_port=port + 1, enable_latency_logging=False)
    add = grpc_server.aio.server

    def local(*words: Any, **more: Any) -> Any:
        made = add(*words, **more)
        plain = made.add_insecure_port
        made.add_insecure_port = lambda address: plain(address.replace("[::]", "127.0.0.1"))
        return made

    grpc_server.aio.server = local
    import uvicorn

    config = uvicorn.Config.__init__

    def bound(self: Any, *words: Any, **more: Any) -> None:
        config(self, *words, **{**more, "host": "127.0.0.1"})

    uvicorn.Config.__init__ = bound  # type: ignore[method-assign]
    server.start([model])


if __name__ == "__main__":
    torch.set_num_threads(1)
    made = ModelBundle(Path(argv[2])).load()
    made.probabilities(np.zeros((1, 1, *made.recipe.prepare[0]["spatial_size"]), dtype=np.float32))
    {"fastapi": fastapi, "kserve": kserve}[argv[1]](made, int(argv[3]))

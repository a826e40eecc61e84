"""The server against the bare model, against peers, and under more load than it can bear; loopback only, bounded.

    python benchmarks/bench_serving.py [overhead|dicom|peers|load] [--seconds N] [--network toy|DenseNet121]

All numbers of a part come from one run on one machine. Clients are threads of this process, the same for all servers.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil

HERE = Path(__file__).parent
CLIENTS = (1, 8, 32)
NETWORKS = {"toy": 64, "DenseNet121": 128}  # rows and columns of the images; the toy computes for 1 ms
ROUNDS = 3
sys.argv, _ARGV = sys.argv[:1], sys.argv  # kserve reads the command line when it is imported


def overhead(seconds: float) -> list[dict[str, Any]]:
    """Round trip of a tensor of 1 MiB over gRPC, raw, less the bare model on the same tensor."""
    import torch

    from claimed_med.handles import ModelBundle
    from claimed_med.testing.models import decide
    from claimed_med.testing.serving import classifier, prepared, serving

    rows = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        bundle = classifier(folder / "bundle", size=512)
        decision = decide(bundle, folder / "decision")
        image = prepared(0, size=512)
        torch.set_num_threads(1)
        held = ModelBundle(bundle).load()
        with serving(bundle, folder / "s", "--decision", str(decision), "--max-batch", "1") as running:
            ask = grpc_client(running.grpc_port, image)
            process = psutil.Process(running.process.pid)
            bare: list[float] = []
            served: list[float] = []
            cpu = {"bare": 0.0, "client": 0.0}
            started, until = sum(process.cpu_times()[:2]), time.monotonic() + seconds
            while time.monotonic() < until:  # in turns: both meet the same machine
                for name, times, call in (("bare", bare, lambda: held.probabilities(image)), ("client", served, ask)):
                    before = time.process_time()
                    times.append(_timed(call))
                    cpu[name] += time.process_time() - before
            server_cpu = sum(process.cpu_times()[:2]) - started
    # processor time does not depend on who else computes on the machine; wall time does
    cpu_ms = {"bare model": 1000 * cpu["bare"] / len(bare), "v2 gRPC raw": 1000 * server_cpu / len(served)}
    for who, times in (("bare model", bare[5:]), ("v2 gRPC raw", served[5:])):
        rows.append({"case": "tensor of 1 MiB", "who": who, **_percentiles(times), "cpu_ms": round(cpu_ms[who], 2)})
    added = [one - other for one, other in zip(sorted(served[5:]), sorted(bare[5:]), strict=True)]
    more = round(cpu_ms["v2 gRPC raw"] - cpu_ms["bare model"] + 1000 * cpu["client"] / len(served), 2)
    return [*rows, {"case": "tensor of 1 MiB", "who": "added by serving", **_percentiles(added), "cpu_ms": more}]


def dicom(seconds: float) -> list[dict[str, Any]]:
    """A radiograph of 1024 x 1024 over HTTP, against the component and its save in a process that has run it once."""
    import requests

    import claimed_med as cm
    from claimed_med.testing import xrays
    from claimed_med.testing.models import decide
    from claimed_med.testing.serving import classifier, serving
    from claimed_med.workers import limit_threads

    limit_threads(1)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        bundle = classifier(folder / "bundle", size=256)
        decision = decide(bundle, folder / "decision")
        made = xrays.xrays(folder / "x", n_patients=1, size=1024)
        cm.import_xrays(folder=str(made / "images"), table=str(made / "labels.csv")).images.save(folder / "series")
        path = next((folder / "series").rglob("*.dcm"))
        number = iter(range(1_000_000))

        def component() -> None:
            found = cm.classify_images(cm.DicomSeries(path), cm.ModelBundle(bundle))
            found.report.save(folder / "out" / str(next(number)))

        with serving(bundle, folder / "s", "--decision", str(decision), "--max-batch", "1") as running:
            session = requests.Session()

            def ask() -> None:
                answer = session.post(
                    f"{running.url}/v1/models/model:predict",
                    data=path.read_bytes(),
                    headers={"Content-Type": "application/dicom"},
                    timeout=120,
                )
                answer.raise_for_status()

            component()
            ask()
            ours: list[float] = []
            theirs: list[float] = []
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                theirs.append(_timed(component))
                ours.append(_timed(ask))
    ratio = round(statistics.median(ours) / statistics.median(theirs), 2)
    return [
        {"case": "radiograph 1024 x 1024", "who": "component and save, warm", **_percentiles(theirs)},
        {"case": "radiograph 1024 x 1024", "who": "served, DICOM in and out", **_percentiles(ours), "ratio": ratio},
    ]


def peers(seconds: float, names: Sequence[str] = tuple(NETWORKS)) -> list[dict[str, Any]]:
    """Requests a second of the same model at 1, 8 and 32 clients: one that computes for 1 ms, and DenseNet121.

    The servers are asked in turns, several times each, so that all of them meet the same machine; the median counts.
    """
    from claimed_med.testing.serving import SMALL

    rows = []
    for name in names:
        size, network = NETWORKS[name], SMALL if name == "toy" else f'name = "{name}"'
        rows += _beside_peers(f"{name}, {size} x {size}", size, network, seconds)
    return rows


def _beside_peers(name: str, size: int, network: str, seconds: float) -> list[dict[str, Any]]:
    from claimed_med.testing.models import decide
    from claimed_med.testing.servers import free_port
    from claimed_med.testing.serving import classifier, prepared, serving

    image, rows = prepared(0, size=size), []
    with tempfile.TemporaryDirectory() as place, contextlib.ExitStack() as stack:
        folder = Path(place)
        bundle = classifier(folder / "bundle", size=size, network=network)
        words = ("--decision", str(decide(bundle, folder / "decision")), "--max-waiting", "256")
        alone = stack.enter_context(serving(bundle, folder / "a", *words, "--max-batch", "1"))
        batched = stack.enter_context(serving(bundle, folder / "b", *words))
        fast, plain = free_port(), free_port()
        fast_id = stack.enter_context(_peer("fastapi", bundle, fast))
        plain_id = stack.enter_context(_peer("kserve", bundle, plain))
        asked: dict[str, tuple[int, Callable[[], Callable[[], Any]]]] = {
            "bare FastAPI, raw floats": (fast_id, lambda: fastapi_client(fast, image)),
            "kserve example, gRPC raw": (plain_id, lambda: grpc_client(plain + 1, image)),
            "claimed_med, gRPC raw, no batching": (alone.process.pid, lambda: grpc_client(alone.grpc_port, image)),
            "claimed_med, gRPC raw": (batched.process.pid, lambda: grpc_client(batched.grpc_port, image)),
            "claimed_med, REST binary, no batching": (alone.process.pid, lambda: rest_client(alone.http_port, image)),
            "claimed_med, REST binary": (batched.process.pid, lambda: rest_client(batched.http_port, image)),
        }
        for _, make in asked.values():
            _throughput(make, 1, 1.0)
        for n_clients in CLIENTS:
            told: dict[str, list[dict[str, Any]]] = {who: [] for who in asked}
            for _ in range(ROUNDS):
                for who, (process, make) in asked.items():
                    told[who].append(_with_cpu(process, make, n_clients, seconds / ROUNDS))
            rows += [{"case": f"{name}, {n_clients} clients", "who": who, **_median(told[who])} for who in asked]
    return rows


def _with_cpu(process: int, make: Callable[[], Callable[[], Any]], n_clients: int, seconds: float) -> dict[str, Any]:
    """The throughput, and the processor time of the server a request: it depends less on who else computes here."""
    server = psutil.Process(process)
    before = sum(server.cpu_times()[:2])
    told = _throughput(make, n_clients, seconds)
    return {**told, "cpu_ms": round(1000 * (sum(server.cpu_times()[:2]) - before) / told["n"], 2)}


def _median(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    return {name: round(statistics.median(one[name] for one in rounds), 2) for name in rounds[0]}


def load(seconds: float) -> list[dict[str, Any]]:
    """Twice as many requests as can be served, half of them by gRPC; then SIGTERM in the middle of them."""
    from claimed_med.prediction_log import PredictionLog
    from claimed_med.testing.models import decide
    from claimed_med.testing.serving import classifier, prepared, serving

    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        bundle = classifier(folder / "bundle")
        words = ("--decision", str(decide(bundle, folder / "decision")), "--max-waiting", "8")
        image = prepared(0)
        with serving(bundle, folder / "s", *words) as running:
            capacity = _throughput(lambda: rest_client(running.http_port, image), 4, min(10.0, seconds))["per_s"]
            process, memory = psutil.Process(running.process.pid), []
            answers: Counter[str] = Counter()
            stop = threading.Event()
            ways: list[Callable[[], Callable[[], Any]]] = [
                lambda: rest_client(running.http_port, image),
                lambda: _grpc_statuses(running.grpc_port, image),
            ]
            threads = [
                threading.Thread(target=_open_loop, args=(ways[number % 2], 2 * capacity / 32, answers, stop))
                for number in range(32)
            ]
            for one in threads:
                one.start()
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                time.sleep(1.0)
                memory.append(process.memory_info().rss / 2**20)
            before = answers.copy()
            code = running.stop()
            stop.set()
            for one in threads:
                one.join()
            answered = sum(one["status"] == 200 for one in running.lines("request"))
            unfinished = running.lines("stop")[0]["unfinished"]
        log = PredictionLog(str(running.log))
        n_recorded = sum(log.models().values())
        log.close()
    third = max(1, len(memory) // 3)
    return [
        {
            "case": f"twice the capacity of {capacity:.0f}/s, {seconds:.0f} s",
            "who": "claimed_med",
            "statuses": dict(sorted(before.items())),
            "after SIGTERM": dict(sorted((answers - before).items())),
            "exit": code,
            "unfinished": unfinished,
            "answered 200 = recorded": answered == n_recorded,
            "memory_mib": f"{statistics.median(memory[:third]):.0f} -> {statistics.median(memory[-third:]):.0f}",
        }
    ]


def run(seconds: float = 10.0) -> list[dict[str, Any]]:
    """All parts."""
    return [row for part in PARTS.values() for row in part(seconds)]


def grpc_client(port: int, image: Any) -> Callable[[], Any]:
    """A call over a channel of its own."""
    import grpc
    from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub
    from kserve.protocol.infer_type import InferInput, InferRequest, RequestedOutput

    one = InferInput("image", list(image.shape), "FP32")
    one.set_data_from_numpy(image, binary_data=True)
    request = InferRequest("model", [one], request_outputs=[RequestedOutput("probabilities")]).to_grpc()
    channel = grpc.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.use_local_subchannel_pool", 1)])
    stub = GRPCInferenceServiceStub(channel)
    return lambda: stub.ModelInfer(request, timeout=120)


def rest_client(port: int, image: Any) -> Callable[[], int]:
    """A call over a connection of its own; the status."""
    import http.client

    from kserve.protocol.infer_type import InferInput, InferRequest, RequestedOutput

    one = InferInput("image", list(image.shape), "FP32")
    one.set_data_from_numpy(image, binary_data=True)
    body, length = InferRequest("model", [one], request_outputs=[RequestedOutput("probabilities")]).to_rest()
    head = {"Inference-Header-Content-Length": str(length), "Content-Type": "application/octet-stream"}
    return _http(http.client.HTTPConnection("127.0.0.1", port, timeout=120), "/v2/models/model/infer", body, head)


def fastapi_client(port: int, image: Any) -> Callable[[], int]:
    """A call over a connection of its own; the status."""
    import http.client

    head = {"Content-Type": "application/octet-stream"}
    ask = _http(http.client.HTTPConnection("127.0.0.1", port, timeout=120), "/infer", image.tobytes(), head)
    if ask() != http.client.OK:
        sys.exit("the FastAPI peer does not answer")
    return ask


def _http(connection: Any, path: str, body: Any, head: dict[str, str]) -> Callable[[], int]:
    def ask() -> int:
        connection.request("POST", path, body, head)
        answer = connection.getresponse()
        answer.read()
        return int(answer.status)

    return ask


def _grpc_statuses(port: int, image: Any) -> Callable[[], str]:
    """A call that gives the name of its status, whatever it is."""
    import grpc

    call = grpc_client(port, image)

    def ask() -> str:
        try:
            call()
        except grpc.RpcError as error:
            return str(error.code().name)
        return "OK"

    return ask


def _open_loop(
    make: Callable[[], Callable[[], Any]], per_s: float, answers: Counter[str], stop: threading.Event
) -> None:
    """Ask at a rate, whatever is answered, until the server has gone."""
    ask, due = make(), time.monotonic()
    while not stop.is_set():
        due = max(due + 1 / per_s, time.monotonic() - 1.0)
        time.sleep(max(0.0, due - time.monotonic()))
        try:
            answers[str(ask())] += 1
        except OSError:
            answers["connection closed"] += 1
            return
        except Exception:  # noqa: BLE001 - a connection that was closed after a refusal is opened anew
            ask = make()


def _throughput(make: Callable[[], Callable[[], Any]], n_clients: int, seconds: float) -> dict[str, Any]:
    times: list[float] = []
    lock, ready = threading.Lock(), threading.Barrier(n_clients + 1)

    def client() -> None:
        ask, own = make(), []
        ready.wait()
        until = time.monotonic() + seconds
        while not own or time.monotonic() < until:
            own.append(_timed(ask))
        with lock:
            times.extend(own)

    threads = [threading.Thread(target=client) for _ in range(n_clients)]
    for one in threads:
        one.start()
    ready.wait()
    started = time.monotonic()
    for one in threads:
        one.join()
    return {"per_s": round(len(times) / (time.monotonic() - started), 1), **_percentiles(times)}


@contextlib.contextmanager
def _peer(name: str, bundle: Path, port: int) -> Iterator[int]:
    """A peer that runs; gives the id of its process."""
    import socket

    command = [sys.executable, str(HERE / "serving_peers.py"), name, str(bundle), str(port)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "KSERVE_LOGLEVEL": "CRITICAL"}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 180
        while time.monotonic() < end:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port + (name == "kserve")), timeout=1).close()
                break
            time.sleep(0.2)
        yield process.pid
    finally:
        process.terminate()
        process.wait(30)


def _timed(call: Callable[[], Any]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def _percentiles(times: list[float]) -> dict[str, Any]:
    p50, p99 = np.percentile(np.asarray(times) * 1000, [50, 99])
    return {"n": len(times), "p50_ms": round(float(p50), 2), "p99_ms": round(float(p99), 2)}


PARTS = {"overhead": overhead, "dicom": dicom, "peers": peers, "load": load}


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the servers end with it
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", nargs="?", choices=sorted(PARTS))
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--network", choices=sorted(NETWORKS), help="of peers; all by default")
    arguments = parser.parse_args(_ARGV[1:])
    if arguments.part == "peers" and arguments.network:
        chosen = peers(arguments.seconds, (arguments.network,))
    else:
        chosen = PARTS[arguments.part](arguments.seconds) if arguments.part else run(arguments.seconds)
    print("\n".join(json.dumps(row) for row in chosen))

"""OpenTelemetry spans, when the usual environment variables ask for them (OTEL_EXPORTER_OTLP_ENDPOINT and others).

Spans carry stages, routes and statuses; no input, no identifier, no text of an error.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from typing import Any

_ASKED = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_TRACES_EXPORTER")
_state: dict[str, Any] = {}


def start() -> bool:
    """Start tracing where the environment asks for it; whether it does."""
    wanted = os.environ.get("OTEL_TRACES_EXPORTER", "otlp")
    is_off = os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or wanted == "none"
    if is_off or not any(os.environ.get(name) for name in _ASKED):
        return False
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter

    os.environ.setdefault("OTEL_SERVICE_NAME", "claimed-med")
    provider = TracerProvider(resource=Resource.create())
    provider.add_span_processor(
        BatchSpanProcessor(ConsoleSpanExporter() if wanted == "console" else OTLPSpanExporter())
    )
    _state["provider"], _state["tracer"] = provider, provider.get_tracer("claimed_med")
    return True


def stop() -> None:
    """Send what is left."""
    if "provider" in _state:
        _state.pop("tracer")
        _state.pop("provider").shutdown()


def span(
    name: str, headers: Mapping[str, Any] | None = None, **attributes: str
) -> contextlib.AbstractContextManager[Any]:
    """A span below the current one, or below the caller's (`traceparent`); nothing when tracing is off."""
    tracer = _state.get("tracer")
    if tracer is None:
        return contextlib.nullcontext()
    context = None
    if headers is not None:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        context = TraceContextTextMapPropagator().extract({key: str(value) for key, value in headers.items()})
    made: contextlib.AbstractContextManager[Any] = tracer.start_as_current_span(
        name, context=context, attributes=attributes, record_exception=False, set_status_on_exception=False
    )
    return made

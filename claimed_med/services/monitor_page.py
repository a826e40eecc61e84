"""The page of deployed models: models, windows, cases. Read only; no request to another host."""

from __future__ import annotations

import asyncio
import hmac
import json
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import plotly
from jinja2 import Environment, FileSystemLoader, select_autoescape
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from claimed_med.dicom.web_auth import is_loopback
from claimed_med.services import monitor_chart as charts
from claimed_med.services.monitor_data import Monitor, Watched
from claimed_med.trust.metric import shown

_PAGES = Path(__file__).parent / "pages"
_PLOTLY = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"
_A_PAGE = 100
_PATIENCE_S = 1.0  # for the newest figures, where there are older ones to show
_PLAIN = ("time", "case", "score", "predicted", "label", "outcome")
_HIDDEN = frozenset({"model_digest", "positive", "threshold", "unit_key", "sop_key", "variant", *_PLAIN})
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def application(monitor: Monitor, token: str = "") -> Starlette:
    """The application.

    Args:
        monitor: What is watched.
        token: Password that every request must have (basic authentication, any user, or a bearer token); '' for none.
    """
    pages = _Pages(monitor)
    routes = [
        Route("/", pages.models),
        Route("/models/{digest}", pages.model),
        Route("/models/{digest}/windows/{number:int}", pages.window),
        Route("/models/{digest}/cases/{case}", pages.case),
        Route("/models/{digest}/cases/{case}/pictures/{number:int}", pages.picture),
        Route("/metrics", pages.metrics),
        Route("/healthz", _healthy),
        Route("/static/plotly.js", _plotly),
        Mount("/static", StaticFiles(directory=_PAGES / "static")),
    ]
    return Starlette(routes=routes, middleware=[Middleware(_Guard, token=token)])


class _Guard(BaseHTTPMiddleware):
    """Asks for the token, and lets no page load anything from elsewhere."""

    def __init__(self, app: Any, token: str) -> None:
        super().__init__(app)
        self.token = token

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        """Answer, or refuse."""
        if self.token and not self._knows(request.headers.get("Authorization", "")):
            asked = {"WWW-Authenticate": 'Basic realm="claimed_med monitor", charset="UTF-8"'}
            return PlainTextResponse("a token is needed\n", 401, asked)
        if not self.token and not is_loopback(request.url.hostname or ""):  # a foreign page turned its name to us
            return PlainTextResponse("the request names another host\n", 403)
        response = await call_next(request)
        response.headers["Content-Security-Policy"] = _POLICY
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Referrer-Policy"] = "no-referrer"
        response.headers["Cache-Control"] = "no-store" if "/static/" not in request.url.path else "max-age=3600"
        return response

    def _knows(self, given: str) -> bool:
        import base64
        import binascii

        kind, _, value = given.partition(" ")
        if kind.lower() == "basic":
            try:
                value = base64.b64decode(value, validate=True).decode().partition(":")[2]
            except (binascii.Error, UnicodeDecodeError):
                return False
        return hmac.compare_digest(value.encode(), self.token.encode())


class _Pages:
    def __init__(self, monitor: Monitor) -> None:
        self.monitor = monitor
        self.templates = Environment(
            loader=FileSystemLoader(_PAGES), autoescape=select_autoescape(default=True), trim_blocks=True
        )
        self.templates.globals.update(shown=shown, new_id=lambda: secrets.token_hex(4))

    async def models(self, _: Request) -> Response:
        listed = await self._all()
        return HTMLResponse(
            await run_in_threadpool(
                lambda: self._page("models.html", models=[_summary(one) for one in listed], is_old=_any_old(listed))
            )
        )

    async def model(self, request: Request) -> Response:
        def made(watched: Watched) -> str:
            attribute = request.query_params.get("attribute", "")
            metric = request.query_params.get("metric", "")
            attributes = list(watched.bias["attributes"]) if watched.bias else []
            return self._page(
                "model.html",
                model=_summary(watched),
                is_old=watched.is_old,
                watched=watched,
                charts=_charts(watched),
                attributes=attributes,
                metrics=charts.METRICS,
                attribute=attribute if attribute in attributes else next(iter(attributes), ""),
                metric=metric if metric in charts.METRICS else "equal_opportunity_difference",
                fairness=_fairness(watched, attribute, metric),
            )

        return await self._of_model(request, made)

    async def window(self, request: Request) -> Response:
        number = int(request.path_params["number"])

        def made(watched: Watched) -> str:
            cases = self.monitor.window(watched, number)
            first = _A_PAGE * max(0, int(request.query_params.get("page", "0") or 0))
            rows = cases.iloc[first : first + _A_PAGE]
            return self._page(
                "window.html",
                model=_summary(watched),
                is_old=watched.is_old,
                number=number,
                n_cases=len(cases),
                page=first // _A_PAGE,
                n_pages=-(-len(cases) // _A_PAGE),
                drift=_numbered(watched.drift, number),
                bias=_numbered(watched.bias, number),
                columns=_PLAIN,
                cases=rows.reindex(columns=list(_PLAIN)).astype(object).where(rows.notna(), "").to_dict("records"),
            )

        return await self._of_model(request, made)

    async def case(self, request: Request) -> Response:
        def made(watched: Watched) -> str:
            row = _case(watched, request.path_params["case"])
            told = {
                name: f"{value:.4g}" if isinstance(value, float) else value
                for name, value in row.items()
                if name not in _HIDDEN and not _is_embedding(name)
            }
            pictures = self.monitor.pictures(watched.digest, str(row.get("unit_key") or ""))
            return self._page("case.html", model=_summary(watched), row=row, told=told, pictures=pictures)

        return await self._of_model(request, made)

    async def picture(self, request: Request) -> Response:
        digest, number = request.path_params["digest"], int(request.path_params["number"])

        def found(watched: Watched) -> Path:
            row = _case(watched, request.path_params["case"])
            return self.monitor.pictures(digest, str(row.get("unit_key") or ""))[number].path

        try:
            path = await run_in_threadpool(found, await self._watched(digest))
            return FileResponse(path, media_type="image/png")
        except (KeyError, IndexError):
            return self._absent()

    async def metrics(self, _: Request) -> Response:
        listed = await self._all()
        return PlainTextResponse(await run_in_threadpool(_exported, listed), media_type="text/plain; version=0.0.4")

    async def _of_model(self, request: Request, made: Callable[[Watched], str]) -> Response:
        try:
            watched = await self._watched(request.path_params["digest"])
            return HTMLResponse(await run_in_threadpool(made, watched))
        except (KeyError, ValueError):
            return self._absent()

    async def _all(self) -> list[Watched]:
        return [await self._watched(digest) for digest in await run_in_threadpool(self.monitor.models)]

    async def _watched(self, digest: str) -> Watched:
        """A model as it is now; as it was before, where that takes long. Nobody holds a thread while waiting."""
        work: asyncio.Future[Watched] = asyncio.wrap_future(await run_in_threadpool(self.monitor.ask, digest))
        before = self.monitor.before(digest)
        if before is not None:
            done, _ = await asyncio.wait([work], timeout=_PATIENCE_S)
            if not done:
                return before
        return await work

    def _absent(self) -> Response:
        return HTMLResponse(self._page("absent.html"), 404)

    def _page(self, name: str, **values: Any) -> str:
        return self.templates.get_template(name).render(**values)


def _exported(listed: Sequence[Watched]) -> str:
    """Figures of the newest whole windows in the format of Prometheus."""
    lines = ["# HELP claimed_med_monitor Figures of the newest whole window.", "# TYPE claimed_med_monitor gauge"]
    for watched in listed:
        for name, report in (("drift", watched.drift), ("bias", watched.bias)):
            for one in report["metrics"] if report else []:
                if str(one["group"]).startswith("latest") and one["value"] is not None:
                    labels = {"model": watched.digest, "report": name, "metric": one["name"], "group": one["group"]}
                    told = ",".join(f"{key}={json.dumps(value)}" for key, value in labels.items())
                    lines += [
                        f"claimed_med_monitor{end}{{{told}}} {one[key]:.6g}"
                        for key, end in (("value", ""), ("low", "_low"), ("high", "_high"))
                        if one.get(key) is not None
                    ]
    return "\n".join(lines) + "\n"


def _any_old(listed: Sequence[Watched]) -> bool:
    return any(one.is_old for one in listed)


def _summary(watched: Watched) -> dict[str, Any]:
    table = watched.table
    return {
        "digest": watched.digest,
        "short": watched.digest[:12] or "(no digest)",
        "n": len(table),
        "first": str(table["time"].iloc[0])[:16].replace("T", " "),
        "last": str(table["time"].iloc[-1])[:16].replace("T", " "),
        "n_truth": int(table["label"].notna().sum()),
        "refused": float((table["outcome"] != "done").mean()),
        "alerts": watched.alerts,
    }


def _charts(watched: Watched) -> list[dict[str, Any]]:
    if watched.drift is None:
        return []
    report, windows = watched.drift, watched.drift["windows"]
    made = [
        ("volume", "Cases by window", charts.volume(report), ["window", "cases"],
         [[one["name"], one["n"]] for one in windows]),
        ("scores", "Score by window", charts.scores(report), ["window", "5 %", "25 %", "median", "75 %", "95 %"],
         [[one["name"], *(shown(value) for value in one["score"])] for one in windows]),
        ("effects", "Change of every column against the reference", charts.effects(report),
         ["window", "drifted columns, largest change first"],
         [[one["name"], ", ".join(one["causes"]) or "none"] for one in windows]),
        ("performance", "Performance where the truth is known", charts.performance(report),
         ["window", "AUC", "calibration error (ECE)"],
         [[one["name"], *(_figure(one, name) for name in ("auc", "ece"))] for one in windows]),
    ]  # fmt: skip
    return [dict(zip(("id", "title", "figure", "header", "lines"), one, strict=True)) for one in made]


def _figure(window: Any, name: str) -> str:
    one = window["performance"].get(name)
    return "no truth yet" if one is None else str(one["note"] or shown(one["value"], one["low"], one["high"]))


def _fairness(watched: Watched, attribute: str, metric: str) -> dict[str, Any] | None:
    if watched.bias is None:
        return None
    known = list(watched.bias["attributes"])
    attribute = attribute if attribute in known else known[0]
    metric = metric if metric in charts.METRICS else "equal_opportunity_difference"
    lines = [
        [window["name"], one["group"], one["n"], one["note"] or shown(one["value"], one["low"], one["high"]),
         window["flagged"].get(one["group"], "")]
        for window in watched.bias["windows"]
        for one in window["metrics"]
        if one["name"] == metric and one["group"].startswith(f"{attribute}=")
    ]  # fmt: skip
    low, high = watched.bias["fair_ranges"][metric]
    title = f"{metric.replace('_', ' ')} by {attribute.replace('_', ' ')} (fair from {low:g} to {high:g})"
    return {
        "id": "fairness",
        "title": title,
        "figure": charts.fairness(watched.bias, attribute, metric),
        "header": ["window", "group", "cases", "value (95 % interval)", "flagged because"],
        "lines": lines,
    }


def _numbered(report: Any, number: int) -> Any:
    found = [one for one in report["windows"] if str(one["name"]).partition(":")[0] == str(number)] if report else []
    return found[0] if found else None


def _case(watched: Watched, case: str) -> dict[str, Any]:
    rows = watched.table[watched.table["case"] == case]
    if rows.empty:
        raise KeyError(case)
    row: dict[str, Any] = rows.iloc[0].to_dict()
    return {name: "" if value is None or (isinstance(value, float) and pd.isna(value)) else value
            for name, value in row.items()}  # fmt: skip


def _is_embedding(name: str) -> bool:
    return name.startswith("embedding_")


async def _healthy(_: Request) -> Response:
    return PlainTextResponse("ok\n")


async def _plotly(_: Request) -> Response:
    return FileResponse(_PLOTLY, media_type="text/javascript")

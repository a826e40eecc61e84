"""Validate a crate with roc-validator, offline: the two JSON-LD contexts come from files.

    python check_crate.py SPECS PROFILE,... CRATE...

Prints one JSON object: crate -> profile -> list of [check, message]. Runs in the virtual environment of roc-validator.
"""

from __future__ import annotations

import io
import json
import sys
import urllib.request
from email.message import Message
from pathlib import Path

import requests
from rocrate_validator import models, services
from urllib3 import HTTPResponse

SPECS = Path(sys.argv[1])
PAGES = {
    "https://w3id.org/ro/crate/1.1/context": "ro-crate-1.1-context.jsonld",
    "https://w3id.org/ro/terms/workflow-run/context": "workflow-run-context.jsonld",
}


def page(url):
    name = PAGES.get(url.split("#")[0])
    return (200, (SPECS / name).read_bytes()) if name else (404, b"")


def send(self, request, **__):
    code, content = page(request.url)
    headers = {"Content-Type": "application/ld+json"}
    raw = HTTPResponse(io.BytesIO(content), headers, code, preload_content=False, request_url=request.url)
    return self.build_response(request, raw)


class Files(urllib.request.BaseHandler):
    """What rdflib opens."""

    handler_order = 100  # before the handlers that go to the network

    def https_open(self, request):
        code, content = page(request.full_url)
        headers = Message()
        headers["Content-Type"] = "application/ld+json"
        answer = urllib.request.addinfourl(io.BytesIO(content), headers, request.full_url, code)
        answer.msg = "OK" if code == 200 else "Not Found"
        return answer

    http_open = https_open


requests.adapters.HTTPAdapter.send = send
urllib.request.install_opener(urllib.request.build_opener(Files()))


def faults(crate, profile):
    settings = services.ValidationSettings(
        rocrate_uri=crate, profile_identifier=profile, requirement_severity=models.Severity.REQUIRED
    )
    result = services.validate(settings)
    found = [[str(one.check.identifier), str(one.message)] for one in result.get_issues(models.Severity.REQUIRED)]
    return found if found or result.passed() else [["none", "did not pass"]]


print(json.dumps({one: {name: faults(one, name) for name in sys.argv[2].split(",")} for one in sys.argv[3:]}))

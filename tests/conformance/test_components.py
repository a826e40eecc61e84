"""The battery over every component. The checks of one component run in one process: they share its example."""

from __future__ import annotations

import pytest

from claimed_med import registry
from claimed_med.testing import run_checks
from claimed_med.testing.checks import checks_for
from claimed_med.testing.example import needs_server


def _all():
    for name in registry.names():
        component = registry.get(name)
        for check_name, check in checks_for(component):
            asks = needs_server(component) and hasattr(run_checks, check_name)
            marks = [pytest.mark.xdist_group("servers" if asks else name), *([pytest.mark.orthanc] if asks else [])]
            yield pytest.param(check, asks, id=f"{name}-{check_name}", marks=marks)


@pytest.mark.parametrize(("check", "asks"), list(_all()))
def test_component(check, asks, request):
    if asks:
        request.getfixturevalue("orthanc_installed")
    check()

"""The battery over every component. The checks of components whose examples build on one another run in one process."""

from __future__ import annotations

import pytest

from claimed_med import registry
from claimed_med.testing import run_checks
from claimed_med.testing.checks import checks_for
from claimed_med.testing.example import needs_server


def _group(component):
    """What runs in one process: components whose examples build on the same first one, or need a server."""
    chain, name = [], component.contract.name
    while name not in chain:
        chain.append(name)
        sources = [str(one).partition(":") for one in registry.get(name).contract.example.values()]
        name = next((source for source, found, _ in sources if found and source in registry.names()), name)
    return "servers" if len(chain) == 1 and needs_server(component) else chain[-1]


def _all():
    for name in registry.names():
        component = registry.get(name)
        for check_name, check in checks_for(component):
            asks = needs_server(component) and hasattr(run_checks, check_name)
            marks = [pytest.mark.xdist_group(_group(component)), *([pytest.mark.orthanc] if asks else [])]
            yield pytest.param(check, asks, id=f"{name}-{check_name}", marks=marks)


@pytest.mark.parametrize(("check", "asks"), list(_all()))
def test_component(check, asks, request):
    if asks:
        request.getfixturevalue("orthanc_installed")
    check()

"""The battery over every component. The checks of one component run in one process: they share its example."""

from __future__ import annotations

import pytest

from claimed_med import registry
from claimed_med.testing.checks import checks_for


def _all():
    for name in registry.names():
        component = registry.get(name)
        for check_name, check in checks_for(component):
            group = pytest.mark.xdist_group(name)
            yield pytest.param(check, id=f"{name}-{check_name}", marks=group)


@pytest.mark.parametrize("check", list(_all()))
def test_component(check):
    check()

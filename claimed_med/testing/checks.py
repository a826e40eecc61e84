"""The conformance battery: what must be true of every component, because it is one.

    @pytest.mark.parametrize("check", [pytest.param(check, id=name) for name, check in checks_for(component)])
    def test_battery(check):
        check()

Each check is a function of the component that raises `CheckFailed` with what is wrong. Checks that run the component do
so on the example that its decorator names, once per process, in a temporary folder.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from claimed_med.testing import contract_checks, run_checks

if TYPE_CHECKING:
    from collections.abc import Callable

    from claimed_med.component import Component

ALWAYS: tuple[Callable[[Component], None], ...] = (
    contract_checks.words_complete,
    contract_checks.names_apart,
    contract_checks.defaults_in_range,
    contract_checks.unit_suffix,
    contract_checks.light_import,
    contract_checks.command_line,
    contract_checks.component_yaml,
    contract_checks.survives_pickling,
    run_checks.runs_on_example,
    run_checks.input_unchanged,
    run_checks.same_bytes,
    run_checks.no_patient_attribute,
    run_checks.lineage_verifies,
)


def checks_for(component: Component) -> list[tuple[str, Callable[[], None]]]:
    """The checks that apply to a component: (name, function without arguments), cheap ones first."""
    chosen = list(ALWAYS)
    if run_checks.writes_dicom(component):
        chosen.append(run_checks.valid_dicom)
    if run_checks.modality_of(component):
        chosen.append(run_checks.wrong_modality_refused)
    return [(check.__name__, partial(check, component)) for check in chosen]

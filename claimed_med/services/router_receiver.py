"""The router's own receiver: table `receiver` of the rules, with the options of `claimed-med net serve` as keys."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any, NoReturn

from claimed_med.errors import ContractError
from claimed_med.services.receiver_cli import add_options, settings_from

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from claimed_med.services.receiver import ReceiverSettings


class _Table(argparse.ArgumentParser):
    """Reads options, and raises where a program would end."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong.

        Raises:
            ContractError: Always.
        """
        raise ContractError("route", "the table receiver is wrong", got=message, do="see: claimed-med net serve --help")


def settings_of(table: Mapping[str, Any]) -> tuple[ReceiverSettings, float]:
    """Settings of the receiver, and its time of grace at the end [s].

    Args:
        table: Option of `net serve` (with underscores) -> value; a list for an option that may be repeated.

    Raises:
        ContractError: There is no such option, or the value is not allowed.
    """
    reader = _Table(add_help=False, allow_abbrev=False)
    add_options(reader)
    given = reader.parse_args([word for name, value in table.items() for word in _words(name, value)])
    return settings_from(given), float(given.grace_s)


def _words(name: str, value: Any) -> Iterator[str]:
    option = f"--{name.replace('_', '-')}"
    if value is True:
        yield option
    elif value is not False:
        for one in value if isinstance(value, list) else [value]:
            yield f"{option}={one}"

"""Whether a server could listen is told before it is started."""

from __future__ import annotations

import socket

import pytest

from claimed_med.errors import InputError
from claimed_med.services.listening import refuse_taken


@pytest.mark.parametrize("host", ["nowhere.invalid", "two words", "a..b", "a" * 80])
def test_an_address_without_a_machine_is_told(host):
    with pytest.raises(InputError, match="here: the address to listen on has no such name; choose another address"):
        refuse_taken(host, 0, "here")


def test_a_port_that_is_taken_is_told():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(InputError, match=f"here: the port {port} cannot be opened; got Address already in use"):
            refuse_taken("127.0.0.1", port, "here")


def test_any_port_and_every_address_will_do():
    refuse_taken("", 0, "here")
    with pytest.raises(InputError, match="cannot be opened; got Cannot assign requested address"):
        refuse_taken("192.0.2.1", 0, "here")

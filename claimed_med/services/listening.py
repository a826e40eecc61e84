"""Whether a server could listen: asked before anything is loaded for callers who would never come."""

from __future__ import annotations

import os
import socket

from claimed_med.errors import InputError


def refuse_taken(host: str, port: int, where: str) -> None:
    """Refuse a port that cannot be opened.

    Args:
        host: Address to listen on.
        port: 0 for any.
        where: Who speaks.

    Raises:
        InputError: Another program has the port, or the address is none of this machine.
    """
    try:
        socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET).close()
    except socket.gaierror:
        raise InputError(where, "the address to listen on has no such name", do="choose another address") from None
    except OSError as error:
        do = "choose another address or port"
        raise InputError(where, f"the port {port} cannot be opened", got=os.strerror(error.errno or 0), do=do) from None

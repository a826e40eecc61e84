"""What becomes of work that another thread does: as a `concurrent.futures.Future`, at a fraction of its cost.

A server makes two of them a request. Nobody can cancel one: who waits no more says so in the request (`Job.cancelled`).
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import Generic, TypeVar, cast

T = TypeVar("T")


class Outcome(Generic[T]):
    """A result or an error, once there is one.

    Args:
        on_done: Called with this by the thread that settles it, before those that wait go on.
    """

    __slots__ = ("_error", "_gate", "_is_done", "_on_done", "_result")

    def __init__(self, on_done: Callable[[Outcome[T]], None] | None = None) -> None:
        self._on_done, self._is_done = on_done, False
        self._result: T | None = None
        self._error: BaseException | None = None
        self._gate = Lock()
        self._gate.acquire()

    def done(self) -> bool:
        """Whether there is one."""
        return self._is_done

    def set_result(self, result: T) -> None:
        """Settle it.

        Raises:
            RuntimeError: It is settled already; nobody is told again.
        """
        self._settle(result, None)

    def set_exception(self, error: BaseException) -> None:
        """Settle it with an error; raises as `set_result`."""
        self._settle(None, error)

    def result(self, timeout: float | None = None) -> T:
        """Wait for the result.

        Args:
            timeout: No longer than this [s].

        Raises:
            TimeoutError: There is none yet.
        """
        self._wait(timeout)
        if self._error is not None:
            raise self._error
        return cast("T", self._result)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Wait for the error; None where there is a result. Arguments and errors as of `result`."""
        self._wait(timeout)
        return self._error

    def _wait(self, timeout: float | None) -> None:
        if self._is_done:
            return
        if not self._gate.acquire(timeout=-1 if timeout is None else max(0.0, timeout)):
            raise TimeoutError
        self._gate.release()  # for whoever waits besides

    def _settle(self, result: T | None, error: BaseException | None) -> None:
        if self._is_done:
            raise RuntimeError
        self._result, self._error, self._is_done = result, error, True
        try:
            if self._on_done is not None:
                self._on_done(self)
        except Exception:  # noqa: BLE001 - such as a loop that is closed; no fault of the thread that settles
            return
        finally:
            self._gate.release()

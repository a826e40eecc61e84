"""Why a task failed, out of its exit code and its log: one line for the summary."""

from __future__ import annotations


def reason(code: int, log: str) -> str:
    """One line on why a task failed.

    Args:
        code: Exit code, negative for a signal.
        log: What the task printed.
    """
    if code < 0:
        import signal

        return f"the task was killed by {signal.Signals(-code).name}, perhaps for lack of memory"
    lines = [line for line in log.splitlines() if line.startswith("error: ")]
    if lines:
        return lines[-1].removeprefix("error: ")
    summary = [line.strip() for line in log.splitlines() if line.strip()]
    return "; ".join(summary[:6]) or f"the task ended with code {code}"

"""Signals that would end or stop a process with calls by default."""

from __future__ import annotations

import signal

#: Signals that report a fault of the process itself, or end it as the sender wants; SIGCHLD is the reactor's.
_LEFT_ALONE = frozenset(
    {"SIGKILL", "SIGSTOP", "SIGCHLD", "SIGCONT", "SIGURG", "SIGWINCH", "SIGPIPE", "SIGXFSZ"}
    | {"SIGSEGV", "SIGBUS", "SIGFPE", "SIGILL", "SIGABRT", "SIGTRAP", "SIGSYS"}
)


def fatal_signals() -> list[int]:
    """Return the numbers of all other signals: timers, users' and real-time signals, those of a terminal."""
    return [int(number) for number in signal.valid_signals() if signal_name(number) not in _LEFT_ALONE]


def signal_name(number: int) -> str:
    """Return the name of a signal; most real-time signals have only a number."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"

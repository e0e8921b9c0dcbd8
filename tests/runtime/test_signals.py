"""Which signals must not end a process with calls."""

from __future__ import annotations

import signal

from audiosocket.runtime.signals import fatal_signals, signal_name


def test_what_others_send_is_covered_and_faults_are_not() -> None:
    fatal = fatal_signals()
    for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGQUIT, signal.SIGALRM, signal.SIGTSTP):
        assert number in fatal
    assert signal.SIGRTMIN in fatal
    assert signal.SIGRTMAX in fatal
    for number in (signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD, signal.SIGSEGV, signal.SIGABRT):
        assert number not in fatal


def test_real_time_signals_have_a_name_too() -> None:
    assert signal_name(signal.SIGUSR1) == "SIGUSR1"
    assert signal_name(signal.SIGRTMIN + 1) == f"signal {signal.SIGRTMIN + 1}"

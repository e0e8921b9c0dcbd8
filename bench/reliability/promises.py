"""The promises R1 to R21, in their order."""

from __future__ import annotations

from bench.reliability import changes, descriptors, files, peers, restarts
from bench.reliability.promise import Count, Promise, Trial
from bench.reliability.soak import soak

#: What docs/operations.md says: Twisted's pool starts a thread when all are busy, and keeps it.
MAX_THREADS = 14
_DATABASE = "needs a PostgreSQL that is stopped and frozen; "


def short_soak(trial: Trial) -> Count:
    """The first minute, or the first ten, of the soak."""
    found = soak(trial.times(1, 10) / 60, 50, trial.random.randrange(10**6))
    totals, count = found["calls"], Count()
    count.tried = int(totals["sent"])
    count.broken = int(totals["lost"] + totals["altered"] + totals["dropped"] + totals["refused"])
    before, after = found["before_the_first_call"], found["after_the_last_call"]
    count.add(after["descriptors"] <= before["descriptors"] + 2, f"descriptors: {before} {after}")
    count.add(after["threads"] <= MAX_THREADS, f"threads: {before} {after}")
    count.notes += f"late {found['late_percent']} %"
    return count


PROMISES: tuple[Promise, ...] = (
    Promise("R1", "a change of the configuration drops nobody", changes.changes_drop_nobody),
    Promise("R2", "a removed extension drains", changes.removal_drains),
    Promise("R3", "a bad configuration replaces no good one", changes.bad_configuration_changes_nothing),
    Promise(
        "R4", "a dead database costs no call", why_not=_DATABASE + "tests/postgres, tests/system/test_soak.py"
    ),
    Promise("R5", "a database that hangs costs no call", why_not=_DATABASE + "tests/postgres/test_connection.py"),
    Promise(
        "R6",
        "a missed notification does not matter",
        why_not=_DATABASE + "tests/postgres/test_database_outages.py",
    ),
    Promise(
        "R7", "the start does not wait for the database", why_not=_DATABASE + "tests/provisioning/test_poller.py"
    ),
    Promise("R8", "calls resume after kill -9", restarts.killed_and_started_again),
    Promise("R9", "a damaged local file costs no configuration", files.damaged_local_file),
    Promise("R10", "a full disk costs no call, and is shown until it is over", files.full_disk),
    Promise("R11", "a port in use is shown, and taken when it is free", changes.port_in_use),
    Promise("R12", "malformed input hurts nobody else", peers.malformed_input),
    Promise("R13", "connections that say nothing are closed in time", peers.slow_handshakes),
    Promise("R14", "a flood of connections keeps out no call", peers.connection_flood),
    Promise("R15", "calls survive that descriptors run out", descriptors.descriptors_run_out),
    Promise("R16", "a process that stands still says so", restarts.stands_still),
    Promise("R17", "a stop ends calls with a hangup frame", restarts.stops_gracefully),
    Promise(
        "R18",
        "an upgrade without a gap",
        why_not="needs a service manager that holds the sockets; tests/system/test_rolling_restart.py",
    ),
    Promise("R19", "nothing grows while calls come and go", short_soak),
    Promise(
        "R20",
        "a jump of the clock has no effect",
        why_not="the clock of a shared machine cannot be set; tests use clocks of their own, tests/transport",
    ),
    Promise("R21", "requests to the API are answered and cost no frame", peers.requests_hurt_no_audio),
)

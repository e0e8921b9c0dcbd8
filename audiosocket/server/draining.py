"""How a stop waits for live calls to end by themselves."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from audiosocket.extensions.model import Role
from audiosocket.provisioning.listeners import Listeners
from audiosocket.provisioning.poller import Poller

#: Interval between two checks, in seconds.
CHECK_SECONDS = 0.02
log = Logger()


async def drain(
    listeners: Listeners,
    poller: Poller,
    live: Callable[[], int],
    seconds: Callable[[], float],
    *,
    refuse_new_calls: Callable[[], object],
    clock: IReactorTime,
) -> None:
    """Close the visitors' ports, then wait until no leg is live, for at most ``seconds()``.

    The ports are closed and not answered with hangup frames: a hangup frame tells the dialplan that the call is
    over, a closed port that it should try again, and then the next process answers. Residents of live calls may
    still join. ``seconds`` is called again at each check: a stop that must not wait any longer makes it return 0.
    """
    began = clock.seconds()
    log.info("draining: {live} legs have {s} s to end by themselves", live=live(), s=seconds())
    await maybeDeferred(poller.stopService)  # a refresh would open the ports again
    await listeners.stop_accepting(Role.VISITOR)
    refuse_new_calls()  # not earlier: a visitor that comes before the ports are closed would get a hangup frame
    spent = clock.seconds() - began
    await wait_until(lambda: not live(), lambda: seconds() - spent, clock)


async def wait_until(done: Callable[[], bool], seconds: Callable[[], float], clock: IReactorTime) -> None:
    """Wait until ``done()`` is true, for at most ``seconds()`` from now; both are called at each check."""
    began = clock.seconds()
    while not done() and clock.seconds() < began + seconds():
        await deferLater(clock, CHECK_SECONDS)

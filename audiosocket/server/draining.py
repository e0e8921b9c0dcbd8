"""A node that is left by its calls: before a stop, or for the balancer in front of several nodes."""

from __future__ import annotations

import time
from collections.abc import Callable

from twisted.internet.defer import maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from audiosocket.extensions.model import Role
from audiosocket.json_shapes import NodeDrainJSON
from audiosocket.provisioning.listeners import Listeners
from audiosocket.provisioning.poller import Poller
from audiosocket.runtime.event_feed import rfc3339

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


class NodeDrain:
    """The drain of this node; implements `control_interface.DrainControl`.

    It changes nothing here but the answer of ``/livez``. The balancer then sends no new call, and still sends the
    residents of live calls. What comes all the same is taken: the balancer asks only twice a second, and a call
    that is refused meanwhile would be over for its dialplan.

    ``ending`` returns "draining" or "stopping" during a stop, ``unable`` why no call can be taken, or nothing;
    ``wall`` is the time of day, in seconds.
    """

    def __init__(
        self, ending: Callable[[], str], unable: Callable[[], str], wall: Callable[[], float] = time.time
    ) -> None:
        self._ending = ending
        self._unable = unable
        self._wall = wall
        self._since: float | None = None

    def begin(self) -> bool:
        """Have the balancer send no new calls; return false when that was so already."""
        if self._since is not None:
            return False
        self._since = self._wall()
        log.info(
            "draining: /livez answers 404, so that the balancer sends no new calls; those that come are taken"
        )
        return True

    def cancel(self) -> bool:
        """Have the balancer send calls again; return false when it did."""
        if self._since is None:
            return False
        self._since = None
        log.info("no longer draining: /livez answers 200 again")
        return True

    def leaving(self) -> str:
        """Return why the balancer should send no new call, an empty text when it should."""
        return self._ending() or ("" if self._since is None else "draining")

    def unable(self) -> str:
        """Return why no call can be taken at all, an empty text when they can."""
        return self._unable()

    def to_json(self) -> NodeDrainJSON:
        """Return whether the node drains, and since when."""
        return {"active": self._since is not None, "since": None if self._since is None else rfc3339(self._since)}

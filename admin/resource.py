"""The one function that puts the API together for `audiosocket.composition`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from twisted.internet.interfaces import IReactorTime
from twisted.web.server import Site

from admin.access import AccessCheck
from admin.api import AdminAPI
from admin.phones.phone import Dial
from admin.site import AdminSite
from audiosocket.api_tokens import KnownTokens
from audiosocket.control_interface import Control
from audiosocket.runtime.event_feed import EventFeed


def make_site(
    control: Control,
    feed: EventFeed,
    *,
    tokens: KnownTokens,
    session_key: bytes,
    hosts: Iterable[str],
    signature_header: str,
    reactor: IReactorTime,
    now: Callable[[], float] = time.time,
    dial: Dial | None = None,
) -> Site:
    """Return the factory that serves the API of ``control`` and the events of ``feed`` over HTTP.

    A request under ``/api`` must carry one of ``tokens``, if there are any, or a cookie signed with
    ``session_key``; ``hosts`` are further names of this server that a Host header may have; ``signature_header``
    is the header in which the report of a webhook's receiver carries its signature; ``now`` is the time of day in
    seconds; ``dial`` places the calls of the telephone in the browser, None switches it off.
    """
    access = AccessCheck(
        tokens=tokens,
        session_key=session_key,
        hosts=hosts,
        clock=reactor.seconds,
        signature_header=signature_header,
        vouches=control.calls.vouches,
        now=now,
        call_of_token=control.calls.call_of_token,
    )
    return AdminSite(
        AdminAPI(control, access.sessions, feed, reactor, dial).app.resource(), access, feed.publish, reactor
    )

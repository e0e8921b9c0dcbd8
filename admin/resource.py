"""Where the API is put together: the one function ``tap.py`` calls."""

from __future__ import annotations

from collections.abc import Iterable

from twisted.internet.interfaces import IReactorTime
from twisted.web.server import Site

from admin.access import AccessCheck
from admin.api import AdminAPI
from admin.site import AdminSite
from audiosocket.control_interface import Control


def make_site(control: Control, *, token: str, hosts: Iterable[str], reactor: IReactorTime) -> Site:
    """The factory that serves the API of ``control`` over HTTP.

    ``token`` is what every ``/api`` request must carry, empty for none; ``hosts`` are further names of
    this server that a Host header may say.
    """
    gate = AccessCheck(token=token, hosts=hosts, clock=reactor.seconds, vouches=control.calls.vouches)
    return AdminSite(AdminAPI(control).app.resource(), gate, reactor)

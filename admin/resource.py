"""The one function that puts the API together for `audiosocket.composition`."""

from __future__ import annotations

from collections.abc import Iterable

from twisted.internet.interfaces import IReactorTime
from twisted.web.server import Site

from admin.access import AccessCheck
from admin.api import AdminAPI
from admin.site import AdminSite
from audiosocket.control_interface import Control


def make_site(
    control: Control, *, token: str, hosts: Iterable[str], signature_header: str, reactor: IReactorTime
) -> Site:
    """Return the factory that serves the API of ``control`` over HTTP.

    ``token`` is what every ``/api`` request must carry, empty for none; ``hosts`` are further names of this server
    that a Host header may have; ``signature_header`` is the header in which the report of a webhook's receiver
    carries its signature.
    """
    access = AccessCheck(
        token=token,
        hosts=hosts,
        clock=reactor.seconds,
        signature_header=signature_header,
        vouches=control.calls.vouches,
    )
    return AdminSite(AdminAPI(control).app.resource(), access, reactor)

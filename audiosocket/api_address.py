"""Where other machines reach the HTTP API, as far as the settings say."""

from __future__ import annotations

from ipaddress import ip_address

from audiosocket.settings import Settings


def is_local(settings: Settings) -> bool:
    """Return whether only this machine reaches the API."""
    return not settings.node_url and ip_address(settings.api_host).is_loopback


def api_url(settings: Settings, host: str) -> str:
    """Return where others reach the API, without a slash at its end.

    ``host`` is the name of this machine, which stands for an API_HOST that is every address.
    """
    if settings.node_url:
        return settings.node_url.rstrip("/")
    address = ip_address(settings.api_host)
    name = host if address.is_unspecified else f"[{address}]" if address.version == 6 else str(address)
    return f"http://{name}:{settings.api_port}"

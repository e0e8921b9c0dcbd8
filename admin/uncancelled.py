"""Values that are there now or later."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TypeVar

from audiosocket.control_interface import Soon

T = TypeVar("T")


async def maybe_await(value: Soon[T]) -> T:
    """Return ``value``, or what it gives when it is awaitable."""
    return await value if isinstance(value, Awaitable) else value

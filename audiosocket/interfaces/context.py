"""What an app is made with: the operator's policy, and what the server provides."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from twisted.internet.interfaces import IDelayedCall

from audiosocket.extensions.model import Role
from audiosocket.interfaces.services import Apartments, Gate, InFileThread, SoundSource, Telephony
from audiosocket.interfaces.websocket import OpenWebSocket
from audiosocket.settings import Settings


@dataclass(frozen=True)
class CallPolicy:
    """The policy of ``apps.toml`` for the calls of an extension, whichever apps run."""

    #: Record the legs, and write the transcript that a bot's dialect reports.
    record: bool = False
    transcript: bool = False
    #: Days after which recordings and transcripts are removed.
    retention_days: int = 30
    #: A bot may set the outcome ``authorised`` by itself.
    bot_may_authorise: bool = False
    #: The dialplan context to which a bot may transfer its caller; empty: it may not.
    transfer_context: str = ""
    #: Which extensions of that context, and which numbers a bot may ring; see `extensions.number_patterns`.
    bot_may_transfer_to: tuple[str, ...] = ()
    bot_may_dial: tuple[str, ...] = ()


@dataclass(frozen=True)
class AppContext:
    """What the server provides to an app; passed to its factory, once per call."""

    settings: Settings
    sounds: SoundSource
    #: For files that an app writes.
    in_file_thread: InFileThread
    #: Calls a function after a number of seconds: ``call_later(seconds, function, *arguments)``.
    call_later: Callable[..., IDelayedCall]
    #: What the app's ``parse_parameters`` returned for its table in ``apps.toml``; None without that function.
    parameters: Any = None
    policy: CallPolicy = field(default_factory=CallPolicy)
    #: The apps of each role's legs, in order.
    chains: Mapping[Role, Sequence[str]] = field(default_factory=dict)
    #: Makes WebSocket connections to other programs; None only where a test made the context.
    open_websocket: OpenWebSocket | None = None
    #: Asterisk's manager interface; None without ``AMI_HOST``.
    telephony: Telephony | None = None
    #: Counts a duration in milliseconds, by name, for the histograms in ``/api/status``.
    measure: Callable[[str, float], None] = lambda name, milliseconds: None
    #: What lets a bot use the API for one call only: the URL of the call and a token.
    call_access: Callable[[UUID], tuple[str, str]] | None = None
    #: None where there are none, as in a test.
    gate: Gate | None = None
    apartments: Apartments | None = None

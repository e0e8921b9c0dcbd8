"""The API for app authors: `App`, `Leg`, `AppContext` and their values.

A voice bot is a subclass of `App`, and needs to know nothing of sockets, frames or clocks::

    class Parrot(App):
        def audio(self, leg, pcm, rate):
            leg.play(pcm, rate)

Register it under the entry-point group ``audiosocket.apps`` and name it in ``VISITOR_APP``.
"""

from audiosocket.interfaces.app import App, AppFactory, HookResult, Leg, Tap
from audiosocket.interfaces.context import AppContext, CallPolicy
from audiosocket.interfaces.services import (
    ApartmentMatch,
    Apartments,
    Authorisation,
    Gate,
    GateAnswer,
    InFileThread,
    SoundSource,
    Telephony,
)
from audiosocket.interfaces.values import CallerInfo, ReturnAttempt, ReturnOutcome
from audiosocket.interfaces.websocket import OpenWebSocket, WebSocket

__all__ = [
    "ApartmentMatch",
    "Apartments",
    "App",
    "AppContext",
    "AppFactory",
    "Authorisation",
    "CallPolicy",
    "CallerInfo",
    "Gate",
    "GateAnswer",
    "HookResult",
    "InFileThread",
    "Leg",
    "OpenWebSocket",
    "ReturnAttempt",
    "ReturnOutcome",
    "SoundSource",
    "Tap",
    "Telephony",
    "WebSocket",
]

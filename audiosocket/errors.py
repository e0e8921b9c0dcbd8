"""Every error this project raises on purpose; whatever is not here is a bug."""

from __future__ import annotations


class AudioSocketError(Exception):
    """The root: an error whose text may be shown to an operator."""


class InvalidSetting(AudioSocketError):
    """A setting has a value that cannot be used; the text names the setting and the value."""


class InvalidParameter(AudioSocketError):
    """An app's parameter in ``apps.toml`` cannot be used; the text never repeats a value, which may be a secret.

    ``parameter`` is its name, empty when the table as a whole is wrong.
    """

    def __init__(self, message: str, parameter: str = "") -> None:
        super().__init__(message)
        self.parameter = parameter


class InvalidAppRules(AudioSocketError):
    """``apps.toml`` cannot be used; ``line`` is where, 0 when that is not known."""

    def __init__(self, message: str, line: int = 0) -> None:
        super().__init__(message)
        self.line = line


class InvalidExtension(AudioSocketError):
    """One row, file entry or request body does not describe an extension.

    ``field`` is the JSON name of the offending key (``porta_ia``) or empty when the whole entry is wrong.
    """

    def __init__(self, message: str, field: str = "") -> None:
        super().__init__(message)
        self.field = field


class ExtensionTaken(AudioSocketError):
    """Another extension already has this port or number."""


class UnknownExtension(AudioSocketError):
    """No extension has this id or number."""


class UnknownCall(AudioSocketError):
    """No call, or no live leg of it, has this UUID."""


class ReturnTaken(AudioSocketError):
    """The call is in no state to be given, or to lose, a return call now."""


class ReturnUnavailable(AudioSocketError):
    """Nobody can place return calls now: not configured, or the backend is away."""


class UnknownAttempt(AudioSocketError):
    """No attempt to reach a resident that somebody else reports on has this id, or it has ended already."""


class InvalidReport(AudioSocketError):
    """An attempt is said to have ended in a way that there is none."""


class InvalidNumber(AudioSocketError):
    """What should be called is not a number, or there are none or too many."""


class SourceUnavailable(AudioSocketError):
    """The database is not configured, cannot be reached, or answered with an error."""


class WorkerGone(AudioSocketError):
    """The process that has the answer is being replaced or does not answer; its successor will."""


class InvalidSound(AudioSocketError):
    """A sound file cannot be read or is not a WAV this project can convert."""


class UnknownApp(AudioSocketError):
    """No app has this name; the text lists those that exist."""


class LocalProtocolError(AudioSocketError):
    """We were about to send something Asterisk does not accept: a bug on our side."""

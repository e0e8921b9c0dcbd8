"""The errors that this project raises; any other exception is a bug."""

from __future__ import annotations


class AudioSocketError(Exception):
    """The base class; the text of these errors may be shown to an operator."""


class InvalidSetting(AudioSocketError):
    """A setting with an unusable value; the text names the setting and the value."""


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
    """A row, file entry or request body that does not describe an extension.

    ``field`` is the JSON name of the wrong key (``porta_ia``), or empty when the whole entry is wrong.
    """

    def __init__(self, message: str, field: str = "") -> None:
        super().__init__(message)
        self.field = field


class ExtensionTaken(AudioSocketError):
    """Another extension already has this port or number."""


class InvalidProxyHeader(AudioSocketError):
    """A connection from PROXY_PEERS that does not begin with a PROXY header; the text says what is wrong."""


class UnknownExtension(AudioSocketError):
    """No extension has this id or number."""


class UnknownCall(AudioSocketError):
    """No call, or no live leg of it, has this UUID."""


class ReturnTaken(AudioSocketError):
    """The state of the call does not allow to place, or to cancel, a return call now."""


class ReturnUnavailable(AudioSocketError):
    """Return calls cannot be placed now: no backend is configured, or it cannot be reached."""


class CommandRefused(AudioSocketError):
    """A command for a call was not carried out; the text may be shown to a bot."""


class InvalidCommand(CommandRefused):
    """There is no such command, or its arguments are not valid."""


class TelephonyUnavailable(AudioSocketError):
    """Asterisk did not do what was asked with a channel; the text says why."""


class UnknownAttempt(AudioSocketError):
    """No attempt of a return call that a webhook reports on has this id, or it has ended already."""


class InvalidReport(AudioSocketError):
    """The reported end of an attempt is not one of the known ends."""


class InvalidNumber(AudioSocketError):
    """A number that cannot be dialled, no number, or too many of them."""


class ChangeNotAllowed(AudioSocketError):
    """The database answers, but its user may not make this change."""


class SourceUnavailable(AudioSocketError):
    """The database is not configured, cannot be reached, or answered with an error."""


class WorkerGone(AudioSocketError):
    """The worker process that has the answer is being replaced or does not answer; try again."""


class NodeUnavailable(AudioSocketError):
    """Another node of the fleet that had to be asked cannot be reached, or refuses to answer."""


class NodeTimeout(NodeUnavailable):
    """Another node of the fleet that had to be asked has not answered in time."""


class InvalidSound(AudioSocketError):
    """A sound file that cannot be read or converted."""


class UnreadableFormat(InvalidSound):
    """A WAV file with a compression that is not read; another program can convert it."""


class UnknownApp(AudioSocketError):
    """No app has this name; the text lists those that exist."""


class LocalProtocolError(AudioSocketError):
    """An attempt to send what Asterisk does not accept: a bug on our side."""


def describe_cause(error: Exception) -> str:
    """Return what the system reports, or what is wrong with the text; never the text, which may be a secret."""
    if isinstance(error, UnicodeDecodeError):
        return f"byte {error.start + 1} is not UTF-8"
    return getattr(error, "strerror", None) or str(error)

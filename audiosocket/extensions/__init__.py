"""An extension as a value: parsing, validation across rows, reconciliation plan."""

from audiosocket.extensions.model import Extension, Role

__all__ = ["Extension", "Role"]

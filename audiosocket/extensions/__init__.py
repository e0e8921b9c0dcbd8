"""An extension as a value: parsing, validation across rows, reconciliation plan."""

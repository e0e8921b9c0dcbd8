"""Puts the parts of one process together, and implements `Control` over them."""

"""Spoken prompts: the sounds that are shipped, where an operator replaces them, and what plays them on a leg."""

"""Doubles and fixtures that the tests share; imports no test module."""

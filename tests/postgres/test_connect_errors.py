"""`audiosocket.postgres.connect_errors`: libpq's texts; test_tls.py has them from libpq itself."""

from __future__ import annotations

import pytest

from audiosocket.postgres.connect_errors import connect_error


@pytest.mark.parametrize(
    ("text", "setting"),
    [
        ("server does not support SSL, but SSL was required", "DB_SSLMODE=prefer"),
        ("SSL error: certificate verify failed", "DB_SSLROOTCERT"),
        ("SSL error: provider signature failure", "DB_SSLROOTCERT"),  # an authority of the same name
        ('server certificate for "db" (and 1 other name) does not match host name "x"', "DB_HOST"),
        ('root certificate file "/none" does not exist', "DB_SSLROOTCERT"),
        ('could not read root certificate file "/etc/ca": no certificate or crl found', "PEM"),
        ('no pg_hba.conf entry for host "192.0.2.1", user "a", database "b", no encryption', "DB_SSLMODE=require"),
        ('no pg_hba.conf entry for host "192.0.2.1", user "a", database "b", SSL off', "DB_SSLMODE=require"),
    ],
)
def test_the_setting_is_named_after_the_text(text: str, setting: str) -> None:
    said = connect_error(text)
    assert said.startswith(f"{text} (")
    assert setting in said


def test_other_texts_are_as_they_were() -> None:
    for text in ("Connection refused", 'no pg_hba.conf entry for host "::1", user "a", SSL encryption'):
        assert connect_error(text) == text

"""Which setting a refused connection to PostgreSQL is about: libpq's texts, with what to do added.

The texts are those of libpq 13 to 17 (fe-secure-openssl.c, fe-secure-common.c, fe-connect.c, auth.c).
"""

from __future__ import annotations

import re

_ADVICE = tuple(
    (re.compile(pattern), advice)
    for pattern, advice in (
        (
            "server does not support SSL",
            "DB_SSLMODE asks for TLS: set ssl = on in postgresql.conf, or DB_SSLMODE=prefer",
        ),
        (
            "certificate verify failed|unable to get local issuer certificate|signature failure",
            "no authority in DB_SSLROOTCERT has signed the server's certificate, or it is not valid now",
        ),
        (
            "server certificate for .* does not match host name|could not get server's host name",
            "DB_SSLMODE=verify-full: set DB_HOST to a name that is in the certificate",
        ),
        (
            "root certificate file .* does not exist|could not get home directory to locate root certificate",
            "DB_SSLMODE verifies the server: name the file of its authority in DB_SSLROOTCERT",
        ),
        (
            "could not read root certificate file|could not load system root certificate",
            "DB_SSLROOTCERT must name a readable file of certificates in PEM form",
        ),
        (
            "no pg_hba.conf entry .*(no encryption|SSL off)",
            "the server may accept TLS only: set DB_SSLMODE=require",
        ),
    )
)


def connect_error(text: str) -> str:
    """Return libpq's error ``text``, one line, with the setting that it is about where that is known."""
    for pattern, advice in _ADVICE:
        if pattern.search(text):
            return f"{text} ({advice})"
    return text

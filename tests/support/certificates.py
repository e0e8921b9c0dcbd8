"""Certificates for TLS on loopback: an authority, and servers that it vouches for."""

from __future__ import annotations

import datetime
import ipaddress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLContextFactory
from zope.interface import implementer

_DAY = datetime.timedelta(days=1)
_HOUR = datetime.timedelta(hours=1)


@implementer(IOpenSSLContextFactory)
class ServerTLS:
    """What ``listenSSL`` needs of a server's key and certificate."""

    def __init__(self, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> None:
        secret = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        #: Key and certificate as text, as web servers read them from a file.
        self.pem = secret + certificate.public_bytes(serialization.Encoding.PEM)
        self._context = SSL.Context(SSL.TLS_SERVER_METHOD)
        self._context.use_privatekey(key)
        self._context.use_certificate(certificate)

    def getContext(self) -> SSL.Context:
        """Return the settings of a connection."""
        return self._context


class Authority:
    """A certificate authority, named after ``folder``; `path` is its certificate as a PEM file there."""

    def __init__(self, folder: Path) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, f"authority {folder.name}")])
        basic = x509.BasicConstraints(ca=True, path_length=0)
        builder = self._builder(self._name, self._key.public_key()).add_extension(basic, critical=True)
        self._certificate = builder.sign(self._key, hashes.SHA256())
        self.path = folder / "authority.pem"
        self.path.write_bytes(self._certificate.public_bytes(serialization.Encoding.PEM))

    def server(self, host: str, *, expired: bool = False) -> ServerTLS:
        """Return the TLS settings of a server whose certificate names ``host``, a name or an IP address."""
        key = ec.generate_private_key(ec.SECP256R1())
        try:
            name: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(host))
        except ValueError:
            name = x509.DNSName(host)
        builder = self._builder(x509.Name([]), key.public_key(), -_HOUR if expired else _DAY)
        builder = builder.add_extension(x509.SubjectAlternativeName([name]), critical=True)
        return ServerTLS(key, builder.sign(self._key, hashes.SHA256()))

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey, valid: datetime.timedelta = _DAY
    ) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.timezone.utc)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _DAY)
            .not_valid_after(now + valid)
        )

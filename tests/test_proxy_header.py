"""The PROXY header: both versions, every split, and what is not one."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audiosocket.errors import InvalidProxyHeader
from audiosocket.proxy_header import (
    MAX_LENGTH,
    MAX_LINE,
    SIGNATURE,
    ProxyHeader,
    looks_like_header,
    parse_header,
)

ADDRESSES = st.one_of(
    st.tuples(st.ip_addresses(v=4), st.ip_addresses(v=4)), st.tuples(st.ip_addresses(v=6), st.ip_addresses(v=6))
)
PORTS = st.integers(0, 65_535)


def line(addresses: tuple[IPv4Address | IPv6Address, ...], port: int) -> bytes:
    caller, node = addresses
    return f"PROXY TCP{caller.version} {caller} {node} {port} 8101\r\n".encode()


def binary(
    addresses: tuple[IPv4Address | IPv6Address, ...], port: int, extra: bytes = b"", command: int = 0x21
) -> bytes:
    caller, node = addresses
    body = caller.packed + node.packed + port.to_bytes(2, "big") + (8101).to_bytes(2, "big") + extra
    family = 0x11 if caller.version == 4 else 0x21
    return SIGNATURE + bytes((command, family)) + len(body).to_bytes(2, "big") + body


PAIR = (ip_address("203.0.113.7"), ip_address("10.0.0.31"))


@given(ADDRESSES, PORTS, st.binary(max_size=100), st.binary(max_size=40), st.booleans())
def test_the_caller_is_found_at_every_split(
    addresses: tuple[IPv4Address | IPv6Address, ...], port: int, extra: bytes, after: bytes, text: bool
) -> None:
    header = line(addresses, port) if text else binary(addresses, port, extra)
    for end in range(len(header)):
        assert parse_header(header[:end]) is None
        assert looks_like_header(header[:end]) is (end > 0)
    assert parse_header(header + after) == ProxyHeader(len(header), (str(addresses[0]), port))


@pytest.mark.parametrize(
    "header",
    [
        binary(PAIR, 5, command=0x20),
        SIGNATURE + b"\x20\x00\x00\x00",
        SIGNATURE + b"\x21\x00\x00\x03abc",
        b"PROXY UNKNOWN\r\n",
        b"PROXY UNKNOWN ffff:: ffff:: 1 2\r\n",
    ],
    ids=["LOCAL with addresses", "LOCAL", "unspecified", "UNKNOWN", "UNKNOWN with addresses"],
)
def test_a_balancer_that_speaks_for_itself_names_no_caller(header: bytes) -> None:
    assert parse_header(header + b"\x01") == ProxyHeader(len(header), None)


@pytest.mark.parametrize(
    "header",
    [
        b"\x01\x00\x10",
        b"GET / HTTP/1.1\r\n",
        b"PROXX",
        SIGNATURE[:11] + b"x",
        SIGNATURE + b"\x11\x11\x00\x0c",
        SIGNATURE + b"\x22\x11\x00\x0c",
        SIGNATURE + b"\x21\x11" + (MAX_LENGTH + 1).to_bytes(2, "big"),
        SIGNATURE + b"\x21\x11\x00\x0b" + bytes(11),
        SIGNATURE + b"\x21\x12\x00\x0c" + bytes(12),
        SIGNATURE + b"\x21\x31\x00\xd8" + bytes(216),
        b"PROXY \r\n",
        b"PROXY TCP4\r\n",
        b"PROXY TCP5 1.2.3.4 1.2.3.4 1 2\r\n",
        b"PROXY TCP4 1.2.3.4 ::1 1 2\r\n",
        b"PROXY TCP4 1.2.3.400 1.2.3.4 1 2\r\n",
        b"PROXY TCP4 1.2.3.4 1.2.3.4 65536 2\r\n",
        b"PROXY TCP4 1.2.3.4 1.2.3.4 1 -2\r\n",
        b"PROXY TCP4 1.2.3.4  1.2.3.4 1 2\r\n",
        b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n",
        b"PROXY TCP4 " + b"1" * MAX_LINE,
    ],
)
def test_what_cannot_become_a_header_is_refused(header: bytes) -> None:
    with pytest.raises(InvalidProxyHeader, match=r"PROXY (header|line)"):
        parse_header(header)


@given(st.one_of(st.binary(max_size=200), st.binary(max_size=200).map(SIGNATURE.__add__)))
def test_any_bytes_are_a_header_or_refused_and_never_anything_else(data: bytes) -> None:
    try:
        found = parse_header(data)
    except InvalidProxyHeader:
        return
    if found is None:
        assert len(data) < 16 + MAX_LENGTH
    else:
        assert found.length <= len(data)


@given(st.text(max_size=MAX_LINE))
def test_a_line_of_any_text_is_a_header_or_refused(text: str) -> None:
    try:
        found = parse_header(f"PROXY {text}\r\n".encode())
    except InvalidProxyHeader:
        return
    assert found is not None


def test_no_audiosocket_message_looks_like_a_header() -> None:
    assert not looks_like_header(b"")
    for kind in (0x00, 0x01, 0x03, 0x10, 0x18, 0xFF):
        assert not looks_like_header(bytes((kind, 0, 16)))

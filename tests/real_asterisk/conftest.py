"""Fixtures of a real Asterisk; without one the tests that need it are deselected, with the reason."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import defer, reactor

from tests.real_asterisk import chroot, handset, product, shipped
from tests.real_asterisk.rig import Asterisk
from tests.real_asterisk.telephone import Telephone

_SETTING = (
    "AUDIOSOCKET_ASTERISK"  # "build": build the chroot if need be; "require": and fail where that is impossible
)
_left_out: list[str] = []


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "asterisk: needs a real Asterisk in a chroot (root only; make asterisk-tests)"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    mine = [item for item in items if item.get_closest_marker("asterisk")]
    if not mine or os.environ.get(_SETTING):
        return
    reason = chroot.why_not_run()
    if reason is None and not chroot.is_built(chroot.tree_path(os.environ)):
        reason = "its chroot is not built yet: make asterisk-tests"
    if reason is not None:
        items[:] = [item for item in items if item not in mine]
        config.hook.pytest_deselected(items=mine)
        _left_out.append(f"real Asterisk: {len(mine)} tests deselected: {reason}")


def pytest_report_collectionfinish() -> list[str]:
    return _left_out


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Any:
    report = yield
    if report.failed:
        for name in ("asterisk", "server"):
            thing = getattr(item, "funcargs", {}).get(name)
            if thing is not None:
                report.sections.append((name, thing.report()))
    return report


def _wait(coroutine: Any) -> Any:
    return pytest_twisted.blockon(defer.ensureDeferred(coroutine))


@pytest.fixture(scope="session")
def asterisk_tree() -> Path:
    """The chroot, built if it is missing and the environment asks for it."""
    try:
        return chroot.ensure(os.environ)
    except chroot.Unavailable as error:
        if os.environ.get(_SETTING) == "require":
            pytest.fail(f"no real Asterisk: {error}", pytrace=False)
        pytest.skip(f"no real Asterisk: {error}")


@pytest.fixture
def asterisk(asterisk_tree: Path, tmp_path: Path) -> Iterator[Asterisk]:
    """A new Asterisk, with the shipped AMI and ARI accounts beside the tests' own.

    After the test it must have no channel and must have logged no unusual error.
    """
    asterisk = Asterisk(reactor, asterisk_tree, tmp_path / "asterisk")
    asterisk.configure(shipped.files(asterisk.ports, asterisk.secret))
    _wait(asterisk.start())
    try:
        yield asterisk
        if asterisk.running:
            _wait(asterisk.no_channels())
            complaints = _wait(asterisk.log_errors())
            assert not complaints, "Asterisk logged:\n" + "\n".join(complaints)
        else:
            pytest.fail("Asterisk ended during the test")
    finally:
        _wait(asterisk.stop())


def _serving(directories: Path) -> Iterator[Callable[..., Any]]:
    running: list[product.Server] = []

    async def start(app: str = "echo", rows: int = 1, **settings: str) -> product.Server:
        directory = directories / f"server{len(running)}"
        directory.mkdir(exist_ok=True)  # a test may have put an app there
        running.append(await product.start_server(reactor, directory, app, rows, **settings))
        return running[-1]

    yield start
    for server in running:
        _wait(server.stop())
    broken = [line for server in running for line in server.log() if " - CRITICAL - " in line]
    assert not broken, "the server logged:\n" + "\n".join(broken)


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Start the server: ``server = await serve(app="echo", PLAY_FILE="…")``; it is stopped after the test."""
    yield from _serving(tmp_path)


@pytest.fixture(scope="module")
def lasting_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[product.Server]:
    """A server with the app echo, shared by all tests of a module."""
    for serve in _serving(tmp_path_factory.mktemp("lasting")):
        yield _wait(serve())


@pytest.fixture
def server(serve: Callable[..., Any]) -> product.Server:
    """A server with the app echo on both ports."""
    server: product.Server = _wait(serve())
    return server


@pytest.fixture
def telephone(asterisk: Asterisk) -> Iterator[Callable[[bytes], Telephone]]:
    """Create a SIP telephone that sends a sound: ``telephone(sound)``; it is closed after the test."""
    used: list[Telephone] = []

    def pick(said: bytes) -> Telephone:
        used.append(Telephone(reactor, asterisk, said))
        return used[-1]

    yield pick
    for telephone in used:
        _wait(telephone.close())


@pytest.fixture
def pick_up(asterisk: Asterisk) -> Callable[..., Any]:
    """Place a call: ``handset, channel_id = await pick_up(rate=8000, context=…, extension=…)``."""

    def call(rate: int = 8000, **call: Any) -> Any:
        return handset.pick_up(reactor, asterisk.originate, rate, **call)

    return call

"""Secrets in files: read at each use, in a thread; what cannot be read is named, never repeated."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock

from audiosocket.errors import InvalidSetting
from audiosocket.outbound.secret import READ_SECONDS, SecretFile, current, secret_from
from tests.support.reactor import reactor


def outcome(secret: Any) -> list[Any]:
    """Filled when the secret is known: with it, or with the error as text."""
    seen: list[Any] = []
    Deferred.fromCoroutine(current(secret)).addCallbacks(seen.append, lambda why: seen.append(str(why.value)))
    return seen


def test_a_text_is_itself() -> None:
    assert outcome(secret_from("AMI_SECRET", "text", "", Clock())) == ["text"]


def test_a_file_is_read_at_each_use(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    secret = SecretFile("AMI_SECRET_FILE", str(path), Clock(), maybeDeferred)
    path.write_text("the first \r\nanother line\n")
    assert outcome(secret) == ["the first "]
    path.write_text("the second")
    assert outcome(secret) == ["the second"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "cannot be read: No such file or directory"),
        (b"\n", "the first line of"),
        (b"  \nsegredo", "is empty; write the secret there"),
        (b"segredo \xff", "byte 9 is not UTF-8"),
    ],
)
def test_what_cannot_be_read_is_named_and_not_repeated(tmp_path: Path, content: bytes | None, reason: str) -> None:
    path = tmp_path / "secret"
    if content is not None:
        path.write_bytes(content)
    (problem,) = outcome(SecretFile("AMI_SECRET_FILE", str(path), Clock(), maybeDeferred))
    assert problem.startswith("AMI_SECRET_FILE: ")
    assert reason in problem
    assert "segredo" not in problem
    path.write_bytes(b"good")
    assert outcome(SecretFile("AMI_SECRET_FILE", str(path), Clock(), maybeDeferred)) == ["good"]


def test_a_disk_that_does_not_answer_costs_one_thread_and_a_bounded_time() -> None:
    clock, readings = Clock(), list[Deferred[Any]]()

    def never(work: Callable[..., Any], *args: Any) -> Deferred[Any]:
        readings.append(Deferred())
        return readings[-1]

    secret = SecretFile("ARI_PASSWORD_FILE", "password", clock, never)
    first, second = outcome(secret), outcome(secret)
    clock.advance(READ_SECONDS)
    assert first == second == ["ARI_PASSWORD_FILE was not read within 5 s"]
    third = outcome(secret)
    assert len(readings) == 1
    readings[0].callback("late")
    assert third == ["late"]
    assert clock.getDelayedCalls() == []


async def test_it_is_read_in_a_thread(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("from a thread\n")
    assert await current(secret_from("AMI_SECRET", "", str(path), reactor)) == "from a thread"
    with pytest.raises(InvalidSetting, match=r"AMI_SECRET_FILE: .* cannot be read"):
        await current(secret_from("AMI_SECRET", "", str(tmp_path / "none"), reactor))

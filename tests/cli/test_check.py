"""``audiosocket check`` and ``twistd audiosocket --check``: what they find, and that they change nothing."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from audiosocket.cli.__main__ import run
from audiosocket.cli.check import check
from audiosocket.cli.findings import Finding
from audiosocket.prompts.library import SHIPPED
from tests.support.server_process import checkout_environment, install_app

OK = {"VISITOR_APP": "echo", "RESIDENT_APP": "echo"}


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Use an empty directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def findings(**settings: str) -> list[Finding]:
    values = {**OK, **settings}
    return check(values, values, lambda: values)


def bad(**settings: str) -> list[str]:
    return [one.what for one in findings(**settings) if one.level == "bad"]


def test_a_fresh_install_is_good_and_nothing_is_created(alone: Path) -> None:
    assert {one.level for one in findings()} == {"ok"}
    assert {one.level for one in check({}, {}, dict)} == {"ok"}
    assert list(alone.iterdir()) == []


def test_every_wrong_setting_is_named_at_once() -> None:
    found = bad(API_PORT="99999", DB_PORT="x", LOG_LEVEL="shout", VISITOR_APP="ecko")
    assert [sentence.partition(":")[0] for sentence in found] == [
        "DB_PORT",
        "API_PORT",
        "LOG_LEVEL",
        "VISITOR_APP",
    ]
    assert "'ecko' is no app; did you mean 'echo'? Known apps: " in found[-1]


def test_a_combination_that_cannot_be_used_stops_the_look_at_files() -> None:
    found = findings(GATE_WEBHOOK_URL="http://127.0.0.1:1/")
    assert [one.level for one in found] == ["bad", "warn"]
    assert found[0].what.startswith("GATE_WEBHOOK_SECRET: ")


def test_a_misspelt_setting_is_a_warning() -> None:
    assert Finding("warn", "the setting DB_HOTS is unknown", "did you mean DB_HOST?") in findings(DB_HOTS="x")


def test_files_that_cannot_be_used(alone: Path) -> None:
    data = alone / "data"
    (data / "prompts" / "pt_BR").mkdir(parents=True)
    (data / "apps.toml").write_text("[extension.1000]\nvisitor = 'ecko'\n")
    (data / "ramais_config.json").write_text(
        json.dumps({"ramais": [{"id": 1, "ramal_ia": "1", "porta_ia": 70000}]})
    )
    (data / "apartamentos.json").write_text("[{]")
    (alone / "logs").write_text("")
    found = bad(API_TOKENS_FILE="tokens", DB_PASSWORD_FILE="password")
    assert any(one.startswith(f"{data / 'apps.toml'}, line 2: ") for one in found)
    assert any("ramais_config.json: " in one and "70000" in one for one in found)
    assert any("apartamentos.json" in one for one in found)
    assert f"LOG_DIR: {str(alone / 'logs')!r} is not a directory" in found
    assert any(one.startswith("API_TOKENS_FILE: (not shown) cannot be read") for one in found)
    assert any(one.startswith("DB_PASSWORD_FILE: (not shown) cannot be read") for one in found)
    assert sorted(path.name for path in alone.iterdir()) == ["data", "logs"]


def test_a_prompt_that_no_call_will_hear_is_a_warning(alone: Path) -> None:
    own = alone / "data" / "prompts" / "en"
    own.mkdir(parents=True)
    name = next((SHIPPED / "en").glob("*.wav")).name
    (own / name).write_text("no sound")
    assert [one.level for one in findings() if "the shipped prompt is played" in one.what] == ["warn"]


def test_placeholders_of_the_file_of_apps_are_filled(alone: Path) -> None:
    (alone / "data").mkdir()
    text = "[extension.1000]\nvisitor = 'twilio'\n[extension.1000.twilio]\nurl = 'ws://127.0.0.1/${BOT}'\n"
    (alone / "data" / "apps.toml").write_text(text)
    assert bad(BOT="door") == []
    (rejected,) = bad()
    assert "BOT" in rejected


@pytest.mark.parametrize(("app", "status"), [("echo", 0), ("ecko", 1)])
def test_the_command_exits_with_0_or_1_and_has_json(app: str, status: int, alone: Path) -> None:
    (alone / ".env").write_text(f"VISITOR_APP={app}\nRESIDENT_APP=echo\n")
    out = io.StringIO()
    assert run(["check"], {}, out) == status
    assert out.getvalue().count("\n") == len(out.getvalue().splitlines())
    assert ("bad   VISITOR_APP: 'ecko'" in out.getvalue()) is bool(status)
    out = io.StringIO()
    assert run(["check", "--json"], {}, out) == status
    answer = json.loads(out.getvalue())
    assert answer["status"] == ("error" if status else "success")
    assert {*answer["findings"][0]} == {"level", "what", "cure"}


def test_an_env_file_that_cannot_be_read_is_the_finding_without_its_content(alone: Path) -> None:
    (alone / ".env").write_text("API_TOKEN='it's'\n")
    out = io.StringIO()
    assert run(["check"], {}, out) == 1
    assert out.getvalue().startswith("bad   --env-file: line 1 of ")
    assert "it's" not in out.getvalue()


def twistd(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from twisted.scripts.twistd import run; run()", *arguments],
        env=checkout_environment({**OK, **settings}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.deadline(120)
def test_twistd_checks_too_and_starts_nothing(alone: Path) -> None:
    good = twistd("-n", "audiosocket", "--check")
    assert (good.returncode, good.stderr) == (0, "")
    assert good.stdout.startswith("ok    the settings can be used\n")
    wrong = twistd("-n", "audiosocket", "--check", "--api-port=99999")
    assert wrong.returncode == 1
    assert "bad   API_PORT: '99999' is not a TCP port" in wrong.stdout
    assert list(alone.iterdir()) == []
    assert twistd("audiosocket", "--reach").returncode == 1
    version = twistd("audiosocket", "--version")
    assert version.returncode == 0
    assert version.stdout.startswith("audiosocket ")
    assert ", Twisted " in version.stdout


@pytest.mark.deadline(60)
def test_an_app_that_cannot_be_imported(alone: Path) -> None:
    install_app(alone, "broken = broken_app:App", "import nothing_of_that_name\n")
    checked = subprocess.run(
        [sys.executable, "-m", "audiosocket.cli", "check"],
        env=checkout_environment({**OK, "VISITOR_APP": "broken"}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert checked.returncode == 1
    assert "VISITOR_APP: the app 'broken' of " in checked.stdout
    assert "cannot be imported: ModuleNotFoundError" in checked.stdout

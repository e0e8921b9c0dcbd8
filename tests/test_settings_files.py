"""The readers of settings files: what is read, what is filled in, and what is rejected."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audiosocket.errors import InvalidSetting
from audiosocket.settings_files import is_public, merge, read_env_file


@pytest.fixture
def env_file(tmp_path: Path) -> Path:
    return tmp_path / ".env"


def rejection(path: Path, environment: dict[str, str] | None = None) -> str:
    with pytest.raises(InvalidSetting) as caught:
        read_env_file(path, environment or {})
    return str(caught.value)


# lines


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("API_TOKEN='hush's'\n", 1),
        ("\n# note\n\nAPI_TOKEN='hush's'\nAPI_PORT=1\n", 4),
        ('API_PORT=1\nAPI_TOKEN="hush\n', 2),
        ("API_PORT=1\nAPI_TOKEN='hush' hush\n", 2),
        ("hush\n", 1),
        ("API_PORT=1\n\nhush\n", 3),
        ("export hush\n", 1),
        ("=hush\n", 1),
        ("DB PASSWORD=hush\n", 1),
    ],
)
def test_a_line_that_cannot_be_read_is_an_error_with_its_number_and_without_its_content(
    env_file: Path, text: str, line: int
) -> None:
    env_file.write_text(text)
    shown = rejection(env_file)
    assert f"line {line} of '{env_file}'" in shown
    assert "hush" not in shown


def test_a_setting_inside_the_quotes_of_another_is_an_error(env_file: Path) -> None:
    env_file.write_text("DB_NAME='hush\nAPI_TOKEN=hush\nDB_USER='\n")
    shown = rejection(env_file)
    assert "line 2" in shown
    assert "line 1 opens" in shown
    assert "hush" not in shown


def test_a_value_of_several_lines_is_kept(env_file: Path) -> None:
    env_file.write_text('OTHER_KEY="-----BEGIN\nQUJD=\n-----END"\nAPI_PORT=1\n')
    assert read_env_file(env_file, {}) == {"OTHER_KEY": "-----BEGIN\nQUJD=\n-----END", "API_PORT": "1"}


# variables


@pytest.mark.parametrize(
    ("text", "environment", "expected"),
    [
        ("BANCO=db1\nDB_HOST=${BANCO}", {}, "db1"),
        ("DB_HOST=${BANCO}\nBANCO=db1", {}, "db1"),
        ("DB_HOST=${BANCO}", {"BANCO": "db2"}, "db2"),
        ("BANCO=db1\nDB_HOST=${BANCO}", {"BANCO": "db2"}, "db2"),
        ("BANCO=db1\nDB_HOST=${BANCO}", {"BANCO": ""}, "db1"),
        ("DB_HOST='${BANCO}'", {"BANCO": "db2"}, "db2"),
        ("DB_HOST=a-${BANCO}.${REDE:-example}", {"BANCO": "db2"}, "a-db2.example"),
        ("DB_HOST=${BANCO:-}x", {}, "x"),
        ("BANCO=${REDE}1\nREDE=db\nDB_HOST=${BANCO}", {}, "db1"),
        ("DB_HOST=${DB_HOST:-db3}", {}, "db3"),
        ("DB_HOST=pa$$word$1$BANCO", {"BANCO": "x"}, "pa$$word$1$BANCO"),
        ("DB_HOST=$(x){y}", {}, "$(x){y}"),
    ],
)
def test_a_variable_is_filled_from_the_environment_else_from_the_file(
    env_file: Path, text: str, environment: dict[str, str], expected: str
) -> None:
    env_file.write_text(text)
    assert read_env_file(env_file, environment)["DB_HOST"] == expected


@pytest.mark.parametrize("text", ["X=1\nDB_PASSWORD=a${hush}b", "X=1\nDB_PASSWORD=${DB_PASSWORD}"])
def test_an_unknown_variable_is_an_error_that_does_not_name_it(env_file: Path, text: str) -> None:
    """What looks like a name may be a part of a password."""
    env_file.write_text(text)
    shown = rejection(env_file)
    assert "line 2" in shown
    assert "DB_PASSWORD" in shown
    assert "hush" not in shown


def test_variables_that_refer_to_each_other_are_an_error(env_file: Path) -> None:
    env_file.write_text("A=${B}\nB=${A}\n")
    assert "line 1" in rejection(env_file)


@given(st.text(st.characters(codec="utf-8", exclude_characters="\r\x00"), max_size=60))
def test_any_text_is_read_or_rejected(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "any.env"
    path.write_text(text, encoding="utf-8", newline="")
    try:
        values = read_env_file(path, {})
    except InvalidSetting as error:
        values = {"error": str(error)}
    assert all(isinstance(value, str) for value in values.values())
    assert values.get("error", "--env-file: line ").startswith("--env-file: line ")


# merge


def test_merge_prefers_the_later_source_unless_its_value_is_blank() -> None:
    assert merge({"A": "1", "B": "2"}, {"B": "", "C": "3"}) == {"A": "1", "B": "2", "C": "3"}
    assert merge({"A": "1", "B": "2"}, {"A": " \t", "B": "4"}) == {"A": "1", "B": "4"}


@pytest.mark.parametrize(("mode", "public"), [(0o600, False), (0o640, False), (0o644, True)])
def test_a_file_that_others_can_read_is_noticed(tmp_path: Path, mode: int, public: bool) -> None:
    path = tmp_path / ".env"
    assert not is_public(path)
    path.write_text("API_PORT=1\n")
    path.chmod(mode)
    assert is_public(path) is public

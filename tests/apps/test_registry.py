"""Apps by name: which exist, where they come from, and the errors for those that cannot be used."""

from __future__ import annotations

import configparser
import importlib
import re
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint, distributions
from pathlib import Path

import pytest
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent

from audiosocket.apps import registry
from audiosocket.apps.echo import Echo
from audiosocket.apps.play import Play
from audiosocket.errors import UnknownApp
from audiosocket.interfaces import App
from audiosocket.settings import Settings
from tests.support.fake_leg import FakeLeg, app_context

ROOT = Path(__file__).parents[2]
Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Install distributions with entry points, and modules; hide those installed in this environment."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def entry_points(group: str) -> list[EntryPoint]:
        installed = distributions(path=[str(tmp_path)])
        return [entry for each in installed for entry in each.entry_points if entry.group == group]

    monkeypatch.setattr(registry, "entry_points", entry_points)

    def installed(name: str, entries: dict[str, str], **modules: str) -> None:
        info = tmp_path / f"{name.replace('-', '_')}-1.5.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.5\n")
        lines = "".join(f"{key} = {value}\n" for key, value in entries.items())
        (info / "entry_points.txt").write_text(f"[audiosocket.apps]\n{lines}")
        for module, source in modules.items():
            (tmp_path / f"{module}.py").write_text(source)
        importlib.invalidate_caches()

    yield installed
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", "")).startswith((str(tmp_path), str(ROOT / "examples"))):
            del sys.modules[name]


APP = """
from audiosocket.interfaces import App

class {0}(App):
    def __init__(self, context):
        self.context = context
"""


def problem(spec: str) -> str:
    with pytest.raises(UnknownApp) as caught:
        registry.load(spec)
    return str(caught.value)


class TestNames:
    def test_are_loaded_in_order(self) -> None:
        assert registry.load("play+echo") == (("play", Play), ("echo", Echo))
        assert registry.load(" echo + play ") == (("echo", Echo), ("play", Play))

    def test_of_the_defaults_exist(self) -> None:
        settings = Settings.parse({})
        for spec in (settings.visitor_app, settings.resident_app):
            assert registry.load(spec)

    @pytest.mark.parametrize("spec", ["", " ", "echo+", "+echo", "play++echo"])
    def test_that_are_blank_are_rejected(self, spec: str) -> None:
        assert f"{spec!r} has an empty name" in problem(spec)

    def test_that_are_repeated_are_rejected(self) -> None:
        assert problem("echo+play+echo") == "'echo+play+echo' names 'echo' twice; an app runs once on a leg"

    def test_that_are_unknown_are_rejected_with_a_list_of_the_known_ones(self, install: Install) -> None:
        install("acme-voices", {"robot": "robot:Robot"}, robot="raise AssertionError('imported without need')")
        assert problem("play+eccho").startswith(
            "'eccho' is no app; did you mean 'echo'? Known apps: asterisk_ws (built in), bridge (built in), "
        )
        assert problem("eccho").endswith("robot (from acme-voices 1.5)")
        assert registry.known()["robot"] == "acme-voices 1.5"
        assert registry.known()["echo"] == "built in"

    def test_make_the_apps_of_a_call(self) -> None:
        clock = Clock()
        for _, factory in registry.load("echo+loopback+play+record+silence"):
            app = factory(app_context(clock))
            assert isinstance(app, App)
            assert app is not factory(app_context(clock))


class TestPlugIns:
    def test_are_found_among_the_installed_distributions(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Without the isolation of ``install``: whatever else is installed here stays visible."""
        info = tmp_path / "acme_voices-1.5.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-voices\nVersion: 1.5\n")
        (info / "entry_points.txt").write_text("[audiosocket.apps]\nacme_robot = robot:Robot\n")
        monkeypatch.syspath_prepend(str(tmp_path))
        importlib.invalidate_caches()
        assert registry.known()["acme_robot"] == "acme-voices 1.5"

    def test_are_loaded_by_their_name(self, install: Install) -> None:
        install("acme-voices", {"robot": "robot:Robot"}, robot=APP.format("Robot"))
        (_, (name, factory)) = registry.load("echo+robot")
        app = factory(app_context(Clock()))
        assert (name, type(app).__name__) == ("robot", "Robot")

    def test_may_be_functions_or_take_no_context(self, install: Install) -> None:
        """The example in the documentation of `interfaces` has no ``__init__``."""
        source = (
            "from audiosocket.interfaces import App\nclass Plain(App):\n    pass\ndef make(): return Plain()\n"
        )
        install("acme-voices", {"plain": "plain:Plain", "made": "plain:make"}, plain=source)
        for _, factory in registry.load("plain+made"):
            assert type(factory(app_context(Clock()))).__name__ == "Plain"

    @pytest.mark.parametrize(
        ("value", "source", "message"),
        [
            (
                "broken:App",
                "import no_such_module_anywhere",
                "ModuleNotFoundError: No module named 'no_such_module",
            ),
            ("broken:App", "1 / 0", "ZeroDivisionError: division by zero"),
            ("broken:App", "def", "SyntaxError"),
            ("broken:Missing", "", "AttributeError"),
            ("missing_module:App", "", "ModuleNotFoundError"),
            ("broken:app", "app = 7", "is not a class or function but int"),
            ("broken:app", "def app(one, two): pass", "cannot be called with one argument"),
        ],
    )
    def test_that_cannot_be_used_are_rejected_with_the_reason(
        self, install: Install, value: str, source: str, message: str
    ) -> None:
        install("acme-voices", {"robot": value}, broken=source)
        text = problem("robot")
        assert text.startswith(f"the app 'robot' of acme-voices 1.5 ({value}) ")
        assert message in text
        assert "\n" not in text

    def test_do_not_replace_a_built_in_app(self, install: Install) -> None:
        install("acme-voices", {"echo": "robot:Robot"}, robot="raise AssertionError('imported without need')")
        with capturedLogs() as captured:
            assert registry.load("play+echo")[1] == ("echo", Echo)
        (warning,) = [formatEvent(event) for event in captured]
        assert "the app echo of acme-voices 1.5 is not used" in warning

    def test_of_this_distribution_are_the_built_in_ones(self, install: Install) -> None:
        install("audiosocket-server", {"echo": "audiosocket.apps.echo:Echo"})
        with capturedLogs() as captured:
            assert registry.load("echo") == (("echo", Echo),)
        assert captured == []

    def test_with_the_same_name_are_rejected(self, install: Install) -> None:
        install("acme-voices", {"robot": "robot:Robot"}, robot=APP.format("Robot"))
        install("zenith-voices", {"robot": "robot:Robot"})
        assert problem("robot") == (
            "the app 'robot' comes from acme-voices 1.5 and zenith-voices 1.5; uninstall all but one"
        )

    def test_that_are_classes_but_no_apps_are_rejected(self, install: Install) -> None:
        install("acme-voices", {"robot": "robot:Robot"}, robot="class Robot: pass\n")
        assert problem("robot") == (
            "the app 'robot' of acme-voices 1.5 (robot:Robot) is a class that is no subclass of "
            "audiosocket.interfaces.App"
        )


class TestProblems:
    def test_are_those_the_apps_know_of(self, tmp_path: Path) -> None:
        settings = Settings.parse({"PLAY_FILE": str(tmp_path / "missing.wav"), "RECORD_DIR": str(tmp_path)})
        apps = registry.load("play+record+echo")
        (found,) = registry.problems((*apps, *registry.load("play")), settings)
        assert found.startswith("PLAY_FILE: ")
        assert registry.problems(apps[1:], settings) == []

    def test_of_plug_ins_are_collected_and_their_failures_reported(self, install: Install) -> None:
        source = (
            "from audiosocket.interfaces import App\n"
            "class Picky(App):\n"
            "    @staticmethod\n"
            "    def check(settings): return [f'API_PORT: {settings.api_port} is unlucky']\n"
            "class Wrong(Picky):\n"
            "    @staticmethod\n"
            "    def check(settings): raise ZeroDivisionError('oops')\n"
        )
        install("acme-voices", {"picky": "picky:Picky", "wrong": "picky:Wrong"}, picky=source)
        assert registry.problems(registry.load("picky+wrong"), Settings.parse({})) == [
            "API_PORT: 8082 is unlucky",
            "the app 'wrong' could not be checked: ZeroDivisionError: oops",
        ]


class TestExample:
    """The package in ``examples/apps`` as pip would install it."""

    @pytest.fixture
    def leg(self, install: Install, monkeypatch: pytest.MonkeyPatch) -> FakeLeg:
        package = ROOT / "examples" / "apps" / "parrot"
        declared = configparser.ConfigParser()
        declared.read(package / "setup.cfg")
        entries = declared["options.entry_points"]["audiosocket.apps"].strip().splitlines()
        install(declared["metadata"]["name"], dict(entry.split(" = ") for entry in entries))
        monkeypatch.syspath_prepend(str(package))
        ((name, factory),) = registry.load("parrot")
        assert name == "parrot"
        clock = Clock()
        leg = FakeLeg(clock, factory(app_context(clock)))
        leg.join()
        return leg

    def test_plays_back_what_it_received(self, leg: FakeLeg) -> None:
        leg.run(3000, lambda turn: (turn + 1).to_bytes(2, "little") * 160)
        leg.run(3100, lambda turn: b"\1\1" * 160)
        assert leg.sent_pcm() == b"".join((turn + 1).to_bytes(2, "little") * 160 for turn in range(150))
        leg.run(6000, lambda turn: b"\2\2" * 160)
        assert leg.heard_ms == 6000

    def test_stops_when_a_key_is_pressed(self, leg: FakeLeg) -> None:
        leg.run(4000, lambda turn: b"\1\1" * 160)
        leg.press("5")
        heard = leg.heard_ms
        leg.run(1000, lambda turn: b"\1\1" * 160)
        assert leg.heard_ms == heard
        assert leg.sources()[-50:] == ["silence"] * 50
        assert leg.notes == [("app.note", {"app": "parrot", "interrupted_by": "5", "lost_ms": 3000 - heard})]
        leg.run(3000, lambda turn: b"\1\1" * 160)
        assert leg.heard_ms > heard


class TestOrder:
    #: Apps of a package of their own, not of ``audiosocket.apps``.
    BOTS = frozenset({"asterisk_ws", "openai_realtime", "twilio"})

    def test_every_app_has_a_test_module(self) -> None:
        for name in registry.BUILT_IN:
            here = Path(__file__).parent
            directory = here.parent / "bots" if name in self.BOTS else here
            assert (directory / f"test_{name}.py").is_file() or (here / name / "test_app.py").is_file(), name

    def test_every_app_is_in_its_own_module(self) -> None:
        apps = ROOT / "audiosocket" / "apps"
        modules = {path.stem for path in apps.glob("*.py")} - {"__init__", "registry"}
        packages = {path.parent.name for path in apps.glob("*/app.py")}
        assert modules | packages == set(registry.BUILT_IN) - self.BOTS

    def test_the_distribution_lists_the_same_apps(self) -> None:
        declared = configparser.ConfigParser()
        declared.read(ROOT / "setup.cfg")
        lines = declared["options.entry_points"][registry.GROUP].strip().splitlines()
        found = dict(line.split(" = ") for line in lines)
        assert found == {
            name: f"{factory.__module__}:{getattr(factory, '__name__', '')}"
            for name, factory in registry.BUILT_IN.items()
        }

    def test_apps_do_not_import_each_other(self) -> None:
        for name in set(registry.BUILT_IN) - self.BOTS:
            apps = ROOT / "audiosocket" / "apps"
            for path in [apps / f"{name}.py"] if (apps / f"{name}.py").is_file() else (apps / name).glob("*.py"):
                source = path.read_text().replace("``audiosocket.apps``", "")
                assert "audiosocket.apps" not in re.sub(rf"audiosocket\.apps\.{name}(\.| import)", "", source), (
                    name
                )

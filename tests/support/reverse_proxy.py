"""nginx and HAProxy with the configurations of ``examples/proxy``, in front of a server of the tests."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType

import pytest

from tests.support.ports import free_ports
from tests.support.server_process import ROOT, wait_until

_PATH = os.environ.get("PATH", "") + ":/usr/sbin"
_START_SECONDS = 20
#: What the packages of Debian have around the shipped file, in a directory of the test's own.
_NGINX = """
daemon off;
master_process off;
pid {directory}/pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    include {directory}/shipped;
}}
"""


class ReverseProxy:
    """One proxy, ``kind`` being "nginx" or "haproxy"; a context manager. ``port`` speaks TLS.

    ``pem`` is a file with key and certificate. The test is skipped where the program is not installed.
    """

    def __init__(self, kind: str, api_port: int, pem: Path) -> None:
        binary = shutil.which(kind, path=_PATH)
        if binary is None:
            pytest.skip(f"{kind} is not installed (Debian: {kind})")
        (self.port,) = free_ports(1)
        self._directory = Path(tempfile.mkdtemp(prefix="asproxy-"))
        shipped = next((ROOT / "examples" / "proxy").glob(f"{kind}.*")).read_text()
        text = _replaced(shipped, "127.0.0.1:8082", f"127.0.0.1:{api_port}")
        if kind == "nginx":
            text = _replaced(text, "listen 443 ssl", f"listen 127.0.0.1:{self.port} ssl")
            text = re.sub(r"/etc/ssl/audiosocket\.(pem|key)", str(pem), text)
            main = self._directory / "nginx.conf"
            main.write_text(_NGINX.format(directory=self._directory))
            self._command = [binary, "-e", "stderr", "-p", str(self._directory), "-c", str(main)]
        else:
            text = _replaced(text, "bind :443", f"bind 127.0.0.1:{self.port}")
            text = _replaced(text, "/etc/haproxy/audiosocket.pem", str(pem))
            self._command = [binary, "-db", "-f", str(self._directory / "shipped")]
        (self._directory / "shipped").write_text(text)
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> ReverseProxy:
        log = self._directory / "log"
        with log.open("wb") as out:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT
            )
        running = self._process
        if not wait_until(lambda: running.poll() is not None or self._accepts(), _START_SECONDS):
            raise AssertionError(f"the proxy does not listen:\n{log.read_text()}")
        if running.poll() is not None:
            raise AssertionError(f"the proxy has ended:\n{log.read_text()}")
        return self

    def _accepts(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(20)
        shutil.rmtree(self._directory, ignore_errors=True)


def _replaced(text: str, old: str, new: str) -> str:
    assert old in text, f"{old} is not in the shipped file"
    return text.replace(old, new)

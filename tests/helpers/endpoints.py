"""Services to tell: one that listens, and five kinds of dead ones. And processes that send to them."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

ANSWERING = ("refused", "500", "429")
DEAD = (*ANSWERING, "hanging", "trickle")


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        how = self.path.strip("/").split("/")[0]
        if how.isdigit():
            self.send_error(int(how))
        elif how == "hanging":
            self.server.over.wait(60)
        elif how == "trickle":
            self._trickle()
        else:
            self.server.messages.append(json.loads(body))
            self.send_response(200)
            self.end_headers()

    def _trickle(self) -> None:
        for byte in b"HTTP/1.1 200 OK\r\nX-Filling: 123456789012345678901234567890\r\n\r\n":
            if self.server.over.wait(1.0):
                return
            with suppress(OSError):
                self.wfile.write(bytes([byte]))
                self.wfile.flush()

    def log_message(self, *words: Any) -> None:
        """Say nothing."""


class Service(ThreadingHTTPServer):
    """Remembers the messages it was sent; addresses of its dead siblings are on the same port."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.messages: list[dict[str, Any]] = []
        self.over = threading.Event()
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    @property
    def url(self) -> str:
        return f"json://127.0.0.1:{self.server_port}/good"

    @property
    def dead(self) -> list[str]:
        here = f"json://127.0.0.1:{self.server_port}"
        return [f"json://127.0.0.1:{unused_port()}/", *(f"{here}/{how}" for how in DEAD[1:])]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Whoever was sending was killed: that is what these tests do."""

    def close(self) -> None:
        self.over.set()
        self.shutdown()
        self.server_close()

    def numbers(self) -> Counter[int]:
        """How often each event was told, by its number."""
        return Counter(number for message in self.messages for number in numbers_in(message["message"]))


def numbers_in(text: str) -> Iterator[int]:
    for first, last in re.findall(r"#(\d+)(?:-#(\d+))?", text.strip().splitlines()[-1]):
        yield from range(int(first), int(last or first) + 1)


@contextmanager
def service(port: int = 0) -> Iterator[Service]:
    serving = Service(port)
    try:
        yield serving
    finally:
        serving.close()


def unused_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def until(true: Callable[[], bool], seconds: float = 60.0) -> bool:
    """Wait for something to become true; whether it did."""
    end = time.monotonic() + seconds
    while not (done := true()) and time.monotonic() < end:
        time.sleep(0.05)
    return done


def kill_group(pid: int) -> None:
    """A sender and the processes it has forked, all at once."""
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    with suppress(ChildProcessError):
        os.waitpid(pid, 0)


def sender_of(folder: Path) -> int:
    # Empty while it changes hands.
    return int((folder / "outbox" / "sender.lock").read_text() or 0)

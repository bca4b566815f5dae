"""A Hub on this machine: repositories, commits, small files in the commit and large ones by LFS."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

LARGE = (".safetensors", ".ckpt", ".onnx", ".pt2")
_NO_COMMIT = "0" * 40


class FakeHub:
    """What was pushed, and what is to go wrong.

    Attributes:
        repos: Repository -> path -> content.
        commits: The message of every commit, in order.
        requests: Method and path of every request.
        fail: Status codes for the next commits, 200 for one that works.
        corrupt: Whether what is uploaded as a large file arrives damaged.
    """

    def __init__(self) -> None:
        self.repos: dict[str, dict[str, bytes]] = {}
        self.commits: list[str] = []
        self.requests: list[tuple[str, str]] = []
        self.fail: list[int] = []
        self.corrupt = False
        self.large: dict[str, bytes] = {}
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": self}))
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def environment(self, home: Path) -> dict[str, str]:
        """Variables that make a process use this Hub and nothing else."""
        return {
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(home),
            "HF_TOKEN": "hf_of_nobody",
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "NO_PROXY": "127.0.0.1",
        }


@contextmanager
def running() -> Iterator[FakeHub]:
    hub = FakeHub()
    thread = threading.Thread(target=hub.server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield hub
    finally:
        hub.server.shutdown()
        hub.server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: FakeHub

    def log_message(self, *args: Any) -> None:
        """Tests print nothing."""

    def handle_any(self) -> None:
        body, path = self._body(), unquote(urlsplit(self.path).path)
        self.hub.requests.append((self.command, path))
        for pattern, answer in _ROUTES:
            if match := re.fullmatch(pattern, path):
                getattr(self, answer)(body, *match.groups())
                return
        self._send(404, {"error": f"nobody answers {path}"})

    do_GET = do_POST = do_HEAD = do_PUT = handle_any

    # --- answers ------------------------------------------------------------------------------

    def _who(self, body: bytes) -> None:
        self._send(
            200, {"name": "me", "type": "user", "orgs": [], "auth": {"accessToken": {"role": "write"}}}
        )

    def _create(self, body: bytes) -> None:
        asked = json.loads(body)
        name = f"{asked.get('organization') or 'me'}/{asked['name']}"
        code = 409 if name in self.hub.repos else 200
        self.hub.repos.setdefault(name, {})
        self._send(code, {"url": f"{self.hub.url}/{name}", "name": name, "id": name})

    def _card_is_fine(self, body: bytes) -> None:
        self._send(200, {"errors": [], "warnings": []})

    def _preupload(self, body: bytes, repo: str) -> None:
        def mode(path: str) -> str:
            return "lfs" if path.endswith(LARGE) else "regular"

        files = json.loads(body)["files"]
        answers = [{"path": f["path"], "uploadMode": mode(f["path"]), "shouldIgnore": False} for f in files]
        self._send(200, {"files": answers})

    def _batch(self, body: bytes, repo: str) -> None:
        def actions(oid: str) -> dict[str, Any]:
            if oid in self.hub.large:
                return {}
            url = f"{self.hub.url}/lfs"
            return {"actions": {"upload": {"href": f"{url}/{oid}"}, "verify": {"href": f"{url}-verify"}}}

        objects = json.loads(body)["objects"]
        answers = [{"oid": o["oid"], "size": o["size"], **actions(o["oid"])} for o in objects]
        self._send(200, {"transfer": "basic", "objects": answers})

    def _put(self, body: bytes, oid: str) -> None:
        self.hub.large[oid] = body[:-1] + bytes([body[-1] ^ 1]) if self.hub.corrupt else body
        self._send(200, {})

    def _verify(self, body: bytes) -> None:
        asked = json.loads(body)
        content = self.hub.large.get(asked["oid"], b"")
        whole = hashlib.sha256(content).hexdigest() == asked["oid"] and len(content) == asked["size"]
        if not whole:
            self.hub.large.pop(asked["oid"], None)
        self._send(200 if whole else 422, {"error": "" if whole else "not what was announced"})

    def _commit(self, body: bytes, repo: str) -> None:
        code = self.hub.fail.pop(0) if self.hub.fail else 200
        if code != 200:
            self._send(code, {"error": "as asked"})
            return
        for line in map(json.loads, body.decode().splitlines()):
            value = line["value"]
            if line["key"] == "header":
                self.hub.commits.append(value["summary"])
            elif line["key"] == "file":
                self.hub.repos[repo][value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "deletedFile":
                del self.hub.repos[repo][value["path"]]
            elif line["key"] == "lfsFile":
                self.hub.repos[repo][value["path"]] = self.hub.large[value["oid"]]
        oid = hashlib.sha1(body).hexdigest()
        self._send(
            200, {"success": True, "commitOid": oid, "commitUrl": f"{self.hub.url}/{repo}/commit/{oid}"}
        )

    def _info(self, body: bytes, repo: str, rest: str | None) -> None:
        if repo not in self.hub.repos:
            self._send(404, {"error": "no such repository"}, {"X-Error-Code": "RepoNotFound"})
            return
        names = [{"rfilename": name} for name in self.hub.repos[repo]]
        self._send(200, {"id": repo, "modelId": repo, "sha": _NO_COMMIT, "private": False, "siblings": names})

    def _tree(self, body: bytes, repo: str) -> None:
        files = self.hub.repos.get(repo, {}).items()
        self._send_raw(
            200,
            json.dumps(
                [{"type": "file", "path": p, "size": len(c), "oid": "a" * 40} for p, c in files]
            ).encode(),
            {"Content-Type": "application/json"},
        )

    def _resolve(self, body: bytes, repo: str, path: str) -> None:
        content = self.hub.repos.get(repo, {}).get(path)
        commit = {"X-Repo-Commit": _NO_COMMIT}
        if content is None:
            self._send(404, {}, {"X-Error-Code": "EntryNotFound", **commit})
        else:
            self._send_raw(200, content, {"ETag": f'"{hashlib.sha256(content).hexdigest()}"', **commit})

    # --- the protocol -------------------------------------------------------------------------

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while size := int(self.rfile.readline().strip() or b"0", 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _send(self, code: int, content: object, headers: Mapping[str, str] | None = None) -> None:
        self._send_raw(
            code, json.dumps(content).encode(), {"Content-Type": "application/json", **(headers or {})}
        )

    def _send_raw(self, code: int, content: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(code)
        self.send_header("Content-Length", str(len(content)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


_REPO = r"([^/]+/[^/]+)"
_ROUTES = (
    (r"/api/whoami-v2", "_who"),
    (r"/api/repos/create", "_create"),
    (r"/api/validate-yaml", "_card_is_fine"),
    (rf"/api/models/{_REPO}/preupload/.*", "_preupload"),
    (rf"/api/models/{_REPO}/commit/.*", "_commit"),
    (rf"/api/models/{_REPO}/tree/.*", "_tree"),
    (rf"/api/models/{_REPO}(/revision/.*)?", "_info"),
    (rf"/{_REPO}\.git/info/lfs/objects/batch", "_batch"),
    (r"/lfs/(\w+)", "_put"),
    (r"/lfs-verify", "_verify"),
    (rf"/{_REPO}/resolve/[^/]+/(.+)", "_resolve"),
)

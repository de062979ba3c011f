"""A local stand-in of the hub's HTTP: the calls that huggingface_hub makes to upload a folder.

Repositories, the check of a card's header, large files by Git LFS, and one commit. It keeps what it
was sent, and refuses a token other than TOKEN, as the hub does.
"""

import base64
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "hf_right"
LARGE = 1000  # bytes: what is larger goes by LFS


@dataclass
class Hub:
    """What was sent: each repository's files and whether it is private, and how often."""

    address: str = ""
    files: dict[str, dict[str, bytes]] = field(default_factory=dict)
    private: dict[str, bool] = field(default_factory=dict)
    commits: int = 0
    large: dict[str, bytes] = field(default_factory=dict)  # by sha256


@contextmanager
def stand_in() -> Iterator[Hub]:
    """A hub at a free port of this machine."""
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None: ...

        def do_HEAD(self) -> None:
            self.answer(200, {})

        def do_GET(self) -> None:
            self.answer(404, {"error": "Not Found"})

        def do_PUT(self) -> None:
            content = self.content()
            assert sha256(content).hexdigest() == self.path.rpartition("/")[2]
            hub.large[sha256(content).hexdigest()] = content
            self.answer(200, {})

        def do_POST(self) -> None:
            body = self.content()
            if self.path != "/api/validate-yaml" and not self.allowed():
                return self.answer(401, {"error": "Invalid username or password."})
            if self.path == "/api/validate-yaml":
                return self.answer(200, {"errors": [], "warnings": []})
            if self.path == "/api/repos/create":
                return self.create(json.loads(body))
            if self.path.endswith(".git/info/lfs/objects/batch"):
                return self.batch(json.loads(body))
            found = re.fullmatch(r"/api/models/(.+)/(preupload|commit)/main", self.path)
            assert found, self.path
            if found[2] == "preupload":
                return self.modes(json.loads(body)["files"])
            return self.commit(found[1], body)

        def allowed(self) -> bool:
            return self.headers["authorization"] == f"Bearer {TOKEN}" or "lfs" in self.path

        def create(self, asked: dict[str, Any]) -> None:
            name = f"{asked.get('organization') or 'me'}/{asked['name']}"
            there = name in hub.files
            hub.files.setdefault(name, {})
            hub.private.setdefault(
                name, asked.get("visibility") == "private" or bool(asked.get("private"))
            )
            self.answer(409 if there else 200, {"url": f"{hub.address}/{name}"})

        def modes(self, files: list[dict[str, Any]]) -> None:
            modes = [
                {"path": file["path"], "shouldIgnore": False,
                 "uploadMode": "lfs" if file["size"] > LARGE else "regular"}
                for file in files
            ]  # fmt: skip
            self.answer(200, {"files": modes})

        def batch(self, asked: dict[str, Any]) -> None:
            objects = [
                {**each, "actions": {"upload": {"href": f"{hub.address}/lfs/{each['oid']}"}}}
                for each in asked["objects"]
            ]
            self.answer(200, {"transfer": "basic", "objects": objects})

        def commit(self, name: str, body: bytes) -> None:
            files = hub.files[name]
            for line in map(json.loads, body.decode().splitlines()):
                value = line["value"]
                if line["key"] == "file":
                    assert value["encoding"] == "base64"
                    files[value["path"]] = base64.b64decode(value["content"])
                elif line["key"] == "lfsFile":
                    files[value["path"]] = hub.large[value["oid"]]
            hub.commits += 1
            self.answer(200, {"commitUrl": f"{hub.address}/{name}", "commitOid": "0" * 40})

        def content(self) -> bytes:
            if self.headers.get("transfer-encoding") != "chunked":
                return self.rfile.read(int(self.headers.get("content-length", 0)))
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)

        def answer(self, status: int, content: dict[str, Any]) -> None:
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.address = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()

"""A model hub on this machine that serves one folder; its connections can be made to break."""

from __future__ import annotations

import hashlib
import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

REPOSITORY = "someone/encoder"
_COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(ThreadingHTTPServer):
    """Serves `folder` as the repository `REPOSITORY`.

    Args:
        folder: what is in the repository.

    Attributes:
        breaks: file name → after how many bytes its connection breaks.
        sent: file name → bytes of it that were sent, over all requests.
    """

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder = folder
        self.breaks: dict[str, int] = {}
        self.sent: Counter[str] = Counter()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_address[1]}"


@contextmanager
def hub(folder: Path) -> Iterator[Hub]:
    """A hub that listens until the block ends."""
    with Hub(folder) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()


class _Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_HEAD(self) -> None:
        """Tell of a file."""
        self._answer(body=False)

    def do_GET(self) -> None:
        """Send a file, or the list of them."""
        self._answer(body=True)

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _answer(self, body: bool) -> None:
        path = self.path.split("?")[0]
        if path.startswith("/api/models/"):
            files = [{"rfilename": p.name} for p in sorted(self.server.folder.iterdir())]
            told = {"id": REPOSITORY, "sha": _COMMIT, "siblings": files, "tags": []}
            listed = [
                {"type": "file", "path": f["rfilename"], "size": 1, "oid": _COMMIT} for f in files
            ]
            found = listed if "/tree/" in path else [] if "/discussions" in path else told
            self._send(200, json.dumps(found).encode(), {}, body)
            return
        name = path.rpartition("/")[2]
        file = self.server.folder / name
        if not path.startswith(f"/{REPOSITORY}/resolve/") or not file.is_file():
            self._send(404, b"", {"X-Error-Code": "EntryNotFound"}, body)
            return
        content = file.read_bytes()
        headers = {
            "ETag": f'"{hashlib.sha256(content).hexdigest()}"',
            "X-Repo-Commit": _COMMIT,
            "Accept-Ranges": "bytes",
        }
        begin, status = 0, 200
        asked = self.headers.get("Range", "")
        if asked.startswith("bytes=") and body:
            begin, status = int(asked[6:].split("-")[0]), 206
            headers["Content-Range"] = f"bytes {begin}-{len(content) - 1}/{len(content)}"
        self._send(status, content[begin:], headers, body, name)

    def _send(
        self, status: int, content: bytes, headers: dict[str, str], body: bool, name: str = ""
    ) -> None:
        self.send_response(status)
        for key, value in (headers | {"Content-Length": str(len(content))}).items():
            self.send_header(key, value)
        self.end_headers()
        if not body:
            return
        part = content[: self.server.breaks.get(name, len(content))]
        self.wfile.write(part)
        self.server.sent[name] += len(part)
        if len(part) < len(content):
            self.wfile.flush()
            self.close_connection = True

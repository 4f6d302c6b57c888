"""A Hub on this machine: the part of its HTTP interface by which files are sent and taken."""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

TOKEN = "hf_of_the_tests"


class Repositories(ThreadingHTTPServer):
    """Repositories by name, and in each the files of every branch."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, dict[str, dict[str, bytes]]] = {}
        self.messages: list[str] = []
        self.private: set[str] = set()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    """Answers as the Hub does."""

    server: Repositories
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: Any) -> None:
        """Say nothing."""

    def answer(self, content: Any, status: int = 200, **headers: str) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def refuse(self, status: int, code: str) -> None:
        self.answer({"error": code}, status, X_Error_Code=code, X_Error_Message=code)

    @property
    def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def do_POST(self) -> None:  # noqa: PLR0911
        body, path = self.body, unquote(self.path.partition("?")[0])
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self.refuse(401, "Unauthorized")
        if path == "/api/repos/create":
            made = json.loads(body)
            name = f"{made['organization']}/{made['name']}"
            if name in self.server.files:
                return self.answer({"url": f"{self.server.address}/{name}"}, 409)
            self.server.files[name] = {"main": {}}
            if made.get("private") or made.get("visibility") == "private":
                self.server.private.add(name)
            return self.answer({"url": f"{self.server.address}/{name}"})
        if path == "/api/validate-yaml":  # of the card's front matter
            return self.answer({"warnings": [], "errors": []})
        name, what, branch = re.fullmatch(  # type: ignore[union-attr]
            r"/api/models/([^/]+/[^/]+)/(branch|preupload|commit)/(.+)", path
        ).groups()
        branches = self.server.files[name]
        if what == "branch":
            branches[branch] = dict(branches["main"])
            return self.answer({})
        if what == "preupload":
            wanted = [f["path"] for f in json.loads(body)["files"]]
            how = [{"path": w, "uploadMode": "regular", "shouldIgnore": False} for w in wanted]
            return self.answer({"files": how})
        for line in map(json.loads, body.splitlines()):
            if line["key"] == "header":
                self.server.messages.append(line["value"]["summary"])
            else:
                value = line["value"]
                branches[branch][value["path"]] = base64.b64decode(value["content"])
        address = f"{self.server.address}/{name}/commit/{commit_of(branches[branch])}"
        return self.answer({"commitUrl": address, "commitOid": commit_of(branches[branch])})

    def do_GET(self) -> None:  # noqa: PLR0911
        path = unquote(self.path.partition("?")[0])
        if path == "/api/whoami-v2":
            return self.answer({"type": "user", "name": "ada", "orgs": []})
        asked = r"/(?:api/models/)?([^/]+/[^/]+)(?:/(revision|resolve|tree)/([^/]+)/?(.*))?"
        name, what, branch, file = re.fullmatch(asked, path).groups()  # type: ignore[union-attr]
        seen = self.headers.get("Authorization") == f"Bearer {TOKEN}"
        if name not in self.server.files or (name in self.server.private and not seen):
            return self.refuse(404, "RepoNotFound")
        branches = self.server.files[name]
        commits = {commit_of(files): files for files in branches.values()}
        files = branches.get(branch or "main") or commits.get(branch or "")
        if files is None:
            return self.refuse(404, "RevisionNotFound")
        if what == "resolve":
            if file not in files:
                return self.refuse(404, "EntryNotFound")
            etag = hashlib.sha1(files[file]).hexdigest()
            headers = {"ETag": f'"{etag}"', "X_Repo_Commit": commit_of(files)}
            return self.answer(files[file], **headers)
        entries = [
            {"type": "file", "path": name, "rfilename": name, "size": len(content)}
            | {"oid": hashlib.sha1(content).hexdigest()}
            for name, content in files.items()
        ]
        if what == "tree":
            return self.answer(entries)
        described = {"id": name, "modelId": name, "sha": commit_of(files), "siblings": entries}
        return self.answer({**described, "private": name in self.server.private, "tags": []})

    do_HEAD = do_GET  # noqa: N815


def commit_of(files: dict[str, bytes]) -> str:
    content = b"".join(name.encode() + text for name, text in sorted(files.items()))
    return hashlib.sha1(content).hexdigest()


@contextmanager
def running_hub() -> Iterator[Repositories]:
    """A Hub that answers inside."""
    server = Repositories()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()

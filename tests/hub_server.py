"""A Hugging Face Hub on the loopback interface, as far as the real client needs one, with faults.

It speaks what `huggingface_hub` speaks: repositories with commits, branches and tags; `resolve` with HEAD,
GET, ranges, ETags and large files' sha256; whoami, creating repositories, pre-upload, the LFS batch API and
commits. Large files are in Xet storage where `server.xet` is one: then they are offered in the headers and from the
addresses of the public Hub. Faults are put into `server.faults` and hit the requests that they match.

    with HubServer() as hub:
        hub.add("user/repo", {"model.yaml": b"...", "model.safetensors": Path("big.safetensors")})
        hub.faults.append(Fault("cut", path="model.safetensors", after=1000, times=1))
        subprocess.run(["dgm", "pull", "hf://user/repo"], env=os.environ | hub.environment(tmp_path))
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import socket
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

from xet_storage import XetStorage

LARGE = (".safetensors", ".png", ".bin", ".npz")
TOKEN = "hf_loopback"  # any other token is refused


@dataclass
class Fault:
    """Something that goes wrong.

    Kinds: `cut` (the connection, after `after` bytes of the body), `status` (`code`), `flip` (one byte, at
    `offset`), `replace` (the body, by `body`; sizes and ETags stay those of the true file), `slow` (`delay` seconds
    before the answer), `hang` (no answer), `no-range` (ranges are ignored), `headers` (some are others), `endless` (no
    length, and no end).
    """

    kind: str
    path: str = ""  # regular expression, searched in the request's path
    method: str = "GET"
    times: int | None = None  # None: always
    skip: int = 0  # so many requests that it would hit pass first
    after: int = 0
    code: int = 503
    offset: int = -1
    body: bytes = b""
    delay: float = 0.0
    error: str = ""
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Content:
    """A file's bytes, in memory or on disk."""

    source: bytes | Path
    size: int = 0
    sha256: str = ""
    git: str = ""

    def __post_init__(self):
        if isinstance(self.source, Path):
            self.size = self.source.stat().st_size
            with self.source.open("rb") as file:
                self.sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            self.git = hashlib.sha1(self.sha256.encode()).hexdigest()
        else:
            self.size = len(self.source)
            self.sha256 = hashlib.sha256(self.source).hexdigest()
            self.git = hashlib.sha1(b"blob %d\0" % self.size + self.source).hexdigest()

    def read(self) -> bytes:
        return self.source.read_bytes() if isinstance(self.source, Path) else self.source


@dataclass
class Repo:
    refs: dict[str, str] = field(default_factory=dict)
    commits: dict[str, dict[str, Content]] = field(default_factory=dict)

    def commit(self, files: dict[str, Content], branch: str = "main") -> str:
        parent = self.refs.get(branch, "")
        tree = {**self.commits.get(parent, {}), **files}
        names = json.dumps([parent, sorted((k, v.sha256) for k, v in tree.items())])
        oid = hashlib.sha1(names.encode()).hexdigest()
        self.commits[oid] = tree
        self.refs[branch] = oid
        return oid

    def find(self, revision: str) -> str | None:
        return self.refs.get(revision) or (revision if revision in self.commits else None)


class HubServer:
    """The server; use it as a context manager."""

    def __init__(self, user: str = "user"):
        self.user = user
        self.repos: dict[str, Repo] = {}
        self.objects: dict[str, Content] = {}
        self.faults: list[Fault] = []
        self.xet: XetStorage | None = None
        self.requests: list[tuple[str, str]] = []
        self.lock = threading.Lock()
        hub = self

        class BoundHandler(Handler):
            server_hub = hub

        self.http = _Server(("127.0.0.1", 0), BoundHandler)
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    def __enter__(self) -> HubServer:
        self.thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.http.shutdown()
        self.http.server_close()

    def add(self, repo: str, files: dict[str, bytes | Path], *, tag: str | None = None) -> str:
        """Adds files to a repository in one commit, makes it if need be, and returns the commit."""
        contents = {name: Content(source) for name, source in files.items()}
        with self.lock:
            found = self.repos.setdefault(repo, Repo())
            oid = found.commit(contents)
            if tag:
                found.refs[tag] = oid
            self.objects.update({c.sha256: c for c in contents.values()})
        if self.xet is not None:
            for name, content in contents.items():
                if name.endswith(LARGE):
                    self.xet.add(content.read(), content.sha256)
        return oid

    def files(self, repo: str, revision: str = "main") -> dict[str, bytes]:
        found = self.repos[repo]
        return {name: content.read() for name, content in found.commits[found.find(revision)].items()}

    def environment(self, home: Path, **more: str) -> dict[str, str]:
        """The variables with which a client talks to this server and keeps its cache under `home`."""
        return {
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(home / "hf"),
            "HF_TOKEN": TOKEN,
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
            **more,
        }

    def strike(self, method: str, path: str) -> list[Fault]:
        """Returns the faults that hit a request, and counts them."""
        with self.lock:
            near = [f for f in self.faults if f.times != 0 and f.method in (method, "*") and re.search(f.path, path)]
            hit = [f for f in near if f.skip == 0]
            for fault in near:
                fault.skip = max(0, fault.skip - 1)
            for fault in hit:
                if fault.times is not None:
                    fault.times -= 1
            return hit


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request, client_address):  # clients that go away are part of the tests
        pass


class _Cut(Exception):
    pass


class Handler(BaseHTTPRequestHandler):
    server_hub: HubServer
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16
    disable_nagle_algorithm = True

    def log_message(self, *args):
        pass

    # --- every request -----------------------------------------------------------------------------

    def handle_one_request(self):
        try:
            super().handle_one_request()
        except (_Cut, ConnectionError):
            self.close_connection = True
            with suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)

    def route(self):
        hub = self.server_hub
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            self.body = self.read_chunks()
        path = unquote(urlsplit(self.path).path)
        hub.requests.append((self.command, path))
        self.hit = hub.strike(self.command, path)
        for fault in self.hit:
            if fault.kind in ("slow", "hang"):
                time.sleep(fault.delay if fault.kind == "slow" else 3600)
            elif fault.kind == "status":
                return self.error(fault.code, fault.error or "a fault", code=fault.error)
            elif fault.kind == "cut" and self.command != "GET":
                raise _Cut
        token = self.headers.get("Authorization")
        if token and token != f"Bearer {TOKEN}":
            return self.error(401, "Invalid credentials in Authorization header")
        for method, pattern, answer in ROUTES:
            found = re.fullmatch(pattern, path)
            if found and self.command in method:
                if method == "POST" and not token:
                    return self.error(401, "Invalid username or password.")
                return answer(self, **found.groupdict())
        return self.error(404, "not found")

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = route

    def read_chunks(self) -> bytes:
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def answer(self, data, status: int = 200):
        body = json.dumps(data).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def error(self, status: int, message: str, *, code: str = ""):
        body = json.dumps({"error": message}).encode()
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
        self.send_header("X-Error-Message", message)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    # --- reading -----------------------------------------------------------------------------------

    def tree(self, repo: str, revision: str) -> tuple[str, dict[str, Content]] | None:
        found = self.server_hub.repos.get(repo)
        if found is None:
            # the real Hub does not tell strangers whether a repository exists
            self.error(404 if self.headers.get("Authorization") else 401, "Repository not found", code="RepoNotFound")
            return None
        oid = found.find(revision)
        if oid is None:
            self.error(404, f"Invalid rev id: {revision}", code="RevisionNotFound")
            return None
        return oid, found.commits[oid]

    def model_info(self, repo: str, revision: str = "main"):
        found = self.tree(repo, revision or "main")
        if found:
            oid, files = found
            siblings = [
                {"rfilename": name, "size": c.size, "blobId": c.git, **self.lfs(name, c)} for name, c in files.items()
            ]
            self.answer({"_id": "0", "id": repo, "modelId": repo, "sha": oid, "private": False, "tags": [],
                         "downloads": 0, "likes": 0, "siblings": siblings})  # fmt: skip

    def list_tree(self, repo: str, revision: str):
        found = self.tree(repo, revision)
        if found:
            self.answer(
                [
                    {"type": "file", "path": name, "size": c.size, "oid": c.git, **self.lfs(name, c)}
                    for name, c in found[1].items()
                ]
            )

    @staticmethod
    def lfs(name: str, content: Content) -> dict:
        if not name.endswith(LARGE):
            return {}
        return {"lfs": {"oid": content.sha256, "sha256": content.sha256, "size": content.size, "pointerSize": 134}}

    def resolve(self, repo: str, revision: str, file: str):
        found = self.tree(repo, revision)
        if not found:
            return
        oid, files = found
        if file not in files:
            errors = {"X-Error-Code": "EntryNotFound", "X-Error-Message": "Entry not found", "X-Repo-Commit": oid}
            return self.empty(404, errors)
        content = files[file]
        headers = {"X-Repo-Commit": oid, "ETag": f'"{content.git}"'}
        if file.endswith(LARGE):
            headers |= {"ETag": f'"{content.sha256}"', "X-Linked-ETag": f'"{content.sha256}"'}
            headers |= {"X-Linked-Size": str(content.size)}
        for fault in self.hit:
            headers |= fault.headers
        xet = self.server_hub.xet
        if xet is not None and content.sha256 in xet.hashes:
            headers = xet.headers(self.server_hub.url, repo, oid, content.sha256, file) | headers
            return self.empty(302, headers)
        self.send_content(content, headers)

    def xet_token(self, repo: str, revision: str):
        self.empty(200, self.server_hub.xet.token())

    def empty(self, status: int, headers: dict[str, str]):
        self.send_response(status)
        for name, value in {**headers, "Content-Length": "0"}.items():
            self.send_header(name, value)
        self.end_headers()

    def send_endless(self, headers: dict[str, str]):
        self.send_response(200)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        while self.command == "GET":
            self.wfile.write(b"%x\r\n%s\r\n" % (1 << 16, b"#" * (1 << 16)))

    def send_content(self, content: Content, headers: dict[str, str]):
        if any(f.kind == "endless" for f in self.hit):
            return self.send_endless({k: v for k, v in headers.items() if k != "X-Linked-Size"})
        start, status = 0, 200
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if asked and not any(f.kind == "no-range" for f in self.hit):
            start, status = int(asked[1]), 206
        self.send_response(status)
        if status == 206:
            self.send_header("Content-Range", f"bytes {start}-{content.size - 1}/{content.size}")
        for name, value in headers.items():
            self.send_header(name, value)
        body = next((f.body for f in self.hit if f.kind == "replace"), None)
        size = content.size if body is None else len(body)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(size - start))
        self.end_headers()
        if self.command == "HEAD":
            return
        cut = next((f.after for f in self.hit if f.kind == "cut"), None)
        flip = next((f.offset for f in self.hit if f.kind == "flip"), None)
        self.wfile.flush()
        if isinstance(content.source, Path) and cut is None and flip is None and body is None:
            with content.source.open("rb") as file:
                self.connection.sendfile(file, offset=start)
            return
        data = bytearray(content.read() if body is None else body)
        if flip is not None:
            data[flip] ^= 0x40
        self.wfile.write(data[start:] if cut is None else data[start : start + cut])
        self.wfile.flush()
        if cut is not None:
            raise _Cut

    # --- writing -----------------------------------------------------------------------------------

    def whoami(self):
        if not self.headers.get("Authorization"):
            return self.error(401, "Invalid username or password.")
        self.answer({"type": "user", "name": self.server_hub.user, "fullname": self.server_hub.user, "orgs": [],
                     "auth": {"accessToken": {"displayName": "loopback", "role": "write"}}})  # fmt: skip

    def create_repo(self):
        asked = json.loads(self.body)
        name = f"{asked.get('organization') or self.server_hub.user}/{asked['name']}"
        if not name.startswith(self.server_hub.user + "/"):
            return self.error(403, f"You don't have the rights to create a model under the namespace {name}")
        with self.server_hub.lock:
            if name in self.server_hub.repos:
                return self.answer({"error": "You already created this model repo", "url": self.repo_url(name)}, 409)
            repo = self.server_hub.repos[name] = Repo()
            repo.commit({".gitattributes": Content(b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n")})
        self.answer({"url": self.repo_url(name), "name": name, "id": name})

    def repo_url(self, name: str) -> str:
        return f"{self.server_hub.url}/{name}"

    def validate_yaml(self):
        self.answer({"errors": [], "warnings": []})

    def owned(self, repo: str) -> bool:
        if repo.startswith(self.server_hub.user + "/"):
            return True
        self.error(403, f"You don't have write access to {repo}")
        return False

    def preupload(self, repo: str, revision: str):
        found = self.tree(repo, revision)
        if found and self.owned(repo):
            files = [
                {
                    "path": f["path"],
                    "uploadMode": "lfs" if f["path"].endswith(LARGE) else "regular",
                    "shouldIgnore": False,
                    "oid": self.remote_oid(found[1].get(f["path"]), f["path"]),
                }
                for f in json.loads(self.body)["files"]
            ]
            self.answer({"files": files, "commitOid": found[0]})

    @staticmethod
    def remote_oid(content: Content | None, path: str) -> str | None:
        if content is None:
            return None
        return content.sha256 if path.endswith(LARGE) else content.git

    def lfs_batch(self, repo: str):
        if not self.owned(repo):
            return
        objects = []
        for item in json.loads(self.body)["objects"]:
            if item["oid"] not in self.server_hub.objects:
                item["actions"] = {"upload": {"href": f"{self.server_hub.url}/lfs/{item['oid']}", "header": {}}}
            objects.append(item)
        self.answer({"transfer": "basic", "objects": objects})

    def lfs_put(self, oid: str):
        content = Content(self.body)
        if content.sha256 != oid:
            return self.error(400, "the object's sha256 is not its name")
        self.server_hub.objects[oid] = content
        self.answer({})

    def commit(self, repo: str, revision: str):
        found = self.tree(repo, revision)
        if not found or not self.owned(repo):
            return
        lines = [json.loads(line) for line in self.body.splitlines() if line.strip()]
        files = {}
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = Content(base64.b64decode(value["content"]))
            elif line["key"] == "lfsFile":
                if value["oid"] not in self.server_hub.objects:
                    return self.error(400, f"the object of {value['path']} was not uploaded")
                content = files[value["path"]] = self.server_hub.objects[value["oid"]]
                if self.server_hub.xet is not None:  # where the public Hub keeps them, however they came
                    self.server_hub.xet.add(content.read(), content.sha256)
        parent = lines[0]["value"].get("parentCommit")
        with self.server_hub.lock:
            if parent and parent != found[0]:
                return self.error(412, "A commit has happened since. Please refresh and try again.")
            oid = self.server_hub.repos[repo].commit(files, revision)
        self.answer({"success": True, "commitOid": oid, "commitUrl": f"{self.repo_url(repo)}/commit/{oid}"})


_REPO = r"(?P<repo>[^/]+/[^/]+)"
ROUTES = [
    ("GET", r"/api/whoami-v2", Handler.whoami),
    ("POST", r"/api/repos/create", Handler.create_repo),
    ("POST", r"/api/validate-yaml", Handler.validate_yaml),
    ("GET", rf"/api/models/{_REPO}/xet-read-token/(?P<revision>.+)", Handler.xet_token),
    ("POST", rf"/api/models/{_REPO}/preupload/(?P<revision>.+)", Handler.preupload),
    ("POST", rf"/api/models/{_REPO}/commit/(?P<revision>.+)", Handler.commit),
    ("GET", rf"/api/models/{_REPO}/tree/(?P<revision>[^/]+)/?", Handler.list_tree),
    ("GET", rf"/api/models/{_REPO}(?:/revision/(?P<revision>[^/]+))?", Handler.model_info),
    ("POST", rf"/{_REPO}\.git/info/lfs/objects/batch", Handler.lfs_batch),
    ("PUT", r"/lfs/(?P<oid>[0-9a-f]{64})", Handler.lfs_put),
    ("GET HEAD", rf"/{_REPO}/resolve/(?P<revision>[^/]+)/(?P<file>.+)", Handler.resolve),
]


if __name__ == "__main__":  # a Hub of the folders given: one repository each, user/FOLDER
    import sys

    with HubServer() as server:
        for folder in map(Path, sys.argv[1:]):
            server.add(f"user/{folder.name}", {str(p.relative_to(folder)): p for p in folder.rglob("*") if p.is_file()})
        print(f"export HF_ENDPOINT={server.url} HF_TOKEN={TOKEN}", flush=True)
        with suppress(KeyboardInterrupt):
            threading.Event().wait()

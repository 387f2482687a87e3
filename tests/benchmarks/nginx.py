"""
nginx twice: the upstream that every contender asks, and `proxy_pass`, the ceiling for any gateway.

Both keep a connection for as long as it is used. A POST to a file is 405 for nginx, which the upstream turns into the
file itself with status 200: a real answer of any bytes, without a program behind it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.processes import require, serving
from tests.ports import free_row

_CONFIGURATION = """\
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  keepalive_requests 1000000000;
  client_body_buffer_size 1m;
  client_max_body_size 64m;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  open_file_cache max=16 inactive=1h;
  open_file_cache_valid 1h;
{server}
}}
"""

_ANSWER = """\
    location = {path} {{
      types {{ }}
      default_type "{content_type}";
      alias {file};
      error_page 405 =200 $uri;
    }}
"""

_PROXY = """\
  upstream far_end {{ server 127.0.0.1:{upstream}; keepalive 256; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{ proxy_http_version 1.1; proxy_set_header Connection ""; proxy_pass http://far_end; }}
  }}
"""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the upstream says at one path."""

    content_type: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Server:
    """A running nginx."""

    port: int
    pid: int

    def url(self, path: str) -> str:
        """Return the address of *path*."""
        return f"http://127.0.0.1:{self.port}{path}"


@contextmanager
def upstream(answers: Mapping[str, Answer], *, folder: Path, core: int) -> Iterator[Server]:
    """Serve each path's answer to any POST, until the block ends."""
    folder.mkdir()
    port = free_row(1)
    locations = ""
    for number, (path, answer) in enumerate(answers.items()):
        file = folder / f"answer_{number}"
        file.write_bytes(answer.body)
        locations += _ANSWER.format(path=path, content_type=answer.content_type, file=file)
    server = f"  server {{\n    listen 127.0.0.1:{port} backlog=4096;\n{locations}  }}"
    with _running(server, folder=folder, core=core, port=port) as started:
        yield started


@contextmanager
def proxy(upstream_port: int, *, folder: Path, core: int) -> Iterator[Server]:
    """Pass everything on to *upstream_port* over kept connections, until the block ends."""
    folder.mkdir()
    port = free_row(1)
    with _running(_PROXY.format(upstream=upstream_port, port=port), folder=folder, core=core, port=port) as started:
        yield started


@contextmanager
def _running(server: str, *, folder: Path, core: int, port: int) -> Iterator[Server]:
    configuration = folder / "nginx.conf"
    configuration.write_text(_CONFIGURATION.format(folder=folder, server=server), encoding="utf-8")
    program = require("nginx", package="nginx-light")
    command = [program, "-e", str(folder / "error.log"), "-p", str(folder), "-c", str(configuration)]
    with serving(command, core=core, port=port, log=folder / "output.log") as pid:
        yield Server(port, pid)

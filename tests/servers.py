"""
Real servers from Debian for tests: redis-server, PostgreSQL and nginx, each in a directory of its own on a free port.

Every server is ended by the process id that it was started with. PostgreSQL refuses to run as root, so root starts it
as Debian's user `postgres`.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.ports import free_row

#: Server in `@pytest.mark.needs(...)` to the Debian package that brings it.
PACKAGES = {"redis": "redis-server", "postgres": "postgresql", "nginx": "nginx"}

_START_SECONDS = 60.0


def find(server: str) -> Path | None:
    """Return the server's program, None where it is not installed."""
    if server == "redis":
        found = shutil.which("redis-server")
        return Path(found) if found else None
    if server == "nginx":
        found = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
        return Path(found) if found else None
    programs = Path("/usr/lib/postgresql").glob("*/bin/postgres")
    return max(programs, key=lambda program: int(program.parts[-3]), default=None)


@dataclass
class Server:
    """A server process that can be killed, stopped, continued and started again on the same port and files."""

    command: list[str]
    folder: Path
    port: int
    user: str | None = None
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def start(self) -> None:
        """Start it and wait until it answers."""
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                self.command, cwd=self.folder, stdout=log, stderr=log, user=self.user, start_new_session=True
            )
        until = time.monotonic() + _START_SECONDS
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"{self.command[0]} did not start:\n{(self.folder / 'log').read_text()}")
            time.sleep(0.02)

    def answers(self) -> bool:
        """Whether it takes connections."""
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
            return True
        return False

    def send(self, number: signal.Signals) -> None:
        """Send a signal to its main process."""
        assert self.process is not None
        self.process.send_signal(number)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End it and wait for its end."""
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            self.process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(timeout=60)
        self.process = None


@dataclass
class Redis(Server):
    """A redis-server that keeps nothing on disk."""

    @property
    def url(self) -> str:
        """Its address, database 0."""
        return f"redis://127.0.0.1:{self.port}/0"


@dataclass
class Postgres(Server):
    """A PostgreSQL server with the user `maskgate`, who may do everything, from this machine without a password."""

    programs: Path = Path()

    def stop(self, number: signal.Signals = signal.SIGQUIT) -> None:
        """End it, by default without writing what nobody will read again."""
        super().stop(number)

    def url(self, database: str = "postgres", *, port: int | None = None) -> str:
        """Return the address of one of its databases; `port` where something stands in between."""
        return f"postgresql://maskgate@127.0.0.1:{port or self.port}/{database}"

    def answers(self) -> bool:
        """Whether it takes connections, and not only listens while it recovers."""
        asked = subprocess.run(
            [self.programs / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)], check=False, timeout=60
        )
        return asked.returncode == 0

    def create(self, database: str) -> str:
        """Make an empty database and return its address."""
        subprocess.run(
            [self.programs / "createdb", "-h", "127.0.0.1", "-p", str(self.port), "-U", "maskgate", database],
            check=True,
            timeout=30,
        )
        return self.url(database)

    def drop(self, database: str) -> None:
        """Drop a database, whoever is still connected to it."""
        subprocess.run(
            [
                *(self.programs / "dropdb", "--force", "--if-exists"),
                *("-h", "127.0.0.1", "-p", str(self.port), "-U", "maskgate", database),
            ],
            check=True,
            timeout=30,
        )

    def freeze(self) -> None:
        """Stop the server and each of its backends, as a machine that hangs: connections stay, nothing answers."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def crash(self) -> None:
        """End the server and each of its backends with SIGKILL, as a power cut does."""
        pids = self._signal(signal.SIGKILL)
        assert self.process is not None
        self.process.wait(timeout=60)
        self.process = None
        until = time.monotonic() + 20
        while any(Path(f"/proc/{pid}").exists() for pid in pids):
            if time.monotonic() > until:
                raise RuntimeError(f"PostgreSQL's processes {pids} did not end")
            time.sleep(0.01)

    def _signal(self, number: signal.Signals) -> list[int]:
        """Send a signal to the main process and to its children; a child may be gone before it is reached."""
        pids = self._pids()
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        return pids

    def _pids(self) -> list[int]:
        """Return the main process and its children."""
        assert self.process is not None
        main = self.process.pid
        children = Path(f"/proc/{main}/task/{main}/children").read_text().split()
        return [main, *map(int, children)]


def start_redis(folder: Path) -> Redis:
    """Start a redis-server in an empty folder."""
    program = find("redis")
    assert program is not None, "install Debian's redis-server"
    port = free_row(1)
    command = [str(program), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    redis = Redis(command, folder, port)
    redis.start()
    return redis


def start_postgres(folder: Path) -> Postgres:
    """Make a cluster in an empty folder and start PostgreSQL on it."""
    program = find("postgres")
    assert program is not None, "install Debian's postgresql"
    user = "postgres" if os.geteuid() == 0 else None
    if user is not None:
        shutil.chown(folder, user, pwd.getpwnam(user).pw_gid)
        folder.chmod(0o700)
    data = folder / "data"
    subprocess.run(
        [program.with_name("initdb"), "-D", data, "-U", "maskgate", "-A", "trust", "-E", "UTF8", "--no-sync"],
        cwd=folder,
        user=user,
        check=True,
        stdout=subprocess.DEVNULL,
        timeout=120,
    )
    port = free_row(1)
    settings = {
        "port": port,
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": "",
        "shared_buffers": "16MB",
        "max_connections": 60,
        "autovacuum": "off",
    }
    command = [str(program), "-D", str(data)]
    for name, value in settings.items():
        command += ["-c", f"{name}={value}"]
    postgres = Postgres(command, folder, port, user, programs=program.parent)
    postgres.start()
    return postgres


_NGINX = """\
daemon off;
master_process off;
pid nginx.pid;
error_log error.log;
events {{ }}
http {{
  access_log off;
  client_body_temp_path body; proxy_temp_path proxy;
  fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
  server {{
    listen 127.0.0.1:{port};
    location / {{ proxy_pass http://127.0.0.1:{target}; }}
  }}
}}
"""


def start_nginx(folder: Path, *, target: int) -> Server:
    """Start nginx in front of a port of this machine, with the one line that everybody writes and nothing else."""
    program, port = find("nginx"), free_row(1)
    assert program is not None
    (folder / "nginx.conf").write_text(_NGINX.format(port=port, target=target))
    server = Server([str(program), "-e", "error.log", "-p", str(folder), "-c", "nginx.conf"], folder, port)
    server.start()
    return server

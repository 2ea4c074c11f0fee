#!/usr/bin/env python3
"""Runs a command beside a PostgreSQL of its own and stops the server afterwards.

The server lives in a temporary folder and listens on a free port of the loopback; the command finds
it as WEIR_TEST_POSTGRES. Durability is off: what is in there dies with it. As a module it gives the
end-to-end tests the same server.
"""

import contextlib
import glob
import os
import pathlib
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile


ROOM_BYTES = 8 << 30
WITHOUT = "WEIR_WITHOUT_POSTGRES"


def program(name):
    """Debian keeps the server's programs off the path."""
    found = shutil.which(name)
    if found:
        return found
    installed = sorted(glob.glob(f"/usr/lib/postgresql/*/bin/{name}"), key=lambda path: int(path.split("/")[4]))
    return installed[-1] if installed else None


def account():
    """The server refuses to run as root: then it runs as somebody else."""
    if os.geteuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            user = pwd.getpwnam(name)
            return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    raise SystemExit("PostgreSQL does not run as root, and there is no user postgres or nobody")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """A PostgreSQL that can be stopped and started again."""

    def __init__(self, folder):
        self.data = pathlib.Path(folder) / "data"
        self.log = pathlib.Path(folder) / "log"
        self.port = free_port()
        self.who = account()
        self.data.mkdir()
        if self.who:
            for path in (folder, self.data):
                os.chown(path, self.who["user"], self.who["group"])
        # No path of the caller's: the server's account may not be allowed to read it.
        self.quiet = {"cwd": "/", "check": True, "stdout": subprocess.DEVNULL, **self.who}
        subprocess.run([program("initdb"), "-D", self.data, "-U", "postgres", "-A", "trust", "-N"], **self.quiet)
        self.start()

    @property
    def url(self):
        return f"postgres://postgres@127.0.0.1:{self.port}/postgres"

    def control(self, *arguments):
        subprocess.run([program("pg_ctl"), "-D", self.data, "-w", "-s", *arguments], **self.quiet)

    def start(self):
        settings = {
            "port": self.port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": self.data,
            # What was committed outlives a kill of the server, as it must; only not of the machine.
            "fsync": "off",
            "full_page_writes": "off",
            "max_connections": 300,
        }
        options = " ".join(f"-c {name}={value}" for name, value in settings.items())
        self.control("-o", options, "-l", self.log, "start")

    def stop(self):
        self.control("-m", "immediate", "stop")


def roomy_memory():
    """Where there is room for it in memory: a database for each test is 300 files, and removing 100,000 of them from a
    disk may take longer than the tests. None: where temporary files go."""
    memory = pathlib.Path("/dev/shm")
    if "TMPDIR" in os.environ or not memory.is_dir():
        return None
    return memory if shutil.disk_usage(memory).free > ROOM_BYTES else None


def is_left_out():
    """Whether there is no PostgreSQL and somebody said that its tests are not meant to run. Nobody said it: an error, for
    tests that are skipped unseen prove nothing."""
    if program("initdb"):
        return False
    if os.environ.get(WITHOUT) == "1":
        return True
    raise SystemExit(
        "PostgreSQL is not installed, and its tests are half of what is known of the control store.\n"
        f"next: install it (Debian: apt-get install postgresql), or set {WITHOUT}=1 to leave its tests out"
    )


@contextlib.contextmanager
def running():
    """A server for the length of a with block; None where it is left out on purpose."""
    if is_left_out():
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="weir-pg-", dir=roomy_memory()) as folder:
        server = Server(folder)
        try:
            yield server
        finally:
            server.stop()


def main(command):
    with running() as server:
        if server is None:
            print(f"== PostgreSQL is not installed, and {WITHOUT} is set: its tests are left out", file=sys.stderr)
            return 0
        return subprocess.run(command, env={**os.environ, "WEIR_TEST_POSTGRES": server.url}, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

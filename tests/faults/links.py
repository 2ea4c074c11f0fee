"""A line between two processes that a test can cut: a proxy on loopback, byte by byte.

What is cut is told to nobody, as in a network that falls apart: bytes stop, connections stay open, new ones are
never answered. `deaf` lets a request through and keeps its answer back: whoever asked does not know that it was heard.
"""

import contextlib
import selectors
import socket
import threading
import time

CHUNK = 1 << 16
LOOK_S = 0.05


class Link:
    """Stands on a port of its own for `target`, a pair of host and port."""

    def __init__(self, target):
        self.target, self.cut_until, self.deaf_until, self.is_over = target, 0.0, 0.0, False

    def __enter__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.is_over = True
        self.listener.close()

    def cut(self, for_s):
        self.cut_until = time.monotonic() + for_s

    def deafen(self, for_s):
        self.deaf_until = time.monotonic() + for_s

    def accept(self):
        while not self.is_over:
            with contextlib.suppress(OSError):
                client, _ = self.listener.accept()
                threading.Thread(target=self.carry, args=(client,), daemon=True).start()

    def wait(self, is_answer):
        """Until bytes may pass; those of answers also wait for a line that is deaf."""
        while not self.is_over:
            until = max(self.cut_until, self.deaf_until if is_answer else 0.0)
            if time.monotonic() >= until:
                return
            time.sleep(LOOK_S)

    def carry(self, client):
        self.wait(is_answer=False)
        with client, contextlib.suppress(OSError):
            with socket.create_connection(self.target, timeout=10) as server:
                self.between(client, server)

    def between(self, client, server):
        with selectors.DefaultSelector() as ready:
            ready.register(client, selectors.EVENT_READ, server)
            ready.register(server, selectors.EVENT_READ, client)
            while not self.is_over:
                for key, _ in ready.select(LOOK_S):
                    self.wait(is_answer=key.fileobj is server)
                    data = key.fileobj.recv(CHUNK)
                    if not data:
                        return
                    key.data.sendall(data)

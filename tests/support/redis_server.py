"""A real Redis on a free port of this machine, to be killed and started again."""

import shutil
import socket
import subprocess
import time
from typing import Any

import pytest
import redis

from tests.support.processes import free_addresses

REDIS = shutil.which("redis-server") or ""

needs_redis = pytest.mark.skipif(not REDIS, reason="no redis-server on this machine")


class RedisServer:
    """Keeps nothing on disk: whatever it knew is gone when it was killed."""

    def __init__(self, folder):
        (address,) = free_addresses(1)
        self.port = int(address.rpartition(":")[2])
        self.address = f"redis://127.0.0.1:{self.port}/0"
        self._folder = folder
        self._process: Any = None
        self.start()

    def start(self):
        """Returns when it answers."""
        self._process = subprocess.Popen(
            [
                *(REDIS, "--port", str(self.port), "--bind", "127.0.0.1"),
                *("--save", "", "--appendonly", "no", "--dir", str(self._folder)),
            ],
            stdout=subprocess.DEVNULL,
        )
        end = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                assert self.client().ping()
                return
            except (OSError, redis.RedisError):
                assert time.monotonic() < end and self._process.poll() is None, "no Redis"
                time.sleep(0.02)

    def client(self):
        return redis.Redis(port=self.port)

    def kill(self):
        """As a machine that is lost."""
        self._process.kill()
        self._process.wait()

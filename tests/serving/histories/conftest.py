"""Stores of either kind, each test with an empty one."""

import pytest

from serving.histories import open_histories
from tests.support.redis_server import RedisServer, needs_redis


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory):
    """A Redis of this process alone; whoever kills it starts it again."""
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    yield server
    server.kill()


@pytest.fixture(params=["sqlite", pytest.param("redis", marks=needs_redis)])
def address(request, tmp_path):
    """Of an empty store."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/histories.db"
    server = request.getfixturevalue("redis_server")
    server.client().flushall()
    return server.address


@pytest.fixture
def keep():
    """Events of a user; a file of tests may have its own."""
    return 200


@pytest.fixture
def store(address, keep):
    """An empty one."""
    opened = open_histories(address, keep=keep)
    yield opened
    opened.close()

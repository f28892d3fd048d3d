"""How the tests themselves are run."""

import os

import pytest


@pytest.mark.skipif("PYTEST_XDIST_WORKER" not in os.environ, reason="there is one process")
def test_a_file_runs_in_one_process(request):
    """Its fixtures are dear; pytest-xdist notes a group in the name of a test."""
    assert request.node.nodeid.endswith(f"@{request.node.nodeid.partition('::')[0]}")

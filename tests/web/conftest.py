"""One server for each module, empty for each test."""

import pytest

pytest.importorskip("uvicorn", reason="the page needs starlette and uvicorn: pip install '.[web]'")
pytest.importorskip("starlette", reason="the page needs starlette and uvicorn: pip install '.[web]'")


@pytest.fixture(scope="module")
def served(tmp_path_factory, network_file):
    from serving import Server

    with Server(tmp_path_factory.mktemp("studio"), network_file) as server:
        yield server


@pytest.fixture
def server(served):
    yield served
    served.clear()

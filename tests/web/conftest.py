"""One server for all tests of the page, which is empty for each."""

import pytest

pytest.importorskip("uvicorn", reason="the page needs starlette and uvicorn: pip install '.[web]'")
pytest.importorskip("starlette", reason="the page needs starlette and uvicorn: pip install '.[web]'")


@pytest.fixture(scope="session")
def served(tmp_path_factory, network_file):
    from serving import Server

    from styling.web.studio import Form

    with Server(tmp_path_factory.mktemp("studio"), network_file) as server:
        server.painter.first_look = Form(recipe="gatys2015", values={"iterations": "2", "max_size": "192"})
        yield server


@pytest.fixture
def server(served):
    yield served
    served.clear()

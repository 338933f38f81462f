"""One server and one browser for all tests of the page; the server is empty for each."""

import shutil

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


@pytest.fixture(scope="session")
def chromium():
    reason = "needs playwright and a Chromium: pip install playwright, apt-get install chromium"
    playwright = pytest.importorskip("playwright.sync_api", reason=reason)
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.skip(reason)
    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=program, args=flags)
        yield browser
        browser.close()

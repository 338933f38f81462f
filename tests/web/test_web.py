"""The page over HTTP: it paints what the command line does, keeps it, and shows nothing else."""

import base64
import contextlib
import http.client
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from urllib.parse import quote

import numpy as np
import pytest
from conftest import ROOT, run_in_process
from PIL import Image
from serving import Server, write_clip

from styling.network import networks

SECONDS = 60
LONG = {"iterations": "100000", "optimizer": "adam"}
LONG_FORM = {
    "content": "harbour",
    "styles": ["woodcut"],
    "recipe": "best",
    "values": LONG | {"max_size": "32"},
}


def sent(server, image_files):
    """The keys of a photograph and two paintings that were sent."""
    kinds = ("content", "styles", "styles")
    return [server.upload(file, kind)["key"] for file, kind in zip(image_files, kinds, strict=True)]


@pytest.mark.parametrize("recipe", ["best", "gatys2015", pytest.param("tseng2017", marks=pytest.mark.slow)])
def test_the_command_line_makes_the_same_picture_from_the_zip(server, tmp_path, image_files, recipe):
    content, *styles = sent(server, image_files)
    values = {"iterations": "6", "max_size": "32", "style_blend_weights": "30 70", "colors": "content"}
    form = {"content": content, "styles": styles, "recipe": recipe, "values": values}
    result = server.paint(**form)
    assert result.form == form and result.size == (32, 24) and result.name == "content-style1-style2"
    picture = server.get(f"/results/{result.name}.png")[2]
    assert server.again(result, tmp_path / "again") == picture
    jpeg = np.asarray(Image.open(io.BytesIO(server.get(f"/results/{result.name}.jpg")[2])), int)
    assert abs(jpeg - np.asarray(Image.open(io.BytesIO(picture)), int)).mean() < 16


def test_a_picture_of_one_pass_is_the_command_lines_too(tmp_path, image_files):
    with Server(tmp_path / "studio", networks.find("small")) as server:
        content, style, _ = sent(server, image_files)
        result = server.paint(content=content, styles=[style], recipe="instant", values={"max_size": "64"})
        picture = server.get(f"/results/{result.name}.png")[2]
        assert server.again(result, tmp_path / "again") == picture
        assert server.paint(**result.form, start=result.name).size == result.size


def test_masks_are_the_command_lines_too(server, tmp_path, image_files):
    content, *styles = sent(server, image_files)
    files, keys = [], []
    for name, box in (("left", (0, 0, 20, 30)), ("right", (20, 0, 40, 30)), ("stays", (0, 0, 12, 12))):
        mask = Image.new("L", (40, 30))
        mask.paste(255, box)
        files.append(tmp_path / f"{name}.png")
        mask.save(files[-1])
        keys.append(server.upload(files[-1], "mask"))
    form = {"content": content, "styles": styles, "style_masks": [keys[0]["key"]] * 2}
    form |= {"recipe": "best", "values": {"iterations": "6", "colors": "matched", "mask_feather": "0"}}
    assert server.upload(files[0], "mask", "again.png") == keys[0]  # what is there is not sent twice
    for wrong in ({"style_masks": ["no"]}, {"content_mask": "../state"}):
        assert server.post("/paint", form | wrong)["field"] in wrong
    form |= {"style_masks": [keys[0]["key"], keys[1]["key"]], "content_mask": keys[2]["key"]}
    result = server.paint(**form)
    assert "--style-masks left.png right.png" in result.command
    picture = server.get(f"/results/{result.name}.png")[2]
    before, after = (np.asarray(Image.open(of)) for of in (image_files[0], io.BytesIO(picture)))
    same = (before == after).all(-1)
    assert same[:12, :12].all() and not same[12:, 12:].all()
    assert server.again(result, tmp_path / "again") == picture


@pytest.mark.slow
@pytest.mark.usefixtures("tiny_scales")
@pytest.mark.parametrize(
    "values", [{"scales": "1"}, {"scales": "0.5 1"}, {"scales": "0.5 1", "scale_shares": "1 10000"}]
)
def test_a_run_that_is_stopped_is_the_command_lines_too_and_goes_on(server, tmp_path, image_files, values):
    content, style, _ = sent(server, image_files)
    values = {"iterations": "30000", "optimizer": "adam", "clip": "yes"} | values
    form = {"content": content, "styles": [style], "recipe": "best", "values": values}
    assert server.post("/paint", form) == {}
    least = 5 if "scale_shares" in values else 1
    server.wait(lambda: server.painter.task.seen.facts.get("iteration", 0) >= least)
    server.post("/stop")
    first = server.finished()
    assert re.match(r"stopped after \d+ of 30000 iterations", first.note)
    assert server.again(first, tmp_path / "again") == server.get(f"/results/{first.name}.png")[2]
    assert server.studio.resumable == first.name and server.post("/go-on") == {}
    stopped_at = int(first.note.split()[2])
    server.wait(lambda: server.painter.task.seen.facts.get("iteration", 0) > stopped_at)
    server.post("/stop")
    second = server.finished()
    picture = server.get(f"/results/{second.name}.png")[2]
    assert picture != server.get(f"/results/{first.name}.png")[2] and second.form == first.form
    assert server.again(second, tmp_path / "again") == picture


def test_painting_on_from_a_picture_begins_with_it(server, tmp_path, image_files):
    content, style, _ = sent(server, image_files)
    form = {"content": content, "styles": [style], "recipe": "gatys2015"}
    first = server.paint(**form, values={"iterations": "5"})
    barely = {"iterations": "1", "optimizer": "adam", "learning_rate": "0.001"}
    second = server.paint(**form, values=barely, start=first.name)
    files = [server.get(f"/results/{one.name}.png")[2] for one in (first, second)]
    before, after = (np.asarray(Image.open(io.BytesIO(file)), int) for file in files)
    assert abs(after - before).max() <= 1
    assert server.again(second, tmp_path / "again") == files[1]


def test_what_is_wrong_is_said_in_the_words_of_the_page(server, tmp_path, image_files):
    content, style, _ = sent(server, image_files)
    form = {"content": content, "styles": [style], "recipe": "best"}
    for values, field, line in (
        ({"iterations": "many"}, "iterations", "Iterations: "),
        ({"width": "0"}, "width", "Width: "),
        ({"learning_rate": "5"}, "learning_rate", "Learning rate: has no effect with “Optimizer” lbfgs"),
        ({"tv_weight": "-1"}, "tv_weight", "Smoothness: "),
    ):
        said = server.post("/paint", form | {"values": values})
        assert said["field"] == field and said["error"].startswith(line) and "--" not in said["error"], said
    for missing, line in (("content", "Choose a photograph first."), ("styles", "Choose a painting first.")):
        said = server.post("/paint", form | {missing: None if missing == "content" else [], "values": {}})
        assert said == {"error": line, "field": missing}
    text, wide = tmp_path / "text.jpg", tmp_path / "wide.png"
    text.write_text("no image")
    Image.new("1", (11000, 11000)).save(wide)
    assert server.upload(text)["error"] == "text.jpg: is no image that can be read"
    assert "100 million are the most here" in server.upload(wide)["error"]
    assert (
        not server.studio.results and len(list((server.studio.folder / "page").glob("content-*.json"))) == 1
    )
    failing = {"iterations": "50", "learning_rate": "1e30", "optimizer": "gradient-descent", "scales": "1"}
    assert server.post("/paint", form | {"values": failing}) == {}
    server.wait(lambda: server.painter.task.status == "done")
    assert server.painter.task.failed and "lower “Learning rate”" in server.painter.task.line
    assert server.post("/paint", LONG_FORM) == {}
    assert server.post("/paint", LONG_FORM)["error"] == "A picture is being painted; stop it first."


def test_no_file_of_the_machine_can_be_named_or_fetched(server, tmp_path, image_files):
    secret = tmp_path / "secret.png"
    Image.new("RGB", (9, 9), "red").save(secret)
    (server.studio.folder / "link.png").symlink_to(secret)
    names = (
        "secret.png",
        f"../{secret.name}",
        "../../secret.png",
        str(secret),
        "link.png",
        "state",
        "page/state",
    )
    for folder in ("images", "results", "page"):
        for name in names:
            for path in (
                f"/{folder}/{name}",
                f"/{folder}/{quote(name, safe='')}",
                f"/{folder}/%2e%2e/{quote(name)}",
            ):
                status, _, body = server.get(path)
                assert status == 404 and secret.read_bytes() not in body
    key = server.upload(image_files[0], name="../../etc/--pass\nwd.png")
    assert key["name"] == "pass" + "wd.png"
    form = {"content": key["key"], "styles": ["woodcut"], "recipe": "best", "values": {}}
    fresh = tmp_path / "fresh.png"
    for change in (
        {"content": str(secret)},
        {"styles": [f"../{secret.name}"]},
        {"start": str(secret)},
        {"recipe": str(secret.with_suffix(".toml"))},
        {"values": {"network": str(secret)}},
        {"values": {"output": str(fresh)}},
        {"values": {"save_recipe": str(fresh)}},
        {"values": {"content_layers": f"relu4_2 --output={fresh}"}},
        {"values": {"iterations": f"3 --output={fresh}"}},
        {"values": {"scales": ["1"]}},
        {"values": []},
        {"styles": 3},
    ):
        assert server.post("/paint", form | change)["error"], change
    for key in ("harbour", "../state", "state"):
        assert server.post(f"/remove/{quote(key, safe='')}")["error"]
    assert server.post("/paint", "[" * 10000)["error"]
    assert not fresh.exists() and server.painter.task is None


def test_other_pages_and_strangers_are_refused(server, tmp_path, network_file):
    for host in ("evil.example", f"evil.example:{server.port}", "127.0.0.1.evil.example", "192.168.1.1", ""):
        assert server.ask("GET", "/", Host=host or " ")[0] in (400, 403)
    assert server.ask("GET", "/", Host="localhost:9999")[0] == 200
    for origin in (
        "http://evil.example",
        "null",
        f"https://127.0.0.1:{server.port}",
        "http://127.0.0.1:1",
        "",
    ):
        assert server.ask("POST", "/stop", Origin=origin)[0] == 403
    assert server.ask("POST", "/stop")[0] == 200
    for site in ("cross-site", "same-site"):
        assert server.ask("GET", "/images/harbour", Sec_Fetch_Site=site)[0] == 403
    assert server.ask("GET", "/images/harbour", Sec_Fetch_Site="same-origin")[0] == 200
    _, headers, page = server.get("/")
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    cookie, *attributes = headers["Set-Cookie"].split("; ")
    assert {"HttpOnly", "SameSite=Strict"} <= set(attributes)
    for name, status in ((cookie, 200), (cookie[:-1], 403), ("neural-style=ö", 403)):
        asked = server.ask("POST", "/stop", Origin="https://art.example.com", Cookie=name)
        assert asked[0] == status
    assert b"http://" not in page.replace(b"http://127.0.0.1", b"") and b"https://" not in page
    with Server(tmp_path, network_file, "0.0.0.0", "öpen", "art.example.com") as guarded:
        for name, password, wanted in (("", None, 401), ("me", "wrong", 401), ("me", "öpen", 200)):
            known = base64.b64encode(f"{name}:{password}".encode()).decode()
            asked = {"Authorization": f"Basic {known}"} if password else {}
            assert guarded.ask("GET", "/", **asked)[0] == wanted
            assert guarded.ask("GET", "/", Host="evil.example", **asked)[0] == 403
        for host in ("10.1.2.3:80", "art.example.com", f"{socket.gethostname().partition('.')[0]}.local:80"):
            assert guarded.ask("GET", "/", Host=host, **asked)[0] == 200
        # A proxy with TLS passes the page's origin on, and its own name for the page or the public one.
        for host in (f"127.0.0.1:{guarded.port}", "art.example.com"):
            for origin, status in (
                ("https://art.example.com", 200),
                ("https://art.example.com.evil.example", 403),
            ):
                assert guarded.ask("POST", "/stop", Host=host, Origin=origin, **asked)[0] == status


def test_what_was_sent_and_painted_is_there_after_a_restart_until_it_is_removed(
    server, tmp_path, network_file, image_files
):
    with Server(tmp_path / "new" / "studio", network_file) as first:
        content, style, other = sent(first, image_files)
        form = {"content": content, "styles": [style], "recipe": "best", "values": {"iterations": "3"}}
        result = first.paint(**form)
        (first.studio.folder / "page" / "damaged.json").write_text("{")
    with Server(tmp_path / "new" / "studio", network_file) as second:
        assert list(second.studio.results.values()) == [result]
        assert second.get(f"/images/{result.name}")[0] == 200
        assert second.paint(**form).name == f"{result.name}-2"
        for key in (content, style, other, result.name, f"{result.name}-2"):
            assert second.get(f"/images/{key}")[0] == 200
            assert second.post(f"/remove/{key}") == {}
            assert second.get(f"/images/{key}")[0] == 404
        assert "gone" in second.post(f"/remove/{content}")["error"]
        left = [path.name for path in second.studio.folder.rglob("*") if path.is_file()]
        assert sorted({*left} - {"damaged.json"}) in ([], ["state"]), left


@pytest.mark.slow
def test_a_film_is_painted_stopped_and_gone_on_with(server, tmp_path, image_files):
    av = pytest.importorskip("av")
    clip = write_clip(av, tmp_path / "clip.mp4", 5)
    key = server.upload(clip)
    assert key["frames"] == 5 and "film" in server.upload(clip, "styles")["error"]
    form = {
        "content": key["key"],
        "styles": ["strokes"],
        "recipe": "best",
        "values": {"iterations": "3"},
        "film": True,
    }
    assert server.post("/paint", form) == {}
    server.wait(lambda: server.painter.task.seen.number)
    server.post("/stop")
    result = server.finished()
    if not result.whole:
        assert server.post("/go-on") == {}
        result = server.finished()
    assert result.whole and result.frames == 5
    for path in (f"/results/{result.name}.png?frame=5", f"/images/{key['key']}?frame=5"):
        assert Image.open(io.BytesIO(server.get(path)[2])).size == (64, 48)
    with av.open(io.BytesIO(server.get(f"/results/{result.name}.mp4")[2])) as film:
        assert sum(1 for _ in film.decode(video=0)) == 5
    assert server.again(result, tmp_path / "again")


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return listening.getsockname()[1]


def test_live_shows_a_run_until_it_ends(neural_style, network_file, image_files, monkeypatch):
    from styling.live import view

    monkeypatch.setattr(view, "SECONDS_BETWEEN_PICTURES", 0)
    content, style, _ = image_files
    port, seen = free_port(), []

    def ask(method, path):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        with contextlib.closing(connection):
            connection.request(method, path, headers={"Origin": f"http://127.0.0.1:{port}"})
            answer = connection.getresponse()
            if path == "/events":
                lines = [answer.readline().decode() for _ in range(2)]
                return answer.status, lines[1].removeprefix("data:").encode()
            return answer.status, answer.read()

    def watch():
        while not seen or seen[-1][0][0] != 200:
            with contextlib.suppress(OSError):
                read = [ask("GET", path) for path in ("/seen.jpg", "/events", "/")]
                seen.append([*read, ask("POST", "/stop"), ask("POST", "/")])
            time.sleep(0.02)

    watcher = threading.Thread(target=watch)
    watcher.start()
    arguments = ["--content", content, "--styles", style, "--network", network_file, "--iterations", 800]
    result = neural_style(*arguments, "--output", "x.png", "--live", port, check=0)
    watcher.join(timeout=SECONDS)
    picture, (status, event), (_, page), *refused = seen[-1]
    assert f"http://127.0.0.1:{port}/" in result.stdout
    assert Image.open(io.BytesIO(picture[1])).size == (40, 30)
    run = json.loads(event)
    assert status == 200 and run["iterations"] == 800 and run["names"][-1] == "total" and run["history"]
    assert b"<form" not in page and all(status in (404, 405) for status, _ in refused)
    with pytest.raises(OSError):
        ask("GET", "/")
    with socket.create_server(("127.0.0.1", port)):
        wrong = neural_style(*arguments, "--output", "y.png", "--live", port, check=2)
    assert wrong.stderr.splitlines() == [
        f"neural-style: error: argument --live: {port} is taken by another program; give another port"
    ]


@pytest.mark.parametrize(
    "words, said",
    [
        ("--public", "argument --public: goes together with --host or --public-name"),
        ("--port 70000", "argument --port: 70000 is not a number from 0 to 65535"),
        ("--network nowhere.mat", "argument --network: nowhere.mat: No such file"),
        ("--folder nowhere/at/all", "argument --folder: there is no folder nowhere/at"),
        (
            "--host no.such.host.invalid",
            "argument --host: no.such.host.invalid is no address of this machine",
        ),
        ("--threads 0", "argument --threads: 0 is not"),
        ("--prot 1", "argument --prot: there is no such flag; did you mean --port?"),
    ],
)
def test_wrong_command_lines(tmp_path, words, said):
    from styling.web.__main__ import main

    result = run_in_process(main, tmp_path, ["--folder", tmp_path, *words.split()])
    assert result.returncode == 2 and f"neural-style-web: error: {said}" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_the_program_says_where_its_page_and_its_pictures_are_and_ends(tmp_path):
    command = [
        sys.executable,
        "-m",
        "styling.web",
        "--port",
        "0",
        "--host",
        "0.0.0.0",
        "--folder",
        tmp_path / "f",
    ]
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as program:
        lines = [program.stdout.readline() for _ in range(3)]
        host, port = re.match(r"the page is at http://([\d.]+):(\d+)/", lines[1]).groups()
        assert host != "0.0.0.0" and f"in {tmp_path / 'f'}" in lines[1] and "its password is" in lines[2]
        connection = http.client.HTTPConnection(host, int(port), timeout=SECONDS)
        with contextlib.closing(connection):
            connection.request("GET", "/")
            assert connection.getresponse().status == 401
        program.send_signal(signal.SIGTERM)
        assert program.wait(timeout=SECONDS) == 143

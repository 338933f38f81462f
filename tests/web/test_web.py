"""The page over HTTP: it paints what the command line does, keeps it, and shows nothing else."""

import base64
import contextlib
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
from urllib.request import urlopen

import numpy as np
import pytest
from conftest import ROOT, run_in_process
from PIL import Image
from serving import SECONDS, Server, ask, write_clip

from styling.network import networks

HARBOUR = {"content": "harbour.jpg", "styles": ["woodcut.jpg"]}


def sent(server, image_files):
    """The keys of a photograph and two paintings that were sent."""
    kinds = ("content", "styles", "styles")
    return [server.upload(file, kind)["key"] for file, kind in zip(image_files, kinds, strict=True)]


def pixels(server, key, kind=""):
    """A result as a browser gets it."""
    return np.asarray(Image.open(io.BytesIO(server.get(f"/results/{key}?as={kind}")[2])), int)


@pytest.mark.parametrize("recipe", ["gatys2015", pytest.param("tseng2017", marks=pytest.mark.slow)])
def test_the_command_line_makes_the_same_picture_from_the_zip(server, tmp_path, image_files, recipe):
    content, *styles = sent(server, image_files)
    values = {"iterations": "6", "max_size": "32", "style_blend_weights": "30 70", "colors": "content"}
    key = server.paint(content=content, styles=styles, recipe=recipe, values=values)
    result = server.studio.pictures[key]
    assert key == "content-style1-style2.png" and result.size == (32, 24) and result.form.values == values
    assert server.again(key, tmp_path / "again") == server.get(f"/results/{key}")[2]
    assert abs(pixels(server, key, "jpg") - pixels(server, key)).mean() < 16
    barely = {"iterations": "1", "optimizer": "adam", "learning_rate": "0.001", "max_size": "32"}
    onward = server.paint(content=content, styles=styles, values=barely, start=key)
    assert abs(pixels(server, onward) - pixels(server, key)).max() <= 1  # begins with it
    assert server.again(onward, tmp_path / "again") == server.get(f"/results/{onward}")[2]


def test_a_picture_that_begins_in_one_pass_is_the_command_lines_too(tmp_path, image_files):
    with Server(tmp_path / "studio", networks.find("small")) as server:
        content, style, _ = sent(server, image_files)
        form = {"content": content, "styles": [style]}
        for recipe, values in (("instant", {"max_size": "64"}), ("best", {"iterations": "3"})):
            key = server.paint(**form, recipe=recipe, values=values)
            assert server.again(key, tmp_path / "again") == server.get(f"/results/{key}")[2]
            onward = server.paint(**form, recipe=recipe, values=values, start=key)
            assert pixels(server, onward).shape == pixels(server, key).shape


def test_masks_are_the_command_lines_too(server, tmp_path, image_files):
    content, *styles = sent(server, image_files)
    keys = []
    for name, box in (("left", (0, 0, 20, 30)), ("right", (20, 0, 40, 30)), ("stays", (0, 0, 12, 12))):
        mask = Image.new("L", (40, 30))
        mask.paste(255, box)
        mask.save(tmp_path / f"{name}.png")
        keys.append(server.upload(tmp_path / f"{name}.png", "mask")["key"])
    assert keys == ["left.png", "right.png", "stays.png"]
    assert server.upload(tmp_path / "left.png", "mask", "again.png")["key"] == "left.png"  # is not sent twice
    form = {"content": content, "styles": styles, "style_masks": keys[:2], "content_mask": keys[2]}
    values = {"iterations": "6", "colors": "matched", "mask_feather": "0"}
    for wrong in ({"style_masks": ["no"]}, {"content_mask": "../.state"}):
        assert server.post("/paint", form | wrong)["field"] in wrong
    key = server.paint(**form, values=values)
    assert "--style-masks left.png right.png" in server.studio.pictures[key].command
    same = (np.asarray(Image.open(image_files[0])) == pixels(server, key)).all(-1)
    assert same[:12, :12].all() and not same[12:, 12:].all()
    assert server.again(key, tmp_path / "again") == server.get(f"/results/{key}")[2]


@pytest.mark.slow
@pytest.mark.usefixtures("tiny_scales")
@pytest.mark.parametrize(
    "values", [{"scales": "1"}, {"scales": "0.5 1"}, {"scales": "0.5 1", "scale_shares": "1 10000"}]
)
def test_a_run_that_is_stopped_is_the_command_lines_too_and_goes_on(server, tmp_path, image_files, values):
    content, style, _ = sent(server, image_files)
    values = {"iterations": "30000", "optimizer": "adam", "clip": "on"} | values
    assert server.post("/paint", {"content": content, "styles": [style], "values": values}) == {}
    stopped = []
    for least in (5, 0):
        before = [row[0] for row in server.painter.task.facts.get("history", [])]
        server.wait(lambda now=before, least=least: progress(server) >= max([*now, least]) + 1)
        server.post("/stop")
        stopped.append(server.finished())
        assert re.match(r"stopped after \d+ of 30000 iterations", server.studio.pictures[stopped[-1]].note)
        picture = server.get(f"/results/{stopped[-1]}")[2]
        assert server.again(stopped[-1], tmp_path / "again") == picture
        assert server.studio.resumable == stopped[-1]
        if least:
            assert server.post("/go_on") == {}
    assert (pixels(server, stopped[0]) != pixels(server, stopped[1])).any()


def progress(server):
    """The iteration of the run that was seen last."""
    return server.painter.task.facts.get("history", [[0]])[-1][0]


def test_what_is_wrong_is_said_in_one_line_with_its_field(server, tmp_path, image_files):
    content, style, _ = sent(server, image_files)
    form = {"content": content, "styles": [style], "recipe": "best"}
    for values, line in (
        ({"iterations": "many"}, "many is not a whole number"),
        ({"width": "0"}, "0 is not"),
        ({"learning_rate": "5"}, "has no effect with --optimizer lbfgs"),
        ({"tv_weight": "-1"}, "-1"),
    ):
        said = server.post("/paint", form | {"values": values})
        assert said["field"] in values and said["error"].startswith(line), said
    text = tmp_path / "text.jpg"
    text.write_text("no image")
    assert server.upload(text)["error"] == "text.jpg: is no image that can be read"
    assert not server.studio.results and "text.jpg" not in server.studio.pictures
    failing = {"iterations": "50", "learning_rate": "1e30", "optimizer": "gradient-descent", "scales": "1"}
    assert server.post("/paint", form | {"values": failing}) == {}
    server.wait(lambda: server.painter.task.is_done)
    assert "lower --learning-rate" in server.painter.task.facts["error"]
    long = HARBOUR | {"values": {"iterations": "100000", "optimizer": "adam", "max_size": "32"}}
    assert server.post("/paint", long) == {}
    assert server.post("/paint", long)["error"] == "A picture is being painted; stop it first."


def test_no_file_of_the_machine_can_be_named_or_fetched(server, tmp_path, image_files):
    secret, fresh = tmp_path / "secret.png", tmp_path / "fresh.png"
    Image.new("RGB", (9, 9), "red").save(secret)
    (server.studio.folder / "link.png").symlink_to(secret)
    for name in (
        "secret.png",
        f"../{secret.name}",
        "../../secret.png",
        str(secret),
        "link.png",
        "page/.state",
    ):
        for folder in ("images", "results", "page"):
            for path in (name, quote(name, safe=""), f"%2e%2e/{quote(name)}"):
                status, _, body = server.get(f"/{folder}/{path}")
                assert status == 404 and secret.read_bytes() not in body
    key = server.upload(image_files[0], name="../../etc/--pass\nwd.png")["key"]
    assert key == "pass-wd.png"
    form = {"content": key, "styles": ["woodcut.jpg"], "recipe": "best", "values": {}}
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
        {"styles": 3},
    ):
        assert server.post("/paint", form | change)["error"], change
    for key in ("harbour.jpg", "../.state", "link.png"):
        assert server.ask("POST", f"/remove/{quote(key, safe='')}")[0] in (400, 404)
    assert server.post("/paint", "[" * 10000)["error"]
    assert not fresh.exists() and server.painter.task is None


def test_other_pages_and_strangers_are_refused(server, tmp_path, network_file):
    foreign = (f"evil.example:{server.port}", "e_vil.example", "127.0.0.1.evil.example", "192.168.1.1", " ")
    for host in foreign:
        assert server.ask("GET", "/", Host=host)[0] in (400, 403)
    assert server.ask("GET", "/", Host="localhost:9999")[0] == 200
    foreign = ("http://evil.example", "null", f"https://127.0.0.1:{server.port}", "http://127.0.0.1:1", "")
    for origin in foreign:
        assert server.ask("POST", "/stop", Origin=origin)[0] == 403
    assert server.ask("POST", "/stop")[0] == 200
    for site, status in (("cross-site", 403), ("same-site", 403), ("same-origin", 200)):
        assert server.ask("GET", "/images/harbour.jpg", Sec_Fetch_Site=site)[0] == status
    _, headers, page = server.get("/")
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert b"http://" not in page.replace(b"http://127.0.0.1", b"") and b"https://" not in page
    cookie, *attributes = headers["Set-Cookie"].split("; ")
    assert {"HttpOnly", "SameSite=strict"} <= {*attributes}
    for sent, status in ((cookie, 200), (cookie[1:], 403), ("neural-style=\xf6", 403)):
        assert server.ask("POST", "/stop", Origin="https://art.example.com", Cookie=sent)[0] == status
    with Server(tmp_path, network_file, "0.0.0.0", "\xf6pen", "art.example.com") as guarded:
        for password, wanted in ((None, 401), ("wrong", 401), ("\xf6pen", 200)):
            known = base64.b64encode(f"me:{password}".encode()).decode()
            asked = {"Authorization": f"Basic {known}"} if password else {}
            assert guarded.ask("GET", "/", **asked)[0] == wanted
            for host in ("evil.example", "10.1.2.3.4", "999.1.2.3"):  # the last two are no addresses
                assert guarded.ask("GET", "/", Host=host, **asked)[0] == 403
        names = ("10.1.2.3:80", "art.example.com", f"{socket.gethostname().partition('.')[0]}.local:80")
        for host in names:  # a proxy with TLS changes the origin
            assert guarded.ask("GET", "/", Host=host, **asked)[0] == 200
            for sent, status in ((cookie, 200), ("", 403)):
                own = asked | {"Host": host, "Origin": "https://art.example.com", "Cookie": sent}
                assert guarded.ask("POST", "/stop", **own)[0] == status


def test_what_was_sent_and_painted_is_there_after_a_restart_until_it_is_removed(
    tmp_path, network_file, image_files
):
    with Server(tmp_path / "new" / "studio", network_file) as first:
        content, style, other = sent(first, image_files)
        form = {"content": content, "styles": [style], "values": {"iterations": "3"}}
        key = first.paint(**form)
        (first.studio.folder / "page" / "damaged.json").write_text("{")
    with Server(tmp_path / "new" / "studio", network_file) as second:
        assert second.studio.results == first.studio.results
        again = second.paint(**form)
        assert again == "content-style1-2.png"
        for one in (content, style, other, key, again):
            assert second.get(f"/images/{one}")[0] == 200
            assert second.post(f"/remove/{one}") == {}
            assert second.get(f"/images/{one}")[0] == 404
        assert "gone" in second.post(f"/remove/{content}")["error"]
        assert [path.name for path in second.studio.folder.rglob("*.*")] == ["damaged.json"]


@pytest.mark.slow
def test_a_film_is_painted_stopped_and_gone_on_with(server, tmp_path):
    av = pytest.importorskip("av")
    clip = server.upload(write_clip(av, tmp_path / "clip.mp4", 5))
    assert clip["frames"] == 5 and "film" in server.upload(tmp_path / "clip.mp4", "styles")["error"]
    form = {"content": "clip.mp4", "styles": ["strokes.jpg"], "values": {"iterations": "3"}, "film": True}
    assert server.post("/paint", form) == {}
    server.wait(lambda: server.painter.task.jpeg)
    server.post("/stop")
    key = server.finished()
    if not server.studio.pictures[key].whole:
        assert server.post("/go_on") == {}
        key = server.finished()
    result = server.studio.pictures[key]
    assert result.whole and result.frames == 5
    for path in (f"/results/{key}?frame=5", "/images/clip.mp4?frame=5"):
        assert Image.open(io.BytesIO(server.get(path)[2])).size == (64, 48)
    with av.open(io.BytesIO(server.get(f"/results/{key}")[2])) as film:
        assert sum(1 for _ in film.decode(video=0)) == 5
    assert server.again(key, tmp_path / "again")


def test_live_shows_a_run_until_it_ends(neural_style, network_file, image_files, monkeypatch):
    from styling.live import view

    monkeypatch.setattr(view, "SECONDS_BETWEEN_PICTURES", 0)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url, seen = f"http://127.0.0.1:{port}/", []

    def watch():
        while not seen:
            with contextlib.suppress(OSError):  # such as that there is no picture yet
                picture, page = (urlopen(url + path, timeout=5).read() for path in ("seen.jpg", ""))
                with urlopen(f"{url}events", timeout=5) as events:
                    run = [events.readline() for _ in range(2)][1]
                seen.extend([picture, page, run, ask(url, "POST", "/stop")[0], ask(url, "POST", "/")[0]])
            time.sleep(0.02)

    watcher = threading.Thread(target=watch)
    watcher.start()
    files = ["--content", image_files[0], "--styles", image_files[1], "--network", network_file]
    result = neural_style(*files, "--iterations", 400, "--output", "x.png", "--live", port, check=0)
    watcher.join(timeout=SECONDS)
    picture, page, run, *refused = seen
    assert url in result.stdout and Image.open(io.BytesIO(picture)).size == (40, 30)
    run = json.loads(run.removeprefix(b"data:"))
    assert run["names"][-1] == "total" and run["history"]
    assert b"<form" not in page and {*refused} <= {404, 405}
    with pytest.raises(OSError):
        urlopen(url)
    with socket.create_server(("127.0.0.1", port)):
        wrong = neural_style(*files, "--output", "y.png", "--live", port, check=2)
    assert wrong.stderr.splitlines() == [
        f"neural-style: error: argument --live: {port} is taken by another program; give another port"
    ]


@pytest.mark.parametrize(
    "words, said",
    [
        ("--public", "argument --public: goes together with --host or --public-name"),
        ("--port 70000", "argument --port: 70000 is not a number from 0 to 65535"),
        ("--folder nowhere/at/all", "argument --folder: there is no folder nowhere/at"),
        ("--host no.such.host.invalid", "argument --host: no.such.host.invalid is no address"),
        ("--prot 1", "argument --prot: there is no such flag; did you mean --port?"),
    ],
)
def test_wrong_command_lines(tmp_path, words, said):
    from styling.web.__main__ import main

    result = run_in_process(main, tmp_path, ["--folder", tmp_path, *words.split()])
    assert result.returncode == 2 and f"neural-style-web: error: {said}" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_the_program_says_where_its_page_and_its_pictures_are_and_ends(tmp_path):
    flags = ["--port", "0", "--host", "0.0.0.0", "--folder", tmp_path / "f"]
    command = [sys.executable, "-m", "styling.web", *flags]
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as program:
        lines = [program.stdout.readline() for _ in range(3)]
        url, host = re.match(r"the page is at (http://([\d.]+):\d+/)", lines[1]).groups()
        assert host != "0.0.0.0" and f"in {tmp_path / 'f'}" in lines[1] and "its password is" in lines[2]
        assert ask(url, "GET", "/")[0] == 401
        program.send_signal(signal.SIGTERM)
        assert program.wait(timeout=SECONDS) == 143

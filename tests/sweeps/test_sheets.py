"""What people look at of a sweep: the contact sheets and the page."""

import shlex
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from urllib.parse import unquote, urlsplit

import imageio.v3 as iio
import numpy as np
import pytest

from styling.sweeps import page, results, sheet, specs
from styling.sweeps.results import Cell, Result

COLORS = [(200, 30, 30), (30, 160, 30), (40, 40, 210), (220, 190, 20), (20, 190, 190), (190, 30, 190)]
SOURCES = {"content": (150, 90, 60), "style": (60, 90, 150), "other": (110, 150, 60)}
DONE = Result("done", "", 10, 1.5, {"content": 3.0, "total": 4.25})
VOID = {"meta", "img", "br", "wbr", "link", "input"}
GRID = """
title = "Weights"
content = "content.png"
styles = "style.png"
rows = { tv_weight = [1, 2] }
columns = { seed = [3, 4, 5] }
"""
ODD = ["a%41b", "c#d", "e&amp;f", "g'h\"i", "j=k.ü", "-l <m>"]


def plain(path, color, height=60, width=80):
    iio.imwrite(path, np.full((height, width, 3), color, np.uint8))


def make(folder, text, stems=None, results_by_index=None, shape=(60, 80)):
    """A spec of this text and its runs; all are done, but for those named, in COLORS by their index."""
    (folder / "runs").mkdir()
    (folder / "spec.toml").write_text(text, encoding="utf-8")
    for name, color in SOURCES.items():
        plain(folder / f"{name}.png", color)
    spec = specs.read(str(folder / "spec.toml"))
    cells, runs = specs.cells(spec, {}), []
    specs.locate(cells, spec, {}, [])
    for i, cell in enumerate(cells):
        path = folder / "runs" / (stems[i] if stems else f"run-{i}")
        run = Cell(cell.place, cell.labels, cell.job, path, (results_by_index or {}).get(i, DONE))
        if run.result.status == "done":
            plain(run.file(".png"), COLORS[i % len(COLORS)], *shape)
            run.file(".toml").touch()
        runs.append(run)
    return spec, runs


def region(path, color):
    """The box (top, bottom, left, right) and the number of a sheet's pixels of a color."""
    found = np.argwhere((iio.imread(path).astype(int) == color).all(axis=2))
    if not len(found):
        return None
    (top, left), (bottom, right) = found.min(axis=0), found.max(axis=0)
    return top, bottom, left, right, len(found)


class Page(HTMLParser):
    """The elements of a page, checked to be closed in their order; the text of each."""

    def __init__(self, path):
        super().__init__()
        self.open, self.elements, self.text = [], [], ""
        self.feed(path.read_text(encoding="utf-8"))
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += "" if self.open and self.open[-1] in ("style", "script") else data

    def of(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def links(self):
        found = [attributes.get(name) for _, attributes in self.elements for name in ("href", "src")]
        return [link for link in found if link and not link.startswith("data:")]


def test_pictures_are_where_they_belong(tmp_path, monkeypatch):
    spec, runs = make(tmp_path, GRID)
    [path] = sheet.write(tmp_path, spec, runs)
    assert path == tmp_path / "sheet.png"
    boxes = [region(path, color) for color in COLORS]
    for top, bottom, left, right, count in boxes:
        assert (bottom - top + 1, right - left + 1) == (60, 80)  # whole, and never enlarged
        assert count == 60 * 80
    tops, lefts = [box[0] for box in boxes], [box[2] for box in boxes]
    assert tops[0] == tops[1] == tops[2] < tops[3] == tops[4] == tops[5]
    assert lefts[:3] == lefts[3:] == sorted(set(lefts[:3]))
    monkeypatch.setattr(sheet, "MOST_PIXELS", 12 * 40 * 40)  # with labels, there are 3 rows of 4
    sheet.write(tmp_path, spec, runs)
    assert region(path, COLORS[0])[-1] == 40 * 30


def test_words_stand_where_there_is_no_picture(tmp_path):
    failed = Result("failed", "the loss became NaN; lower --learning-rate " * 20)
    spec, runs = make(tmp_path, GRID, results_by_index={1: failed, 2: Result()})
    runs[3].file(".png").write_bytes(b"no picture")
    runs[4].file(".png").unlink()
    [path] = sheet.write(tmp_path, spec, runs)
    shown = [region(path, color) is not None for color in COLORS]
    assert shown == [True, False, False, False, False, True]
    first, last = region(path, COLORS[0]), region(path, COLORS[5])
    field = iio.imread(path).astype(int)[first[0] : first[1] + 1, first[3] + 13 : last[2] - 13]
    assert field.min() < 200 and np.median(field) > 220  # words
    assert (field.max(axis=2) - field.min(axis=2)).max() < 40  # no colours


def test_images_are_shown_once_where_all_runs_share_them(tmp_path):
    text = 'title = "A"\nrows = { content = ["content.png", "other.png"] }\nstyles = "style.png"\n'
    spec, runs = make(tmp_path, text + "columns = { seed = [1, 2] }\n")
    page_sources, row_sources, column_sources = sheet.sources(runs)
    assert dict(page_sources) == {0: (("styles", tmp_path / "style.png"),)}
    names = {i: [path.stem for _, path in pairs] for i, pairs in row_sources.items()}
    assert names == {0: ["content"], 1: ["other"]} and not column_sources
    [path] = sheet.write(tmp_path, spec, runs)
    assert region(path, SOURCES["style"])[1] < region(path, COLORS[0])[0]  # in the head
    for i, name in ((0, "content"), (2, "other")):  # beside their rows
        top, bottom, _, right, _ = region(path, SOURCES[name])
        picture = region(path, COLORS[i])
        assert right < picture[2] and top < picture[1] and bottom > picture[0]


LONG = "many words and_a_very_long_word_" + 30 * "without_any_end_"


@pytest.mark.parametrize("label", ["Tübingen — 日本 \U0001f600 ß", LONG])
def test_no_label_touches_a_picture(tmp_path, label):
    text = GRID.split("rows")[0].replace("Weights", label)
    text += f'rows = [{{ label = "{label}", seed = 1 }}, {{ label = "b", seed = 2 }}]\n'
    text += f'columns = [{{ label = "{label}", tv_weight = 1 }}, {{ label = "b", tv_weight = 2 }}]\n'
    spec, runs = make(tmp_path, text)
    for name in ("style.png", "content.png"):  # what has gone is left out
        (tmp_path / name).unlink()
    [path] = sheet.write(tmp_path, spec, runs)
    for color in COLORS[:4]:
        assert region(path, color)[-1] == 60 * 80
    assert "b" in Page(page.write(tmp_path, spec, runs)).text


def test_every_link_leads_to_a_file_in_the_folder(tmp_path):
    spec, runs = make(tmp_path, GRID, stems=ODD)
    for run in runs[:3]:
        plain(run.file("-grid.png"), (0, 0, 0))
        run.file("-losses.svg").write_text("<svg/>")
    sheet.write(tmp_path, spec, runs)
    results.write_table(tmp_path, runs)
    path = page.write(tmp_path, spec, runs)
    assert path == tmp_path / "index.html"
    found = Page(path)
    ids = {attributes["id"] for _, attributes in found.elements if "id" in attributes}
    files = set()
    for link in found.links:
        parts = urlsplit(link)
        assert not parts.scheme and not parts.netloc and not parts.query, link
        if not parts.path:
            assert unquote(parts.fragment) in ids
            continue
        files.add(unquote(parts.path))
        assert (tmp_path / unquote(parts.path)).is_file(), link
    assert {f"runs/{stem}.png" for stem in ODD} < files
    assert {"results.csv", "sheet.png", "runs/c#d-grid.png", "runs/a%41b-losses.svg"} < files
    assert not any("runs/g" in file and "-losses" in file for file in files)


def test_everything_inserted_is_escaped(tmp_path):
    evil = "<script>alert('x')</script> \\\"> $title $$ ${a}"
    text = GRID.split("rows")[0].replace("Weights", evil) + f'description = "{evil}"\n'
    text += f'[[rows]]\nlabel = "{evil}"\n[[columns]]\nlabel = "{evil}"\n[[columns]]\nlabel = "b"\nseed = 2\n'
    text += f'[[pages]]\nlabel = "{evil}"\n[[pages]]\nlabel = "b"\ntv_weight = 1\n'
    spec, runs = make(tmp_path, text, results_by_index={1: Result("failed", evil)})
    found = Page(page.write(tmp_path, spec, runs))
    assert len(found.of("script")) == 1
    for attributes in found.of("img"):
        assert set(attributes) <= {"src", "alt", "loading", "width", "height", "title", "class"}
    assert found.text.count(evil.replace("\\", "")) > 8
    assert found.text.count(evil) >= 2  # of the run that failed


def test_the_page_says_what_became_of_the_runs_and_how_to_make_them_again(tmp_path):
    failed = Result("failed", "it diverged")
    text = GRID.replace('"style.png"', '["style.png", "a $b.png"]')
    plain(tmp_path / "a $b.png", (1, 2, 3))
    spec, runs = make(tmp_path, text, results_by_index={1: failed, 2: Result()})
    runs[4] = replace(runs[5], place=runs[4].place)  # in two places
    path = page.write(tmp_path, spec, runs)
    found = Page(path)
    assert "3 of 5 runs done, 1 failed, 1 waiting" in found.text
    assert found.text.count("not computed yet") == 1
    assert found.text.count("it diverged") == 2  # in its cell, and in its dialog
    assert found.text.count("pip install matplotlib") == 3
    assert [one["id"] for one in found.of("dialog")] == ["run-0", "run-1", "run-3", "run-5"]
    assert "4.25" in found.text and "10 iterations in 1.5 seconds" in found.text
    commands = [part.split("</pre>")[0] for part in path.read_text().split("<pre>")[1:]]
    images = [str(tmp_path / name) for name in ("content.png", "style.png", "a $b.png")]
    assert len(commands) == 3
    assert shlex.split(unescape(commands[0]).replace("\\\n", "")) == [
        *("neural-style", "--recipe", "runs/run-0.toml"),
        *("--content", images[0], "--styles", *images[1:], "--output", "run-0.png"),
    ]


def test_a_browser_opens_the_run_of_the_fragment(tmp_path, chromium):
    spec, runs = make(tmp_path, GRID, stems=ODD)
    path = page.write(tmp_path, spec, runs)
    link = next(link for link in Page(path).links if link.startswith("#c"))
    shown = chromium.new_page()
    shown.goto(path.as_uri() + link)
    opened = shown.locator("dialog[open]")
    assert opened.get_attribute("id") == "c#d"
    assert "content_weight" in opened.text_content()  # what all runs share has been moved here
    shown.close()

"""What people look at of a sweep: the contact sheets and the page."""

import shlex
import shutil
import subprocess
from html import unescape
from html.parser import HTMLParser
from urllib.parse import unquote, urlsplit

import imageio.v3 as iio
import numpy as np
import pytest

from styling.sweeps import page, results, sheet, specs
from styling.sweeps.results import Entry, Result

COLORS = [(200, 30, 30), (30, 160, 30), (40, 40, 210), (220, 190, 20), (20, 190, 190), (190, 30, 190)]
SOURCES = {"content": (150, 90, 60), "style": (60, 90, 150), "other": (110, 150, 60)}
DONE = Result("done", "", 10, 1.5, ("content", "total"), ((1, 9, 12.5), (10, 3, 4.25)))
VOID = {"meta", "img", "br", "wbr", "link", "input"}
GRID = """
title = "Weights"
content = "content.png"
styles = "style.png"
rows = { tv_weight = [1, 2] }
columns = { seed = [3, 4, 5] }
"""


def plain(path, color, height=60, width=80):
    iio.imwrite(path, np.full((height, width, 3), color, np.uint8))


def make(folder, text, stems=None, results_by_index=None, shape=(60, 80)):
    """A spec of this text and its entries; all are done, but for those named, in COLORS by their index."""
    (folder / "runs").mkdir()
    (folder / "spec.toml").write_text(text, encoding="utf-8")
    for name, color in SOURCES.items():
        plain(folder / f"{name}.png", color)
    spec = specs.read(str(folder / "spec.toml"))
    nothing = specs.Variation()
    files = specs.find_images(specs.image_names(spec, nothing), spec, {}, [])
    entries = []
    for i, cell in enumerate(specs.cells(spec, nothing, files)):
        stem = stems[i] if stems else f"run-{i}"
        result = (results_by_index or {}).get(i, DONE)
        if result.status == "done":
            plain(results.picture(folder, stem), COLORS[i % len(COLORS)], *shape)
            (folder / "runs" / f"{stem}.toml").touch()
        entries.append(Entry(cell, stem, result))
    return spec, entries


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


def test_pictures_are_where_they_belong(tmp_path):
    spec, entries = make(tmp_path, GRID)
    [path] = sheet.write(tmp_path, spec, entries)
    assert path == tmp_path / "sheet.png"
    boxes = [region(path, color) for color in COLORS]
    for top, bottom, left, right, count in boxes:
        assert (bottom - top + 1, right - left + 1) == (60, 80)  # whole, and never enlarged
        assert count == 60 * 80
    tops, lefts = [box[0] for box in boxes], [box[2] for box in boxes]
    assert tops[0] == tops[1] == tops[2] < tops[3] == tops[4] == tops[5]
    assert lefts[:3] == lefts[3:] == sorted(set(lefts[:3]))


def test_pictures_of_different_shapes_are_centred_in_equal_cells(tmp_path):
    spec, entries = make(tmp_path, GRID, shape=(100, 300))
    plain(results.picture(tmp_path, entries[1].stem), COLORS[1], 300, 100)
    [path] = sheet.write(tmp_path, spec, entries)
    centres = [((box[0] + box[1]) // 2, (box[2] + box[3]) // 2) for box in (region(path, c) for c in COLORS)]
    assert abs(centres[0][0] - centres[1][0]) <= 1
    assert abs((centres[1][1] - centres[0][1]) - (centres[2][1] - centres[1][1])) <= 1
    assert abs(centres[1][1] - centres[4][1]) <= 1


def test_what_is_not_there_is_a_pale_field(tmp_path):
    failed = Result("failed", "the loss became NaN; lower --learning-rate " * 20)
    spec, entries = make(tmp_path, GRID, results_by_index={1: failed, 2: Result()})
    results.picture(tmp_path, entries[3].stem).write_bytes(b"no picture")
    results.picture(tmp_path, entries[4].stem).unlink()
    [path] = sheet.write(tmp_path, spec, entries)
    shown = [region(path, color) is not None for color in COLORS]
    assert shown == [True, False, False, False, False, True]
    image = iio.imread(path).astype(int)
    first, last = region(path, COLORS[0]), region(path, COLORS[5])
    step = (last[2] - first[2]) // 2
    field = image[first[0] : first[1] + 1, first[2] + step : first[3] + 1 + step]
    assert field.min() < 200  # words
    assert np.median(field) > 220
    assert (field.max(axis=2) - field.min(axis=2)).max() < 40  # no colours
    assert image[first[0] : first[1] + 1, first[3] + 2 : first[3] + 4].min() == 255  # and none beside it


def test_each_page_has_a_sheet(tmp_path):
    text = GRID.replace("rows", "pages").replace("seed", "learning_rate")
    spec, entries = make(tmp_path, text)
    paths = sheet.write(tmp_path, spec, entries)
    assert [path.name for path in paths] == ["sheet-1.png", "sheet-2.png"] == sheet.names(spec)
    for number, path in enumerate(paths):
        assert [region(path, color) is not None for color in COLORS] == [number == 0] * 3 + [number == 1] * 3


def test_images_are_shown_once_where_all_runs_share_them(tmp_path):
    text = 'title = "A"\nrows = { content = ["content.png", "other.png"] }\nstyles = "style.png"\n'
    spec, entries = make(tmp_path, text + "columns = { seed = [1, 2] }\n")
    of_page, of_rows, of_columns = sheet.sources(entries)
    assert dict(of_page) == {0: [("styles", tmp_path / "style.png")]}
    assert {i: [path.stem for _, path in pairs] for i, pairs in of_rows.items()} == {
        0: ["content"],
        1: ["other"],
    }
    assert not of_columns
    [path] = sheet.write(tmp_path, spec, entries)
    picture = region(path, COLORS[0])
    _, bottom, _, _, _ = region(path, SOURCES["style"])  # in the head
    assert bottom < picture[0]
    for i, name in ((0, "content"), (2, "other")):  # beside their rows
        top, bottom, _, right, _ = region(path, SOURCES[name])
        picture = region(path, COLORS[i])
        assert right < picture[2]
        assert top < picture[1] and bottom > picture[0]


def test_an_image_that_has_gone_is_left_out(tmp_path):
    spec, entries = make(tmp_path, GRID)
    (tmp_path / "style.png").unlink()
    (tmp_path / "content.png").write_bytes(b"")
    [path] = sheet.write(tmp_path, spec, entries)
    assert region(path, COLORS[5])
    assert "Weights" in Page(page.write(tmp_path, spec, entries)).text


LONG = "many words and_a_very_long_word_" + 30 * "without_any_end_"


@pytest.mark.parametrize(
    "label", ["", "Tübingen — 日本 \U0001f600 ß", LONG, 400 * "words, ", "a\\tb\\u0007\\nc"]
)
def test_no_label_touches_a_picture(tmp_path, label):
    text = GRID.split("rows")[0].replace("Weights", label)
    text += f'[[rows]]\nlabel = "{label}"\n[[rows]]\nlabel = "b"\nseed = 2\n'
    text += f'[[columns]]\nlabel = "{label}"\ntv_weight = 1\n[[columns]]\nlabel = "b"\ntv_weight = 2\n'
    spec, entries = make(tmp_path, text)
    [path] = sheet.write(tmp_path, spec, entries)
    for color in COLORS[:4]:
        assert region(path, color)[-1] == 60 * 80
    page.write(tmp_path, spec, entries)


def test_many_runs_make_a_sheet_of_bounded_size(tmp_path, monkeypatch):
    text = GRID.replace("[1, 2]", str(list(range(12)))).replace("[3, 4, 5]", str(list(range(10))))
    spec, entries = make(tmp_path, text, shape=(200, 300))
    monkeypatch.setattr(sheet, "MOST_PIXELS", 1_500_000)
    [path] = sheet.write(tmp_path, spec, entries)
    height, width, _ = iio.imread(path).shape
    assert 1_000_000 < height * width <= 1_800_000  # about what was asked for


def test_a_sheet_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    spec, entries = make(tmp_path, GRID)
    [path] = sheet.write(tmp_path, spec, entries)
    before = path.read_bytes()
    monkeypatch.setattr(sheet.Sheet, "_draw", lambda *_: (_ for _ in ()).throw(MemoryError()))
    with pytest.raises(MemoryError):
        sheet.write(tmp_path, spec, entries)
    assert path.read_bytes() == before
    assert not list(tmp_path.glob(".*"))


ODD = ["a%41b", "c#d", "e&amp;f", "g'h\"i", "j=k.ü", "-l <m>"]


def test_every_link_leads_to_a_file_in_the_folder(tmp_path):
    spec, entries = make(tmp_path, GRID, stems=ODD)
    for stem in ODD[:3]:
        plain(tmp_path / "runs" / f"{stem}-grid.png", (0, 0, 0))
        (tmp_path / "runs" / f"{stem}-losses.svg").write_text("<svg/>")
    sheet.write(tmp_path, spec, entries)
    results.write_table(tmp_path, entries)
    path = page.write(tmp_path, spec, entries)
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
    failed = Result("failed", evil)
    spec, entries = make(tmp_path, text, results_by_index={1: failed})
    found = Page(page.write(tmp_path, spec, entries, plot_note=evil))
    assert len(found.of("script")) == 1
    for attributes in found.of("img"):
        assert set(attributes) <= {"src", "alt", "loading", "width", "height", "title"}
    shown = evil.replace("\\", "")
    assert found.text.count(shown) > 8
    assert found.text.count(evil) >= 2  # of the run that failed, and of the note


def test_the_page_says_what_became_of_the_runs(tmp_path):
    failed = Result("failed", "it diverged")
    spec, entries = make(tmp_path, GRID, results_by_index={1: failed, 2: Result()})
    entries[4] = Entry(entries[4].cell, entries[5].stem, entries[5].result)  # a run in two places
    found = Page(page.write(tmp_path, spec, entries, plot_note="install matplotlib for plots"))
    assert "3 of 5 runs done, 1 failed, 1 waiting" in found.text
    assert found.text.count("not computed yet") == 1
    assert found.text.count("it diverged") == 2  # in its cell, and in its dialog
    assert found.text.count("install matplotlib for plots") == 3
    ids = [attributes["id"] for attributes in found.of("dialog")]
    assert ids == [
        entry.stem for entry in entries if entry.result.status != "waiting" and entry is not entries[4]
    ]
    assert "4.25" in found.text and "10 iterations in 1.5 seconds" in found.text


def test_the_command_makes_the_picture_again(tmp_path):
    text = GRID.replace('"style.png"', '["style.png", "a $b.png"]')
    plain(tmp_path / "a $b.png", (1, 2, 3))
    spec, entries = make(tmp_path, text)
    (tmp_path / "runs" / f"{entries[1].stem}.toml").unlink()
    text = page.write(tmp_path, spec, entries).read_text()
    commands = [part.split("</pre>")[0] for part in text.split("<pre>")[1:]]
    assert len(commands) == len(entries) - 1
    images = [str(tmp_path / name) for name in ("content.png", "style.png", "a $b.png")]
    assert shlex.split(unescape(commands[0]).replace("\\\n", "")) == [
        *("neural-style", "--recipe", f"runs/{entries[0].stem}.toml"),
        *("--content", images[0], "--styles", *images[1:], "--output", f"{entries[0].stem}.png"),
    ]


def test_a_sweep_of_one_run(tmp_path):
    spec, entries = make(tmp_path, GRID.split("rows")[0])
    [path] = sheet.write(tmp_path, spec, entries)
    assert region(path, COLORS[0])[-1] == 60 * 80
    found = Page(page.write(tmp_path, spec, entries))
    assert "1 of 1 run done" in found.text
    assert len(found.of("dialog")) == 1


def test_a_browser_opens_the_run_of_the_fragment(tmp_path):
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if not browser:
        pytest.skip("neither chromium nor google-chrome is here")
    spec, entries = make(tmp_path, GRID, stems=ODD)
    path = page.write(tmp_path, spec, entries)
    link = next(link for link in Page(path).links if link.startswith("#c"))
    flags = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        "--disable-sync",
    ]
    flags += ["--no-first-run", f"--user-data-dir={tmp_path / 'browser'}", "--virtual-time-budget=2000"]
    result = subprocess.run(
        [browser, *flags, "--dump-dom", path.as_uri() + link], capture_output=True, text=True, timeout=60
    )
    dumped = tmp_path / "dumped.html"
    dumped.write_text(result.stdout, encoding="utf-8")
    opened = [attributes["id"] for attributes in Page(dumped).of("dialog") if "open" in attributes]
    assert opened == ["c#d"]
    dialog = result.stdout.split('<dialog id="c#d"')[1].split("</dialog>")[0]
    assert "content_weight" in dialog  # what all runs share has been moved here

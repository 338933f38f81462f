"""The page in a real browser, as somebody new uses it: what failed once stays right."""

import io
import re
import zipfile

import numpy as np
import pytest
from PIL import Image
from serving import SECONDS, write_clip


@pytest.fixture
def page(chromium, server):
    """The page in a new window, which asks for nothing from elsewhere, and in which no script fails."""
    context = chromium.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True)
    page, asked, failures = context.new_page(), [], []
    page.set_default_timeout(1000 * SECONDS)
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: failures.append(str(error)))
    page.on("console", lambda line: failures.append(line.text) if line.type == "error" else None)
    page.goto(server.url)
    page.locator("#content [aria-pressed=true]").wait_for()
    yield page
    context.close()
    assert asked and all(url.startswith((server.url, "data:")) for url in asked)
    assert not [line for line in failures if "400 (Bad Request)" not in line]  # which the page shows


def expert(page, **values):
    """Open all settings, and fill some in."""
    page.evaluate("document.querySelectorAll('#form details').forEach(one => { one.open = true; })")
    for name, value in values.items():
        page.fill(f"#{name}", value)


def chosen(page, takes):
    pressed = f"[...document.querySelectorAll('#{takes} [aria-pressed=true]')].map(one => one.title)"
    return page.evaluate(pressed)


def focus(page):
    return page.evaluate("document.activeElement.id || document.activeElement.title")


def shown(page, selector, text=None):
    """Wait until it is shown, with this text."""
    page.locator(selector, has_text=text).wait_for()


def quicken(page):
    """Ask for a small picture of few iterations."""
    expert(page, iterations="3")
    page.select_option("#recipe", "gatys2015")
    page.select_option("#max_size", "192")


def paint(page):
    """Paint a first picture to the end; its key."""
    quicken(page)
    page.click("#paint")
    shown(page, "#strip figure")
    shown(page, "#result:not([hidden])")
    return page.locator("#strip figure button").first.get_attribute("title")


def drop(page, selector, files, event="drop"):
    """Drop files, pairs of a name and bytes, on what is found there, or paste them."""
    page.evaluate(
        """([selector, files, kind]) => {
          const transfer = new DataTransfer(), at = document.querySelector(selector);
          for (const [name, bytes] of files) {
            transfer.items.add(new File([new Uint8Array(bytes)], name, {type: "image/png"}));
          }
          const options = {bubbles: true, cancelable: true, dataTransfer: transfer, clipboardData: transfer};
          if (kind == "paste") return at.dispatchEvent(new ClipboardEvent(kind, options));
          const over = new DragEvent("dragover", options);
          at.dispatchEvent(over);
          if (!over.defaultPrevented) throw new Error("the browser would leave the page");
          at.dispatchEvent(new DragEvent(kind, options));
        }""",
        [selector, [[name, list(data)] for name, data in files], event],
    )


def drag(page, selector, *points):
    """Press the mouse at the first of these points, in parts of an element's sides, and drag on."""
    box = page.locator(selector).bounding_box()
    (x, y), *others = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
    page.mouse.move(x, y)
    page.mouse.down()
    for x, y in others:
        page.mouse.move(x, y, steps=4)
    page.mouse.up()


def download(page, selector):
    with page.expect_download() as begun:
        page.click(selector)
    return begun.value.path().read_bytes()


def test_own_images_replace_the_example_and_several_are_mixed_on_purpose(page, image_files):
    content, style, other = image_files
    example = chosen(page, "styles")
    page.click("#styles [aria-pressed=true]")  # something always is chosen
    assert chosen(page, "content") == ["harbour.jpg"] and chosen(page, "styles") == example != []
    page.set_input_files("#content-file", content)
    page.set_input_files("#styles-file", style)
    shown(page, f"#styles [title='{style.name}'][aria-pressed=true]")
    assert (chosen(page, "content"), chosen(page, "styles")) == ([content.name], [style.name])
    page.click("#styles [title='mosaic.jpg']")
    assert chosen(page, "styles") == ["mosaic.jpg"] and page.locator("#blend input").count() == 0
    page.set_input_files("#styles-file", [style, other])
    shown(page, f"#styles [title='{other.name}'][aria-pressed=true]")
    assert set(chosen(page, "styles")) == {style.name, other.name} and page.locator("#mix").is_checked()
    page.locator("#blend input").first.fill("20")
    expert(page, seed="7")
    second = page.context.new_page()  # starts with the same choices
    second.goto(page.url)
    shown(second, f"#styles [title='{other.name}'][aria-pressed=true]")
    assert second.locator("#blend input").first.input_value() == "20" and second.input_value("#seed") == "7"
    for name in (content.name, style.name):  # each list has its own, which can be removed
        assert page.locator(f".thumb [title='{name}']").count() == 1
        page.click(f"[aria-label='Remove {name}']")
        page.locator(f".thumb [title='{name}']").wait_for(state="detached")
    assert chosen(page, "content") == ["harbour.jpg"] and chosen(page, "styles") == [other.name]
    assert focus(page) == "styles-file"


def test_paint_waits_for_what_is_on_its_way(page, server, image_files):
    held = []
    page.route("**/images?*", lambda route: held.append(route))
    page.set_input_files("#content-file", image_files[0])
    shown(page, "#content-coming", "content.png: on its way")
    quicken(page)
    page.click("#paint")
    shown(page, "#paint-time", "waits")
    assert not (server.painter.task and server.painter.task.key)
    held[0].continue_()
    shown(page, "#result:not([hidden])")
    assert page.inner_text("#name").startswith("content-") and page.inner_text("#content-coming") == ""


def test_files_are_dropped_anywhere_or_pasted_and_each_that_fails_is_told(page, image_files):
    content, style, other = ((file.name, file.read_bytes()) for file in image_files)
    drop(page, "h1", [content])
    shown(page, f"#content [title='{content[0]}'][aria-pressed=true]")
    drop(page, "#h-styles", [("broken.png", b"no image"), style, ("empty.png", b"")])
    shown(page, f"#styles [title='{style[0]}'][aria-pressed=true]")
    shown(page, "#error", "empty.png")
    assert "broken.png: is no image" in page.inner_text("#error") and page.locator("#drop").is_hidden()
    drop(page, "body", [("pasted.png", other[1])], "paste")
    shown(page, "#content [title='pasted.png'][aria-pressed=true]")


def test_a_first_look_before_paint_looks_in_words_and_in_the_dark(page, server):
    assert "For example" in page.inner_text("#look-caption")
    assert page.locator("#look-picture").get_attribute("src") == "page/example.jpg"
    page.click("text=Bold strokes")
    shown(page, "#look-caption", "A first look. Paint makes it finer")
    page.wait_for_function("document.getElementById('look-picture').naturalWidth == 192")
    assert not server.painter.task.key and not server.studio.results
    assert page.input_value("#style_scales") == "1.75"
    assert page.inner_text("#looks [aria-pressed=true]") == "Bold strokes"
    page.fill("#style_scales", "1")
    assert page.locator("#looks [aria-pressed=true]").count() == 0
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        colors = page.evaluate(
            "(({color, backgroundColor}) => [color, backgroundColor])(getComputedStyle(document.body))"
        )
        ink, paper = (sum(map(int, re.findall(r"\d+", color))) for color in colors)
        assert min(ink, paper) < 150 < 600 < max(ink, paper) and (paper < ink) == (scheme == "dark")


def test_progress_by_pixels_with_the_time_before_in_the_title_and_one_picture_at_a_time(page, server):
    paint(page)
    shown(page, "#paint-time", re.compile("about .* here"))
    assert page.inner_text("#time") == page.inner_text("#paint-time")
    assert page.inner_text("#name") in page.title()
    expert(page, iterations="90000", scales="1", learning_rate="5")
    page.select_option("#optimizer", "adam")
    page.click("#paint")
    shown(page, "#facts", re.compile(r"^\d+ %, about .* left$"))
    assert page.locator("#seen").is_visible() and page.locator("#losses").evaluate("one => !one.open")
    assert page.locator("#result").is_hidden() and page.locator("#look").is_hidden()
    assert re.match(r"\d+ % · neural-style", page.title())
    share = server.painter.task.facts["share"]
    assert 0 < share < 1 and abs(page.locator("#bar").evaluate("bar => bar.value") - share) < 0.1
    page.focus("#stop")
    page.keyboard.press("Enter")
    shown(page, "#result:not([hidden])")
    assert focus(page) == "name" and "✓" in page.title() and "stopped after" in page.inner_text("#note")
    page.focus("#go-on")
    page.keyboard.press("Enter")
    shown(page, "#run:not([hidden])")
    page.click("#stop")
    shown(page, "#strip figure:nth-child(3)")
    assert page.locator("#go-on").is_visible()


def test_an_error_stands_beside_the_button_in_the_words_of_the_page_and_marks_its_field(page):
    expert(page, learning_rate="5")
    page.evaluate("document.querySelectorAll('#form details').forEach(one => { one.open = false; })")
    page.focus("#paint")
    page.keyboard.press("Enter")
    shown(page, "#error", "Learning rate: has no effect with “Optimizer” lbfgs")
    assert focus(page) == "learning_rate"
    assert page.locator("#learning_rate").get_attribute("aria-invalid") == "true"
    error, button = page.locator("#error").bounding_box(), page.locator("#paint").bounding_box()
    assert 0 < button["y"] - error["y"] - error["height"] < 40 and button["y"] < 900


def test_results_are_compared_on_the_picture_shown_at_their_size_and_offered_larger(page):
    small = paint(page)
    box = page.locator("#both").bounding_box()
    assert (round(box["width"]), round(box["height"])) == (192, 128)
    drag(page, "#both", (0.1, 0.5), (0.5, 0.5))
    assert abs(float(page.input_value("#slide")) - 50) < 3
    assert "50" in page.locator("#after").get_attribute("style")
    page.focus("#slide")
    page.keyboard.press("Home")
    assert page.input_value("#slide") == "0"
    assert page.inner_text("#larger") == "Paint it larger, 256 pixels"
    page.click("#larger")
    shown(page, "#note", "256")
    page.set_viewport_size({"width": 360, "height": 740})
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.set_viewport_size({"width": 200, "height": 800})
    assert page.locator("#both").bounding_box()["width"] < 200
    drag(page, "#both", (0.5, 0.5))
    assert round(page.locator("#both").bounding_box()["width"]) == 256
    page.set_viewport_size({"width": 1280, "height": 900})
    page.click("#two")
    assert page.locator("#beside-picture").get_attribute("src") == f"results/{small}"
    page.click(f"#strip [title='{small}']")
    assert page.inner_text("#name") != small.removesuffix(".png")  # it is chosen for beside
    page.click("#two")
    page.click(f"#strip [title='{small}']")
    assert page.inner_text("#name") == small.removesuffix(".png") and page.locator("#beside").is_hidden()
    for selector, kind in (("#download", "PNG"), ("#jpg", "JPEG")):
        image = Image.open(io.BytesIO(download(page, selector)))
        assert (image.format, image.size) == (kind, (192, 128))
    names = zipfile.ZipFile(io.BytesIO(download(page, "#zip"))).namelist()
    assert {small, small.replace("png", "toml"), "harbour.jpg", "command.txt"} <= {*names}
    page.locator("#result summary").click()
    assert "--content harbour.jpg" in page.inner_text("#command")
    page.click("#copy")
    shown(page, "text=Copied")
    page.once("dialog", lambda dialog: dialog.accept())
    page.click(f"[aria-label='Remove {small}']")
    page.locator(f"#strip [title='{small}']").wait_for(state="detached")


def layer(page, name="stays"):
    """The opacity of a layer that is drawn, [H, W]."""
    width, height, data = page.evaluate(
        """name => {
          const one = layer(onto, name), {data} = brush(one).getImageData(0, 0, one.width, one.height);
          return [one.width, one.height, [...data.filter((value, i) => i % 4 == 3)]];
        }""",
        name,
    )
    return np.array(data).reshape(height, width)


def test_drawing_with_undo_outline_keys_fill_invert_and_soft_edges(page, server, tmp_path):
    Image.new("RGB", (60, 40), "teal").save(tmp_path / "cat.png")
    page.set_input_files("#content-file", tmp_path / "cat.png")
    shown(page, "#content [title='cat.png'][aria-pressed=true]")
    page.check("#mix")
    page.click("#styles [title='mosaic.jpg']")
    page.click("#draw")
    shown(page, "#drawing[open] #targets label", "mosaic")
    page.fill("#brush", "20")
    drag(page, "#sheet", (0.1, 0.1), (0.9, 0.1))
    once = layer(page)
    assert 0.1 < once.mean() / 255 < 0.4
    page.click("#undo")
    assert not layer(page).any()
    page.keyboard.press("Control+Shift+z")
    assert (layer(page) == once).all()
    page.click("#invert")
    assert abs(layer(page) + once - 255).max() <= 2
    page.click("#fill")
    assert (layer(page) == 255).all()
    page.click("#undraw")
    page.hover("#sheet")  # at its middle
    page.focus("#sheet")
    page.keyboard.press("]")
    assert page.input_value("#brush") == "21"
    outline, sheet = (page.locator(f"#{name}").bounding_box() for name in ("outline", "sheet"))
    assert outline["width"] == pytest.approx(0.21 * sheet["width"], rel=0.05)
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Space")
    keyed = layer(page)
    assert keyed[10, 30] and not keyed[-10, 30]
    page.click("#undraw")
    page.fill("#soft", "80")
    drag(page, "#sheet", (0.5, 0.5))
    levels = layer(page)
    assert np.isin(levels, range(30, 220)).sum() > 0.05 * (levels > 0).sum()
    page.click("#undraw")
    page.fill("#soft", "0")
    page.fill("#brush", "20")
    for target, *points in (
        ("mosaic here", (0.1, 0.1), (0.9, 0.1)),
        ("leave this as it is", (0.5, 0.1), (0.5, 0.9)),
        ("erase", (0.1, 0.1)),
    ):
        page.check(f"text={target}")
        drag(page, "#sheet", *points)
    page.click("#close-drawing")
    assert page.inner_text("#drawn") == "drawn: what stays, mosaic"
    page.reload()  # loses nothing
    shown(page, "#drawn", "mosaic")
    key = paint(page)
    with zipfile.ZipFile(io.BytesIO(server.get(f"/results/{key}?as=zip")[2])) as packed:
        names = ("cat-mosaic.png", "cat-rest.png", "cat-stays.png")
        here, rest, stays = (np.asarray(Image.open(packed.open(name)).convert("L"), int) for name in names)
    for x, y, wanted in ((0.1, 0.1, 1), (0.3, 0.1, 0), (0.5, 0.1, 2), (0.5, 0.8, 2), (0.8, 0.8, 1)):
        found = [mask[int(y * 40), int(x * 60)] for mask in (here, rest, stays)]
        assert found == [255 * (i == wanted) for i in range(3)], (x, y)
    assert abs(here + rest + stays - 255).max() <= 3


def test_a_film_is_dropped_and_one_frame_of_it_painted(page, tmp_path):
    clip = write_clip(pytest.importorskip("av"), tmp_path / "clip.mp4", 4)
    page.set_input_files("#content-file", clip)
    shown(page, "#paint", "Paint this frame")
    page.fill("#frame", "3")
    assert page.inner_text("#frame-number") == "3 of 4" and page.locator("#paint-film").is_visible()
    shown(page, "#paint-time", "the film")
    assert paint(page).startswith("clip-") and "--content clip.mp4-3.png" in page.text_content("#command")


def test_with_the_keyboard_alone(page, tmp_path):
    def tab_to(selector):
        for _ in range(200):
            page.keyboard.press("Tab")
            if page.evaluate("selector => document.activeElement.matches(selector)", selector):
                return
        raise AssertionError(f"{selector} is not reached")

    tab_to("#content [title='still_life.jpg']")
    page.keyboard.press("Space")
    assert chosen(page, "content") == [focus(page)] == ["still_life.jpg"]
    tab_to("#draw")
    page.keyboard.press("Enter")
    shown(page, "#drawing[open]")
    tab_to("#mask-file")
    Image.linear_gradient("L").save(tmp_path / "mask.png")
    page.set_input_files("#mask-file", tmp_path / "mask.png")
    shown(page, "#drawn", "what stays")
    tab_to("#sheet")
    page.keyboard.press("Escape")
    tab_to("#max_size")
    page.keyboard.press("Home")
    tab_to("#more summary")
    page.keyboard.press("Enter")
    tab_to("#paint")
    page.keyboard.press("Enter")
    shown(page, "#stop")
    tab_to("#stop")
    page.keyboard.press("Enter")
    shown(page, "#result:not([hidden])")
    assert focus(page) == "name"
    tab_to("#download")
    tab_to("#strip button")
    page.keyboard.press("Enter")
    assert focus(page) == "name"

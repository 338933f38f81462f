"""Films: whole runs of short clips of every kind, going on after a stop, and bad input."""

import itertools
import shutil
import signal
import struct
import sys
import time
from collections import deque
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
from conftest import random_image, run_in_process, words
from PIL import Image
from processes import Command

av = pytest.importorskip("av", reason="films need av")
cv2 = pytest.importorskip("cv2", reason="films need opencv-python-headless")

import stylize  # noqa: E402
from neural_style import main  # noqa: E402
from styling.films import clips, flow, store, writing  # noqa: E402
from styling.films import frames as films  # noqa: E402
from styling.objective.evaluation import compiled  # noqa: E402
from styling.pictures import images  # noqa: E402
from styling.run import one_pass  # noqa: E402
from styling.settings import Settings  # noqa: E402

RATE = Fraction(30000, 1001)
HEIGHT, WIDTH = 38, 50


def scene(count, height=HEIGHT, width=WIDTH, seed=1):
    """Frames of a camera that moves sideways over blobs, uint8."""
    coarse = np.random.default_rng(seed).uniform(0, 255, (8, 12 + count // 4, 3)).astype(np.float32)
    large = np.clip(cv2.resize(coarse, None, fx=8, fy=8, interpolation=cv2.INTER_CUBIC), 0, 255)
    return [large[:height, 2 * i : 2 * i + width].astype(np.uint8) for i in range(count)]


def write_video(path, frames, times=None, sound=True, codec="libx264"):
    """Frames as a video, at these ticks of the rate, with a tone."""
    with av.open(str(path), "w") as output:
        stream = output.add_stream(codec, rate=RATE)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv444p" if codec == "libx264" else "yuv420p"  # whose sides may be odd
        if sound:
            tone = output.add_stream("libopus" if path.suffix == ".webm" else "aac", rate=48000)
        for i, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            frame.pts, frame.time_base = (times or range(len(frames)))[i], 1 / RATE
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
        for k in range(int(48 * len(frames) / RATE) if sound else 0):
            wave = 0.3 * np.sin(2 * np.pi * 440 * (np.arange(1000) + 1000 * k) / 48000)
            samples = np.tile(wave.astype(np.float32), (2, 1))
            frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="stereo")
            frame.rate, frame.pts, frame.time_base = 48000, 1000 * k, Fraction(1, 48000)
            output.mux(tone.encode(frame))
        if sound:
            output.mux(tone.encode(None))
    return path


def read_video(path):
    """The frames' pixels and times, the average rate, and the sound's samples."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        rate = stream.average_rate
        frames = [(frame.to_ndarray(format="rgb24"), frame.time) for frame in container.decode(stream)]
    with av.open(str(path)) as container:
        samples = [f.to_ndarray()[0] for f in container.decode(audio=0)] if container.streams.audio else []
    return *map(list, zip(*frames, strict=True)), rate, samples


@pytest.fixture
def film(neural_style, network_file, image_files):
    """Runs the command line with the tiny network and a painting."""

    def run(line, *more, check=0):
        files = ["--styles", image_files[1], "--network", network_file]
        fixed = "" if "--iterations" in line else "--iterations 4"
        return neural_style(*words(f"{line} {fixed} --seed 1"), *files, *more, check=check)

    return run


@pytest.fixture
def clip(tmp_path):
    return write_video(tmp_path / "clip.mp4", scene(4))


def frames_in(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.png"))}


@pytest.fixture(scope="module")
def painted(tmp_path_factory, network_file, image_files):
    """The folder of a clip, painted as out.mp4, and its painted frames."""
    folder = tmp_path_factory.mktemp("painted")
    write_video(folder / "clip.mp4", scene(4))
    line = "--content clip.mp4 --output out.mp4 --width 33 --iterations 4 --seed 1"
    files = ["--styles", image_files[1], "--network", network_file]
    run = run_in_process(main, folder, [*words(line), *files])
    assert run.returncode == 0, run.stderr
    return folder, [iio.imread(path) for path in sorted((folder / "out-frames").glob("*.png"))]


@pytest.fixture
def film_of_painted(film, tmp_path, painted):
    """Runs a film of the clip painted before; the first `count` of its frames are in a folder."""

    def run(output, folder, *more, count=4, check=0):
        shutil.copy(painted[0] / "clip.mp4", tmp_path)
        shutil.copytree(painted[0] / "out-frames", tmp_path / folder)
        for number in range(count + 1, 5):
            (tmp_path / folder / f"{number:06}.png").unlink()
        return film(f"--content clip.mp4 --output {output} --width 33", *more, check=check)

    return run


@pytest.mark.parametrize("ending", ["mp4", "webm"])  # whose sound is copied, and made anew
def test_a_video_becomes_a_video_with_its_times_and_its_sound(film_of_painted, tmp_path, painted, ending):
    film_of_painted(f"out.{ending}", "out-frames")
    pictures, times, rate, samples = read_video(tmp_path / f"out.{ending}")
    assert len(pictures) == len(painted[1]) == 4 and painted[1][0].shape == (25, 33, 3)
    assert pictures[0].shape == (26, 34, 3)  # the sides are even
    assert abs(rate - RATE) < 0.5 and times == pytest.approx([i / RATE for i in range(4)], abs=2e-3)
    for picture, frame in zip(pictures, painted[1], strict=True):  # a video has coarser colours, not luma
        gray, wanted = (p.astype(np.float32) @ images.LUMA for p in (picture[:25, :33], frame))
        assert np.abs(gray - wanted).mean() < 6
    assert np.abs(np.concatenate(samples)).max() > 0.2


def test_a_video_becomes_a_moving_picture(film_of_painted, tmp_path, painted):
    film_of_painted("out.gif", "out-frames")
    with Image.open(tmp_path / "out.gif") as image:
        assert (image.n_frames, image.size, image.info["loop"]) == (4, (33, 25), 0)
        for i, frame in enumerate(painted[1]):
            image.seek(i)
            assert np.abs(np.asarray(image.convert("RGB")) - frame.astype(np.float32)).mean() < 14


def test_a_video_becomes_frames_and_frames_a_video(film_of_painted, film, tmp_path, painted):
    film_of_painted("again", "again")
    assert list(frames_in(tmp_path / "again")) == [f"{i:06}.png" for i in range(1, 5)]
    film_of_painted("out/f%03d.jpg", "out/f-frames")
    assert sorted(path.name for path in (tmp_path / "out").glob("*.jpg")) == [
        f"f00{i}.jpg" for i in range(1, 5)
    ]
    (tmp_path / "in").mkdir()
    for i, pixels in zip((9, 10, 100), scene(3), strict=True):
        iio.imwrite(tmp_path / "in" / f"f{i}.png", pixels)
    result = film("--content in --output film.mp4 --frame-rate 12 --frames :10 --iterations 1")
    assert list(frames_in(tmp_path / "film-frames")) == ["000009.png", "000010.png"] and not result.stderr
    _, times, rate, _ = read_video(tmp_path / "film.mp4")
    assert rate == 12 and times == pytest.approx([0, 1 / 12], abs=1e-6)


def test_gaps_between_numbered_images_are_said(tmp_path, caplog):
    for i in (98, 100, 101, 104):
        iio.imwrite(tmp_path / f"{i:04}.png", scene(1)[0])
    clip = clips.find("content", tmp_path / "%04d.png", clips.Span(99, 102))
    clip.check_images()
    assert clip.numbers() == [100, 101] and not caplog.text
    replace(clip, span=clips.Span()).check_images()
    assert "there is no image 99, and 3 are missing in all" in caplog.text


@pytest.mark.parametrize("ending", ["gif", "webp", "png"])
def test_moving_pictures_have_times(tmp_path, ending):
    first, *others = map(Image.fromarray, scene(3))
    path = tmp_path / f"in.{ending}"
    first.save(path, save_all=True, append_images=others, duration=[40, 0, 80], loop=0, lossless=True)
    clip = clips.Clip((path,))
    assert [frame.duration for frame in clip.frames()] == [Fraction(ms, 1000) for ms in (40, 100, 80)]
    assert [frame.seconds for frame in clip.frames()] == [0, Fraction(40, 1000), Fraction(140, 1000)]
    assert clip.numbers() == [1, 2, 3]


def test_uneven_times_and_a_part_of_a_clip_with_its_part_of_the_sound(film, tmp_path):
    write_video(tmp_path / "clip.mkv", scene(30, height=20, width=20), times=[*range(0, 56, 2), 80, 81])
    film("--content clip.mkv --output out.mkv --frames 27:29 --iterations 1")
    _, times, _, samples = read_video(tmp_path / "out.mkv")
    assert times == pytest.approx([0, 2 / RATE, 28 / RATE], abs=2e-3)
    assert sorted(frames_in(tmp_path / "out-frames")) == [f"0000{i}.png" for i in (27, 28, 29)]
    assert not samples or sum(map(len, samples)) < 48000


MATRICES = {  # of a player: x' = a x + c y, y' = b x + d y
    (-1, 0, 0, 1): np.fliplr,
    (-1, 0, 0, -1): lambda pixels: np.rot90(pixels, 2),
    (0, 1, -1, 0): lambda pixels: np.rot90(pixels, -1),  # by a quarter, clockwise
    (0, -1, -1, 0): lambda pixels: np.rot90(pixels.swapaxes(0, 1), 2),
}


@pytest.mark.parametrize("matrix", MATRICES)
def test_a_clip_is_turned_and_mirrored_as_it_says(tmp_path, clip, matrix):
    data = bytearray(clip.read_bytes())
    at = data.find(b"tkhd") + 4 + 4 + 20 + 16  # of its version 0
    a, b, c, d = (part << 16 for part in matrix)
    data[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    (tmp_path / "turned.mp4").write_bytes(data)
    plain, turned = (
        next(clips.Clip((tmp_path / name,)).frames()).pixels() for name in ("clip.mp4", "turned.mp4")
    )
    assert np.array_equal(turned, MATRICES[matrix](plain))


def test_the_alpha_of_a_video_is_white_as_content_and_counts_in_a_mask(tmp_path):
    rgba = np.zeros((48, 64, 4), np.uint8)
    rgba[:, :32] = (200, 60, 60, 255)
    with av.open(str(tmp_path / "drawn.mov"), "w") as output:
        stream = output.add_stream("qtrle", rate=5)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "argb"
        output.mux(stream.encode(av.VideoFrame.from_ndarray(rgba, format="rgba")))
        output.mux(stream.encode(None))
    drawn = clips.Clip((tmp_path / "drawn.mov",))
    content, mask = next(drawn.frames()).pixels(), next(clips.masks(drawn))
    assert np.abs(content[:, 36:] - 255).max() < 3 and np.abs(content[:, 4:28] - (200, 60, 60)).max() < 8
    assert np.abs(mask[:, 4:28] - 0.4).max() < 0.04 and mask[:, 36:].max() == 0


@pytest.mark.slow
@pytest.mark.parametrize(("curve", "name", "white"), [(18, "arib-std-b67", 0.75), (16, "smpte2084", 0.58)])
def test_a_high_dynamic_range_is_mapped_to_that_of_pictures_and_said(tmp_path, caplog, curve, name, white):
    """white: the level of a white card, of 203 candela (BT.2408)."""
    levels = np.repeat(np.array([0, white / 2, white, 1]) * 255, 32).round().astype(np.uint8)
    path = tmp_path / "hdr.ts"
    with av.open(str(path), "w") as output:
        colors = f"colorprim=bt2020:transfer={name}:colormatrix=bt2020nc"
        stream = output.add_stream("libx265", rate=5, options={"x265-params": f"log-level=none:{colors}"})
        stream.height, stream.width, stream.pix_fmt = 96, 128, "yuv420p10le"
        context = stream.codec_context
        context.color_primaries, context.color_trc, context.colorspace = 9, curve, 9
        gray = np.broadcast_to(levels[:, None], (96, 128, 3))
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(gray), format="rgb24")
        frame.pts = 0
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    found = next(clips.Clip((path,)).frames()).pixels()[48, 16::32]
    assert np.ptp(found, axis=-1).max() < 4  # gray stays gray
    black, gray, card, light = found.mean(-1)
    assert black < 8 and 20 < gray < 0.6 * card and 150 < card < 230 and light > 240
    assert "has a high dynamic range" in caplog.text


def test_what_asks_for_a_film(tmp_path, clip):
    first, second = map(Image.fromarray, scene(2))
    (tmp_path / "in").mkdir()
    for path in ("photo.png", "in/1.png"):
        first.save(tmp_path / path)
    first.save(tmp_path / "moving.gif", save_all=True, append_images=[second])
    for content, output, is_film in (
        ("photo.png", "100%done.png", False),
        ("photo.png", "out-%04d.jpg", False),
        ("clip.mp4", "out-%04d.jpg", True),
        ("in", "out-%04d.png", True),
        ("in", "out", False),
        ("clip.mp4", "out", True),
        ("clip.mp4", "50%done.mp4", True),
        ("photo.png", "50%done.webp", False),
        ("moving.gif", "moving.webp", True),
        ("moving.gif", "first.png", False),
    ):
        assert writing.asks_for_film(tmp_path / content, tmp_path / output) == is_film, (content, output)


@pytest.mark.parametrize(
    ("output", "folder"),
    [
        ("a.mp4", "a-frames"),
        ("50%done.mp4", "50%done-frames"),
        ("out/%04d.png", "out"),
        ("out/%04d.jpg", "out-frames"),
        ("out-%04d.jpg", "out-frames"),
        ("out/f%d.jpg", "out/f-frames"),
        ("%d.jpg", "painted-frames"),
    ],
)
def test_where_painted_frames_are_stored(output, folder):
    output = Path(output)
    assert store.painted(output, writing.is_file(output), apart=False).folder == Path(folder)


def test_colours_are_kept_in_what_is_shown(film, tmp_path, clip):
    film("--content clip.mp4 --output out --preserve-colors --frames :2")
    content = next(clips.Clip((clip,)).frames()).pixels()
    shown = iio.imread(tmp_path / "out" / "000001.png").astype(np.float32)
    stored = images.read(tmp_path / "out-frames" / "000001.png")
    assert np.abs(shown - images.to_bytes(images.keep_colors(stored, content))).max() <= 1


def test_frames_go_on_from_those_before_until_a_cut(network, image_files):
    first, second = (scene(2)[i].astype(np.float32) for i in (0, 1))
    other = scene(1, seed=2)[0].astype(np.float32)
    before = [films.Painted(first, random_image(HEIGHT, WIDTH, 3))]
    given = images.Images(styles=(images.read(image_files[1]),))
    settings = Settings(iterations=40, width=33, scales=(0.5, 1.0), initial_noiseblend=0.5)
    fresh, after, cut = (
        films.resolve(frame, given, frames, network, settings)
        for frame, frames in ((first, []), (second, before), (other, before))
    )
    assert fresh.images.warped is cut.images.warped is None
    assert sum(scale.iterations for scale in fresh.scales) == sum(s.iterations for s in cut.scales) == 40
    assert [(scale.iterations, scale.size) for scale in after.scales] == [(2, (HEIGHT, WIDTH))]
    pixels, trust = after.images.warped
    assert trust.mean() > 0.6
    plain = films.Painted(first, first)
    pixels, trust = films.predict(second, [plain], (1,))
    moved = flow.warp(first, flow.between(second, first))
    assert np.abs(pixels - moved)[trust > 0.99].mean() < 1
    alone = films.resolve(second, given, before, network, replace(settings, temporal_weight=0))
    assert alone.images.warped is None and alone.images.initial is None


def test_what_newly_appears_is_painted_anew_and_the_rest_is_carried_along():
    """A scene moves in from the right. Its painting is the content with a strong pattern."""
    first, second = (frame.astype(np.float32) for frame in scene(80, 64, 224)[:8:7])
    painted = first + 40 * (np.indices((64, 224)).sum(0) % 6 < 3)[..., None] - 20
    before, anew = [films.Painted(first, np.clip(painted, 0, 255))], np.full_like(second, 200)
    pixels, trust = films.predict(second, before, (1,), anew=lambda known: anew)
    assert trust[:, -12:].max() < 0.1 and trust[8:-8, 8:-40].mean() > 0.8
    assert np.abs(pixels[:, -10:] - 200).mean() < 5
    fading = (trust > 0.05) & (trust < 0.8)  # shown before, hence not painted anew
    moved = np.roll(before[0].picture, -14, 1)
    assert fading.any() and np.median(np.abs(pixels - moved)[fading]) < 5


@pytest.mark.parametrize("colors", ["style", "matched"])
def test_what_newly_appears_has_the_colours_of_a_picture_of_one_pass(colors):
    content, style = (random_image(48, 64, seed) for seed in (1, 2))
    content, style = content / 2, 128 + style / 2
    settings = Settings(iterations=0, start="one-pass", colors=colors)
    small = one_pass.small_network()
    unknown = images.Warped(content, np.zeros((48, 64), np.float32))
    anew = films.at_once(images.Images(content, (style,)), small, settings, unknown)
    assert np.abs(anew - stylize.paint(content, [style], small, settings)).max() < 1


def test_what_is_new_has_no_specks_and_those_of_the_painting_stay():
    frame = cv2.resize(scene(1)[0], (160, 96)).astype(np.float32)
    picture = np.full_like(frame, 100)
    picture[20::15, 20::15] = 255
    left, none = np.zeros((2, 96, 160, 1), np.float32)
    left[:, :80] = 1
    before = [films.Painted(frame, picture, left)]
    pixels = films.predict(frame, before, (1,), none, anew=lambda known: picture).pixels
    assert pixels[:, :70].max() < 170 and (np.abs(pixels - picture)[8:-8, 90:-8] < 9).all()


def test_nothing_is_carried_across_the_edge_of_what_moves():
    """A bright square moves over a dark scene; none of its painting stays where it was."""
    here, there = np.full((2, 96, 160, 3), 60, np.float32)
    here += random_image(96, 160, 3) / 10
    there[:] = here
    here[30:66, 70:106], there[30:66, 60:96] = 220, 220
    here[30:66, 70:106] += random_image(36, 36, 4) / 10
    there[30:66, 60:96] = here[30:66, 70:106]
    painted = np.where(there[..., :1] > 150, 255, 20) * np.ones(3, np.float32)
    pixels, trust = films.predict(here, [films.Painted(there, painted)], (1,))
    assert trust[34:62, 58:68].max() < 0.3 and trust[38:58, 78:98].mean() > 0.9
    wrong = np.abs(pixels[..., 0] - np.where(here[..., 0] > 150, 255, 20)) > 60
    assert not (wrong & (trust > 0.7)).any()


def test_what_does_not_change_is_held_to_the_first_frame():
    """After many frames, a still part is that of the first frame, and a moving part that of the last one."""
    still = cv2.resize(scene(1)[0], (160, 96)).astype(np.float32)
    here, there = still.copy(), still.copy()
    there[30:60, 40:70] = here[30:60, 46:76] = random_image(30, 30, 3)
    first = films.Painted(still, np.full_like(still, 100))
    last = films.Painted(there, np.full_like(still, 140))
    pixels, _ = films.predict(here, [last], (1,), first=first)
    assert np.median(np.abs(pixels[:20] - 100)) < 1 > np.median(np.abs(pixels[36:54, 52:70] - 140))


def test_a_fade_is_one_scene_and_fades_the_painting():
    full = cv2.resize(scene(1)[0], (160, 96)).astype(np.float32)
    lights = [films.light(share * full) for share in (0, 0.02, 0.25, 0.5, 1)]
    assert lights[0] == lights[1] == 0 and 0.9 < lights[4] <= 1 and lights[3] == pytest.approx(2 * lights[2])
    for share in (0.3, 0.5, 0.9):
        before = films.Painted(np.rint(full * share), full)
        assert not films.is_cut(full, [before])
        assert films.predict(full, [before], (1,)).trust.mean() > 0.6


@pytest.mark.parametrize(
    "changes",
    [
        {"optimizer": "lbfgs", "content_reduction": "relative", "scales": (0.5, 1.0)},
        pytest.param({"tile": 128, "iterations": 4}, marks=pytest.mark.slow),
        pytest.param({"normalize": True, "colors": "matched"}, marks=pytest.mark.slow),
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_what_frames_have_in_common_changes_none_of_them(network, image_files, changes):
    given = images.Images(styles=(images.read(image_files[1]),))
    settings = Settings(**{"seed": 1, "iterations": 12} | changes)
    before = []
    for frame in scene(80, 40, 224)[:3]:
        run = films.resolve(frame.astype(np.float32), given, before, network, settings)
        common = deque(stylize.follow(run), maxlen=1).pop().result()
        if len(before) == 2:
            compiled.cache_clear()
            alone = deque(stylize.follow(run), maxlen=1).pop().result()
            np.testing.assert_allclose(alone, common, atol=1e-3)
        before.append(films.Painted(frame.astype(np.float32), common))


def test_another_scene_is_a_cut_and_the_same_moved_is_none():
    here, moved = (cv2.resize(scene(3)[i], (160, 96)).astype(np.float32) for i in (0, 2))
    other = cv2.resize(scene(1, seed=2)[0], (160, 96)).astype(np.float32)
    for content, is_cut in (
        (moved, False),
        (here, False),
        (other, True),
        (255 - here, True),
        (0 * here, True),
    ):
        before = [films.Painted(here, here)]
        assert (films.predict(content, before, (1,)) is None) == is_cut == films.is_cut(content, before)


def test_a_frame_further_back_fills_in_what_the_last_one_hides():
    """A bar stands before the scene in the last frame, and not in those around it."""
    still = cv2.resize(scene(1)[0], (160, 96)).astype(np.float32)
    hidden = still.copy()
    hidden[:, 60:90] = random_image(96, 30, 5)
    before = [films.Painted(still, np.full_like(still, 50)), films.Painted(hidden, np.full_like(still, 200))]
    near, both = (films.predict(still, before, back) for back in ((1,), (1, 2)))
    assert near.trust[20:70, 65:85].mean() < 0.3 and both.trust[20:70, 65:85].mean() > 0.9
    assert (np.abs(both.pixels[20:70, 5:40] - 200) < 4).mean() > 0.98  # the nearest comes first
    assert (np.abs(both.pixels[20:70, 70:80] - 50) < 4).mean() > 0.7


def test_a_film_goes_on_where_it_stopped_to_the_same_frames(film_of_painted, film, tmp_path, painted):
    film_of_painted("part.mp4", "part-frames", count=2)
    assert frames_in(tmp_path / "part-frames") == frames_in(painted[0] / "out-frames")
    assert all(
        map(np.array_equal, *(read_video(p)[0] for p in (tmp_path / "part.mp4", painted[0] / "out.mp4")))
    )
    line = "--content clip.mp4 --output part.mp4 --width 33 --iterations 1"
    result = film(f"{line} --overwrite --frames :2")
    assert len(frames_in(tmp_path / "part-frames")) == 2 and "2 frames" in result.stdout
    (tmp_path / "part.mp4").unlink()
    result = film(f"{line} --content-weight 8", check=2)
    assert "part-frames has the frames of another run" in result.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGKILL, marks=pytest.mark.slow)])
def test_a_stop_loses_the_frame_at_hand_at_most(film, tmp_path, network_file, image_files, number):
    write_video(tmp_path / "clip.mp4", scene(6))
    line = "--content clip.mp4 --iterations 28 --width 33 --output out.mp4"
    files = ["--styles", image_files[1], "--network", network_file]
    process = Command(main, tmp_path, [*words(f"{line} --seed 1"), *files])
    second = tmp_path / "out-frames" / "000002.png"
    end = time.monotonic() + 100
    while not second.exists() and process.returncode is None and time.monotonic() < end:
        time.sleep(0.005)
    process.send_signal(number)
    _, stderr = process.finish(143 if number == signal.SIGTERM else -number)
    kept = frames_in(tmp_path / "out-frames")
    assert 2 <= len(kept) < 6 and not (tmp_path / "out.mp4").exists()
    if number == signal.SIGTERM:
        assert stderr.strip().endswith("frames are in out-frames, and the same command goes on from there")
    film(line)
    assert len(frames_in(tmp_path / "out-frames")) == 6
    assert kept.items() <= frames_in(tmp_path / "out-frames").items()


def test_frames_are_kept_where_one_cannot_be_written(film_of_painted, film, tmp_path):
    film_of_painted("out.mp4", "out-frames")
    (tmp_path / "out.mp4").unlink()
    (tmp_path / "out-frames" / "000004.png").unlink()
    (tmp_path / "out-frames" / "000004.png").mkdir()
    result = film("--content clip.mp4 --output out.mp4 --width 33", check=1)
    problem = "000004.png: Is a directory; 3 frames are in out-frames, and the same command goes on"
    assert problem in result.stderr and len(result.stderr.splitlines()) == 1


def test_a_truncated_clip_is_painted_as_far_as_it_goes(film, tmp_path):
    data = write_video(tmp_path / "clip.mkv", scene(16, height=20, width=20)).read_bytes()
    (tmp_path / "half.mkv").write_bytes(data[: len(data) * 2 // 3])
    result = film("--content half.mkv --output out.mkv --iterations 1")
    count = len(frames_in(tmp_path / "out-frames"))
    assert 3 < count < 14 and f"half.mkv: ends after {count} of its" in result.stderr
    assert len(result.stderr.splitlines()) == 1 and len(read_video(tmp_path / "out.mkv")[0]) == count


def test_bad_input_ends_in_one_line(film, tmp_path, clip):
    (tmp_path / "text.mp4").write_text("no film")
    with av.open(str(tmp_path / "sound.mp4"), "w") as output:
        tone = output.add_stream("aac", rate=48000)
        silence = av.AudioFrame.from_ndarray(np.zeros((2, 1000), np.float32), format="fltp", layout="stereo")
        silence.rate = 48000
        output.mux(tone.encode(silence))
        output.mux(tone.encode(None))
    (tmp_path / "empty").mkdir()
    (tmp_path / "sizes").mkdir()
    for i in (1, 2):
        iio.imwrite(tmp_path / "sizes" / f"{i}.png", np.zeros((20, 20 + i, 3), np.uint8))
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "000001.png").write_bytes(b"")
    (tmp_path / "file-frames").write_text("")
    (tmp_path / "own").mkdir()
    iio.imwrite(tmp_path / "own" / "1.jpg", np.zeros((20, 21, 3), np.uint8))
    own = (tmp_path / "own" / "1.jpg").read_bytes()
    for line, status, text in (
        ("--content text.mp4 --output a.mp4", 1, "text.mp4: is no film that can be read"),
        ("--content sound.mp4 --output a.mp4", 1, "sound.mp4: has no moving picture in it"),
        ("--content empty --output a.mp4", 2, "empty is a folder without images"),
        ("--content in/%d.png --output a.mp4", 2, "there is no folder in"),
        ("--content x%d.png --output a.mp4", 2, "there is no file like x%d.png"),
        ("--content sizes --output b.mp4", 1, "2.png: has 22 x 20 pixels, the first 21 x 20"),
        ("--content clip.mp4 --output a.png", 1, "clip.mp4: is a video; name a video for --output as well"),
        ("--content own/%d.jpg --output own/%d.jpg", 2, "1.jpg is read as well, and would be lost"),
        ("--content clip.mp4 --output own/%d.jpg --overwrite --initial own/1.jpg", 2, "is read as well"),
        ("--content clip.mp4 --output own/%d.jpg", 2, "own has other pictures; give another name"),
        ("--content clip.mp4 --output new/%d.xyz", 2, "new/%d.xyz makes no images; let it end in one of"),
        ("--content clip.mp4 --output file.mp4", 2, "file-frames is a file, where a folder is wanted"),
        ("--content clip.mp4 --output a.avi", 2, "a.avi has the ending .avi; use one of"),
        ("--content clip.mp4 --output taken", 2, "taken has other pictures"),
        ("--content clip.mp4 --output no/a.mp4", 2, "there is no folder no"),
        ("--content clip.mp4 --output clip.mp4", 2, "would be lost"),
        ("--content clip.mp4 --output a.mp4 --frames 9:", 1, "has only frames up to 4"),
        ("--content clip.mp4 --output a.mp4 --frames 3:2", 2, "--frames: '3:2' is no A:B"),
        ("--content clip.mp4 --output a.mp4 --frame-rate 9", 2, "--frame-rate: is for numbered images"),
        ("--content clip.mp4 --output a.mp4 --save-state s", 2, "--save-state: goes with one picture only"),
        ("--content clip.mp4 clip.mp4 --output a.mp4", 2, "must name one film"),
        ("--content taken/000001.png --output a.png --temporal-weight 2", 2, "goes with a film only"),
    ):
        result = film(line, check=status)
        assert text in result.stderr and len(result.stderr.splitlines()) == 1, (line, result.stderr)
    assert not (tmp_path / "a.mp4").exists() and not (tmp_path / "a-frames").exists()
    assert (tmp_path / "own" / "1.jpg").read_bytes() == own


def written(path, pictures, durations=None, **options):
    """A film of pictures that are shown for these seconds."""
    durations = durations or [Fraction(1, 25)] * len(pictures)
    times = itertools.accumulate(durations, initial=Fraction(0))
    frames = [
        (clips.Frame(number, time, duration, None), picture)
        for number, time, duration, picture in zip(itertools.count(1), times, durations, pictures)
    ]
    images.write(path.with_name("clip.png"), pictures[0], overwrite=True)
    clip = clips.Clip((path.with_name("clip.png"),))
    return writing.write_film(path, writing.format_of(path, **options), clip, iter(frames), overwrite=False)


def shown(path):
    """The seconds for which each frame of a film is shown, by Pillow or else by FFmpeg."""
    if clips.picture_count(path):
        with Image.open(path) as image:
            times = []
            for i in range(image.n_frames):
                image.seek(i)
                image.load()
                times.append(image.info["duration"] / 1000)
            return times
    with av.open(str(path)) as container:
        times = [frame.time for frame in container.decode(video=0)]
        return np.diff([*times, container.duration / 10**6]).tolist()


@pytest.mark.parametrize("ending", ["mp4", "mov", "mkv", "webm", "gif", "webp"])
def test_every_frame_keeps_its_duration_the_last_too(tmp_path, ending):
    pictures = [frame.astype(np.float32) for frame in scene(4)]
    durations = [Fraction(ms, 1000) for ms in (100, 40, 100, 2000)]
    assert shown(written(tmp_path / f"out.{ending}", pictures, durations)) == pytest.approx(
        [0.1, 0.04, 0.1, 2]
    )


def test_no_frame_of_a_gif_is_shorter_than_players_show(tmp_path, caplog):
    pictures = [frame.astype(np.float32) for frame in scene(60)]
    times = shown(written(tmp_path / "out.gif", pictures, [Fraction(1, 60)] * 60))
    assert min(times) >= 0.02 and sum(times) == pytest.approx(1, abs=0.011)
    assert "left out" in caplog.text


@pytest.mark.parametrize(("codec", "pixels"), [("h264-444", "yuv444p"), ("prores", "yuv422p10le")])
def test_a_film_to_edit_on_keeps_more_of_its_colours(tmp_path, codec, pixels):
    noise = images.to_bytes(128 + 40 * random_image(HEIGHT, WIDTH, 1) / 255).astype(np.float32)
    usual, better = (
        next(clips.Clip((written(tmp_path / name, [noise], **options),)).frames()).pixels()
        for name, options in (("usual.mov", {}), ("better.mov", {"codec": codec}))
    )
    with av.open(str(tmp_path / "better.mov")) as container:
        assert container.streams.video[0].codec_context.pix_fmt == pixels
    errors = [np.abs(found[:HEIGHT, :WIDTH] - noise).mean() for found in (usual, better)]
    assert errors[1] < 0.8 * errors[0]


def test_less_crf_is_more_quality(tmp_path):
    noise = [random_image(64, 64, 1)]
    sizes = [written(tmp_path / f"{crf}.mp4", noise, crf=crf).stat().st_size for crf in (10, 30)]
    assert sizes[0] > 2 * sizes[1]


@pytest.mark.parametrize("ending", ["mp4", "webm", "gif"])
def test_colours_come_back_as_they_were_written(tmp_path, ending):
    colors = np.repeat([[200, 40, 40], [40, 200, 40], [40, 40, 200], [120, 130, 110]], 32, axis=0)
    pixels = np.broadcast_to(colors, (64, 128, 3)).astype(np.float32)
    found = next(clips.Clip((written(tmp_path / f"out.{ending}", [pixels]),)).frames()).pixels()
    assert np.abs(found - pixels)[:, 8::16].max() < 5


@pytest.mark.parametrize(("module", "package"), [("cv2", "opencv-python-headless"), ("av", "av")])
def test_a_library_that_is_missing_is_named(film, clip, monkeypatch, module, package):
    monkeypatch.setitem(sys.modules, module, None)
    result = film("--content clip.mp4 --output out.mp4", check=2)
    assert f"is a film, which needs {package}: pip install {package}" in result.stderr


def write_masks(folder, boxes):
    """Masks of 24 x 40 pixels in a folder, white from a row to another."""
    folder.mkdir()
    for number, (first, last) in enumerate(boxes, 1):
        mask = np.zeros((24, 40), np.uint8)
        mask[first:last] = 255
        iio.imwrite(folder / f"{number}.png", mask)
    return folder


def test_masks_that_move_are_those_of_their_frames(film, tmp_path, image_files):
    frames = scene(4, 24, 40)
    (tmp_path / "in").mkdir()
    for number, frame in enumerate(frames, 1):
        iio.imwrite(tmp_path / "in" / f"{number}.png", frame)
    rows = [(0, 8), (8, 16), (0, 0), (0, 24)]
    write_masks(tmp_path / "masks", rows)
    speck = np.zeros((24, 40), np.uint8)
    speck[9, 9] = 100
    iio.imwrite(tmp_path / "masks" / "3.png", speck)  # as good as black
    write_masks(tmp_path / "few", rows[:2])
    write_masks(tmp_path / "still", 4 * [(0, 12)])
    line = "--content in/%d.png --mask-feather 0 --iterations 1"

    def unpainted(folder, number):
        return (iio.imread(tmp_path / folder / f"{number:06}.png") == frames[number - 1]).all(-1)

    film(f"{line} --style-masks masks/%d.png --output painted")
    for number, (first, last) in enumerate(rows, 1):
        same = unpainted("painted", number)
        assert same[:first].all() and same[last:].all()
        assert same[first:last].sum() <= 20 * (last - first)  # of 40 a row
    moving = [np.repeat(iio.imread(tmp_path / "masks" / f"{i}.png")[..., None], 3, -1) for i in (1, 2, 3, 4)]
    write_video(tmp_path / "masks.mkv", moving, sound=False)
    film(f"{line} --content-mask masks.mkv --output kept --frames 1:2")
    for number, (first, last) in enumerate(rows[:2], 1):
        assert unpainted("kept", number)[first:last].all() and not unpainted("kept", number).all()
    # Of three styles, one has no place in a frame.
    places = [f"{tmp_path}/{name}" for name in ("masks", "still", "still")]
    several = ["--styles", *2 * [image_files[1]], "--style-masks", *places]
    film(f"{line} --output three --frames 2:3", *several)
    assert len(frames_in(tmp_path / "three")) == 2
    result = film(f"{line} --style-masks few --output short", check=1)
    assert "has no mask for frame 3" in result.stderr and not (tmp_path / "short").exists()
    result = film(f"{line} --style-masks no/%d.png --output none", check=2)
    assert "argument --style-masks: there is no folder no" in result.stderr


def test_transparent_parts_of_an_animated_mask_are_black(tmp_path):
    expected = np.zeros((2, 24, 40), np.float32)
    expected[0, :9], expected[1, :, 7:] = 1, 1
    first, second = (
        Image.fromarray(np.stack(3 * [0 * one + 255] + [255 * one], -1).astype(np.uint8)) for one in expected
    )
    first.save(tmp_path / "mask.webp", save_all=True, append_images=[second], lossless=True)
    found = list(clips.masks(clips.Clip((tmp_path / "mask.webp",))))
    np.testing.assert_array_equal(found, expected)


def test_what_comes_from_where_another_style_paints_is_new():
    frame = cv2.resize(scene(1)[0], (160, 96)).astype(np.float32)
    left, right = np.zeros((2, 96, 160, 1), np.float32)
    left[:, :80], right[:, 80:] = 1, 1
    for masks, shown in ((left, 1), (right, 0), (None, 1)):
        warped = films.predict(frame, [films.Painted(frame, frame, left)], (1,), masks)
        assert (warped is not None and warped.trust.mean() > 0.8) == shown

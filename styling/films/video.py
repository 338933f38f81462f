"""Films as files: read the frames of a clip, store painted frames, and write the film.

FFmpeg, through PyAV, reads and writes videos; Pillow reads animated pictures. Frames are counted from 1, as
in the clip; their pixels are float32 [H, W, 3], RGB 0..255.
"""

import contextlib
import itertools
import math
import mimetypes
import os
import re
import secrets
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import numpy as np
import tomli_w
from PIL import Image

from styling.pictures import folders, images, kinds
from styling.settings import Settings, recipes
from styling.system import filenames
from styling.system.errors import ImageError, RecipeError, SettingsError
from styling.system.files import write_whole

if TYPE_CHECKING:
    import av

ANIMATIONS = ("GIF", "WEBP", "PNG", "AVIF")  # Pillow's names of formats that may move
NUMBER = re.compile(r"%(?:0\d)?d")  # in out/%04d.png
NAMES, RECORD = "%06d.png", "neural-style.toml"  # files in a folder: the frames, and their settings
USUAL_RATE, USUAL_DURATION = 25, 100  # frames a second, and milliseconds, if a file does not say
HD = 720  # a video with at least so many rows has the colours of BT.709, if it does not say
BT709, UNSPECIFIED = 1, 2  # FFmpeg's numbers for a colour space; the first also for primaries and curve
COPIED = {"aac": {"aac", "mp3", "alac", "ac3"}, "libopus": {"opus", "vorbis"}}  # sound that is only copied


class Format(NamedTuple):
    """How a film is written: FFmpeg's names, the codec's options, and the sound's codec; None: no sound."""

    container: str
    codec: str
    pixels: str
    options: dict[str, str]
    sound: str | None = None


H264 = "libx264", "yuv420p", {"crf": "17"}, "aac"
FORMATS = {
    ".mp4": Format("mp4", *H264),
    ".m4v": Format("mp4", *H264),
    ".mov": Format("mov", *H264),
    ".mkv": Format("matroska", *H264),
    ".webm": Format("webm", "libvpx-vp9", "yuv420p", {"crf": "20", "b": "0", "row-mt": "1"}, "libopus"),
    ".gif": Format("gif", "gif", "pal8", {}),
    ".webp": Format("webp", "libwebp_anim", "bgra", {"quality": "90"}),
}


class Frame(NamedTuple):
    """A frame of a clip: its number, its time in seconds, its pixels over white, and its alpha, [H, W],
    0..255, if some of it is transparent."""

    number: int
    seconds: Fraction
    pixels: np.ndarray
    alpha: np.ndarray | None = None


@dataclass(frozen=True)
class Span:
    """The first and the last frame to paint, counted from 1; the last may be open."""

    first: int = 1
    last: float = math.inf

    @classmethod
    def parse(cls, text: str) -> "Span":
        """A:B, A: or :B. Raises SettingsError."""
        found = re.fullmatch(r"(\d{0,9}):(\d{0,9})", text)
        span = found and cls(int(found[1] or 1), int(found[2]) if found[2] else math.inf)
        if not span or not 1 <= span.first <= span.last:
            raise SettingsError("frames", f"{text!r} is no A:B; the first frame is 1, as in 1:24 or 100:")
        return span


@dataclass
class Clip:
    """A clip to paint: a video, an animation, or images in their order.

    files: the one video or animation, or the images. is_numbered: whether they are images. rate: of images,
    in frames a second. problem, sound_problem: the problem at the last reading of the file, or "".
    """

    files: tuple[Path, ...]
    is_numbered: bool
    span: Span = Span()
    rate: float = USUAL_RATE
    problem: str = field(default="", init=False)
    sound_problem: str = field(default="", init=False)

    @property
    def name(self) -> Path:
        """The file, or the first of them."""
        return self.files[0]

    def frames(self) -> Iterator[Frame]:
        """The frames of the span, one after the other. Raises ImageError if there are none."""
        self.problem, last = "", 0
        with contextlib.closing(self._all()) as every:
            for frame in every:
                last = frame.number
                if last >= self.span.first:
                    yield frame
                if last >= self.span.last:
                    return
        if not last:
            raise ImageError(f"{self.name}: has no frame that can be read; is it damaged?")
        if last < self.span.first:
            raise ImageError(f"{self.name}: has only {last} frames; --frames asks for later ones")

    def _all(self) -> Iterator[Frame]:
        if self.is_numbered:
            return self._numbered()
        return self._animated() if is_picture(self.name) else self._video()

    def count(self) -> int | None:
        """The number of frames in the span, from the file's header; None if it does not say."""
        if self.is_numbered:
            found = len(self.files)
        elif is_picture(self.name):
            with Image.open(self.name) as image:
                found = getattr(image, "n_frames", 1)
        else:
            with self._opened() as (_, stream):
                found = _count(stream)
        last = min(found or math.inf, self.span.last)
        return None if math.isinf(last) else max(last - self.span.first + 1, 1)

    def timing(self) -> tuple[Fraction, Fraction]:
        """The unit of the frames' times, in seconds, and the number of frames a second."""
        rate = Fraction(self.rate).limit_denominator(1001)
        if self.is_numbered:
            return 1 / rate, rate
        if is_picture(self.name):
            return Fraction(1, 1000), rate
        with self._opened() as (_, stream):
            return stream.time_base, stream.average_rate or rate

    def _numbered(self) -> Iterator[Frame]:
        shape, (unit, _) = None, self.timing()
        for number, path in enumerate(self.files, 1):
            if number < self.span.first:
                pixels = np.empty((0, 0, 3))  # not used
            else:
                pixels = images.read(path)
                shape = shape or pixels.shape
                if pixels.shape != shape:
                    sizes = f"{pixels.shape[1]} x {pixels.shape[0]} pixels, the first {shape[1]} x {shape[0]}"
                    raise ImageError(f"{path}: has {sizes}; the images of a film must be of one size")
            yield Frame(number, (number - 1) * unit, pixels)

    def _animated(self) -> Iterator[Frame]:
        seconds = Fraction(0)
        with Image.open(self.name) as image:
            for number in itertools.count(1):
                try:
                    image.seek(number - 1)
                    rgba = np.asarray(image.convert("RGBA"), np.float32)
                except EOFError:
                    return
                except Exception as error:  # Pillow's decoders raise nearly anything for a damaged file
                    self.problem = f"cannot be read further ({error})"
                    return
                opacity = rgba[..., 3:] / 255
                pixels = rgba[..., :3] * opacity + 255 * (1 - opacity)
                yield Frame(number, seconds, pixels, None if (opacity == 1).all() else rgba[..., 3])
                duration = image.info.get("duration") or USUAL_DURATION
                seconds += Fraction(round(duration), 1000)

    def _video(self) -> Iterator[Frame]:
        import av

        with self._opened() as (container, stream):
            rate = stream.average_rate or USUAL_RATE
            number, before = 0, None
            # Packets that cannot be decoded are skipped; the first ones of a cut recording never can be.
            packets = container.demux(stream)
            while True:
                try:
                    packet = next(packets, None)
                    frames = [] if packet is None else packet.decode()
                except av.error.FFmpegError as error:
                    self.problem = f"is damaged ({error.strerror})"
                    if isinstance(error, av.error.InvalidDataError):
                        continue
                    return
                if packet is None:
                    break
                for frame in frames:
                    number += 1
                    seconds = frame.pts * frame.time_base if frame.pts is not None else None
                    if before is not None and (seconds is None or seconds <= before):
                        seconds = before + 1 / Fraction(rate)
                    before = seconds or Fraction(0)
                    wanted = number >= self.span.first
                    yield Frame(number, before, _pixels(frame, stream) if wanted else np.empty((0, 0, 3)))
            promised = _count(stream) or 0
            # A number that is computed from the duration may be wrong, since the sound may be longer.
            if number < (stream.frames or 0.95 * promised - 2) and not self.problem:
                self.problem = f"ends after {number} of its {promised} frames"

    @contextlib.contextmanager
    def _opened(self) -> Iterator[tuple["av.container.InputContainer", "av.VideoStream"]]:
        """The file and its video stream. Raises ImageError."""
        with _open(self.name) as container:
            found = [s for s in container.streams.video if not _is_cover(s)]
            if not found:
                raise ImageError(f"{self.name}: has no moving picture in it")
            stream = found[0]
            if stream.codec_context is None:
                raise ImageError(f"{self.name}: is of a kind that this PyAV has no decoder for")
            yield container, stream


@contextlib.contextmanager
def _open(path: Path) -> Iterator["av.container.InputContainer"]:
    import av

    av.logging.set_level(None)  # with a level, FFmpeg's threads and this thread would wait for each other
    try:
        container = av.open(str(path), metadata_errors="ignore")
    except av.error.FFmpegError as error:
        problem = f"is no film that can be read ({error.strerror})"
        raise ImageError(f"{path}: {problem}; it is damaged, or no film at all") from None
    with container:
        yield container


def _is_cover(stream: "av.VideoStream") -> bool:
    """Whether it is the cover picture of a sound file."""
    import av

    return bool(stream.disposition & av.stream.Disposition.attached_pic)


def _count(stream: "av.VideoStream") -> int | None:
    if stream.frames:
        return stream.frames
    seconds = stream.duration * stream.time_base if stream.duration else None
    if seconds is None and stream.container.duration:
        seconds = Fraction(stream.container.duration, 10**6)
    return round(seconds * stream.average_rate) if seconds and stream.average_rate else None


def _pixels(frame: "av.VideoFrame", stream: "av.VideoStream") -> np.ndarray:
    """A decoded frame as it is shown: upright, with square pixels."""
    from av.video.reformatter import Colorspace

    space = Colorspace.ITU709 if frame.colorspace == UNSPECIFIED and frame.height >= HD else None
    pixels = frame.to_ndarray(format="rgb24", src_colorspace=space).astype(np.float32)
    aspect = stream.sample_aspect_ratio
    if aspect and aspect != 1:
        pixels = images.resize(pixels, frame.height, max(round(frame.width * aspect), 1))
    return np.ascontiguousarray(np.rot90(pixels, round(frame.rotation / 90)))


def asks_for_film(content: Path, output: Path) -> bool:
    """Whether the content and the output together mean a film, not a picture or a batch.

    They mean a film if the output is a video or a pattern with numbers, or if a clip is written as WebP or
    into a folder.
    """
    if is_numbered(output) or (output.suffix.lower() in FORMATS and output.suffix.lower() != ".webp"):
        return True
    if output.suffix.lower() == ".webp":
        return os.path.isdir(content) or is_numbered(content) or is_animation(content) or is_video(content)
    into_folder = os.path.isdir(output) or not output.suffix
    return into_folder and (is_numbered(content) or is_video(content) or is_animation(content))


def is_numbered(path: Path) -> bool:
    """Whether it is a pattern for files with numbers in their names, such as out/%04d.png."""
    return bool(NUMBER.search(path.name)) and not os.path.exists(path)


def is_picture(path: Path) -> bool:
    """Whether Pillow reads this file, moving or not."""
    return _opened_by_pillow(path, lambda image: True)


def is_animation(path: Path) -> bool:
    """Whether this is a picture that moves."""
    return _opened_by_pillow(
        path, lambda image: image.format in ANIMATIONS and getattr(image, "is_animated", False)
    )


def _opened_by_pillow(path: Path, question: Callable[[Image.Image], bool]) -> bool:
    """The answer to a question about an image, False if it is no image; does not wait for a pipe."""
    if not os.path.isfile(path):
        return False
    try:
        with Image.open(path) as image:
            return question(image)
    except Exception:  # Pillow's decoders raise nearly anything for a damaged file
        return False


def is_video(path: Path) -> bool:
    """Whether this is a video, by its first bytes, or by its name if they do not tell; does not wait for a
    pipe."""
    if not os.path.isfile(path):
        return False
    try:
        with open(path, "rb") as file:
            if kinds.is_video(file.read(64)):
                return True
    except OSError:
        return False
    return (mimetypes.guess_type(path.name)[0] or "").startswith("video/") and not is_picture(path)


def pattern(output: Path) -> Path:
    """The pattern for the names of frames that are written to a folder, such as out/%04d.png."""
    return output if is_numbered(output) else output / NAMES


def store(output: Path, apart: bool) -> "Store":
    """The store of a film's painted frames: the output if it is a folder of PNG files, else a folder beside
    it. apart: whether the written frames differ from the painted ones, which need a folder of their own."""
    if output.suffix.lower() in FORMATS and not is_numbered(output):
        return Store(output.with_name(f"{output.stem}-frames") / NAMES)
    names = pattern(output)
    if names.suffix.lower() == ".png" and not apart:
        return Store(names)
    return Store(names.parent.with_name(f"{names.parent.resolve().name}-frames") / NAMES)


def find_images(flag: str, path: Path) -> tuple[Path, ...]:
    """The images of a folder, or of a pattern such as in/%04d.png, by the numbers in their names."""
    if path.is_dir():
        return tuple(sorted(folders.expand(flag, [path]), key=_by_numbers))
    if "%" in str(path.parent) or not path.parent.is_dir():
        raise SettingsError(flag, f"there is no folder {path.parent}")
    found = _matching(path)
    if not found:
        raise SettingsError(flag, f"there is no file like {path}")
    return tuple(sorted(found, key=_by_numbers))


def _matching(pattern: Path) -> list[Path]:
    """The files of its folder whose names are the pattern's, with any number in place of the %d."""
    before, after = map(re.escape, NUMBER.split(pattern.name, maxsplit=1))
    return [file for file in pattern.parent.iterdir() if re.fullmatch(rf"{before}\d+{after}", file.name)]


def _by_numbers(path: Path) -> list:
    """A sort key that puts 9.png before 10.png."""
    return [int(part) if part.isdigit() else part for part in re.split(r"([0-9]+)", path.name)]


def find_clip(flag: str, named: Path, span: Span, rate: float = USUAL_RATE) -> Clip:
    """The clip with this name on the command line. rate: used for images. Raises SettingsError."""
    if named.is_dir() or is_numbered(named):
        return Clip(find_images(flag, named), True, span, rate)
    filenames.check_input(flag, named)
    return Clip((named,), False, span, rate)


def moves(path: Path) -> bool:
    """Whether this is a clip, and not a still image."""
    return path.is_dir() or is_numbered(path) or is_animation(path) or is_video(path)


def masks(clip: Clip) -> Iterator[np.ndarray]:
    """The frames of a clip as masks, float32 [H, W], 0..1; raises ImageError after the last."""
    number = clip.span.first
    if clip.is_numbered:
        for path in clip.files[number - 1 :]:
            yield images.read_mask(path, may_be_black=True)
            number += 1
    else:
        for frame in clip.frames():
            yield images.to_mask(frame.pixels, frame.alpha)
            number += 1
    raise ImageError(f"{clip.name}: has no mask for frame {number}")


@dataclass(frozen=True)
class Store:
    """Painted frames in a folder, with a record of their settings and images.

    pattern: the path of the frames, with %d for the number.
    """

    pattern: Path

    @property
    def folder(self) -> Path:
        """The folder of the frames."""
        return self.pattern.parent

    def path(self, number: int) -> Path:
        """The file of a frame."""
        return self.folder / NUMBER.sub(lambda found: found[0] % number, self.pattern.name, count=1)

    def files(self) -> list[Path]:
        """All files in the folder whose names are those of frames."""
        return _matching(self.pattern) if self.folder.is_dir() else []

    def seed(self) -> int:
        """The seed of the stored frames, or a new seed."""
        return (self.recorded() or {}).get("seed", secrets.randbits(32))

    def recorded(self) -> dict[str, Any] | None:
        """The record of the stored frames; None if there is none. Raises RecipeError."""
        path = self.folder / RECORD
        try:
            return recipes.load(path) if path.exists() else None
        except RecipeError as error:
            raise RecipeError(f"{path}: {error}") from None

    def begin(self, record: dict[str, Any], overwrite: bool) -> None:
        """Prepare the folder for frames with this record. Frames with the same record are kept.

        With `overwrite`, frames of another run are removed. Without it they raise SettingsError, as other
        pictures always do. Raises OSError too.
        """
        found = self.recorded()
        if found == tomllib.loads(tomli_w.dumps(record)):
            return
        self.folder.mkdir(exist_ok=True)
        old = self.files()
        if old and not (overwrite and found is not None):
            what = "the frames of another run" if found is not None else "other pictures"
            advice = "--overwrite to begin anew" if found is not None else "or move them"
            raise SettingsError("output", f"{self.folder} has {what}; give another name, {advice}")
        for path in old:
            path.unlink()
        write_whole(self.folder / RECORD, lambda file: tomli_w.dump(record, file))

    def done(self, first: int) -> int:
        """The last frame up to which all are painted, from the first on; first - 1 if none is."""
        return next(number for number in itertools.count(first) if not self.path(number).exists()) - 1

    def read(self, number: int) -> np.ndarray:
        """A painted frame."""
        return images.read(self.path(number))

    def write(self, number: int, picture: np.ndarray) -> None:
        """Store a painted frame. Raises OSError."""
        images.write(self.path(number), picture)


def write(output: Path, clip: Clip, store: Store, settings: Settings, overwrite: bool) -> Path:
    """Write the painted frames of a clip as a film with its sound, or as images in a folder; returns the name
    of the film or the folder. The frames get the clip's colours if the settings keep them.

    A film is written completely or not at all. Raises OSError, and ImageError if FFmpeg cannot write it.
    """
    if output.suffix.lower() in FORMATS and not is_numbered(output):
        return _write_film(output, clip, _finished(clip, store, settings), overwrite)
    to = Store(pattern(output))
    if to != store:
        to.folder.mkdir(exist_ok=True)
        for frame in _finished(clip, store, settings):
            images.write(to.path(frame.number), frame.pixels)
    return to.folder


def _finished(clip: Clip, store: Store, settings: Settings) -> Iterator[Frame]:
    """The frames with their final colours."""
    for frame in clip.frames():
        picture = store.read(frame.number)
        if settings.colors == "content":
            picture = images.keep_colors(picture, images.resize(frame.pixels, *picture.shape[:2]))
        yield frame._replace(pixels=picture)


def _write_film(path: Path, clip: Clip, frames: Iterator[Frame], overwrite: bool) -> Path:
    import av

    form = FORMATS[path.suffix.lower()]
    try:
        return write_whole(path, lambda file: _encode(file, form, clip, frames), overwrite)
    except (av.error.FFmpegError, ValueError) as error:
        problem = " ".join(str(error).split())
        raise ImageError(f"{path}: FFmpeg cannot write it ({problem}); the frames are kept") from None


def _encode(file: BinaryIO, form: Format, clip: Clip, frames: Iterator[Frame]) -> None:
    """Write the frames, and the sound that belongs to them, to a file."""
    import av

    first = next(frames)
    height, width = first.pixels.shape[:2]
    if form.pixels == "yuv420p":  # it stores one colour for each 2 x 2 pixels
        height, width = height + height % 2, width + width % 2
    unit, rate = clip.timing()
    unit = Fraction(1, 100) if form.container == "gif" else unit
    loops = {} if form.sound else {"loop": "0"}
    with av.open(file, "w", format=form.container, options=loops) as output:
        stream = output.add_stream(form.codec, rate=rate, options=form.options)
        context = stream.codec_context
        context.width, context.height, context.time_base, context.pix_fmt = width, height, unit, form.pixels
        if form.pixels == "yuv420p":
            context.colorspace = context.color_primaries = context.color_trc = context.color_range = BT709
        sound = _Sound(output, form, clip, first.seconds)
        palettes = _palettes(width, height, unit) if form.pixels == "pal8" else None
        latest, seconds, step = -1, Fraction(0), Fraction(1, USUAL_RATE)
        with contextlib.closing(sound):
            for frame in itertools.chain([first], frames):
                step = frame.seconds - first.seconds - seconds or step
                seconds = frame.seconds - first.seconds
                latest = max(round(seconds / unit), latest + 1)
                picture = _to_frame(frame.pixels, height, width, form.pixels)
                picture.pts, picture.time_base = latest, unit
                if palettes:
                    palettes.push(picture)
                    picture = palettes.pull()
                sound.mux(seconds)
                output.mux(stream.encode(picture))
            sound.mux(math.inf if math.isinf(clip.span.last) else seconds + step)
            output.mux(stream.encode(None))
    clip.sound_problem = sound.problem


class _Sound:
    """The sound of a clip, which is added to a film. problem: what is wrong with it, or "".

    start: the time in the clip at which the film begins, in seconds.
    """

    def __init__(
        self, output: "av.container.OutputContainer", form: Format, clip: Clip, start: Fraction
    ) -> None:
        import av

        self._output, self._start, self._open, self.problem = output, start, contextlib.ExitStack(), ""
        self._packets, self._next = iter(()), None
        if form.sound is None or clip.is_numbered or is_picture(clip.name):
            return
        container = self._open.enter_context(_open(clip.name))
        if not container.streams.audio:
            return
        source = container.streams.audio[0]
        try:
            if source.codec_context.name in COPIED[form.sound]:
                to, encoder = output.add_stream_from_template(source), None
            else:
                to = encoder = output.add_stream(form.sound, rate=48000)
        except (av.error.FFmpegError, ValueError, AttributeError) as error:
            self.problem = f"its sound is left out ({error})"
            return
        self._packets = self._found(container, source, to, encoder)
        self._next = next(self._packets, None)

    def _found(
        self, container: "av.container.InputContainer", source: "av.AudioStream", to: Any, encoder: Any
    ) -> Iterator[tuple[Fraction, list]]:
        """The packets for the film, with their time in the film in seconds."""
        import av

        try:
            for packet in container.demux(source):
                if encoder is None and packet.pts is not None:
                    at = packet.pts * packet.time_base - self._start
                    shift = round(self._start / packet.time_base)
                    if at >= 0:
                        packet.pts, packet.dts, packet.stream = packet.pts - shift, packet.dts - shift, to
                        yield at, [packet]
                for frame in packet.decode() if encoder else ():
                    at = frame.pts * frame.time_base - self._start
                    if at >= 0:
                        frame.pts -= round(self._start / frame.time_base)
                        yield at, encoder.encode(frame)
            if encoder:
                yield at, encoder.encode(None)
        except (av.error.FFmpegError, TypeError) as error:
            self.problem = f"its sound is damaged, and ends early ({error})"

    def mux(self, seconds: float) -> None:
        """Add the sound up to this second of the film."""
        while self._next and self._next[0] < seconds:
            self._output.mux(self._next[1])
            self._next = next(self._packets, None)

    def close(self) -> None:
        """Close the clip."""
        self._open.close()


def _to_frame(pixels: np.ndarray, height: int, width: int, form: str) -> "av.VideoFrame":
    """Pixels as FFmpeg's frame; a missing row or column repeats the last."""
    import av
    from av.video.reformatter import Colorspace

    missing = (0, height - pixels.shape[0]), (0, width - pixels.shape[1]), (0, 0)
    whole = np.pad(images.to_bytes(pixels), missing, mode="edge")
    frame = av.VideoFrame.from_ndarray(whole, format="rgb24")
    space = Colorspace.ITU709 if form == "yuv420p" else None
    return frame if form == "pal8" else frame.reformat(format=form, dst_colorspace=space)


def _palettes(width: int, height: int, unit: Fraction) -> "av.filter.Graph":
    """A filter that reduces each frame to 256 colours."""
    import av

    graph = av.filter.Graph()
    source = graph.add_buffer(width=width, height=height, format="rgb24", time_base=unit)
    split = graph.add("split")
    generate, use = graph.add("palettegen", "stats_mode=single"), graph.add("paletteuse", "new=1")
    sink = graph.add("buffersink")
    source.link_to(split)
    split.link_to(generate, 0)
    split.link_to(use, 1, 0)
    generate.link_to(use, 0, 1)
    use.link_to(sink)
    graph.configure()
    return graph

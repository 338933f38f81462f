"""Clips: the frames of a video, an animation or numbered images, with their times.

FFmpeg, through PyAV, reads videos; Pillow reads animations. Pixels are float32 [H, W, 3], RGB 0..255.
"""

import contextlib
import itertools
import math
import mimetypes
import re
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image

from styling.films import numbered
from styling.pictures import decoding, folders, images, kinds
from styling.pictures.decoding import lifted_limits
from styling.system import filenames
from styling.system.errors import ImageError, SettingsError
from styling.system.terminal import remark

if TYPE_CHECKING:
    import av

ANIMATIONS = ("GIF", "WEBP", "PNG", "AVIF")  # Pillow's names of formats that may move
USUAL_RATE, USUAL_DURATION = 25, 100  # frames a second, and milliseconds, if a file does not say
USUAL_UNIT = Fraction(1, 1000)  # of times, in seconds
SHOWN_AS_USUAL = 10  # milliseconds; browsers show an animation's frames of no more for USUAL_DURATION
HD = 720  # a video with at least so many rows has the colours of BT.709, if it does not say
UNSPECIFIED, HDR = 2, {16: "PQ", 18: "HLG"}  # FFmpeg's numbers of a colour space, and of transfer curves


class Frame(NamedTuple):
    """A frame of a clip.

    number: as in the clip. seconds, duration: when it is shown, and for how long. decode: its colours as
    float32 [H, W, 3], or [H, W, 4] with the alpha, 0..255.
    """

    number: int
    seconds: Fraction
    duration: Fraction
    decode: Callable[[], np.ndarray]

    def pixels(self) -> np.ndarray:
        """The frame over white, float32 [H, W, 3]."""
        levels = self.decode()
        return levels if levels.shape[2] == 3 else decoding.on_white(levels[..., :3], levels[..., 3])

    def mask(self) -> np.ndarray:
        """The frame as a mask, float32 [H, W], 0..1: its luma times its opacity."""
        levels = self.decode()
        return images.to_mask(self.pixels(), levels[..., 3] if levels.shape[2] == 4 else None)


@dataclass(frozen=True)
class Span:
    """The first and the last frame to paint, by their numbers; the last may be open."""

    first: int = 0
    last: float = math.inf

    @classmethod
    def parse(cls, text: str) -> "Span":
        """A:B, A: or :B. Raises SettingsError."""
        match = re.fullmatch(r"(\d{0,9}):(\d{0,9})", text)
        span = match and cls(int(match[1] or 0), int(match[2]) if match[2] else math.inf)
        if not span or span.first > span.last:
            problem = f"{text!r} is no A:B, with the first and the last, as in 1:24 or 100:"
            raise SettingsError("frames", problem)
        return span

    def __contains__(self, number: int) -> bool:
        return self.first <= number <= self.last


@dataclass(frozen=True)
class Clip:
    """A clip to paint: a video, an animation, or numbered images.

    files: the one video or animation, whose frames are counted from 1, or the images. numbering: the images'
    numbers, or (). rate: of images, in frames a second.
    """

    files: tuple[Path, ...]
    numbering: tuple[int, ...] = ()
    span: Span = Span()
    rate: float = USUAL_RATE

    @property
    def name(self) -> Path:
        """The file, or the first of them."""
        return self.files[0]

    def remark(self, line: str) -> None:
        """Say a line about the clip, once."""
        remark(f"{self.name}: {line}")

    def frames(self) -> Generator[Frame]:
        """The frames of the span, one after the other. Raises ImageError if there are none."""
        number = None
        with contextlib.closing(self._all()) as every:
            for frame in every:
                number = frame.number
                if number in self.span:
                    yield frame
                if number >= self.span.last:
                    return
        if number is None:
            raise ImageError(f"{self.name}: has no frame that can be read; is it damaged?")
        if number < self.span.first:
            raise ImageError(f"{self.name}: has only frames up to {number}; --frames asks for later ones")

    def _all(self) -> Generator[Frame]:
        if self.numbering:
            return self._images()
        return self._animation() if picture_count(self.name) else self._video()

    def numbers(self) -> list[int]:
        """The numbers of the span's frames, without decoding them."""
        numbers: Sequence[int] = self.numbering
        if not numbers:
            count = picture_count(self.name)
            if not count:
                with _video_stream(self.name) as (container, stream):
                    count = stream.frames or sum(packet.size > 0 for packet in container.demux(stream))
            numbers = range(1, count + 1)
        return [number for number in numbers if number in self.span]

    def timing(self) -> tuple[Fraction, Fraction]:
        """The unit of the frames' times, in seconds, and the number of frames a second."""
        rate = Fraction(self.rate).limit_denominator(1001)
        if self.numbering:
            return 1 / rate, rate
        if picture_count(self.name):
            return USUAL_UNIT, rate
        with _video_stream(self.name) as (_, stream):
            return stream.time_base or USUAL_UNIT, stream.average_rate or rate

    def check_images(self) -> None:
        """Warn of numbers of the span that have no image. Raises ImageError for images of different sizes."""
        paths = {n: path for n, path in zip(self.numbering, self.files, strict=False) if n in self.span}
        expected = None
        for path in paths.values():
            with contextlib.suppress(Exception), Image.open(path) as image:  # images.read() has the words
                size = "{} x {}".format(*image.size)
                expected = expected or size
            if expected and size != expected:
                problem = f"has {size} pixels, the first {expected}"
                raise ImageError(f"{path}: {problem}; the images of a film must be of one size")
        missing = sorted(set(range(min(paths, default=0), max(paths, default=-1))) - paths.keys())
        if missing:
            advice = f"and {len(missing)} are missing in all; painted without"
            self.remark(f"there is no image {missing[0]}, {advice}")

    def _images(self) -> Generator[Frame]:
        unit, _ = self.timing()
        for i, (number, path) in enumerate(zip(self.numbering, self.files, strict=True)):
            yield Frame(number, i * unit, unit, partial(images.read, path))

    def _animation(self) -> Generator[Frame]:
        seconds = Fraction(0)
        with Image.open(self.name) as image:
            for number in itertools.count(1):
                try:
                    image.seek(number - 1)
                    rgba = np.asarray(image.convert("RGBA"))
                except EOFError:
                    return
                except Exception as error:  # Pillow's decoders raise nearly anything for a damaged file
                    self.remark(f"cannot be read further ({error}); painted as far as it can be read")
                    return
                shown = image.info.get("duration", 0)
                shown = shown if shown > SHOWN_AS_USUAL else USUAL_DURATION
                duration = Fraction(shown).limit_denominator(1000) / 1000
                yield Frame(number, seconds, duration, partial(rgba.astype, np.float32))
                seconds += duration

    def _video(self) -> Generator[Frame]:
        with _video_stream(self.name) as (container, stream):
            unit, usual = stream.time_base or USUAL_UNIT, 1 / Fraction(stream.average_rate or USUAL_RATE)
            end = ((stream.start_time or 0) + stream.duration) * unit if stream.duration else Fraction(0)
            last: Frame | None = None  # it is shown until the next, whatever the file says
            for number, frame in enumerate(self._decoded(container, stream), 1):
                seconds = Fraction(0) if frame.pts is None else frame.pts * unit
                if last:
                    seconds = seconds if seconds > last.seconds else last.seconds + usual
                    yield last._replace(duration=seconds - last.seconds)
                decode = partial(self._shown, frame, stream.sample_aspect_ratio or 1)
                last = Frame(number, seconds, frame.duration * unit or usual, decode)
            if last:
                yield last._replace(duration=max(last.duration, end - last.seconds))
            count = last.number if last else 0
            promised = stream.frames or round((end or Fraction(container.duration or 0, 10**6)) / usual)
            # A number that is computed from the duration may be wrong, since the sound may be longer.
            if count < (stream.frames or 0.95 * promised - 2):
                self.remark(f"ends after {count} of its {promised} frames")

    def _decoded(
        self, container: "av.container.InputContainer", stream: "av.VideoStream"
    ) -> Iterator["av.VideoFrame"]:
        """The frames; packets that cannot be decoded, as the first of a cut recording, are skipped."""
        import av

        for packet in container.demux(stream):
            try:
                yield from packet.decode()
            except av.error.InvalidDataError:
                self.remark("is damaged; painted as far as it can be read")

    def _shown(self, frame: "av.VideoFrame", aspect: Fraction | int) -> np.ndarray:
        """A decoded frame as a player shows it, upright, with square pixels; as Frame.decode gives it."""
        from av.video.reformatter import Colorspace, Interpolation

        matrix = frame.side_data.get("DISPLAYMATRIX")
        if frame.color_trc in HDR:
            curve = HDR[frame.color_trc]
            self.remark(f"has a high dynamic range ({curve}), which is mapped to that of pictures")
            graph = _tone_mapper(frame.width, frame.height, frame.format.name, frame.time_base)
            graph.push(frame)
            frame = graph.pull()
        space = Colorspace.ITU709 if frame.colorspace == UNSPECIFIED and frame.height >= HD else None
        has_alpha = any(component.is_alpha for component in frame.format.components)
        width = max(round(frame.width * aspect), 1)
        kind, kernel = "rgba" if has_alpha else "rgb24", Interpolation.BICUBIC
        levels = frame.to_ndarray(format=kind, width=width, src_colorspace=space, interpolation=kernel)
        return _turned(levels.astype(np.float32), matrix)


def _turned(pixels: np.ndarray, matrix: bytes | None) -> np.ndarray:
    """Pixels [H, W, ...] turned and mirrored by FFmpeg's display matrix, to the nearest of eight kinds."""
    if matrix is None:
        return pixels
    right, down_of_x, _, right_of_y, down, *_ = np.frombuffer(matrix, np.int32)
    if abs(down_of_x) > abs(right):
        pixels, right, down = pixels.swapaxes(0, 1), right_of_y, down_of_x
    return np.ascontiguousarray(pixels[:: -1 if down < 0 else 1, :: -1 if right < 0 else 1])


@lru_cache(maxsize=1)  # the first frame of a clip takes seconds, the others nothing
def _tone_mapper(width: int, height: int, pixels: str, unit: Fraction) -> "av.filter.Graph":
    """A filter from a high dynamic range, which each frame tells, to the range and colours of BT.709."""
    import av

    graph = av.filter.Graph()
    graph.link_nodes(
        graph.add_buffer(width=width, height=height, format=pixels, time_base=unit),
        graph.add("scale", "out_primaries=bt709:out_transfer=bt709:intent=perceptual"),
        graph.add("format", "rgb24"),
        graph.add("buffersink"),
    ).configure()
    return graph


@contextlib.contextmanager
def opened(path: Path) -> Iterator["av.container.InputContainer"]:
    """A video, open. Raises ImageError if FFmpeg cannot read it."""
    import av

    av.logging.set_level(None)  # with a level, FFmpeg's threads and this thread would wait for each other
    try:
        container = av.open(str(path), metadata_errors="ignore")
    except av.error.FFmpegError as error:
        problem = f"is no film that can be read ({error.strerror})"
        raise ImageError(f"{path}: {problem}; it is damaged, or no film at all") from None
    with container:
        yield container


@contextlib.contextmanager
def _video_stream(path: Path) -> Iterator[tuple["av.container.InputContainer", "av.VideoStream"]]:
    """A video, open, and its stream of moving pictures. Raises ImageError."""
    import av

    with opened(path) as container:
        covers = av.stream.Disposition.attached_pic  # the cover pictures of sound files
        stream = next((s for s in container.streams.video if not s.disposition & covers), None)
        if stream is None or stream.codec_context is None:
            what = "a codec that this PyAV has no decoder for" if stream else "no moving picture in it"
            raise ImageError(f"{path}: has {what}")
        yield container, stream


def picture_count(path: Path) -> int:
    """The number of pictures in an image or an animation; 0 for other files, and for a pipe, which is not
    waited for."""
    if not path.is_file():
        return 0
    try:
        with lifted_limits(), Image.open(path) as image:
            return getattr(image, "n_frames", 1) if image.format in ANIMATIONS else 1
    except Exception:  # Pillow's decoders raise nearly anything for a damaged file
        return 0


def is_video(path: Path) -> bool:
    """Whether this is a video, by its first bytes, or else by its name; does not wait for a pipe."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        is_one = kinds.is_video(file.read(64))
    named = mimetypes.guess_type(path.name)[0] or ""
    return is_one or (named.startswith("video/") and not picture_count(path))


def moves(path: Path) -> bool:
    """Whether this can be a clip: no still image."""
    return path.is_dir() or numbered.is_pattern(path) or picture_count(path) > 1 or is_video(path)


def find(flag: str, path: Path, span: Span, rate: float = USUAL_RATE) -> Clip:
    """The clip that a flag names: a file, a folder of images, or a pattern such as in/%04d.png.

    rate: of images. Raises SettingsError.
    """
    if path.is_dir():
        files = numbered.by_number(list(folders.expand(flag, [path])))
    elif not numbered.is_pattern(path):
        filenames.check_input(flag, path)
        return Clip((path,), (), span, rate)
    elif not path.parent.is_dir():
        raise SettingsError(flag, f"there is no folder {path.parent}")
    else:
        files = numbered.files(path)
    if not files:
        raise SettingsError(flag, f"there is no file like {path}")
    return Clip(tuple(files.values()), tuple(files), span, rate)


def aligned(masks: Clip, clip: Clip) -> Clip:
    """Moving masks, one for each frame of the clip's span: by number if they are images that have the numbers
    of all these frames, else in their order. Raises ImageError if there are fewer than frames.
    """
    wanted, files = clip.numbers(), dict(zip(masks.numbering, masks.files, strict=False))
    if files and files.keys() >= set(wanted):
        return replace(masks, files=tuple(map(files.__getitem__, wanted)), numbering=tuple(wanted))
    first = replace(clip, span=Span(last=wanted[0])).numbers().index(wanted[0]) + 1
    numbering, span = tuple(range(1, len(files) + 1)), Span(first, first + len(wanted) - 1)
    masks = replace(masks, numbering=numbering, span=span)
    count = len(masks.numbers())
    if count < len(wanted):
        raise ImageError(f"{masks.name}: has no mask for frame {wanted[count]}; {len(wanted)} are needed")
    return masks


def masks(clip: Clip) -> Iterator[np.ndarray]:
    """The frames of a clip as masks, float32 [H, W], 0..1."""
    paths = zip(clip.numbering, clip.files, strict=False)
    yield from (images.read_mask(path, may_be_black=True) for n, path in paths if n in clip.span)
    if not clip.numbering:
        yield from (frame.mask() for frame in clip.frames())

"""Clips: the frames of a video, an animation or numbered images, with their times.

FFmpeg, through PyAV, reads videos; Pillow reads animations. Pixels are float32 [H, W, 3], RGB 0..255.
"""

import contextlib
import itertools
import logging
import math
import mimetypes
import os
import re
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import ExifTags, Image

from styling.films import numbered
from styling.pictures import folders, images, kinds
from styling.system import filenames
from styling.system.errors import ImageError, SettingsError

if TYPE_CHECKING:
    import av

log = logging.getLogger("styling")
ANIMATIONS = ("GIF", "WEBP", "PNG", "AVIF")  # Pillow's names of formats that may move
USUAL_RATE, USUAL_DURATION = 25, 100  # frames a second, and milliseconds, if a file does not say
USUAL_UNIT = Fraction(1, 1000)  # of times, in seconds
SHOWN_AS_USUAL = 10  # milliseconds; browsers show an animation's frames of no more for USUAL_DURATION
HD = 720  # a video with at least so many rows has the colours of BT.709, if it does not say
UNSPECIFIED, HDR = 2, {16: "PQ", 18: "HLG"}  # FFmpeg's numbers of a colour space, and of transfer curves
ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}  # FFmpeg's own leave out the alpha


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
        opacity = levels[..., 3:] / 255
        return levels if levels.shape[2] == 3 else levels[..., :3] * opacity + 255 * (1 - opacity)

    def mask(self) -> np.ndarray:
        """The frame as a mask, float32 [H, W], 0..1: its luma times its opacity, or its opacity if all of it
        is black."""
        levels = self.decode()
        alpha = levels[..., 3] if levels.shape[2] == 4 else None
        if alpha is not None and alpha.min() < 255 and not (levels[..., :3] * alpha[..., None]).any():
            return images.to_mask(np.full_like(levels[..., :3], 255), alpha)
        return images.to_mask(self.pixels(), alpha)


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
            raise SettingsError(
                "frames", f"{text!r} is no A:B, with the first and the last, as in 1:24 or 100:"
            )
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
    _said: set[str] = field(default_factory=set, compare=False, repr=False)

    @property
    def name(self) -> Path:
        """The file, or the first of them."""
        return self.files[0]

    def warn(self, problem: str) -> None:
        """Log what is wrong with the clip, once."""
        if problem not in self._said:
            self._said.add(problem)
            log.warning("%s: %s", self.name, problem)

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
        return self._animation() if is_picture(self.name) else self._video()

    def numbers(self) -> list[int]:
        """The numbers of the span's frames, without decoding them."""
        numbers: Sequence[int] = self.numbering
        if not numbers and is_picture(self.name):
            with Image.open(self.name) as image:
                numbers = range(1, getattr(image, "n_frames", 1) - _hidden(image) + 1)
        elif not numbers:
            with _video_stream(self.name) as (container, stream):
                count = stream.frames or sum(packet.size > 0 for packet in container.demux(stream))
                numbers = range(1, count + 1)
        return [number for number in numbers if number in self.span]

    def timing(self) -> tuple[Fraction, Fraction]:
        """The unit of the frames' times, in seconds, and the number of frames a second."""
        rate = Fraction(self.rate).limit_denominator(1001)
        if self.numbering:
            return 1 / rate, rate
        if is_picture(self.name):
            return USUAL_UNIT, rate
        with _video_stream(self.name) as (_, stream):
            return stream.time_base or USUAL_UNIT, stream.average_rate or rate

    def check_images(self) -> None:
        """Warn of numbers of the span that have no image. Raises ImageError for images of different sizes."""
        paths = {n: path for n, path in zip(self.numbering, self.files, strict=False) if n in self.span}
        sizes = {path: _size(path) for path in paths.values()}
        for path, (width, height) in sizes.items():
            if (width, height) != sizes[paths[min(paths)]]:
                first = "{} x {}".format(*sizes[paths[min(paths)]])
                problem = f"has {width} x {height} pixels, the first {first}"
                raise ImageError(f"{path}: {problem}; the images of a film must be of one size")
        missing = sorted(set(range(min(paths, default=0), max(paths, default=-1))) - paths.keys())
        if missing:
            self.warn(
                f"there is no image {missing[0]}, and {len(missing)} are missing in all; painted without"
            )

    def _images(self) -> Generator[Frame]:
        unit, _ = self.timing()
        for i, (number, path) in enumerate(zip(self.numbering, self.files, strict=True)):
            yield Frame(number, i * unit, unit, partial(images.read, path))

    def _animation(self) -> Generator[Frame]:
        seconds = Fraction(0)
        with Image.open(self.name) as image:
            for number in itertools.count(1):
                try:
                    image.seek(number - 1 + _hidden(image))
                    rgba = np.asarray(image.convert("RGBA"))
                except EOFError:
                    return
                except Exception as error:  # Pillow's decoders raise nearly anything for a damaged file
                    self.warn(f"cannot be read further ({error}); painted as far as it can be read")
                    return
                shown = image.info.get("duration", 0)
                shown = shown if shown > SHOWN_AS_USUAL else USUAL_DURATION
                duration = Fraction(shown).limit_denominator(1000) / 1000
                yield Frame(number, seconds, duration, partial(rgba.astype, np.float32))
                seconds += duration

    def _video(self) -> Generator[Frame]:
        with _video_stream(self.name) as (container, stream):
            unit, usual = stream.time_base or USUAL_UNIT, 1 / Fraction(stream.average_rate or USUAL_RATE)
            aspect = stream.sample_aspect_ratio or 1
            end = ((stream.start_time or 0) + stream.duration) * unit if stream.duration else Fraction(0)
            last: Frame | None = None  # it is shown until the next, whatever the file says
            for number, frame in enumerate(self._decoded(container, stream), 1):
                seconds = Fraction(0) if frame.pts is None else frame.pts * unit
                if last:
                    seconds = seconds if seconds > last.seconds else last.seconds + usual
                    yield last._replace(duration=seconds - last.seconds)
                decode = partial(self._shown, frame, aspect)
                last = Frame(number, seconds, frame.duration * unit or usual, decode)
            if last:
                yield last._replace(duration=max(last.duration, end - last.seconds))
            count = last.number if last else 0
            promised = stream.frames or round((end or Fraction(container.duration or 0, 10**6)) / usual)
            # A number that is computed from the duration may be wrong, since the sound may be longer.
            if count < (stream.frames or 0.95 * promised - 2) and not self._said:
                self.warn(f"ends after {count} of its {promised} frames")

    def _decoded(
        self, container: "av.container.InputContainer", stream: "av.VideoStream"
    ) -> Iterator["av.VideoFrame"]:
        """The frames; packets that cannot be decoded, as the first of a cut recording, are skipped."""
        import av

        packets, decoder = container.demux(stream), _decoder(stream)
        while True:
            try:
                packet = next(packets, None)
                decoded = [] if packet is None else decoder.decode(packet)
            except av.error.FFmpegError as error:
                self.warn(f"is damaged ({error.strerror}); painted as far as it can be read")
                if isinstance(error, av.error.InvalidDataError):
                    continue
                return
            if packet is None:
                return
            yield from decoded

    def _shown(self, frame: "av.VideoFrame", aspect: Fraction | int) -> np.ndarray:
        """A decoded frame as a player shows it, upright, with square pixels; as Frame.decode gives it."""
        from av.video.reformatter import Colorspace, Interpolation

        matrix = frame.side_data.get("DISPLAYMATRIX")
        if frame.color_trc in HDR:
            curve = HDR[frame.color_trc]
            self.warn(f"has a high dynamic range ({curve}), which is mapped to that of pictures")
            frame = _tone_mapped(frame)
        space = Colorspace.ITU709 if frame.colorspace == UNSPECIFIED and frame.height >= HD else None
        has_alpha = any(component.is_alpha for component in frame.format.components)
        width = max(round(frame.width * aspect), 1)
        kind, kernel = "rgba" if has_alpha else "rgb24", Interpolation.BICUBIC
        levels = frame.to_ndarray(format=kind, width=width, src_colorspace=space, interpolation=kernel)
        return _turned(levels.astype(np.float32), matrix)


def _hidden(image: Image.Image) -> int:
    """The images in front of an animation's first frame: an APNG's default image, for old programs."""
    return int(getattr(image, "default_image", False))


def _size(path: Path) -> tuple[int, int]:
    """The width and height of an image, upright, from its header. Raises the errors of images.read()."""
    try:
        with Image.open(path) as image:
            turned = image.getexif().get(ExifTags.Base.Orientation, 1) > 4
            return image.size[::-1] if turned else image.size
    except Exception:  # images.read() has the words for it
        return images.read(path).shape[1::-1]


def _turned(pixels: np.ndarray, matrix: bytes | None) -> np.ndarray:
    """Pixels [H, W, ...] turned and mirrored by FFmpeg's display matrix, to the nearest of eight kinds."""
    if matrix is None:
        return pixels
    right, down_of_x, _, right_of_y, down, *_ = np.frombuffer(matrix, np.int32)
    if abs(down_of_x) > abs(right):
        pixels, right, down = pixels.swapaxes(0, 1), right_of_y, down_of_x
    return np.ascontiguousarray(pixels[:: -1 if down < 0 else 1, :: -1 if right < 0 else 1])


def _tone_mapped(frame: "av.VideoFrame") -> "av.VideoFrame":
    """A frame of high dynamic range in the range and colours of BT.709."""
    graph = _tone_mapper(frame.width, frame.height, frame.format.name, frame.color_trc, frame.time_base)
    graph.push(frame)
    return graph.pull()


@lru_cache(maxsize=1)  # the first frame of a clip takes seconds, the others nothing
def _tone_mapper(width: int, height: int, pixels: str, curve: int, unit: Fraction) -> "av.filter.Graph":
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
        if stream is None:
            raise ImageError(f"{path}: has no moving picture in it")
        if stream.codec_context is None:
            raise ImageError(f"{path}: is of a kind that this PyAV has no decoder for")
        yield container, stream


def _decoder(stream: "av.VideoStream") -> "av.VideoCodecContext":
    """The decoder of a stream, with its alpha."""
    import av

    name = ALPHA_DECODERS.get(stream.codec_context.name)
    if name and stream.metadata.get("alpha_mode") == "1":
        return av.CodecContext.create(name, "r")
    return stream.codec_context


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
    """Whether this is a video, by its first bytes, or else by its name; does not wait for a pipe."""
    if not os.path.isfile(path):
        return False
    try:
        with open(path, "rb") as file:
            if kinds.is_video(file.read(64)):
                return True
    except OSError:
        return False
    return (mimetypes.guess_type(path.name)[0] or "").startswith("video/") and not is_picture(path)


def moves(path: Path) -> bool:
    """Whether this can be a clip: no still image."""
    return path.is_dir() or numbered.is_pattern(path) or is_animation(path) or is_video(path)


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
        return replace(
            masks, files=tuple(files[number] for number in wanted), numbering=tuple(wanted), span=Span()
        )
    first = replace(clip, span=Span(last=wanted[0])).numbers().index(wanted[0]) + 1
    numbering = tuple(range(1, len(files) + 1))
    masks = replace(masks, numbering=numbering, span=Span(first, first + len(wanted) - 1))
    count = len(masks.numbers())
    if count < len(wanted):
        raise ImageError(f"{masks.name}: has no mask for frame {wanted[count]}; {len(wanted)} are needed")
    return masks


def masks(clip: Clip) -> Iterator[np.ndarray]:
    """The frames of a clip as masks, float32 [H, W], 0..1."""
    if clip.numbering:
        paths = zip(clip.numbering, clip.files, strict=True)
        yield from (images.read_mask(path, may_be_black=True) for n, path in paths if n in clip.span)
    else:
        yield from (frame.mask() for frame in clip.frames())

"""Writing films: painted frames, with the clip's times and sound, as a video or a moving picture.

FFmpeg, through PyAV, writes all of them.
"""

import contextlib
import heapq
import itertools
import math
import os
from collections.abc import Generator, Iterator
from fractions import Fraction
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import numpy as np
from PIL import Image

from styling.films import clips, numbered
from styling.films.clips import Clip, Frame
from styling.pictures import images
from styling.system.errors import ImageError, SettingsError
from styling.system.files import write_whole

if TYPE_CHECKING:
    import av

BT709 = 1  # FFmpeg's number of these primaries, curve and matrix
COPIED = {"aac": {"aac", "mp3", "alac", "ac3"}, "libopus": {"opus", "vorbis"}}  # sound that is only copied
CODECS = ("h264", "h264-444", "prores")

Shown = tuple[Frame, np.ndarray]  # a frame of the clip, and its picture, float32 [H, W, 3], RGB 0..255
Timed = tuple[Fraction, list | None]  # packets, and the second of the film at which they begin


class Format(NamedTuple):
    """How a film is written: FFmpeg's names, the codec's options, the sound's codec, if any, and the shortest
    time in seconds for which players show a frame."""

    container: str
    codec: str
    pixels: str
    options: dict[str, str]
    sound: str | None = None
    shortest: Fraction = Fraction(0)

    @property
    def whole(self) -> int:
        """What the sides are multiples of, since some formats have one colour for each 2 x 2 pixels."""
        return 1 if "444" in self.pixels or self.pixels in ("pal8", "bgra") else 2


# With frames out of order (bf), MP4 would not keep the duration of the last one shown.
H264 = Format("mp4", "libx264", "yuv420p", {"crf": "17", "bf": "0"}, "aac")
FORMATS = {
    ".mp4": H264,
    ".m4v": H264,
    ".mov": H264._replace(container="mov"),
    ".mkv": H264._replace(container="matroska"),
    ".webm": Format("webm", "libvpx-vp9", "yuv420p", {"crf": "20", "b": "0", "row-mt": "1"}, "libopus"),
    ".gif": Format("gif", "gif", "pal8", {}, shortest=Fraction(2, 100)),
    ".webp": Format("webp", "libwebp", "bgra", {"quality": "90"}, shortest=Fraction(11, 1000)),
}


def format_of(output: Path, codec: str | None = None, crf: float | None = None) -> Format:
    """The format of a film by its ending, its codec, one of CODECS, and its quality.

    crf: of H.264 (0..51, by default 17) or VP9 (0..63, by default 20); less is better and larger. Raises
    SettingsError.
    """
    ending = output.suffix.lower()
    form = FORMATS[ending]
    if codec is not None:
        if form.codec != "libx264" or (codec == "prores" and form.container == "mp4"):
            raise SettingsError("video_codec", f"{codec} does not go into {ending}; use .mov or .mkv")
        if codec == "h264-444":
            form = form._replace(pixels="yuv444p")
        if codec == "prores":
            form = form._replace(codec="prores_ks", pixels="yuv422p10le", options={"profile": "hq"})
    if crf is not None:
        if "crf" not in form.options:
            raise SettingsError("crf", f"has no effect on {codec or ending}; it is for H.264 and VP9")
        form = form._replace(options=form.options | {"crf": f"{crf:g}"})
    return form


def is_file(output: Path) -> bool:
    """Whether a film with this output becomes one file, not images."""
    ending = output.suffix.lower()
    return ending in FORMATS and (ending not in images.FORMATS or not numbered.is_pattern(output))


def asks_for_film(content: Path, output: Path) -> bool:
    """Whether the content and the output together mean a film, not a picture or a batch.

    They do if the output can only be a film, or if a clip is written as WebP, into a folder or as numbered
    images; a folder of photographs into a folder is a batch.
    """
    ending = output.suffix.lower()
    if ending in FORMATS and ending not in images.FORMATS:
        return True
    into_folder = (os.path.isdir(output) or not ending) and not os.path.isdir(content)
    return (ending == ".webp" or numbered.is_pattern(output) or into_folder) and clips.moves(content)


def write_film(path: Path, form: Format, clip: Clip, frames: Iterator[Shown], overwrite: bool) -> Path:
    """Write painted frames as a film with their times and the clip's sound; returns the path.

    The film is written completely or not at all. Raises OSError, and ImageError if FFmpeg cannot write it.
    """
    import av

    try:
        return write_whole(path, lambda file: _encode(file, form, clip, frames), overwrite)
    except (av.error.FFmpegError, ValueError) as error:
        problem = f"FFmpeg cannot write it ({' '.join(str(error).split())}); the painted frames are there"
        raise ImageError(f"{path}: {problem}") from None


def _encode(file: BinaryIO, form: Format, clip: Clip, frames: Iterator[Shown]) -> None:
    import av

    first, picture = next(frames)
    unit, rate = clip.timing()
    options = {} if form.sound else {"loop": "0"}
    with av.open(file, "w", format=form.container, options=options) as output:
        stream = output.add_stream(form.codec, rate=rate, options=form.options)
        context = stream.codec_context
        context.height, context.width = (side + -side % form.whole for side in picture.shape[:2])
        context.time_base = Fraction(1, 100) if form.container == "gif" else unit
        context.pix_fmt = form.pixels
        if form.pixels.startswith("yuv"):
            context.colorspace = context.color_primaries = context.color_trc = context.color_range = BT709
        moving = _encoded(stream, form, clip, itertools.chain([(first, picture)], frames))
        with contextlib.closing(_sound(output, form.sound, clip, first.seconds)) as sound:
            for _, packets in heapq.merge(moving, sound, key=itemgetter(0)):
                if packets is None:
                    break
                output.mux(packets)


def _encoded(stream: "av.VideoStream", form: Format, clip: Clip, frames: Iterator[Shown]) -> Iterator[Timed]:
    """The packets of the pictures; None at the end of a span, where the sound ends too."""
    unit = stream.codec_context.time_base
    least = max(math.ceil(form.shortest / unit), 1)
    start, end, at = None, Fraction(0), -least
    durations: dict[int | None, int] = {}

    def timed(packets: list) -> list:
        for packet in packets:  # encoders know only the times; the last frame's duration would be lost
            packet.duration = durations.pop(packet.pts, packet.duration)
        return packets

    for frame, pixels in frames:
        start = frame.seconds if start is None else start
        seconds, end = frame.seconds - start, frame.seconds - start + frame.duration
        if form.shortest and round(seconds / unit) < at + least:
            most = f"{float(1 / form.shortest):.0f} frames a second that players show of a {form.container}"
            clip.remark(f"is faster than the {most}; some are left out")
            continue
        at = max(round(seconds / unit), at + 1)
        durations[at] = max(round(end / unit) - at, least)
        picture = _to_frame(pixels, form)
        picture.pts, picture.time_base, picture.duration = at, unit, durations[at]
        yield seconds, timed(stream.encode(picture))
    yield end, timed(stream.encode(None))
    if not math.isinf(clip.span.last):
        yield end, None


def _to_frame(pixels: np.ndarray, form: Format) -> "av.VideoFrame":
    """Pixels as FFmpeg's frame; a missing row or column repeats the last."""
    import av

    missing = [(0, -side % form.whole) for side in pixels.shape[:2]]
    whole = np.pad(images.to_bytes(pixels), [*missing, (0, 0)], mode="edge")
    if form.pixels == "pal8":
        paletted = Image.fromarray(whole).quantize(256)
        palette = np.full((256, 4), 255, np.uint8)
        colors = np.reshape(paletted.getpalette() or [], (-1, 3))
        palette[: len(colors), 1:] = colors
        return av.VideoFrame.from_ndarray((np.asarray(paletted), palette), format="pal8")
    space = "ITU709" if form.pixels.startswith("yuv") else None
    return av.VideoFrame.from_ndarray(whole).reformat(format=form.pixels, dst_colorspace=space)


def _sound(
    output: "av.container.OutputContainer", codec: str | None, clip: Clip, start: Fraction
) -> Generator[Timed]:
    """The packets of the clip's sound from this second on; copied where the film's container takes them."""
    import av

    if codec is None or clip.numbering or clips.picture_count(clip.name):
        return
    with clips.opened(clip.name) as container:
        if not container.streams.audio:
            return
        source, seconds = container.streams.audio[0], Fraction(0)
        copies = source.codec_context.name in COPIED[codec]
        try:
            to: Any = (
                output.add_stream_from_template(source) if copies else output.add_stream(codec, rate=48000)
            )
            for packet in container.demux(source):
                packets = [packet] if packet.pts is not None else []
                for item in packets if copies else packet.decode():
                    seconds = item.pts * item.time_base - start
                    item.pts -= round(start / item.time_base)
                    if seconds >= 0 and copies:
                        item.dts, item.stream = item.dts - round(start / item.time_base), to
                    if seconds >= 0:
                        yield seconds, [item] if copies else to.encode(item)
            if not copies:
                yield seconds, to.encode(None)
        except (av.error.FFmpegError, ValueError, TypeError, AttributeError) as error:
            clip.remark(f"its sound is damaged, and left out or ends early ({error})")

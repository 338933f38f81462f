"""Films, frame by frame: each frame starts from the one before, warped by the film's motion.

Ruder, Dosovitskiy, Brox, "Artistic style transfer for videos" (2016): earlier frames are warped along the
optical flow. Where the flow can be trusted, they are the start and the target of the temporal loss. New areas
start from a picture of one pass, painted coarse to fine like the first frame. The paper's long-term loss over
several earlier frames is the loss to a single frame here: each pixel of it comes from the first frame of the
scene where nothing has changed, else from the nearest earlier frame that shows the pixel.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

import cv2
import numpy as np

from styling.films import flow
from styling.objective import layer_masks
from styling.pictures.images import LUMA, Images, Warped, to_bytes
from styling.pictures.masks import resize
from styling.run import one_pass, runs
from styling.run.runs import Run
from styling.run.sizes import scales_of
from styling.settings import Settings
from vgg import Network

LEAST_TRUST = 0.2  # mean within a scene
SCENE_SIDE = 160  # pixels of the frames that are looked at to find cuts
FULL_LIGHT = 128  # the luma of the light parts of a frame that is neither dark nor in a fade
SEAM = 0.8  # pixels; between what an earlier frame shows and what is new
MOST_APART = 60  # levels from the median of 3 x 3 pixels; a pixel further away would be a speck
BLACK = 0.06  # of full light; so dark a frame is not painted


@dataclass(frozen=True)
class Painted:
    """A painted frame: its content and its picture, float32 [H, W, 3], RGB 0..255, of one size.

    masks: as masks_of() gives them; None for none.
    """

    content: np.ndarray
    picture: np.ndarray
    masks: np.ndarray | None = None


def resolve(
    content: np.ndarray,
    given: Images,
    before: Sequence[Painted],
    network: Network,
    settings: Settings,
    masks: np.ndarray | None = None,
    first: Painted | None = None,
) -> Run | None:
    """The run that paints a frame; None if its masks leave nothing to paint.

    content: of the picture's size; its colours are put back only when the film is written. given: the styles,
    and the initial image for a frame that does not start from the one before. before: the painted frames up
    to the last; frames before a cut are ignored. masks: of the frame, as masks_of() gives them. first: of
    the scene, if it is painted.
    Raises the errors of runs.resolve().
    """
    settings = replace(settings, width=None, max_size=None)
    if settings.colors == "content":
        settings = replace(settings, colors="style")
    given, painting = without_empty_masks(replace(given, content=content), network, settings)
    if given.styles and not any(painting):
        return None
    if not all(painting):
        shares = settings.style_shares(len(painting))
        weights = tuple(share * paints for share, paints in zip(shares, painting, strict=True))
        settings = replace(settings, style_blend_weights=weights)
    back = settings.frames_back if settings.temporal_weight else ()
    anew = partial(at_once, given, network, settings)
    warped = predict(content, before, back, masks, first, anew)
    if warped is None:
        return runs.resolve(given, network, settings)
    settings = replace(settings, iterations=iterations_between(settings), scales=(1.0,), scale_shares=None)
    # What starts as a painting is painted as well with half the matches, in a third of the time less.
    settings = replace(settings, match_positions=-(-settings.match_positions // 2))
    return runs.resolve(replace(given, initial=None, warped=warped), network, settings)


def without_empty_masks(given: Images, network: Network, settings: Settings) -> tuple[Images, list[bool]]:
    """The images of a frame without masks that are empty in this frame, and for each style whether it paints.

    A style does not paint if its mask, outside the content mask, leaves no position of any layer at the
    coarsest scale, or after its erosion. No style paints if the content mask covers the whole frame.
    """
    stays, count = given.content_mask, len(given.styles)
    if stays is not None and not stays.any():
        given, stays = replace(given, content_mask=None), None
    if stays is not None and (stays == 1).all():
        return given, [False] * count
    size = scales_of(given, settings)[0].size
    layers = {*settings.layer_weights("style"), *settings.layer_weights("shift")}

    def paints(mask: np.ndarray | None) -> bool:
        if mask is None:
            return True
        area = resize(mask, *size) * (1 if stays is None else 1 - resize(stays, *size))
        return bool(layer_masks.of_style(area, network, layers, settings)) if layers else bool(area.any())

    painting = [paints(mask) for mask in given.style_masks]
    masks = tuple(mask if each else None for mask, each in zip(given.style_masks, painting, strict=True))
    return replace(given, style_masks=masks), (painting or [True]) * (count // (len(masks) or 1))


def iterations_between(settings: Settings) -> int:
    """The updates of a frame that starts from the one before."""
    return settings.frame_iterations or max(settings.iterations // 14, min(settings.iterations, 1))


def share_of_work(settings: Settings) -> float:
    """The work of a frame that starts from the one before, as a share of that of one that does not."""
    fresh = zip(settings.iterations_by_scale(), settings.scales, strict=True)
    work = sum(iterations * scale**2 for iterations, scale in fresh)
    return iterations_between(settings) / work if work else 1.0


def masks_of(given: Images, content: np.ndarray) -> np.ndarray | None:
    """The masks of the styles and of the content at the size of a frame, [H, W, n]; None for none."""
    masks = [mask for mask in (*given.style_masks, given.content_mask) if mask is not None]
    return np.stack([resize(mask, *content.shape[:2]) for mask in masks], -1) if masks else None


def light(content: np.ndarray) -> float:
    """How light a frame is, from 0 for black to 1 for full light. Frames are painted in full light, shown in
    their own, so that a fade fades the painting."""
    share = float(np.percentile(content @ LUMA, 99)) / FULL_LIGHT
    return min(share, 1) if share >= BLACK else 0.0


def is_cut(content: np.ndarray, before: Sequence[Painted]) -> bool:
    """Whether a frame is of another scene than those before it, by small versions of them."""
    small = _small(content)
    shares = (_known(small, _small(frame.content))[1] for frame in reversed(before))
    return all(flow.faded(share).mean() < LEAST_TRUST for share in shares)


def _small(image: np.ndarray) -> np.ndarray:
    scale = min(SCENE_SIDE / max(image.shape[:2]), 1)
    return cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)


def _known(content: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The flow from a frame to another, and how far the other shows each pixel."""
    alike = flow.same_light(other, content)
    motion = flow.between(content, alike)
    return motion, flow.known(content, alike, motion, flow.between(alike, content))


def predict(
    content: np.ndarray,
    before: Sequence[Painted],
    frames_back: Sequence[int],
    masks: np.ndarray | None = None,
    first: Painted | None = None,
    anew: Callable[[Warped], np.ndarray] | None = None,
) -> Warped | None:
    """A frame predicted from the painted frames before it; None for the first frame and after a cut.

    masks: of the frame, as masks_of() gives them; a pixel that comes from the area of another style is new.
    first: of the scene. anew: paints the frame from what earlier frames show of it, for what none shows;
    without it, that is the content. Trust fades out within what is known, so that no pixel is held to one
    carried across an edge; there the frame only starts from earlier ones.
    """

    def look(frame: Painted) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        motion, share = _known(content, frame.content)
        return motion, share, flow.carried(frame.picture, motion)

    frames = [before[-back] for back in sorted(frames_back) if back <= len(before)]
    with flow.one_thread(), ThreadPoolExecutor() as threads:
        looks = list(threads.map(look, frames))
    layers: list[tuple[np.ndarray, np.ndarray]] = []
    for frame, (motion, share, picture) in zip(frames, looks, strict=True):
        if flow.faded(share).mean() < LEAST_TRUST:
            continue  # a cut
        areas = None if frame.masks is None else flow.warp(frame.masks, motion)
        if first is not None and not layers:
            still = flow.unchanged(content, first.content, motion)
            layers.append((first.picture, still * _same_areas(masks, first.masks)))
        layers.append((picture, share * _same_areas(masks, areas)))
    if not any(share.any() for _, share in layers):
        return None
    known, covered = np.zeros_like(content), np.zeros(content.shape[:2], np.float32)
    for picture, share in layers:
        seen = np.minimum(cv2.GaussianBlur(share, (0, 0), SEAM), 1 - covered)
        known += seen[..., None] * picture
        covered += seen
    pixels = known + (1 - covered[..., None]) * content
    if anew is not None and covered.min() <= 0.99:
        pixels = known + (1 - covered[..., None]) * anew(Warped(pixels, covered))
    around = cv2.medianBlur(to_bytes(pixels), 3).astype(np.float32)
    clipped = np.clip(pixels, around - MOST_APART, around + MOST_APART)
    trust = np.minimum(sum(flow.faded(share) for _, share in layers), 1)
    return Warped(clipped + trust[..., None] * (pixels - clipped), trust)


def _same_areas(masks: np.ndarray | None, others: np.ndarray | None) -> np.ndarray | float:
    """Where the masks of two frames agree, [H, W], 0 or 1; 1 if there are none."""
    if masks is None or others is None:
        return 1.0
    return (np.abs(masks - np.atleast_3d(others)) < 0.5).all(axis=-1).astype(np.float32)


def at_once(given: Images, network: Network, settings: Settings, known: Warped) -> np.ndarray:
    """A frame painted in one pass from what is known of it, [H, W, 3]; the content if there are no styles."""
    if not given.styles:
        return given.photo
    settings = replace(settings, scales=(1.0,), scale_shares=None)
    run = runs.resolve(replace(given, initial=None, warped=known), network, settings)
    pictures = run.scales[0].resized(run.colored)
    return one_pass.start(pictures, run.scales[0].size, run.layouts[0], network, run.settings)

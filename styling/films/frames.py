"""Films, frame by frame: each frame starts from the one before, warped by the film's motion.

Ruder, Dosovitskiy, Brox, "Artistic style transfer for videos" (2016): earlier frames are warped along the
optical flow. Where the flow can be trusted, they are the start and the target of the temporal loss. New areas
start from the content. Trust is 0 or 1 here, so the paper's long-term loss over several earlier frames is the
loss to a single frame: each pixel of it comes from the nearest earlier frame that shows the pixel.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from styling.films import flow
from styling.pictures.images import Images, Warped
from styling.pictures.masks import resize
from styling.run import runs
from styling.run.runs import Run
from styling.settings import Settings
from vgg import Network

LEAST_AGREEMENT = 0.3  # share of pixels in which frames of one scene agree; across a cut it is 0.15 at most


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
) -> Run | None:
    """The run that paints a frame; None if its masks leave nothing to paint.

    content: of the picture's size; its colours are put back only when the film is written. given: the styles,
    and the initial image for a frame that does not start from the one before. before: the painted frames up
    to the last; frames before a cut are ignored. masks: of the frame, as masks_of() gives them.
    Raises the errors of runs.resolve().
    """
    colors = "style" if settings.colors == "content" else settings.colors
    settings = replace(settings, width=None, max_size=None, colors=colors)
    least = 1 / (min(settings.scales) ** 2 * math.prod(content.shape[:2]))
    given, painting = without_empty_masks(given, least)
    if given.styles and not any(painting):
        return None
    if not all(painting):
        shares = settings.style_shares(len(painting))
        weights = tuple(share * paints for share, paints in zip(shares, painting, strict=True))
        settings = replace(settings, style_blend_weights=weights)
    warped = predict(content, before, settings.frames_back, masks)
    if warped is None:
        return runs.resolve(replace(given, content=content), network, settings)
    settings = replace(settings, iterations=iterations_between(settings), initial_noiseblend=0.0)
    given = replace(given, content=content, initial=None, warped=warped)
    return runs.resolve(given, network, settings)


def without_empty_masks(given: Images, least: float) -> tuple[Images, list[bool]]:
    """The images of a frame without masks that are empty in this frame, and for each style whether it paints.

    A style does not paint if outside the content mask, its mask covers less than the share `least` of the
    frame: of a pixel at the coarsest scale. No style paints if the content mask covers the whole frame.
    """
    kept, masks = given.content_mask, given.style_masks
    if kept is not None and not kept.any():
        given = replace(given, content_mask=None)
    if kept is not None and (kept == 1).all():
        return given, [False] * len(given.styles)
    free = masks if kept is None else [m if m is None else m * (1 - resize(kept, *m.shape)) for m in masks]
    painting = [mask is None or bool(mask.mean() >= least) for mask in free]
    masks = tuple(mask if paints else None for mask, paints in zip(masks, painting, strict=True))
    return replace(given, style_masks=masks), (painting or [True]) * (len(given.styles) // (len(masks) or 1))


def iterations_between(settings: Settings) -> int:
    """The updates of a frame that starts from the one before."""
    return settings.frame_iterations or max(settings.iterations // 5, min(settings.iterations, 1))


def masks_of(given: Images, content: np.ndarray) -> np.ndarray | None:
    """The masks of the styles and of the content at the size of a frame, [H, W, n]; None for none."""
    masks = [mask for mask in (*given.style_masks, given.content_mask) if mask is not None]
    return np.stack([resize(mask, *content.shape[:2]) for mask in masks], -1) if masks else None


def predict(
    content: np.ndarray,
    before: Sequence[Painted],
    frames_back: Sequence[int],
    masks: np.ndarray | None = None,
) -> Warped | None:
    """A frame predicted from the painted frames before it; None for the first frame and after a cut.

    masks: of the frame, as masks_of() gives them. A pixel that comes from the area of another style is new.
    """
    pixels = content.copy()
    shown, trusted = np.zeros((2, *content.shape[:2]), bool)
    for back in sorted(frames_back):
        if back > len(before):
            break
        frame = before[-back]
        there = flow.between(content, frame.content)
        agrees = flow.known(content, frame.content, there, flow.between(frame.content, content))
        if agrees.mean() < LEAST_AGREEMENT:
            continue  # a cut
        if masks is not None and frame.masks is not None:
            agrees &= (np.abs(masks - np.atleast_3d(flow.warp(frame.masks, there))) < 0.5).all(axis=-1)
        sure = agrees & ~flow.boundaries(there)
        new = (agrees & ~shown) | (sure & ~trusted)
        pixels[new] = flow.warp(frame.picture, there)[new]
        shown, trusted = shown | agrees, trusted | sure
    return Warped(np.clip(pixels, 0, 255), shown, trusted.astype(np.float32)) if shown.any() else None

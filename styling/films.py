"""Films, frame by frame: each goes on from the one before, moved as the film moves, and stays like it.

Ruder, Dosovitskiy, Brox, "Artistic style transfer for videos" (2016): the frames before are warped along the
optical flow; where that can be trusted they are the start and the target of the temporal loss, and what
newly appears starts from the content. With trust that is all or nothing, their long-term loss over several
frames back is one over a single frame, put together from the nearest that shows each pixel.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from styling import flow, runs
from styling.images import Images, Warped
from styling.masks import resize
from styling.runs import Run
from styling.settings import Settings
from vgg import Network

LEAST_AGREEMENT = 0.3  # of two frames of one scene, as a share of the pixels; of others it is 0.15 at most


@dataclass(frozen=True)
class Frame:
    """A frame that is painted: its content and its picture, float32 [H, W, 3], RGB 0..255, of one size.

    masks: as masks_of() gives them; None for none.
    """

    content: np.ndarray
    picture: np.ndarray
    masks: np.ndarray | None = None


def resolve(
    content: np.ndarray,
    given: Images,
    before: Sequence[Frame],
    network: Network,
    settings: Settings,
) -> Run | None:
    """The run that paints a frame; None where its masks leave nothing to paint.

    content: of the size that the picture is to have, whose colours are not kept yet. given: the styles, and
    the initial image of a frame that starts afresh. before: frames that are painted, up to the last; what
    lies behind a cut is not looked at. Raises what runs.resolve() does.
    """
    colors = "style" if settings.coloring == "content" else settings.coloring
    settings = replace(settings, width=None, max_size=None, colors=colors, preserve_colors=False)
    given, painting = without_empty_masks(given)
    if given.styles and not any(painting):
        return None
    if not all(painting):
        shares = settings.style_shares(len(painting))
        weights = tuple(share * paints for share, paints in zip(shares, painting, strict=True))
        settings = replace(settings, style_blend_weights=weights)
    warped = predict(content, before, settings.frames_back, masks_of(given, content))
    if warped is None:
        return runs.resolve(replace(given, content=content), network, settings)
    settings = replace(settings, iterations=iterations_between(settings), initial_noiseblend=0.0)
    given = replace(given, content=content, initial=None, warped=warped)
    return runs.resolve(given, network, settings)


def without_empty_masks(given: Images) -> tuple[Images, list[bool]]:
    """The images of a frame in which masks that move may have nothing in them; and whether each style paints.

    None does where its mask is black, or all of the frame is to stay.
    """
    kept, masks = given.content_mask, given.style_masks
    if kept is not None and not kept.any():
        given = replace(given, content_mask=None)
    if kept is not None and (kept == 1).all():
        return given, [False] * len(given.styles)
    painting = [mask is None or bool(mask.any()) for mask in masks]
    masks = tuple(mask if paints else None for mask, paints in zip(masks, painting, strict=True))
    return replace(given, style_masks=masks), (painting or [True]) * (len(given.styles) // (len(masks) or 1))


def iterations_between(settings: Settings) -> int:
    """The updates of a frame that goes on from the one before."""
    return settings.frame_iterations or max(settings.iterations // 5, 1)


def masks_of(given: Images, content: np.ndarray) -> np.ndarray | None:
    """The masks of the styles and of the content at the size of a frame, [H, W, n]; None for none."""
    masks = [mask for mask in (*given.style_masks, given.content_mask) if mask is not None]
    return np.stack([resize(mask, *content.shape[:2]) for mask in masks], -1) if masks else None


def predict(
    content: np.ndarray,
    before: Sequence[Frame],
    frames_back: Sequence[int],
    masks: np.ndarray | None = None,
) -> Warped | None:
    """A frame as the painted ones before it foretell it; None at the film's beginning and after a cut.

    masks: of the frame, as masks_of() gives them. What comes from where other styles paint counts as new.
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

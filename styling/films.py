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
from styling.runs import Run
from styling.settings import Settings
from vgg import Network

LEAST_AGREEMENT = 0.3  # of two frames of one scene, as a share of the pixels; of others it is 0.15 at most


@dataclass(frozen=True)
class Frame:
    """A frame that is painted: its content and its picture, float32 [H, W, 3], RGB 0..255, of one size."""

    content: np.ndarray
    picture: np.ndarray


def resolve(
    content: np.ndarray,
    given: Images,
    before: Sequence[Frame],
    network: Network,
    settings: Settings,
) -> Run:
    """The run that paints a frame.

    content: of the size that the picture is to have, whose colours are not kept yet. given: the styles, and
    the initial image of a frame that starts afresh. before: frames that are painted, up to the last; what
    lies behind a cut is not looked at. Raises what runs.resolve() does.
    """
    colors = "style" if settings.coloring == "content" else settings.coloring
    settings = replace(settings, width=None, max_size=None, colors=colors, preserve_colors=False)
    warped = predict(content, before, settings.frames_back)
    if warped is None:
        return runs.resolve(replace(given, content=content), network, settings)
    settings = replace(settings, iterations=iterations_between(settings), initial_noiseblend=0.0)
    given = replace(given, content=content, initial=None, warped=warped)
    return runs.resolve(given, network, settings)


def iterations_between(settings: Settings) -> int:
    """The updates of a frame that goes on from the one before."""
    return settings.frame_iterations or max(settings.iterations // 5, 1)


def predict(content: np.ndarray, before: Sequence[Frame], frames_back: Sequence[int]) -> Warped | None:
    """A frame as the painted ones before it foretell it; None at the film's beginning and after a cut."""
    pixels = content.copy()
    shown, trusted = np.zeros((2, *content.shape[:2]), bool)
    for back in sorted(frames_back):
        if back > len(before):
            break
        frame = before[-back]
        there = flow.between(content, frame.content)
        agrees = flow.agreement(there, flow.between(frame.content, content))
        agrees &= flow.alike(content, flow.warp(frame.content, there))
        if agrees.mean() < LEAST_AGREEMENT:
            continue  # a cut
        sure = agrees & ~flow.boundaries(there)
        new = (agrees & ~shown) | (sure & ~trusted)
        pixels[new] = flow.warp(frame.picture, there)[new]
        shown, trusted = shown | agrees, trusted | sure
    return Warped(np.clip(pixels, 0, 255), shown, trusted.astype(np.float32)) if shown.any() else None

"""Optical flow between two frames of a film: where each pixel came from, and where that can be trusted.

Frames are float32 [H, W, 3], RGB 0..255. A flow is float32 [H, W, 2]: how many pixels to the right and down
each pixel's match lies in the other frame. The flow is DIS (Kroeger et al. 2016) as OpenCV has it; the
tests of trust are section 4 of Ruder, Dosovitskiy, Brox, "Artistic style transfer for videos" (2016).
"""

import cv2
import numpy as np

from styling.images import to_bytes

LEAST_SIDE = 16  # pixels, for which DIS finds a flow; a smaller frame is taken as if nothing moved
AROUND, MOST_DIFFERENCE, LEAST_DIFFERENCE = 5, 12.0, 3.0  # pixels; grey levels


def between(here: np.ndarray, there: np.ndarray) -> np.ndarray:
    """The flow from a frame to another of its size. It is the same on every machine."""
    if min(here.shape[:2]) < LEAST_SIDE:
        return np.zeros((*here.shape[:2], 2), np.float32)
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)  # DIS cuts a frame into as many stripes, which changes what it finds
    try:
        gray = [cv2.cvtColor(to_bytes(frame), cv2.COLOR_RGB2GRAY) for frame in (here, there)]
        dis = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        return dis.calc(*gray, None)
    finally:
        cv2.setNumThreads(threads)


def warp(values: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """What lies in `values` [H, W, ...] where the flow leads, by bicubic interpolation; beyond the border,
    the pixel at the edge."""
    height, width = flow.shape[:2]
    columns, rows = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    places = columns + flow[..., 0], rows + flow[..., 1]
    return cv2.remap(values, *places, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)


def agreement(flow: np.ndarray, back: np.ndarray) -> np.ndarray:
    """Where that one's flow leads back: bool [H, W]. Elsewhere something has newly appeared, or a flow is
    wrong."""
    returned = warp(back, flow)
    apart = np.sum((flow + returned) ** 2, axis=-1)
    lengths = np.sum(flow**2, axis=-1) + np.sum(returned**2, axis=-1)
    return apart <= 0.01 * lengths + 0.5


def inside(flow: np.ndarray) -> np.ndarray:
    """Where a flow leads into the other frame: bool [H, W]."""
    height, width = flow.shape[:2]
    rows, columns = np.mgrid[:height, :width]
    right, down = columns + flow[..., 0], rows + flow[..., 1]
    return (right >= 0) & (right <= width - 1) & (down >= 0) & (down <= height - 1)


def known(here: np.ndarray, there: np.ndarray, flow: np.ndarray, back: np.ndarray) -> np.ndarray:
    """Where what a frame shows can be taken from another, bool [H, W]; elsewhere it has newly appeared.

    There the flows between them agree and the colours are alike, or the colours are nearly the same. Ruder et
    al. ask for flows that agree alone. But behind what moves, both may agree on being wrong, and what moved
    would leave a trail of itself. In a clear sky they hardly agree, and any place in it will do.
    """
    difference = np.abs(here - warp(there, flow)).mean(axis=-1)
    difference = cv2.blur(difference, (AROUND, AROUND))
    agree = agreement(flow, back) | (difference < LEAST_DIFFERENCE)
    return inside(flow) & agree & (difference < MOST_DIFFERENCE)


def boundaries(flow: np.ndarray) -> np.ndarray:
    """Where a flow changes abruptly, as it does at the edge of what moves: bool [H, W]."""
    steps = [step for part in (0, 1) for step in _gradient(flow[..., part])]
    return sum(step**2 for step in steps) > 0.01 * np.sum(flow**2, axis=-1) + 0.002


def _gradient(values: np.ndarray) -> tuple[np.ndarray, ...]:
    """The change from pixel to pixel down and sideways; 0 along a side of a single pixel."""
    return tuple(
        np.gradient(values, axis=axis) if values.shape[axis] > 1 else np.zeros_like(values) for axis in (0, 1)
    )

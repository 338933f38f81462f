"""Optical flow between two frames of a film: where each pixel came from, and where the flow can be trusted.

Frames are float32 [H, W, 3], RGB 0..255. A flow is float32 [H, W, 2]: the distance from each pixel to its
match in the other frame, in pixels to the right and down. The flow is OpenCV's DIS (Kroeger et al. 2016); the
tests of trust are section 4 of Ruder, Dosovitskiy, Brox, "Artistic style transfer for videos" (2016).
"""

import contextlib
from collections.abc import Iterator

import cv2
import numpy as np

from styling.pictures.images import to_bytes

LEAST_SIDE = 16  # pixels that DIS needs; a smaller frame is treated as if nothing moved
SMOOTH, STILL = 1.5, 0.3  # pixels
MOST_DIFFERENCE, LEAST_DIFFERENCE = 18.0, 3.0  # gray levels
MOST_GAIN = 4  # of the light from frame to frame


def between(here: np.ndarray, there: np.ndarray) -> np.ndarray:
    """The flow from a frame to another of the same size. It is the same on every machine."""
    if min(here.shape[:2]) < LEAST_SIDE:
        return np.zeros((*here.shape[:2], 2), np.float32)
    with one_thread():
        from_gray, to_gray = (cv2.cvtColor(to_bytes(frame), cv2.COLOR_RGB2GRAY) for frame in (here, there))
        dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        return dis.calc(from_gray, to_gray, None)


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """One thread for OpenCV: DIS cuts a frame into a stripe for each, which changes the flow."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(threads)


def warp(values: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """The `values` [H, W, ...] at the places where the flow points; beyond the border, the pixel at it.

    Lanczos's kernel blurs least of OpenCV's what is warped from frame to frame. It overshoots at edges, so
    it is held within the nearest 3 x 3 values."""
    return np.clip(_interpolated(values, flow), *_around(values, flow))


def carried(picture: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """A picture at the places where a flow points, as sharp as it was, and nowhere sharper.

    Interpolation blurs a little, and from frame to frame more and more. What the way there and back loses,
    which is twice as much, is added by half (Van Cittert's deconvolution).
    """
    around = tuple(_around(picture, flow))
    moved = np.clip(_interpolated(picture, flow), *around)
    back = -_interpolated(flow, -flow, cv2.INTER_LINEAR)
    lost = _interpolated(picture - warp(moved, back), flow, cv2.INTER_CUBIC)
    return np.clip(moved + lost / 2, *around)


def _interpolated(values: np.ndarray, flow: np.ndarray, kernel: int = cv2.INTER_LANCZOS4) -> np.ndarray:
    """Values between pixels, where a flow points, by a kernel of OpenCV's; beyond the border, those at it."""
    return cv2.remap(values, *_places(flow), kernel, borderMode=cv2.BORDER_REPLICATE)


def _places(flow: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The columns and rows where a flow points."""
    height, width = flow.shape[:2]
    columns, rows = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    return columns + flow[..., 0], rows + flow[..., 1]


def _around(values: np.ndarray, flow: np.ndarray) -> Iterator[np.ndarray]:
    """The least and the largest of the nearest 3 x 3 values where a flow points."""
    for extreme in (cv2.erode, cv2.dilate):
        extremes = extreme(values, np.ones((3, 3), np.uint8))
        yield cv2.remap(extremes, *_places(flow), cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)


def agreement(flow: np.ndarray, back: np.ndarray) -> np.ndarray:
    """Where the backward flow leads back to the same pixel: bool [H, W]. Elsewhere the area is new, or one of
    the flows is wrong."""
    returned = _interpolated(back, flow, cv2.INTER_LINEAR)
    return _squares(flow + returned) <= 0.01 * (_squares(flow) + _squares(returned)) + 0.5


def inside(flow: np.ndarray) -> np.ndarray:
    """Where a flow points inside the other frame: bool [H, W]."""
    height, width = flow.shape[:2]
    rows, columns = np.mgrid[:height, :width]
    right, down = columns + flow[..., 0], rows + flow[..., 1]
    return (right >= 0) & (right <= width - 1) & (down >= 0) & (down <= height - 1)


def same_light(values: np.ndarray, model: np.ndarray) -> np.ndarray:
    """An image with the mean and the spread of another, if most of it is nearer then: a change of light is no
    other scene."""
    gain = np.clip(model.std() / max(values.std(), 1), 1 / MOST_GAIN, MOST_GAIN)
    fitted = (values - values.mean()) * gain + model.mean()
    return min(values, fitted, key=lambda image: np.median(np.abs(image - model)[::2, ::2]))


def known(here: np.ndarray, there: np.ndarray, flow: np.ndarray, back: np.ndarray) -> np.ndarray:
    """How far another frame, in the same light, shows the pixels of a frame, float32 [H, W], 0..1; elsewhere
    the area is new.

    A pixel is known if the two flows agree and the colours are similar, or if the colours are nearly the
    same, and if it is not at the edge of a motion. Ruder et al. test the flows only. But behind a moving
    object both flows can be wrong and still agree, and the object would leave a trail. In a clear sky the
    flows hardly agree, yet any match is right.
    """
    difference = _difference(here, _interpolated(there, flow, cv2.INTER_LINEAR))
    agree = agreement(flow, back) | (difference < LEAST_DIFFERENCE)
    similar = np.clip(3 - 3 * difference / MOST_DIFFERENCE, 0, 1)  # from 1 at two thirds of it to 0
    edge = boundaries(flow) & (difference > LEAST_DIFFERENCE)
    share = np.where(inside(flow) & agree & ~edge, similar, 0)
    return cv2.medianBlur(to_bytes(255 * share), 5).astype(np.float32) / 255  # without single pixels


def unchanged(here: np.ndarray, there: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """Where nothing has changed between two frames, float32 [H, W], 0 or 1. flow: to the frame before."""
    difference = _difference(here, same_light(there, here))
    return ((_squares(flow) < STILL**2) & (difference < LEAST_DIFFERENCE)).astype(np.float32)


def _difference(here: np.ndarray, there: np.ndarray) -> np.ndarray:
    """The difference of two frames around each pixel, [H, W], in gray levels."""
    return cv2.GaussianBlur(np.abs(here - there).mean(axis=-1), (0, 0), SMOOTH)


def faded(share: np.ndarray) -> np.ndarray:
    """Shares [H, W], 0..1, that fall to 0 over a few pixels before they would end."""
    least = cv2.erode(share, np.ones((3, 3), np.uint8))
    return np.minimum(share, cv2.GaussianBlur(least, (0, 0), SMOOTH))


def boundaries(flow: np.ndarray) -> np.ndarray:
    """Where a flow changes abruptly, as at the edge of a moving object: bool [H, W]."""
    steps = [cv2.Sobel(flow, cv2.CV_32F, right, 1 - right, ksize=1, scale=0.5) for right in (0, 1)]
    return sum(map(_squares, steps)) > 0.01 * _squares(flow) + 0.002


def _squares(vectors: np.ndarray) -> np.ndarray:
    """The squared lengths, [H, W], of vectors [H, W, 2]."""
    return np.einsum("hwc,hwc->hw", vectors, vectors)

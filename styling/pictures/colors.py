"""Colours: match a painting to a photograph, or paint luma only (Gatys et al. 2016, Preserving Color).

Images are float32 [H, W, 3], RGB 0..255, in sRGB, as in the paper. Weights [H, W] are above 0 for the pixels
that count; None counts all pixels.
"""

from dataclasses import replace

import numpy as np

from styling.pictures import masks
from styling.pictures.images import Images, to_gray

Weights = np.ndarray | None
LEAST_DEVIATION = 1.0  # gray levels; a smaller deviation is rounding, which matching would amplify to noise


def prepared(images: Images, colors: str) -> Images:
    """The images of the run, changed as `colors`, one of settings.COLORS, needs it.

    Each painting, within its guide, is matched to the part of the photograph within its mask. images: as
    masks.checked() gives them.
    """
    match = MATCHES.get(colors)
    if match is None:
        return images
    content, none = images.photo, (None,) * len(images.styles)
    paintings = zip(images.styles, images.style_guides or none, images.style_masks or none, strict=True)
    styles = tuple(
        match(style, content, masks.fitted(guide, style.shape), masks.fitted(mask, content.shape))
        for style, guide, mask in paintings
    )
    if colors != "luminance":
        return replace(images, styles=styles)
    initial = None if images.initial is None else to_gray(images.initial)
    warped = images.warped and images.warped._replace(pixels=to_gray(images.warped.pixels))
    return replace(images, content=to_gray(content), styles=styles, initial=initial, warped=warped)


def match_covariance(
    style: np.ndarray, content: np.ndarray, weights: Weights = None, content_weights: Weights = None
) -> np.ndarray:
    """The painting, with a linear map that gives its colours the mean and covariance of the photograph's.

    The map is S_c S_s^-1, with the symmetric roots S of both covariances (section 3.1, "Image Analogies").
    If the colours of the painting do not vary in a direction, as in a gray one, the result's do not either.
    """
    mean, _, inverse = _moments(style, weights)
    content_mean, content_root, _ = _moments(content, content_weights)
    mapped = (style - mean) @ (content_root @ inverse).T + content_mean
    return np.clip(mapped, 0, 255).astype(np.float32)


def match_histograms(
    style: np.ndarray, content: np.ndarray, weights: Weights = None, content_weights: Weights = None
) -> np.ndarray:
    """The painting, each channel mapped so that its histogram is the photograph's."""
    channels = []
    for channel in range(3):
        _, places, reached = _distribution(style[..., channel], weights)
        wanted, _, shares = _distribution(content[..., channel], content_weights)
        rises = np.diff(shares, prepend=0) > 0
        channels.append(np.interp(reached, shares[rises], wanted[rises])[places].reshape(style.shape[:2]))
    return np.stack(channels, axis=-1).astype(np.float32)


def match_luma(
    style: np.ndarray, content: np.ndarray, weights: Weights = None, content_weights: Weights = None
) -> np.ndarray:
    """The painting's luma in all channels, with the mean and standard deviation of the photograph's luma
    (section 3.2)."""
    return match_covariance(to_gray(style), to_gray(content), weights, content_weights)


def _moments(image: np.ndarray, weights: Weights) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The mean [3] of an image's colours, their covariance's symmetric root, and its inverse, [3, 3]."""
    pixels = image.reshape(-1, 3).astype(np.float64)
    weights = None if weights is None else weights.ravel()
    variances, axes = np.linalg.eigh(np.cov(pixels, rowvar=False, aweights=weights, ddof=0))
    deviations = np.sqrt(np.maximum(variances, 0))
    inverses = np.where(deviations < LEAST_DEVIATION, 0, 1 / np.maximum(deviations, LEAST_DEVIATION))
    roots = ((axes * values) @ axes.T for values in (deviations, inverses))
    return np.average(pixels, axis=0, weights=weights), *roots


def _distribution(values: np.ndarray, weights: Weights) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The distinct values in ascending order, the index of each pixel's value, and the cumulative
    distribution at each value, by weight."""
    levels, places = np.unique(values.ravel(), return_inverse=True)
    counts = np.bincount(places, None if weights is None else weights.ravel())
    return levels, places, np.cumsum(counts) / counts.sum()


MATCHES = {"matched": match_covariance, "matched-histogram": match_histograms, "luminance": match_luma}

"""Whose colours a picture has: exact identities, hand-computed values, and whole runs."""

import dataclasses

import numpy as np
import pytest
import reference
from conftest import random_image

from styling.pictures import colors, images
from styling.settings import COLORS, Settings
from stylize import paint


def tinted(seed, low, high):
    """Noise with correlated channels, clear of 0 and 255."""
    mix = np.random.default_rng(seed).uniform(0.1, 1, (3, 3))
    image = random_image(30, 40, seed) @ (mix / mix.sum(axis=0))
    return (low + image * (high - low) / 255).astype(np.float32)


# What is said here of colours holds for any layers, and few are built fast.
FEW = Settings(iterations=2, seed=1, style_layers=("relu1_1",), content_layers=("relu1_1",))
PHOTO, PAINTING = tinted(1, 60, 180), tinted(2, 0, 255)


def moments(image):
    pixels = image.reshape(-1, 3)
    return pixels.mean(axis=0), np.cov(pixels, rowvar=False, ddof=0)


def test_matched_colours_have_the_photographs_mean_and_covariance():
    matched = colors.match_covariance(PAINTING, PHOTO)
    for found, expected in zip(moments(matched), moments(PHOTO), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=0.05)
    np.testing.assert_allclose(colors.match_covariance(PHOTO, PHOTO), PHOTO, atol=1e-3)


def test_the_map_of_single_channels_is_computed_by_hand():
    # Two grays, 100 +- 20, and a photograph of 60 +- 10 in red alone: red halves, the others are constant.
    painting = np.array([[[80, 80, 80], [120, 120, 120]]], np.float32)
    photo = np.array([[[50, 30, 30], [70, 30, 30]]], np.float32)
    # S_c = 10 in red, S_s^-1 = (1, 1, 1) (1, 1, 1)^T / (3 * 20 sqrt 3); a deviation of (20, 20, 20) gives
    # red 10 * 60 / (60 sqrt 3), or 10 / sqrt 3.
    expected = np.array([[[60 - 10 / 3**0.5, 30, 30], [60 + 10 / 3**0.5, 30, 30]]])
    np.testing.assert_allclose(colors.match_covariance(painting, photo), expected, atol=1e-3)


def test_matched_histograms_are_the_photographs():
    matched = colors.match_histograms(PAINTING, PHOTO)
    for channel in range(3):
        found, expected = (np.sort(image[..., channel].ravel()) for image in (matched, PHOTO))
        np.testing.assert_allclose(found, expected, atol=1e-3)
        order = PAINTING[..., channel].ravel().argsort()
        assert (np.diff(matched[..., channel].ravel()[order]) >= 0).all()


def test_matched_luma_has_the_photographs_mean_and_deviation():
    matched = colors.match_luma(PAINTING, PHOTO)
    assert images.is_gray(matched)
    luma, expected = matched[..., 0], PHOTO @ reference.LUMA
    assert (luma.mean(), luma.std()) == pytest.approx((expected.mean(), expected.std()), rel=1e-3)


def test_only_what_the_weights_say_is_matched():
    weights = np.zeros(PHOTO.shape[:2], np.float32)
    weights[:, :20] = 1
    for match in (colors.match_covariance, colors.match_histograms, colors.match_luma):
        part = match(PAINTING, PHOTO, content_weights=weights)
        np.testing.assert_allclose(part, match(PAINTING, PHOTO[:, :20]), atol=1e-3)
        part = match(PAINTING, PHOTO, weights=weights)
        np.testing.assert_allclose(part[:, :20], match(PAINTING[:, :20], PHOTO), atol=1e-3)


@pytest.mark.parametrize("name", COLORS)
def test_gray_images_and_flat_ones_work(network, name):
    gray, flat = images.to_gray(PHOTO), np.full((9, 9, 3), 77, np.float32)
    run = dataclasses.replace(FEW, colors=name)
    for content, style in ((PHOTO, gray), (flat, PAINTING), (flat, flat)):
        assert np.isfinite(paint(content, [style], network, run)).all()
    if name not in ("style", "matched-histogram"):  # which looks at each channel by itself
        assert images.is_gray(paint(gray, [PAINTING], network, run))


def test_luminance_has_the_photographs_chroma(network):
    run = dataclasses.replace(FEW, learning_rate=2, initial_noiseblend=0)
    luminance = paint(PHOTO, [PAINTING], network, dataclasses.replace(run, colors="luminance"))
    by_hand = paint(images.to_gray(PHOTO), [colors.match_luma(PAINTING, PHOTO)], network, run)
    np.testing.assert_allclose(luminance, reference.keep_colors(by_hand, PHOTO), atol=1e-2)


def test_matched_is_a_run_with_paintings_that_were_matched_before(network):
    painted = paint(PHOTO, [PAINTING], network, dataclasses.replace(FEW, colors="matched"))
    matched = colors.match_covariance(PAINTING, PHOTO)
    assert np.array_equal(painted, paint(PHOTO, [matched], network, FEW))

"""Optical flow, warping, and where a flow is trusted, on motions that are known."""

import numpy as np
import pytest

cv2 = pytest.importorskip("cv2", reason="optical flow needs opencv-python-headless")

from styling.films import flow  # noqa: E402


def smooth_image(height, width, seed=0):
    """Blobs, in which every place looks different."""
    coarse = np.random.default_rng(seed).uniform(0, 255, (height // 6, width // 6, 3)).astype(np.float32)
    return np.clip(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), 0, 255)


def constant_flow(height, width, right, down):
    return np.full((height, width, 2), (right, down), np.float32)


def test_a_whole_shift_moves_pixels_as_they_are():
    image = smooth_image(30, 42)
    moved = flow.warp(image, constant_flow(30, 42, 3, -2))
    np.testing.assert_allclose(moved[2:, :-3], image[:-2, 3:], atol=1e-3)
    np.testing.assert_allclose(moved[10, -3:], image[8, [-1, -1, -1]], atol=1e-3)  # the edge, repeated


def test_a_picture_that_is_carried_on_and_on_stays_sharp():
    image = cv2.resize(smooth_image(96, 120), None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    motion, warped, carried = constant_flow(48, 60, 0.5, 0.25), image, image
    for _ in range(8):
        warped, carried = flow.warp(warped, motion), flow.carried(carried, motion)
    wanted = flow.warp(image, constant_flow(48, 60, 4, 2))
    errors = [np.abs(each - wanted)[8:-8, 8:-8].mean() for each in (warped, carried)]
    assert errors[1] < 0.65 * errors[0]


@pytest.mark.parametrize(("right", "down"), [(4, 0), (-3, 2), (0.5, -1.5)])
def test_the_flow_of_a_shift_is_found(right, down):
    large = smooth_image(96, 120)
    here = large[16:80, 16:104]
    there = flow.warp(large, constant_flow(96, 120, -right, -down))[16:80, 16:104]
    found = flow.between(here, there)[12:-12, 12:-12]
    assert np.abs(found - (right, down)).mean() < 0.1
    assert flow.agreement(flow.between(here, there), flow.between(there, here))[12:-12, 12:-12].mean() > 0.95


def test_the_flow_does_not_depend_on_the_cores():
    here, there = smooth_image(96, 120), smooth_image(96, 120, seed=1)
    before, found = cv2.getNumThreads(), []
    for threads in (1, 2, 5):
        cv2.setNumThreads(threads)
        found.append(flow.between(here, there).tobytes())
    cv2.setNumThreads(before)
    assert len(set(found)) == 1


def test_what_a_square_uncovers_is_not_trusted():
    """A square of 10 x 10 moves 6 to the right over what stays: its old place is newly seen."""
    here, back = np.zeros((2, 30, 40, 2), np.float32)
    here[10:20, 16:26] = (-6, 0)  # from the frame at hand to the one before
    back[10:20, 10:20] = (6, 0)
    agrees = flow.agreement(here, back)
    assert not agrees[12:18, 11:15].any()  # uncovered
    assert agrees[12:18, 18:24].all() and agrees[:8].all()  # the square itself, and what stays
    inside = flow.inside(constant_flow(30, 40, 6, 0))
    assert inside[:, :-6].all() and not inside[:, -6:].any()


def test_the_edge_of_what_moves_is_a_boundary_and_nothing_else():
    motion = np.zeros((30, 40, 2), np.float32)
    motion[10:20, 16:26] = (-6, 0)
    found = flow.boundaries(motion)
    assert found[10:20, 15:17].all() and found[9:11, 16:26].all()
    assert not found[12:18, 18:24].any() and not found[:8].any()


def test_what_is_known_has_like_colours_and_flows_that_agree_or_nearly_the_same_colours():
    here, still, apart = smooth_image(40, 50), constant_flow(40, 50, 0, 0), constant_flow(40, 50, 3, 0)
    noisy = here + np.random.default_rng(0).normal(0, 4, here.shape).astype(np.float32)
    assert flow.known(here, noisy, still, still).min() > 0.9
    assert not flow.known(here, noisy + 20 * np.sign(here - 128), still, apart).any()
    assert flow.known(here, here + 1, still, apart).min() > 0.9
    assert np.abs(flow.same_light(0.5 * here + 10, here) - here).max() < 2
    noisy[10:30, 20:40] += 60
    found = flow.known(here, noisy, still, still)
    assert found[12:28, 22:38].max() < 0.01 and found[:4].min() > 0.8
    faded = flow.faded(found)
    assert (faded <= found).all() and np.abs(np.diff(faded[20])).max() < 0.5  # to the inside
    sky = np.full_like(here, 200)
    assert not flow.known(sky, sky, apart, apart)[:, -3:].any()  # beyond the border


def test_warping_does_not_overshoot_at_an_edge():
    image = np.zeros((20, 20, 3), np.float32)
    image[:, 10:] = 255
    moved = flow.warp(image, constant_flow(20, 20, 0.4, 0.3))
    assert moved.min() >= 0 and moved.max() <= 255 and len(np.unique(moved)) > 2


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (30, 1), (15, 90)])
def test_frames_too_small_for_a_flow_are_taken_as_still(size):
    here = np.random.default_rng(0).uniform(0, 255, (*size, 3)).astype(np.float32)
    motion = flow.between(here, here)
    assert not motion.any() and flow.agreement(motion, motion).all() and not flow.boundaries(motion).any()


def test_what_is_warped_from_frame_to_frame_stays_sharp():
    noise = cv2.GaussianBlur(np.random.default_rng(0).uniform(0, 255, (60, 80, 3)), (0, 0), 0.8)
    image = sharp = noise.astype(np.float32)
    for shift in (0.5, -0.5, 0.3, -0.3):
        image = flow.warp(image, constant_flow(60, 80, shift, shift))
    inner = np.s_[8:-8, 8:-8]
    assert np.std(image[inner]) > 0.9 * np.std(sharp[inner])
    assert np.abs(image - sharp)[inner].mean() < 0.13 * np.std(sharp)

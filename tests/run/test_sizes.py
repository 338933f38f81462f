"""The sizes of a picture and of its styles."""

from hypothesis import given
from hypothesis import strategies as st

from styling.run.sizes import content_size, style_size
from styling.settings import Settings


@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(1, 5000))
def test_sizes_keep_the_content_and_its_proportions(height, width, size):
    assert content_size(height, width, Settings()) == (height, width)
    high, wide = content_size(height, width, Settings(width=size))
    assert wide == size and high <= height * size / width < high + 1.001
    limited = content_size(height, width, Settings(max_size=size))
    assert max(limited) == min(size, max(height, width))
    assert style_size(height, width, 1, width) == (height, width)
    assert content_size(height, width, Settings(width=size, height=7)) == (7, size)


def test_published_sizes():
    assert content_size(399, 600, Settings(width=192)) == (127, 192)  # stata.jpg in avg.png
    assert content_size(533, 400, Settings(width=192)) == (255, 192)  # sleeper.jpg in weights.png
    assert style_size(507, 640, 0.5, 192) == (76, 96)
    # Where the formulas' floating-point rounding decides, as it does in the program that they come from.
    assert content_size(207, 200, Settings(width=800)) == (827, 800)
    assert style_size(294, 294, 1, 192) == (191, 191)

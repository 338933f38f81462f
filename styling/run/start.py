"""Where the picture of a scale starts."""

from styling.pictures import images, masks
from styling.pictures.images import Images
from styling.run import one_pass
from styling.run.progress import enlarged
from styling.run.runs import Run
from styling.system.quiet import tf


def start(
    pictures: Images, run: Run, size: tuple[int, int], layout: masks.Layout, before: tf.Tensor | None = None
) -> tf.Tensor:
    """The first x of a scale, [1, height, width, 3] minus the mean pixel.

    before: the last scale's x, which is enlarged. A frame of a film starts as predicted from those before.
    Where nothing is painted, x is the content.
    """
    if before is not None:
        x = enlarged(before, size)
    elif pictures.warped is not None:
        x = run.network.preprocess(pictures.warped.pixels)
    else:
        x = _first(pictures, run, size, layout)
    if layout.painted is None:
        return x
    return tf.where(layout.painted[None, ..., None] > 0, x, run.network.preprocess(pictures.photo))


def _first(pictures: Images, run: Run, size: tuple[int, int], layout: masks.Layout) -> tf.Tensor:
    """An image, noise, a blend of the two, or the picture of one pass."""
    settings, network = run.settings, run.network
    if settings.start == "one-pass":
        return network.preprocess(one_pass.start(pictures, size, layout, network, settings))
    if settings.start == "blurred":  # without its three finest bands (Kolkin et al. 2022)
        small = images.resize(pictures.photo, *(-(-side // 8) for side in size))
        return network.preprocess(images.resize(small, *size))
    share = settings.noiseblend(pictures.initial is not None)
    x = tf.zeros([1, *size, 3])
    if share < 1:
        image = pictures.photo if pictures.initial is None else images.resize(pictures.initial, *size)
        x = (1 - share) * network.preprocess(image)
    if share > 0 and settings.noise == "uniform":
        x += share * network.preprocess(images.uniform_noise(*size, settings.seed))
    elif share > 0:
        x += share * tf.constant(images.noise(*size, settings.seed))
    return x

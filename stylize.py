"""Neural style (Gatys, Ecker, Bethge 2015): a content image painted in the style of others.

    network = vgg.load("imagenet-vgg-verydeep-19.mat")
    picture = paint(content, [style], network, Settings(iterations=500, seed=1))

or, to follow it:

    for progress in stylize(content, [style], network, Settings(iterations=500, seed=1)):
        print(progress.iteration, progress.losses())

The loss is content_weight * content + style_weight * style + tv_weight * total variation, with the
normalisations of Athalye's neural-style (2015); settings choose other terms and normalisations. Adam, or
another optimiser of styling/optimizers.py, minimises it. Images are float32 [H, W, 3], RGB 0..255. Nothing
here reads the command line or files, or prints; errors name settings by their flags.
"""

import contextlib
import itertools
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from styling import optimizers
from styling.objective.evaluation import compiled
from styling.objective.terms import Objective, build_objective
from styling.pictures import colors, images, masks
from styling.pictures.images import Images
from styling.run import runs
from styling.run.memory import device_errors
from styling.run.progress import Progress
from styling.run.runs import Run
from styling.run.sizes import Scale
from styling.run.states import NOTHING, State
from styling.settings import Settings
from styling.system.quiet import tf
from vgg import Network

SECONDS_BETWEEN_LOOKS = 0.5
Kept = dict[tuple[int, int], tuple["Objective", Callable]]  # by the size of a scale


def paint(
    content: np.ndarray | None,
    styles: Sequence[np.ndarray],
    network: Network,
    settings: Settings | None = None,
    initial: np.ndarray | None = None,
    **masks: Any,
) -> np.ndarray:
    """The result of stylize(), float32 [H, W, 3], RGB 0..255; raises the same errors.

    masks: style_masks, style_guides and content_mask, as stylize() takes them.
    """
    last = deque(stylize(content, styles, network, settings, initial, **masks), maxlen=1).pop()
    return last.result()


def stylize(
    content: np.ndarray | None,
    styles: Sequence[np.ndarray],
    network: Network,
    settings: Settings | None = None,
    initial: np.ndarray | None = None,
    state: State | None = None,
    style_masks: Sequence[np.ndarray | None] = (),
    style_guides: Sequence[np.ndarray | None] = (),
    content_mask: np.ndarray | None = None,
) -> Iterator[Progress]:
    """Paint `content` in the style of `styles`; yields a Progress at the start and after each update.

    The last Progress has the result; it comes after settings.iterations updates, or when the optimiser finds
    no lower loss. All images are [H, W, 3], RGB 0..255, of any size, or what images.as_image() makes one of;
    they are resized as the settings say. A single style may be passed as it is.
    If all images are gray, the picture is converted to gray as well. `initial` is an image to start from;
    without it, a start that is not pure noise uses the content. The content is optional if its weight is 0,
    and the styles are optional if all their weights are 0. `state` comes from a Progress of a run with the
    same arguments: the run continues from it, and yields it first. style_masks: where each style paints the
    picture. style_guides: which part of its painting a style is taken from. Both are [H, W], 0..1, of any
    size; None stands for the whole image, and a single one is for all styles. content_mask: what stays as in
    the content.

    Raises at the call SettingsError for settings that do not fit the images, ImageError for an array that is
    no image or would be resized to nothing, NetworkError for layers that the network lacks, StateError for a
    state of another run, and MemoryLimitError for sizes that will not fit. Raises while running DivergedError
    when the loss becomes NaN or infinite, MemoryLimitError when memory runs out, and StyleError for other
    errors of TensorFlow.
    """
    given = Images.passed(content, styles, initial, style_masks, style_guides, content_mask)
    return follow(runs.resolve(given, network, settings or Settings()), state)


def follow(run: Run, state: State | None = None, kept: Kept | None = None) -> Iterator[Progress]:
    """Do what stylize() does, for a resolved run; raises StateError and MemoryLimitError at the call.

    kept: a cache of what the frames of a film have in common; an empty dictionary for the first frame.
    """
    if state is not None:
        runs.check_state(state, run)
        state = _on_device(state)
    runs.check_memory(run)
    return _coarse_to_fine(run, state, {} if kept is None else kept)


def _coarse_to_fine(run: Run, state: State | None, kept: Kept) -> Iterator[Progress]:
    """Paint scale after scale; each starts from the last result, enlarged (Gatys et al. 2017, section 6)."""
    settings, mean = run.settings, run.network.mean_pixel
    bounds = (tf.constant(-mean), tf.constant(255 - mean)) if settings.clip else None
    given = colors.prepared(run.images, settings.colors)
    to_progress = partial(Progress, scales=run.scales, _to_image=_image_maker(run, given.are_gray))
    ends = itertools.accumulate(scale.iterations for scale in run.scales)
    reported = None
    for index, (scale, layout, end) in enumerate(zip(run.scales, run.layouts, ends, strict=True)):
        last = scale is run.scales[-1]
        done = state.iteration if state else 0
        begins = state is None or state.scale < index
        if (begins and end == done and not last) or (state and state.scale > index):
            continue
        with device_errors(*scale.size):
            # Only the last scale uses the frame before; coarse scales paint the areas that are new in a film.
            own = resized(given if last else replace(given, warped=None), scale)
            objective, evaluate = _objective(own, run, scale, layout, kept)
            if begins:
                x = (
                    _enlarged(state.x, scale.size)
                    if state
                    else _start(own, run.network, settings, scale.size)
                )
                if own.warped is not None:
                    before = run.network.preprocess(own.warped.pixels)
                    x = tf.where(own.warped.shown[None, ..., None], before, x)
                if objective.painted is not None:
                    x = tf.where(objective.painted, x, run.network.preprocess(own.content))
                fallback = state.fallback if state else NOTHING  # a rough one: scales' losses differ
                state = State(done, index, done, optimizers.clip(x, bounds), fallback=fallback)
            steps = _steps(evaluate, settings, state, bounds)
            with contextlib.closing(steps):
                for progress in _optimize(steps, settings, state, end, to_progress):
                    # A scale's last Progress is the start of the next scale, which reports it.
                    is_new = reported is None or progress.iteration > reported.iteration
                    if is_new and (last or progress.iteration < end):
                        yield progress
                        reported = progress
            state = replace(progress.state, fallback=progress.fallback())
    if progress is not reported:  # no lower loss was found after the last report
        yield progress


def _optimize(
    steps: Iterator[optimizers.Step],
    settings: Settings,
    state: State,
    last: int,
    to_progress: Callable[..., Progress],
) -> Iterator[Progress]:
    """The iterations of one scale, from the state's to the last, or until the optimiser ends."""
    next_look = time.monotonic()
    for iteration, step in enumerate(
        itertools.islice(steps, last - state.iteration + 1), start=state.iteration
    ):
        state = replace(state, iteration=iteration, x=step.x, memory=step.memory)
        progress = to_progress(state=state, _losses=step.losses)
        checkpoint = iteration == settings.iterations or settings.is_checkpoint(iteration)
        if checkpoint or time.monotonic() >= next_look:
            state = replace(state, fallback=progress.fallback())
            next_look = time.monotonic() + SECONDS_BETWEEN_LOOKS
        yield progress
        compared = checkpoint or (settings.best_of_all and iteration > state.began)
        if compared and float(step.losses["total"]) < state.best[0]:
            state = replace(state, best=(float(step.losses["total"]), step.x))


def _objective(
    own: Images, run: Run, scale: Scale, layout: masks.Layout, kept: Kept
) -> tuple["Objective", optimizers.Evaluate]:
    """The objective at a scale, and its evaluation; both reuse what earlier frames left in the cache."""
    settings = run.settings
    if scale.size in kept:
        objective, evaluation_of = kept[scale.size]
        objective = objective.of_frame(own.content, own.warped, settings)
    else:
        objective = build_objective(
            own.content, own.styles, run.network, settings, scale.size, layout, own.warped
        )
        evaluation_of = compiled(objective)
        if not (settings.normalize or settings.colors in colors.MATCHES):  # these depend on the content
            kept[scale.size] = objective.without_frame, evaluation_of
    return objective, evaluation_of(objective)


def _steps(
    evaluate: optimizers.Evaluate, settings: Settings, state: State, bounds: optimizers.Bounds
) -> Iterator[optimizers.Step]:
    """The iterates of the optimiser that the settings name."""
    optimizer = optimizers.RECORDS[settings.optimizer]
    parameters = {name: getattr(settings, name) for name in optimizer.settings}
    return optimizer.function(evaluate, state.x, bounds=bounds, memory=state.memory, **parameters)


def _start(own: Images, network: Network, settings: Settings, size: tuple[int, int]) -> tf.Tensor:
    """The first x, [1, height, width, 3] minus the mean pixel: an image, noise, or a blend of the two."""
    share = settings.noiseblend(own.initial is not None)
    x = tf.zeros([1, *size, 3])
    if share < 1:
        image = own.content if own.initial is None else images.resize(own.initial, *size)
        x = (1 - share) * network.preprocess(image)
    if share > 0 and settings.noise == "uniform":
        x += share * network.preprocess(images.uniform_noise(*size, settings.seed))
    elif share > 0:
        x += share * tf.constant(images.noise(*size, settings.seed))
    return x


def _image_maker(run: Run, is_gray: bool) -> Callable[[tf.Tensor], np.ndarray]:
    """A function that turns an x of any scale into an image of the result's size.

    The image has the colours that the settings ask for, and is the photograph where nothing is painted.
    """
    size, settings = run.scales[-1].size, run.settings
    keeps_colors = settings.colors in ("content", "luminance")
    painted = run.layouts[-1].painted
    photo = None
    if keeps_colors or painted is not None:  # otherwise it is not used, and would only take memory
        photo = images.resize(run.images.content, *size)
    if painted is not None:
        painted = masks.feathered(painted, settings.mask_feather)[..., None]

    def to_image(x: tf.Tensor) -> np.ndarray:
        image = run.network.unprocess(_enlarged(x, size))
        if is_gray:  # the network itself adds colours, which no image of the run has
            image = images.to_gray(image)
        if keeps_colors:
            image = images.keep_colors(image, photo)
        return image if painted is None else photo + painted * (image - photo)

    return to_image


def resized(given: Images, scale: Scale) -> Images:
    """The content and the styles at a scale; the others as they are."""
    content = None if given.content is None else images.resize(given.content, *scale.size)
    styles = zip(given.styles, scale.styles, strict=True)
    resized_styles = tuple(images.resize(style, *size) for style, size in styles)
    return replace(given, content=content, styles=resized_styles)


def _enlarged(x: tf.Tensor, size: tuple[int, int]) -> tf.Tensor:
    return x if x.shape[1:3] == size else tf.image.resize(x, size, "bicubic")


def _on_device(state: State) -> State:
    """The state with tensors in place of arrays."""
    best, fallback = (
        (total, None if x is None else tf.constant(x)) for total, x in (state.best, state.fallback)
    )
    memory = tuple(map(tf.constant, state.memory))
    return replace(state, x=tf.constant(state.x), memory=memory, best=best, fallback=fallback)

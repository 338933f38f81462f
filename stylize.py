"""Neural style (Gatys, Ecker, Bethge 2015): a content image painted in the style of others.

    network = vgg.load("imagenet-vgg-verydeep-19.mat")
    picture = paint(content, [style], network, Settings(iterations=500, seed=1))

or, to follow it:

    for progress in stylize(content, [style], network, Settings(iterations=500, seed=1)):
        print(progress.iteration, progress.losses())

The loss is content_weight * content + style_weight * style + tv_weight * total variation, with the
normalisations of Athalye's neural-style (2015); settings choose other terms and normalisations. Adam, or
another optimiser of styling/optimizers, minimises it. Images are float32 [H, W, 3], RGB 0..255. Nothing
here reads the command line or files, or prints; errors name settings by their flags.
"""

import contextlib
import itertools
import math
from collections import deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from styling import optimizers
from styling.objective import targets, terms
from styling.objective.evaluation import Objective, evaluation
from styling.objective.matching import Matcher, Scene
from styling.objective.neighbor_term import Neighbors
from styling.objective.patch_term import Patches
from styling.optimizers.base import Bounds, Optimizer, Step, clip
from styling.pictures import images, masks
from styling.pictures.images import Images
from styling.run import runs
from styling.run.memory import device_errors
from styling.run.progress import Progress, image_maker
from styling.run.runs import Run
from styling.run.start import start
from styling.run.states import State
from styling.settings import Settings
from styling.system.errors import DivergedError
from styling.system.quiet import tf
from vgg import Network

MATCHERS: dict[str, Callable[[Scene], Matcher]] = {"neighbors": Neighbors, "patches": Patches}
LOOK_EVERY = 10  # updates, from one look at whether the loss is finite to the next


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
) -> Generator[Progress, None, None]:
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
    passed = Images.passed(content, styles, initial, style_masks, style_guides, content_mask)
    return follow(runs.resolve(passed, network, settings or Settings()), state)


def follow(run: Run, state: State | None = None) -> Generator[Progress, None, None]:
    """Do what stylize() does, for a resolved run; raises StateError and MemoryLimitError at the call."""
    if state is not None:
        state = runs.checked_state(state, run)
    runs.check_memory(run)
    return _coarse_to_fine(run, state) if run.settings.iterations else _start_alone(run)


def _coarse_to_fine(run: Run, state: State | None) -> Generator[Progress, None, None]:
    """Paint scale after scale; each starts from the last result, enlarged (Gatys et al. 2017, section 6)."""
    settings, mean = run.settings, run.network.mean_pixel
    bounds = (tf.constant(-mean), tf.constant(255 - mean)) if settings.clip else None
    optimizer = optimizers.of_settings(settings)
    to_image = image_maker(run)
    progress = reported = None
    for index, (scale, layout, end) in enumerate(zip(run.scales, run.layouts, run.ends, strict=True)):
        last, done = scale is run.scales[-1], state.iteration if state else 0
        begins = state is None or state.scale < index
        if (begins and done == end and not last) or (state is not None and state.scale > index):
            continue
        with device_errors(*scale.size):
            # 1. What is compared: features, Gram matrices or neighbours, smoothness, and the frame before.
            pictures = scale.resized(run.colored if last else replace(run.colored, warped=None))
            objective = build_objective(
                pictures.content, pictures.styles, run.network, settings, scale.size, layout, pictures.warped
            )
            # 2. Where it starts: the content, noise, or the last scale's picture, enlarged.
            if state is None or begins:
                x = start(pictures, run, scale.size, layout, state and state.x)
                state = State(done, index, done, clip(x, bounds))
            # 3. Minimise.
            with contextlib.closing(_updates(objective, optimizer, state, bounds, end, settings)) as updates:
                for state, losses in updates:
                    progress = Progress(state, run.scales, losses, to_image)
                    # A scale's last Progress is the start of the next scale, which reports it.
                    is_new = reported is None or progress.iteration > reported.iteration
                    if is_new and (last or progress.iteration < end):
                        yield progress
                        reported = progress
    if progress is not None and progress is not reported:  # no lower loss was found after the last report
        yield progress


def _updates(
    objective: Objective, optimizer: Optimizer, state: State, bounds: Bounds, end: int, settings: Settings
) -> Generator[tuple[State, dict[str, tf.Tensor]], None, None]:
    """The states from this one to the update `end`, and their losses; matches are renewed between updates."""
    at, seen = state.matched
    while True:
        if objective.matchers and (seen is None or state.iteration == objective.until(at, end) < end):
            at, seen = state.iteration, state.x
        until, begun = objective.until(at, end), state.iteration
        evaluate = evaluation(objective.matched(seen, at), reuse=not settings.normalize)
        with contextlib.closing(optimizer.steps(evaluate, state.x, bounds, state.memory)) as steps:
            for iteration, step in enumerate(itertools.islice(steps, until - begun + 1), begun):
                state = _after(step, state._replace(iteration=iteration, matched=(at, seen)), settings)
                if iteration < until or until == end:
                    yield state, step.losses
        if until == end or state.iteration == begun:
            return
        seen = None


def _start_alone(run: Run) -> Generator[Progress, None, None]:
    """Where no update is to be made, the start is the result, and there are no losses."""
    scale = run.scales[-1]
    with device_errors(*scale.size):
        x = start(scale.resized(run.colored), run, scale.size, run.layouts[-1])
        yield Progress(State(0, len(run.scales) - 1, 0, x), run.scales, {}, image_maker(run))


def _after(step: Step, state: State, settings: Settings) -> State:
    """The state with an optimiser's step. Raises DivergedError if its loss is seen not to be finite."""
    state = state._replace(x=step.x, memory=step.memory)
    checkpoint = state.iteration == settings.iterations or settings.is_checkpoint(state.iteration)
    compared = checkpoint or (settings.best_of_all and state.iteration > state.began)
    if compared or state.iteration % LOOK_EVERY == 0:  # not always, since it waits for the device
        total = float(step.losses["total"])
        if not math.isfinite(total):
            raise DivergedError(state.iteration)
        if compared and total < state.best[0]:
            state = state._replace(best=(total, step.x))
    return state


def build_objective(
    content: np.ndarray | None,
    styles: Sequence[np.ndarray],
    network: Network,
    settings: Settings,
    size: tuple[int, int] | None = None,
    layout: masks.Layout | None = None,
    warped: images.Warped | None = None,
) -> Objective:
    """What is minimised for these images, at the sizes that they have.

    size: (height, width) of the picture; the content's by default. layout: which style paints where; by
    default, each paints the whole picture. warped: of the picture's size. Images larger than settings.tile
    are evaluated in tiles. Raises NetworkError as stylize() does, and StyleError if there is no disk space
    for the content's features.
    """
    size = size or Images(content, tuple(styles)).shape
    layout = layout or masks.Layout.whole(settings.style_shares(len(styles)))
    if settings.normalize:
        seen = [network.preprocess(image) for image in (*styles, content) if image is not None]
        network = network.normalized(targets.mean_activations(seen, network, settings), settings.layers())
    network = targets.in_precision(network, settings)
    tiling = targets.cut(network, settings.layers(), settings, size)
    compared, names = terms.styles(styles, network, size, settings, layout), settings.losses[:-1]
    matchers: tuple[Matcher, ...] = ()
    if settings.style_weight and settings.style_measure != "gram":
        matchers = (
            MATCHERS[settings.style_measure](Scene(network, settings, tiling, content, styles, layout)),
        )
    if settings.content_weight and content is not None:
        compared.append(terms.content(content, network, tiling, settings, layout.content))
    if settings.tv_weight:
        compared.append(terms.smoothness(size, settings))
    if warped is not None:
        compared.append(terms.steadiness(warped, network, settings))
        names = (*names, "temporal")
    painted = None if layout.painted is None else tf.constant(layout.painted[None, ..., None] > 0)
    return Objective(network, settings.pooling, tiling, names, tuple(compared), matchers, painted)

"""A run, resolved: its images, its network, and settings that leave nothing open."""

import itertools
from collections import Counter
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from styling import optimizers
from styling.objective import layer_masks
from styling.objective.targets import in_precision
from styling.pictures import colors, masks
from styling.pictures.images import Images
from styling.run import memory, one_pass
from styling.run.sizes import Scale, scales_of
from styling.run.states import State
from styling.settings import Settings
from styling.system import device
from styling.system.errors import NetworkError, SettingsError, StateError
from styling.system.limits import total_memory
from styling.system.quiet import tf
from vgg import Layer, Network


@dataclass(frozen=True)
class Run:
    """A run, ready to be computed.

    settings: with a tile and a precision. scales: in their order. layouts: which style paints where, at each
    scale. remarks: lines for people about the masks.
    """

    images: Images
    network: Network
    settings: Settings
    scales: tuple[Scale, ...]
    layouts: tuple[masks.Layout, ...]
    remarks: tuple[str, ...] = ()

    @cached_property
    def colored(self) -> Images:
        """The images in the colours that the settings ask for."""
        return colors.prepared(self.images, self.settings.colors)

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers in use, with their precision."""
        return in_precision(self.network, self.settings).built(self.settings.layers())

    @property
    def ends(self) -> list[int]:
        """The updates made by the end of each scale."""
        return list(itertools.accumulate(scale.iterations for scale in self.scales))

    @property
    def masked(self) -> Counter[str]:
        """By layer, how often a step multiplies its map by a mask."""
        count = sum(region.mask is not None for region in self.layouts[-1].regions)
        terms = ["shift", "style"] if self.settings.style_measure == "gram" else ["shift"]
        return Counter([layer for term in terms for layer in self.settings.layer_weights(term)] * count)

    @property
    def matched(self) -> float:
        """The bytes for matches with the paintings."""
        layers = self.settings.layer_weights("style")
        if self.settings.style_measure == "gram" or not layers:
            return 0
        return memory.matches(self.settings, self.network.shapes(*self.scales[-1].size, layers))


def resolve(images: Images, network: Network, settings: Settings) -> Run:
    """The run with these images, network and settings.

    If the settings leave the precision or the tile open, they are chosen for this machine; the machine's load
    does not change the choice. Raises SettingsError for settings that do not fit the images, ImageError for
    an image that would be resized to nothing, and NetworkError for layers that the network lacks.
    """
    if not isinstance(network, Network):
        raise NetworkError(f"pass a network, as vgg.load() returns it, not {type(network).__name__}")
    if not isinstance(settings, Settings):
        raise SettingsError("settings", f"must be Settings(...), not {type(settings).__name__}")
    if settings.start == "one-pass" and not settings.iterations:
        one_pass.check_network(network)
    scales = scales_of(images, settings)
    if settings.precision == "fastest":
        settings = replace(settings, precision="bfloat16" if device.has_bfloat16() else "float32")
    images = masks.checked(images)
    layouts = tuple(masks.layout(images, settings, scale.size, scale.styles) for scale in scales)
    network.built(settings.layers())  # raises NetworkError for layers that the network lacks
    sizes = [scale.size for scale in scales]
    remarks = layer_masks.remarks(layouts, sizes, network, settings)
    for size in sizes:
        check_shifts(network, settings, size)
    run = Run(images, network, settings, scales, layouts, remarks)
    if settings.tile is not None:
        return run
    # Free memory is not considered, so that the choice is always the same.
    is_large = device.is_cpu() and not settings.histogram_weight and update_memory(run) > total_memory() / 2
    return replace(run, settings=replace(settings, tile=memory.TILE if is_large else 0))


def check_memory(run: Run) -> None:
    """Raise MemoryLimitError for a run that does not fit into the CPU's memory."""
    if not device.is_cpu():
        return
    full, settings = run.scales[-1], run.settings
    if settings.start == "one-pass":  # which is made at the coarsest scale, or is the result
        first = run.scales[0] if settings.iterations else full
        one_pass.check_memory(first.size, first.styles, settings.tile or 0)
    if settings.iterations:
        by_tiles = not settings.histogram_weight
        step = settings.optimizer, settings.tile or 0, by_tiles, run.masked, run.matched
        memory.check_memory(run.layers, full.size, full.styles, *step)


def memory_needed(run: Run) -> float:
    """An estimate of the bytes of memory that a run needs on the CPU."""
    full, settings = run.scales[-1], run.settings
    if settings.iterations:
        return update_memory(run)
    return one_pass.memory_needed(full.size, full.styles, settings.tile or 0)


def update_memory(run: Run) -> float:
    """An estimate of the bytes that an update, or a style's statistics, need."""
    layers, full, tile = run.layers, run.scales[-1], run.settings.tile or 0
    needs = [memory.needed(layers, full.size, tile, run.settings.optimizer, run.masked, run.matched)]
    needs += [memory.needed(layers, style, tile) for style in full.styles]
    return max(needs)


def checked_state(state: State, run: Run) -> State:
    """The state, on the device. Raises StateError unless it fits the run."""
    if not isinstance(state, State):
        raise StateError(f"must be the state of a Progress, not {type(state).__name__}")
    scales, optimizer = run.scales, optimizers.KINDS[run.settings.optimizer]
    if not (0 <= state.scale < len(scales) and 0 <= state.began <= state.iteration <= run.ends[state.scale]):
        raise StateError("is of a run with other iterations")
    image = (1, *scales[state.scale].size, 3)
    others = [x for x in (state.best[1], state.matched[1]) if x is not None]
    if (
        [tuple(part.shape) for part in state.memory] != optimizer.shapes(image)
        or any(part.dtype not in ("float32", "int32") for part in state.memory)
        or any(x.dtype != "float32" or len(x.shape) != 4 for x in (state.x, *others))
        or tuple(state.x.shape) != image
    ):
        raise StateError("is of a run with other sizes, or another optimizer")
    return tf.nest.map_structure(lambda x: tf.constant(x) if isinstance(x, np.ndarray) else x, state)


def check_shifts(network: Network, settings: Settings, size: tuple[int, int]) -> None:
    """Raise SettingsError if every shift is too large for every layer of a picture of this size."""
    layers = settings.layer_weights("shift")
    shapes = network.shapes(*size, layers).values()
    if layers and min(settings.shifts) >= max(max(height, width) for height, width, _ in shapes):
        raise SettingsError("shifts", "are as large as every layer of --shift-layers; give smaller ones")

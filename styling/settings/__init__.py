"""The settings of a run: one frozen value with every default, and the rules that tie settings together.

Each setting is one entry: its type, its default, its meaning, and its allowed values. The flags, the keys of
recipes and specs, the checks and the table of flags in docs are all made from these entries. Nothing here
needs TensorFlow, so a wrong setting is reported at once. Defaults are those of the best known TensorFlow
program for style transfer (Athalye 2015), except for average pooling, which Gatys et al. (2015) use.
"""

import dataclasses
import itertools
import math
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from typing import Any

from styling.settings import checks
from styling.settings.checks import Layers
from styling.system.errors import SettingsError, flag_of

STYLE_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
CONTENT_LAYERS = ("relu4_2", "relu5_2")
HISTOGRAM_LAYERS = ("relu1_1", "relu4_1")
LAYER_TERMS = ("content", "style", "shift", "histogram")
WEIGHTS = (*(f"{term}_weight" for term in LAYER_TERMS), "tv_weight")
STRUCTURES = ("all", "fine", "coarse")
REDUCTIONS = ("mean", "sum", "relative")
COLORS = ("style", "content", "matched", "matched-histogram", "luminance")
DESCENTS = ("adam", "gradient-descent", "normalized-gradient-descent")
MOST_THREADS = 1024
FEWEST_EVALUATIONS = 5  # fewer may end within the first line search, without a lower loss

Check = Callable[[str, Any], None]
not_negative = partial(checks.number, low=0)
positive = partial(checks.number, low=0, low_open=True)
share = partial(checks.number, low=0, high=1)
decay = partial(checks.number, low=0, high=1, high_open=True)


def setting(
    group: str,
    default: object,
    text: str,
    check: Check | None = None,
    *,
    choices: tuple[str, ...] | None = None,
    metavar: str | None = None,
    short: str | None = None,
    unset: str = "",
    only_with: tuple[str, tuple[str, ...] | None] | None = None,
) -> Any:
    """A field of Settings or Running.

    group: of the flags, in --help. text: its help text. check: raises SettingsError for a value out of range.
    choices: the allowed values, if there are only a few. metavar: stands for the value in --help. short: a
    short name of the flag. unset: what None stands for. only_with: the name of another setting, and the
    values of it with which this one has an effect; None for any value but 0.
    """
    if choices:
        check = partial(checks.choice, choices=choices)
    metadata = {
        "group": group,
        "text": text,
        "check": check,
        "choices": choices,
        "metavar": metavar,
        "short": short,
        "unset": unset,
        "only_with": only_with,
    }
    return dataclasses.field(default=default, metadata=metadata)


sizes = partial(setting, "sizes")
minimised = partial(setting, "what is minimised")
video = partial(setting, "video")
search = partial(setting, "how it is minimised")
running = partial(setting, "running")


@dataclass(frozen=True)
class Settings:
    """Everything that decides what a run computes, besides the images and the network.

    The entry says what None stands for (unset). Layers are names, or a dict of names and weights. Raises
    SettingsError if a value is out of range, or if two contradict each other.
    """

    width: int | None = sizes(
        None, "width of the picture in pixels", checks.count, metavar="W", short="-w", unset="the content's"
    )
    height: int | None = sizes(
        None,
        "height of the picture, together with --width, if there is no content",
        checks.count,
        metavar="H",
        unset="in the first style's shape",
    )
    max_size: int | None = sizes(
        None,
        "shrink the picture to at most N pixels on its longer side; not together with --width",
        checks.count,
        metavar="N",
    )
    scales: tuple[float, ...] = sizes(
        (1.0,),
        "sizes at which the picture is made one after the other, relative to its own, from coarse to fine, "
        "as 0.25 0.5 1; a longer side of less than 192 pixels becomes 192, or the picture's own where that "
        "is less",
        checks.scales,
        metavar="F",
    )
    scale_shares: tuple[float, ...] | None = sizes(
        None, "share of the iterations at each scale", checks.weights, metavar="F", unset="equal"
    )
    tile: int | None = sizes(
        None,
        "evaluate the picture in tiles of about N pixels a side, with the same result in less memory; 0 for "
        "whole",
        partial(checks.count, low=0),
        metavar="N",
        unset="whole if that needs less than half of the memory, else 512",
    )
    style_scales: tuple[float, ...] | None = sizes(
        None, "scale of each style, relative to the width", checks.positives, metavar="F", unset="1 each"
    )
    style_structure: tuple[str, ...] | None = sizes(
        None,
        "what to take of each style: its fine structure, such as brush strokes (layers of blocks 1 and 2), "
        "its coarse structure, such as forms (the other layers), or all; for two styles, as in fine coarse",
        partial(checks.choices, of=STRUCTURES),
        metavar="WHAT",
        unset="all of each",
    )

    content_weight: float = minimised(5.0, "weight of the content", not_negative, metavar="F")
    style_weight: float = minimised(500.0, "weight of the style", not_negative, metavar="F")
    shift_weight: float = minimised(
        0.0, "weight of shifted Gram matrices, which hold long-range structure", not_negative, metavar="F"
    )
    histogram_weight: float = minimised(
        0.0, "weight of the histogram loss, which steadies contrast and colours", not_negative, metavar="F"
    )
    tv_weight: float = minimised(
        100.0, "weight of the total variation; more is smoother", not_negative, metavar="F"
    )
    style_blend_weights: tuple[float, ...] | None = minimised(
        None, "relative weight of each style", checks.weights, metavar="F", unset="equal"
    )
    content_weight_blend: float | None = minimised(
        None,
        "share of relu4_2 in the content; relu5_2, which keeps less detail, has the rest",
        share,
        metavar="F",
        unset="1",
        only_with=("content_weight", None),
    )
    style_layer_weight_exp: float | None = minimised(
        None,
        "each style layer weighs this many times as much as the one before; more shows forms",
        not_negative,
        metavar="F",
        unset="1",
    )
    content_layers: Layers | None = minimised(
        None,
        "content layers; without weights, in equal shares",
        checks.layers,
        unset="relu4_2, and relu5_2 by the blend",
        only_with=("content_weight", None),
    )
    style_layers: Layers | None = minimised(
        None,
        "style layers; without weights, by the exponent",
        checks.layers,
        unset=" ".join(STYLE_LAYERS),
    )
    shift_layers: Layers | None = minimised(
        None,
        "layers of the shifted Gram matrices",
        checks.layers,
        unset="the style layers",
        only_with=("shift_weight", None),
    )
    histogram_layers: Layers | None = minimised(
        None,
        "layers of the histogram loss",
        checks.layers,
        unset=" ".join(HISTOGRAM_LAYERS),
        only_with=("histogram_weight", None),
    )
    shifts: tuple[int, ...] = minimised(
        (1, 2, 4, 8),
        "positions by which feature maps are shifted, sideways and down",
        checks.shifts,
        metavar="N",
        only_with=("shift_weight", None),
    )
    content_reduction: str = minimised(
        "mean",
        "squared differences of the content's features: their mean, their sum, or (relative) their mean "
        "divided by the mean square of the features",
        choices=REDUCTIONS,
        only_with=("content_weight", None),
    )
    style_reduction: str = minimised(
        "mean",
        "squared differences of Gram matrices: their mean, their sum, or (relative) their mean divided by "
        "the mean square of the style's; also for shifted Gram matrices and histograms",
        choices=REDUCTIONS,
    )
    tv_reduction: str = minimised(
        "mean",
        "squared differences of neighbouring pixels: their mean, their sum, or, relative, their mean over "
        "255^2",
        choices=REDUCTIONS,
        only_with=("tv_weight", None),
    )
    gram_divisor: str = minimised(
        "size",
        "divide Gram matrices by h*w*C (size), by h*w (positions), or not; with none, a style counts as if "
        "it had as many positions as the picture",
        choices=("size", "positions", "none"),
        only_with=("style_reduction", ("mean", "sum")),
    )
    pooling: str = minimised("avg", "how the network pools", choices=("avg", "max"))
    normalize: bool = minimised(
        False, "scale the network's filters to mean activations of 1 over the run's images"
    )
    colors: str | None = minimised(
        None,
        "colours of the picture: the painting's (style); the content's, with the luma of the result "
        "(content); the painting's, first matched to the content's by mean and covariance (matched) or "
        "channel by channel (matched-histogram); or the content's, with only luma painted (luminance)",
        choices=COLORS,
        unset="style",
    )
    mask_content_weights: tuple[float, ...] | None = minimised(
        None,
        "factors for the weight of the content in the region of each style, with --style-masks",
        checks.weights,
        metavar="F",
        unset="1 each",
    )
    mask_erosion: bool = minimised(
        False,
        "count only positions of a layer whose receptive field lies in the mask or guide; otherwise masks "
        "and guides are only shrunk to the layer's size",
    )
    mask_feather: float = minimised(
        0.01,
        "width of the seam between painted and unpainted parts, as a share of the picture's longer side",
        share,
        metavar="F",
    )
    preserve_colors: bool = minimised(False, "another name of --colors content")

    iterations: int = search(1000, "updates to make", checks.count, metavar="N")
    optimizer: str = search(
        "adam", "optimiser; lbfgs-b is scipy's, on the host", choices=(*DESCENTS, "lbfgs", "lbfgs-b")
    )
    learning_rate: float = search(
        10.0, "size of a step, in grey levels", positive, metavar="F", only_with=("optimizer", DESCENTS)
    )
    beta1: float = search(
        0.9, "Adam's decay of the first moment", decay, metavar="F", only_with=("optimizer", ("adam",))
    )
    beta2: float = search(
        0.999, "Adam's decay of the second moment", decay, metavar="F", only_with=("optimizer", ("adam",))
    )
    eps: float = search(
        1e-8,
        "epsilon of Adam and of normalized gradient descent",
        positive,
        metavar="F",
        only_with=("optimizer", ("adam", "normalized-gradient-descent")),
    )
    evaluations: int | None = search(
        None,
        f"make each iteration of lbfgs-b a new call of at most N evaluations, {FEWEST_EVALUATIONS} or more; "
        "Ctrl-C keeps the last whole iteration",
        partial(checks.count, low=FEWEST_EVALUATIONS),
        metavar="N",
        unset="an iteration of its own",
        only_with=("optimizer", ("lbfgs-b",)),
    )
    clip: bool = search(False, "keep all pixels within 0..255 at every step")
    best_of_all: bool = search(False, "keep the image with the lowest loss of all iterations")
    checkpoint_iterations: int | None = setting(
        "images and files",
        None,
        "every N iterations, compare the image with the best one so far, and write the better; the result is "
        "the image with the lowest loss of those compared",
        checks.count,
        metavar="N",
    )
    initial_noiseblend: float | None = search(
        None, "share of noise in the start", share, metavar="F", unset="1, or 0 with --initial"
    )
    noise: str = search(
        "normal",
        "noise in the start: normal, with a standard deviation of 0.256 about the mean pixel, or uniform in "
        "128..129",
        choices=("normal", "uniform"),
    )
    precision: str = search(
        "float32",
        "precision of the network's convolutions; bfloat16 rounds more and is faster on processors that have "
        "it (avx512_bf16, amx_bf16); fastest uses bfloat16 on these; not for long runs of lbfgs-b, whose "
        "line search needs exact losses",
        choices=("float32", "bfloat16", "fastest"),
    )
    seed: int | None = search(
        None,
        "seed of the noise: same seed, threads and machine, same picture",
        partial(checks.count, low=0),
        metavar="N",
        unset="a new one each time",
    )

    temporal_weight: float = video(
        1000.0,
        "weight of the difference between a frame and the warped frames before it; more flickers less; "
        "--tv-reduction applies to this too",
        not_negative,
        metavar="F",
    )
    frame_iterations: int | None = video(
        None,
        "updates of each frame that starts from the one before; others have all --iterations",
        checks.count,
        metavar="N",
        unset="a fifth of --iterations",
    )
    frames_back: tuple[int, ...] = video(
        (1, 2, 4),
        "earlier frames to compare a frame with, counted back from it; those further back fill in what the "
        "nearer ones do not show",
        checks.shifts,
        metavar="N",
    )

    def __post_init__(self) -> None:
        _check_fields(self)
        if not any(getattr(self, name) for name in WEIGHTS):
            raise SettingsError("style_weight", "every weight is 0, which leaves nothing to optimise")
        if self.scale_shares is not None:
            checks.one_each("scale_shares", self.scale_shares, len(self.scales), "scale")
        if self.width and self.max_size:
            raise SettingsError("max_size", "contradicts --width; give one of the two")
        if self.height and not self.width:
            raise SettingsError("height", "goes together with --width; give both")
        if self.content_layers is not None and self.content_weight_blend is not None:
            problem = "contradict --content-weight-blend, which is for the two default layers"
            raise SettingsError("content_layers", problem)
        if isinstance(self.style_layers, dict) and self.style_layer_weight_exp is not None:
            raise SettingsError("style_layers", "with weights contradict --style-layer-weight-exp")
        if self.preserve_colors and self.colors not in (None, "content"):
            raise SettingsError("preserve_colors", f"contradicts --colors {self.colors}; give one of the two")
        if self.tile and self.histogram_weight:
            problem = "does not go with --histogram-weight, which needs the whole picture at once; give 0"
            raise SettingsError("tile", problem)
        if self.evaluations:
            self.check_effect(["evaluations"])

    @classmethod
    def from_recipe(cls, name: str, network: "Any | None" = None, **settings: object) -> "Settings":
        """The settings of a recipe, by its name or its file, with `settings` in place of its values.

        network: the network to paint with, if it is known; the recipe's weights for it are then used, and
        layers that it lacks are left out. Raises SettingsError, RecipeError and NetworkError.
        """
        from styling.settings import recipes  # not at the top, since it imports this module

        recipe = recipes.read(name)
        found, _ = recipes.combine(recipe, settings)
        if network is None:
            return found
        layers = {layer.name for layer in network.layers}
        weights = recipes.vgg16_beside(recipe.vgg16, settings)
        return recipes.for_network(found, weights, layers, settings)[0]

    def check_effect(self, names: Collection[str]) -> None:
        """Raise SettingsError if one of these settings has no effect together with the others."""
        for name in names:
            other, values = FIELDS[name].metadata["only_with"] or (None, None)
            if other is None:
                continue
            value, flag = getattr(self, other), flag_of(other)
            if values is None and not value:
                raise SettingsError(name, f"has no effect without {flag}; give both or neither")
            if values is not None and value not in values:
                problem = f"has no effect with {flag} {value}, only with {' or '.join(values)}"
                raise SettingsError(name, problem)

    @property
    def losses(self) -> tuple[str, ...]:
        """The names of the loss terms in the order of printing, then the total."""
        extra = [name for name in ("shift", "histogram") if getattr(self, f"{name}_weight")]
        return ("content", "style", *extra, "tv", "total")

    def check_images(
        self,
        content: bool,
        styles: int,
        initial: bool,
        style_masks: int = 0,
        style_guides: int = 0,
        content_mask: bool = False,
    ) -> None:
        """Raise SettingsError unless a run is possible with these images.

        content, initial, content_mask: whether it is given. styles, style_masks, style_guides: how many.
        """
        if (self.style_weight or self.shift_weight or self.histogram_weight) and not styles:
            raise SettingsError(
                "styles", "is needed, unless --style-weight, --shift-weight and --histogram-weight are 0"
            )
        from_content = self.noiseblend(initial) < 1 and not initial
        if not content and (self.content_weight or from_content):
            raise SettingsError("content", "is needed, unless --content-weight is 0 and the start is noise")
        if not content and self.coloring != "style":
            flag = "preserve_colors" if self.preserve_colors else "colors"
            raise SettingsError(flag, "goes together with --content, whose colours they are")
        if not (content or styles or self.height):
            raise SettingsError("height", "is needed, with --width, where there is neither content nor style")
        if content and self.height:
            raise SettingsError("height", "contradicts --content, whose shape the picture has")
        self.scales_of_styles(styles)
        self.layers_of_styles(styles, ())
        self.style_shares(styles)
        for name, count in (("style_masks", style_masks), ("style_guides", style_guides)):
            if count not in (0, 1, styles) or (count and not styles):
                problem = f"{count} of them given for {styles} style image{'s' * (styles != 1)}"
                raise SettingsError(name, f"{problem}; give one each, all for a whole one, or one for all")
        if (style_masks or content_mask) and not content:
            name = "style_masks" if style_masks else "content_mask"
            raise SettingsError(name, "goes together with --content, which stays where nothing is painted")
        if self.mask_content_weights and not style_masks:
            raise SettingsError("mask_content_weights", "has no effect without --style-masks")
        checks.one_each("mask_content_weights", self.mask_content_weights, styles)
        if self.mask_erosion and not (style_masks or style_guides or content_mask):
            raise SettingsError("mask_erosion", "has no effect without --style-masks or --style-guides")
        if self.histogram_weight and (style_masks or style_guides or content_mask):
            problem = "does not go with masks and guides, which its histograms do not follow; give 0"
            raise SettingsError("histogram_weight", problem)

    @property
    def coloring(self) -> str:
        """Which of COLORS the picture has."""
        return self.colors or ("content" if self.preserve_colors else "style")

    def iterations_by_scale(self) -> tuple[int, ...]:
        """The iterations of each scale; their sum is `iterations`."""
        sums = list(itertools.accumulate(self.scale_shares or (1.0,) * len(self.scales)))
        ends = [0, *(round(self.iterations * part / sums[-1]) for part in sums)]
        return tuple(end - start for start, end in itertools.pairwise(ends))

    def layer_weights(self, term: str) -> dict[str, float]:
        """Layers of the term (content, style, shift or histogram) and their weights, if above 0; empty if the
        term itself has no weight."""
        if not getattr(self, f"{term}_weight"):
            return {}
        layers = getattr(self, f"{term}_layers")
        if term == "style" or (term == "shift" and layers is None):
            layers = self._style_layers()
        elif layers is None:
            blend = 1.0 if self.content_weight_blend is None else self.content_weight_blend
            content = dict(zip(CONTENT_LAYERS, (blend, 1 - blend), strict=True))
            layers = content if term == "content" else HISTOGRAM_LAYERS
        if not isinstance(layers, dict):
            layers = dict.fromkeys(layers, 1 / len(layers))
        return {name: weight for name, weight in layers.items() if weight > 0}

    def layers(self) -> set[str]:
        """Every layer that the losses use."""
        return {name for term in LAYER_TERMS for name in self.layer_weights(term)}

    def _style_layers(self) -> dict[str, float]:
        layers = STYLE_LAYERS if self.style_layers is None else self.style_layers
        if isinstance(layers, dict):
            return layers
        ratio = 1.0 if self.style_layer_weight_exp is None else self.style_layer_weight_exp
        return dict(zip(layers, _geometric(ratio, len(layers)), strict=True))

    def style_shares(self, count: int) -> tuple[float, ...]:
        """Blend weights b_i of so many styles, sum 1. Raises SettingsError if another number was given."""
        checks.one_each("style_blend_weights", self.style_blend_weights, count)
        weights = self.style_blend_weights or (1.0,) * count
        largest = max(weights, default=1)
        shares = [weight / largest for weight in weights]
        return tuple(share / sum(shares) for share in shares)

    def scales_of_styles(self, count: int) -> tuple[float, ...]:
        """Scales of so many styles. Raises SettingsError if another number was given."""
        checks.one_each("style_scales", self.style_scales, count)
        return self.style_scales or (1.0,) * count

    def layers_of_styles(self, count: int, layers: Collection[str]) -> list[set[str]]:
        """For each of so many styles, the layers among these that it uses.

        Raises SettingsError if another number was given.
        """
        checks.one_each("style_structure", self.style_structure, count)
        fine = {layer for layer in layers if re.match(r"[a-z]+[12](_|$)", layer)}  # of blocks 1 and 2
        of = {"all": set(layers), "fine": fine, "coarse": set(layers) - fine}
        return [of[structure] for structure in self.style_structure or ("all",) * count]

    def is_checkpoint(self, iteration: int) -> bool:
        """Whether an image after this many updates is compared (and written); the start never is."""
        every = self.checkpoint_iterations
        return every is not None and iteration > 0 and iteration % every == 0

    def noiseblend(self, has_initial: bool) -> float:
        """Share of noise in the start: the setting, else 0 with an initial image and 1 without one."""
        if self.initial_noiseblend is not None:
            return self.initial_noiseblend
        return 0.0 if has_initial else 1.0


def content_size(height: int, width: int, settings: Settings) -> tuple[int, int]:
    """The result's (height, width) in pixels for a content image (or, without one, a style) of this size."""
    if settings.height:
        return settings.height, settings.width
    if settings.width:
        return math.floor(height / width * settings.width), settings.width
    if settings.max_size and max(height, width) > settings.max_size:
        longer = max(height, width)
        return height * settings.max_size // longer, width * settings.max_size // longer
    return height, width


def style_size(height: int, width: int, scale: float, content_width: int) -> tuple[int, int]:
    """A style's (height, width) in pixels: `scale` of the content's width, both sides truncated."""
    factor = scale * content_width / width  # in this order, since rounding can change the size
    return int(height * factor), int(width * factor)


def sizes_in_use(
    height: int,
    width: int,
    settings: Settings,
    scale: float | None = None,
    model: tuple[int, int] | None = None,
) -> list[tuple[int, int]]:
    """The sizes, (height, width) in pixels, at which an image of this size is used; for images.read().

    They are the picture's size and, for a style, its own size. scale: of the style, else None. model: the
    size of the image whose shape the picture has, or None for this image.
    """
    picture = content_size(*(model or (height, width)), settings)
    return [picture] if scale is None else [picture, style_size(height, width, scale, picture[1])]


@dataclass(frozen=True)
class Running:
    """Settings that decide where a run computes and what it reports, but not what it computes.

    Raises SettingsError if a value is out of range.
    """

    network: str | None = setting(
        "images and files",
        None,
        "MatConvNet .mat file of VGG-19 or VGG-16, or vgg19, vgg16 or small",
        checks.network,
        metavar="FILE",
        unset="the first of these that is found",
    )
    network_sha256: str | None = dataclasses.field(default=None, metadata={"check": None})
    device: str | None = running(
        None, "cpu, gpu or gpu:N", checks.device, metavar="DEVICE", unset="a GPU if there is one"
    )
    threads: int | None = running(
        None, "CPU threads", partial(checks.count, high=MOST_THREADS), metavar="N", unset="one a core"
    )
    print_iterations: int | None = running(
        None,
        "print the losses, and write them for --progress-..., every N iterations",
        checks.count,
        metavar="N",
        unset="ten lines a run where there is no progress bar",
    )
    progress_grid: bool = running(False, "lay out ten images of the run in NAME-progress-grid.png")

    def __post_init__(self) -> None:
        _check_fields(self)


FIELDS = {field.name: field for kind in (Settings, Running) for field in dataclasses.fields(kind)}


def _check_fields(values: Settings | Running) -> None:
    """Raise SettingsError if a value is out of range."""
    for field in dataclasses.fields(values):
        check = field.metadata["check"]
        if check is not None:
            check(field.name, getattr(values, field.name))


def _geometric(ratio: float, count: int) -> list[float]:
    # The largest power is 1, so that no ratio overflows.
    powers = [ratio ** (k - count + 1) if ratio > 1 else ratio**k for k in range(count)]
    return [power / sum(powers) for power in powers]

"""The settings of a run: one frozen value with every default, and the rules that tie settings together.

A flag, a recipe's key and a keyword argument carry the same name. Nothing here needs TensorFlow, so that a
wrong setting is found out at once. Defaults are those of the best known TensorFlow program of this
family (Athalye 2015), except for average pooling, which is what Gatys et al. (2015) use.
"""

import itertools
import math
import re
from dataclasses import dataclass

from styling import checks
from styling.errors import SettingsError

STYLE_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
CONTENT_LAYERS = ("relu4_2", "relu5_2")
HISTOGRAM_LAYERS = ("relu1_1", "relu4_1")
LAYER_TERMS = ("content", "style", "shift", "histogram")
CHOICES = {
    "pooling": ("avg", "max"),
    "padding": ("zero", "edge"),
    "content_reduction": ("mean", "sum", "relative"),
    "style_reduction": ("mean", "sum", "relative"),
    "tv_reduction": ("mean", "sum", "relative"),
    "gram_divisor": ("size", "positions", "none"),
    "optimizer": ("adam", "lbfgs", "lbfgs-b", "gradient-descent", "normalized-gradient-descent"),
    "noise": ("normal", "uniform"),
    "precision": ("float32", "bfloat16", "fastest"),
}
MOST_THREADS = 1024
FEWEST_EVALUATIONS = 5  # fewer can end within the first line search, with nothing found

WEIGHTS = (*(f"{term}_weight" for term in LAYER_TERMS), "tv_weight")

Layers = checks.Layers


@dataclass(frozen=True)
class Settings:
    """Everything that decides what a run computes, besides the images and the network.

    iterations: optimiser updates to make.
    checkpoint_iterations: compare the loss every so many updates, or None for only at the end; the result
        is the image with the lowest loss among those compared.
    best_of_all: compare the loss after every update instead.
    width, height, max_size: pixels; width of the result, or at most so many on its longer side; the
        content's own size where all are None, or the first style's where there is no content. A height is
        for a result without content, and goes together with a width.
    padding: what the network's first convolution sees beyond the border: zeros, which are the mean pixel, or
        the pixels at the edge again.
    normalize: scale the network's filters to mean activations of 1 over the run's images (Gatys et al. 2016).
    content_layers, style_layers, shift_layers, histogram_layers: names, or a dict of names and weights (used
        as they are); None for relu4_2 and relu5_2, shared out by content_weight_blend; for relu1_1 ..
        relu5_1; for the style layers with their weights; and for relu1_1 and relu4_1. Layers without weights
        have equal shares, but style layers those of style_layer_weight_exp.
    content_weight_blend: weight of relu4_2, 0..1; relu5_2 has the rest. None stands for 1.
    style_layer_weight_exp: each style layer weighs this many times the one before. None stands for 1.
    shifts: positions by which feature maps are moved, sideways and down, for the shifted Gram matrices.
    content_reduction: the mean of squared differences of features, their sum, or relative: the mean over the
        mean square of the content's features.
    style_reduction: the same of Gram matrices; relative: over the mean square of each style's own, and so for
        its shifted Gram matrices and its histograms.
    tv_reduction: the same of neighbouring pixels; relative: over 255^2.
    gram_divisor: a Gram matrix is divided by its map's size h * w * C, by its positions h * w, or by none;
        with "none", a style counts as if it had as many positions as the picture. It cancels in a relative
        style loss.
    scales: sizes at which the picture is made one after the other, from coarse to fine, relative to the
        result's; the last is 1. A longer side of less than 192 pixels becomes 192, or the result's where that
        is less; scales that come to one size are one. scale_shares: of the iterations, any positive scale;
        None for equal shares.
    tile: evaluate the picture, and styles, in tiles of about so many pixels a side, with the same result in
        less memory; 0 for whole, None for whole if that fits well into the machine's memory.
    precision: of the network's convolutions. bfloat16 has 8 bits; it takes less time and memory where the
        processor has instructions for it, and far more time elsewhere. fastest is bfloat16 on such a
        processor, else float32.
    style_scales: scale of each style relative to the result's width; None for 1 each.
    style_blend_weights: share of each style, any positive scale; None for equal shares.
    learning_rate: in grey levels; of every optimiser but the two of L-BFGS. beta1, beta2: of adam. eps: of
        adam and normalized-gradient-descent.
    evaluations: makes an iteration of lbfgs-b a new call of at most so many evaluations (5 or more); None
        for an iteration of its own.
    clip: keep every pixel within 0..255 at every step; for L-BFGS as bounds.
    initial_noiseblend: share of noise in the start, 0..1; None for 0 with an initial image, else 1.
    noise: normal, of deviation 0.256 about the mean pixel, or uniform in [128, 129).
    seed: of the start's noise; None for a new one each time.
    preserve_colors: take the colours (chroma) of the content.

    Raises SettingsError where a value is out of range or two contradict each other.
    """

    iterations: int = 1000
    checkpoint_iterations: int | None = None
    best_of_all: bool = False
    width: int | None = None
    height: int | None = None
    max_size: int | None = None
    pooling: str = "avg"
    padding: str = "zero"
    normalize: bool = False
    content_layers: Layers | None = None
    style_layers: Layers | None = None
    shift_layers: Layers | None = None
    histogram_layers: Layers | None = None
    content_weight_blend: float | None = None
    style_layer_weight_exp: float | None = None
    shifts: tuple[int, ...] = (1, 2, 4, 8)
    content_weight: float = 5.0
    style_weight: float = 500.0
    shift_weight: float = 0.0
    histogram_weight: float = 0.0
    tv_weight: float = 100.0
    content_reduction: str = "mean"
    style_reduction: str = "mean"
    tv_reduction: str = "mean"
    gram_divisor: str = "size"
    scales: tuple[float, ...] = (1.0,)
    scale_shares: tuple[float, ...] | None = None
    tile: int | None = None
    precision: str = "float32"
    style_scales: tuple[float, ...] | None = None
    style_blend_weights: tuple[float, ...] | None = None
    optimizer: str = "adam"
    learning_rate: float = 10.0
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    evaluations: int | None = None
    clip: bool = False
    initial_noiseblend: float | None = None
    noise: str = "normal"
    seed: int | None = None
    preserve_colors: bool = False

    def __post_init__(self) -> None:
        for name in ("iterations", "checkpoint_iterations", "width", "height", "max_size"):
            checks.count(name, getattr(self, name))
        checks.count("evaluations", self.evaluations, low=FEWEST_EVALUATIONS)
        for name in (*WEIGHTS, "style_layer_weight_exp"):
            checks.number(name, getattr(self, name), low=0)
        for name in ("learning_rate", "eps"):
            checks.number(name, getattr(self, name), low=0, low_open=True)
        for name in ("beta1", "beta2"):
            checks.number(name, getattr(self, name), low=0, high=1, high_open=True)
        for name in ("content_weight_blend", "initial_noiseblend"):
            checks.number(name, getattr(self, name), low=0, high=1)
        for scale in self.style_scales or ():
            checks.number("style_scales", scale, low=0, low_open=True)
        checks.count("seed", self.seed, low=0)
        checks.count("tile", self.tile, low=0)
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise SettingsError(name, f"{getattr(self, name)!r} is none of {', '.join(choices)}")
        if not any(getattr(self, name) for name in WEIGHTS):
            raise SettingsError("style_weight", "every weight is 0, which leaves nothing to optimise")
        if self.style_blend_weights is not None:
            checks.weights("style_blend_weights", self.style_blend_weights)
        for term in LAYER_TERMS:
            checks.layers(f"{term}_layers", getattr(self, f"{term}_layers"))
        checks.shifts("shifts", self.shifts)
        checks.scales("scales", self.scales)
        if self.scale_shares is not None:
            checks.weights("scale_shares", self.scale_shares)
            checks.one_each("scale_shares", self.scale_shares, len(self.scales), "scale")
        self._check_contradictions()

    def _check_contradictions(self) -> None:
        if self.width and self.max_size:
            raise SettingsError("max_size", "contradicts --width; give one of the two")
        if self.height and not self.width:
            raise SettingsError("height", "goes together with --width; give both")
        if self.content_layers is not None and self.content_weight_blend is not None:
            problem = "contradict --content-weight-blend, which is for the two default layers"
            raise SettingsError("content_layers", problem)
        if isinstance(self.style_layers, dict) and self.style_layer_weight_exp is not None:
            raise SettingsError("style_layers", "with weights contradict --style-layer-weight-exp")
        if self.tile and self.histogram_weight:
            problem = "does not go with --histogram-weight, which needs the whole picture at once; give 0"
            raise SettingsError("tile", problem)
        if self.evaluations and self.optimizer != "lbfgs-b":
            raise SettingsError("evaluations", "goes together with --optimizer lbfgs-b")

    @property
    def losses(self) -> tuple[str, ...]:
        """The names of the loss terms, in the order in which people see them, and the total."""
        extra = [name for name in ("shift", "histogram") if getattr(self, f"{name}_weight")]
        return ("content", "style", *extra, "tv", "total")

    def check_images(self, content: bool, styles: int, initial: bool) -> None:
        """Raise SettingsError unless a run can be made of a content image or none, so many styles, and an
        initial image or none."""
        if (self.style_weight or self.shift_weight or self.histogram_weight) and not styles:
            raise SettingsError(
                "styles", "is needed, unless --style-weight, --shift-weight and --histogram-weight are 0"
            )
        from_content = self.noiseblend(initial) < 1 and not initial
        if not content and (self.content_weight or from_content):
            raise SettingsError("content", "is needed, unless --content-weight is 0 and the start is noise")
        if not content and self.preserve_colors:
            raise SettingsError("preserve_colors", "goes together with --content, whose colours they are")
        if not (content or styles or self.height):
            raise SettingsError("height", "is needed, with --width, where there is neither content nor style")
        if content and self.height:
            raise SettingsError("height", "contradicts --content, whose shape the picture has")
        self.scales_of_styles(styles)
        self.style_shares(styles)

    def iterations_by_scale(self) -> tuple[int, ...]:
        """The iterations of each of the scales, their sum being all of them."""
        sums = list(itertools.accumulate(self.scale_shares or (1.0,) * len(self.scales)))
        ends = [0, *(round(self.iterations * part / sums[-1]) for part in sums)]
        return tuple(end - start for start, end in itertools.pairwise(ends))

    def layer_weights(self, term: str) -> dict[str, float]:
        """Layers of the term (content, style, shift or histogram) and their weights, those above 0 only;
        empty if the term itself has no weight."""
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
        """Every layer that the run looks at."""
        return {name for term in LAYER_TERMS for name in self.layer_weights(term)}

    def _style_layers(self) -> dict[str, float]:
        layers = STYLE_LAYERS if self.style_layers is None else self.style_layers
        if isinstance(layers, dict):
            return layers
        ratio = 1.0 if self.style_layer_weight_exp is None else self.style_layer_weight_exp
        return dict(zip(layers, _geometric(ratio, len(layers)), strict=True))

    def style_shares(self, count: int) -> tuple[float, ...]:
        """Blend weights b_i of so many styles, sum 1. Raises SettingsError if others were given."""
        checks.one_each("style_blend_weights", self.style_blend_weights, count)
        weights = self.style_blend_weights or (1.0,) * count
        largest = max(weights, default=1)
        shares = [weight / largest for weight in weights]
        return tuple(share / sum(shares) for share in shares)

    def scales_of_styles(self, count: int) -> tuple[float, ...]:
        """Scales of so many styles. Raises SettingsError if another number was given."""
        checks.one_each("style_scales", self.style_scales, count)
        return self.style_scales or (1.0,) * count

    def is_checkpoint(self, iteration: int) -> bool:
        """Whether an image after this many updates is compared (and written); the start never is."""
        every = self.checkpoint_iterations
        return every is not None and iteration > 0 and iteration % every == 0

    def noiseblend(self, has_initial: bool) -> float:
        """Share of noise in the start: as given, else 0 with an initial image and 1 without."""
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
    factor = scale * content_width / width  # in this order, since rounding decides the size at times
    return int(height * factor), int(width * factor)


def sizes_in_use(
    height: int,
    width: int,
    settings: Settings,
    scale: float | None = None,
    model: tuple[int, int] | None = None,
) -> list[tuple[int, int]]:
    """The (height, width) in pixels of the picture and, for a style, its own at its scale, where an image of
    this size is used; for images.read().

    scale: that of a style, else None. model: the size of the image whose shape the picture has, or None for
    this one.
    """
    picture = content_size(*(model or (height, width)), settings)
    return [picture] if scale is None else [picture, style_size(height, width, scale, picture[1])]


@dataclass(frozen=True)
class Running:
    """What decides where a run computes and what people see of it, and not what is computed.

    network: a file, or a name that styling.networks knows. network_sha256: what that file must be.
    device: cpu, gpu or gpu:N. threads: of the CPU. print_iterations: print the losses every so many
    iterations. progress_grid: draw ten images of the run. None stands for the program's own choice.

    Raises SettingsError where a value is out of range.
    """

    network: str | None = None
    network_sha256: str | None = None
    device: str | None = None
    threads: int | None = None
    print_iterations: int | None = None
    progress_grid: bool = False

    def __post_init__(self) -> None:
        if self.network == "":
            raise SettingsError("network", "is empty; name a file, or vgg19, vgg16 or small")
        if self.network and "\0" in self.network:
            raise SettingsError("network", f"{self.network!r} is no name of a file")
        checks.count("threads", self.threads)
        if self.threads and self.threads > MOST_THREADS:
            raise SettingsError("threads", f"{self.threads} is more than {MOST_THREADS}")
        checks.count("print_iterations", self.print_iterations)
        if self.device is not None and not re.fullmatch(r"cpu|gpu(:\d{1,3})?", self.device):
            raise SettingsError("device", f"{self.device!r} is not cpu, gpu or gpu:N")


def _geometric(ratio: float, count: int) -> list[float]:
    # The largest power is kept at 1, so that no ratio overflows.
    powers = [ratio ** (k - count + 1) if ratio > 1 else ratio**k for k in range(count)]
    return [power / sum(powers) for power in powers]

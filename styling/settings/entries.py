"""Every setting, in one entry each: its type, its default, its meaning, and how its flag looks.

The flags, the keys of recipes and specs, the checks and the table of flags in docs are all made from these
entries; to add a setting is to add an entry. Nothing here needs TensorFlow, so a wrong setting is reported at
once. Defaults are those of the best known TensorFlow program for style transfer (Athalye 2015), except for
average pooling, which Gatys et al. (2015) use.
"""

import dataclasses
import difflib
import itertools
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Literal, get_args

from msgspec import Meta

from styling.settings.checks import LARGEST, MOST, SMALLEST, checked
from styling.system.errors import SettingsError, flag_of

BELOW_1 = 1 - 2**-25  # from here on, a number is 1 in 32 bits

# VGG-19 has all layers of VGG-16 as well. A low-rank convolution is a pair, such as conv1_2a and conv1_2b.
PLACES = [f"{block}_{i}" for block, count in enumerate((2, 2, 4, 4, 4), 1) for i in range(1, count + 1)]
POOLS = [f"pool{block}" for block in range(1, 6)]
VGG_LAYERS = [f"{kind}{place}" for kind in ("conv", "relu") for place in PLACES] + POOLS


def _differ(values: Sequence[object]) -> bool:
    return len(set(values)) == len(values)


def _grow_to_1(scales: Sequence[float]) -> bool:
    return all(before < after for before, after in itertools.pairwise(scales)) and scales[-1] == 1


def _are_layers(value: Sequence[str] | dict[str, float]) -> bool:
    for layer in value:
        if layer not in VGG_LAYERS and re.sub("(conv.*)[a-z]", r"\1", layer) not in VGG_LAYERS:
            near = difflib.get_close_matches(layer.lower(), VGG_LAYERS, n=1, cutoff=0.8)
            hint = f"; did you mean {near[0]}?" if near else ", which has relu1_1 to relu5_4 and others"
            raise ValueError(f"{layer!r} is no layer of a VGG{hint}")
    return any(value.values()) if isinstance(value, dict) else _differ(value)


Whole = Annotated[int, Meta(ge=0, le=MOST, description="a whole number of at least 0")]
Count = Annotated[int, Meta(ge=1, le=MOST, description="a whole number of at least 1")]
Positive = Annotated[float, Meta(ge=SMALLEST, le=LARGEST, description="a number above 0")]
# A larger style is a percentage, or a mistake that costs hours.
StyleScale = Annotated[
    float,
    Meta(ge=SMALLEST, le=10, description="a number above 0 and at most 10, where 1 is the picture's width"),
]
Weight = Annotated[float, Meta(ge=0, le=LARGEST, description="a number of at least 0")]
Share = Annotated[float, Meta(ge=0, le=1, description="a number from 0 to 1")]
Decay = Annotated[float, Meta(ge=0, lt=BELOW_1, description="a number of at least 0 and below 1")]
# Fewer evaluations may end within the first line search, without a lower loss.
Evaluations = Annotated[int, Meta(ge=5, lt=2**31, description="a whole number of at least 5")]
Threads = Annotated[int, Meta(ge=1, le=1024, description="a whole number from 1 to 1024")]
Device = Annotated[str, Meta(pattern=r"^(cpu|gpu(:\d{1,3})?)\Z", description="cpu, gpu or gpu:N")]
NetworkName = Annotated[str, Meta(pattern=r"^[^\0]+\Z", description="a file, or vgg19, vgg16 or small")]
Weights = Annotated[
    tuple[Weight, ...], Meta(description="a list of numbers of at least 0, one of them above 0"), any
]
Scales = Annotated[
    tuple[Positive, ...],
    Meta(min_length=1, description="a list of numbers above 0 that grow up to 1, the full size"),
    _grow_to_1,
]
Distances = Annotated[
    tuple[Count, ...],
    Meta(min_length=1, description="a list of different whole numbers of at least 1"),
    _differ,
]
Layers = Annotated[
    Annotated[tuple[str, ...], Meta(min_length=1)] | Annotated[dict[str, Weight], Meta(min_length=1)],
    Meta(description="a list of different names, or a table of numbers of at least 0, one of them above 0"),
    _are_layers,
]

STYLE_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
# What is compared with the styles, and the layers that are usual for it.
STYLE_MEASURES = {
    "gram": STYLE_LAYERS,
    "neighbors": (
        *("relu1_1", "relu1_2", "relu2_1", "relu2_2", "relu3_1"),
        *("relu3_2", "relu3_3", "relu4_1", "relu4_2", "relu4_3"),
    ),
    "patches": ("relu3_1", "relu4_1"),
}
QUARTER_LAYER = "relu3_1"  # whose map has the size of hypercolumns
# The terms that compare layers, in the order of printing, and the layers that each usually compares.
USUAL_LAYERS = {
    "content": ("relu4_2", "relu5_2"),
    "style": STYLE_LAYERS,
    "shift": STYLE_LAYERS,
    "histogram": ("relu1_1", "relu4_1"),
}
LAYER_TERMS = tuple(USUAL_LAYERS)
WEIGHTS = (*(f"{term}_weight" for term in LAYER_TERMS), "tv_weight")
# What has an effect where nothing is minimised.
WITHOUT_UPDATES = (
    *("style_weight", "style_blend_weights", "colors", "mask_feather"),
    *("iterations", "start", "checkpoint_iterations", "seed", "precision"),
)
ADAMS = ("adam", "pyramid-adam")
DESCENTS = (*ADAMS, "gradient-descent", "normalized-gradient-descent")

Reduction = Literal["mean", "sum", "relative"]
Colors = Literal["style", "content", "matched", "matched-histogram", "luminance"]
COLORS: tuple[Colors, ...] = get_args(Colors)


def setting(
    group: str,
    text: str,
    default: object = None,
    *,
    metavar: str | None = None,
    short: str | None = None,
    unset: str = "",
    needs: str | None = None,
    only_with: tuple[str, tuple[str, ...]] | None = None,
) -> Any:
    """A field of Entries or Running.

    group: of the flags, in --help. text: its help text. metavar: stands for the value in --help, if not the
    usual one of its type. short: a short name of the flag. unset: what None stands for. needs: the setting
    that must not be 0 for this one to have an effect. only_with: a setting, and its values with which this
    one has an effect.
    """
    look = {"group": group, "text": text, "metavar": metavar, "short": short, "unset": unset}
    return dataclasses.field(default=default, metadata=look | {"needs": needs, "only_with": only_with})


sizes = partial(setting, "sizes")
minimised = partial(setting, "what is minimised")
content = partial(minimised, needs="content_weight")
neighbors = partial(minimised, only_with=("style_measure", ("neighbors",)))
search = partial(setting, "how it is minimised")
blend = partial(search, only_with=("start", ("blend",)))
video = partial(setting, "video")
running = partial(setting, "running")


@dataclass(frozen=True)
class Entries:
    """The settings that decide what a run computes, and the rules that tie them together.

    Values are converted to the types here. Raises SettingsError if one is out of range, or contradicts
    another.
    """

    width: Count | None = sizes("width in pixels", metavar="W", short="-w", unset="the content's")
    height: Count | None = sizes(
        "height, with --width, without a content", metavar="H", unset="in the first style's shape"
    )
    max_size: Count | None = sizes(
        "shrink the picture to at most N pixels on its longer side; not together with --width"
    )
    scales: Scales = sizes(
        "sizes at which the picture is made one after the other, relative to its own, from coarse to fine, "
        "as 0.25 0.5 1; a longer side becomes at least 192 pixels, or the picture's own where that is less",
        (1.0,),
    )
    scale_shares: Weights | None = sizes("share of the iterations at each scale", unset="equal")
    tile: Whole | None = sizes(
        "evaluate the picture in tiles of about N pixels a side: the same result in less memory; 0 for whole",
        unset="whole if that needs less than half of the memory, else 512",
    )
    style_scales: tuple[StyleScale, ...] | None = sizes(
        "scale of each style, relative to the width", unset="1 each"
    )
    style_structure: tuple[Literal["all", "fine", "coarse"], ...] | None = sizes(
        "what to take of each style: its fine structure, such as brush strokes (layers of blocks 1 and 2), "
        "its coarse structure, such as forms (the other layers), or all; for two styles, as in fine coarse",
        metavar="WHAT",
        unset="all of each",
    )

    content_weight: Weight = minimised("weight of the content", 5.0)
    style_weight: Weight = minimised("weight of the style", 500.0)
    style_measure: Literal["gram", "neighbors", "patches"] = minimised(
        "what is compared with the styles: Gram matrices, which are statistics of a whole painting; each "
        "position's features with the most similar ones of the painting (neighbors); or patches of 3 x 3 "
        "positions with the most similar ones (patches)",
        "gram",
    )
    shift_weight: Weight = minimised("weight of shifted Gram matrices, which hold long-range structure", 0.0)
    histogram_weight: Weight = minimised("weight of histograms, which steady contrast and colours", 0.0)
    tv_weight: Weight = minimised("weight of the total variation; more is smoother", 100.0)
    style_blend_weights: Weights | None = minimised("relative weight of each style", unset="equal")
    content_weight_blend: Share | None = content(
        "share of relu4_2 in the content; relu5_2, which keeps less detail, has the rest", unset="1"
    )
    style_layer_weight_exp: Weight | None = minimised(
        "each style layer weighs this many times as much as the one before; more shows forms", unset="1"
    )
    content_layers: Layers | None = content(
        "content layers; without weights, in equal shares", unset="relu4_2, and relu5_2 by the blend"
    )
    style_layers: Layers | None = minimised(
        "style layers; without weights, by the exponent",
        unset=f"{' '.join(STYLE_LAYERS)}; of neighbors relu1_1 .. relu4_3; of patches relu3_1 relu4_1",
    )
    hypercolumn_iterations: Whole = neighbors(
        "the first N updates compare hypercolumns, all style layers at a position together, with those that "
        "the photograph finds in the painting",
        0,
    )
    match_positions: Count = neighbors(
        "positions of each layer matched at a time, with four times as many of the painting", 2048
    )
    match_iterations: Count = minimised(
        "updates until the picture is matched anew", 10, only_with=("style_measure", ("neighbors", "patches"))
    )
    style_contrast: bool = neighbors(
        "compare blocks 1 and 2 by squared differences, which keep contrast and colour, not by direction",
        False,
    )
    style_turns: bool = neighbors("match also with the painting turned by quarters", False)
    shift_layers: Layers | None = minimised(
        "layers of the shifted Gram matrices", unset="the style layers", needs="shift_weight"
    )
    histogram_layers: Layers | None = minimised(
        "layers of histograms", unset=" ".join(USUAL_LAYERS["histogram"]), needs="histogram_weight"
    )
    shifts: Distances = minimised(
        "positions by which feature maps are shifted, sideways and down", (1, 2, 4, 8), needs="shift_weight"
    )
    content_reduction: Reduction = content(
        "squared differences of the content's features: their mean, their sum, or (relative) their mean "
        "divided by the mean square of the features",
        "mean",
    )
    style_reduction: Reduction = minimised(
        "squared differences of Gram matrices: their mean, their sum, or (relative) their mean divided by "
        "the mean square of the style's; also for shifted Gram matrices and histograms",
        "mean",
    )
    tv_reduction: Reduction = minimised(
        "squared differences of neighbouring pixels: their mean, sum or, relative, mean over 255^2",
        "mean",
        needs="tv_weight",
    )
    gram_divisor: Literal["size", "positions", "none"] = minimised(
        "divide Gram matrices by h*w*C (size), by h*w (positions), or not; with none, a style counts as if "
        "it had as many positions as the picture",
        "size",
        only_with=("style_reduction", ("mean", "sum")),
    )
    pooling: Literal["avg", "max"] = minimised("how the network pools", "avg")
    normalize: bool = minimised("scale filters to mean activations of 1 over the run's images", False)
    colors: Colors = minimised(
        "colours of the picture: the painting's (style); the content's, with the luma of the result "
        "(content); the painting's, first matched to the content's by mean and covariance (matched) or "
        "channel by channel (matched-histogram); or the content's, with only luma painted (luminance)",
        "style",
    )
    mask_content_weights: Weights | None = minimised(
        "factors for the content's weight in the region of each of --style-masks", unset="1 each"
    )
    mask_erosion: bool = minimised(
        "count only positions of a layer whose receptive field lies in the mask or guide; otherwise masks "
        "and guides are only shrunk to the layer's size",
        False,
    )
    mask_feather: Share = minimised(
        "width of the seam between painted and unpainted parts, as a share of the picture's longer side", 0.01
    )

    iterations: Whole = search("updates to make; 0 for the picture of --start one-pass itself", 1000)
    start: Literal["blend", "blurred", "one-pass"] = search(
        "where the picture starts: from a blend of an image and noise, by --initial and "
        "--initial-noiseblend; from the photograph, blurred; or from the picture that a decoder makes in one "
        "pass of the content's nearest neighbours in the style",
        "blend",
    )
    optimizer: Literal[
        "adam", "pyramid-adam", "gradient-descent", "normalized-gradient-descent", "lbfgs", "lbfgs-b"
    ] = search(
        "optimiser; pyramid-adam moves coarse detail as much as fine; lbfgs-b is scipy's, on the host", "adam"
    )
    learning_rate: Positive = search(
        "size of a step, in gray levels", 10.0, only_with=("optimizer", DESCENTS)
    )
    beta1: Decay = search("Adam's decay of the first moment", 0.9, only_with=("optimizer", ADAMS))
    beta2: Decay = search("Adam's decay of the second moment", 0.999, only_with=("optimizer", ADAMS))
    eps: Positive = search(
        "epsilon of Adam and of normalized gradient descent",
        1e-8,
        only_with=("optimizer", (*ADAMS, "normalized-gradient-descent")),
    )
    evaluations: Evaluations | None = search(
        "make each iteration of lbfgs-b a new call of at most N evaluations, 5 or more; Ctrl-C keeps the "
        "last whole iteration",
        unset="an iteration of its own",
        only_with=("optimizer", ("lbfgs-b",)),
    )
    clip: bool = search("keep all pixels within 0..255 at every step", False)
    best_of_all: bool = search("keep the image with the lowest loss of all iterations", False)
    checkpoint_iterations: Count | None = setting(
        "images and files",
        "every N iterations, compare the image with the best one so far, and write the better; the result is "
        "the image with the lowest loss of those compared",
    )
    initial_noiseblend: Share | None = blend("share of noise in the start", unset="1, or 0 with --initial")
    noise: Literal["normal", "uniform"] = blend(
        "noise in the start: normal, of deviation 0.256 about the mean pixel, or uniform in 128..129",
        "normal",
    )
    precision: Literal["float32", "bfloat16", "fastest"] = search(
        "precision of the network's convolutions; bfloat16 rounds more and is faster on processors that have "
        "it (avx512_bf16, amx_bf16); fastest uses bfloat16 on these; not for long runs of lbfgs-b, whose "
        "line search needs exact losses",
        "float32",
    )
    seed: Whole | None = search(
        "seed of the noise: same seed, threads and machine, same picture", unset="a new one each time"
    )

    temporal_weight: Weight = video(
        "weight of the difference between a frame and the warped frames before it; more flickers less; "
        "--tv-reduction applies to this too",
        1000.0,
    )
    frame_iterations: Count | None = video(
        "updates of each frame that starts from the one before; others have all --iterations",
        unset="a fourteenth of --iterations",
    )
    frames_back: Distances = video(
        "earlier frames to compare a frame with, counted back from it; those further back fill in what the "
        "nearer ones do not show",
        (1, 2, 4),
    )

    def __post_init__(self) -> None:
        _convert_fields(self)
        if not any(getattr(self, name) for name in WEIGHTS):
            raise SettingsError("style_weight", "every weight is 0, which leaves nothing to optimise")
        if not self.iterations and self.start != "one-pass":
            problem = "0 is for --start one-pass, whose picture needs none; give 1 or more"
            raise SettingsError("iterations", problem)
        check_count("scale_shares", self.scale_shares, len(self.scales), "scale")
        if self.width and self.max_size:
            raise SettingsError("max_size", "contradicts --width; give one of the two")
        if self.height and not self.width:
            raise SettingsError("height", "goes together with --width, for a picture without --content")
        if self.content_layers is not None and self.content_weight_blend is not None:
            problem = "contradict --content-weight-blend, which is for the two default layers"
            raise SettingsError("content_layers", problem)
        if isinstance(self.style_layers, dict) and self.style_layer_weight_exp is not None:
            raise SettingsError("style_layers", "with weights contradict --style-layer-weight-exp")
        if self.tile and self.histogram_weight:
            problem = "does not go with --histogram-weight, which needs the whole picture at once; give 0"
            raise SettingsError("tile", problem)
        if self.style_measure != "gram" and self.optimizer == "lbfgs-b":
            problem = f"lbfgs-b cannot go on with other matches, as --style-measure {self.style_measure} asks"
            raise SettingsError("optimizer", f"{problem}; use lbfgs")
        if self.evaluations:
            self.check_effect(["evaluations"])

    def check_effect(self, names: Collection[str]) -> None:
        """Raise SettingsError if one of these settings has no effect together with the others."""
        for name in names:
            entry = FIELDS[name].metadata
            is_of_updates = entry.get("group") in ("what is minimised", "how it is minimised")
            if not self.iterations and is_of_updates and name not in WITHOUT_UPDATES:
                problem = "has no effect with --iterations 0, as nothing is minimised; leave it out"
                raise SettingsError(name, problem)
            if entry.get("needs") and not getattr(self, entry["needs"]):
                problem = f"has no effect without {flag_of(entry['needs'])}; give both or neither"
                raise SettingsError(name, problem)
            if entry.get("only_with"):
                other, values = entry["only_with"]
                if (value := getattr(self, other)) not in values:
                    problem = f"has no effect with {flag_of(other)} {value}, only with {' or '.join(values)}"
                    raise SettingsError(name, problem)


@dataclass(frozen=True)
class Running:
    """Settings that decide where a run computes and what it reports, but not what it computes.

    Raises SettingsError if a value is out of range.
    """

    network: NetworkName | None = setting(
        "images and files",
        "MatConvNet .mat file of VGG-19 or VGG-16, or vgg19, vgg16 or small",
        metavar="FILE",
        unset="the first of these that is found",
    )
    network_sha256: str | None = None
    device: Device | None = running("cpu, gpu or gpu:N", metavar="DEVICE", unset="a GPU if there is one")
    threads: Threads | None = running("CPU threads", unset="one a core")
    print_iterations: Count | None = running(
        "print the losses, and write them for --progress-..., every N iterations",
        unset="ten lines a run where there is no progress bar",
    )
    progress_grid: bool = running("lay out ten images of the run in NAME-progress-grid.png", False)

    def __post_init__(self) -> None:
        _convert_fields(self)


FIELDS = {field.name: field for kind in (Entries, Running) for field in dataclasses.fields(kind)}


def _convert_fields(values: Entries | Running) -> None:
    for field in dataclasses.fields(values):
        value = checked(field.name, getattr(values, field.name), field.type)
        object.__setattr__(values, field.name, value)  # the class is frozen


def check_count(name: str, values: Collection[object] | None, count: int, noun: str = "style image") -> None:
    """Raise SettingsError unless there is one value for each of so many."""
    if values is not None and len(values) != count:
        raise SettingsError(name, f"{len(values)} of them given for {count} {noun}{'s' * (count != 1)}")

"""The settings of a run: one frozen value with every default, and all that follows from them.

The settings themselves are in entries.py.
"""

import itertools
import re
from collections.abc import Collection
from dataclasses import fields, replace
from typing import Any

from styling.settings import recipes
from styling.settings.entries import (
    LAYER_TERMS,
    QUARTER_LAYER,
    STYLE_MEASURES,
    USUAL_LAYERS,
    Entries,
    Running,
    check_count,
)
from styling.system.errors import NetworkError, SettingsError, flag_of

RIVALS = {"content_layers": "content_weight_blend", "style_layers": "style_layer_weight_exp"}  # give weights


class Settings(Entries):
    """Everything that decides what a run computes, besides the images and the network.

    Layers are names, or a dict of names and weights. Raises SettingsError if a value is out of range, or if
    two contradict each other.
    """

    @classmethod
    def from_recipe(cls, name: str, network: Any | None = None, **settings: Any) -> "Settings":
        """The settings of a recipe, by its name or its file, with `settings` in place of its values.

        network: the network to paint with, if it is known; the recipe's weights for it are then used, and
        layers that it lacks are left out. Raises SettingsError, RecipeError and NetworkError.
        """
        recipe = recipes.read(name).under(settings)
        combined, _ = build(recipe.values)
        if network is None:
            return combined
        layers = {layer.name for layer in network.layers}
        return combined.for_network(recipe.vgg16, layers, settings)[0]

    def for_network(
        self, vgg16: dict[str, Any], layers: Collection[str], explicit: Collection[str]
    ) -> tuple["Settings", list[str]]:
        """The settings adapted to a network with these layers, and the names of layers that it lacks.

        vgg16: weights for a VGG-16, which is recognised by the three convolutions of its third block; a
        VGG-19 has four. Layers that the network lacks are left out, and the others keep their weights.
        explicit: names of settings that stay as they are, since the user named them. Raises NetworkError if
        a term would lose all its layers.
        """
        is_vgg16 = "relu3_3" in layers and "relu3_4" not in layers
        settings = replace(self, **vgg16) if is_vgg16 else self
        changes: dict[str, Any] = {}
        lacking: dict[str, None] = {}  # in order, each once
        for term in LAYER_TERMS:
            weights, layers_name = settings.layer_weights(term), f"{term}_layers"
            missing = [name for name in weights if name not in layers]
            if not missing or layers_name in explicit:
                continue
            if len(missing) == len(weights):
                raise NetworkError(f"has none of the recipe's {term} layers, {', '.join(missing)}")
            changes[layers_name] = {name: weights[name] for name in weights if name not in missing}
            lacking |= dict.fromkeys(missing)
            if rival := RIVALS.get(layers_name):
                changes[rival] = None
        return replace(settings, **changes), list(lacking)

    @property
    def losses(self) -> tuple[str, ...]:
        """The names of the loss terms in the order of printing, then the total."""
        extra = [term for term in LAYER_TERMS[2:] if getattr(self, f"{term}_weight")]
        return ("content", "style", *extra, "tv", "total")

    def check_images(
        self,
        content: int,
        styles: int,
        initial: int,
        style_masks: int = 0,
        style_guides: int = 0,
        content_mask: int = 0,
    ) -> None:
        """Raise SettingsError unless a run is possible with so many images of each kind."""
        weights = [f"{term}_weight" for term in LAYER_TERMS if term != "content"]
        if any(getattr(self, name) for name in weights) and not styles:
            raise SettingsError("styles", f"is needed, unless {', '.join(map(flag_of, weights))} are all 0")
        if self.start == "one-pass" and not (content and styles):
            missing = "styles" if content else "content"
            raise SettingsError(missing, "is needed with --start one-pass, which searches one for the other")
        from_content = self.start == "blurred" or (self.noiseblend(bool(initial)) < 1 and not initial)
        if not content and (self.content_weight or from_content):
            raise SettingsError("content", "is needed, unless --content-weight is 0 and the start is noise")
        if not content and self.colors != "style":
            raise SettingsError("colors", "goes together with --content, whose colours they are")
        if not (content or styles or self.height):
            raise SettingsError("height", "is needed, with --width, where there is neither content nor style")
        if content and self.height:
            raise SettingsError("height", "contradicts --content, whose shape the picture has")
        if self.hypercolumn_iterations and not content:
            raise SettingsError("content", "is needed with --hypercolumn-iterations, which it searches for")
        self.scales_of_styles(styles)
        self.layers_of_styles(styles, ())
        self.style_shares(styles)
        check_count("mask_content_weights", self.mask_content_weights, styles)
        for name, count in (("style_masks", style_masks), ("style_guides", style_guides)):
            if count not in (0, 1, styles) or (count and not styles):
                problem = f"{count} of them given for {styles} style image{'s' * (styles != 1)}"
                raise SettingsError(name, f"{problem}; give one each, all for a whole one, or one for all")
        if (style_masks or content_mask) and not content:
            name = "style_masks" if style_masks else "content_mask"
            raise SettingsError(name, "goes together with --content, which stays where nothing is painted")
        if self.mask_content_weights and not style_masks:
            raise SettingsError("mask_content_weights", "has no effect without --style-masks")
        is_masked = style_masks or style_guides or content_mask
        if self.mask_erosion and not is_masked:
            raise SettingsError("mask_erosion", "has no effect without --style-masks or --style-guides")
        if self.histogram_weight and is_masked:
            problem = "does not go with masks and guides, which its histograms do not follow; give 0"
            raise SettingsError("histogram_weight", problem)

    def iterations_by_scale(self) -> tuple[int, ...]:
        """The iterations of each scale; their sum is `iterations`."""
        sums = list(itertools.accumulate(self.scale_shares or (1.0,) * len(self.scales)))
        ends = [0, *(round(self.iterations * part / sums[-1]) for part in sums)]
        return tuple(end - start for start, end in itertools.pairwise(ends))

    def layer_weights(self, term: str) -> dict[str, float]:
        """Layers of the term, one of LAYER_TERMS, and their weights, if above 0; empty if the term itself has
        no weight."""
        if not getattr(self, f"{term}_weight"):
            return {}
        layers = getattr(self, f"{term}_layers")
        if term == "shift" and layers is None:
            term, layers = "style", self.style_layers
        if layers is None and term == "content":
            blend = 1.0 if self.content_weight_blend is None else self.content_weight_blend
            layers = dict(zip(USUAL_LAYERS["content"], (blend, 1 - blend), strict=True))
        layers = layers or (STYLE_MEASURES[self.style_measure] if term == "style" else USUAL_LAYERS[term])
        if not isinstance(layers, dict):
            ratio = self.style_layer_weight_exp if term == "style" else None
            layers = dict(zip(layers, _geometric(1.0 if ratio is None else ratio, len(layers)), strict=True))
        return {name: weight for name, weight in layers.items() if weight > 0}

    def layers(self) -> set[str]:
        """Every layer that the losses use."""
        layers = {name for term in LAYER_TERMS for name in self.layer_weights(term)}
        return layers | ({QUARTER_LAYER} if self.hypercolumn_iterations else set())

    def style_shares(self, count: int) -> tuple[float, ...]:
        """Blend weights b_i of so many styles, sum 1. Raises SettingsError if another number was given."""
        check_count("style_blend_weights", self.style_blend_weights, count)
        weights = self.style_blend_weights or (1.0,) * count
        return tuple(weight / sum(weights) for weight in weights)

    def scales_of_styles(self, count: int) -> tuple[float, ...]:
        """Scales of so many styles. Raises SettingsError if another number was given."""
        check_count("style_scales", self.style_scales, count)
        return self.style_scales or (1.0,) * count

    def layers_of_styles(self, count: int, layers: Collection[str]) -> list[set[str]]:
        """For each of so many styles, the layers among these that it uses.

        Raises SettingsError if another number was given.
        """
        check_count("style_structure", self.style_structure, count)
        fine = {layer for layer in layers if re.match(r"[a-z]+[12](_|$)", layer)}  # of blocks 1 and 2
        parts = {"all": set(layers), "fine": fine, "coarse": set(layers) - fine}
        return [parts[structure] for structure in self.style_structure or ("all",) * count]

    def is_checkpoint(self, iteration: int) -> bool:
        """Whether an image after this many updates is compared (and written); the start never is."""
        every = self.checkpoint_iterations
        return every is not None and iteration > 0 and iteration % every == 0

    def noiseblend(self, has_initial: bool) -> float:
        """Share of noise in the start: the setting, else 0 with an initial image and 1 without one."""
        if self.initial_noiseblend is not None:
            return self.initial_noiseblend
        return 0.0 if has_initial else 1.0


def build(values: dict[str, Any]) -> tuple[Settings, Running]:
    """Settings and Running from values by name. Raises SettingsError."""
    settings, running = (
        {field.name: values[field.name] for field in fields(kind) if field.name in values}
        for kind in (Settings, Running)
    )
    return Settings(**settings), Running(**running)


def _geometric(ratio: float, count: int) -> list[float]:
    # The largest power is 1, so that no ratio overflows.
    powers = [ratio ** (k - count + 1) if ratio > 1 else ratio**k for k in range(count)]
    return [power / sum(powers) for power in powers]

"""Each published procedure's objective as its source writes it; the tests compare the recipes with it.

Every function takes (Fx, Fc, Fs, x, weights). Fx, Fc and Fs are {layer: feature map [h, w, C], float64} of
the image, the content and one style image of the content's size; x is the preprocessed image [H, W, 3].
weights has the numbers that the source multiplies its terms by. They return the weighted terms as floats:
content, style, tv (0 if the source has none), shift and histogram if the source has them, and their sum.
"""

import numpy as np
import reference

# content / style; the sources have no scale.
GATYS2015_RATIOS = {
    "shipwreck": 1e-3,
    "starry-night": 1e-3,
    "the-scream": 1e-3,
    "seated-nude": 1e-4,
    "kandinsky": 1e-4,
}
GATYS2016_RATIOS = {
    "shipwreck": 1e-3,
    "starry-night": 8e-4,
    "the-scream": 5e-3,
    "seated-nude": 5e-4,
    "kandinsky": 5e-4,
}
FIVE = "relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1"
THIRTEEN = [f"relu{i}_{j}" for i, n in enumerate((2, 2, 3, 3, 3), 1) for j in range(1, n + 1)]


def correlations(F):
    """[C, C]: the sum over positions of F^T F, F [h, w, C]."""
    return np.einsum("hwi,hwj->ij", F, F)


def variation(x, reduce):
    """Of the squared differences of neighbours in x [H, W, 3], down and across."""
    return reduce((x[1:] - x[:-1]) ** 2) + reduce((x[:, 1:] - x[:, :-1]) ** 2)


def summed(**terms):
    """The terms and their sum."""
    return terms | {"total": sum(terms.values())}


def athalye2015(Fx, Fc, Fs, x, weights):
    """Means of squares throughout; Gram matrices over h*w*C; five style layers of equal weight."""
    content = reference.content_loss(Fx["relu4_2"], Fc["relu4_2"])
    style = sum(reference.style_loss(Fx[layer], Fs[layer]) for layer in FIVE) / 5
    return summed(
        content=weights["content"] * content,
        style=weights["style"] * style,
        tv=weights["tv"] * variation(x, np.mean),
    )


def relative(Fx, Fc, Fs, x, weights):
    """This program's own objective: every difference relative to its target, and weights by layer.

    Content sum (F - P)^2 / sum P^2, style sum (G - A)^2 / sum A^2, smoothness relative to the square of 255.
    """
    content, style = (
        sum(weight * loss(Fx[layer], F[layer], relative=True) for layer, weight in weights[term].items())
        for term, loss, F in (("content", reference.content_loss, Fc), ("style", reference.style_loss, Fs))
    )
    return summed(content=content, style=style, tv=weights["tv"] * variation(x, np.mean) / 255**2)


def gatys2015(Fx, Fc, Fs, x, weights):
    """arXiv 1508.06576: alpha * 1/2 sum (F - P)^2 + beta * sum_l 1/5 E_l, E_l = sum (G - A)^2 / (4 N^2 M^2).

    N is the number of filters, M of positions; alpha and beta are the content and style weights. CVPR 2016
    has the same formulas for the features of the normalised network.
    """
    content = np.sum((Fx["relu4_2"] - Fc["relu4_2"]) ** 2) / 2
    style = 0.0
    for layer in FIVE:
        h, w, N = Fx[layer].shape
        M = h * w
        style += np.sum((correlations(Fx[layer]) - correlations(Fs[layer])) ** 2) / (4 * N**2 * M**2) / 5
    return summed(content=weights["content"] * content, style=weights["style"] * style, tv=0.0)


def yuan2018(Fx, Fc, Fs, x, weights):
    """Content at relu5_2; Gram matrices over h*w, without the channels; means of squares; no variation."""
    content = np.mean((Fx["relu5_2"] - Fc["relu5_2"]) ** 2)
    style = 0.0
    for layer in FIVE:
        h, w, _ = Fx[layer].shape
        G, A = correlations(Fx[layer]) / (h * w), correlations(Fs[layer]) / (h * w)
        style += np.mean((G - A) ** 2) / 5
    return summed(content=weights["content"] * content, style=weights["style"] * style, tv=0.0)


def prisma2017(Fx, Fc, Fs, x, weights):
    """VGG-16: content at relu3_1; style: the mean over all 13 relu layers; unnormalised Gram matrices."""
    content = np.mean((Fx["relu3_1"] - Fc["relu3_1"]) ** 2)
    style = sum(np.mean((correlations(Fx[layer]) - correlations(Fs[layer])) ** 2) for layer in THIRTEEN) / 13
    return summed(content=weights["content"] * content, style=weights["style"] * style, tv=0.0)


def cs231n(Fx, Fc, Fs, x, weights):
    """Sums of squares throughout; Gram matrices over h*w*C; a weight for each layer, found by eye.

    Feature inversion has no weight for the style, texture synthesis none for the content.
    """
    content = style = 0.0
    for layer, weight in weights["content"].items():
        content += weight * np.sum((Fx[layer] - Fc[layer]) ** 2)
    for layer, weight in weights["style"].items():
        G, A = (correlations(F[layer]) / F[layer].size for F in (Fx, Fs))
        style += weight * np.sum((G - A) ** 2)
    return summed(content=content, style=style, tv=weights["tv"] * variation(x, np.sum))


def tseng2017_plain(Fx, Fc, Fs, x, weights):
    """VGG-16: the terms of athalye2015 without smoothness."""
    return athalye2015(Fx, Fc, Fs, x, weights | {"tv": 0.0})


def tseng2017(Fx, Fc, Fs, x, weights):
    """Gram matrices shifted by 1..8 both ways, and histograms, beside the terms of tseng2017_plain.

    The shifted matrices use the style layers and their shares; a shift that does not fit a map is left out
    of the mean over shifts. The histogram term is at relu1_1 and relu4_1, half each.
    """
    shift = sum(reference.shift_loss(Fx[layer], Fs[layer], range(1, 9)) for layer in FIVE) / 5
    histogram = sum(reference.histogram_loss(Fx[layer], Fs[layer]) for layer in ("relu1_1", "relu4_1")) / 2
    terms = tseng2017_plain(Fx, Fc, Fs, x, weights)
    del terms["total"]
    return summed(**terms, shift=weights["shift"] * shift, histogram=weights["histogram"] * histogram)


def neighbors(Fx, Fc, Fs, x, weights):
    """Kolkin et al. 2022's loss by layers, with squares in blocks 1 and 2."""
    (layer,) = weights["content"]
    difference = np.sum((Fx[layer] - Fc[layer]) ** 2) / np.sum(Fc[layer] ** 2)
    style = 0.0
    for name, weight in weights["style"].items():
        loss = reference.contrast_loss if name[4] in "12" else reference.neighbors_loss
        style += weight * loss(Fx[name], Fs[name])
    return summed(content=weights["content"][layer] * difference, style=style, tv=0.0)


def kolkin2022(Fx, Fc, Fs, x, weights):
    """At the coarsest size, where the photograph alone searches: hypercolumns of ten layers."""
    height, width, _ = Fx["relu3_1"].shape
    columns = []
    for F in (Fx, Fc):
        columns.append(reference.hypercolumns([F[name] for name in weights["style"]], height, width))
    height, width, _ = Fs["relu3_1"].shape
    columns.append(reference.hypercolumns([Fs[name] for name in weights["style"]], height, width))
    style = sum(weights["style"].values()) * reference.hypercolumn_loss(*columns)
    return summed(content=0.0, style=style, tv=0.0)


def li2016(Fx, Fc, Fs, x, weights):
    """Sums over patches at two layers; content as a mean, as in the authors' program."""
    content = np.mean((Fx["relu4_2"] - Fc["relu4_2"]) ** 2)
    style = 0.0
    for name in ("relu3_1", "relu4_1"):
        style += np.sum((Fx[name] - reference.patch_target(Fx[name], Fs[name])) ** 2)
    return summed(content=20 * content, style=1e-4 * style, tv=1e-3 * variation(x, np.sum))

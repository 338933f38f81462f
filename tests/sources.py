"""Each published procedure's objective as its source writes it; the tests compare the recipes with it.

Every function takes (Fx, Fc, Fs, x, weights). Fx, Fc and Fs are {layer: feature map [h, w, C], float64} of
the image, the content and one style image of the content's size; x is the preprocessed image [H, W, 3].
weights has numbers under "content", "style", "tv", "shift" and "histogram"; the default of each is the
source's number, and if the source states none, it is required. The functions return the weighted terms as
floats: content, style, tv (0 if the source has none), shift and histogram if the source has them, and total,
their sum. A layer that is not in Fx is skipped; the other layers keep their weights.

The functions share no code on purpose, so that each can be compared with its source's formulas.
"""

import numpy as np

ATHALYE2015 = {"content": 5, "style": 500, "tv": 100}
GATYS2015 = {"content": 1e-3, "style": 1}  # the ratio for three of the five styles; the source has no scale
GATYS2015_RATIOS = {
    "shipwreck": 1e-3,
    "starry-night": 1e-3,
    "the-scream": 1e-3,
    "seated-nude": 1e-4,
    "kandinsky": 1e-4,
}
GATYS2016 = {"content": 1e-3, "style": 1}  # the ratio for shipwreck; the source has no scale
GATYS2016_RATIOS = {
    "shipwreck": 1e-3,
    "starry-night": 8e-4,
    "the-scream": 5e-3,
    "seated-nude": 5e-4,
    "kandinsky": 5e-4,
}
YUAN2018 = {"content": 1e3, "style": 1e-2, "tv": 0}
PRISMA2017 = {"content": 1.5, "style": 10}
TSENG2017 = {"histogram": 1 / 100}  # the source divides the term by 100; the other weights are found by eye


def athalye2015(Fx, Fc, Fs, x, weights):
    """Means of squares throughout; Gram matrices over h*w*C; five style layers of equal weight."""
    weights = ATHALYE2015 | weights
    content = 0.0
    for layer in ["relu4_2"]:
        if layer in Fx:
            content += weights["content"] * np.mean((Fx[layer] - Fc[layer]) ** 2)
    style = 0.0
    for layer in ["relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1"]:
        if layer in Fx:
            h, w, C = Fx[layer].shape
            G = np.einsum("hwi,hwj->ij", Fx[layer], Fx[layer]) / (h * w * C)
            A = np.einsum("hwi,hwj->ij", Fs[layer], Fs[layer]) / (h * w * C)
            style += weights["style"] * 1 / 5 * np.mean((G - A) ** 2)
    vertical = x[1:, :, :] - x[:-1, :, :]
    horizontal = x[:, 1:, :] - x[:, :-1, :]
    tv = weights["tv"] * (np.mean(vertical**2) + np.mean(horizontal**2))
    return {"content": content, "style": style, "tv": tv, "total": content + style + tv}


def relative(Fx, Fc, Fs, x, weights):
    """This program's own objective: every difference relative to its target, and weights by layer.

    Content sum (F - P)^2 / sum P^2, style sum (G - A)^2 / sum A^2, smoothness relative to the square of 255.
    """
    content = 0.0
    for layer, weight in weights["content"].items():
        if layer in Fx:
            content += weight * np.sum((Fx[layer] - Fc[layer]) ** 2) / np.sum(Fc[layer] ** 2)
    style = 0.0
    for layer, weight in weights["style"].items():
        if layer in Fx:
            (h, w, _), (height, width, _) = Fx[layer].shape, Fs[layer].shape
            G = np.einsum("hwi,hwj->ij", Fx[layer], Fx[layer]) / (h * w)
            A = np.einsum("hwi,hwj->ij", Fs[layer], Fs[layer]) / (height * width)
            style += weight * np.sum((G - A) ** 2) / np.sum(A**2)
    vertical = x[1:, :, :] - x[:-1, :, :]
    horizontal = x[:, 1:, :] - x[:, :-1, :]
    tv = weights["tv"] * (np.mean(vertical**2) + np.mean(horizontal**2)) / 255**2
    return {"content": content, "style": style, "tv": tv, "total": content + style + tv}


def gatys2015(Fx, Fc, Fs, x, weights):
    """arXiv 1508.06576: alpha * 1/2 sum (F - P)^2 + beta * sum_l 1/5 E_l, E_l = sum (G - A)^2 / (4 N^2 M^2).

    N is the number of filters, M of positions; alpha and beta are the content and style weights. The source
    gives only alpha / beta, and has no total variation.
    """
    weights = GATYS2015 | weights
    content = 0.0
    for layer in ["relu4_2"]:
        if layer in Fx:
            content += weights["content"] * 1 / 2 * np.sum((Fx[layer] - Fc[layer]) ** 2)
    style = 0.0
    for layer in ["relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1"]:
        if layer in Fx:
            h, w, N = Fx[layer].shape
            M = h * w
            G = np.einsum("hwi,hwj->ij", Fx[layer], Fx[layer])
            A = np.einsum("hwi,hwj->ij", Fs[layer], Fs[layer])
            E = 1 / (4 * N**2 * M**2) * np.sum((G - A) ** 2)
            style += weights["style"] * 1 / 5 * E
    return {"content": content, "style": style, "tv": 0.0, "total": content + style}


def gatys2016(Fx, Fc, Fs, x, weights):
    """CVPR 2016: the formulas of 2015; the features must be those of the normalised network."""
    return gatys2015(Fx, Fc, Fs, x, GATYS2016 | weights)


def yuan2018(Fx, Fc, Fs, x, weights):
    """Content at relu5_2; Gram matrices over h*w, without the channels; means of squares.

    The source's total variation has weight 0; for other weights, the formula is that of athalye2015.
    """
    weights = YUAN2018 | weights
    content = 0.0
    for layer in ["relu5_2"]:
        if layer in Fx:
            content += weights["content"] * np.mean((Fx[layer] - Fc[layer]) ** 2)
    style = 0.0
    for layer in ["relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1"]:
        if layer in Fx:
            h, w, _ = Fx[layer].shape
            G = np.einsum("hwi,hwj->ij", Fx[layer], Fx[layer]) / (h * w)
            A = np.einsum("hwi,hwj->ij", Fs[layer], Fs[layer]) / (h * w)
            style += weights["style"] * 1 / 5 * np.mean((G - A) ** 2)
    vertical = x[1:, :, :] - x[:-1, :, :]
    horizontal = x[:, 1:, :] - x[:, :-1, :]
    tv = weights["tv"] * (np.mean(vertical**2) + np.mean(horizontal**2))
    return {"content": content, "style": style, "tv": tv, "total": content + style + tv}


def prisma2017(Fx, Fc, Fs, x, weights):
    """VGG-16: content at relu3_1; style: the mean over all 13 relu layers; unnormalised Gram matrices."""
    weights = PRISMA2017 | weights
    content = 0.0
    for layer in ["relu3_1"]:
        if layer in Fx:
            content += weights["content"] * np.mean((Fx[layer] - Fc[layer]) ** 2)
    style = 0.0
    for layer in [
        "relu1_1", "relu1_2",
        "relu2_1", "relu2_2",
        "relu3_1", "relu3_2", "relu3_3",
        "relu4_1", "relu4_2", "relu4_3",
        "relu5_1", "relu5_2", "relu5_3",
    ]:  # fmt: skip
        if layer in Fx:
            G = np.einsum("hwi,hwj->ij", Fx[layer], Fx[layer])
            A = np.einsum("hwi,hwj->ij", Fs[layer], Fs[layer])
            style += weights["style"] * 1 / 13 * np.mean((G - A) ** 2)
    return {"content": content, "style": style, "tv": 0.0, "total": content + style}


def cs231n_transfer(Fx, Fc, Fs, x, weights):
    """Sums of squares throughout; Gram matrices over h*w*C; a weight for each style layer.

    All weights are required, since they are found by eye. The style weight is {layer: weight}, or one number
    for every layer. The content weight is one number, for relu3_2, or {layer: weight}, to use relu4_2
    instead.
    """
    content_weights, style_weights = weights["content"], weights["style"]
    if not isinstance(content_weights, dict):
        content_weights = {"relu3_2": content_weights}
    if not isinstance(style_weights, dict):
        style_weights = dict.fromkeys(["relu1_1", "relu2_1", "relu3_1", "relu4_1"], style_weights)
    content = 0.0
    for layer, weight in content_weights.items():
        if layer in Fx:
            content += weight * np.sum((Fx[layer] - Fc[layer]) ** 2)
    style = 0.0
    for layer, weight in style_weights.items():
        if layer in Fx:
            h, w, C = Fx[layer].shape
            G = np.einsum("hwi,hwj->ij", Fx[layer], Fx[layer]) / (h * w * C)
            A = np.einsum("hwi,hwj->ij", Fs[layer], Fs[layer]) / (h * w * C)
            style += weight * np.sum((G - A) ** 2)
    vertical = x[1:, :, :] - x[:-1, :, :]
    horizontal = x[:, 1:, :] - x[:, :-1, :]
    tv = weights["tv"] * (np.sum(vertical**2) + np.sum(horizontal**2))
    return {"content": content, "style": style, "tv": tv, "total": content + style + tv}


def cs231n_inversion(Fx, Fc, Fs, x, weights):
    """Feature inversion: the content and total variation of cs231n_transfer, the style weight 0."""
    content_weights = weights["content"]
    if not isinstance(content_weights, dict):
        content_weights = {"relu3_2": content_weights}
    content = 0.0
    for layer, weight in content_weights.items():
        if layer in Fx:
            content += weight * np.sum((Fx[layer] - Fc[layer]) ** 2)
    vertical = x[1:, :, :] - x[:-1, :, :]
    horizontal = x[:, 1:, :] - x[:, :-1, :]
    tv = weights["tv"] * (np.sum(vertical**2) + np.sum(horizontal**2))
    return {"content": content, "style": 0.0, "tv": tv, "total": content + tv}


def cs231n_synthesis(Fx, Fc, Fs, x, weights):
    """Texture synthesis: the style and total variation of cs231n_transfer, the content weight 0."""
    style_weights = weights["style"]
    if not isinstance(style_weights, dict):
        style_weights = dict.fromkeys(["relu1_1", "relu2_1", "relu3_1", "relu4_1"], style_weights)
    style = 0.0
    for layer, weight in style_weights.items():
        if layer in Fx:
            h, w, C = Fx[layer].shape
            G = np.einsum("hwi,hwj->ij", Fx[layer], Fx[layer]) / (h * w * C)
            A = np.einsum("hwi,hwj->ij", Fs[layer], Fs[layer]) / (h * w * C)
            style += weight * np.sum((G - A) ** 2)
    vertical = x[1:, :, :] - x[:-1, :, :]
    horizontal = x[:, 1:, :] - x[:, :-1, :]
    tv = weights["tv"] * (np.sum(vertical**2) + np.sum(horizontal**2))
    return {"content": 0.0, "style": style, "tv": tv, "total": style + tv}


def tseng2017(Fx, Fc, Fs, x, weights):
    """VGG-16: means of squares, Gram matrices over h*w*C, their shifts by 1..8 both ways, and histograms.

    The shifted matrices use the style layers and their shares; a shift that does not fit a map is left out
    of the mean over shifts. The histogram term is at relu1_1 and relu4_1, half each.
    """
    weights = TSENG2017 | weights
    content = 0.0
    for layer in ["relu4_2"]:
        if layer in Fx:
            content += weights["content"] * np.mean((Fx[layer] - Fc[layer]) ** 2)
    style = shift = 0.0
    for layer in ["relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1"]:
        if layer in Fx:
            F, S = Fx[layer], Fs[layer]
            h, w, C = F.shape
            G = np.einsum("hwi,hwj->ij", F, F) / (h * w * C)
            A = np.einsum("hwi,hwj->ij", S, S) / (h * w * C)
            style += weights["style"] * 1 / 5 * np.mean((G - A) ** 2)
            errors = []
            for d in [1, 2, 3, 4, 5, 6, 7, 8]:
                if d < w:
                    G = np.einsum("hwi,hwj->ij", F[:, d:], F[:, :-d]) / (h * (w - d) * C)
                    A = np.einsum("hwi,hwj->ij", S[:, d:], S[:, :-d]) / (h * (w - d) * C)
                    errors.append(np.mean((G - A) ** 2))
                if d < h:
                    G = np.einsum("hwi,hwj->ij", F[d:], F[:-d]) / ((h - d) * w * C)
                    A = np.einsum("hwi,hwj->ij", S[d:], S[:-d]) / ((h - d) * w * C)
                    errors.append(np.mean((G - A) ** 2))
            if errors:
                shift += weights["shift"] * 1 / 5 * np.mean(errors)
    histogram = 0.0
    for layer in ["relu1_1", "relu4_1"]:
        if layer in Fx:
            F, S = Fx[layer], Fs[layer]
            h, w, C = F.shape
            squares = 0.0
            for c in range(C):
                wanted = np.sort(S[:, :, c].ravel())
                ranked = np.sort(F[:, :, c].ravel())
                squares += np.sum((ranked - wanted) ** 2)  # match k-th smallest values
            histogram += weights["histogram"] * 1 / 2 * squares / (h * w * C)
    total = content + style + shift + histogram
    terms = {"content": content, "style": style, "tv": 0.0, "shift": shift, "histogram": histogram}
    return terms | {"total": total}


def tseng2017_plain(Fx, Fc, Fs, x, weights):
    """tseng2017 without the extra terms: content and plain Gram matrices."""
    content = 0.0
    for layer in ["relu4_2"]:
        if layer in Fx:
            content += weights["content"] * np.mean((Fx[layer] - Fc[layer]) ** 2)
    style = 0.0
    for layer in ["relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1"]:
        if layer in Fx:
            h, w, C = Fx[layer].shape
            G = np.einsum("hwi,hwj->ij", Fx[layer], Fx[layer]) / (h * w * C)
            A = np.einsum("hwi,hwj->ij", Fs[layer], Fs[layer]) / (h * w * C)
            style += weights["style"] * 1 / 5 * np.mean((G - A) ** 2)
    return {"content": content, "style": style, "tv": 0.0, "total": content + style}

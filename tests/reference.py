"""A slow, plain NumPy float64 model of neural style transfer, for the tests to compare the program with.

Sources: Gatys, Ecker, Bethge 2015 (arXiv 1508.06576) and CVPR 2016 for the content and style terms;
Mahendran & Vedaldi 2015 for total variation; Berger & Memisevic (arXiv 1606.01286) for the shifted Gram
matrices; Risser, Wilmot, Barnes (arXiv 1701.08893) for the histogram term; Kingma & Ba 2014 for Adam. The
normalisations (means instead of sums, Gram matrices over h*w*C) and Adam's form are those of Athalye 2015.

An image is float64 [H, W, 3], RGB 0..255; a preprocessed image is that minus the mean pixel [3]. A network
is a list of layers in order, each (name, kind, kernel, bias): kind is "conv", "relu" or "pool", kernel
[kh, kw, in, out] with odd kh and kw, bias [out], both None for relu and pool. pooling is "max" or "avg".
A layer's gradient function takes dy = d total / d output to d total / d input, for the layer's input x.
"""

import numpy as np
import scipy.ndimage
from numpy.lib.stride_tricks import sliding_window_view
from scipy.spatial.distance import cdist

LUMA = np.array([0.299, 0.587, 0.114])  # Rec. 601


# The layers
def conv(x, kernel, bias=0):
    """[h, w, in] -> [h, w, out]: out(i, j) = bias + sum over a, b of padded(i + a, j + b) kernel(a, b)."""
    kh, kw = kernel.shape[:2]
    padded = np.pad(x, ((kh // 2, kh // 2), (kw // 2, kw // 2), (0, 0)))
    seen = sliding_window_view(padded, (kh, kw), axis=(0, 1))  # [h, w, in, kh, kw]
    return np.tensordot(seen, kernel, ([3, 4, 2], [0, 1, 2])) + bias


def conv_gradient(kernel, dy):
    """[h, w, out] -> [h, w, in]: each output hands its gradient to the positions that it was summed from."""
    return conv(dy, kernel[::-1, ::-1].swapaxes(2, 3))


def windows(x, fill):
    """[h, w, C] -> [ceil(h/2), ceil(w/2), 4, C]: 2x2 windows, row-major; fill pads odd sides at the end."""
    h, w, _ = x.shape
    x = np.pad(x, ((0, h % 2), (0, w % 2), (0, 0)), constant_values=fill)
    return np.stack([x[a::2, b::2] for a in (0, 1) for b in (0, 1)], axis=2)


def from_windows(v, h, w):
    """[ceil(h/2), ceil(w/2), 4, C] -> [h, w, C]: undoes windows() and drops the padding."""
    rows, columns, _, channels = v.shape
    x = np.empty((2 * rows, 2 * columns, channels))
    for k in range(4):
        x[k // 2 :: 2, k % 2 :: 2] = v[:, :, k]
    return x[:h, :w]


def pool(x, pooling):
    """[h, w, C] -> [ceil(h/2), ceil(w/2), C]: maximum or mean of the real (not padding) window positions."""
    return {"max": np.nanmax, "avg": np.nanmean}[pooling](windows(x, np.nan), axis=2)


def pool_gradient(x, dy, pooling):
    """[ceil(h/2), ceil(w/2), C] -> [h, w, C]: to the first maximum in row-major order, or in equal shares."""
    seen = windows(x, np.nan)
    if pooling == "max":
        share = np.arange(4)[:, None] == np.nanargmax(seen, axis=2)[:, :, None, :]
    else:
        share = ~np.isnan(seen) / np.sum(~np.isnan(seen), axis=2, keepdims=True)
    return from_windows(share * dy[:, :, None, :], *x.shape[:2])


def features(layers, x, pooling):
    """{name: [h, w, C]} of every layer, for a preprocessed image x [H, W, 3]."""
    found = {}
    y = np.asarray(x, np.float64)
    for name, kind, kernel, bias in layers:
        if kind == "conv":
            y = conv(y, kernel, bias)
        elif kind == "relu":
            y = np.maximum(y, 0)
        else:
            y = pool(y, pooling)
        found[name] = y
    return found


def normalized(layers, images, pooling):
    """The same layers with each filter's mean activation scaled to 1 (Gatys, Ecker, Bethge, CVPR 2016).

    The mean is over all positions of all images, preprocessed [H, W, 3] of any sizes, pooled together, after
    the ReLU. Each convolution takes the factors back out of its input channels, so that every layer's
    features are the original's, each channel divided by its filter's original mean activation. A filter
    with less than 0.25 of its layer's mean is scaled as if it had that; a layer that is never active, and
    one with no ReLU directly after it, stays.
    """
    seen = [features(layers, image, pooling) for image in images]
    scaled, before = [], np.ones(3)
    for (name, kind, kernel, bias), after in zip(layers, [*layers[1:], None], strict=True):
        if kind == "conv" and (after is None or after[1] != "relu"):
            kernel, before = kernel * before[:, None], np.ones(len(bias))
        elif kind == "conv":
            active = [np.maximum(F[name], 0).reshape(-1, len(bias)) for F in seen]
            mean = np.concatenate(active).mean(axis=0)  # [out]
            mean = np.maximum(mean, 0.25 * mean.mean()) if mean.any() else np.ones(len(bias))
            kernel, bias, before = kernel * before[:, None] / mean, bias / mean, mean
        scaled.append((name, kind, kernel, bias))
    return scaled


# The objective
def gram(F):
    """Gram matrix [C, C] = F^T F / (h*w*C) of a feature map F [h, w, C], flattened to [h*w, C]."""
    flat = F.reshape(-1, F.shape[-1])
    return flat.T @ flat / flat.size


def moved(F, axis, d):
    """F [h, w, C] without its first and without its last d columns ("sideways") or rows ("down")."""
    return (F[:, d:], F[:, :-d]) if axis == "sideways" else (F[d:], F[:-d])


def shifted_grams(F, shifts):
    """{(axis, d): [C, C]}: F [h, w, C] correlated with itself moved by each d >= 1 of shifts, on both axes.

    sideways: G_d = F[:, d:]^T F[:, :-d] / (h*(w-d)*C), both flattened to [h*(w-d), C]; down: the same for
    rows, over (h-d)*w*C. A shift that does not fit into its side is left out.
    """
    found = {}
    for axis, side in (("sideways", F.shape[1]), ("down", F.shape[0])):
        for d in shifts:
            if d < side:
                ahead, behind = (part.reshape(-1, F.shape[-1]) for part in moved(F, axis, d))
                found[axis, d] = ahead.T @ behind / ahead.size
    return found


def norm(target, relative):
    """What a mean squared difference to target is divided by: mean(target^2) if it is to be relative, else 1.

    1 as well for a target that is 0 everywhere.
    """
    return np.mean(target**2) if relative and target.any() else 1.0


def shift_loss(F, target_F, shifts, relative=False):
    """Mean over the (axis, d) that fit both maps of mean((G_d(F) - A_d)^2) / norm(A_d), A_d = G_d(target_F).

    0 where none fits.
    """
    G, A = shifted_grams(F, shifts), shifted_grams(target_F, shifts)
    common = [key for key in G if key in A]
    parts = [np.mean((G[key] - A[key]) ** 2) / norm(A[key], relative) for key in common]
    return sum(parts) / max(len(common), 1)


def shift_gradient(F, target_F, shifts, relative=False):
    """d shift_loss / d F [h, w, C]."""
    G, A = shifted_grams(F, shifts), shifted_grams(target_F, shifts)
    common = [key for key in G if key in A]
    dF = np.zeros_like(F)
    for axis, d in common:
        ahead, behind = moved(F, axis, d)
        to_ahead, to_behind = moved(dF, axis, d)  # views, so that adding to them adds to dF
        dG = 2 * (G[axis, d] - A[axis, d]) / G[axis, d].size / len(common)  # [C, C], not symmetric
        dG = dG / norm(A[axis, d], relative)
        to_ahead += behind @ dG.T / ahead.size
        to_behind += ahead @ dG / ahead.size
    return dF


def match_histogram(F, S):
    """[h, w, C]: F with each channel's values replaced, in their order, by those of S [any, any, C].

    The k-th smallest of a channel's n values (equal ones in row-major order) becomes the k-th of n values
    evenly spaced, by rank and linearly interpolated, from the smallest to the largest of S's channel.
    """
    flat, values = F.reshape(-1, F.shape[-1]), S.reshape(-1, F.shape[-1])
    matched = np.empty_like(flat)
    ranked = np.quantile(values, np.linspace(0, 1, len(flat)), axis=0)
    np.put_along_axis(matched, np.argsort(flat, axis=0, kind="stable"), ranked, axis=0)
    return matched.reshape(F.shape)


def content_loss(F, P, relative=False):
    """mean((F - P)^2) / norm(P)."""
    return np.mean((F - P) ** 2) / norm(P, relative)


def content_gradient(F, P, relative=False):
    """d content_loss / d F [h, w, C]."""
    return 2 * (F - P) / F.size / norm(P, relative)


def style_loss(F, S, relative=False):
    """content_loss of the Gram matrices."""
    return content_loss(gram(F), gram(S), relative)


def style_gradient(F, S, relative=False):
    """d style_loss / d F [h, w, C]."""
    dG = content_gradient(gram(F), gram(S), relative)  # [C, C], symmetric
    return 2 * F @ dG / F.size  # F enters G twice, hence the 2


def histogram_loss(F, S, relative=False):
    """mean((F - M)^2) / norm(M), M = match_histogram(F, S)."""
    return content_loss(F, match_histogram(F, S), relative)


def histogram_gradient(F, S, relative=False):
    """d histogram_loss / d F [h, w, C], the matched map taken for a constant."""
    return content_gradient(F, match_histogram(F, S), relative)


def style_layer_weights(count, exponent):
    """[count] weights proportional to exponent**k, k = 0..count-1, sum 1."""
    return blend_weights(float(exponent) ** np.arange(count))


def blend_weights(weights):
    """[n] weights >= 0, not all 0, scaled to sum 1."""
    weights = np.asarray(weights, np.float64)
    return weights / weights.sum()


def temporal(x, warped, trust):
    """Mean of trust * (x - warped)^2, and its gradient for x (Ruder et al. 2016, eq. 7).

    x, warped [H, W, 3]; trust [H, W].
    """
    weight = trust[:, :, None] / x.size
    return (weight * (x - warped) ** 2).sum(), 2 * weight * (x - warped)


def differences(x):
    """Total variation's differences of neighbours: vertical [H-1, W, 3] and horizontal [H, W-1, 3]."""
    return x[1:] - x[:-1], x[:, 1:] - x[:, :-1]


def compared(
    layers, content, styles, *, content_layers, style_layers, blend,
    content_weight, style_weight, pooling,
    shift_weight=0, shift_layers=None, shifts=(), histogram_weight=0, histogram_layers=None, relative=(),
):  # fmt: skip
    """(term, layer, factor, loss, gradient, arguments after F_l(x)) of all of objective()'s terms but tv, for
    each layer and style."""
    kinds = {
        "content": (content_weight, content_layers, content_loss, content_gradient),
        "style": (style_weight, style_layers, style_loss, style_gradient),
        "shift": (shift_weight, shift_layers, shift_loss, shift_gradient),
        "histogram": (histogram_weight, histogram_layers, histogram_loss, histogram_gradient),
    }
    of_styles = list(zip(blend, (features(layers, style, pooling) for style in styles), strict=True))
    of_content = [(1, features(layers, content, pooling))]
    for term, (term_weight, term_layers, *functions) in kinds.items():
        arguments = [shifts] * (term == "shift") + [("content" if term == "content" else "style") in relative]
        for share, F in of_content if term == "content" else of_styles:
            for name, weight in (term_layers or {}).items() if term_weight > 0 else ():
                if weight > 0:  # a layer of weight 0 need not be in the network
                    yield term, name, term_weight * share * weight, *functions, (F[name], *arguments)


def objective(layers, x, content, styles, *, tv_weight, pooling, relative=(), **terms):
    """{content, style, tv, [shift,] [histogram,] total}: the weighted terms, floats, total their sum.

    x and content are preprocessed [H, W, 3]; styles a sequence of preprocessed images of any size.
    content_layers and style_layers are {name: weight}, used as they are; blend has one weight per style,
    sum 1. content = content_weight * sum_l c_l mean((F_l(x) - F_l(content))^2), style = style_weight *
    sum_i b_i sum_l w_l mean((G_l(x) - G_l(style_i))^2), tv = tv_weight * (mean(vertical differences^2) +
    mean(horizontal differences^2)) of x, where a side of 1 pixel has no differences and adds 0. shift =
    shift_weight * sum_i b_i sum_l w_l shift_loss(F_l(x), F_l(style_i)), with {name: weight} shift_layers,
    and histogram likewise; each is among the terms only where its weight is above 0.

    relative has those of "content", "style" and "tv" whose means of squares are relative: divided by those of
    their targets, F_l(content), G_l(style_i) (with "style", shift and histogram too), and by 255^2.
    """
    Fx = features(layers, x, pooling)
    scale = tv_weight / (255**2 if "tv" in relative else 1)
    tv = sum(scale * np.mean(d**2) for d in differences(np.asarray(x, np.float64)) if d.size)
    found = {"content": 0.0, "style": 0.0, "tv": tv}
    found |= {name: 0.0 for name in ("shift", "histogram") if terms.get(f"{name}_weight", 0) > 0}
    terms |= {"pooling": pooling, "relative": relative}
    for term, name, factor, loss, _, arguments in compared(layers, content, styles, **terms):
        found[term] += factor * loss(Fx[name], *arguments)
    return {name: float(term) for name, term in (found | {"total": sum(found.values())}).items()}


def gradient(layers, x, content, styles, *, tv_weight, pooling, relative=(), **terms):
    """d total / d x [H, W, 3] of objective() with the same arguments, by the chain rule, layer by layer."""
    x = np.asarray(x, np.float64)
    Fx = features(layers, x, pooling)
    dF = {name: np.zeros_like(F) for name, F in Fx.items()}  # the losses' own pull at each layer
    terms |= {"pooling": pooling, "relative": relative}
    for _, name, factor, _, pull, arguments in compared(layers, content, styles, **terms):
        dF[name] += factor * pull(Fx[name], *arguments)

    inputs = [x] + [Fx[name] for name, *_ in layers[:-1]]
    dy = 0.0  # what comes down from deeper layers: nothing above the last
    for (name, kind, kernel, _), entered in zip(reversed(layers), reversed(inputs), strict=True):
        dy = dy + dF[name]
        if kind == "conv":
            dy = conv_gradient(kernel, dy)
        elif kind == "relu":
            dy = dy * (entered > 0)  # TensorFlow too passes nothing at exactly 0
        else:
            dy = pool_gradient(entered, dy, pooling)

    dx = np.zeros_like(x) + dy
    scale = tv_weight / (255**2 if "tv" in relative else 1)
    vertical, horizontal = (scale * 2 * d / max(d.size, 1) for d in differences(x))
    dx[1:] += vertical
    dx[:-1] -= vertical
    dx[:, 1:] += horizontal
    dx[:, :-1] -= horizontal
    return dx


# The steps and the colours
def adam(x, gradient_at, updates, *, learning_rate, beta1, beta2, eps):
    """[x_0, .., x_updates]: Adam (Kingma & Ba 2014) with eps beside the uncorrected root, as in TensorFlow.

    gradient_at(x) returns the gradient, of x's shape. Nothing is clipped.
    """
    iterates = [np.array(x, np.float64)]
    m = v = np.zeros_like(iterates[0])
    for t in range(1, updates + 1):
        g = gradient_at(iterates[-1])
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        rate = learning_rate * np.sqrt(1 - beta2**t) / (1 - beta1**t)
        iterates.append(iterates[-1] - rate * m / (np.sqrt(v) + eps))
    return iterates


def gradient_descent(x, gradient_at, updates, *, learning_rate, normalized=False, eps=1e-8, clip=None):
    """[x_0, .., x_updates]: x - learning_rate * g, or normalised x - learning_rate * g / (std(g) + eps).

    gradient_at(x) returns the gradient g, of x's shape; std(g) is over all its values, as a population. clip
    is (low, high), floats or arrays that broadcast to x's shape, and every step ends between them.
    """
    iterates = [np.array(x, np.float64)]
    for _ in range(updates):
        g = gradient_at(iterates[-1])
        step = learning_rate * g / (np.std(g) + eps) if normalized else learning_rate * g
        iterates.append(iterates[-1] - step if clip is None else np.clip(iterates[-1] - step, *clip))
    return iterates


def keep_colors(result, content):
    """[H, W, 3] in 0..255, unrounded: the result's luma with the content's chroma, in JFIF YCbCr.

    Both images are RGB 0..255, [H, W, 3]. Y = LUMA . RGB, Cb - 128 = (B - Y) / 1.772, Cr - 128 =
    (R - Y) / 1.402, all full range, as Pillow has them but without its rounding to whole numbers.
    """
    y = content @ LUMA
    cb, cr = (content[..., 2] - y) / 1.772, (content[..., 0] - y) / 1.402
    y = result @ LUMA
    red, blue = y + 1.402 * cr, y + 1.772 * cb
    green = (y - LUMA[0] * red - LUMA[2] * blue) / LUMA[1]  # what is left of the luma
    return np.clip(np.stack([red, green, blue], axis=-1), 0, 255)


# Masks and colours
def shrunk(mask, layers):
    """{layer: [h, w]}: a mask [H, W], averaged by each pooling on the way to the layer."""
    found, x = {}, mask[..., None]
    for name, kind, *_ in layers:
        x = pool(x, "avg") if kind == "pool" else x
        found[name] = x[..., 0]
    return found


def guided_gram(F, weights):
    """[C, C]: the mean over positions of F F^T / C, weighted by weights [h, w]."""
    return np.einsum("hw,hwi,hwj->ij", weights, F, F) / (weights.sum() * F.shape[-1])


# A picture in one pass: Kolkin et al. 2022 (arXiv 2203.13215), with Ashikhmin's coherence (I3D 2001)
def code(maps, scales, centre, directions):
    """Maps [h, w, C] of the layers, from full to an eighth of the side -> codes [H/4, W/4, D]."""
    height, width = (side // 4 for side in maps[0].shape[:2])
    columns = []
    for F, scale in zip(maps, scales, strict=True):
        n = F.shape[0] // height
        F = F.reshape(height, n, width, n, -1).mean((1, 3)) if n else doubled(F)
        columns.append(scale * F)
    return 4 * (np.concatenate(columns, -1) - centre) @ directions


def doubled(F):
    """A map [h, w, C] twice as large by linear interpolation; centres are at halves."""
    return scipy.ndimage.zoom(F, (2, 2, 1), order=1, mode="nearest", grid_mode=True)


def match(search, painting, coherence, rounds=8):
    """Codes [h, w, D] and [rows, columns, D] -> the (row, column) of the painting for each position."""
    a, b = (each - each.mean((0, 1)) for each in (search, painting))
    a = a * np.clip(b.std((0, 1)) / a.std((0, 1)), 1 / 3, 3)
    a, b = (each / np.linalg.norm(each, axis=-1, keepdims=True) for each in (a, b))
    height, width = a.shape[:2]
    alike = np.einsum("hwd,rcd->hwrc", a, b)
    places = {}
    for y, x in np.ndindex(height, width):
        down, right = y % 2, x % 2
        row, column = np.unravel_index(alike[y - down, x - right].argmax(), b.shape[:2])
        further = row + down, column + right
        places[y, x] = further if inside(further, b) else (row, column)
    for i in range(rounds):
        before = dict(places)
        for y, x in [at for at in before if (sum(at) + i) % 2 == 0]:
            offers = [before[y, x]]
            for dy, dx in ((-1, 0), (1, 0), (0, -1), (0, 1)):
                row, column = before.get((y + dy, x + dx), (-9, -9))
                offers.append((row - dy, column - dx))
            scores = [
                alike[(y, x, *offer)] + coherence * offers[1:].count(offer) if inside(offer, b) else -9
                for offer in offers
            ]
            places[y, x] = offers[int(np.argmax(scores))]
    return places


def inside(place, image):
    """Whether a place is in an image."""
    return all(0 <= at < side for at, side in zip(place, image.shape[:2], strict=True))


def collage(pixels, places):
    """Patches of 8 x 8 pixels around the painting's cells of 4 x 4, which overlap and fade out."""
    fade = np.array([1, 3, 5, 7, 7, 5, 3, 1]) / 8
    fade = fade[:, None, None] * fade[:, None]
    padded = np.pad(pixels, ((2, 2), (2, 2), (0, 0)), mode="reflect")
    height, width = (4 * (side + 1) for side in max(places))
    total, weight = np.zeros((2, height + 4, width + 4, 3))
    for (y, x), (row, column) in places.items():
        there = slice(4 * y, 4 * y + 8), slice(4 * x, 4 * x + 8)
        total[there] += fade * padded[4 * row : 4 * row + 8, 4 * column : 4 * column + 8]
        weight[there] += fade
    return (total / weight)[2:-2, 2:-2]


def decode(weights, found, pixels, search, keep):
    """The decoder's picture in 0..1 from codes [h, w, D], the collage [4h, 4w, 3] and the searching codes."""

    def convolve(name, *parts):
        x = np.pad(np.concatenate(parts, -1), ((1, 1), (1, 1), (0, 0)), mode="reflect")
        return conv(x, weights[f"{name}/kernel"], weights[f"{name}/bias"])[1:-1, 1:-1]

    def cells(n):
        h, w, _ = pixels.shape
        return (pixels - 0.5).reshape(h // n, n, w // n, n, 3).swapaxes(1, 2).reshape(h // n, w // n, -1)

    def relu(x):
        return np.maximum(x, 0)

    strength = np.full((*found.shape[:2], 1), keep)
    x = relu(convolve("first", found, cells(4), keep * search[..., :64], strength))
    for i in (1, 2, 3):
        x = x + convolve(f"block{i}b", relu(convolve(f"block{i}a", x)))
    for name, n in (("second", 2), ("third", 1)):
        x = relu(convolve(f"{name}_a", x.repeat(2, 0).repeat(2, 1), cells(n)))
        x = relu(convolve(f"{name}_b", x))
    return np.clip(pixels + convolve("last", x), 0, 1)


# Nearest neighbours and patches, by the definition


def rows(F):
    """[h * w, C]."""
    return F.reshape(-1, F.shape[-1])


def apart(F, S):
    """[n, m]: 1 - cos(f - mean f, s - mean s) of each position of F with each of S."""
    return cdist(*(rows(x - x.mean((0, 1))) for x in (F, S)), "cosine")


def neighbors_loss(F, S):
    """Kolkin et al. 2022: the mean over positions of the least distance to a position of S."""
    return apart(F, S).min(1).mean()


def contrast_loss(F, S):
    """Half the squared difference to the neighbour that neighbors_loss() finds, over the variance of S."""
    nearest = rows(S)[apart(F, S).argmin(1)]
    return np.mean(np.sum((rows(F) - nearest) ** 2, 1)) / 2 / np.sum(np.var(rows(S), 0))


def hypercolumns(maps, height, width):
    """Maps [h, w, C], each over its C, at a quarter of an image's side, one after the other."""
    columns = []
    for F in maps:
        F = F / F.shape[-1]
        while F.shape[0] > height:
            F = pool(F, "avg")
        columns.append(F if F.shape[0] == height else doubled(F)[:height, :width])
    return np.concatenate(columns, -1)


def hypercolumn_loss(F, searching, S):
    """The mean of 1 - cos(f, s), hypercolumns, s the nearest to those that search, by the centred cosine."""
    nearest = apart(searching, S).argmin(1)
    return np.mean(cdist(rows(F), rows(S), "cosine")[np.arange(len(nearest)), nearest])


def patch_target(F, S):
    """Li & Wand 2016: for F [h, w, C], the mean of what the patches about each position are matched with."""
    total, counts = np.zeros_like(F), np.zeros((*F.shape[:2], 1))
    middles = [(i, j) for i in range(0, S.shape[0] - 2, 2) for j in range(0, S.shape[1] - 2, 2)]
    for i in range(F.shape[0] - 2):
        for j in range(F.shape[1] - 2):
            likeness = []
            for a, b in middles:
                patch = S[a : a + 3, b : b + 3]
                likeness.append(np.sum(F[i : i + 3, j : j + 3] * patch) / np.linalg.norm(patch))
            a, b = middles[int(np.argmax(likeness))]
            total[i : i + 3, j : j + 3] += S[a : a + 3, b : b + 3]
            counts[i : i + 3, j : j + 3] += 1
    return total / counts

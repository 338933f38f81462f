"""A slow, plain NumPy float64 model of neural style transfer, for the tests to compare the program with.

Sources: Gatys, Ecker, Bethge 2015 (arXiv 1508.06576) and CVPR 2016 for the content and style terms;
Mahendran & Vedaldi 2015 for total variation; Kingma & Ba 2014 for Adam. The normalisations (means instead
of sums, Gram matrices over h*w*C) and Adam's form are those of Athalye 2015.

An image is float64 [H, W, 3], RGB 0..255; a preprocessed image is that minus the mean pixel [3]. A network
is a list of layers in order, each (name, kind, kernel, bias): kind is "conv", "relu" or "pool", kernel
[kh, kw, in, out] with odd kh and kw, bias [out], both None for relu and pool. pooling is "max" or "avg".
A layer's gradient function takes dy = d total / d output to d total / d input, for the layer's input x.
"""

import numpy as np

LUMA = np.array([0.299, 0.587, 0.114])  # Rec. 601


# The layers
def conv(x, kernel, bias):
    """[h, w, in] -> [h, w, out]: out(i, j) = bias + sum over a, b of padded(i + a, j + b) kernel(a, b)."""
    h, w, _ = x.shape
    kh, kw, _, out = kernel.shape
    padded = np.pad(x, ((kh // 2, kh // 2), (kw // 2, kw // 2), (0, 0)))
    y = np.zeros((h, w, out)) + bias
    for a in range(kh):
        for b in range(kw):
            y += padded[a : a + h, b : b + w] @ kernel[a, b]
    return y


def conv_gradient(x, kernel, dy):
    """[h, w, out] -> [h, w, in]: each output hands its gradient to the positions that it was summed from."""
    h, w, before = x.shape
    kh, kw, _, _ = kernel.shape
    dpadded = np.zeros((h + kh - 1, w + kw - 1, before))
    for a in range(kh):
        for b in range(kw):
            dpadded[a : a + h, b : b + w] += dy @ kernel[a, b].T
    return dpadded[kh // 2 : kh // 2 + h, kw // 2 : kw // 2 + w]


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
    if pooling == "max":
        return windows(x, -np.inf).max(axis=2)
    if pooling == "avg":
        return windows(x, 0).sum(axis=2) / windows(np.ones_like(x), 0).sum(axis=2)
    raise ValueError(f"pooling is 'max' or 'avg', not {pooling!r}")


def pool_gradient(x, dy, pooling):
    """[ceil(h/2), ceil(w/2), C] -> [h, w, C]: to the first maximum in row-major order, or in equal shares."""
    h, w, _ = x.shape
    if pooling == "max":
        first = windows(x, -np.inf).argmax(axis=2)  # argmax returns the first of equal maxima
        share = np.arange(4)[:, None] == first[:, :, None, :]
    else:
        real = windows(np.ones_like(x), 0)
        share = real / real.sum(axis=2, keepdims=True)
    return from_windows(share * dy[:, :, None, :], h, w)


def features(layers, x, pooling):
    """{name: [h, w, C]} of every layer, for a preprocessed image x [H, W, 3]."""
    found = {}
    y = np.asarray(x, np.float64)
    for name, kind, kernel, bias in layers:
        if kind == "conv":
            y = conv(y, kernel, bias)
        elif kind == "relu":
            y = np.maximum(y, 0)
        elif kind == "pool":
            y = pool(y, pooling)
        else:
            raise ValueError(f"unknown kind of layer: {kind!r}")
        found[name] = y
    return found


# The objective
def gram(F):
    """Gram matrix [C, C] = F^T F / (h*w*C) of a feature map F [h, w, C], flattened to [h*w, C]."""
    flat = F.reshape(-1, F.shape[-1])
    return flat.T @ flat / flat.size


def style_layer_weights(count, exponent):
    """[count] weights proportional to exponent**k, k = 0..count-1, sum 1."""
    return blend_weights(float(exponent) ** np.arange(count))


def blend_weights(weights):
    """[n] weights >= 0, not all 0, scaled to sum 1."""
    weights = np.asarray(weights, np.float64)
    return weights / weights.sum()


def differences(x):
    """Total variation's differences of neighbours: vertical [H-1, W, 3] and horizontal [H, W-1, 3]."""
    return x[1:] - x[:-1], x[:, 1:] - x[:, :-1]


def objective(
    layers, x, content, styles, *, content_layers, style_layers, blend,
    content_weight, style_weight, tv_weight, pooling,
):  # fmt: skip
    """{content, style, tv, total}: the weighted terms, floats, total their sum.

    x and content are preprocessed [H, W, 3]; styles a sequence of preprocessed images of any size.
    content_layers and style_layers are {name: weight}, used as they are; blend has one weight per style,
    sum 1. content = content_weight * sum_l c_l mean((F_l(x) - F_l(content))^2), style = style_weight *
    sum_i b_i sum_l w_l mean((G_l(x) - G_l(style_i))^2), tv = tv_weight * (mean(vertical differences^2) +
    mean(horizontal differences^2)) of x, where a side of 1 pixel has no differences and adds 0.
    """
    Fx = features(layers, x, pooling)
    Fc = features(layers, content, pooling)
    c = s = tv = 0.0
    for name, weight in content_layers.items():
        if weight > 0:  # a layer of weight 0 need not be in the network
            c += content_weight * weight * np.mean((Fx[name] - Fc[name]) ** 2)
    for b, style in zip(blend, styles, strict=True):
        Fs = features(layers, style, pooling)
        for name, weight in style_layers.items():
            if weight > 0:
                s += style_weight * b * weight * np.mean((gram(Fx[name]) - gram(Fs[name])) ** 2)
    for d in differences(np.asarray(x, np.float64)):
        if d.size:
            tv += tv_weight * np.mean(d**2)
    return {"content": float(c), "style": float(s), "tv": float(tv), "total": float(c + s + tv)}


def gradient(
    layers, x, content, styles, *, content_layers, style_layers, blend,
    content_weight, style_weight, tv_weight, pooling,
):  # fmt: skip
    """d total / d x [H, W, 3] of objective() with the same arguments, by the chain rule, layer by layer."""
    x = np.asarray(x, np.float64)
    Fx = features(layers, x, pooling)
    Fc = features(layers, content, pooling)
    dF = {name: np.zeros_like(F) for name, F in Fx.items()}  # the losses' own pull at each layer
    for name, weight in content_layers.items():
        if weight > 0:
            dF[name] += content_weight * weight * 2 * (Fx[name] - Fc[name]) / Fx[name].size
    for b, style in zip(blend, styles, strict=True):
        Fs = features(layers, style, pooling)
        for name, weight in style_layers.items():
            if weight > 0:
                G, A = gram(Fx[name]), gram(Fs[name])
                dG = style_weight * b * weight * 2 * (G - A) / G.size  # [C, C], symmetric
                dF[name] += 2 * Fx[name] @ dG / Fx[name].size  # F enters G twice, hence the 2

    inputs = [x] + [Fx[name] for name, *_ in layers[:-1]]
    dy = 0.0  # what comes down from deeper layers: nothing above the last
    for (name, kind, kernel, _), entered in zip(reversed(layers), reversed(inputs), strict=True):
        dy = dy + dF[name]
        if kind == "conv":
            dy = conv_gradient(entered, kernel, dy)
        elif kind == "relu":
            dy = dy * (entered > 0)  # TensorFlow too passes nothing at exactly 0
        else:
            dy = pool_gradient(entered, dy, pooling)

    dx = np.zeros_like(x) + dy
    vertical, horizontal = (tv_weight * 2 * d / max(d.size, 1) for d in differences(x))
    dx[1:] += vertical
    dx[:-1] -= vertical
    dx[:, 1:] += horizontal
    dx[:, :-1] -= horizontal
    return dx


# The start, the steps, the colours
def initial_image(initial, noise, noiseblend):
    """The start [H, W, 3]: preprocessed initial and standard normal noise, mixed by noiseblend in 0..1."""
    return (1 - noiseblend) * initial + noiseblend * 0.256 * noise


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

"""NVAE and VAEBM's energy written a second time: functions of tensors under their published names.

:func:`shapes` lists the names and shapes of a checkpoint, as the authors' code saves it.
"""

from __future__ import annotations

import re

import torch
import torch.nn.functional as F


def shapes(image=3, size=32, c=8, latents=4, groups=2, flows=0, head=6, expand=6):
    """Names and shapes of a checkpoint: two scales, one cell a group, one block of two cells before and after."""
    s = {}

    def conv(p, o, i, k, bias=True, plain=False):
        s[f"{p}.weight"] = (o, i, k, k)
        s.update({f"{p}.bias": (o,)} if bias else {})
        s.update({f"{p}.weight_normalized": (o, i, k, k)} if plain else {f"{p}.log_weight_norm": (o, 1, 1, 1)})

    def bn(p, n):
        s.update({f"{p}.{k}": (n,) for k in ("weight", "bias", "running_mean", "running_var")})
        s[f"{p}.num_batches_tracked"] = ()

    def se(p, n):
        h = max(n // 16, 4)
        s.update({f"{p}.se.se.0.weight": (h, n), f"{p}.se.se.0.bias": (h,)})
        s.update({f"{p}.se.se.2.weight": (n, h), f"{p}.se.se.2.bias": (n,)})

    def residual(p, i, o):
        if i != o:
            for n in range(1, 5):
                conv(f"{p}.skip.conv_{n}", o // 4, i, 1)
        for n, (a, b) in enumerate(((i, o), (o, o))):
            bn(f"{p}._ops.{n}.bn_act", a)
            conv(f"{p}._ops.{n}.conv_0", b, a, 3)
        se(p, o)

    def inverted(p, i, o, e):
        at, h = int(i != o), i * e
        if at:
            conv(f"{p}.skip.1", o, i, 1, bias=False)
        q = f"{p}._ops.0.conv"
        bn(f"{q}.{at}.bn", i)
        conv(f"{q}.{at + 1}.conv.0", h, i, 1, False, True)
        bn(f"{q}.{at + 1}.conv.1", h)
        conv(f"{q}.{at + 2}.conv.0", h, 1, 5, False, True)
        bn(f"{q}.{at + 2}.conv.1", h)
        conv(f"{q}.{at + 3}", o, h, 1, False, True)
        bn(f"{q}.{at + 4}.bn", o)
        se(p, o)

    s["prior_ftr0"] = (4 * c, size // 4, size // 4)
    conv("stem", c, image, 3)
    residual("pre_process.0", c, c)
    residual("pre_process.1", c, 2 * c)
    kinds = [*["cell", "combine"] * groups, "down", *["cell", "combine"] * groups][:-1]
    width = 2 * c
    for n, kind in enumerate(kinds):
        if kind == "combine":
            conv(f"enc_tower.{n}.conv", width, width, 1)
        else:
            residual(f"enc_tower.{n}", width, width * (1 + (kind == "down")))
            width *= 1 + (kind == "down")
    conv("enc0.1", width, width, 1)
    for g in range(2 * groups):
        conv(f"enc_sampler.{g}", 2 * latents, 4 * c if g < groups else 2 * c, 3)
    for g in range(1, 2 * groups):
        conv(f"dec_sampler.{g - 1}.1", 2 * latents, 4 * c if g < groups else 2 * c, 1)
    for n in range(2 * groups * flows):
        for cell in ("cell1", "cell2"):
            conv(f"nf_cells.{n}.{cell}.conv.convz.0", 6 * latents, latents, 3, bias=False)
            conv(f"nf_cells.{n}.{cell}.conv.convz.2", 6 * latents, 1, 5, bias=False)
            conv(f"nf_cells.{n}.{cell}.mu.conv_0", latents, 6 * latents, 1)
    kinds = [*["combine", "cell"] * groups, "up", *["cell", "combine"] * groups]
    del kinds[2 * groups - 1]  # no cell before the way up
    for n, kind in enumerate(kinds):
        if kind == "combine":
            conv(f"dec_tower.{n}.conv", width, width + latents, 1)
        else:
            inverted(f"dec_tower.{n}", width, width // (1 + (kind == "up")), expand)
            width //= 1 + (kind == "up")
    inverted("post_process.0", 2 * c, c, 3)
    inverted("post_process.1", c, c, 3)
    conv("image_conditional.1", head, c, 3)
    return s


def energy_shapes(c=8, blocks="1d 1 2d 2 2d 2", image=3):
    s, width = {}, c

    def conv(p, o, i, k, bias=True):
        s.update({f"{p}.weight": (o, i, k, k), f"{p}.log_weight_norm": (o, 1, 1, 1)})
        s.update({f"{p}.bias": (o,)} if bias else {})

    conv("conv1", c, image, 3)
    for n, block in enumerate(blocks.split()):
        o = c * int(block.rstrip("d"))
        conv(f"blocks.{n}.conv1", o, width, 3)
        conv(f"blocks.{n}.conv2", o, o, 3)
        if block.endswith("d") or o != width:
            conv(f"blocks.{n}.skip.0", o, width, 1, bias=False)
        width = o
    return {**s, "linear.weight": (1, width), "linear.bias": (1,)}


def fill(shapes, seed=0):
    """Random tensors for names and shapes, of a size that keeps outputs away from the ends of their range."""
    g = torch.Generator().manual_seed(seed)
    state = {}
    for name, shape in shapes.items():
        if name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(7)
        elif name.endswith("running_var") or (len(shape) == 1 and name.endswith("weight")):
            state[name] = 0.5 + torch.rand(shape, generator=g)
        elif name.endswith("log_weight_norm"):
            state[name] = 0.5 * torch.randn(shape, generator=g) - 0.2
        else:
            state[name] = 0.3 * torch.randn(shape, generator=g)
    return state


# --- layers -----------------------------------------------------------------------------------------


def conv(s, p, x, stride=1, mask=None, groups=1):
    w = s[f"{p}.weight"] if mask is None else s[f"{p}.weight"] * mask
    if f"{p}.log_weight_norm" in s:
        w = torch.exp(s[f"{p}.log_weight_norm"]) * w / (w.square().sum((1, 2, 3), keepdim=True).sqrt() + 1e-5)
    return F.conv2d(x, w, s.get(f"{p}.bias"), stride, w.shape[-1] // 2, groups=groups)


def bn(s, p, x):
    mean, var, w, b = (s[f"{p}.{k}"][:, None, None] for k in ("running_mean", "running_var", "weight", "bias"))
    return (x - mean) / (var + 1e-5).sqrt() * w + b


def cell(s, p, x):
    skip = x
    if f"{p}.skip.conv_1.weight" in s:
        swish = x * torch.sigmoid(x)
        shifted = (swish, swish[:, :, 1:, 1:], swish[:, :, :, 1:], swish[:, :, 1:, :])
        skip = torch.cat([conv(s, f"{p}.skip.conv_{i}", v, 2) for i, v in enumerate(shifted, 1)], 1)
    elif f"{p}.skip.1.weight" in s:
        skip = conv(s, f"{p}.skip.1", F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True))
    if f"{p}._ops.0.bn_act.weight" in s:
        y = conv(s, f"{p}._ops.0.conv_0", F.silu(bn(s, f"{p}._ops.0.bn_act", x)), 1 if skip is x else 2)
        y = conv(s, f"{p}._ops.1.conv_0", F.silu(bn(s, f"{p}._ops.1.bn_act", y)))
    else:
        q, at = f"{p}._ops.0.conv", int(skip is not x)
        y = bn(s, f"{q}.{at}.bn", x.repeat_interleave(2, 2).repeat_interleave(2, 3) if at else x)
        y = F.silu(bn(s, f"{q}.{at + 1}.conv.1", conv(s, f"{q}.{at + 1}.conv.0", y)))
        y = F.silu(bn(s, f"{q}.{at + 2}.conv.1", conv(s, f"{q}.{at + 2}.conv.0", y, groups=y.shape[1])))
        y = bn(s, f"{q}.{at + 4}.bn", conv(s, f"{q}.{at + 3}", y))
    h = F.relu(F.linear(y.mean((2, 3)), s[f"{p}.se.se.0.weight"], s[f"{p}.se.se.0.bias"]))
    gate = torch.sigmoid(F.linear(h, s[f"{p}.se.se.2.weight"], s[f"{p}.se.se.2.bias"]))
    return skip + 0.1 * gate[:, :, None, None] * y


def tower(s, name):
    """The modules of a tower in order, and whether each is a combiner."""
    numbers = sorted({int(k.split(".")[1]) for k in s if k.startswith(f"{name}.")})
    return [(f"{name}.{n}", f"{name}.{n}.conv.weight" in s) for n in numbers]


def normal(mu, log_sigma):
    return 5 * torch.tanh(mu / 5), torch.exp(5 * torch.tanh(log_sigma / 5)) + 0.01


def mask(o, i, k, mirror, strict):
    """Raster order, then channels in blocks: what comes before."""
    m = torch.zeros(o, i, k, k)
    half, blocks = k // 2, min(o, i)
    for row in range(k):
        for column in range(k):
            before = (row, column) < (half, half)
            after = (row, column) > (half, half)
            m[:, :, row, column] = float(after if mirror else before)
    for a in range(o):
        for b in range(i):
            here, there = a * blocks // o, b * blocks // i
            m[a, b, half, half] = float(there < here or (there == here and not strict))
    return m


def flow(s, p, z):
    for name, mirror in (("cell1", False), ("cell2", True)):
        q, n = f"{p}.{name}", z.shape[1]
        h = F.elu(conv(s, f"{q}.conv.convz.0", z, mask=mask(6 * n, n, 3, mirror, True)))
        h = F.elu(conv(s, f"{q}.conv.convz.2", h, mask=mask(6 * n, 1, 5, mirror, False), groups=6 * n))
        z = z - conv(s, f"{q}.mu.conv_0", F.elu(h), mask=mask(n, 6 * n, 1, mirror, False))
    return z


# --- the network ------------------------------------------------------------------------------------


def logits(s, h):
    for p, _ in tower(s, "post_process"):
        h = cell(s, p, h)
    return conv(s, "image_conditional.1", F.elu(h))


def prior(s, group, h):
    if group == 0:
        n = s["enc_sampler.0.weight"].shape[0] // 2
        zeros = torch.zeros(len(h), n, *h.shape[2:])
        return zeros, zeros
    return conv(s, f"dec_sampler.{group - 1}.1", F.elu(h)).chunk(2, 1)


def generate(s, eps):
    """Maps a list of normals, the coarsest group's first, to the parameters of the pixels."""
    h, group = s["prior_ftr0"].expand(len(eps[0]), -1, -1, -1), 0
    for p, combines in tower(s, "dec_tower"):
        if combines:
            mu, sigma = normal(*prior(s, group, h))
            h, group = conv(s, f"{p}.conv", torch.cat([h, mu + sigma * eps[group]], 1)), group + 1
        else:
            h = cell(s, p, h)
    return logits(s, h)


def codes(s, x, residual=True):
    """Maps images in [0, 1] to latents with every posterior at its mean, after the flows."""
    h, waiting = conv(s, "stem", 2 * x - 1), []
    for p, _ in tower(s, "pre_process"):
        h = cell(s, p, h)
    for p, combines in tower(s, "enc_tower"):
        if combines:
            waiting.insert(0, (p, h))
        else:
            h = cell(s, p, h)
    features = F.elu(conv(s, "enc0.1", F.elu(h)))
    h, z = s["prior_ftr0"].expand(len(x), -1, -1, -1), []
    flows = len({k.split(".")[1] for k in s if k.startswith("nf_cells.")})
    groups = len({k.split(".")[1] for k in s if re.match(r"enc_sampler\.", k)})
    for p, combines in tower(s, "dec_tower"):
        if not combines:
            h = cell(s, p, h)
            continue
        if z:
            q, encoded = waiting[len(z) - 1]
            features = encoded + conv(s, f"{q}.conv", h)
        mu, log_sigma = conv(s, f"enc_sampler.{len(z)}", features).chunk(2, 1)
        if residual:
            below = prior(s, len(z), h)
            mu, log_sigma = mu + below[0], log_sigma + below[1]
        code = normal(mu, log_sigma)[0]
        for n in range(flows // groups):
            code = flow(s, f"nf_cells.{len(z) * (flows // groups) + n}", code)
        z.append(code)
        h = conv(s, f"{p}.conv", torch.cat([h, code], 1))
    return z


def energy(s, x):
    """Maps images in [0, 1] to VAEBM's energies; a block with a skip of equal widths halves the size."""
    swish = lambda v: v * torch.sigmoid(v) / 1.1  # noqa: E731
    h = swish(conv(s, "conv1", x))
    for n in range(len({k.split(".")[1] for k in s if k.startswith("blocks.")})):
        p = f"blocks.{n}"
        y = conv(s, f"{p}.conv2", swish(conv(s, f"{p}.conv1", h)))
        skips = f"{p}.skip.0.weight" in s
        y = y + (conv(s, f"{p}.skip.0", h) if skips else h)
        h = swish(F.avg_pool2d(y, 2) if skips else y)  # in CIFAR-10's layout every skip is that of a halving
    return F.linear(h.sum((2, 3)), s["linear.weight"], s["linear.bias"])[:, 0]

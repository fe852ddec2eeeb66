"""Nested dictionaries of tensors: `{name: tensor or nested dictionary}`, as the noise of a hierarchical model is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import reduce
from typing import Any

import torch
from torch import Tensor

__all__ = ["Nested", "Potential", "flatten", "half_square", "tree_map", "unflatten"]

Nested = Mapping[str, Any]
#: Maps nested noise, leaves `(n, *shape)`, to U, shape `(n,)`.
Potential = Callable[[Nested], Tensor]


def tree_map(f: Callable[..., Any], tree: Any, *others: Any) -> Any:
    """Applies `f` to the corresponding leaves of nested dictionaries of one structure; a tensor alone is a leaf.

    Example:
        >>> tree_map(lambda a, b: a + b, {"z": {"0": 1}, "x": 2}, {"z": {"0": 10}, "x": 20})
        {'z': {'0': 11}, 'x': 22}
    """
    if not isinstance(tree, Mapping):
        return f(tree, *others)
    return {name: tree_map(f, branch, *(o[name] for o in others)) for name, branch in tree.items()}


def flatten(tree: Nested, prefix: str = "") -> dict[str, Any]:
    """Returns the leaves of a nested dictionary by path, in order.

    Example:
        >>> flatten({"z": {"0": 1, "1": 2}, "x": 3})
        {'z/0': 1, 'z/1': 2, 'x': 3}
    """
    leaves: dict[str, Any] = {}
    for name, leaf in tree.items():
        path = f"{prefix}{name}"
        leaves.update(flatten(leaf, f"{path}/") if isinstance(leaf, Mapping) else {path: leaf})
    return leaves


def unflatten(leaves: Nested) -> dict[str, Any]:
    """The inverse of :func:`flatten`."""
    tree: dict[str, Any] = {}
    for path, leaf in leaves.items():
        *parents, name = path.split("/")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[name] = leaf
    return tree


def half_square(eps: Nested) -> Tensor:
    """Returns half the squared length of all noise of a sample, shape `(n,)`."""
    squares: list[Tensor] = [e.flatten(1).square().sum(1) for e in flatten(eps).values()]
    return reduce(torch.add, squares) / 2

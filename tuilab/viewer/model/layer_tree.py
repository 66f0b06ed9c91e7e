"""The tree of layers: rows in order of execution, with repeated blocks folded into one set of rows.

    transformer.wte                  wte
    transformer.h.0.ln_1        →    h.0–11              a group of 12 blocks that are alike
    transformer.h.0.mlp.c_fc           ln_1              a set: the same layer in every block
    transformer.h.1.ln_1               mlp.c_fc
    …                                lm_head

Knows no Textual.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from engine.statistics.frames import LayerInfo

FEW: Final = 4  # numbers of blocks, or layers, that are named one by one
MAJORITY: Final = 2 / 3  # share of the layers from which on a common prefix is left out
_NUMBERED: Final = re.compile(r"(.*?)(\d+)$")


@dataclass(frozen=True, slots=True)
class Node:
    """A row: one layer, or several of which it shows the range."""

    label: str
    members: tuple[int, ...]  # positions of its layers, from 0, in order of execution
    children: tuple["Node", ...] = ()  # rows below it when it is unfolded
    blocks: int = 0  # of a group: how many blocks are alike
    group: bool = False  # its rows are shown unless it is folded, and instead of its own numbers

    @property
    def key(self) -> str:
        """What identifies it while a run lasts."""
        return f"{self.members[0]}:{self.label}:{len(self.members)}"


@dataclass(frozen=True, slots=True)
class _Branch:
    """A module and what it contains, in order of execution."""

    path: str
    name: str  # the last component of the path
    members: tuple[int, ...]
    children: tuple["_Branch", ...] = ()
    alike: tuple[object, ...] = ()  # equal for branches of the same structure

    @property
    def is_layer(self) -> bool:
        return not self.children


@dataclass(frozen=True, slots=True)
class _Repeat:
    """Corresponding branches of blocks that are alike: one branch where nothing is repeated."""

    branches: tuple[_Branch, ...]
    blocks: tuple[str, ...] = ("",)  # paths of the innermost blocks that contain them

    @property
    def members(self) -> tuple[int, ...]:
        return tuple(sorted(member for branch in self.branches for member in branch.members))


class LayerTree:
    """The layers of a run as a tree of modules."""

    def __init__(self, layers: Sequence[LayerInfo], positions: Sequence[int] | None = None) -> None:
        """Arrange `layers`, or those at some `positions` from 0."""
        self.layers = layers
        self.positions = range(len(layers)) if positions is None else positions
        paths = [components(layer) for layer in layers]
        self.prefix = common_prefix([paths[at] for at in self.positions])
        cut = len(self.prefix.split(".")) if self.prefix else 0
        start = tuple(self.prefix.split(".")) if self.prefix else ()
        items = [
            (at, path[cut:] if path[:cut] == start and len(path) > cut else path)
            for at, path in ((at, paths[at]) for at in self.positions)
        ]
        self._branches = self._arrange(items, "")
        self.depth = max((len(path) for _, path in items), default=0)

    @property
    def has_modules(self) -> bool:
        """Whether layers are in different modules: whether there is anything to fold."""
        return self.depth > 1

    def folded(self) -> tuple[Node, ...]:
        """Return the rows with repeated blocks folded."""
        return tuple(_fold([_Repeat((branch,)) for branch in self._branches], ""))

    def down_to(self, depth: int) -> tuple[Node, ...]:
        """Return a row per module at a depth from 1, with the layers above that depth."""
        return tuple(_cut(self._branches, depth, ""))

    def every_layer(self) -> tuple[Node, ...]:
        """Return a row per layer."""
        return tuple(_layers(self._branches))

    def _arrange(
        self, items: Sequence[tuple[int, tuple[str, ...]]], parent: str
    ) -> tuple[_Branch, ...]:
        """Return the branches of (position, path below `parent`), consecutive ones together."""
        branches = []
        for (name, inside), run in groupby(items, key=lambda item: (item[1][0], len(item[1]) > 1)):
            path = f"{parent}.{name}" if parent else name
            if not inside:
                for at, _ in run:
                    layer = self.layers[at]
                    kind = (layer.kind, layer.units, layer.activation, layer.normalization)
                    branches.append(_Branch(path, name, (at,), (), (*kind, layer.role)))
                continue
            below = [(at, rest[1:]) for at, rest in run]
            children = self._arrange(below, path)
            members = tuple(at for at, _ in below)
            alike = tuple((child.name, child.alike) for child in children)
            branches.append(_Branch(path, name, members, children, alike))
        return tuple(branches)


def is_numbered(layers: Sequence[LayerInfo]) -> bool:
    """Return whether layers are called by their index, not by a path of modules."""
    return all(layer.path in ("", str(layer.index)) for layer in layers)


def components(layer: LayerInfo) -> tuple[str, ...]:
    """Return the modules of a layer's path, from the outermost, and its own name."""
    path, parent = layer.location, layer.parent
    if parent and path.startswith(parent) and len(path) > len(parent):
        return (*parent.split("."), path[len(parent) :].removeprefix("."))
    return tuple(path.split("."))


def common_prefix(paths: Sequence[tuple[str, ...]]) -> str:
    """Return the modules that contain nearly all layers, if leaving them out is unambiguous.

    A head beside the modules, as in `transformer.h.0` and `lm_head`, keeps its path.
    """
    prefix: list[str] = []
    outside: set[str] = set()
    inside = list(paths)
    while inside:
        [(name, number)] = Counter(path[0] for path in inside).most_common(1)
        rest = [path[1:] for path in inside if path[0] == name]
        if number < MAJORITY * len(paths) or any(not path for path in rest):
            break
        beside = {path[0] for path in inside if path[0] != name}
        if (beside or outside) and prefix:  # what is outside of it must be outside of all
            break
        if (outside | beside) & {path[0] for path in rest}:
            break
        if (outside | beside) and all(path[0].isdigit() for path in rest):
            break  # "h.0" beside "head": a number alone says nothing
        prefix.append(name)
        outside |= beside
        inside = rest
    return ".".join(prefix)


def short_paths(layers: Sequence[LayerInfo]) -> list[str]:
    """Return the paths of layers without their common prefix; none of numbered layers."""
    if is_numbered(layers):
        return []
    prefix = common_prefix([components(layer) for layer in layers])
    return [layer.location.removeprefix(f"{prefix}.") for layer in layers]


def named(layers: Sequence[LayerInfo], positions: Sequence[int]) -> str:
    """Return layers, at positions from 0, as rows name them: "h.0–11.mlp.c_fc, lm_head"."""
    tree = LayerTree(layers, positions)
    shared = common_prefix([components(layer) for layer in layers])
    names = []
    for name, at in _names(tree.folded(), ""):
        inside = tree.prefix and layers[at].location.startswith(f"{tree.prefix}.")
        path = joined(tree.prefix, name) if inside else name
        names.append(path.removeprefix(f"{shared}."))
    more = len(names) - FEW
    return ", ".join(names[:FEW]) + (f" and {more} more" if more > 0 else "")


def _names(nodes: Sequence[Node], label: str) -> Iterator[tuple[str, int]]:
    """Yield the name of each row that holds numbers, with the position of its first layer."""
    for node in nodes:
        name = joined(label, node.label)
        if node.group:
            yield from _names(node.children, name)
        else:
            yield name, node.members[0]


def _fold(repeats: Sequence[_Repeat], label: str) -> Iterator[Node]:
    """Yield the rows of siblings, with runs of blocks that are alike folded; `label` is above."""
    at = 0
    while at < len(repeats):
        first, end = repeats[at].branches[0], at + 1
        while end < len(repeats) and _alike(first, repeats[end].branches[0]):
            end += 1
        run, at = repeats[at:end], end
        name = joined(label, _range([repeat.branches[0].name for repeat in run]))
        if len(run) > 1:
            branches = tuple(branch for repeat in run for branch in repeat.branches)
            repeat = _Repeat(branches, tuple(branch.path for branch in branches))
            inner = tuple(_fold(_aligned(repeat), ""))
            yield Node(name, repeat.members, inner, len(branches), group=True)
        elif first.is_layer:
            yield _set(run[0], name)
        else:
            yield from _fold(_aligned(run[0]), name)


def _alike(a: _Branch, b: _Branch) -> bool:
    """Return whether two siblings are blocks of the same structure, such as h.0 and h.1."""
    if a.is_layer or b.is_layer or a.alike != b.alike:
        return False
    first, second = _NUMBERED.match(a.name), _NUMBERED.match(b.name)
    return first is not None and second is not None and first[1] == second[1]


def _aligned(repeat: _Repeat) -> list[_Repeat]:
    """Return the corresponding children of all branches."""
    children = zip(*(branch.children for branch in repeat.branches), strict=True)
    return [_Repeat(tuple(of_all), repeat.blocks) for of_all in children]


def _set(repeat: _Repeat, label: str) -> Node:
    """Return the row of a layer, or of the same layer in several blocks."""
    if len(repeat.branches) == 1:
        return Node(label, repeat.members)
    inside = zip(repeat.branches, repeat.blocks, strict=True)
    members = sorted((branch.members[0], block) for branch, block in inside)
    return Node(label, repeat.members, tuple(Node(block, (at,)) for at, block in members))


def _range(names: Sequence[str]) -> str:
    """Return names that differ in a number as one: "block0–11", or "block2,5"."""
    matches = [match for name in names if (match := _NUMBERED.match(name))]
    if len(names) == 1 or len(matches) < len(names):
        return names[0]
    texts = [match[2] for match in matches]
    numbers = [int(text) for text in texts]
    if numbers == [*range(numbers[0], numbers[0] + len(numbers))]:
        return f"{names[0]}–{texts[-1]}"
    shown = texts if len(texts) <= FEW else [*texts[: FEW - 2], "…", texts[-1]]
    return f"{matches[0][1]}{','.join(shown)}"


def joined(parent: str, name: str) -> str:
    """Return a path."""
    return f"{parent}.{name}" if parent else name


def _cut(branches: Sequence[_Branch], depth: int, label: str) -> Iterator[Node]:
    for branch in branches:
        name = joined(label, branch.name)
        if branch.is_layer:
            yield Node(name, branch.members)
        elif depth == 1 and len(branch.members) > 1:
            yield Node(name, branch.members, tuple(_cut(branch.children, 1, "")))
        else:
            yield from _cut(branch.children, max(depth - 1, 1), name)


def _layers(branches: Sequence[_Branch]) -> Iterator[Node]:
    for branch in branches:
        if branch.is_layer:
            yield Node(branch.path, branch.members)
        else:
            yield from _layers(branch.children)


@dataclass(frozen=True, slots=True)
class Row:
    """A row in sight."""

    node: Node
    indent: int = 0
    unfolded: bool = False

    @property
    def is_heading(self) -> bool:
        """Whether its rows are below it, and hold its numbers."""
        return self.unfolded and self.node.group

    @property
    def layer(self) -> int | None:
        """The position of the only layer of the row, None if it has several."""
        return self.node.members[0] if len(self.node.members) == 1 else None


def visible(nodes: Sequence[Node], toggled: set[str], indent: int = 0) -> Iterator[Row]:
    """Yield the rows in sight: groups are unfolded and other rows folded, unless `toggled`."""
    for node in nodes:
        unfolded = bool(node.children) and node.group != (node.key in toggled)
        yield Row(node, indent, unfolded)
        if unfolded:
            yield from visible(node.children, toggled, indent + 1)

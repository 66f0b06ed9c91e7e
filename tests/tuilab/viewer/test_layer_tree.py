"""The tree of layers as rows: folded by repeated blocks and by depth, filtered, unfolded."""

from collections.abc import Sequence

import pytest

from engine.statistics.frames import LayerInfo
from tests.tuilab.viewer import trees
from tests.tuilab.viewer.trees import Module, layers_of
from tuilab.viewer.model.folding import Folding, matches
from tuilab.viewer.model.layer_tree import (
    LayerTree,
    Node,
    Row,
    components,
    is_numbered,
    named,
    short_paths,
    visible,
)


def rows(nodes: Sequence[Node]) -> list[str]:
    """Return rows as text, indented, with the number of layers of each."""
    shown = visible(nodes, set())
    return [f"{'  ' * row.indent}{row.node.label} {len(row.node.members)}" for row in shown]


def of_paths(*paths: str, units: int = 4) -> tuple[LayerInfo, ...]:
    return layers_of([Module(path, "Linear", units) for path in paths])


def following(layers: Sequence[LayerInfo]) -> Folding:
    folding = Folding()
    folding.follow(layers)
    return folding


def labels(folding: Folding) -> list[str]:
    return [row.node.label for row in folding.rows]


def test_repeated_blocks_are_one_set_of_rows() -> None:
    tree = LayerTree(layers_of(trees.gpt()))
    assert tree.prefix == "transformer"
    assert rows(tree.folded()) == [
        "wte 1",
        "wpe 1",
        "h.0–11 84",
        "  ln_1 12",
        "  attn.c_attn 12",
        "  attn.softmax 12",
        "  attn.c_proj 12",
        "  ln_2 12",
        "  mlp.c_fc 12",
        "  mlp.c_proj 12",
        "ln_f 1",
        "lm_head 1",
    ]


def test_stages_of_different_widths_are_not_alike() -> None:
    tree = LayerTree(layers_of(trees.resnet()))
    groups = [node.label for node in tree.folded() if node.group]
    assert groups == ["layer1.0–2", "layer2.0–2", "layer3.0–2"]
    assert len(rows(tree.folded())) == 2 + 3 * 5 + 1


def test_blocks_inside_of_blocks_fold_together() -> None:
    layers = of_paths(*(f"stage{s}.{b}.fc" for s in (1, 2) for b in (0, 1, 2)), "head")
    assert rows(LayerTree(layers).folded()) == ["stage1–2 6", "  0–2 6", "    fc 6", "head 1"]


@pytest.mark.parametrize(
    "change", [{"kind": "Conv1d"}, {"units": 9}, {"activation": "relu"}, {"path": "h.1.other"}]
)
def test_blocks_that_differ_are_not_folded(change: dict[str, str]) -> None:
    last = {"path": "h.1.fc", "kind": "Linear", "units": 4} | change
    layers = layers_of([Module("h.0.fc", "Linear", 4), Module(**last)])  # type: ignore[arg-type]
    assert not any(node.group for node in LayerTree(layers).folded())


def test_modules_with_other_names_are_not_folded() -> None:
    layers = of_paths("encoder.fc", "encoder.out", "decoder.fc", "decoder.out")
    assert rows(LayerTree(layers).folded()) == [
        "encoder.fc 1", "encoder.out 1", "decoder.fc 1", "decoder.out 1"
    ]  # fmt: skip


def test_rows_are_in_order_of_execution() -> None:
    layers = of_paths("b.0", "a.0", "b.1", "a.1")
    assert [node.members for node in LayerTree(layers).folded()] == [(0,), (1,), (2,), (3,)]
    gpt = LayerTree(layers_of(trees.gpt())).every_layer()
    assert [node.members[0] for node in gpt] == [*range(88)]


def test_a_fold_level_has_a_row_for_each_module_at_a_depth() -> None:
    tree = LayerTree(layers_of(trees.gpt(blocks=3)))
    assert rows(tree.down_to(1)) == ["wte 1", "wpe 1", "h 21", "ln_f 1", "lm_head 1"]
    assert rows(tree.down_to(2)) == ["wte 1", "wpe 1", "h.0 7", "h.1 7", "h.2 7", "ln_f 1",
                                     "lm_head 1"]  # fmt: skip
    assert "h.1.mlp 2" in rows(tree.down_to(3))
    [_, _, node, *_] = tree.down_to(1)
    assert [child.label for child in node.children] == ["0", "1", "2"]


def test_a_prefix_is_left_out_only_where_that_is_unambiguous() -> None:
    assert LayerTree(of_paths("net.0", "net.2", "net.4")).prefix == "net"
    assert LayerTree(of_paths("a.b.0", "a.b.1", "a.c.0")).prefix == "a"
    assert LayerTree(of_paths("m.a", "m.b", "m.head", "head")).prefix == ""
    assert LayerTree(of_paths("a.0", "b.0")).prefix == ""
    assert LayerTree(of_paths("fc1")).prefix == ""


def test_paths_lose_their_common_prefix() -> None:
    assert short_paths(layers_of(trees.gpt()))[::87] == ["wte", "lm_head"]
    assert short_paths(of_paths("1", "2")) == []


def test_layers_are_named_in_words() -> None:
    layers = layers_of(trees.gpt())
    mlp = [at for at, layer in enumerate(layers) if layer.path.endswith("mlp.c_fc")]
    assert named(layers, mlp) == "h.0–11.mlp.c_fc"
    assert named(layers, [*mlp[2:5], 87]) == "h.2–4.mlp.c_fc, lm_head"
    assert named(layers, [mlp[1], mlp[4]]) == "h.1,4.mlp.c_fc"
    assert named(layers, mlp[::2]) == "h.0,2,…,10.mlp.c_fc"
    assert named(layers, [0]) == "wte"
    resnet = layers_of(trees.resnet())
    assert named(resnet, [*range(39)]).endswith(" and 11 more")


def test_a_part_of_a_module_that_has_no_path_of_its_own_belongs_to_it() -> None:
    layer = LayerInfo(1, "relu", "relu", 4, "relu", path="net.block#relu", parent="net.block")
    assert components(layer) == ("net", "block", "#relu")


def test_a_module_may_be_called_twice() -> None:
    layers = of_paths("h.act", "h.fc", "h.act", "h.fc")
    assert [row.split()[0] for row in rows(LayerTree(layers).folded())] == ["act", "fc"] * 2


def test_numbered_layers_stay_as_they_are() -> None:
    layers = tuple(LayerInfo(k, f"{k} relu", "linear", 4, "relu", path=str(k)) for k in range(1, 9))
    assert is_numbered(layers)
    folding = following(layers)
    assert not folding.selecting
    assert not folding.several
    assert len(folding.rows) == 8
    assert not folding.next_level()


def test_enter_unfolds_and_folds_again() -> None:
    folding = following(layers_of(trees.gpt(blocks=3)))
    folding.move(7)
    assert labels(folding)[folding.at] == "ln_2"
    assert folding.enter() is None
    assert labels(folding)[7:12] == ["ln_2", "h.0", "h.1", "h.2", "mlp.c_fc"]
    folding.move(2)
    layer = folding.enter()
    assert layer is not None
    assert folding.tree.layers[layer].path == "transformer.h.1.ln_2"
    assert folding.fold()
    assert folding.at == 7
    assert labels(folding)[7:9] == ["ln_2", "mlp.c_fc"]
    folding.move(-5)
    assert folding.enter() is None  # the heading of the blocks
    assert labels(folding) == ["wte", "wpe", "h.0–2", "ln_f", "lm_head"]
    assert not folding.fold()


def test_fold_levels_follow_each_other_and_skip_what_looks_the_same() -> None:
    folding = following(layers_of(trees.gpt(blocks=2)))
    assert folding.titles == ("", "to depth 1", "to depth 2", "to depth 3", "every layer")
    lengths = []
    for _ in folding.titles:
        lengths.append(len(folding.rows))
        assert folding.next_level()
    assert lengths == [12, 5, 6, 12, 18]
    assert folding.level == 0


@pytest.mark.parametrize(
    ("pattern", "number"),
    [("*.mlp.*", 24), ("mlp", 24), ("MLP", 24), ("h.3.", 7), ("embedding", 2), ("gelu", 12),
     ("*ln_?", 25), ("", 88), ("nothing", 0)],
)  # fmt: skip
def test_a_filter_is_a_glob_or_a_part_of_the_path(pattern: str, number: int) -> None:
    layers = layers_of(trees.gpt())
    assert sum(matches(layer, pattern) for layer in layers) == number
    folding = following(layers)
    folding.filter(pattern)
    assert len({at for row in folding.rows for at in row.node.members}) == number


def test_what_is_filtered_is_folded_too() -> None:
    folding = following(layers_of(trees.gpt()))
    folding.filter("*.mlp.*")
    assert labels(folding) == ["0–11", "mlp.c_fc", "mlp.c_proj"]
    assert folding.tree.prefix == "transformer.h"


def test_other_layers_are_arranged_anew_and_the_same_ones_are_not() -> None:
    folding = following(layers_of(trees.gpt(blocks=3)))
    folding.move(3)
    folding.enter()
    before = folding.rows
    folding.follow(layers_of(trees.gpt(blocks=3)))
    assert folding.rows is before
    folding.follow(layers_of(trees.resnet()))
    assert folding.at == 0
    assert "layer1.0–2" in labels(folding)


def test_a_heading_holds_no_numbers_while_its_rows_do() -> None:
    [group] = [row for row in following(layers_of(trees.gpt())).rows if row.node.group]
    assert group.is_heading
    assert not Row(group.node).is_heading

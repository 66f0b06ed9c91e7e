"""Weights as pictures, pixel by pixel against the weights; and how pictures are arranged."""

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from engine.statistics.frames import LayerInfo, Units
from tests.tuilab.viewer.saved import convolutional, subject
from tuilab.charts.images import ENOUGH, arrange, picture, scaled
from tuilab.charts.text import Line, plain, width
from tuilab.record.saved_parameters import Parameters
from tuilab.viewer.panels.layer.base import LayerViewState, Subject
from tuilab.viewer.panels.layer.weight_images import VIEW, LayerWeights, draw, images, title

Weights = npt.NDArray[Any]


def flat(units: int = 6, pixels: tuple[int, int, int] = (1, 8, 8)) -> Subject:
    """A first layer over pixels, with distinct weights."""
    inputs = int(np.prod(pixels))
    weight = np.random.default_rng(0).normal(size=(inputs, units)).astype(np.float32)
    info = LayerInfo(1, "relu", "linear", units, "relu", sees=(inputs,))
    return subject(info, pixels=pixels, parameters=Parameters(10, {"weight": weight}))


def lines_of(made: Subject, cells: int = 76, height: int = 18) -> list[Line]:
    lines = draw(made, cells, height)
    assert len(lines) <= height
    assert all(width(line) <= cells for line in lines)
    return lines


class TestPictures:
    def test_two_pixels_are_a_cell_and_the_stronger_half_is_drawn(self) -> None:
        pixels = np.array([[1.0, 0.5], [0.0, -1.0], [0.0, 0.0], [0.0, 0.0]])[:, :, None]
        assert picture(pixels) == [
            [("▀", "signed.12/signed.0"), ("▄", "signed.-12/signed.6")],
            [("  ", "signed.0/signed.0")],
        ]

    def test_an_odd_row_stands_on_the_ground(self) -> None:
        assert picture(np.array([[[-2.0]]])) == [[("▀", "signed.-12/ground")]]

    def test_three_channels_are_red_green_and_blue_about_mid_grey(self) -> None:
        pixels = np.array([[[1.0, 0.0, -1.0]], [[-1.0, -1.0, -1.0]]])
        assert picture(pixels) == [[("▀", "#ff8800/#000000")]]

    def test_what_is_not_there_or_not_finite_is_ground(self) -> None:
        pixels = np.array([[[np.nan]], [[1.0]], [[np.inf]], [[0.5]]])
        assert picture(pixels) == [[("▄", "signed.12/ground")], [("▄", "signed.6/ground")]]

    def test_weights_that_are_all_zero_are_drawn_too(self) -> None:
        assert picture(np.zeros((2, 3, 1))) == [[("   ", "signed.0/signed.0")]]

    def test_small_pictures_are_magnified_until_they_fill_the_screen(self) -> None:
        found = arrange((3, 3), 16, 76, 16, least=4)
        assert (found.times, found.parts) == (2, 1)
        assert found.most >= 16
        assert arrange((3, 3), 2, 116, 30).times == 8  # and no further

    def test_large_ones_are_made_smaller_before_there_are_too_few(self) -> None:
        found = arrange((32, 32), 50, 76, 16, least=4)
        assert found.parts > 1
        assert found.most >= ENOUGH
        assert arrange((32, 32), 50, 196, 54, least=4).parts == 1

    def test_many_are_shown_whole_and_on_pages(self) -> None:
        found = arrange((8, 8), 100, 116, 30, least=5)
        assert (found.times, found.parts) == (1, 1)
        assert ENOUGH < found.most < 100

    def test_scaling_repeats_or_averages(self) -> None:
        pixels = np.arange(12.0).reshape(3, 4, 1)
        twice = scaled(pixels, replace(arrange((3, 4), 1, 8, 4), times=2, parts=1))
        np.testing.assert_array_equal(twice[::2, ::2], pixels)
        half = scaled(pixels, replace(arrange((3, 4), 1, 8, 4), times=1, parts=2))
        np.testing.assert_array_equal(half[:, :, 0], [[2.5, 4.5], [8.5, 10.5]])


class TestImages:
    def test_flat_inputs_are_planes(self) -> None:
        made = flat(pixels=(3, 4, 5))
        parameters = made.parameters()
        assert parameters is not None
        found = images(LayerWeights(parameters, made.layer.sees, (3, 4, 5)))
        assert found.shape == (6, 4, 5, 3)
        weight = parameters.arrays["weight"]
        assert found[2, 1, 3, 2] == weight[2 * 20 + 1 * 5 + 3, 2]

    def test_a_filter_answers_most_to_its_own_picture(self) -> None:
        """Shown to the network, the picture gives exactly the product that a convolution makes."""
        made = convolutional()
        store = made.network.store.value_views
        seen = LayerWeights(Parameters(0, {"weight": store[1]["weight"]}), (3, 3, 3), None)
        pictures = images(seen)
        assert pictures.shape == (5, 3, 3, 3)
        planes = np.zeros((20, 3, 6, 6))
        planes[0, :, 2:5, 1:4] = pictures[4].transpose(2, 0, 1)  # rows 2…4, columns 1…3
        made.network.forward(planes.reshape(20, 108), False)
        answer = made.network.bound[1].output[0, 2, 1, 4]
        bias = store[1]["bias"][4]
        assert answer - bias == pytest.approx((pictures[4] ** 2).sum(), rel=1e-5)

    def test_other_channels_stand_side_by_side(self) -> None:
        weight = np.arange(2 * 2 * 4 * 3, dtype=np.float64).reshape(16, 3)
        found = images(LayerWeights(Parameters(0, {"weight": weight}), (2, 2, 4), None))
        assert found.shape == (3, 2, 4 * 3 - 1, 1)
        for channel in range(4):
            here = found[1, :, channel * 3 : channel * 3 + 2, 0]
            np.testing.assert_array_equal(here, weight.reshape(2, 2, 4, 3)[:, :, channel, 1])
        assert np.isnan(found[1, :, 2::3]).all()


class TestPanel:
    def test_units_are_numbered_and_dead_ones_marked(self) -> None:
        dead = np.array([False, True, False, False, False, False])
        units = Units(np.zeros(6, np.float32), np.zeros(6), None, dead)
        made = replace(flat(), units=lambda: (10, units))
        text = "\n".join(plain(line) for line in lines_of(made))
        assert "† 2" in text
        assert text.count("†") == 1
        assert "each scaled by its largest weight" in text

    def test_pages_show_every_unit_once(self) -> None:
        made, seen = flat(100), set[int]()
        for page in range(20):
            lines = lines_of(replace(made, state=LayerViewState(1, page=page)))
            words = [plain(line).split() for line in lines[:-1]]
            numbers = {int(word) for line in words for word in line if word.isdigit()}
            assert f"{min(numbers)}–{max(numbers)} of 100" in plain(lines[-1])
            if numbers & seen:
                break
            seen |= numbers
        assert seen == set(range(1, 101))
        assert min(numbers) == 1  # after the last page comes the first

    def test_colour_is_for_three_channels(self) -> None:
        roles = {role for line in lines_of(flat(pixels=(3, 4, 4))) for _, role in line}
        assert any(role.startswith("#") for role in roles)
        assert not any(role.startswith("signed") for role in roles)
        roles = {role for line in lines_of(flat()) for _, role in line}
        assert any(role.startswith("signed") for role in roles)

    @pytest.mark.parametrize("size", [(196, 55), (116, 30), (36, 8), (10, 3), (3, 1)])
    def test_it_fits_every_screen(self, size: tuple[int, int]) -> None:
        lines_of(flat(50, (3, 32, 32)), *size)

    def test_input_channels_that_have_no_room_are_left_out(self) -> None:
        weight = np.ones((3 * 3 * 64, 2))
        info = LayerInfo(2, "relu", "conv2d", 2, "relu", sees=(3, 3, 64))
        made = subject(info, parameters=Parameters(10, {"weight": weight}))
        lines = lines_of(made, 76)
        assert max(width(line) for line in lines) <= 75

    def test_there_are_pictures_of_pixels_and_of_filters_only(self) -> None:
        conv = LayerInfo(3, "relu", "conv2d", 4, "relu", sees=(3, 3, 4))
        dense = LayerInfo(2, "relu", "linear", 4, "relu", sees=(64,))
        assert VIEW.offered(flat())
        assert VIEW.offered(subject(conv))
        assert not VIEW.offered(subject(dense, pixels=(1, 8, 8)))
        assert not VIEW.offered(replace(flat(), pixels=None))  # turned by a PCA
        assert not VIEW.offered(subject(replace(dense, sees=())))  # of an older version

    def test_the_title_says_of_which_step_they_are(self) -> None:
        assert plain(title(flat())) == "weights as of step 10   6 units over 8×8 pixels"
        later = replace(flat(), past=True, snapshot=replace(flat().snapshot, step=4))
        assert ("as of step 10", "warning") in title(later)

    def test_without_a_checkpoint_one_waits(self) -> None:
        made = replace(flat(), parameters=lambda: None)
        assert "waiting for the first checkpoint" in plain(draw(made, 76, 18)[0])
        assert title(made) == []

    def test_tab_goes_to_the_next_page_and_not_before_the_first(self) -> None:
        assert VIEW.turn(flat(), 1).page == 1
        assert VIEW.turn(flat(), -1).page == 0

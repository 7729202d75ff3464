"""Layouts carry what derivatives need, and say what they carry."""

import pytest

from pinn.jets.layout import JetLayout
from training.errors import ConfigurationError


def test_a_layout_is_closed_under_dropping_factors_and_begins_with_the_value():
    layout = JetLayout(("x", "t"), [("x", "x", "t")])
    assert layout.names == ("u", "u_x", "u_t", "u_xx", "u_xt", "u_xxt")
    assert layout.index(()) == 0
    assert layout.order == 3


def test_the_order_of_factors_does_not_matter():
    layout = JetLayout(("x", "t"), [("t", "x", "x")])
    assert layout.index(("x", "t", "x")) == layout.index(("t", "x", "x")) == 5
    assert ("x", "t") in layout
    assert ("t", "t") not in layout


def test_names_of_several_letters():
    layout = JetLayout(("x1", "x2"), [("x1", "x2")])
    assert layout.names == ("u", "u_x1", "u_x2", "u_x1,x2")


def test_the_collapsed_laplacian_is_one_part_and_brings_the_first_derivatives():
    coordinates = tuple(f"x{n}" for n in range(10))
    layout = JetLayout((*coordinates, "t"), [("t",)], laplacian=coordinates)
    assert layout.n_parts == 1 + 10 + 1 + 1
    assert layout.laplacian_index == layout.n_parts - 1
    assert layout.order == 2


def test_a_layout_without_laplacian_says_so():
    with pytest.raises(KeyError, match="no collapsed Laplacian"):
        _ = JetLayout(("x",), [("x", "x")]).laplacian_index


def test_a_derivative_that_is_not_carried_is_named():
    with pytest.raises(KeyError, match="u_xt is not among the derivatives of this jet: u, u_x"):
        JetLayout(("x", "t"), [("x",)]).index(("t", "x"))


@pytest.mark.parametrize(
    ("derivative", "message"),
    [(("y",), "'y' is no coordinate"), (("x",) * 5, "order 5; derivatives up to order 4")],
)
def test_impossible_derivatives_are_refused(derivative, message):
    with pytest.raises(ConfigurationError, match=message):
        JetLayout(("x", "t"), [derivative])


class TestUnion:
    def test_has_the_parts_of_both(self):
        one, other = JetLayout(("x", "t"), [("x", "x")]), JetLayout(("x", "t"), [("t",)])
        assert (one | other).names == ("u", "u_x", "u_t", "u_xx")
        assert (one | other) == (other | one)

    def test_keeps_the_laplacian_of_either(self):
        one, other = JetLayout("abc", [], laplacian="abc"), JetLayout("abc", [("a", "a")])
        assert (one | other).laplacian == ("a", "b", "c")

    def test_refuses_other_coordinates_and_other_laplacians(self):
        with pytest.raises(ConfigurationError, match="cannot be joined"):
            _ = JetLayout("xt") | JetLayout("xy")
        with pytest.raises(ConfigurationError, match="Laplacians over"):
            _ = JetLayout("xyz", laplacian="xy") | JetLayout("xyz", laplacian="xyz")


def test_the_terms_of_a_fourth_derivative_are_those_of_the_textbook():
    layout = JetLayout(("x",), [("x",) * 4])
    fourth = {term.factors: term.coefficient for term in layout.compositions if term.target == 4}
    # (f∘h)'''' = f' h'''' + f'' (4 h' h''' + 3 h''²) + 6 f''' h'² h'' + f'''' h'⁴
    assert fourth == {(4,): 1, (1, 3): 4, (2, 2): 3, (1, 1, 2): 6, (1, 1, 1, 1): 1}

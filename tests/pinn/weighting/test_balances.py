"""Balances turn measurements into weights as their formulas say, in the right direction, and continue exactly."""

import io
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pinn.weighting import NTK, RBA, AutogradGradients, Fixed, GradNorm, SelfAdaptive
from pinn.weighting.balance import NotBalanced
from pinn.weighting.self_adaptive import MASKS
from training.errors import ConfigurationError

TERMS = {"equation": 40, "boundary": 10}
BALANCES = {
    "fixed": lambda: Fixed({"boundary": 7.0}),
    "grad_norm": lambda: GradNorm(every=4),
    "ntk": lambda: NTK(every=4, points=8),
    "rba": lambda: RBA(every=2, decay=0.9, rate=0.1),
    "self_adaptive per point": lambda: SelfAdaptive(every=2),
    "self_adaptive per term": lambda: SelfAdaptive(every=2, per="term", mask="softplus"),
}


class Measured:
    """Answers that are given beforehand; remembers what was asked."""

    def __init__(self, sizes=None, residuals=None):
        self.sizes, self.residuals, self.asked = sizes or {}, residuals or {}, []

    def gradient_norm(self, term):
        self.asked.append((term,))
        return self.sizes[term]

    def squared_gradient(self, term, points):
        self.asked.append((term, points))
        return self.sizes[term]

    def residual(self, term):
        return self.residuals[term]


class Toy:
    """Two terms of one network: r = 10 (f − sin) at forty points, and r = f at ten of them."""

    def __init__(self, stiffness=10.0):
        source = torch.Generator().manual_seed(0)
        x = torch.rand(40, 1, dtype=torch.float64, generator=source)
        self.network = torch.nn.Sequential(torch.nn.Linear(1, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1)).double()
        with torch.no_grad():
            for parameter in self.network.parameters():
                parameter.copy_(torch.randn(parameter.shape, dtype=torch.float64, generator=source))
        self.residuals = {
            "equation": lambda rows: stiffness * (self.network(x[rows]) - torch.sin(3 * x[rows])).squeeze(1),
            "boundary": lambda rows: self.network(x[rows]).squeeze(1),
        }
        self.parameters = list(self.network.parameters())
        self.gradients = AutogradGradients(self.residuals, TERMS, self.parameters, chunk=7)

    def norm(self, term):
        """‖∇θ mean r²‖ in one piece."""
        loss = self.residuals[term](torch.arange(TERMS[term])).square().mean()
        return math.sqrt(sum(float(g.square().sum()) for g in torch.autograd.grad(loss, self.parameters)))

    def jacobian(self, term):
        """(n, n_parameters), row by row."""
        residuals = self.residuals[term](torch.arange(TERMS[term]))
        rows = [torch.autograd.grad(r, self.parameters, retain_graph=True) for r in residuals]
        return torch.stack([torch.cat([g.flatten() for g in row]) for row in rows])


def started(balance, terms=None):
    balance.start(terms or TERMS)
    return balance


def weights(balance):
    """Everything the loss sees."""
    points = {term: balance.point_weights(term, n) for term, n in TERMS.items()}
    return {"terms": dict(balance.term_weights), "points": points}


def same(a, b):
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    return torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


@pytest.mark.parametrize("name", BALANCES)
class TestEveryBalance:
    def test_begins_with_one_for_every_term_and_point_unless_told_otherwise(self, name):
        balance = started(BALANCES[name]())
        expected = {"equation": 1.0, "boundary": 1.0}
        if name == "fixed":
            expected["boundary"] = 7.0
        if name == "self_adaptive per term":
            expected = dict.fromkeys(expected, math.log1p(math.e))
        assert balance.term_weights == pytest.approx(expected, rel=1e-15)
        for term, n in TERMS.items():
            points = balance.point_weights(term, n)
            assert points is None or torch.equal(points, torch.ones(n, dtype=torch.float64))

    def test_changes_before_the_first_step_and_then_at_its_interval(self, name):
        balance, toy = started(BALANCES[name]()), Toy()
        changed = [step for step in [0, 0, *range(1, 10), 8] if balance.update(step, toy.gradients)]
        assert changed == ([] if balance.every is None else list(range(0, 9, balance.every)))

    def test_interrupted_equals_uninterrupted_bit_for_bit(self, name):
        def advance(balance, steps):
            for step in steps:
                balance.update(step, Toy(1.0 + step).gradients)

        whole, balance = started(BALANCES[name]()), started(BALANCES[name]())
        advance(whole, range(12))
        advance(balance, range(5))
        file = io.BytesIO()
        torch.save(balance.state_dict(), file)
        advance(balance, range(5, 12))  # what a killed process did after its last checkpoint leaves no trace
        file.seek(0)
        resumed = started(BALANCES[name]())
        resumed.load_state_dict(torch.load(file, weights_only=True))
        advance(resumed, range(5, 12))
        assert same(weights(resumed), weights(whole)) and same(resumed.state_dict(), whole.state_dict())

    def test_a_state_of_other_terms_is_refused(self, name):
        state = started(BALANCES[name](), {"equation": 40, "boundary": 10, "initial": 5}).state_dict()
        with pytest.raises(ConfigurationError, match="boundary, equation, initial, but the configuration has"):
            started(BALANCES[name]()).load_state_dict(state)

    def test_a_change_of_points_of_an_unknown_term_is_named(self, name):
        with pytest.raises(ConfigurationError, match="no loss term bounday; did you mean boundary"):
            started(BALANCES[name]()).points_changed("bounday", 10)


class TestRatios:
    """GradNorm and NTK share the rule and differ in what they measure."""

    @pytest.mark.parametrize("kind", [GradNorm, NTK])
    def test_the_larger_gradient_gets_the_smaller_weight(self, kind):
        toy = Toy(stiffness=10.0)
        assert toy.norm("equation") > 5 * toy.norm("boundary")
        balance = started(kind(momentum=0.0))
        balance.update(0, toy.gradients)
        assert balance.term_weights["equation"] < 0.6 < 1.5 < balance.term_weights["boundary"]

    def test_weighted_gradient_norms_become_equal(self):
        toy, balance = Toy(), started(GradNorm(momentum=0.0))
        balance.update(0, toy.gradients)
        norms = [weight * toy.norm(term) for term, weight in balance.term_weights.items()]
        mean = (toy.norm("equation") + toy.norm("boundary")) / 2
        assert norms == pytest.approx([mean, mean], rel=1e-12)

    def test_weighted_mean_squared_gradients_become_equal(self):
        toy, balance = Toy(), started(NTK(momentum=0.0, points=512))
        balance.update(0, toy.gradients)
        traces = {term: float(toy.jacobian(term).square().sum(1).mean()) for term in TERMS}
        mean = sum(traces.values()) / 2
        assert balance.term_weights == pytest.approx({term: mean / t for term, t in traces.items()}, rel=1e-12)

    @pytest.mark.parametrize("kind", [GradNorm, NTK])
    def test_by_default_a_tenth_of_each_measurement_counts_every_thousand_steps(self, kind):
        balance = started(kind())
        measured = Measured({"equation": 30.0, "boundary": 10.0})  # mean 20
        assert [step for step in range(2001) if balance.update(step, measured)] == [0, 1000, 2000]
        # 1 + (ratio − 1) (1 − 0.9³) after three of them
        assert balance.term_weights == pytest.approx(
            {"equation": 1 + (2 / 3 - 1) * 0.271, "boundary": 1 + (2 - 1) * 0.271}, rel=1e-14
        )

    def test_ntk_asks_for_as_many_points_as_set(self):
        measured = Measured(dict.fromkeys(TERMS, 1.0))
        started(NTK(points=300)).update(0, measured)
        assert measured.asked == [("equation", 300), ("boundary", 300)]

    def test_a_term_without_gradient_keeps_its_weight_and_leaves_the_others_alone(self):
        balance = started(GradNorm(momentum=0.0), {"a": 1, "b": 1, "c": 1})
        balance.update(0, Measured({"a": 0.0, "b": 1.0, "c": 3.0}))
        assert balance.term_weights == pytest.approx({"a": 1.0, "b": 2.0, "c": 2 / 3}, rel=1e-15)

    def test_a_ratio_is_bounded(self):
        balance = started(GradNorm(momentum=0.0, largest=100.0))
        balance.update(0, Measured({"equation": 1.0, "boundary": 1e-12}))
        assert balance.term_weights["boundary"] == 100.0

    @pytest.mark.parametrize("kind", [GradNorm, NTK])
    @pytest.mark.parametrize("value", [math.nan, math.inf])
    def test_a_gradient_that_is_not_finite_is_named_with_its_term(self, kind, value):
        balance = started(kind())
        with pytest.raises(NotBalanced, match=rf"{kind.__name__}: the .*gradient.* of boundary is {value}"):
            balance.update(0, Measured({"equation": 1.0, "boundary": value}))
        assert balance.term_weights == {"equation": 1.0, "boundary": 1.0} and balance.due(0)


RESIDUALS = torch.tensor([0.5, -2.0, 1.0, 0.0], dtype=torch.float64)


class TestRBA:
    def test_remembers_the_share_of_the_largest_residual(self):
        balance = started(RBA(initial=0.25), {"equation": 4})
        multipliers = torch.full((4,), 0.25, dtype=torch.float64)
        for step in range(3):
            balance.update(step, Measured(residuals={"equation": RESIDUALS / (step + 1)}))
            multipliers = 0.999 * multipliers + 0.001 * torch.tensor([0.25, 1.0, 0.5, 0.0], dtype=torch.float64)
        # the loss is the mean of (λ r)²
        torch.testing.assert_close(balance.point_weights("equation", 4), multipliers**2, rtol=1e-14, atol=0)

    def test_settles_at_the_share_itself(self):
        balance = started(RBA(decay=0.9, rate=0.1), {"equation": 4})
        for step in range(400):
            balance.update(step, Measured(residuals={"equation": RESIDUALS}))
        # 0.9⁴⁰⁰ is 5e-19
        expected = torch.tensor([0.25, 1.0, 0.5, 0.0], dtype=torch.float64)
        torch.testing.assert_close(balance.multipliers["equation"], expected, rtol=0, atol=1e-14)

    def test_zero_residuals_let_the_memory_fade(self):
        balance = started(RBA(decay=0.9, rate=0.1), {"equation": 4})
        balance.update(0, Measured(residuals={"equation": 0 * RESIDUALS}))
        assert torch.equal(balance.multipliers["equation"], torch.full((4,), 0.9, dtype=torch.float64))

    def test_term_weights_stay_one(self):
        balance = started(RBA(), {"equation": 4})
        balance.update(0, Measured(residuals={"equation": RESIDUALS}))
        assert balance.term_weights == {"equation": 1.0}


class TestSelfAdaptive:
    @pytest.mark.parametrize("per", ["point", "term"])
    @pytest.mark.parametrize("mask", MASKS)
    def test_ascends_the_loss_along_its_gradient(self, mask, per):
        """Against automatic differentiation, with the gradient scaled to a mean of one."""
        residuals = {"equation": RESIDUALS, "boundary": torch.tensor([0.3, 0.1], dtype=torch.float64)}
        balance = started(SelfAdaptive(lr=0.3, mask=mask, per=per, initial=0.7), {"equation": 4, "boundary": 2})
        sizes = {"equation": 4, "boundary": 2} if per == "point" else dict.fromkeys(residuals, 1)
        multipliers = {term: torch.full((n,), 0.7, dtype=torch.float64) for term, n in sizes.items()}
        for step in range(3):
            balance.update(step, Measured(residuals=residuals))
            free = [values.requires_grad_() for values in multipliers.values()]
            squares = [r**2 if per == "point" else (r**2).mean() for r in residuals.values()]
            total = sum((MASKS[mask][0](f) * square).sum() for f, square in zip(free, squares, strict=True))
            slopes = torch.autograd.grad(total, free)
            mean = sum(slope.mean() for slope in slopes) / 2
            multipliers = {
                term: (f + 0.3 * slope / mean).detach()
                for term, f, slope in zip(multipliers, free, slopes, strict=True)
            }
        for term, expected in multipliers.items():
            torch.testing.assert_close(balance.multipliers[term], expected, rtol=1e-13, atol=0)

    def test_grows_at_its_own_rate_whatever_the_unit_of_the_residuals(self):
        """A thousand changes with residuals of a hundred: plain ascent would have left the range of numbers."""
        balance = started(SelfAdaptive(), {"equation": 4})
        for step in range(1000):
            balance.update(step, Measured(residuals={"equation": 100 * RESIDUALS}))
        assert balance.multipliers["equation"].mean().item() == pytest.approx(1 + 1000 * 0.005, rel=1e-12)

    def test_zero_residuals_change_nothing(self):
        balance = started(SelfAdaptive(), {"equation": 4})
        assert balance.update(0, Measured(residuals={"equation": 0 * RESIDUALS}))
        assert torch.equal(balance.multipliers["equation"], torch.ones(4, dtype=torch.float64))

    def test_the_larger_residual_gets_the_larger_weight(self):
        points = started(SelfAdaptive(), {"equation": 4})
        terms = started(SelfAdaptive(per="term"))
        residuals = {"equation": torch.full((40,), 2.0), "boundary": torch.full((10,), 0.1)}
        for step in range(5):
            points.update(step, Measured(residuals={"equation": RESIDUALS}))
            terms.update(step, Measured(residuals=residuals))
        order = points.point_weights("equation", 4).argsort().tolist()
        assert order == [3, 0, 2, 1]
        assert terms.term_weights["equation"] > terms.term_weights["boundary"] > 1
        assert terms.point_weights("equation", 40) is None

    def test_per_term_takes_any_number_of_points(self):
        balance = started(SelfAdaptive(lr=0.2, per="term"))
        balance.points_changed("equation", 77)
        balance.update(0, Measured(residuals={"equation": torch.ones(77), "boundary": torch.ones(10)}))
        # λ = 1 + 0.2, squared
        assert balance.term_weights["equation"] == pytest.approx(1.44, rel=1e-15)


POINTWISE = {"rba": RBA, "self-adaptive": SelfAdaptive}


@pytest.mark.parametrize("kind", POINTWISE.values(), ids=POINTWISE)
class TestPointwise:
    def changed(self, kind):
        balance = started(kind(), {"equation": 4})
        balance.update(0, Measured(residuals={"equation": RESIDUALS}))
        return balance, balance.multipliers["equation"]

    def test_points_that_stay_keep_theirs_and_fresh_ones_get_the_mean(self, kind):
        balance, former = self.changed(kind)
        balance.points_changed("equation", 5, torch.tensor([2, 0, -1, 3, -1]))
        mean = former.mean()
        expected = torch.stack([former[2], former[0], mean, former[3], mean])
        assert torch.equal(balance.multipliers["equation"], expected)
        assert len(balance.point_weights("equation", 5)) == 5

    def test_without_origin_all_are_fresh(self, kind):
        balance, former = self.changed(kind)
        balance.points_changed("equation", 6)
        assert torch.equal(balance.multipliers["equation"], former.mean().expand(6))

    def test_a_change_of_points_that_was_not_told_is_noticed(self, kind):
        balance, _ = self.changed(kind)
        with pytest.raises(ValueError, match="knows 4 points of equation, but 5 are asked for"):
            balance.point_weights("equation", 5)
        with pytest.raises(ValueError, match="knows 4 points of equation, but its residual has the shape"):
            balance.update(1, Measured(residuals={"equation": torch.ones(5)}))
        with pytest.raises(ValueError, match="origin has the shape"):
            balance.points_changed("equation", 5, torch.tensor([1, 2]))

    def test_a_residual_that_is_not_finite_is_named_with_its_term(self, kind):
        balance, former = self.changed(kind)
        with pytest.raises(NotBalanced, match=rf"{kind.__name__}: the largest residual of equation is nan"):
            balance.update(1, Measured(residuals={"equation": torch.tensor([1.0, math.nan, 2.0, 0.0])}))
        assert torch.equal(balance.multipliers["equation"], former)

    def test_only_the_terms_asked_for_have_weights_per_point(self, kind):
        balance = started(kind(terms=["boundary"]))
        assert balance.point_weights("equation", 40) is None
        assert balance.point_weights("boundary", 10) is not None
        with pytest.raises(ConfigurationError, match="no loss term bounday; did you mean boundary"):
            kind(terms=["bounday"]).start(TERMS)


class TestAutogradGradients:
    """The oracle is itself compared with the whole gradient and the whole Jacobian."""

    @pytest.mark.parametrize("term", TERMS)
    def test_equals_the_whole_gradient_and_jacobian(self, term):
        toy = Toy()
        assert toy.gradients.gradient_norm(term) == pytest.approx(toy.norm(term), rel=1e-13)
        squares = toy.jacobian(term).square().sum(1)
        assert toy.gradients.squared_gradient(term, 512) == pytest.approx(float(squares.mean()), rel=1e-13)
        some = squares[:: TERMS[term] // 5].mean()
        assert toy.gradients.squared_gradient(term, 5) == pytest.approx(float(some), rel=1e-13)
        whole = toy.residuals[term](torch.arange(TERMS[term]))
        torch.testing.assert_close(toy.gradients.residual(term), whole.detach(), rtol=1e-13, atol=1e-15)

    def test_parameters_a_term_does_not_depend_on_count_as_zero(self):
        used, unused = (torch.ones(2, dtype=torch.float64, requires_grad=True) for _ in range(2))
        gradients = AutogradGradients({"r": lambda rows: used[rows] * 3}, {"r": 2}, [used, unused])
        # mean of (3 u)² has the gradient 9 in each component; each r the squared gradient 9
        assert gradients.gradient_norm("r") == pytest.approx(9 * math.sqrt(2), rel=1e-14)
        assert gradients.squared_gradient("r", 2) == pytest.approx(9.0, rel=1e-14)


@given(every=st.integers(1, 40), steps=st.sets(st.integers(0, 200)))
def test_a_balance_is_due_once_in_each_interval(every, steps):
    balance = started(GradNorm(every=every))
    changed = [step for step in sorted(steps) if balance.update(step, Measured(dict.fromkeys(TERMS, 1.0)))]
    assert changed == sorted({min(s for s in steps if s // every == step // every) for step in steps})


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Fixed({"equation": -1.0}), "Fixed: weights.equation=-1"),
        (lambda: Fixed({"bounday": 1.0}).start(TERMS), "Fixed: there is no loss term bounday; did you mean boundary"),
        (lambda: GradNorm(every=0), "GradNorm: every=0"),
        (lambda: GradNorm(momentum=1.0), "GradNorm: momentum=1.0"),
        (lambda: NTK(points=0), "NTK: points=0"),
        (lambda: NTK(largest=0.5), "NTK: largest=0.5"),
        (lambda: RBA(decay=1.0), "RBA: decay=1.0"),
        (lambda: RBA(rate=0.0), "RBA: rate=0.0"),
        (lambda: SelfAdaptive(lr=0.0), "SelfAdaptive: lr=0.0"),
        (lambda: SelfAdaptive(mask="sigmoids"), "SelfAdaptive: mask=sigmoids .*did you mean sigmoid"),
        (lambda: SelfAdaptive(per="points"), "SelfAdaptive: per=points"),
    ],
)
def test_impossible_settings_are_named(build, message):
    with pytest.raises(ConfigurationError, match=message):
        build()

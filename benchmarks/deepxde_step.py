"""Worker of `against_deepxde.py`: Adam steps of DeepXDE, as its training loop takes them."""

from __future__ import annotations

import sys

import deepxde as dde
import numpy as np
import torch
from peers import CLOCKS, Answer, peak_MB, serve


def burgers(x, u):
    """The residual."""
    u_x, u_t = dde.grad.jacobian(u, x, i=0, j=0), dde.grad.jacobian(u, x, i=0, j=1)
    return u_t + u * u_x - 0.01 / np.pi * dde.grad.hessian(u, x, i=0, j=0)


def hard(x, u):
    """Start and ends held exactly."""
    place, t = x[:, 0:1], x[:, 1:2]
    return -torch.sin(torch.pi * place) + t * (1 - place**2) * u


class Steps:
    """One network on given points.

    Args:
        path: npz file with the points, weights and biases.
    """

    def __init__(self, path: str) -> None:
        given = np.load(path)
        domain = dde.geometry.GeometryXTime(dde.geometry.Interval(-1, 1), dde.geometry.TimeDomain(0, 1))
        data = dde.data.TimePDE(domain, burgers, [], anchors=given["points"])
        network = dde.nn.FNN([2, *[int(given["width"])] * int(given["depth"]), 1], "tanh", "Glorot normal")
        with torch.no_grad():
            for number, layer in enumerate(network.linears):
                layer.weight.copy_(torch.from_numpy(given[f"weight{number}"]))
                layer.bias.copy_(torch.from_numpy(given[f"bias{number}"]))
        network.apply_output_transform(hard)
        self.model = dde.Model(data, network)
        self.model.compile("adam", lr=1e-3)
        self.ready_MB = peak_MB()

    def __call__(self, steps: int, clock: str) -> Answer:
        """Take steps: seconds of each, and the loss after the last."""
        model, state = self.model, self.model.train_state
        now, seconds = CLOCKS[clock], []
        for _ in range(steps):
            start = now()
            state.set_data_train(*model.data.train_next_batch(None))
            model._train_step(state.X_train, state.y_train, state.train_aux_vars)
            seconds.append(now() - start)
        # evaluated once more for the comparison only
        peak = peak_MB()
        losses = model.outputs_losses_train(state.X_train, state.y_train, state.train_aux_vars)[1]
        return {"seconds": seconds, "loss": float(losses.detach().sum()), "ready_MB": self.ready_MB, "peak_MB": peak}


if __name__ == "__main__":
    serve(Steps(sys.argv[1]))

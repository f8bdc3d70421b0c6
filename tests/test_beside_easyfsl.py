"""Transductive heads give the answers of easyfsl's classes, where easyfsl is installed."""

import functools
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_transductive import DEFAULTS

from jmeta import learners, nn


def _features(seed, shots, normalised):
    """Features of a width and a number that are usual, not negative, and their labels."""
    rng = np.random.default_rng(seed)
    y, truth = np.repeat(np.arange(5), shots), np.repeat(np.arange(5), 15)
    centres = rng.normal(size=(5, 64))
    x, q = (np.maximum(centres[t] + 1.5 * rng.normal(size=(len(t), 64)), 0) for t in (y, truth))
    if normalised:
        x, q = (z / np.linalg.norm(z, axis=1, keepdims=True) for z in (x, q))
    return x, y, q


@pytest.mark.parametrize("shots", [1, 5])
@pytest.mark.parametrize("name", [*DEFAULTS, "pt_map, not normalised", "feat"])
def test_a_head_equals_easyfsl(name, shots, monkeypatch):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch = pytest.importorskip("torch")
        pytest.importorskip("easyfsl.methods", exc_type=ImportError)
        from easyfsl import methods
        from easyfsl.modules import MultiHeadAttention

    class ToTheEnd(methods.LaplacianShot):  # it stops where its bound falls slowly
        def compute_upper_bound(self, *_):
            return np.random.default_rng().normal()

    monkeypatch.setattr(methods.pt_map, "MAXIMUM_SINKHORN_ITERATIONS", 20_000)

    class Exact(methods.PTMAP):  # it stops where its sums change slowly, or after 1,000 steps
        def compute_optimal_transport(self, costs, epsilon=0.0):
            return super().compute_optimal_transport(costs.double(), 1e-9).float()

    class Normalised(Exact):  # as in the paper
        def compute_features(self, images):
            return torch.nn.functional.normalize(super().compute_features(images), dim=1)

    net = nn.SetAttention()
    params = net.init(jax.random.key(0), jnp.zeros((5, 64)), jnp.ones(5, bool))
    attention, own = MultiHeadAttention(1, 64, 64, 64).eval(), params["params"]
    with torch.no_grad():
        for mine, other in {
            "queries": "w_qs",
            "keys": "w_ks",
            "values": "w_vs",
            "out": "fc",
        }.items():
            getattr(attention, other).weight.copy_(torch.tensor(np.asarray(own[mine]["kernel"].T)))
        attention.fc.bias.copy_(torch.tensor(np.asarray(own["out"]["bias"])))
    head, theirs, scores = {
        "transductive_finetuning": (
            learners.transductive_finetuning(5), methods.TransductiveFinetuning, lambda s: s
        ),
        "tim": (learners.tim(5), methods.TIM, lambda s: s / 10),
        "bd_cspn": (learners.bd_cspn(5), methods.BDCSPN, lambda s: s / 10),
        "laplacian_shot": (learners.laplacian_shot(5), ToTheEnd, np.exp),
        "pt_map": (learners.pt_map(5), Normalised, np.exp),
        "pt_map, not normalised": (learners.pt_map(5, normalized=False), Exact, np.exp),
        "feat": (
            learners.set_to_set(5, net, params),
            functools.partial(methods.FEAT, attention_module=attention),
            lambda s: -np.sqrt(-s),
        ),
    }[name]  # fmt: skip
    run = jax.jit(lambda x, y, q: head.predict(head.fit(x, y), q))
    for seed in range(3):
        x, y, q = _features(seed, shots, normalised="not" in name)
        method = theirs()
        method.process_support_set(torch.tensor(x).float(), torch.tensor(y))
        wanted = method(torch.tensor(q).float()).detach().numpy()
        found = scores(np.asarray(run(*(jnp.float32(x), y, jnp.float32(q)))))
        np.testing.assert_allclose(found, wanted, atol=1e-4)
        assert (found.argmax(1) == wanted.argmax(1)).all()

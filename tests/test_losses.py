"""Losses over embeddings: against loops, pytorch-metric-learning and finite differences."""

import functools
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jmeta import distances, losses

LABELS = np.array([0, 1, 2, 0, 1, 2, 0, 3])  # one class has a single example
Z = np.random.default_rng(0).normal(size=(8, 5))


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


def _unit(z):
    return z / np.linalg.norm(z, axis=1, keepdims=True)


DISTANCES = {  # name -> ours, and a loop's
    "euclidean": (distances.euclidean, lambda a, b: np.sqrt(((a - b) ** 2).sum())),
    "unit": (
        distances.normalized(distances.euclidean),
        lambda a, b: np.linalg.norm(a / np.linalg.norm(a) - b / np.linalg.norm(b)),
    ),
    "squared": (distances.squared_euclidean, lambda a, b: ((a - b) ** 2).sum()),
    "cosine": (distances.cosine, lambda a, b: 1 - a @ b / np.linalg.norm(a) / np.linalg.norm(b)),
    "dot": (distances.dot, lambda a, b: -(a @ b)),
}
REDUCERS = {
    "mean": (losses.mean_reducer, lambda v: np.mean(v) if len(v) else 0.0),
    "non-zero": (
        losses.avg_non_zero_reducer,
        lambda v: np.mean([x for x in v if x > 0]) if any(x > 0 for x in v) else 0.0,
    ),
    "sum": (losses.sum_reducer, np.sum),
}
every_distance = pytest.mark.parametrize("distance", DISTANCES)
CHOICES = [(name, "mean") for name in DISTANCES] + [("unit", "non-zero"), ("cosine", "sum")]


def _table(z, distance):
    return np.array([[distance(a, b) for b in z] for a in z])


def _sets(labels):
    """Anchor -> its positives and its negatives."""
    all_ = range(len(labels))
    positives = [[j for j in all_ if j != i and labels[j] == labels[i]] for i in all_]
    return positives, [[j for j in all_ if labels[j] != labels[i]] for i in all_]


def _loop_contrastive(d, labels, reduce, hard):
    positives, negatives = _sets(labels)
    pull, push = [], []
    for i, (ps, ns) in enumerate(zip(positives, negatives, strict=True)):
        if hard:
            if not ps or not ns:
                continue
            ps, ns = [max(ps, key=lambda j: d[i, j])], [min(ns, key=lambda j: d[i, j])]
        pull += [max(d[i, p] - 0.1, 0) for p in ps]
        push += [max(1.5 - d[i, n], 0) for n in ns]
    return reduce(pull) + reduce(push)


def _loop_triplet(d, labels, reduce, mining):
    losses = []
    for i, (ps, ns) in enumerate(zip(*_sets(labels), strict=True)):
        if mining == "hard" and ps and ns:
            ps, ns = [max(ps, key=lambda j: d[i, j])], [min(ns, key=lambda j: d[i, j])]
        for p in ps:
            for n in ns:
                if mining != "semihard" or 0 < d[i, n] - d[i, p] <= 0.4:
                    losses.append(max(d[i, p] - d[i, n] + 0.3, 0))
    return reduce(losses)


def _loop_n_pairs(d, labels, reduce):
    pairs = [np.flatnonzero(labels == c)[:2] for c in np.unique(labels) if (labels == c).sum() > 1]
    rows = [[-d[a, p] for _, p in pairs] for a, _ in pairs]
    return reduce([np.log(np.exp(row).sum()) - row[i] for i, row in enumerate(rows)])


def _loop_ntxent(d, labels, reduce, t):
    losses = []
    for i, (ps, ns) in enumerate(zip(*_sets(labels), strict=True)):
        others = sum(np.exp(-d[i, n] / t) for n in ns)
        losses += [d[i, p] / t + np.log(np.exp(-d[i, p] / t) + others) for p in ps]
    return reduce(losses)


def _loop_sup_con(d, labels, reduce, t):
    losses = []
    for i, (ps, ns) in enumerate(zip(*_sets(labels), strict=True)):
        total = np.log(sum(np.exp(-d[i, k] / t) for k in ps + ns))
        if ps:
            losses.append(np.mean([d[i, p] / t + total for p in ps]))
    return reduce(losses)


LOSSES = {  # name -> ours, loop
    "contrastive": (
        functools.partial(losses.contrastive, pos_margin=0.1, neg_margin=1.5),
        functools.partial(_loop_contrastive, hard=False),
    ),
    "contrastive, hard": (
        functools.partial(
            losses.contrastive, pos_margin=0.1, neg_margin=1.5, miner=losses.hard_pairs
        ),
        functools.partial(_loop_contrastive, hard=True),
    ),
    "triplet": (
        functools.partial(losses.triplet_margin, margin=0.3),
        functools.partial(_loop_triplet, mining="all"),
    ),
    "triplet, hard": (
        functools.partial(losses.triplet_margin, margin=0.3, miner=losses.hard_triplets),
        functools.partial(_loop_triplet, mining="hard"),
    ),
    "triplet, semi-hard": (
        functools.partial(losses.triplet_margin, margin=0.3, miner=losses.semihard_triplets(0.4)),
        functools.partial(_loop_triplet, mining="semihard"),
    ),
    "n-pairs": (losses.n_pairs, _loop_n_pairs),
    "nt-xent": (
        functools.partial(losses.ntxent, temperature=0.5),
        functools.partial(_loop_ntxent, t=0.5),
    ),
    "sup-con": (
        functools.partial(losses.sup_con, temperature=0.5),
        functools.partial(_loop_sup_con, t=0.5),
    ),
}
every_loss = pytest.mark.parametrize("name", LOSSES)


@functools.cache
def _compiled(name, distance, reducer):
    options = {"distance": DISTANCES[distance][0], "reducer": REDUCERS[reducer][0]}
    return jax.jit(functools.partial(LOSSES[name][0], **options))


@every_loss
@pytest.mark.parametrize("distance, reducer", CHOICES)
def test_a_loss_equals_its_loop(name, distance, reducer):
    wanted = LOSSES[name][1](_table(Z, DISTANCES[distance][1]), LABELS, REDUCERS[reducer][1])
    found = _compiled(name, distance, reducer)(jnp.array(Z), jnp.array(LABELS))
    np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-9)


@every_loss
def test_order_names_and_padding_do_not_matter(name):
    run = _compiled(name, "cosine", "mean")
    plain = run(jnp.array(Z), jnp.array(LABELS))
    renamed = run(jnp.array(Z), jnp.array([7, 0, 3, 5])[LABELS])
    padded = run(
        jnp.array(np.concatenate([Z[:3], 9 * np.ones((2, 5)), Z[3:]])),
        jnp.array(np.concatenate([LABELS[:3], [-1, -1], LABELS[3:]])),
    )
    np.testing.assert_allclose([renamed, padded], [plain, plain], rtol=1e-12)
    if name != "n-pairs":  # which takes the first two examples of a class
        order = np.random.default_rng(1).permutation(8)
        np.testing.assert_allclose(run(jnp.array(Z[order]), jnp.array(LABELS[order])), plain)


@every_loss
@pytest.mark.parametrize("distance", ["euclidean", "cosine"])
def test_the_gradient_equals_finite_differences(name, distance):
    run = jax.jit(lambda z: _compiled(name, distance, "mean")(z, jnp.array(LABELS)))
    exact = np.asarray(jax.jit(jax.grad(run))(jnp.array(Z)))
    steps = 1e-6 * np.eye(Z.size).reshape(-1, *Z.shape)
    many = jax.jit(jax.vmap(run))
    numeric = (many(Z + steps) - many(Z - steps)).reshape(Z.shape) / 2e-6
    np.testing.assert_allclose(exact, numeric, rtol=1e-6, atol=1e-8)


@every_loss
@pytest.mark.parametrize("distance", ["euclidean", "cosine"])  # those with roots
def test_the_gradient_is_finite_at_equal_and_zero_embeddings(name, distance):
    loss = jax.jit(jax.grad(_compiled(name, distance, "non-zero")))
    for z in (jnp.zeros((8, 5), jnp.float32), jnp.ones((8, 5), jnp.float32)):
        assert jnp.isfinite(loss(z, jnp.array(LABELS))).all()
    for labels in (jnp.zeros(8, int), jnp.arange(8), -jnp.ones(8, int)):  # no negative, no pair
        assert jnp.isfinite(loss(jnp.array(Z), labels)).all()
        assert jnp.isfinite(_compiled(name, distance, "non-zero")(jnp.array(Z), labels))


def test_distances_of_a_pytree_add_up():
    left, right = jnp.array(Z), jnp.array(Z[:, :3])
    for ours, _ in DISTANCES.values():
        ours = jax.jit(ours)
        both = ours({"a": left, "b": right}, {"a": left, "b": right})
        np.testing.assert_allclose(both, ours(left, left) + ours(right, right))
    pair = {"a": left, "b": right}
    assert jnp.isfinite(losses.sup_con(pair, jnp.array(LABELS)))


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match=r"integer labels \[8\]"):
        losses.contrastive(jnp.array(Z), jnp.array(LABELS)[:3])
    with pytest.raises(ValueError, match="float"):
        losses.contrastive(jnp.array(Z), jnp.ones(8))
    with pytest.raises(ValueError, match="same D"):
        distances.euclidean(jnp.ones((2, 3)), jnp.ones((2, 4)))


def _their(torch, name, distance):
    """The loss and the miner of pytorch-metric-learning."""
    from pytorch_metric_learning import distances, losses, miners

    made = {
        "euclidean": lambda: distances.LpDistance(normalize_embeddings=False),
        "unit": distances.LpDistance,
        "squared": lambda: distances.LpDistance(normalize_embeddings=False, power=2),
        "cosine": distances.CosineSimilarity,
        "dot": lambda: distances.DotProductSimilarity(normalize_embeddings=False),
    }[distance]()
    shift = {"cosine": 1.0}.get(distance, 0.0)  # similarity = shift - our distance
    sign = -1.0 if made.is_inverted else 1.0
    margins = {"pos_margin": shift + sign * 0.1, "neg_margin": shift + sign * 1.5}
    loss = {
        "contrastive": lambda: losses.ContrastiveLoss(**margins, distance=made),
        "triplet": lambda: losses.TripletMarginLoss(margin=0.3, distance=made),
        "n-pairs": lambda: losses.NPairsLoss(distance=made),
        "nt-xent": lambda: losses.NTXentLoss(temperature=0.5, distance=made),
        "sup-con": lambda: losses.SupConLoss(temperature=0.5, distance=made),
    }[name.split(",")[0]]()
    hard, semi = name.endswith(" hard"), name.endswith("semi-hard")
    miner = miners.BatchHardMiner(distance=made) if hard else None
    if semi:
        miner = miners.TripletMarginMiner(0.4, type_of_triplets="semihard", distance=made)
    return loss, miner


@every_loss
@every_distance
def test_a_loss_equals_pytorch_metric_learning(name, distance):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch = pytest.importorskip("torch")
        pytest.importorskip("pytorch_metric_learning")
        loss, miner = _their(torch, name, distance)
        z, labels = torch.tensor(Z), torch.tensor(LABELS)
        wanted = float(loss(z, labels, miner(z, labels) if miner else None))
    options = {"distance": DISTANCES[distance][0]}
    found = jax.jit(functools.partial(LOSSES[name][0], **options))(jnp.array(Z), jnp.array(LABELS))
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-7)

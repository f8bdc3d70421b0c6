"""Domain-adversarial training: pictures whose second domain has no labels, and two moons.

    python benchmarks/domain_adversarial.py [--seeds 3] [--steps 1500]

All pictures have 14x14 pixels, and the target's have no labels. The accuracy is that on the
target's own images, as is usual. The same network is trained on the source alone (the weight of the
domain loss is 0) and domain-adversarially; both see the same batches.

Turned: 20 characters of Omniglot, each one class. The source is the drawings of ten people,
upright, white ink on black, and the target is the drawings of ten others, turned by 30 degrees
against the clock. Inverted: black and white are exchanged instead. Every seed has other characters,
other weights and other batches.

Handwritten: the letters of a script, each one class. The source is 40 drawings of each letter from
fonts, distorted as in the set `glyphs`, and the target is Omniglot's 20 drawings of each by hand.
Every seed has other weights and other batches.

Hyperparameters were chosen on turned characters of the validation split and tried on the Greek
letters (`--split val`). The record is of characters of the test split, and of the Hebrew and the
Cyrillic letters. Their target labels are read once, at the end, for the accuracy. (A few Hebrew
letters by hand were among the turned characters of the validation split.)

Two moons: the target is the source turned about its centre. jmeta beside skada's DANN, with the
same layers, optimizer, numbers of updates and sizes of batches; skada is left out where it is not
installed (`pip install skada torch skorch`). Both do as skada does: the strength of the reversal is
1 from the first update, the rate is constant, and the losses of the two domains are added, so
jmeta's mean of the two has the weight 2. The domain classifier that skada makes by default ends in
a softmax of one number, which is always 1, so it is given one that ends in a sigmoid. The initial
weights are those of each library.

Intervals are 95% over seeds, by Student's t.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial
from importlib import metadata
from typing import Any, NamedTuple

import common
import jax
import jax.numpy as jnp
import numpy as np
import optax
import scipy.ndimage
from common import over_seeds

import jmeta
from jmeta import Batch, Task, augment, data, metrics, nn, transfer

CHARACTERS, SIDE, DRAWERS, FONTS, DEGREES = 20, 14, (10,), 40, 30
LETTERS = {  # in the order of Omniglot's characters
    "Greek": "αβγδεζηθικλμνξοπρστυφχψω",
    "Hebrew": "אבגדהוזחטיכלמנסעפצקרשת",
    "Cyrillic": "абвгдеёжзийклмнопрстуфхцчшщъыьэюя",
}
SCRIPTS = {"val": ("Greek",), "test": ("Hebrew", "Cyrillic")}
METHODS = {"source only": 0.0, "domain-adversarial": 1.0}  # weights of the domain loss
AS_SKADA = {"source only": 0.0, "domain-adversarial": 2.0}
MOONS, NOISE, TURN, WIDTH, BATCH = 400, 0.1, 35.0, 32, 64

Sample = Callable[[jax.Array], Task]


class Domains(NamedTuple):
    """Images of the same classes in two domains, [N, E, S, S, 1] with an E of each."""

    source: np.ndarray
    target: np.ndarray


def accuracy(nets: dict[str, Any], params: Any, x: jax.Array, y: jax.Array) -> float:
    """Of the classifier on examples of one domain."""
    net = transfer.hard_sharing(nets["embed"], {"classifier": nets["classifier"]})
    logits = jax.jit(net.apply)(params, x)["classifier"]
    return float(metrics.accuracy(logits, y))


def train(
    nets: dict[str, Any], sample: Sample, key: jax.Array, options: dict[str, Any], weight: float
) -> Any:
    """Parameters after `steps` updates of Adam, with schedules unless all is constant."""
    steps, rate, constant = options["steps"], options["rate"], options.get("constant", False)
    tx = optax.adam(rate if constant else optax.cosine_decay_schedule(rate, steps))
    heads = {name: net for name, net in nets.items() if name != "embed"}

    @jax.jit
    def start(key: jax.Array) -> jmeta.TrainState:
        params = transfer.hard_sharing(nets["embed"], heads).init(key, sample(key).support.x)
        return jmeta.train_state(params, tx)

    @jax.jit
    def rounds(state: jmeta.TrainState, keys: jax.Array) -> tuple[jmeta.TrainState, jax.Array]:
        def body(state: jmeta.TrainState, key: jax.Array) -> tuple:
            grown = 1.0 if constant else transfer.reversal_schedule(state.step / steps)
            strength = options["strength"] * grown
            loss = transfer.domain_adversarial(**nets, strength=strength, weight=weight)
            state, aux = jmeta.step(loss, tx, sample=sample)(state, key[None])
            return state, aux.loss

        return jax.lax.scan(body, state, keys)

    state = start(key)
    keys = jax.random.split(jax.random.fold_in(key, 1), steps)
    for place in range(0, steps, 250):
        state, _ = rounds(state, keys[place : place + 250])
    return state.params


def changed(seed: int, split: str, change: Callable[[np.ndarray], np.ndarray]) -> Domains:
    """The drawings of ten people, and the changed ones of ten others."""
    pool = getattr(data.load_omniglot(size=SIDE), split)
    chosen = np.random.default_rng(seed).permutation(len(pool.counts))[:CHARACTERS]
    images = by_class(pool.examples, 20)[np.sort(chosen)]
    source, target = np.split(images, DRAWERS, axis=1)
    return Domains(source, change(target))


def turned(images: np.ndarray) -> np.ndarray:
    """Images [N, E, S, S, 1], turned against the clock."""
    return scipy.ndimage.rotate(images, DEGREES, (3, 2), reshape=False, order=1)


def handwritten(script: str) -> Domains:
    """The letters of a script in fonts, and by hand."""
    dataset = data.load_omniglot(size=SIDE, split="lake")  # which divides whole alphabets
    names = dataset.info["classes"]
    part = next(part for part in names if f"{script}/character01" in names[part])
    places = [place for place, name in enumerate(names[part]) if name.startswith(f"{script}/")]
    fonts = data.draw_characters(LETTERS[script], size=2 * SIDE, drawings=FONTS).examples
    fonts = np.asarray(fonts).reshape(-1, SIDE, 2, SIDE, 2, 1).mean((2, 4))
    return Domains(by_class(fonts, FONTS), by_class(getattr(dataset, part).examples, 20)[places])


def by_class(images: Any, each: int) -> np.ndarray:
    """Images of 0..255, class after class, to float32 [N, E, S, S, 1] in 0..1."""
    return np.asarray(images, np.float32).reshape(-1, each, SIDE, SIDE, 1) / 255


def pictures(domains: Callable[[int], Domains], options: argparse.Namespace) -> dict[str, Any]:
    """Accuracies on the target: of each method, and the margin."""
    found: dict[str, list[float]] = {name: [] for name in METHODS}
    change = augment.affine(options.jitter, shift=0.07, fill="edge")
    for seed in range(options.seeds):
        parts = domains(seed)
        nets = {
            "embed": nn.Conv4(None, filters=options.filters, form="strided", norm="group"),
            "classifier": nn.MLP((), len(parts.source)),
            "domain": nn.MLP((128, 128), 2),
        }
        held = {name: flat(images) for name, images in parts._asdict().items()}

        def sample(key: jax.Array, held: dict[str, Any] = held) -> Task:
            first, second, one, two = jax.random.split(key, 4)
            (xs, ys), (xt, _) = held["source"], held["target"]
            own = jax.random.randint(first, (options.batch,), 0, len(xs))
            other = jax.random.randint(second, (options.batch,), 0, len(xt))
            unknown = jnp.zeros(options.batch, jnp.int32)
            return Task(
                Batch(change(one, xs[own]), ys[own]), Batch(change(two, xt[other]), unknown)
            )

        for name, weight in METHODS.items():
            begin = time.perf_counter()
            params = train(nets, sample, jax.random.key(seed), vars(options), weight)
            found[name].append(accuracy(nets, params, *held["target"]))
            took = time.perf_counter() - begin
            print(f"seed {seed}, {name}: {found[name][-1]:.3f} in {took:.0f} s", flush=True)
    return summary(found, "domain-adversarial", "source only")


def flat(images: np.ndarray) -> tuple[jax.Array, jax.Array]:
    """Images [N, E, ...] of N classes to images [N E, ...] and labels [N E]."""
    classes, each = images.shape[:2]
    labels = np.repeat(np.arange(classes, dtype=np.int32), each)
    return jnp.asarray(images.reshape(-1, *images.shape[2:])), jnp.asarray(labels)


def pairs(options: argparse.Namespace) -> dict[str, Callable[[int], Domains]]:
    """Name -> the two domains for a seed."""
    changes = {
        f"Omniglot, turned by {DEGREES}°": turned,
        "Omniglot, black and white exchanged": lambda images: 1 - images,
    }
    made = {name: partial(changed, split=options.split, change=f) for name, f in changes.items()}
    for script in SCRIPTS[options.split]:
        letters = handwritten(script)
        made[f"{script} letters, from fonts to handwriting"] = lambda _, letters=letters: letters
    return made


def summary(found: dict[str, list[float]], better: str, worse: str) -> dict[str, Any]:
    """All methods over the seeds, and what one is above another, seed by seed."""
    gain = [a - b for a, b in zip(found[better], found[worse], strict=True)]
    return {
        **{name: over_seeds(values) for name, values in found.items()},
        "gain": over_seeds(gain),
    }


def moons(seed: int) -> dict[str, Any]:
    """Two moons, and two others turned."""
    rng = np.random.default_rng(seed)

    def draw(degrees: float) -> tuple[np.ndarray, np.ndarray]:
        y = np.arange(MOONS) % 2
        at = np.pi * rng.uniform(size=MOONS)
        x = np.stack([np.cos(at), np.sin(at)], 1) * np.where(y, -1, 1)[:, None]
        x += np.where(y, 1, 0)[:, None] * np.array([1.0, 0.5]) - np.array([0.5, 0.25])
        x += NOISE * rng.normal(size=x.shape)
        a = np.deg2rad(degrees)
        turn = np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
        return (x @ turn.T).astype(np.float32), y.astype(np.int32)

    return {"source": draw(0.0), "target": draw(TURN), "test": draw(TURN)}


def two_moons(options: argparse.Namespace) -> dict[str, Any]:
    """Accuracies on the target: jmeta's, and skada's where it is installed."""
    nets = {
        "embed": nn.MLP((WIDTH, WIDTH), None),
        "classifier": nn.MLP((), 2),
        "domain": nn.MLP((WIDTH,), 2),
    }
    with_peer = peer_version() is not None
    found: dict[str, list[float]] = {name: [] for name in AS_SKADA}
    found |= {"skada": []} if with_peer else {}
    for seed in range(options.moon_seeds):
        held = moons(seed)

        def sample(key: jax.Array, held: dict[str, Any] = held) -> Task:
            own, other = jax.random.randint(key, (2, BATCH), 0, MOONS)
            (xs, ys), (xt, _) = (
                (jnp.asarray(x), jnp.asarray(y)) for x, y in list(held.values())[:2]
            )
            return Task(Batch(xs[own], ys[own]), Batch(xt[other], jnp.zeros(BATCH, jnp.int32)))

        settings = {"steps": options.moon_steps, "rate": 3e-3, "strength": 1.0, "constant": True}
        for name, weight in AS_SKADA.items():
            params = train(nets, sample, jax.random.key(seed), settings, weight)
            found[name].append(accuracy(nets, params, *map(jnp.asarray, held["test"])))
        if with_peer:
            found["skada"].append(skada_accuracy(held, seed, options.moon_steps))
        print(seed, {name: values[-1] for name, values in found.items()}, flush=True)
    margins = summary(found, "domain-adversarial", "source only")
    if with_peer:
        margins["below_skada"] = summary(found, "skada", "domain-adversarial")["gain"]
    return margins


def peer_version() -> str | None:
    """The version of skada; None where it, or what its deep methods need, is not installed."""
    try:
        return [metadata.version(name) for name in ("torch", "skorch", "skada")][-1]
    except metadata.PackageNotFoundError:
        return None


def skada_accuracy(held: dict[str, Any], seed: int, steps: int) -> float:
    """The accuracy of skada's DANN on the target."""
    import torch
    from skada.deep import DANN
    from skada.deep.modules import GradientReversalLayer

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            two, relu = torch.nn.Linear(WIDTH, WIDTH), torch.nn.ReLU
            self.embed = torch.nn.Sequential(torch.nn.Linear(2, WIDTH), relu(), two, relu())
            self.out = torch.nn.Linear(WIDTH, 2)

        def forward(self, x: Any, sample_weight: Any = None) -> Any:
            return self.out(self.embed(x))

    class Domain(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            relu, last = torch.nn.ReLU(), torch.nn.Linear(WIDTH, 1)
            self.net = torch.nn.Sequential(torch.nn.Linear(WIDTH, WIDTH), relu, last)

        def forward(self, x: Any, sample_weight: Any = None) -> Any:
            return torch.sigmoid(self.net(GradientReversalLayer.apply(x, 1.0)))[:, 0]

    torch.manual_seed(seed)
    (xs, ys), (xt, _), (x, y) = held.values()
    epochs = round(steps * BATCH / MOONS)
    model = DANN(
        Net(), "embed", reg=1.0, domain_classifier=Domain(), optimizer=torch.optim.Adam, lr=3e-3,
        batch_size=2 * BATCH, max_epochs=epochs, train_split=None, verbose=0,
    )  # fmt: skip
    labels = np.concatenate([ys, np.full(MOONS, -1)]).astype(np.int64)
    domain = np.repeat([1, -2], MOONS)
    model.fit(np.concatenate([xs, xt]), labels, sample_domain=domain)
    predicted = model.predict(x, sample_domain=np.full(MOONS, -2))
    return float((np.asarray(predicted) == y).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--moon-seeds", type=int, default=10)
    parser.add_argument("--moon-steps", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--split", choices=("val", "test"), default="test")
    parser.add_argument("--jitter", type=float, default=5.0, help="degrees of the augmentation")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--filters", type=int, default=48)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--strength", type=float, default=1.0)
    options = parser.parse_args()
    record: dict[str, Any] = {"schema": 1, "protocol": vars(options), "skada": peer_version()}
    record["pictures"] = {name: pictures(pair, options) for name, pair in pairs(options).items()}
    record["moons"] = two_moons(options)
    print(record["pictures"], record["moons"])
    if options.split == "test":
        common.write("domain_adversarial", record)


if __name__ == "__main__":
    main()

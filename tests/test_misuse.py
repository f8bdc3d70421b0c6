"""Misuse, each kind with the sentence that it must be answered by."""

import ast
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from learners import (
    DROPPED,
    EMBED,
    HEAD,
    NET,
    SGD,
    WAYS,
    Case,
    apply,
    case_named,
    init,
    made,
    predictor,
    task,
)
from quick import few

import jmeta
from jmeta import learners, losses, metrics, nn
from jmeta.learners import full_context, head_accuracies, siamese_loss, transformed

KEY = jax.random.key(0)
CE = losses.cross_entropy
PROTO = jmeta.prototypical(WAYS)
SOLVER = jmeta.unrolled(SGD, 1)
LEARNER = jmeta.maml(NET, CE, SOLVER)
LOSS = jmeta.episodic(LEARNER, CE)
CONTEXT = nn.FullContext(WAYS)

NO_NETWORK = r"{} expects a network with the functions init and apply, but got {}.*from_functions"
NO_LEARNER = r"{} expects a Learner as its first argument, but got {}"
NO_OBJECTIVE = r"{} expects an objective.* but got {}; check the order"
NO_SOLVER = r"maml expects a solver such as jmeta.unrolled.* but got {}"
NO_HEAD = r"{} expects a head such as jmeta.prototypical\(ways\), but got {}"
NO_TX = r"{} expects an Optax transformation such as .* but got {}; check the order"

CONSTRUCTORS = {
    # a raw function in the place of a network
    "maml: function": (lambda: jmeta.maml(apply, CE, SOLVER), NO_NETWORK.format("maml", "apply")),
    "metric: function": (lambda: jmeta.metric(apply, PROTO), NO_NETWORK.format("metric", "apply")),
    "meta_sgd: function": (
        lambda: jmeta.meta_sgd(apply, CE, 1, rate=0.1).init(KEY, task(KEY)),
        NO_NETWORK.format("maml", "apply"),
    ),
    "proto_maml: function": (
        lambda: jmeta.proto_maml(apply, CE, SOLVER, ways=WAYS),
        NO_NETWORK.format("proto_maml", "apply"),
    ),
    "relation: function": (
        lambda: jmeta.relation(NET, apply, ways=WAYS),
        NO_NETWORK.format("relation", "apply"),
    ),
    "siamese: function": (
        lambda: jmeta.siamese(apply, ways=WAYS),
        NO_NETWORK.format("siamese", "apply"),
    ),
    "siamese_loss: function": (
        lambda: siamese_loss(apply, ways=WAYS),
        NO_NETWORK.format("siamese_loss", "apply"),
    ),
    "full_context: function": (
        lambda: full_context(NET, apply, PROTO),
        NO_NETWORK.format("full_context", "apply"),
    ),
    "amortised: function": (
        lambda: jmeta.amortised(apply, ways=WAYS),
        NO_NETWORK.format("amortised", "apply"),
    ),
    "meta_network: function": (
        lambda: jmeta.meta_network(NET, NET, apply, NET),
        NO_NETWORK.format("meta_network", "apply"),
    ),
    "neural_process: function": (
        lambda: jmeta.neural_process(apply),
        NO_NETWORK.format("neural_process", "apply"),
    ),
    "neural_process_loss: function": (
        lambda: learners.neural_process_loss(apply),
        NO_NETWORK.format("neural_process_loss", "apply"),
    ),
    "embed_examples: function": (
        lambda: learners.embed_examples(apply, {}, jnp.ones((2, 4))),
        NO_NETWORK.format("embed_examples", "apply"),
    ),
    # a class in the place of an instance
    "maml: class": (
        lambda: jmeta.maml(nn.MLP, CE, SOLVER),
        r"maml expects a network, but got the class MLP itself; make one, as in MLP\(\)",
    ),
    "on_features: class": (
        lambda: jmeta.learners.on_features(nn.Conv4, LEARNER),
        r"on_features expects a network, but got the class Conv4 itself",
    ),
    "metric: another class": (
        lambda: jmeta.metric(dict, PROTO),
        NO_NETWORK.format("metric", "the class dict itself"),
    ),
    # arguments in another order
    "maml: objective first": (
        lambda: jmeta.maml(CE, NET, SOLVER),
        NO_NETWORK.format("maml", "cross_entropy"),
    ),
    "maml: network second": (
        lambda: jmeta.maml(NET, NET, SOLVER),
        NO_OBJECTIVE.format("maml", "Network"),
    ),
    "maml: network last": (lambda: jmeta.maml(NET, CE, NET), NO_SOLVER.format("Network")),
    "maml: solver before objective": (
        lambda: jmeta.maml(NET, SOLVER, CE).adapt(init(KEY), task(KEY).support),
        r"cross_entropy expects arrays of outputs and targets, but got .*; .*check the order",
    ),
    "proto_maml: objective first": (
        lambda: jmeta.proto_maml(CE, EMBED, SOLVER, ways=WAYS),
        NO_NETWORK.format("proto_maml", "cross_entropy"),
    ),
    "metric: head first": (
        lambda: jmeta.metric(PROTO, NET),
        NO_NETWORK.format("metric", "Head"),
    ),
    "metric: no head": (lambda: jmeta.metric(NET, NET), NO_HEAD.format("metric", "Network")),
    "metric: head not called": (
        lambda: jmeta.metric(NET, jmeta.prototypical),
        NO_HEAD.format("metric", "function"),
    ),
    "embedding_loss: head before objective": (
        lambda: learners.embedding_loss(NET, PROTO, losses.contrastive),
        NO_OBJECTIVE.format("embedding_loss", "Head"),
    ),
    "full_context: head second": (
        lambda: full_context(NET, PROTO, CONTEXT),
        NO_NETWORK.format("full_context", "Head"),
    ),
    "full_context: context last": (
        lambda: full_context(NET, CONTEXT, NET),
        NO_HEAD.format("full_context", "Network"),
    ),
    "on_features: learner first": (
        lambda: jmeta.learners.on_features(LEARNER, NET),
        NO_NETWORK.format("on_features", "Learner"),
    ),
    "on_features: two networks": (
        lambda: jmeta.learners.on_features(NET, NET),
        NO_LEARNER.format("on_features", "Network"),
    ),
    "episodic: objective first": (
        lambda: jmeta.episodic(CE, LEARNER),
        NO_LEARNER.format("episodic", "function"),
    ),
    "episodic: network": (
        lambda: jmeta.episodic(NET, CE),
        NO_LEARNER.format("episodic", "Network"),
    ),
    "episodic: two learners": (
        lambda: jmeta.episodic(LEARNER, LEARNER),
        NO_OBJECTIVE.format("episodic", "Learner"),
    ),
    "multi_step: weights second": (
        lambda: jmeta.multi_step(LEARNER, jnp.ones(3), CE),
        NO_OBJECTIVE.format("multi_step", "ArrayImpl"),
    ),
    "reptile: objective first": (
        lambda: jmeta.reptile(CE, LEARNER),
        NO_LEARNER.format("reptile", "function"),
    ),
    "inductive: network": (
        lambda: jmeta.inductive(NET),
        NO_LEARNER.format("inductive", "Network"),
    ),
    "learned: hyper first": (
        lambda: jmeta.learned(0.1, lambda rate: LEARNER),
        r"learned expects a function that makes a learner of hyperparameters, but got float",
    ),
    "learned: learner": (
        lambda: jmeta.learned(LEARNER, 0.1),
        r"learned expects a function that makes a learner .* but got Learner",
    ),
    "transformed: transform first": (
        lambda: transformed(jnp.tanh, PROTO),
        NO_HEAD.format("transformed", ".*"),
    ),
    "evaluate: parameters first": (
        lambda: jmeta.evaluate(init(KEY), LEARNER, task, KEY),
        NO_LEARNER.format("evaluate", "dict"),
    ),
    "predictions: parameters first": (
        lambda: jmeta.predictions(init(KEY), LEARNER, task, KEY, episodes=2),
        NO_LEARNER.format("predictions", "dict"),
    ),
    "unrolled: steps first": (lambda: jmeta.unrolled(1, SGD), NO_TX.format("unrolled", "int")),
    "implicit: steps first": (
        lambda: jmeta.implicit(5, SGD, strength=1.0),
        NO_TX.format("implicit", "int"),
    ),
    "unrolled: not called": (
        lambda: jmeta.unrolled(optax.sgd, 1),
        NO_TX.format("unrolled", "sgd"),
    ),
    "step: optimizer first": (lambda: jmeta.step(SGD, LOSS), NO_TX.format("step", "loss")),
    "step: learner": (
        lambda: jmeta.step(LEARNER, SGD),
        r"expected the loss of one task.*jmeta.episodic.* but got Learner",
    ),
    "train_state: optimizer first": (
        lambda: jmeta.train_state(SGD, init(KEY)),
        NO_TX.format("train_state", "dict"),
    ),
    # an Optax transformation in the place of a solver
    "maml: transformation": (
        lambda: jmeta.maml(NET, CE, SGD),
        NO_SOLVER.format("GradientTransformation"),
    ),
    "proto_maml: transformation": (
        lambda: jmeta.proto_maml(EMBED, CE, SGD, ways=WAYS),
        NO_SOLVER.format("GradientTransformation"),
    ),
}


@pytest.mark.parametrize("name", CONSTRUCTORS)
def test_a_constructor_names_what_it_expected(name: str) -> None:
    call, words = CONSTRUCTORS[name]
    with pytest.raises(ValueError, match=words):
        call()


def _multi_step(learner, weights):
    loss = jmeta.multi_step(learner, CE, weights)
    return jax.eval_shape(lambda one: loss(learner.init(KEY, one), one), task(KEY))


WITH_PATH = jmeta.maml(NET, CE, jmeta.unrolled(SGD, 2, path=True))
PATHS = {
    "protonet keeps none": lambda: _multi_step(jmeta.metric(NET, PROTO), jnp.ones(2)),
    "maml without path=True": lambda: _multi_step(LEARNER, jnp.ones(1)),
    "imaml keeps none": lambda: _multi_step(
        jmeta.maml(NET, CE, jmeta.implicit(SGD, 2, strength=1.0)), jnp.ones(2)
    ),
    "predict_path": lambda: jmeta.predict_path(
        LEARNER, LEARNER.adapt(init(KEY), task(KEY).support), task(KEY).query.x
    ),
}


@pytest.mark.parametrize("name", PATHS)
def test_a_missing_path_is_named(name: str) -> None:
    with pytest.raises(ValueError, match=r"keeps its path: jmeta.unrolled\(tx, steps, path=True\)"):
        PATHS[name]()


@pytest.mark.parametrize("weights", [jnp.ones(3), jnp.ones(()), jnp.ones((2, 1))])
def test_a_weight_is_needed_for_each_step(weights: jax.Array) -> None:
    with pytest.raises(ValueError, match=r"weights of shape .* for 2 inner steps; give one weight"):
        _multi_step(WITH_PATH, weights)


def test_reptile_needs_adapted_parameters() -> None:
    for learner in (jmeta.metric(NET, PROTO), jmeta.meta_sgd(NET, CE, 1, rate=0.1)):
        with pytest.raises(ValueError, match="reptile needs a learner that adapts parameters of"):
            jmeta.reptile(learner, CE)(learner.init(KEY, task(KEY)), task(KEY))


def test_a_solver_returns_a_solution() -> None:
    learner = jmeta.maml(NET, CE, lambda loss, start: start)
    with pytest.raises(ValueError, match=r"must return a jmeta.Solution, but it returned dict"):
        learner.adapt(init(KEY), task(KEY).support)


# Parameters that init did not make


MADE = {
    "meta-sgd": r"parameters are Meta\(params, hyper\), but got dict; make them with learner.init",
    "maml++": r"parameters are Meta\(params, hyper\), but got dict; make them with learner.init",
    "siamese": r"siamese are a dictionary with embed, alpha, bias, but got .*learner.init",
    "relation": r"relation are a dictionary with embed, relation, but got .*learner.init",
    "matching, full context": r"full_context are a dictionary with embed, context, but got .*init",
    "meta network": r"meta_network are MetaNetworkParams, but got dict; .*learner.init",
}


@pytest.mark.parametrize("name", MADE)
def test_parameters_come_from_init(name: str) -> None:
    case: Case = case_named(name)
    with pytest.raises(ValueError, match=MADE[name]):
        made(case).adapt(init(KEY), task(KEY).support)


def test_parameters_of_wrappers_and_losses_come_from_init() -> None:
    learner = jmeta.learners.on_features(NET, LEARNER)
    with pytest.raises(ValueError, match="on_features are a dictionary with embed, learner"):
        learner.adapt(init(KEY), task(KEY).support)
    with pytest.raises(ValueError, match="siamese_loss are a dictionary with embed, alpha, bias"):
        siamese_loss(NET, ways=WAYS)(init(KEY), task(KEY))
    with pytest.raises(ValueError, match=r"but got ArrayImpl; make them with learner.init"):
        jmeta.siamese(NET, ways=WAYS).adapt(jnp.ones(3), task(KEY).support)


@pytest.mark.parametrize("which", [HEAD, jmeta.part("dead")])
def test_a_selection_of_other_parameters_is_refused(which: jmeta.core.Selection) -> None:
    learner = jmeta.maml(nn.MLP((3,), WAYS), CE, SOLVER, adapts=which)
    params = learner.init(KEY, task(KEY))
    with pytest.raises(ValueError, match=r"selects none of the parameters; they are params/"):
        learner.adapt(params, task(KEY).support)


# Tasks, meshes and labels


SINGLE = r"must be a batch of tasks with a leading axis \[T\], but this is a single task"
CURVE = jmeta.Batch(jnp.ones((4, 1)), jnp.ones((4, 1)))


@pytest.mark.parametrize("one", [task(KEY), jmeta.Task(CURVE, CURVE)])
def test_a_single_task_is_no_batch(one: jmeta.Task) -> None:
    state = jmeta.train_state(init(KEY), SGD)
    gradient = jmeta.meta_gradient(LOSS)
    with pytest.raises(ValueError, match=SINGLE):
        gradient(init(KEY), one)
    with pytest.raises(ValueError, match=SINGLE):
        jmeta.core.data_parallel(gradient, jmeta.task_mesh(2))(init(KEY), one)
    with pytest.raises(ValueError, match=SINGLE):
        jmeta.step(LOSS, SGD)(state, one)
    with pytest.raises(ValueError, match="share one leading axis"):
        jmeta.step(LOSS, SGD, sample=task)(state, KEY)


def test_a_mesh_has_one_axis() -> None:
    mesh = jax.make_mesh((2, 1), ("tasks", "more"), axis_types=(jax.sharding.AxisType.Auto,) * 2)
    learner = jmeta.metric(NET, PROTO)
    arguments = (learner, init(KEY), task, KEY)
    pool = _pool()
    sample = lambda key, pool: task(key)._replace(  # noqa: E731
        support=jmeta.Batch(jnp.arange(2), jnp.arange(2)),
        query=jmeta.Batch(jnp.arange(2), jnp.arange(2)),
    )
    one_axis = r"expects a mesh with one axis, but got .*tasks.*more.*jmeta.task_mesh"
    for call in (
        lambda: jmeta.evaluate(*arguments, episodes=2, mesh=mesh),
        lambda: jmeta.predictions(*arguments, episodes=2, mesh=mesh),
        lambda: head_accuracies({"one": PROTO}, sample, pool, KEY, episodes=2, mesh=mesh),
        lambda: jmeta.core.data_parallel(jmeta.meta_gradient(LOSS), mesh),
    ):
        with pytest.raises(ValueError, match=one_axis):
            call()


def _pool():
    from jmeta.data import pool_from_classes

    return pool_from_classes([np.ones((2, 3), np.float32)] * 2)


HEADS = {
    "prototypical": PROTO,
    "nearest_centroid": learners.nearest_centroid(WAYS, features="UN"),
    "matching": jmeta.matching(WAYS),
    "weighted_l1": learners.weighted_l1(WAYS, jnp.ones(2), jnp.zeros(())),
    "ridge": jmeta.ridge(WAYS),
    "logistic": learners.logistic(WAYS),
    "svm": learners.svm(WAYS),
}
LABELS = {
    "list": ([0, 1], "list"),
    "strings": (np.array(["cat", "dog"]), "<U3"),
    "list of strings": (["cat", "dog"], "list"),
    "floats": (jnp.ones(2), "float32"),
    "booleans": (jnp.ones(2, bool), "bool"),
}
labels = pytest.mark.parametrize("kind", LABELS)


@labels
@pytest.mark.parametrize("head", HEADS)
def test_labels_of_a_head_are_an_array_of_integers(head: str, kind: str) -> None:
    given, found = LABELS[kind]
    with pytest.raises(ValueError, match=f"array of integer labels.* but got {found}.*number the"):
        HEADS[head].fit(jnp.ones((2, 2)), given)


OBJECTIVES = ("cross_entropy", "relation_error")
OF_EMBEDDINGS = ("contrastive", "triplet_margin", "n_pairs", "ntxent", "sup_con")


@labels
@pytest.mark.parametrize("name", OBJECTIVES)
def test_labels_of_an_objective_are_an_array_of_integers(name: str, kind: str) -> None:
    given, found = LABELS[kind]
    words = "make arrays of lists with jnp.asarray" if found == "list" else "number named classes"
    with pytest.raises(ValueError, match=rf"{name} expects .* got .*{found}.*{words}"):
        getattr(losses, name)(jnp.ones((2, 3)), given)


@labels
@pytest.mark.parametrize("name", OF_EMBEDDINGS)
def test_labels_of_a_loss_over_embeddings_are_an_array_of_integers(name: str, kind: str) -> None:
    given, found = LABELS[kind]
    with pytest.raises(ValueError, match=rf"integer labels \[2\], but got {found}"):
        getattr(losses, name)(jnp.ones((2, 3)), given)


def test_targets_of_a_regression_are_an_array() -> None:
    with pytest.raises(ValueError, match=r"mean_squared_error expects arrays .* got .* and list"):
        losses.mean_squared_error(jnp.ones((2, 1)), [[1.0], [2.0]])


# Keys


STOCHASTIC = {
    "maml": lambda: jmeta.maml(DROPPED, CE, SOLVER),
    "metric": lambda: jmeta.metric(DROPPED, PROTO),
    "proto_maml": lambda: jmeta.proto_maml(DROPPED, CE, SOLVER, ways=WAYS),
    "siamese": lambda: jmeta.siamese(DROPPED, ways=WAYS),
    "relation": lambda: jmeta.relation(DROPPED, nn.RelationMLP((4, 4)), ways=WAYS),
    "full_context": lambda: full_context(DROPPED, CONTEXT, PROTO),
    "on_features": lambda: jmeta.learners.on_features(DROPPED, jmeta.metric(nn.MLP((), 2), PROTO)),
}


@pytest.mark.parametrize("name", few(STOCHASTIC, *(set(STOCHASTIC) - {"full_context"})))
def test_a_stochastic_network_asks_for_a_key(name: str) -> None:
    learner, one = STOCHASTIC[name](), task(KEY)
    params = jax.jit(learner.init)(KEY, one)  # which needs none
    with pytest.raises(ValueError, match=rf"network of {name} is stochastic.*Batch\(x, y, key\)"):
        learner.adapt(params, one.support._replace(key=None))
    outputs = predictor(learner)(params, one.support, one.query.x)
    assert outputs.shape == (6, WAYS) and bool(jnp.isfinite(outputs).all())


def test_losses_over_stochastic_networks_ask_for_a_key() -> None:
    one = task(KEY)._replace(support=task(KEY).support._replace(key=None))
    for name, loss in (
        ("siamese_loss", siamese_loss(DROPPED, ways=WAYS)),
        ("embedding_loss", learners.embedding_loss(DROPPED, losses.contrastive, PROTO)),
    ):
        learner = jmeta.siamese(DROPPED, ways=WAYS)
        params = learner.init(KEY, one)
        given = params if name == "siamese_loss" else params["embed"]
        with pytest.raises(ValueError, match=f"network of {name} is stochastic"):
            loss(given, one)
        value, _ = loss(given, task(KEY))
        assert np.isfinite(value)


def test_augmentation_asks_for_a_key() -> None:
    learner = jmeta.maml(NET, CE, SOLVER, augment=lambda key, support: support)
    with pytest.raises(ValueError, match=r"augment needs a key in the support set.*jmeta.data"):
        learner.adapt(init(KEY), task(KEY).support._replace(key=None))


NARROW = [("uint8", 5), ("uint32", 5), ("int8", 128)]  # they hold no -1, or not so many classes


@pytest.mark.parametrize(("dtype", "ways"), NARROW)
@pytest.mark.parametrize("traced", [False, True])
def test_labels_hold_padding_and_every_class(dtype: str, ways: int, traced: bool) -> None:
    scores, labels = jnp.zeros((4, ways)), jnp.arange(4).astype(dtype)
    readers = [
        *(getattr(losses, name) for name in OBJECTIVES),
        *(metrics.accuracy, metrics.confusion, metrics.class_scores, metrics.calibration_error),
        *(
            lambda z, y, make=make: make(ways).fit(z, y)
            for make in (jmeta.prototypical, jmeta.ridge)
        ),
    ]
    for read in readers:
        with pytest.raises(ValueError, match=f"labels of dtype {dtype}, which cannot hold -1 for"):
            (jax.jit(read) if traced else read)(scores, labels)


@labels
@pytest.mark.parametrize("name", ["accuracy", "confusion", "class_scores", "calibration_error"])
def test_labels_of_a_metric_are_an_array_of_integers(name: str, kind: str) -> None:
    given, found = LABELS[kind]
    with pytest.raises(ValueError, match=f"an array of integer labels, but got {found}"):
        getattr(metrics, name)(jnp.ones((2, 3)), given)


def test_real_targets_ask_for_another_report() -> None:
    with pytest.raises(ValueError, match=r"targets of dtype float32; .* use regression_report"):
        metrics.classification_report(jnp.ones((1, 2, 3)), jnp.ones((1, 2)))


def _messages():
    """Every text that is raised in the library, without what is filled in."""
    for path in Path(jmeta.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Raise):
                continue
            for text in getattr(node.exc, "args", [])[:1]:
                pieces = text.values if isinstance(text, ast.JoinedStr) else [text]
                words = [p.value for p in pieces if isinstance(p, ast.Constant)]
                yield f"{path.name}:{node.lineno}", "".join(map(str, words)).replace("[0, 1)", "")


def test_messages_close_what_they_open() -> None:
    said = list(_messages())
    assert len(said) > 300
    for place, text in said:
        assert text.count("(") == text.count(")") and text.count("`") % 2 == 0, (place, text)

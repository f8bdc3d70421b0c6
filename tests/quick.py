"""A run of a second, to be changed and repeated."""

from jmeta import train

SINUSOID = train.experiment(
    "maml",
    dataset="sinusoid",
    network="mlp",
    hidden=(8,),
    inner_rate=0.01,
    shots=1,
    queries=5,
    steps=8,
    tasks=2,
    devices=1,
    validate_every=4,
    validation_episodes=4,
    log_every=1,
    episodes=8,
)

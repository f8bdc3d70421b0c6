"""Everything that one accelerator is asked, in minutes: errors, rates, peers, a whole run.

    python benchmarks/gpu.py --pack omniglot.npz               # beforehand, where $JMETA_DATA is
    python benchmarks/gpu.py --out gpu.json --omniglot omniglot.npz --budget 580
    python benchmarks/gpu.py --parts errors rates --smoke      # tiny, on any machine

Every part runs in a process of its own, which has the card to itself. The record is written after
every figure, so a run that is cut off keeps what it has; a part or a figure for which the time left
is too short is left out, and the record says so. Parts run in the order given; all of them are:

* errors: the meta-gradient in each precision against float64, workloads A, C, D and F;
* rates: jmeta's update on workload A, by form of the convolution, precision and batch;
* run, run20: a whole training of MAML, Omniglot 5-way or 20-way 1-shot, in float32, and its test;
* peers: plain Flax (flax) and torch.func, the per-task loop and parallel-metalearn (torch);
* others: jmeta's update on workloads B to F;
* profile: the card's own rates, the stages of an update, and the kernels that take its time.
"""

import argparse
import importlib
import multiprocessing
import os
import sys
import time
from pathlib import Path

from accelerator.desk import Desk, Plan

PARTS = ("errors", "rates", "run", "flax", "torch", "others", "profile", "run20")
MODULES = {
    "flax": "peers",
    "torch": "peers",
    "others": "rates",
    "run20": "run",
}  # the others: their own names
GROUPS = {"peers": ("flax", "torch"), "all": PARTS}
GRACE = 5.0  # seconds that a part may be late before it is ended
WHOLE_RUN = 60_000  # updates, as published


def carry_out(part: str, plan: Plan) -> None:
    """Carry out one part, in the process that this is called in."""
    module = importlib.import_module(f"accelerator.{MODULES.get(part, part)}")
    getattr(module, part)(Desk(part, plan))


def in_turn(parts: list[str], plan: Plan) -> None:
    """Carry out parts one after another, each in a new process, as long as there is time."""
    for part in parts:
        desk = Desk(part, plan)
        if not desk.room(15, "the whole part"):
            continue
        begun = time.time()
        child = multiprocessing.get_context("spawn").Process(target=carry_out, args=(part, plan))
        child.start()
        child.join(desk.left() + GRACE)
        if child.is_alive():
            child.kill()
            child.join()
            desk.keep(what="the rest of the part", failed="ended when the time was up")
        elif child.exitcode:
            desk.keep(what="the rest of the part", failed=f"exit code {child.exitcode}")
        desk.keep(what="the whole part", took_seconds=time.time() - begun)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = made.add_argument
    add("--parts", nargs="+", default=["all"], choices=[*PARTS, *GROUPS], metavar="PART")
    add("--out", type=Path, default=Path("gpu.json"), help="the record; parts are added to it")
    add("--budget", type=float, default=580, help="seconds for all parts together")
    add("--omniglot", type=Path, metavar="FILE.npz", help="from --pack; None: no run")
    add("--updates", type=int, default=WHOLE_RUN, help="of the whole run")
    add("--batch", type=int, default=512, help="tasks an update where A is profiled")
    add("--smoke", action="store_true", help="tiny sizes, on any backend")
    add("--pack", type=Path, metavar="FILE.npz", help="write Omniglot's images there, and end")
    return made


def main() -> None:
    options = parser().parse_args()
    if options.pack is not None:
        from accelerator import packing

        return packing.pack(options.pack)
    os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", "0.92")
    named = [each for part in options.parts for each in GROUPS.get(part, (part,))]
    plan = Plan(
        options.out.absolute(),
        begun=time.time(),
        until=time.time() + options.budget,
        smoke=options.smoke,
        updates=options.updates,
        batch=options.batch,
        omniglot=options.omniglot and options.omniglot.absolute(),
    )
    Desk("command", plan).describe(sys.argv[1:])
    in_turn(list(dict.fromkeys(named)), plan)


if __name__ == "__main__":
    main()

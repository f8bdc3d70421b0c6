"""Check that a killed and resumed run ends as an undisturbed one, bit for bit.

    python benchmarks/resume.py [--kills 10] [--steps 600] [--seed 0]

Trains prototypical networks on the built-in glyphs once undisturbed, then killed by SIGKILL at
random moments and resumed after each (as many runs as the kills last for), once with its last
checkpoint truncated, and once while other processes try to go on with it in the same folder.
Compares the best and the last checkpoint, the metrics of every step and the result. Ten kills take
about eight minutes on two cores; `--kills 2 --steps 200` is a short check.
"""

import argparse
import json
import os
import random
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import common

from jmeta.runs import _checkpoint as checkpoint
from jmeta.runs import _programs as programs
from jmeta.runs import _records as records
from jmeta.train import load_run

OPTIONS = (
    *("--dataset", "glyphs", "--filters", "16", "--queries", "5", "--tasks", "2"),
    *("--validate-every", "100", "--log-every", "20"),
    *("--validation-episodes", "40", "--episodes", "600"),
)


def start(out: Path, steps: int) -> subprocess.Popen[str]:
    """`jmeta train`, resumed where there is something to resume."""
    command = (sys.executable, "-m", "jmeta", "train", *OPTIONS, "--steps", str(steps))
    words = [*command, "--out", str(out), "--resume"]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(out: Path, steps: int) -> tuple[float, str]:
    """Run to the end: seconds, and what was said on stderr."""
    begun = time.perf_counter()
    process = start(out, steps)
    said, complaint = process.communicate()
    if process.returncode:
        raise SystemExit(f"{shlex.join(process.args)} failed:\n{said}{complaint}")  # type: ignore[arg-type]
    return time.perf_counter() - begun, complaint.strip()


def last_step(out: Path) -> int:
    """Step of the last line of metrics.jsonl."""
    return max((line["step"] for line in records.read(out)), default=0)


def kill_at_random(
    out: Path, steps: int, *, seed: int, number: int, seconds: float
) -> dict[str, Any]:
    """Start or resume the run, and kill it after a random share of an undisturbed run's time.

    Half of the kills count from the start of the process (start, compilation, restoring), half
    from its first line of output (updates, validations, checkpoints, the test).
    """
    draw = random.Random(f"{seed} {number}")
    process = start(out, steps)
    in_the_middle = bool(number % 2)
    if in_the_middle and process.stdout is not None:
        process.stdout.readline()
    delay = draw.uniform(0, 0.25 if in_the_middle else 0.75) * seconds
    time.sleep(delay)
    finished = process.poll() is not None
    if not finished:
        os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    found = {"number": number, "delay_seconds": delay, "after_output": in_the_middle}
    kept = checkpoint.steps(out / "checkpoints")
    return {**found, "had_finished": finished, "step": last_step(out), "checkpoints": kept}


def kill_again(
    folder: Path, steps: int, *, kills: int, seed: int, seconds: float
) -> tuple[list[dict[str, Any]], list[Path]]:
    """Kill until so many kills have met a living process; each event, and the runs, all finished.

    A run that came to its end makes room for a new one.
    """
    events, runs, met = [], [folder / "0"], 0
    while met < kills:
        event = kill_at_random(runs[-1], steps, seed=seed, number=len(events), seconds=seconds)
        events.append({"run": len(runs) - 1, **event})
        print(json.dumps(events[-1]), flush=True)
        met += not event["had_finished"]
        if event["had_finished"] or (runs[-1] / "result.json").exists():
            runs.append(folder / str(len(runs)))
    if (runs[-1] / "config.json").exists():  # else it has not been begun
        finish(runs[-1], steps)
        return events, runs
    return events, runs[:-1]


def fingerprint(out: Path) -> dict[str, Any]:
    """All that must be equal: states, every step's metrics, the result."""
    parts, params, best = load_run(out)
    like = programs.initial_state(parts)
    last = checkpoint.restore_last(out / "checkpoints", like)
    assert last is not None
    result = common.read(out / "result.json")
    lines = [{**line, "tasks_per_second": None} for line in records.read(out)]
    return {
        "best_parameters": checkpoint.digest(params),
        "best": best,
        "last_state": checkpoint.digest(last.state),
        "last_step": last.record["step"],
        "lines": json.dumps(lines),
        **{name: result[name] for name in ("metrics", "inductive", "protocol")},
    }


def truncate_last(out: Path) -> str:
    """Cut the largest file of the last checkpoint in half; its name."""
    folder = out / "checkpoints"
    newest = checkpoint.path_of(folder, checkpoint.steps(folder)[-1])
    files = [path for path in newest.rglob("*") if path.is_file()]
    victim = max(files, key=lambda path: path.stat().st_size)
    victim.write_bytes(victim.read_bytes()[: victim.stat().st_size // 2])
    return victim.relative_to(folder).as_posix()


def contend(out: Path, steps: int) -> dict[str, Any]:
    """Train while others try to go on with the same run: what each said, and what was lost.

    A rival is started at the first line of output and after every end of the one before, as long
    as the first process lives. All that begin before its end must be refused.
    """
    owner = start(out, steps)
    assert owner.stdout is not None
    owner.stdout.readline()
    refused, lost, seen = [], list[int](), 0
    while owner.poll() is None:
        rival = start(out, steps)
        _, complaint = rival.communicate()
        newest = max(checkpoint.steps(out / "checkpoints"), default=0)
        if newest < seen:
            lost.append(seen)
        seen = max(seen, newest)
        if owner.poll() is None:
            one_line = complaint.count("\n") == 1 and "is writing in" in complaint
            refused.append(rival.returncode == 2 and one_line)
    owner.communicate()
    return {
        "rivals": len(refused),
        "refused": sum(refused),
        "checkpoints_lost": lost,
        "finished": owner.returncode == 0,
        "held": bool(refused) and all(refused) and not lost and owner.returncode == 0,
    }


def unequal(left: dict[str, Any], right: dict[str, Any]) -> list[str]:
    """Names of the entries that differ."""
    return [name for name in left if left[name] != right[name]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    common.use_all_cores()
    with tempfile.TemporaryDirectory() as scratch:
        record = measure(Path(scratch), asked.steps, kills=asked.kills, seed=asked.seed)
    common.write("resume", record)
    killed = sum(not kill["had_finished"] for kill in record["kills"])
    print(f"{killed} SIGKILLs, identical: {record['identical']}")
    contended = record["contended"]
    print(f"rivals refused: {contended['refused']} of {contended['rivals']}")
    print(f"truncated checkpoint: {record['truncated']['said']}")
    if not record["identical"]:
        sys.exit(1)


def measure(scratch: Path, steps: int, *, kills: int, seed: int) -> dict[str, Any]:
    """The undisturbed, the killed and the damaged run, compared."""
    names = ("plain", "killed", "damaged", "contended")
    plain, killed, damaged, contended = (scratch / name for name in names)
    seconds, _ = finish(plain, steps)
    print(f"undisturbed: {seconds:.0f} s", flush=True)
    events, runs = kill_again(killed, steps, kills=kills, seed=seed, seconds=seconds)
    shutil.copytree(plain, damaged)
    victim = truncate_last(damaged)
    _, said = finish(damaged, steps)
    contention = contend(contended, steps)
    print(f"contended: {json.dumps(contention)}", flush=True)
    wanted = fingerprint(plain)
    differing = {
        "killed": sorted({name for run in runs for name in unequal(wanted, fingerprint(run))}),
        "truncated": unequal(wanted, fingerprint(damaged)),
        "contended": unequal(wanted, fingerprint(contended)),
    }
    told = "falling back" in said
    return {
        "options": shlex.join(OPTIONS),
        "steps": steps,
        "seconds_undisturbed": seconds,
        "kills": events,
        "killed_runs": len(runs),
        "truncated": {"file": victim, "said": said.replace(str(scratch), "..."), "told": told},
        "contended": contention,
        "compared": list(wanted),
        "differing": differing,
        "identical": told and contention["held"] and not any(differing.values()),
        "accuracy": wanted["metrics"]["accuracy"],
    }


if __name__ == "__main__":
    main()

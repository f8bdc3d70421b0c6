"""Check that bad input ends by one line and exit code 2, soon, and without eating the machine.

    python benchmarks/bad_inputs.py [--count 1200] [--seed 0] [--kind NAME] [--json FILE]

Draws commands from every kind of `hostile/` in turn: unknown names, values, paths, folders of
images, archives, arrays, tables, stored records. Each runs in a process of its own, forked from one
that has imported jmeta and used no device, and every 20th as a fresh `python -m jmeta`. Those that
end otherwise than by one line on stderr and exit code 2, that take more than 20 seconds, or more
than 4 GB, are listed in the record and printed.
"""

import argparse
import itertools
import os
import random
import resource
import shlex
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any, NoReturn

import common
import hostile

from jmeta import cli

SECONDS, BYTES = 20, 4 * 10**9
FRESH = 20  # every so many commands start their own Python


def base_run(folder: Path) -> Path:
    """A finished run of a second, for kinds that damage one."""
    run = folder / "base"
    quick = ["--network", "mlp", "--hidden", "8", "--queries", "2", "--validate-every", "1"]
    words = ["train", *hostile.QUICK, *quick, "--devices", "1", "--out", str(run)]
    child = os.fork()
    if not child:
        _become(hostile.Bad(words), folder / "said", fresh=False)
    _, status = os.waitpid(child, 0)
    if status:
        raise SystemExit(f"{shlex.join(words)} failed:\n{(folder / 'said').read_text()}")
    return run


def _become(bad: hostile.Bad, said: Path, *, fresh: bool) -> NoReturn:
    """Turn a forked process into a command; stderr goes into a file."""
    os.setsid()
    signal.alarm(0)
    stream = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(stream, 2)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.environ.update(bad.env)
    if fresh:
        os.execv(sys.executable, [sys.executable, "-m", "jmeta", *bad.words])
    sys.argv = ["jmeta", *bad.words]
    code = 1
    try:
        cli.main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
    sys.stderr.flush()
    os._exit(code)


def outcome(bad: hostile.Bad, here: Path, said: Path, *, fresh: bool) -> dict[str, Any]:
    """Run one command in a folder: how it ended, in how long, with how much memory."""
    begun = time.perf_counter()
    child = os.fork()
    if not child:
        os.chdir(here)
        _become(bad, said, fresh=fresh)
    while True:
        done, status, usage = os.wait4(child, os.WNOHANG)
        seconds = time.perf_counter() - begun
        if done:
            break
        if seconds > 2 * SECONDS:
            os.killpg(child, signal.SIGKILL)
            _, status, usage = os.wait4(child, 0)
            break
        time.sleep(0.005)
    code, text = os.waitstatus_to_exitcode(status), said.read_bytes().decode(errors="replace")
    lines = text.splitlines()
    peak = usage.ru_maxrss * 1024
    faults = [
        *(["not exit code 2"] if code != 2 else []),
        *(["not one line"] if len(lines) != 1 or not lines[0].startswith("jmeta: error") else []),
        *(["characters that steer a terminal"] if "\x1b" in text else []),
        *(["too slow"] if seconds > SECONDS else []),
        *(["too much memory"] if peak > BYTES else []),
    ]
    found = {"code": code, "seconds": round(seconds, 3), "bytes": peak, "faults": faults}
    return {**found, "said": text[-300:] if faults else text[:160]}


def draw(kind: str, number: int, seed: int, run: Path, here: Path) -> hostile.Bad:
    """The command of a number, with its files written under `here`."""
    shutil.rmtree(here, ignore_errors=True)
    here.mkdir()
    os.chdir(here)
    place = hostile.Place(here, run)
    return hostile.KINDS[kind](random.Random(f"{seed} {kind} {number}"), place)


def measure(count: int, seed: int, kinds: list[str], folder: Path) -> list[dict[str, Any]]:
    """Draw and run so many commands, the kinds in turn."""
    run, here = base_run(folder), folder / "here"
    found = []
    for number, kind in zip(range(count), itertools.cycle(kinds), strict=False):
        bad = draw(kind, number, seed, run, here)
        fresh = number % FRESH == FRESH - 1
        result = outcome(bad, here, folder / "said", fresh=fresh)
        words = shlex.join(word.replace(str(folder), "...")[:80] for word in bad.words)
        found.append({"number": number, "kind": kind, "command": words, **result})
        if result["faults"]:
            print(f"{number} {kind}: {', '.join(result['faults'])}\n  jmeta {words}", flush=True)
            print(f"  {bad.env or ''} {result['said'][-300:]}", flush=True)
    return found


def summary(found: list[dict[str, Any]]) -> dict[str, Any]:
    """Shares and maxima, in all and by kind."""
    drawn, failed = Counter(), Counter()
    for case in found:
        drawn[case["kind"]] += 1
        failed[case["kind"]] += bool(case["faults"])
    return {
        "drawn": len(found),
        "different": len({(case["command"], case["said"]) for case in found}),
        "one_line_and_code_2": sum(not case["faults"] for case in found) / len(found),
        "seconds_at_most": max(case["seconds"] for case in found),
        "bytes_at_most": max(case["bytes"] for case in found),
        "kinds": {
            kind: {
                "what": " ".join((hostile.KINDS[kind].__doc__ or "").split()),
                "drawn": drawn[kind],
                "otherwise": failed[kind],
            }
            for kind in drawn
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=1200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", choices=hostile.KINDS)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.environ |= {"MPLBACKEND": "agg"}
    home = Path.cwd()
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["JMETA_CACHE"] = f"{scratch}/cache"
        kinds = [asked.kind] if asked.kind else list(hostile.KINDS)
        found = measure(asked.count, asked.seed, kinds, Path(scratch))
        os.chdir(home)
    told = summary(found)
    slowest = sorted(found, key=lambda case: -case["seconds"])[:5]
    cases = [case for case in found if case["faults"]]
    record = {"limits": {"seconds": SECONDS, "bytes": BYTES}, "seed": asked.seed, **told}
    if not asked.kind:
        common.write(asked.json or "bad_inputs", {**record, "slowest": slowest, "failed": cases})
    share = told["one_line_and_code_2"]
    print(
        f"{len(found)} bad inputs, {told['different']} different: {100 * share:.1f}% as they should"
    )
    print(f"at most {told['seconds_at_most']:.1f} s, {told['bytes_at_most'] / 1e9:.2f} GB")
    if cases:
        sys.exit(1)


if __name__ == "__main__":
    main()

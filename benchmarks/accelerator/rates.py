"""Tasks per second of jmeta's update, and how long it takes to compile."""

from typing import Any, cast

from accelerator import programs
from accelerator.desk import Desk
from accelerator.errors import DEFAULT
from jmeta.nn._conv import Impl

FIRST, MORE = 512, (1024, 2048)  # tasks an update of A
GRID = (  # (form of the convolution, precision) of A, by value; the default form first
    (DEFAULT, "float32"),
    (DEFAULT, "bfloat16"),
    (DEFAULT, "tf32"),
    ("patches", "float32"),
    ("native", "float32"),
)
OTHERS = (  # (workload, tasks, precision), by value
    *(("C", 4, "float32"), ("F", 8, "float32"), ("D", 16, "float32"), ("C", 16, "float32")),
    *(("F", 32, "float32"), ("C", 4, "bfloat16"), ("F", 8, "bfloat16"), ("B", 128, "float32")),
    *(("E", 512, "float32"), ("D", 64, "float32"), ("E", 512, "bfloat16")),
)
A_FIGURE = 22.0  # seconds: to compile one update and to time it


def rates(desk: Desk) -> None:
    """Workload A: every form and precision at one batch, then other batches of the fastest."""
    desk.machine()
    few = 1 if desk.plan.smoke else None
    found = {case: measured(desk, "A", FIRST, *case) for case in GRID[:few]}
    exact = {form: row for (form, kind), row in found.items() if kind == "float32"}
    form = max(exact, key=lambda each: _speed(exact[each]))
    rows, each = [exact[form]], (exact[form].get("memory_bytes") or 0) / FIRST
    for tasks in MORE[: few and 0]:
        chunk = programs.chunk_that_fits(tasks, each)
        rows.append(measured(desk, "A", tasks, form, "float32", chunk=chunk))
    best = max(rows, key=_speed)
    if best is not rows[0]:
        for precision in ("bfloat16", "tf32"):
            measured(desk, "A", best["asked"], form, precision, chunk=best.get("chunk"))


def others(desk: Desk) -> None:
    """The other workloads, with the form of the convolution that jmeta takes by default."""
    desk.machine()
    each: dict[str, float] = {}
    for name, tasks, precision in OTHERS[1:2] if desk.plan.smoke else OTHERS:
        chunk = programs.chunk_that_fits(tasks, each.get(name, 0.0))
        row = measured(desk, name, tasks, DEFAULT, precision, chunk=chunk)
        if row.get("memory_bytes"):
            each[name] = row["memory_bytes"] / (row["chunk"] or row["tasks"])


def measured(
    desk: Desk, name: str, tasks: int, form: str, precision: str, chunk: int | None = None
) -> dict[str, Any]:
    """One figure, kept; {} where there is no time for it."""
    smoke = desk.plan.smoke
    if not desk.room(A_FIGURE, f"{name}, {tasks} tasks, {form}, {precision}"):
        return {}
    asked = programs.workload(name, tasks, smoke=smoke)
    names = {"workload": name, "asked": tasks, "tasks": asked.tasks, "chunk": chunk}
    names |= {"form": form, "precision": precision}
    impl = None if form == DEFAULT else cast(Impl, form)
    options: dict[str, Any] = {"precision": precision, "impl": impl, "smoke": smoke}
    return desk.attempt(names, lambda: programs.rate(asked, chunk=chunk, **options))


def _speed(row: dict[str, Any]) -> float:
    return row.get("tasks_per_second", 0.0)

"""Whether the served model costs what it may."""

from collections.abc import Iterator

from tasks.verdict.checks import Case, Check, Question, register


def _ask(case: Case) -> Iterator[Check]:
    budget = case.budget
    if budget.max_latency_ms is not None:
        found = case.optimised.picked.latency_ms["1"]
        wanted = f"at most {budget.max_latency_ms:g} ms"
        yield Check("latency of one text", found <= budget.max_latency_ms, f"{found:.2f} ms", wanted, None, found)
    if budget.max_size_mb is not None:
        files = case.evaluation.folder.rglob("*")
        found = sum(file.stat().st_size for file in files if file.is_file()) / 1e6
        wanted = f"at most {budget.max_size_mb:g} MB"
        yield Check("size of the model", found <= budget.max_size_mb, f"{found:.1f} MB", wanted, None, found)


register(Question("budget", 60, _ask))

import os
import subprocess
import sys
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from bentos.serving.counters import Counters

ROUTES = ["/predict", "/model"]
STATUSES = (200, 429)


def samples(exposed: bytes) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(exposed.decode())
        for sample in family.samples
    }


def test_what_is_counted_is_exposed_in_prometheus_format() -> None:
    counters = Counters(None, ROUTES, STATUSES)
    counters.request("/predict", 200, 0.003)
    counters.request("/predict", 200, 0.2)
    counters.request("/predict", 429, 0.0001)
    counters.batch(3, 0.5)
    found = samples(counters.expose({"model_service_waiting_requests": 7.0}))
    assert found["model_service_requests_total", (("route", "/predict"), ("status", "200"))] == 2
    assert found["model_service_requests_total", (("route", "/predict"), ("status", "429"))] == 1
    assert found["model_service_request_seconds_bucket", (("le", "0.005"), ("route", "/predict"))] == 2
    assert found["model_service_request_seconds_bucket", (("le", "+Inf"), ("route", "/predict"))] == 3
    assert found["model_service_request_seconds_count", (("route", "/predict"),)] == 3
    assert found["model_service_batch_texts_bucket", (("le", "4"),)] == 1
    assert found["model_service_batch_texts_sum", ()] == 3
    assert found["model_service_waiting_requests", ()] == 7


def test_routes_that_nobody_asked_for_are_left_out() -> None:
    counters = Counters(None, ROUTES, STATUSES)
    counters.request("/predict", 200, 0.003)
    assert b"/model" not in counters.expose({})


OTHER_PROCESS = """
import sys
from pathlib import Path
from bentos.serving.counters import Counters
counters = Counters(Path(sys.argv[1]), ["/predict", "/model"], (200, 429))
for _ in range(int(sys.argv[2])):
    counters.request("/predict", 200, 0.001)
sys.stdout.write("counted")
sys.stdout.flush()
sys.stdin.read()
"""


def test_counts_add_up_over_processes_and_outlive_them(tmp_path: Path) -> None:
    own = Counters(tmp_path, ROUTES, STATUSES)
    own.request("/predict", 200, 0.001)
    others = [
        subprocess.Popen(
            [sys.executable, "-c", OTHER_PROCESS, str(tmp_path), str(times)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for times in (10, 100)
    ]
    for other in others:
        assert other.stdout
        assert other.stdout.read(7) == b"counted"
    series = 'model_service_requests_total{route="/predict",status="200"}'
    assert own.total()[series] == 111
    for other in others:
        other.communicate()
    assert own.total()[series] == 111
    # The next process to start merges the files of those that ended.
    subprocess.run([sys.executable, "-c", OTHER_PROCESS, str(tmp_path), "1000"], input=b"", check=True)
    assert own.total()[series] == 1111
    assert len(list(tmp_path.glob("*.counters"))) == 3
    assert (tmp_path / f"{os.getpid()}.counters").exists()

import pytest

from tasks.data.sources import shown
from tasks.report import RunReport
from tasks.report.run import as_json


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("postgresql://ann:pa55@db.example/shop", "postgresql://db.example/shop"),
        ("postgresql+psycopg://ann:pa/5:5@db.example:5432/shop", "postgresql+psycopg://db.example:5432/shop"),
        ("postgresql://ann:pa@55@db.example/shop", "postgresql://db.example/shop"),
        ("postgresql://db/shop?user=ann&password=pa55&sslmode=on", "postgresql://db/shop?user=ann&password=***&sslmode=on"),
        ("mssql+pyodbc:///?odbc_connect=DSN%3Dshop%3BPWD%3Dpa55", "mssql+pyodbc:///?odbc_connect=***"),
        ("https://host/a.csv?X-Amz-Signature=pa55&part=1", "https://host/a.csv?X-Amz-Signature=***&part=1"),
        ("ftp://ann@host/a.csv", "ftp://host/a.csv"),
        ("s3://bucket/at@home.csv", "s3://bucket/at@home.csv"),
        ("data/at@home?key=1.csv", "data/at@home?key=1.csv"),
        ("docstrings", "docstrings"),
    ],
)  # fmt: skip
def test_a_source_is_shown_without_what_opens_it(source: str, name: str) -> None:
    assert shown(source) == name


def test_a_report_names_no_password() -> None:
    url = "postgresql://ann:pa55@db.example/shop"
    parameters = {"source": url, "test_source": url, "train": {"unlabelled": url, "trials": None}}
    report = RunReport(source=url, parameters=parameters)
    assert "pa55" not in report.model_dump_json() + str(as_json(report))
    assert report.parameters["train"] == {"unlabelled": "postgresql://db.example/shop", "trials": None}

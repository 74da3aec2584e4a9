"""A database: any SQLAlchemy URL with a query."""

import re
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path

import pyarrow as pa
import sqlalchemy
from sqlalchemy.exc import SQLAlchemyError

from tasks.base.errors import InputError
from tasks.data.sources import Reading, register, shown
from tasks.data.sources.batches import BATCH_ROWS, Batcher
from tasks.data.sources.columns import SAMPLE_ROWS, find_columns

_DIALECTS = re.compile(r"(sqlite|postgresql|mysql|mariadb|oracle|mssql|duckdb|snowflake|bigquery|redshift)(\+\w+)?://")


class Database:
    """A source that is a SQLAlchemy URL, such as sqlite:///reviews.db; `query` gives the rows."""

    name = "database"
    rank = 10

    def claims(self, source: str) -> bool:
        return _DIALECTS.match(source) is not None

    def read(self, reading: Reading) -> Iterator[pa.RecordBatch]:
        settings = reading.settings
        name = shown(settings.source)
        if not settings.query:
            raise InputError(f"{name}: a database needs --query, such as 'SELECT text, label FROM reviews'.")
        place = sqlalchemy.make_url(settings.source)
        if place.get_backend_name() == "sqlite" and not Path(place.database or "").is_file():
            # SQLite would make an empty database of a mistyped name.
            raise InputError(f"{name}: there is no such file; check the path.")
        try:
            with sqlalchemy.create_engine(settings.source).connect() as connection:
                result = connection.execution_options(stream_results=True, max_row_buffer=BATCH_ROWS).execute(
                    sqlalchemy.text(settings.query)
                )
                if not result.returns_rows:
                    raise InputError(f"{name}: the query returns no rows; give a SELECT.")
                head = list(islice(result, SAMPLE_ROWS))
                columns = find_columns(list(result.keys()), reading, name, head)
                batcher = Batcher(reading, name, columns.mark_name)
                for line, row in enumerate(chain(head, result), start=1):
                    batcher.add(line, *(row[place] for place in columns.chosen))
                    if batcher.full():
                        yield from batcher.flush()
                yield from batcher.flush()
        except ImportError as error:
            raise InputError(f"{name}: this database needs another package ({error}).") from error
        except SQLAlchemyError as error:
            cause = str(getattr(error, "orig", None) or error).splitlines()[0]
            raise InputError(f"{name}: the query failed: {cause}") from error


register(Database())

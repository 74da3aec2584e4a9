"""Parquet without the rows that hold what is sought, whatever its columns are made of."""

from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.watching.forget.sought import Fixed, Sought


def without_rows(before: IO[bytes], after: IO[bytes] | None, sought: Sought) -> int:
    """Writes the table `before` to `after`, if there is one, without the rows that hold what is sought; their number.

    Raises:
        Fixed: a column's name holds it.
        pa.ArrowException: the table is damaged.
    """
    file = pq.ParquetFile(before)
    schema = file.schema_arrow
    if sought.holds(schema.names):
        raise Fixed("a column's name")
    metadata = schema.metadata or {}
    found = sum(sought.holds(value) for value in metadata.values())
    if found:
        schema = schema.with_metadata({key: sought.blanked(value)[0] for key, value in metadata.items()})
    names = [field.name for field in schema if _may_hold(field.type, sought)]
    groups = range(file.num_row_groups)
    if after is None:
        return found + sum(sum(_gone(file.read_row_group(group, names), names, sought)) for group in groups)
    compression = file.metadata.row_group(0).column(0).compression if file.num_row_groups else "zstd"
    with pq.ParquetWriter(after, schema, compression=compression.lower().replace("uncompressed", "none")) as writer:
        for group in groups:
            table = file.read_row_group(group)
            gone = _gone(table, names, sought)
            found += sum(gone)
            if not all(gone):
                columns = [_kept(table[field.name], gone) for field in schema]
                writer.write_table(pa.Table.from_arrays(columns, schema=schema))
    return found


def _gone(table: pa.Table, names: list[str], sought: Sought) -> list[bool]:
    """Of each row whether one of the columns `names` holds what is sought."""
    gone = [False] * table.num_rows
    for name in names:
        for row, value in enumerate(table[name].to_pylist()):
            gone[row] = gone[row] or sought.holds(value)
    return gone


def _kept(column: pa.ChunkedArray, gone: list[bool]) -> pa.ChunkedArray | pa.Array:
    # A dictionary holds every value that its column ever had, and Arrow cannot filter views: both are made anew.
    if any(word in str(column.type) for word in ("dictionary", "view")):
        values = [value for value, leaves in zip(column.to_pylist(), gone, strict=True) if not leaves]
        return pa.array(values, column.type)
    return column.filter(pa.array([not leaves for leaves in gone], pa.bool_()))


def _may_hold(kind: pa.DataType, sought: Sought) -> bool:
    """Whether values of the type may hold texts, or numbers where one is sought."""
    if pa.types.is_dictionary(kind):
        return _may_hold(kind.value_type, sought)
    if kind.num_fields:
        return any(_may_hold(kind.field(place).type, sought) for place in range(kind.num_fields))
    if pa.types.is_primitive(kind):
        return bool(sought.numbers) and (pa.types.is_integer(kind) or pa.types.is_floating(kind))
    return not pa.types.is_null(kind)

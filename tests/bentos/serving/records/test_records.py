import asyncio
import json
import shutil
from pathlib import Path

import msgspec
import pytest

from bentos.serving.records.records import RecordsFull, RecordWriter


class Note(msgspec.Struct):
    number: int
    text: str = ""


def read(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for file in sorted(folder.glob("*.jsonl")) for line in file.read_text().splitlines()]


def test_a_stored_record_is_on_the_disk_when_store_returns(tmp_path: Path) -> None:
    async def scenario() -> None:
        writer = RecordWriter(tmp_path, "feedback", 1_000_000, keep_all=True)
        for number in range(3):
            await writer.store(Note(number))
            assert [note["number"] for note in read(tmp_path)] == list(range(number + 1))
        writer.close()

    asyncio.run(scenario())


@pytest.mark.parametrize("happens", ["replaced", "removed", "folder removed", "half a line"])
def test_a_record_is_stored_whatever_happened_to_the_file_of_the_one_before(tmp_path: Path, happens: str) -> None:
    folder = tmp_path / "records"

    async def scenario() -> None:
        writer = RecordWriter(folder, "feedback", 1_000_000, keep_all=True)
        await writer.store(Note(1))
        (file,) = folder.iterdir()
        match happens:
            case "replaced":
                rewritten = file.with_name("rewritten")
                rewritten.write_text("")
                rewritten.replace(file)
            case "removed":
                file.unlink()
            case "folder removed":
                shutil.rmtree(folder)
            case "half a line":
                file.write_text('{"number": 0, "te')
        await writer.store(Note(2))
        writer.close()

    asyncio.run(scenario())
    *_, last = (line for file in folder.glob("*.jsonl") for line in file.read_text().splitlines())
    assert json.loads(last) == {"number": 2, "text": ""}


def test_added_records_are_written_in_order_by_close(tmp_path: Path) -> None:
    writer = RecordWriter(tmp_path, "predictions", 1_000_000, keep_all=False)
    for number in range(1000):
        writer.add(lambda number=number: [Note(number)])
    writer.close()
    assert [note["number"] for note in read(tmp_path)] == list(range(1000))
    assert writer.dropped == 0


def test_old_predictions_make_room_for_new_ones(tmp_path: Path) -> None:
    limit = 20_000
    for start in range(0, 1000, 20):
        writer = RecordWriter(tmp_path, "predictions", limit, keep_all=False)
        writer.add(lambda start=start: [Note(start + number, "x" * 20) for number in range(20)])
        writer.close()
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) <= limit
    assert read(tmp_path)[-1]["number"] == 999


def test_feedback_beyond_its_size_is_refused_and_what_was_stored_is_kept(tmp_path: Path) -> None:
    async def scenario() -> None:
        writer = RecordWriter(tmp_path, "feedback", 20_000, keep_all=True)
        try:
            for number in range(1000):
                await writer.store(Note(number, "x" * 100))
        finally:
            writer.close()

    with pytest.raises(RecordsFull):
        asyncio.run(scenario())
    numbers = [note["number"] for note in read(tmp_path)]
    assert numbers == list(range(len(numbers)))
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) <= 20_000


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    async def scenario() -> None:
        file = tmp_path / "taken"
        file.write_text("no folder")
        writer = RecordWriter(file, "feedback", 20_000, keep_all=True)
        with pytest.raises(RecordsFull):
            await writer.store(Note(1))
        writer.close()

    asyncio.run(scenario())

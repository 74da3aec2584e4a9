"""What decides a stage's result is its key: checked on the stages of a real retrain, input by input."""

import io
import json
import shutil
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from prefect import flow
from pydantic import BaseModel

from flows import stages
from flows.config import RetrainConfig
from flows.console import Console
from flows.retraining import Retraining
from flows.stages import PROVIDED, Stage
from tasks.base.errors import GateRefused
from tasks.candidates.stages import Training
from tests.tasks.toy import make_texts

pytestmark = [pytest.mark.usefixtures("prefect_server"), pytest.mark.slow]
STAGES = {
    "validate", "validate validation", "preprocess", "plan", "train linear", "train bag", "train linear, seed 14",
    "train bag, seed 14", "train ensemble", "train student", "select", "refit split", "convert", "optimise", "evaluate",
}  # fmt: skip
"""All that are kept; what is trained again depends on what was chosen."""

Given = dict[str, Any]
TOPICS = ("food", "science", "sport")


def write(path: Path, seed: int, rows: int) -> str:
    texts, targets = make_texts(rows, seed)
    lines = [f"{text},{TOPICS[target]}" for text, target in zip(texts, targets, strict=True)]
    path.write_text("\n".join(["text,label", *lines]) + "\n")
    return str(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys")


@pytest.fixture(scope="module")
def ran(prefect_server: None, folder: Path) -> dict[str, Stage[Any]]:
    """Every stage of a retrain that uses all there is, by name, as far as its result is kept."""
    config = RetrainConfig.model_validate(
        {
            "source": write(folder / "source.csv", 0, 400),
            "validation_source": write(folder / "validation.csv", 1, 120),
            "effort": "quick",
            "data": {"refit": True},
            "train": {
                "candidates": ("linear", "bag", "ensemble", "student"),
                "unlabelled": write(folder / "more.csv", 2, 50),
                "epochs": 4,
                "seeds": 2,
            },
        }
    )
    seen: dict[str, Stage[Any]] = {}
    check = Stage.__post_init__

    def noted(stage: Stage[Any]) -> None:
        check(stage)
        if stage.keep:
            seen[stage.name] = stage

    @flow
    def retrain() -> None:
        run = Retraining(config, folder / "state", Console(io.StringIO()))
        run.prepare()
        run.train()
        try:
            run.judge()
        except GateRefused:
            return

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Stage, "__post_init__", noted)
        # Whatever the candidates' scores and times, each derived one is made.
        patch.setattr("flows.candidates.SLOWER", 0.0)
        patch.setattr("tasks.candidates.ensemble.members", lambda candidates, *others: candidates[:2])
        patch.setattr("flows.candidates.undecided", lambda candidates, *others: [one.name for one in candidates])
        retrain()
    return seen


@pytest.fixture(params=sorted(STAGES))
def stage(request: pytest.FixtureRequest, ran: dict[str, Stage[Any]]) -> Stage[Any]:
    return ran[request.param]


def key(stage: Stage[Any], inputs: Given) -> str:
    """The key with other inputs, of whatever types: `Stage` itself would refuse what the function cannot take."""
    return stages.key_of(stage.name, stage.work, inputs)


def changed(value: Any, folder: Path) -> Iterator[Any]:
    """The value with one thing about it changed, for every thing there is."""
    match value:
        case bool():
            yield not value
        case int() | float():
            yield value + 1
        case str():
            yield f"{value} "
        case None:
            yield "something"
        case Path():
            yield other_bytes(value, folder)
        case BaseModel():
            yield type(value).__mro__[1].model_construct(**dict(value))
            for name in type(value).model_fields:
                kept = getattr(value, name)
                if isinstance(kept, Path) and getattr(value, "content", None):
                    continue
                for one in changed(kept, folder):
                    yield value.model_copy(update={name: one})
        case dict():
            yield value | {"another": 1}
            for name, kept in value.items():
                rest = {other: one for other, one in value.items() if other != name}
                yield rest
                yield rest | {f"{name} ": kept}
                yield from (rest | {name: one} for one in changed(kept, folder))
        case list() | tuple():
            made: list[list[Any]] = [[*value, "another"], [value], [*value[1:], *value[:1]]]
            for place, kept in enumerate(value):
                before, after = value[:place], value[place + 1 :]
                made += [[*before, *after], *([*before, one, *after] for one in changed(kept, folder))]
            # Of equal items it does not matter which is gone.
            yield from (one for place, one in enumerate(made) if one != list(value) and one not in made[:place])
        case _:
            raise AssertionError(f"no change is known of {value!r}")


def other_bytes(path: Path, folder: Path) -> Path:
    copy = folder / "copied" / path.name
    shutil.rmtree(copy.parent, ignore_errors=True)
    copy.parent.mkdir()
    if path.is_dir():
        shutil.copytree(path, copy)
    file = min(entry for entry in copy.rglob("*") if entry.is_file()) if path.is_dir() else copy
    file.write_bytes((file if path.is_dir() else path).read_bytes() + b"x")
    return copy


def moved(value: Any, folder: Path) -> Any:
    """An equal value, as JSON gives it back, with its files in another place."""
    if isinstance(value, Path):
        copy = folder / "moved" / value.name
        shutil.copytree(value, copy, dirs_exist_ok=True) if value.is_dir() else shutil.copy(value, copy)
        return copy
    if isinstance(value, BaseModel):
        stood_for = getattr(value, "content", None)
        update = {
            name: (Path("/elsewhere") if stood_for else moved(one, folder))
            if isinstance(one, Path)
            else moved(one, folder)
            for name, one in dict(value).items()
        }
        return value.model_copy(update=update)
    if isinstance(value, dict):
        return {name: moved(one, folder) for name, one in reversed(value.items())}
    if isinstance(value, list | tuple):
        return [moved(one, folder) for one in value]
    return json.loads(json.dumps(value))


def test_all_stages_of_a_retrain_are_looked_at(ran: dict[str, Stage[Any]]) -> None:
    assert {name for name in ran if not name.startswith("refit ")} | {"refit split"} == STAGES
    assert "refit split" in ran


def test_equal_inputs_give_an_equal_key_wherever_their_files_lie(stage: Stage[Any], tmp_path: Path) -> None:
    (tmp_path / "moved").mkdir()
    equal = {name: moved(value, tmp_path) for name, value in reversed(list(stage.inputs.items()))}
    assert key(stage, equal) == stage.key


def test_any_change_of_any_input_gives_a_key_of_its_own(stage: Stage[Any], tmp_path: Path) -> None:
    keys = [stage.key]
    for name, value in stage.inputs.items():
        keys += [key(stage, {**stage.inputs, name: one}) for one in changed(value, tmp_path)]
    assert len(set(keys)) == len(keys) > 2


def test_two_inputs_that_are_swapped_renamed_or_changed_give_keys_of_their_own(
    stage: Stage[Any], tmp_path: Path
) -> None:
    keys = [stage.key]
    for one, other in combinations(stage.inputs, 2):
        rest = {name: value for name, value in stage.inputs.items() if name not in (one, other)}
        first, second = stage.inputs[one], stage.inputs[other]
        new_first, new_second = (next(changed(value, tmp_path)) for value in (first, second))
        pairs = [
            {f"{one}_": first, f"{other}_": second},
            {one: new_first, other: new_second},
            {one: new_first, f"{other}_": second},
            {f"{one}_": first, other: new_second},
        ]
        if first != second:
            pairs.append({one: second, other: first})
        keys += [key(stage, rest | pair) for pair in pairs]
    assert len(set(keys)) == len(keys)


def test_files_that_a_setting_names_count_by_their_bytes(ran: dict[str, Stage[Any]], tmp_path: Path) -> None:
    trained = ran["train bag"]
    training = trained.inputs["training"]
    assert isinstance(training, Training)
    train = training.train.model_copy(update={"pretrained": str(tmp_path)})
    inputs = {**trained.inputs, "training": training.model_copy(update={"train": train})}
    keys = set()
    for content in ("{}", '{"hidden_size": 8}'):
        (tmp_path / "config.json").write_text(content)
        keys.add(key(trained, inputs))
    assert len(keys) == 2


def test_a_stage_is_handed_all_that_its_function_names(stage: Stage[Any]) -> None:
    code = stage.work.__code__
    named = set(code.co_varnames[: code.co_argcount + code.co_kwonlyargcount])
    assert named - PROVIDED - set(stage.inputs) <= {"speed"}, "a default may stand only for what is measured"

"""Which inputs become which outputs."""

from collections import Counter
from pathlib import Path, PurePosixPath

from tasks.base.errors import InputError
from tasks.batch.output import FORMATS, format_suffix
from tasks.data.sealed_files import SUFFIX
from tasks.data.sources import source_of
from tasks.data.sources.files import Files, find_files


def outputs_of(source: str, output: Path, format: str, *, sealed: bool = False) -> list[tuple[str, Path]]:
    """Pairs of an input and its output.

    An output with a known ending takes all rows of `source`. Any other is a folder: each file that `source`
    stands for gives a file of its name there, in `format`, sealed when asked for.

    Raises:
        InputError: a folder is asked for and `source` is no file, or two files would have one output.
    """
    if format_suffix(output) in FORMATS:
        return [(source, output)]
    if not isinstance(source_of(source), Files) or source == "-":
        raise InputError(f"{output}: for an input that is no file name one output, ending in {', '.join(FORMATS)}.")
    if output.is_file():
        raise InputError(f"{output} is a file; name a folder, or an output ending in {', '.join(FORMATS)}.")
    files = find_files(source, output)
    names = [_stem(file.path) for file in files]
    twice = [name for name, count in Counter(names).items() if count > 1]
    # Files of one name in several folders, or in several formats, keep the name that tells them apart.
    chosen = [
        "_".join(PurePosixPath(file.path).parts[-2:]) if name in twice else name
        for file, name in zip(files, names, strict=True)
    ]
    if len(set(chosen)) < len(chosen):
        raise InputError(f"{source}: several files are called {twice[0]!r}; predict their folders one by one.")
    local = "://" not in source
    return [
        (file.path if local else file.name, output / f"{name}.{format}{SUFFIX if sealed else ''}")
        for file, name in zip(files, chosen, strict=True)
    ]


def _stem(path: str) -> str:
    return PurePosixPath(path).name.split(".")[0]

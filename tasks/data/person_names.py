"""People's names in texts, found by presidio-analyzer with a spaCy model; neither is needed where none is asked for."""

from collections.abc import Callable, Iterator
from importlib.util import find_spec

from bentos.serving.records.personal_data import Found
from tasks.base.errors import InputError

PACKAGE = "presidio-analyzer==2.2.366"

_PIECE = 20_000
"""Characters that the model reads at a time; its memory grows with them."""
_FINDS_NAMES = {"ner", "entity_ruler"}
_UNUSED = ["parser", "tagger", "lemmatizer", "attribute_ruler", "senter"]


def name_finder(model: str) -> Callable[[str], list[Found]]:
    """What finds names by the spaCy model of that name, or in that folder; nothing is downloaded.

    Raises:
        InputError: presidio-analyzer or the model is not installed, or the model finds no names.
    """
    if find_spec("presidio_analyzer") is None:
        raise InputError(
            f"data.person_names needs presidio-analyzer, which is not there: pip install {PACKAGE} and a spaCy model"
        )
    import spacy  # pyright: ignore[reportMissingImports]
    from presidio_analyzer import AnalyzerEngine, RecognizerRegistry  # pyright: ignore[reportMissingImports]
    from presidio_analyzer.nlp_engine import SpacyNlpEngine  # pyright: ignore[reportMissingImports]
    from presidio_analyzer.predefined_recognizers import SpacyRecognizer  # pyright: ignore[reportMissingImports]

    try:
        language = spacy.load(model, exclude=_UNUSED)
    except OSError as error:
        raise InputError(
            f"data.person_names: there is no spaCy model {model!r} here: install its package, or give its folder."
        ) from error
    if not _FINDS_NAMES.intersection(language.pipe_names):
        raise InputError(f"data.person_names: the spaCy model {model!r} finds no names; its parts are"
                         f" {', '.join(language.pipe_names) or 'none'}.")  # fmt: skip
    # Loaded here and not by its name, which would be fetched from the network when it is not installed.
    engine = SpacyNlpEngine([{"lang_code": language.lang, "model_name": model}])
    engine.nlp = {language.lang: language}
    recognizer = SpacyRecognizer(supported_language=language.lang, supported_entities=["PERSON"])
    registry = RecognizerRegistry([recognizer], supported_languages=[language.lang])
    analyzer = AnalyzerEngine(registry, engine, supported_languages=[language.lang])

    def names(text: str) -> list[Found]:
        return [
            Found("name", start + one.start, start + one.end)
            for start, piece in _pieces(text)
            for one in analyzer.analyze(piece, language.lang, entities=["PERSON"])
        ]

    return names


def _pieces(text: str) -> Iterator[tuple[int, str]]:
    """The text in pieces with their places, cut at white space where there is some."""
    start = 0
    while start < len(text):
        end = start + _PIECE
        if end < len(text) and (space := text.rfind(" ", start + 1, end)) > 0:
            end = space
        yield start, text[start:end]
        start = end

"""What `bentoml serve` and `bentoml build` load."""

from bentos.serving.bento import served

TextClassifier = served("text_classifier", "TextClassifier")

"""What a person said the right label is, as it is kept."""

import msgspec


class FeedbackRecord(msgspec.Struct, frozen=True):
    """`version` served when the feedback came; `client` is the caller's name where one is known, else its address."""

    time: float
    id: str
    text: str
    label: str | list[str]
    version: str
    client: str

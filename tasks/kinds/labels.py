"""What differs between the kinds of task while data is read, checked and split, in DuckDB's SQL."""

from dataclasses import dataclass

from tasks.base.manifests import TaskName

_SPANS = 'STRUCT("start" INTEGER, "end" INTEGER, "label" VARCHAR)[]'
_SPAN_CLASSES = "list_sort(list_distinct(list_transform(label, lambda span: span.label)))"
_KNOWN_SPANS = "list_filter(label, lambda span: list_contains(getvariable('labels'), span.label))"
_RAREST = "coalesce(list_min(list_transform({classes}, lambda name: (getvariable('ranks')[name], name)))[2], '')"


@dataclass(frozen=True)
class LabelKind:
    """Expressions over columns `label` (and, where a table was just read, `form`); see `Reading.schema`."""

    typed: str
    """The label in the type that `manifests.Table` states; `$separator` cuts a multi-label text."""
    misfit: str
    """Why a row's label is of another kind; NULL when it is not."""
    missing: str
    """Whether a typed label is missing."""
    classes: str
    """The class names of a typed label, as a list."""
    canonical: str
    """A text that is equal for equal typed labels."""
    stratum: str
    """The class by which a row is stratified; variable `ranks` maps a class to its place, the rarest first."""
    target: str
    """The target that training learns; type `class` enumerates the class names, variable `labels` lists them."""
    known: str
    """Whether a row can be used with the classes in `labels`."""
    kept: str
    """The label without classes that are not in `labels`."""
    least_classes: int = 2
    """Fewer leave nothing to learn."""
    comparable: bool = True
    """Whether scores of models with different tokenisers can be pooled, as folds need."""


KINDS: dict[TaskName, LabelKind] = {
    "single": LabelKind(
        typed="label",
        misfit="CASE WHEN form IS NOT NULL THEN 'the label is a list, where one name is expected' END",
        missing="label IS NULL OR trim(label, ' \t\r\n\u00a0\u3000') = ''",
        classes="[label]",
        canonical="label",
        stratum="label",
        target="CAST(enum_code(TRY_CAST(label AS class)) AS INTEGER)",
        known="TRY_CAST(label AS class) IS NOT NULL",
        kept="label",
    ),
    "multi": LabelKind(
        typed="""CASE WHEN form = 'list' THEN list_sort(list_distinct(CAST(CAST(label AS JSON) AS VARCHAR[])))
            WHEN label IS NOT NULL THEN list_sort(list_distinct(list_filter(
                list_transform(CASE WHEN $separator = '' THEN [label] ELSE string_split(label, $separator) END,
                    lambda name: trim(name)), lambda name: name <> ''))) END""",
        misfit="CASE WHEN form = 'spans' THEN 'the label is a list of spans, where names are expected' END",
        missing="label IS NULL",
        classes="label",
        canonical="CAST(to_json(label) AS VARCHAR)",
        stratum=_RAREST.format(classes="label"),
        target="list_transform(getvariable('labels'), lambda name: CAST(list_contains(label, name) AS TINYINT))",
        known="true",
        kept="list_filter(label, lambda name: list_contains(getvariable('labels'), name))",
    ),
    "tagging": LabelKind(
        typed=f"CAST(CAST(label AS JSON) AS {_SPANS})",
        misfit="CASE WHEN form IS NULL AND label IS NOT NULL OR form = 'list' AND label <> '[]' "
        "THEN 'the label is no list of spans {start, end, label}' END",
        missing="label IS NULL",
        classes=_SPAN_CLASSES,
        canonical="CAST(to_json(label) AS VARCHAR)",
        stratum=_RAREST.format(classes=_SPAN_CLASSES),
        target=_KNOWN_SPANS,
        known="true",
        kept=_KNOWN_SPANS,
        least_classes=1,
        comparable=False,
    ),
}

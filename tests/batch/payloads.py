"""Payloads made at random, in Python names, for every class of the payload model."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

if TYPE_CHECKING:
    from airflow_provider_jobmanager.batch.model import Field, Model

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
NUMBERS = st.integers(-(2**31), 2**31 - 1)
DURATIONS = st.timedeltas(timedelta(0), timedelta(days=400))
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=5,
)


def members(cls: type[Model], *, local: bool = True) -> st.SearchStrategy[dict[str, Any]]:
    """Constructor arguments in Python names, nested objects as dicts; ``local`` members only when asked for."""
    fields = {name: field for name, field in cls._fields.items() if local or not field.local}
    # A wide class with every member drawn would take hypothesis too many choices.
    return st.lists(st.sampled_from(list(fields)), unique=True, max_size=6).flatmap(
        lambda names: st.fixed_dictionaries({name: _value(fields[name], local=local) for name in names})
    )


def _value(field: Field, *, local: bool) -> st.SearchStrategy[Any]:
    if field.model is not None:
        model = field.model
        single: st.SearchStrategy[Any] = st.deferred(lambda: members(model, local=local))
    elif field.kind == "choice":
        single = st.sampled_from(sorted(field.choices.values()))
    elif field.kind == "free":
        single = st.dictionaries(TEXTS, TEXTS, max_size=2)
    else:
        single = {"text": TEXTS, "integer": NUMBERS, "flag": st.booleans(), "duration": DURATIONS}[field.kind]
    return st.lists(single, max_size=3) if field.many else single

"""References of a proposal: each means the server that was looked at, and no other one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maintenance.attach.addresses import Address, addresses_given, referred_to
from maintenance.conf.references import resolve_secret
from maintenance.core.errors import InvalidOptions

NAMES = ("SITE_REDIS_URL", "SITE_REDIS_URL_2", "SITE_REDIS_URL_3", "OTHER")
URLS = ("redis://a/0", "redis://b/0", "redis://:${OTHER:-sesame}@c/0")


@given(
    texts=st.lists(st.sampled_from([*URLS, *(f"env:{name}" for name in NAMES)]), max_size=4),
    environment=st.dictionaries(st.sampled_from(NAMES), st.sampled_from(["", *URLS[:2]])),
)
def test_each_reference_means_the_address_that_was_given(
    texts: list[str], environment: dict[str, str]
) -> None:
    usable = [text for text in texts if text in URLS or environment.get(text.partition(":")[2])]
    addresses = addresses_given(usable, environment)
    references = referred_to(addresses, "SITE_REDIS_URL", environment)
    to_be_set = {
        reference.name: address.url
        for reference, address in zip(references, addresses, strict=True)
        if reference.is_to_be_set
    }
    assert not any(environment.get(name) for name in to_be_set), "nothing has to be set anew"
    completed = environment | to_be_set
    read = [resolve_secret(reference.reference, completed) for reference in references]
    assert read == [address.url for address in addresses]
    assert not any("://" in reference.reference for reference in references)


def test_an_address_gets_the_variable_that_is_set_to_it() -> None:
    environment = {"URL": "redis://b/0", "URL_2": "redis://a/0", "URL_3": ""}
    given_ = addresses_given(["redis://a/0", "redis://b/0", "redis://c/0"], environment)
    assert referred_to(given_, "URL", environment) == [
        Address("env:URL_2", is_to_be_set=False),
        Address("env:URL", is_to_be_set=False),
        Address("env:URL_3", is_to_be_set=True),
    ]


def test_every_argument_that_is_no_address_is_told_and_none_repeated() -> None:
    texts = [
        "http://:sesame@h",
        "redis://a/0",
        "env:EMPTY",
        "env:UNSET",
        "postgres:sesame",
        "file:",
    ]
    with pytest.raises(InvalidOptions) as refusal:
        addresses_given(texts, {"EMPTY": ""})
    told = str(refusal.value)
    assert "sesame" not in told
    lines = told.splitlines()
    assert [line.split()[1].rstrip(":") for line in lines] == ["1", "3", "4", "5", "6"]
    assert "The environment variable EMPTY is empty" in lines[1]
    assert "UNSET is not set" in lines[2]

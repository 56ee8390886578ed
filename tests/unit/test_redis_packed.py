"""Commands as bytes."""

from hypothesis import given
from hypothesis import strategies as st
from redis._parsers.encoders import Encoder
from redis.connection import PythonRespSerializer

from maintenance.redis_client.packed import PIECE_BYTES, Packer, _pieces, pack

words = st.lists(st.binary(max_size=40), min_size=1, max_size=6)


@given(arguments=words)
def test_packing_by_hand_equals_the_client_librarys_packing(arguments: list[bytes]) -> None:
    command = [b"SET", *arguments]
    encode = Encoder("utf-8", "strict", decode_responses=False).encode
    library = b"".join(PythonRespSerializer(6000, encode).pack(*command))
    assert pack(*command) == library


@given(before=words, key=st.binary(max_size=40), after=st.lists(st.binary(max_size=9), max_size=3))
def test_a_prepared_command_equals_the_same_command_packed_alone(
    before: list[bytes], key: bytes, after: list[bytes]
) -> None:
    packer = Packer(before, after)
    assert packer.for_key(key) == pack(*before, key, *after)
    assert packer.for_keys([key, b"other"])[0] == pack(*before, key, *after)


@given(
    before=words,
    keys=st.lists(st.binary(max_size=3), max_size=12),
    after=st.lists(st.binary(max_size=9), max_size=3),
)
def test_many_commands_packed_as_one_text_are_the_same_commands(
    before: list[bytes], keys: list[bytes], after: list[bytes]
) -> None:
    packer = Packer(before, after)
    assert packer.joined(keys) == b"".join(packer.for_keys(keys))


@given(sizes=st.lists(st.integers(min_value=1, max_value=PIECE_BYTES), max_size=12))
def test_a_batch_is_cut_into_pieces_of_bounded_size_in_order(sizes: list[int]) -> None:
    commands = [bytes([number]) * size for number, size in enumerate(sizes)]
    cut = list(_pieces(commands))
    assert [command for piece in cut for command in piece] == commands
    assert all(len(piece) == 1 or sum(map(len, piece)) <= PIECE_BYTES for piece in cut)

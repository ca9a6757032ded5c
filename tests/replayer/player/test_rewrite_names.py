"""Ids that come out under other names."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omnirecord.replayer.player.rewrite import Renaming, is_plain
from omnirecord.replayer.stream_parts import Part, frames_of
from tests.support.examples import each

ID = "04cc962c53894fceb438253de1a3c240"
OTHER = "conv_9"
MINE = Renaming({ID: "mine", OTHER: "my-other"})

RENAMED = {
    "a value": (f'{{"id":"{ID}"}}', '{"id":"mine"}'),
    "the name of a member": (f'{{"{ID}": 1}}', '{"mine": 1}'),
    "a path": (f"/v1/sessions/{ID}/events?x={ID}&y=1", "/v1/sessions/mine/events?x=mine&y=1"),
    "a path in JSON": (f'"\\/v1\\/sessions\\/{ID}\\/events"', '"\\/v1\\/sessions\\/mine\\/events"'),
    "what follows an escape": (f'"a\\n{ID}\\u002f{ID}"', '"a\\nmine\\u002fmine"'),
    "JSON in JSON": (json.dumps(json.dumps({"id": ID})), json.dumps(json.dumps({"id": "mine"}))),
    "several": (f"{ID} {OTHER} {ID}", "mine my-other mine"),
    "all of it": (ID, "mine"),
    "in prose": (f"Session {ID}.", "Session mine."),
}
KEPT = {
    "a longer word": f"{ID}0",
    "a word that ends so": f"a{ID}",
    "a word with hyphens": f"turn-{ID}",
    "a word with underscores": f"{OTHER}_1",
    "a beginning": ID[:-1],
    "another case": ID.upper(),
    "nothing": "",
    "a word behind an escaped backslash": f'"\\\\n{ID}"',
}


@each("name", RENAMED)
def test_an_id_is_renamed_in(name: str) -> None:
    text, renamed = RENAMED[name]
    assert MINE.string(text) == renamed


@each("name", KEPT)
def test_an_id_is_not_renamed_in(name: str) -> None:
    assert MINE.string(KEPT[name]) == KEPT[name]


def test_names_are_changed_all_at_once() -> None:
    assert Renaming({"a": "b", "b": "a"}).text(b"a b a") == b"b a b"


def test_bytes_that_are_no_text_stay() -> None:
    assert MINE.text(b"\xff" + ID.encode() + b"\x00\xfe") == b"\xffmine\x00\xfe"
    assert MINE.string(f"\udcff {ID}") == "\udcff mine"


def test_of_headers_the_values_are_renamed() -> None:
    headers = (("Location", f"/v1/sessions/{ID}"), (ID, "1"))
    assert MINE.headers(headers) == (("Location", "/v1/sessions/mine"), (ID, "1"))


@each("name", ['a"b', "a b", "a/b", "a\nb", "é", "", "a" * 300])
def test_a_name_that_would_have_to_be_escaped_is_refused(name: str) -> None:
    assert not is_plain(name)
    with pytest.raises(ValueError, match="escaped"):
        Renaming({ID: name})


def test_a_name_that_is_cut_goes_whole_where_it_began() -> None:
    pieces = [b"<", ID[:3].encode(), ID[3:9].encode(), ID[9:].encode() + b">", b""]
    assert MINE.texts(pieces) == [b"<", b"mine", b"", b">", b""]


def test_without_names_everything_stays() -> None:
    nobody = Renaming({})
    assert not nobody
    assert not Renaming({"a": "a"})
    assert nobody.text(b"a") == b"a"
    assert nobody.texts([b"a", b"b"]) == [b"a", b"b"]


WORDS = st.lists(st.sampled_from(["a", "b", "ab", "x", " ", '"', "-", "\\n", "/", ID, OTHER, ID[:5]])).map("".join)


@given(text=WORDS, cuts=st.lists(st.integers(0, 200)))
def test_however_a_text_is_cut_the_same_comes_out(text: str, cuts: list[int]) -> None:
    data = text.encode()
    edges = sorted({0, len(data), *(cut for cut in cuts if cut <= len(data))})
    pieces = [data[a:b] for a, b in pairwise(edges)] or [b""]
    renamed = MINE.texts(pieces)
    assert len(renamed) == len(pieces)
    assert b"".join(renamed) == MINE.text(data)


STRINGS = st.sampled_from([ID, f"/v1/sessions/{ID}", "é\n", ID + "0"]) | st.text()
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([ID, f"/v1/sessions/{ID}", "é\n", ID + "0"])
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["id", ID, "x"]), inner),
)


def renamed_value(value: Any) -> Any:
    if isinstance(value, str):
        return MINE.string(value)
    if isinstance(value, list):
        return [renamed_value(one) for one in value]
    if isinstance(value, dict):
        return {renamed_value(name): renamed_value(one) for name, one in value.items()}
    return value


@given(value=JSON, ascii=st.booleans())
def test_renaming_json_is_renaming_what_it_says(value: Any, ascii: bool) -> None:
    data = json.dumps(value, ensure_ascii=ascii).encode("utf-8", "surrogatepass")
    assert json.loads(MINE.text(data)) == renamed_value(value)


def test_parts_of_a_frame_are_renamed_together_and_keep_their_times() -> None:
    first, second = f'data: "{ID}"\n\n'.encode(), b"data: 2\n\n"
    parts = [Part(1, first[:10], seq=1, read=1), Part(2, first[10:], seq=1, read=2), Part(3, second, seq=2, read=2)]
    renamed = list(MINE.parts(parts))
    assert b"".join(part.data for part in renamed) == b'data: "mine"\n\ndata: 2\n\n'
    assert [(p.offset_ns, p.seq, p.read) for p in renamed] == [(p.offset_ns, p.seq, p.read) for p in parts]
    assert len(list(frames_of(renamed))) == 2

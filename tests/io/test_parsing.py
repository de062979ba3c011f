"""JSON and YAML that others wrote: what would exhaust the stack or the memory is refused."""

import pytest

from alembert.io.parsing import DEPTH, YAML_SIZE, json_of, yaml_of


@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_json_is_read_to_the_bound_of_its_depth_and_refused_below_it(opening: str) -> None:
    closing = "]" if opening == "[" else "}"

    def nested(levels: int) -> str:
        return opening * levels + ("" if opening == "[" else "1") + closing * levels

    json_of(nested(DEPTH))
    for levels in (DEPTH + 1, 900, 10_000, 100_000):
        with pytest.raises(ValueError, match=f"nested deeper than {DEPTH} levels"):
            json_of(nested(levels))


def test_many_brackets_beside_each_other_are_not_deep() -> None:
    assert json_of("[" + "[[]]," * 1000 + "{}]") == [*([[[]]] * 1000), {}]


@pytest.mark.parametrize(
    "text", [r'"\ud83d"', r'"a\uDE00"', r'{"\ud83d": 1}', r'[[{"a": "\ud83d \ude00"}]]']
)
def test_half_an_emoji_in_json_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"'\\ud\w{3}' is half of a surrogate pair"):
        json_of(text)


def test_whole_emoji_and_backslashes_in_json_are_read() -> None:
    assert json_of(r'"\ud83d\ude00"') == "\U0001f600"
    assert json_of(r'"\\ud83d"') == r"\ud83d"


def test_a_number_of_5000_digits_is_refused_in_json() -> None:
    with pytest.raises(ValueError, match="4300 digits"):
        json_of("9" * 5000)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: &x [1]\nb: *x", "line 1: anchors and aliases"),
        ("a: 1\nb: *x", "line 2: anchors and aliases"),
        ("a: &x 1", "line 1: anchors and aliases"),
        ("a: !!int foo", "line 1: the tag tag:yaml.org,2002:int is not read"),
        ("a: !!bool foo", "the tag"),
        ("a: !!python/name:os.system", "the tag"),
        ("a: 0x1F", "0x1F is no decimal number: write it as one, or quote it"),
        ("a: -0x1F", "no decimal number"),
        ("a: 0b11", "no decimal number"),
        ("a: 0x_", "no decimal number"),
        ("a: 017", "no decimal number"),
        ("a: 1:30", "1:30 is no decimal number"),
        ("a: 1:30.5", "no decimal number"),
        ("a: 2020-01-02", "2020-01-02 is a date: quote it"),
        ("a: 2020-13-45", "is a date"),
        (f"a: {10**400}", r"1000000000\d*\.\.\. is a number over 64 bits"),
        ("a: " + "9" * 5000, "is a number over 64 bits"),
        ("a: 0x" + "f" * 5000, "no decimal number"),
        ('a: "\\ud83d"', "half of a surrogate pair"),
        ('a: "\\U0011FFFF"', "range"),
        ('a: "\\UFFFFFFFF"', "too large"),
        ("[" * 10_000, f"nested deeper than {DEPTH} levels"),
        ("- " * 3_000, f"nested deeper than {DEPTH} levels"),
        ("? " * 3_000, f"nested deeper than {DEPTH} levels"),
        ("a: " * 3, "mapping values are not allowed"),
        ("# " + "a" * YAML_SIZE, "longer than 1,000,000 characters"),
    ],
)
def test_yaml_that_is_not_what_it_seems_is_refused_in_a_line(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as caught:
        yaml_of(text)
    assert "\n" not in str(caught.value)


def test_plain_yaml_is_read() -> None:
    text = "a: [1, -2, +3, 0, 1_000, 0.5, 1.0e-3, .inf, yes, null, '0x1F', \"1:30\", up]"
    expected = [1, -2, 3, 0, 1000, 0.5, 0.001, float("inf"), True, None, "0x1F", "1:30", "up"]
    assert yaml_of(text) == {"a": expected}
    assert yaml_of(f"[{2**63 - 1}]") == [2**63 - 1]


def test_anchors_that_would_expand_to_gigabytes_cost_nothing() -> None:
    lines = ["a0: &a0 [x, x]", *(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 60))]
    with pytest.raises(ValueError, match="line 1: anchors and aliases"):
        yaml_of("\n".join(lines))

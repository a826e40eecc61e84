"""Rules on DICOM attributes: `Modality == "CT" and SliceThickness in [0, 5] and not SeriesDescription ~ "scout"`.

    rule       := and-rule { "or" and-rule }
    and-rule   := not-rule { "and" not-rule }
    not-rule   := "not" not-rule | "(" rule ")" | condition
    condition  := Keyword ("==" | "!=" | "<" | "<=" | ">" | ">=") value
                | Keyword "in" "[" number "," number "]"          a closed range
                | Keyword "in" "{" value "," ... "}"              one of several
                | Keyword "~" "regular expression"                found anywhere, case ignored
                | Keyword "exists"
    value      := number | "text"

A keyword of several values is true when one of them is. Nothing is ever evaluated as code.
"""

from __future__ import annotations

import operator
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydicom.datadict import tag_for_keyword

from claimed_med.dicom.header import text
from claimed_med.errors import SHOWN_KEYWORDS, ContractError, header_value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

ALLOWED = SHOWN_KEYWORDS | {
    "SeriesDescription",
    "ProtocolName",
    "StudyDescription",
    "SequenceName",
    "ContrastBolusAgent",
}
VIRTUAL = frozenset({"NumberOfSlices"})
_TOKEN = re.compile(
    r"\s*(?:(?P<text>\"(?:[^\"\\]|\\.)*\")|(?P<number>[+-]?\d+(?:\.\d*)?(?:[eE][+-]?\d+)?)|(?P<word>[A-Za-z]\w*)"
    r"|(?P<sign>==|!=|<=|>=|[<>~()\[\]{},]))"
)
_ORDER: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@dataclass(frozen=True)
class Condition:
    """One comparison of one keyword."""

    keyword: str
    sign: str
    value: Any

    def matches(self, header: Any) -> bool:
        """Whether the attribute fulfils it; an absent one fulfils only `!=`."""
        values = [one for one in _text(header, self.keyword).split("\\") if one != ""]
        if self.sign == "exists":
            return bool(values)
        if self.sign == "!=":
            return not any(_equal(one, self.value) for one in values)
        return any(self._fulfils(one) for one in values)

    def _fulfils(self, value: str) -> bool:
        if self.sign == "==":
            return _equal(value, self.value)
        if self.sign == "~":
            return re.search(self.value, value, re.IGNORECASE) is not None
        if self.sign == "one of":
            return any(_equal(value, one) for one in self.value)
        number = _number(value)
        if number is None:
            return False
        if self.sign == "range":
            return bool(self.value[0] <= number <= self.value[1])
        return _ORDER[self.sign](number, self.value)

    def __str__(self) -> str:
        if self.sign == "exists":
            return f"{self.keyword} exists"
        if self.sign == "range":
            return f"{self.keyword} in [{self.value[0]:g}, {self.value[1]:g}]"
        if self.sign == "one of":
            return f"{self.keyword} in {{{', '.join(map(_quoted, self.value))}}}"
        return f"{self.keyword} {self.sign} {_quoted(self.value)}"


@dataclass(frozen=True)
class Rule:
    """A condition, or several joined: `all` of them, `any` of them, or `none`."""

    kind: str
    parts: tuple[Rule | Condition, ...]

    def matches(self, header: Any) -> bool:
        """Whether a header fulfils the rule."""
        if self.kind == "all":
            return all(part.matches(header) for part in self.parts)
        found = any(part.matches(header) for part in self.parts)
        return found if self.kind == "any" else not found

    def why_not(self, header: Any) -> list[str]:
        """Every reason why a header does not fulfil the rule; empty when it does."""
        return [] if self.matches(header) else list(_reasons(self, header))


def parse(rule: str, columns: tuple[str, ...] = (), where: str = "select-series") -> Rule:
    """Read a rule; the empty rule is fulfilled by everything.

    Args:
        rule: The text.
        columns: Names of a table's columns, in place of DICOM keywords; rows then have a method `value(name)`.
        where: The component whose page explains rules.

    Raises:
        ContractError: The rule cannot be read (with the place), or asks for a keyword that may identify a patient.
    """
    if not rule.strip():
        return Rule("all", ())
    reader = _Reader(rule, columns, where)
    found = reader.rule()
    if reader.peek():
        reader.fail("the rule goes on where it should end")
    return found if isinstance(found, Rule) else Rule("all", (found,))


class _Reader:
    def __init__(self, rule: str, columns: tuple[str, ...], where: str) -> None:
        self.source, self.columns, self.where = rule, columns, where
        self.tokens = self._split(rule)
        self.index = 0

    def _split(self, rule: str) -> list[tuple[str, str, int]]:
        tokens, place = [], 0
        while place < len(rule.rstrip()):
            match = _TOKEN.match(rule, place)
            if match is None or match.lastgroup is None:
                raise _fault(rule, place, "this is no part of a rule", self.where)
            tokens.append((match.lastgroup, match.group(match.lastgroup), match.start(match.lastgroup)))
            place = match.end()
        return tokens

    def peek(self) -> str:
        return self.tokens[self.index][1] if self.index < len(self.tokens) else ""

    def take(self, *wanted: str) -> str:
        if self.peek() not in wanted:
            self.fail(f"{' or '.join(wanted)} is expected")
        self.index += 1
        return self.tokens[self.index - 1][1]

    def fail(self, what: str) -> None:
        place = self.tokens[self.index][2] if self.index < len(self.tokens) else len(self.source)
        raise _fault(self.source, place, what, self.where)

    def rule(self) -> Rule | Condition:
        return self._joined("or", "any", lambda: self._joined("and", "all", self.single))

    def _joined(self, word: str, kind: str, part: Callable[[], Rule | Condition]) -> Rule | Condition:
        parts = [part()]
        while self.peek() == word:
            self.take(word)
            parts.append(part())
        return parts[0] if len(parts) == 1 else Rule(kind, tuple(parts))

    def single(self) -> Rule | Condition:
        if self.peek() == "not":
            self.take("not")
            return Rule("none", (self.single(),))
        if self.peek() == "(":
            self.take("(")
            found = self.rule()
            self.take(")")
            return found
        return self.condition()

    def condition(self) -> Condition:
        keyword = self.keyword()
        sign = self.take("==", "!=", "<", "<=", ">", ">=", "~", "in", "exists")
        if sign == "exists":
            return Condition(keyword, sign, None)
        if sign == "in":
            return self.within(keyword)
        value = self.value()
        if sign in _ORDER and isinstance(value, str):
            self.index -= 1
            self.fail("a number is expected")
        if sign == "~":
            self.check_expression(value)
        return Condition(keyword, sign, value)

    def keyword(self) -> str:
        name = self.peek()
        if self.columns:
            if name not in self.columns:
                self.fail(f"a column is expected ({', '.join(self.columns)})")
            return self.take(name)
        if not name or (tag_for_keyword(name) is None and name not in VIRTUAL):
            self.fail("a DICOM keyword is expected (Modality, SliceThickness ...)")
        if name not in ALLOWED | VIRTUAL:
            self.fail(f"{name} may identify a patient, and rules are recorded; choose another keyword")
        return self.take(name)

    def within(self, keyword: str) -> Condition:
        if self.take("[", "{") == "[":
            low = self.number()
            self.take(",")
            high = self.number()
            self.take("]")
            return Condition(keyword, "range", (low, high))
        values = [self.value()]
        while self.take(",", "}") == ",":
            values.append(self.value())
        return Condition(keyword, "one of", tuple(values))

    def value(self) -> str | float:
        kind = self.tokens[self.index][0] if self.index < len(self.tokens) else ""
        if kind not in {"text", "number"}:
            self.fail('a number or a "text" is expected')
        word = self.take(self.peek())
        return float(word) if kind == "number" else re.sub(r"\\(\")", r"\1", word[1:-1])

    def number(self) -> float:
        value = self.value()
        if isinstance(value, str):
            self.index -= 1
            self.fail("a number is expected")
        return float(value)

    def check_expression(self, value: str | float) -> None:
        try:
            re.compile(str(value))
        except re.error as error:
            self.index -= 1
            self.fail(f"the regular expression is wrong ({error.msg})")


def _fault(rule: str, place: int, what: str, where: str) -> ContractError:
    told = rule[place : place + 20] or "the end"
    return ContractError("rules", what, got=f"{told!r} at character {place + 1}", do=f"see: claimed-med show {where}")


def _reasons(rule: Rule, header: Any) -> Iterable[str]:
    for part in rule.parts:
        if rule.kind == "none":
            if part.matches(header):
                yield f"not ({_shown(part)}) is wanted"
        elif not part.matches(header):
            yield from [_reason(part, header)] if isinstance(part, Condition) else _reasons(part, header)


def _reason(condition: Condition, header: Any) -> str:
    value = _text(header, condition.keyword)
    shown = value if condition.keyword in VIRTUAL else header_value(condition.keyword, value)
    told = shown if value else "no value"
    return f"{condition} is wanted; it is {told}"


def _shown(part: Rule | Condition) -> str:
    if isinstance(part, Condition):
        return str(part)
    word = " and " if part.kind == "all" else " or "
    inner = word.join(map(_shown, part.parts))
    return f"not ({inner})" if part.kind == "none" else inner


def _text(header: Any, name: str) -> str:
    """The value of a keyword of a header, or of a column of a row."""
    return str(header.value(name)) if hasattr(header, "value") else text(header, name)


def _equal(value: str, wanted: str | float) -> bool:
    return value == wanted if isinstance(wanted, str) else _number(value) == wanted


def _number(value: str) -> float | None:
    try:
        return float(value)
    except ValueError:
        return None


def _quoted(value: str | float) -> str:
    return f'"{value}"' if isinstance(value, str) else f"{value:g}"

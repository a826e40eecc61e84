"""What names one patient and those around, in every spelling under which it may stand in a text or in bytes."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field
from functools import cache, cached_property
from itertools import permutations

from claimed_med.dicom.deid_patterns import EDGE, EDGE_AFTER
from claimed_med.dicom.vocabulary import clinical_words, structural_words

SHORTEST_SWEPT = 4
SHORTEST_SWEPT_NUMBER = 7  # shorter ones stand in measurements too
_SHORTEST_NAME, _SHORTEST_NUMBER, _SHORTEST_KEPT_NAME = 2, 5, 3
_LONG_NAME = 6
_LONGEST_PHRASE = 64
# Words that de-identification itself writes, and those that stand beside names without naming anybody.
_OURS = frozenset("anon anonymized anonymous claimed_med modified none removed research strict unmodified".split())
_PARTICLES = frozenset(
    """
    van von vom zum zur zu der den de del della di da dal dos das do la le les lo el al bin ibn bint ben abu ter ten te
    het op af av st san santa mc mac y e i and und et jr sr ii iii iv md phd dr prof mr mrs ms herr frau med mme
    """.split()
)
# Scripts that put no space between words: an identifier counts wherever it stands.
_UNSPACED = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff]")
_WORD = re.compile(r"[^\W_]+(?:['\u2019-][^\W_]+)*")
_FINAL_SIGMA = {"\u03c2": "\u03c3"}  # capitals do not tell the two apart
_TRANSLITERATED = (
    {0xE4: "ae", 0xF6: "oe", 0xFC: "ue", 0xDF: "ss", 0xE6: "ae", 0xF8: "oe", 0xE5: "aa"},
    {0xDF: "ss", 0xF8: "o", 0x142: "l", 0x111: "d", 0x131: "i", 0xE6: "ae"},
)
_ENCODINGS = (
    "utf-8 latin-1 gb18030 shift_jis iso2022_jp iso2022_jp_2 euc_kr iso8859_2 iso8859_3 iso8859_4 iso8859_5 iso8859_6"
    " iso8859_7 iso8859_8 iso8859_9 tis_620"
).split()


@dataclass
class Identifiers:
    """What names one patient and those around: gathered from all of the patient's objects.

    Attributes:
        words: Names and parts of names, folded.
        phrases: Whole values: addresses, institutions, numbers, folded.
    """

    words: set[str] = field(default_factory=set)
    phrases: set[str] = field(default_factory=set)

    def add_name(self, value: str) -> None:
        """Take a person's name: each part of it counts alone, and all of them run together."""
        for group in value.split("="):
            for spelling in spellings(group):
                parts = [part.strip("'\"()-") for part in re.split(r"[\^\s,;._]+", spelling)]
                for part in parts:
                    self._add_part(part)
                self._add_joined([part for part in parts if _joins(part)][:3])
                for component in spelling.split("^"):  # `van der Berg` run together
                    if len(words := re.findall(r"[^\W\d_]+", component)) > 1:
                        self.words.add("".join(words))

    def _add_part(self, part: str) -> None:
        bare = re.sub(r"['\u2019-]", "", part)
        for one in {part, bare, *re.split(r"['\u2019-]", part)}:
            if len(one) >= _SHORTEST_NAME and not one.isdigit() and one not in _PARTICLES:
                self.words.add(one)
            elif len(one) >= _SHORTEST_NUMBER:
                self.phrases.add(one)

    def _add_joined(self, parts: list[str]) -> None:
        """Family and given name run together, whole or as an initial: `wangxiaodong`, `jneumann`."""
        told = [re.sub(r"['\u2019-]", "", one) for one in parts]
        for first, second in permutations(told, 2):
            both = {first + second}
            if len(second) >= SHORTEST_SWEPT and not _UNSPACED.search(second):
                both |= {first[0] + second, second + first[0]}
            self.words |= {one for one in both if len(one) >= SHORTEST_SWEPT or _UNSPACED.search(one)}

    def add_value(self, value: str) -> None:
        """Take a number, address, institution or telephone number: it counts as a whole, telling parts alone."""
        words = clinical_words()
        for spelling in spellings(" ".join(value.split())):
            if SHORTEST_SWEPT <= len(spelling) <= _LONGEST_PHRASE and spelling not in words:
                self.phrases.add(spelling)
            self._add_number(spelling)
            for part in _WORD.findall(spelling):
                long_enough = len(part) >= SHORTEST_SWEPT or (len(part) > 1 and _UNSPACED.search(part))
                if long_enough and part not in words and not part.isdigit() and any(one.isalpha() for one in part):
                    self.words.add(part)

    def _add_number(self, value: str) -> None:
        """The digits of a number alone: without separators, letters around them and leading zeros."""
        runs = {*re.findall(rf"\d{{{_SHORTEST_NUMBER},}}", value)}
        if re.fullmatch(r"[\d ./()+-]+", value):
            runs.add(re.sub(r"\D", "", value))
        for run in runs:
            for one in {run, run.lstrip("0")}:
                if len(one) >= _SHORTEST_NUMBER:
                    self.phrases.add(one)

    def add_birth_date(self, value: str) -> None:
        """Take a date of birth (DA) as it may be written out."""
        year, month, day = value[:4], value[4:6], value[6:8]
        if len(value) != 8 or not value.isdigit():
            return
        self.phrases |= {value, f"{day}{month}{year}", f"{month}{day}{year}"}
        for sign in "-./":
            self.phrases |= {sign.join(one) for one in ((year, month, day), (day, month, year), (month, day, year))}

    @cached_property
    def pattern(self) -> re.Pattern[str] | None:
        """Matches every identifier in folded text."""
        return _matching(self.phrases, self.words)

    @cached_property
    def certain(self) -> re.Pattern[str] | None:
        """Matches identifiers in folded text that is otherwise kept: no clinical word, no word of two letters."""
        words = {one for one in self.words if _is_telling(one, _SHORTEST_KEPT_NAME)}
        return _matching({one for one in self.phrases if _is_telling(one, SHORTEST_SWEPT)}, words)

    @cached_property
    def swept(self) -> tuple[tuple[bytes, bool], ...]:
        """Identifiers that must not stand anywhere in an object, as lower-case bytes in DICOM's character sets.

        Short ones and those that are clinical words too are looked for in text only. True: also inside longer words.
        """
        found = {}
        for one in (one for one in self.words | self.phrases if _is_telling(one, SHORTEST_SWEPT)):
            anywhere = _counts_anywhere(one) or not (one.isalpha() or one.isdigit())
            final = re.sub("\u03c3\\b", "\u03c2", one)
            for form in {one, one.upper(), one.title(), final, final.title()}:
                for name in ("ascii",) if form.isascii() else _ENCODINGS:
                    try:
                        found[form.encode(name).lower()] = anywhere
                    except UnicodeEncodeError:
                        continue
        return tuple(sorted((one, anywhere) for one, anywhere in found.items() if len(one) >= SHORTEST_SWEPT))

    def left_in(self, content: bytes) -> bool:
        """Whether any identifier stands in the bytes of a header."""
        lowered = content.lower()
        return any(one in lowered and (anywhere or _stands_alone(one, lowered)) for one, anywhere in self.swept)


def _joins(part: str) -> bool:
    return bool(part) and part not in _PARTICLES and (len(part) > 1 or _UNSPACED.search(part) is not None)


def _matching(phrases: set[str], words: set[str]) -> re.Pattern[str] | None:
    def longest_first(found: set[str]) -> list[str]:
        return sorted(found, key=lambda one: (-len(one), one))

    parts = [
        re.escape(one) if len(one) >= _SHORTEST_NUMBER and not one.isalpha() else _alone(one)
        for one in longest_first(phrases)
    ]
    parts += [_alone(one) for one in longest_first(words)]
    return re.compile("|".join(parts)) if parts else None


def _alone(word: str) -> str:
    """A pattern for a word that is no part of a longer one, unless it is long enough; digits may follow a name."""
    if _counts_anywhere(word):
        return re.escape(word)
    if len(word) >= SHORTEST_SWEPT and word.isalpha():
        return rf"(?<![^\W\d_]){re.escape(word)}(?![^\W\d_])"
    return f"{EDGE}{re.escape(word)}{EDGE_AFTER}"


def _counts_anywhere(word: str) -> bool:
    """Whether a word identifies even inside a longer one: long, and no part of a clinical word; or without spaces."""
    if _UNSPACED.search(word):
        return True
    return len(word) >= _LONG_NAME and word.isalpha() and word not in _all_clinical()


@cache
def _all_clinical() -> str:
    return "\n".join(sorted(clinical_words() | _OURS))


def _stands_alone(identifier: bytes, content: bytes) -> bool:
    """Whether a name or number is no part of a longer word or UID."""
    edge = rb"0-9a-z." if identifier.isdigit() else rb"a-z"
    return re.search(rb"(?<![%s])%s(?![%s])" % (edge, re.escape(identifier), edge), content) is not None


def _is_telling(one: str, shortest: int) -> bool:
    if one.isdigit():
        return len(one) >= SHORTEST_SWEPT_NUMBER
    if _UNSPACED.search(one):
        return len(one) > 1
    return len(one) >= shortest and one not in structural_words() and one not in _OURS


def folded(text: str) -> str:
    """Lower case, of the same length as the text: each character alone, so that places stay."""
    return "".join(_FINAL_SIGMA.get(one, one.lower() if len(one.lower()) == 1 else one) for one in text)


def spellings(value: str) -> set[str]:
    """A value as it may be spelled: with its accents, without them, and with ae, oe, ue for umlauts."""
    lowered = folded(unicodedata.normalize("NFC", value.strip()))
    found = {lowered, *(lowered.translate(one) for one in _TRANSLITERATED)}
    if not _UNSPACED.search(lowered):
        bare = {
            "".join(one for one in unicodedata.normalize("NFKD", each) if not unicodedata.combining(one))
            for each in found
        }
        found |= bare | {unicodedata.normalize("NFD", lowered)}
    return found - {""}

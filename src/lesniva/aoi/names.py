"""How Russian districts are called: one district, many spellings.

"Липецкий район", "Липецкий муниципальный округ", "Липецкий м.р-н" and "по Липецкому району" are
one district; "Липецк", "г. Липецк" and "городской округ город Липецк" are another. What stays when
the words for the kind of unit are taken away, and the adjective's ending with them, tells them
apart: the stem "липецк-" of an adjective against the noun "липецк".
"""

import re
import unicodedata
from collections.abc import Mapping

from lesniva.errors import InputError

_UNIT = re.compile(
    r"""\b(?:
      м\.?\s?р-?н | м\.\s?о | г\.\s?о | р-н(?:а|у|е|ом)? | мо | го | мр |
      муниципальн\w+ | городск(?:ой|ого|ому|ом|им) | сельск(?:ий|ого|ому|ом|им) |
      административн\w+ | образовани\w+ | район(?:а|у|е|ом)? | округ(?:а|у|е|ом)? |
      город(?:а|у|е|ом)? | гор | г | зато
    )\b\.?""",
    re.VERBOSE,
)
_CITY = re.compile(r"\b(?:город(?:а|у|е|ом)?|гор|г|городск\w+ округ\w*|го|зато)\b")
_RAION = re.compile(r"\b(?:район\w*|р-?н\w*|округ\w*|мр|мо)\b")
_ADJECTIVE = re.compile(r"(?<=[сц]к)(?:ий|ого|ому|им|ом)\b")
_LOOKALIKES = str.maketrans("aceopxykmhtb", "асеорхукмнтв")
_ADJECTIVE_MARK = "*"

# Romanisation after BGN/PCGN 1947, simplified as on road signs: -ий and -ый become -y.
_LATIN = {
    "а": "a", "б": "b", "в": "v", "г": "g", "д": "d", "е": "e", "ё": "yo", "ж": "zh", "з": "z",
    "и": "i", "й": "y", "к": "k", "л": "l", "м": "m", "н": "n", "о": "o", "п": "p", "р": "r",
    "с": "s", "т": "t", "у": "u", "ф": "f", "х": "kh", "ц": "ts", "ч": "ch", "ш": "sh",
    "щ": "shch", "ъ": "", "ы": "y", "ь": "", "э": "e", "ю": "yu", "я": "ya",
}  # fmt: skip


def match_name(name: str, known: Mapping[str, str]) -> str | None:
    """Find a district by any usual spelling of its Russian name.

    Parameters
    ----------
    name
        As some table or map has it: any kind of unit, case, dash, е for ё, Latin look-alikes of
        Cyrillic letters; adjectives (in -ский, -цкий) in any grammatical case.
    known
        Name of each district by its id, such as ``area.districts["name_ru"]``.

    Returns
    -------
    str or None
        The id; None when no name has the same stem.

    Raises
    ------
    InputError
        When several districts have that stem and the kind of unit does not decide between them.
    """
    key, kind = _key(name), kind_of(name)
    if not key:
        return None
    found = {adm_id: kind_of(other) for adm_id, other in known.items() if _key(other) == key}
    if len(found) > 1:
        found = {adm_id: other for adm_id, other in found.items() if other == kind} or found
    if len(found) > 1:
        raise InputError(
            f"district name {name!r}: may be any of {', '.join(sorted(found))}; give the id instead"
        )
    return next(iter(found), None)


def kind_of(name: str) -> str:
    """Return "city", "raion" or, when the name does not say, "district"."""
    text = _plain(name)
    # "Городской округ Жуковский" is a town; "Можайский городской округ" was a raion until lately.
    city = _CITY.search(text)
    if city and (city.start() == 0 or not _key(name).endswith(_ADJECTIVE_MARK)):
        return "city"
    return "raion" if _RAION.search(text) else "district"


def english(name: str) -> str:
    """Return the name in Latin letters: "Липецкий район" becomes "Lipetsky District"."""
    words = re.sub(r"[^\W\d_]+", lambda word: word[0].capitalize(), transliterated(_bare(name)))
    suffix = {"raion": " District", "city": " (city)"}.get(kind_of(name), "")
    return words + suffix if words else name


def slug(name: str) -> str:
    """Return the name of a district, without its kind of unit, as lower-case ASCII with ``_``."""
    return re.sub(r"[^a-z0-9]+", "_", transliterated(_bare(name))).strip("_")


def transliterated(text: str) -> str:
    """Return lower-case Latin letters for Cyrillic ones; accents go, signs stay."""
    text = unicodedata.normalize("NFC", text).lower()
    text = re.sub(r"[иы]й\b", "ы", text)
    # е is ye where it is heard so: at the beginning of a word, after a vowel, ъ or ь.
    text = re.sub(r"(?:\b|(?<=[аеёиоуыэюяъь]))е", "yе", text)
    latin = "".join(_LATIN.get(letter, letter) for letter in text)
    plain = unicodedata.normalize("NFKD", latin.replace("yy", "y"))
    return "".join(letter for letter in plain if not unicodedata.combining(letter))


def _key(name: str) -> str:
    """Return what two spellings of one district have in common."""
    words = re.sub(r"[\W_]+", " ", _bare(name)).strip()
    return _ADJECTIVE.sub(_ADJECTIVE_MARK, words)


def _bare(name: str) -> str:
    """Return the name without the words for the kind of unit."""
    bare = re.sub(r"\s+", " ", _UNIT.sub(" ", _plain(name))).strip(" -.,")
    return re.sub(r"^по ", "", bare)


def _plain(name: str) -> str:
    text = unicodedata.normalize("NFKC", name).lower().replace("ё", "е")
    text = re.sub(r"[‐‑‒–—−]", "-", text)
    text = re.sub(r"\([^)]*\)|[\"'«»„“”]", " ", text)
    if re.search(r"[а-я]", text):
        text = text.translate(_LOOKALIKES)
    return text

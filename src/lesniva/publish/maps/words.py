"""What the pictures say, in English and Russian."""

import re
from typing import Any

import pandas as pd

from lesniva.conventions import SYNTHETIC_NOTICE
from lesniva.publish.fields import Language
from lesniva.publish.qgis import MONTHS

WORDS: dict[str, tuple[str, str]] = {
    "approximate": ("district outlines are approximate", "границы районов приблизительны"),
    "background": ("Background: {index}", "Фон: {index}"),
    "by_month": ("Hectares by month", "Гектары по месяцам"),
    "by_year": ("Hectares by year", "Гектары по годам"),
    "confirmed": ("confirmed", "подтверждено"),
    "data_until": ("data until", "данные по"),
    "dot": ("dot: too small for its outline", "точка: мельче контура"),
    "errors": ("Error in past years, %", "Ошибка прошлых лет, %"),
    "errors_of": ("nRMSE of", "nRMSE,"),
    "first_anomaly": ("First anomaly", "Первая аномалия"),
    "forecast": ("this forecast", "этот прогноз"),
    "ha": ("ha", "га"),
    "harvest": ("harvest", "урожай"),
    "ill": ("told by the health channel", "по каналу состояния леса"),
    "interval": ("Forecast and 80 % interval, t/ha", "Прогноз и интервал 80 %, т/га"),
    "km": ("km", "км"),
    "largest": ("Largest", "Крупнейшие"),
    "last": ("last year", "прошлый год"),
    "mean": ("mean", "среднее"),
    "mean5": ("mean of 5 years", "среднее за 5 лет"),
    "no_alerts": ("No alerts", "Сигналов нет"),
    "no_forecast": ("no forecast", "нет прогноза"),
    "no_index": ("no {index}", "нет {index}"),
    "no_past": ("no past years to judge by", "нет прошлых лет для проверки"),
    "no_skill": (
        (
            "No in-season skill is claimed at this date: the season's imagery has not been shown "
            "to beat plain forecasts beyond chance. Trust these yields no more than past means."
        ),
        (
            "Прогностическая ценность снимков на эту дату не заявляется: не показано, что они "
            "улучшают простой прогноз сверх случайного. Доверяйте числам не больше, чем средним "
            "прошлых лет."
        ),
    ),
    "null": ("years permuted", "годы переставлены"),
    "own_trend": ("own trend", "свой тренд"),
    "plain": ("past yields alone", "только прошлые урожаи"),
    "pooled_trend": ("common trend", "общий тренд"),
    "season_axes": (
        "t/ha, across: observed, up: forecast with 80 % interval",
        "т/га; по оси x факт, по y прогноз с интервалом 80 %",
    ),
    "season_dot": (
        "by day of issue; full dot: skill is claimed",
        "по дню выпуска; полная точка: ценность заявлена",
    ),
    "season_errors": ("Error in past years, % of the yield", "Ошибка прошлых лет, % урожайности"),
    "season_fan": ("This season, t/ha", "Этот сезон, т/га"),
    "season_past": ("Past years on this day", "Прошлые годы на этот день"),
    "season_total": ("whole area, by day of issue", "вся территория, по дню выпуска"),
    "skill": (
        (
            "In-season skill is claimed: in past years the season's imagery beat plain forecasts "
            "beyond chance."
        ),
        (
            "Прогностическая ценность снимков заявляется: в прошлые годы они улучшали простой "
            "прогноз сверх случайного."
        ),
    ),
    "unconfirmed": ("not confirmed yet", "ещё не подтверждено"),
    "yield": ("Yield, t/ha", "Урожайность, т/га"),
}

COUNTED: dict[str, tuple[tuple[str, str], tuple[str, str, str]]] = {
    "alerts": (("alert", "alerts"), ("сигнал", "сигнала", "сигналов")),
    "district_years": (
        ("district-year", "district-years"),
        ("районо-год", "районо-года", "районо-лет"),
    ),
}
"""Forms of a word after 1 and 5 in English, after 1, 3 and 5 in Russian."""

CROPS_RU = {
    "barley": "Ячмень",
    "buckwheat": "Гречиха",
    "flax": "Лён",
    "maize": "Кукуруза на зерно",
    "maize_silage": "Кукуруза на силос",
    "millet": "Просо",
    "oats": "Овёс",
    "peas": "Горох",
    "potatoes": "Картофель",
    "rapeseed": "Рапс",
    "soybean": "Соя",
    "spring_barley": "Ячмень яровой",
    "spring_rapeseed": "Рапс яровой",
    "spring_wheat": "Пшеница яровая",
    "sugar_beet": "Сахарная свёкла",
    "sunflower": "Подсолнечник",
    "wheat": "Пшеница",
    "winter_barley": "Ячмень озимый",
    "winter_rapeseed": "Рапс озимый",
    "winter_rye": "Рожь озимая",
    "winter_triticale": "Тритикале озимая",
    "winter_wheat": "Пшеница озимая",
}

RUSSIAN = {
    SYNTHETIC_NOTICE: "СИНТЕТИЧЕСКИЕ ДАННЫЕ: снимки смоделированы и не изображают реального места",
    "no imagery": "нет снимков",
    "no satellite skill yet at this date": "на эту дату снимки ещё не улучшают прогноз",
    "no past yields, level of the other districts": "нет прошлых урожаев, уровень других районов",
    "winter cover of": "озимые:",
    "summer cover of": "яровые и поздние:",
    "cropland cover of": "вся пашня:",
    "the NDVI of seasons": "NDVI сезонов",
    "a map whose season is not said: hindcasts may know their own map": (
        "сезон карты не указан: ретропрогнозы могут знать свою карту"
    ),
}
"""Texts of other stages that reach a picture."""

GENERIC = re.compile(
    r"\s*(\((city|город)[^)]*\)|\b(municipal|urban|district|okrug|raion|город|городской|муниципальный"
    r"|район|округ)\b)",
    re.IGNORECASE,
)
"""What goes without saying in the name of a district on a map."""


def say(key: str, language: Language) -> str:
    """Text of `WORDS` in a language."""
    return WORDS[key][language == "ru"]


def crop(name: str, language: Language) -> str:
    """Name of a crop; one that has no Russian name goes by its id."""
    plain = name.replace("_", " ").capitalize()
    return CROPS_RU.get(name, plain) if language == "ru" else plain


def translated(text: str, language: Language) -> str:
    """Give `text` with what `RUSSIAN` knows of it put into the language."""
    for english, russian in RUSSIAN.items() if language == "ru" else ():
        text = text.replace(english, russian)
    return text


def number(value: float, decimals: int, language: Language) -> str:
    """Write a number as the language does."""
    text = f"{value:,.{decimals}f}".replace(",", "\N{NARROW NO-BREAK SPACE}")
    return text.replace(".", ",") if language == "ru" else text


def hectares(area: float, decimals: int, language: Language) -> str:
    """Write an area with its unit."""
    return f"{number(area, decimals, language)} {say('ha', language)}"


def count(many: int, key: str, language: Language) -> str:
    """Write a number with the form of the word of `COUNTED` that goes with it.

    The rules are those of Unicode CLDR for cardinals: in Russian 1, 21, 101 … are one, 2-4, 22-24 …
    are few; 11-14, 111-114 … and the rest are many.
    """
    if language == "en":
        form = 0 if many == 1 else 1
    elif many % 100 in range(11, 15):
        form = 2
    else:
        form = {1: 0, 2: 1, 3: 1, 4: 1}.get(many % 10, 2)
    return f"{number(many, 0, language)} {COUNTED[key][language == 'ru'][form]}"


def day(when: Any, language: Language) -> str:
    """Write a date with the short name of its month."""
    date = pd.Timestamp(when)
    return f"{date.day} {MONTHS[language][date.month - 1]} {date.year}"


def short(name: Any) -> str:
    """Name of a district without the words that go without saying."""
    if not isinstance(name, str):
        return "–"
    return GENERIC.sub("", name).strip() or name

"""Titles of the columns of published tables, with their units, for people.

Column names are English, as programs want them; a GIS shows these titles instead.
"""

from typing import Literal

Language = Literal["en", "ru"]

TITLES: dict[str, tuple[str, str]] = {
    "adm_id": ("district id", "код района"),
    "alert_id": ("alert id", "код сигнала"),
    "area_ha": ("area, ha", "площадь, га"),
    "cause": ("cause", "причина"),
    "cause_prob": ("probability of the cause", "вероятность причины"),
    "change_from": ("last day without the change", "последний день без изменения"),
    "change_to": ("first day with the change", "первый день с изменением"),
    "closed_on": ("closed on", "закрыт"),
    "comment": ("comment", "примечание"),
    "confirmed_on": ("confirmed on", "дата подтверждения"),
    "crop": ("crop", "культура"),
    "cutoff": ("data until", "данные по дату"),
    "date_max": ("changed not later than", "изменение не позднее"),
    "date_min": ("changed not earlier than", "изменение не ранее"),
    "district_en": ("district (English)", "район (англ.)"),
    "district_ru": ("district", "район"),
    "event": ("since the last run", "с прошлого прогона"),
    "finished": ("finished", "окончен"),
    "inside_permit": ("felling permit", "разрешение на рубку"),
    "interpreter": ("interpreter", "дешифровщик"),
    "into": ("part of alert", "вошёл в сигнал"),
    "lat": ("latitude, °", "широта, °"),
    "lon": ("longitude, °", "долгота, °"),
    "magnitude": ("change of the index", "изменение индекса"),
    "n_obs": ("clear observations", "ясных наблюдений"),
    "name_en": ("name (English)", "название (англ.)"),
    "name_ru": ("name", "название"),
    "permit_overlap_share": ("share under permits, 0-1", "доля в границах разрешений, 0–1"),
    "outcome": ("outcome", "исход"),
    "probability": ("probability of change, 0-1", "вероятность изменения, 0–1"),
    "reasons": ("reasons (English)", "основания (англ.)"),
    "reasons_ru": ("reasons", "основания"),
    "reference": ("what is there", "что на местности"),
    "review_status": ("review", "проверка"),
    "reviewed_on": ("reviewed on", "дата проверки"),
    "reviewer": ("reviewer", "проверил"),
    "run_id": ("run", "прогон"),
    "spread_days": ("spread over, days", "распространялось, дней"),
    "started": ("started", "начат"),
    "status": ("status", "состояние"),
    "true_cause": ("cause, if another", "причина, если иная"),
    "verdict": ("verdict", "заключение"),
    "year": ("harvest year", "год урожая"),
    "yield_t_ha": ("yield, t/ha", "урожайность, т/га"),
    "yield_t_ha_lower": ("yield, lower bound, t/ha", "урожайность, нижняя граница, т/га"),
    "yield_t_ha_upper": ("yield, upper bound, t/ha", "урожайность, верхняя граница, т/га"),
    "analogue_year": ("most similar year", "год-аналог"),
    "boosters_t_ha": ("by the season alone, t/ha", "только по сезону, т/га"),
    "model_weight": ("share of the season in the forecast", "доля сезона в прогнозе"),
    "note": ("note", "замечание"),
    "observed_t_ha": ("observed yield, t/ha", "фактическая урожайность, т/га"),
    "plain_t_ha": ("by past yields alone, t/ha", "только по прошлым урожаям, т/га"),
    "production_t": ("production, t", "валовой сбор, т"),
    "q05_t_ha": ("90 % interval from, t/ha", "интервал 90 % от, т/га"),
    "q10_t_ha": ("80 % interval from, t/ha", "интервал 80 % от, т/га"),
    "q50_t_ha": ("median, t/ha", "медиана, т/га"),
    "q90_t_ha": ("80 % interval to, t/ha", "интервал 80 % до, т/га"),
    "q95_t_ha": ("90 % interval to, t/ha", "интервал 90 % до, т/га"),
    "reasons_en": ("forecast reasons (English)", "основания прогноза (англ.)"),
    "skill": ("skill is claimed", "ценность снимков заявлена"),
}
"""Column → English and Russian title."""


def field_titles(language: Language) -> dict[str, str]:
    """Column → title in one language."""
    return {column: title[language == "ru"] for column, title in TITLES.items()}

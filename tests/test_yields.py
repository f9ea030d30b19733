from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lesniva import yields
from lesniva.errors import InputError

DATA = Path(__file__).parents[1] / ".." / "shared" / "data" / "yields"

shared = pytest.mark.skipif(not DATA.exists(), reason="../shared/data/yields is not there")

TIDY = (
    "adm_id,crop,year,yield_t_ha,area_ha\nr1,winter_wheat,2020,4.2,100\nr1,winter_wheat,2021,3.9,\n"
)

MUNICIPAL = """База данных показателей муниципальных образований;;;
Липецкий муниципальный район;;;
Урожайность сельскохозяйственных культур (в расчете на убранную площадь);2019 г.;2020 г.;2021 г.
Хозяйства всех категорий;;;
Зерновые и зернобобовые культуры;40,1;50,2;38,8
Пшеница озимая;42,1;55,4;999999999
Свекла сахарная (фабричная);455,5;1 380,2;-
Сельскохозяйственные организации;;;
Пшеница озимая;43;56;39
Посевные площади сельскохозяйственных культур, гектар;2019;2020;2021
Пшеница озимая;12000;13000;11000
Усманский муниципальный округ;;;
Урожайность сельскохозяйственных культур (в расчете на убранную площадь), ц/га;2020;2021;
Пшеница озимая;50,0;37,7;
Далёкий район;;;
Пшеница озимая;1,0;1,0;
"""


def written(tmp_path: Path, text: str, name: str = "table.csv", encoding: str = "utf-8") -> Path:
    path = tmp_path / name
    path.write_text(text, encoding=encoding)
    return path


def test_a_tidy_table_reads_back_as_it_was_written(tmp_path: Path) -> None:
    table = yields.read(written(tmp_path, TIDY))
    assert table["yield_t_ha"].tolist() == [4.2, 3.9]
    assert table["weight_basis"].tolist() == ["unknown", "unknown"]
    for name in ("again.csv", "again.parquet"):
        yields.write(table, tmp_path / name)
        pd.testing.assert_frame_equal(yields.read(tmp_path / name), table)


def test_semicolons_decimal_commas_cp1251_and_russian_crops_are_read(tmp_path: Path) -> None:
    text = "adm_id;crop;year;yield_t_ha;weight_basis\nr1;Ячмень яровой;2020;3,14;bunker\n"
    table = yields.read(written(tmp_path, text, encoding="cp1251"))
    assert table.loc[0, ["crop", "yield_t_ha"]].tolist() == ["spring_barley", 3.14]


def test_all_faults_of_a_tidy_file_come_in_one_message(tmp_path: Path) -> None:
    rows = "r1,winter_wheat,2020,42.1,1\n,winter_wheat,20,abc,1\nr1,winter_wheat,2020,-1,-5\n"
    path = written(tmp_path, "adm_id,crop,year,yield_t_ha,area_ha\n" + rows)
    with pytest.raises(InputError) as caught:
        yields.read(path)
    said = str(caught.value)
    for fault in (
        "no number in line 3 ('abc')",
        "adm_id is empty in line 3",
        "harvest year 1950-2100 in line 3",
        "negative in line 4",
        "too high for t/ha (c/ha?) in line 2",
        "occur before in line 4",
    ):
        assert fault in said


def test_missing_columns_are_named(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match="columns year, yield_t_ha are missing; it has adm_id, crop"
    ):
        yields.read(written(tmp_path, "adm_id,crop\na,b\n"))


@pytest.mark.parametrize("content", [b"", b"\x00\xff\x98\x81", b"PAR1 not really"])
def test_files_that_are_no_table_are_refused(tmp_path: Path, content: bytes) -> None:
    for suffix in (".csv", ".parquet"):
        path = tmp_path / f"broken{suffix}"
        path.write_bytes(content)
        with pytest.raises(InputError):
            yields.read(path)
    with pytest.raises(InputError, match="cannot be read"):
        yields.read(tmp_path / "absent.csv")


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("озимая пшеница", "winter_wheat"),
        ("Пшеница озимая", "winter_wheat"),
        ("ячмень яровой", "spring_barley"),
        ("кукуруза на зерно", "maize"),
        ("Кукуруза на силос", "maize_silage"),
        ("подсолнечник", "sunflower"),
        ("Семена подсолнечника", "sunflower"),
        ("сахарная свёкла", "sugar_beet"),
        ("Свекла кормовая", "fodder_beet"),
        ("соя", "soybean"),
        ("рапс", "rapeseed"),
        ("Рапс яровой (кольза)", "spring_rapeseed"),
        ("Овес", "oats"),
        ("Рожь озимая", "winter_rye"),
        ("winter wheat", "winter_wheat"),
        ("зерновые и зернобобовые", None),
    ],
)
def test_russian_crop_names_are_known(name: str, code: str | None) -> None:
    assert yields.crop_code(name) == code


def test_municipal_export_gives_yields_of_all_farms_in_t_ha(tmp_path: Path) -> None:
    ids = {"Липецкий муниципальный район": "lipetsky", "Усманский муниципальный округ": "usmansky"}
    imported = yields.import_table(written(tmp_path, MUNICIPAL), match=ids)
    found = {(r.adm_id, r.crop, r.year): r.yield_t_ha for r in imported.yields.itertuples()}
    assert found == pytest.approx(
        {
            ("lipetsky", "winter_wheat", 2019): 4.21,
            ("lipetsky", "winter_wheat", 2020): 5.54,
            ("lipetsky", "sugar_beet", 2019): 45.55,
            ("lipetsky", "sugar_beet", 2020): 138.02,
            ("usmansky", "winter_wheat", 2020): 5.0,
            ("usmansky", "winter_wheat", 2021): 3.77,
        }
    )
    dropped = imported.report[imported.report["outcome"] == "dropped"]
    assert set(dropped["reason"]) == {
        "crop not known",
        "only сельскохозяйственные организации, not all farms",
        "no district of that name in the area",
    }
    wheat = imported.report[imported.report["source_crop"] == "Пшеница озимая"].iloc[0]
    assert (wheat["years"], wheat["missing"]) == (2, 1)


def test_the_weight_basis_is_kept_and_the_second_value_of_a_district_is_reported(
    tmp_path: Path,
) -> None:
    text = "В весе после доработки\nРегион,2020,2021\nА район,10,20\nА округ,10,25\n"
    path = written(tmp_path, text.split("\n", 1)[1], "Пшеница озимая.csv")
    ids = {"А район": "a", "А округ": "a"}
    imported = yields.import_table(path, match=ids, weight_basis="after_processing")
    assert set(imported.yields["weight_basis"]) == {"after_processing"}
    assert imported.yields["yield_t_ha"].tolist() == [1.0, 2.0]
    assert "1 years already had another value" in imported.report["reason"].iloc[1]


def test_an_ambiguous_name_is_dropped_with_the_reason(tmp_path: Path) -> None:
    def match(name: str) -> str | None:
        if name.startswith("Двойной"):
            raise InputError("two districts are called so")
        return name

    path = written(tmp_path, "Регион,2020\nДвойной район,1\nОдин район,2\n", "соя.csv")
    imported = yields.import_table(path, match=match)
    assert imported.report["reason"].tolist() == ["two districts are called so", ""]


def test_imports_without_a_match_or_a_crop_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path, "Регион,2020\nА,1\n", "something.csv")
    with pytest.raises(InputError, match="crop 'something' is not known"):
        yields.import_table(path, match={})
    with pytest.raises(InputError, match="none of its names is a district"):
        yields.import_table(path, match={}, crop="соя")
    with pytest.raises(InputError, match="no yields found"):
        yields.import_table(written(tmp_path, "nothing\nhere\n"), match={}, crop="соя")


@shared
def test_rosstat_regions_are_read_and_federal_districts_dropped() -> None:
    imported = yields.import_table(DATA / "rosstat" / "Пшеница озимая.csv", match=lambda name: name)
    lipetsk = imported.yields[imported.yields["adm_id"] == "Липецкая область"]
    values = lipetsk.set_index("year")["yield_t_ha"].loc[2018:2023]
    assert values.tolist() == pytest.approx([4.29, 4.21, 5.54, 3.77, 5.61, 5.36], abs=0.003)
    assert not imported.yields["adm_id"].str.contains("федеральный").any()
    dropped = imported.report[imported.report["outcome"] == "dropped"]
    assert dropped["source_name"].str.contains("федеральный округ").all()
    assert len(dropped) >= 4


@shared
def test_raion_tables_need_their_oblast() -> None:
    path = DATA / "ru_raions" / "winter_wheat.csv"
    with pytest.raises(InputError, match="penza, tambov, tula; choose one"):
        yields.import_table(path, match=lambda name: name)
    imported = yields.import_table(path, match=lambda name: name, region="penza")
    assert imported.yields["adm_id"].nunique() == 27
    assert imported.yields["yield_t_ha"].between(0.2, 6).all()


def series(values: list[float], area: list[float] | None = None) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "adm_id": "a",
            "crop": "oats",
            "year": range(2000, 2000 + len(values)),
            "yield_t_ha": values,
            "area_ha": area or [np.nan] * len(values),
        }
    )


def test_flags_mark_copied_values_impossible_highs_and_jumps_of_area_but_no_droughts() -> None:
    rng = np.random.default_rng(3)
    noise = list(3 + rng.normal(0, 0.2, 12))
    assert set(yields.flag(series(noise))["flags"]) == {""}
    assert yields.flag(series([*noise, 0.5]))["flags"].iloc[-1] == ""
    assert yields.flag(series([*noise, 9.0]))["flags"].iloc[-1] == "high"
    assert yields.flag(series([*noise, 0.0]))["flags"].iloc[-1] == "not_positive"
    equal = yields.flag(series([2.1, 2.9, *[2.5] * 5, 2.0, 3.0, 2.7]))["flags"].tolist()
    assert equal == ["", "", *["equal_run"] * 5, "", "", ""]
    linear = yields.flag(series([2.0, 3.1, 2.5, 2.6, 2.7, 2.8, 2.9, 1.0]))["flags"].tolist()
    assert linear == ["", "", *["linear_run"] * 5, ""]
    area = [*(1000 + rng.normal(0, 20, 12)), 4000.0]
    assert yields.flag(series([*noise, 3.0], area))["flags"].iloc[-1] == "area_jump"


@given(st.lists(st.floats(0.1, 10), min_size=0, max_size=15))
def test_flags_drop_nothing(values: list[float]) -> None:
    assert yields.flag(series(values))["yield_t_ha"].tolist() == values


def test_the_calendar_can_be_overridden_and_checks_it() -> None:
    changed = yields.calendar({"winter_wheat": {"harvest_start": 21}})
    assert changed.loc["winter_wheat", "harvest_start"] == 21
    assert yields.lead_days(yields.calendar().loc["winter_wheat"], "06-30") == 11
    with pytest.raises(InputError, match=r"none of first_issue.*; oats: a first dekad is after"):
        yields.calendar({"oats": {"first_issue": 30, "sowing": 1}})
    with pytest.raises(InputError, match="region 'mars' is none of central_chernozem"):
        yields.calendar(region="mars")


def test_the_calendar_of_a_region_is_shifted_and_gives_the_days_of_issue() -> None:
    home, south = yields.calendar(), yields.calendar(region="south")
    assert (home["harvest_start"] - south["harvest_start"] == 2).all()
    days = yields.issue_days(home.loc["winter_wheat"])
    assert (days[0], days[6], days[-1]) == ("04-30", "06-30", "07-20")
    assert yields.issue_days(home.loc["sugar_beet"])[0] == "05-31"

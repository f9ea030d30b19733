"""Tables of Rosstat matched with the districts of an area file."""

from pathlib import Path

import pandas as pd
import pytest

from lesniva import pipeline, yields
from lesniva.errors import InputError

AREA = Path(__file__).parents[1] / "aoi" / "lipetsk.geojson"

WIDE = """Район;2019;2020;2021;2022;2023;2024
Липецкий м.р-н;42,1;55,4;999999999;40,0;41,5;44,1
Усманский муниципальный округ;40,0;40,0;40,0;40,0;40,0;38,2
по Добринскому району;31,0;33,0;35,5;30,1;36,2;33,3
Центральный федеральный округ;41;42;43;44;45;46
Лебяжинский район;10;11;12;13;14;15
"""


def table(folder: Path, text: str = WIDE, name: str = "Пшеница озимая.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="cp1251")
    return path


def test_names_are_matched_and_everything_dropped_is_told_with_its_reason(tmp_path: Path) -> None:
    found = pipeline.import_yields([table(tmp_path)], area=AREA, weight_basis="bunker")
    assert set(found.yields["adm_id"]) == {
        "lipetsk_lipetsky",
        "lipetsk_usmansky",
        "lipetsk_dobrinsky",
    }
    value = found.yields.set_index(["adm_id", "year"])["yield_t_ha"]
    assert value["lipetsk_lipetsky", 2020] == pytest.approx(5.54)
    assert ("lipetsk_lipetsky", 2021) not in value.index
    told = "\n".join(found.lines())
    assert "matched: 3 of 5 series" in told
    assert "dropped, aggregate of several districts: Центральный федеральный округ" in told
    assert "dropped, no district of that name in the area: Лебяжинский район" in told
    assert "doubtful, kept with a flag: 5 × equal_run" in told
    assert "weight basis: bunker 17" in told


def test_a_value_given_twice_stands_as_the_first_file_has_it(tmp_path: Path) -> None:
    later = WIDE.replace("42,1", "62,1")
    files = [table(tmp_path), table(tmp_path, later, "озимая пшеница новая.csv")]
    found = pipeline.import_yields(files, area=AREA)
    first = found.yields.query("adm_id == 'lipetsk_lipetsky' and year == 2019")
    assert first["yield_t_ha"].tolist() == [4.21]
    reasons = found.report.query("file == 'озимая пшеница новая.csv' and outcome == 'matched'")
    assert reasons["reason"].str.fullmatch(r"\d years stand in an earlier file.*").all()


def test_the_region_itself_is_known_too(tmp_path: Path) -> None:
    text = "Регион,2019,2020\nЛипецкая область,42.1,55.4\nТульская область,1,2\n"
    found = pipeline.import_yields([table(tmp_path, text)], area=AREA)
    assert found.yields["adm_id"].unique().tolist() == ["lipetsk"]


def test_what_is_imported_reads_as_a_tidy_table(tmp_path: Path) -> None:
    found = pipeline.import_yields([table(tmp_path)], area=AREA)
    for name in ("tidy.csv", "tidy.parquet"):
        yields.write(found.yields, tmp_path / name)
        again = yields.read(tmp_path / name)
        pd.testing.assert_frame_equal(again, found.yields[list(again)], check_dtype=False)


def test_all_files_that_fail_are_named_at_once(tmp_path: Path) -> None:
    files = [table(tmp_path, "a,b\n1,2\n", "ячмень яровой.csv"), tmp_path / "рожь.csv"]
    with pytest.raises(
        InputError, match=r"ячмень яровой\.csv: no yields found.*; .*рожь\.csv cannot"
    ):
        pipeline.import_yields(files, area=AREA)

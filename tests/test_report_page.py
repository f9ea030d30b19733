"""The report page in a real browser: what a reader sees, clicks, prints and takes away."""

import csv
import datetime as dt
import re

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import rasterio
import shapely

from browser import chromium, opened
from lesniva import publish
from lesniva.conventions import SYNTHETIC_NOTICE
from lesniva.publish.report import outlines, pictures
from lesniva.publish.report.words import WORDS
from lesniva.tasks import closeups
from scenes import grid, write_layer

HOSTILE = "</script><script>document.title='owned'</script><img src=x onerror=alert(1)>\"'&"
PHONE, DESK = 390, 1280
GRID = grid(300, 400, 20, west=545_000, north=5_818_000)


def raster(path, name, values):
    return write_layer(path, publish.LAYERS[name], values, GRID)


def districts(name="Грязинский район"):
    halves = [shapely.box(39.6, 52.3, 39.75, 52.6), shapely.box(39.75, 52.3, 39.9, 52.6)]
    names = {"name_en": ["West District", "East District"], "name_ru": ["Западный район", name]}
    return gpd.GeoDataFrame({"adm_id": ["w", "e"], **names}, geometry=halves, crs="EPSG:4326")


def alerts(count=30, *, name="Грязинский район"):
    rng = np.random.default_rng(3)
    lon, lat = rng.uniform(39.68, 39.82, count), rng.uniform(52.42, 52.50, count)
    east = lon > 39.75
    confirmed = np.arange(count) % 3 != 0
    return gpd.GeoDataFrame(
        {
            "alert_id": [f"a{at:05d}" for at in range(count)],
            "status": np.where(confirmed, "confirmed", "low"),
            "date_min": pd.to_datetime("2023-05-01") + pd.to_timedelta(np.arange(count) % 90, "D"),
            "date_max": pd.to_datetime("2023-05-11") + pd.to_timedelta(np.arange(count) % 90, "D"),
            "confirmed_on": pd.Series(pd.to_datetime("2023-09-01")).repeat(count).to_numpy(),
            "probability": 0.99,
            "magnitude": -0.3,
            "n_obs": 4,
            "area_ha": np.round(rng.uniform(0.2, 9, count), 4),
            "lon": lon,
            "lat": lat,
            "adm_id": np.where(east, "e", "w"),
            "district_en": np.where(east, "East District", "West District"),
            "district_ru": np.where(east, name, "Западный район"),
            "cause": np.where(np.arange(count) % 2, "fire", "harvest"),
            "cause_prob": 0.8,
            "forester_note": "seen on foot",
            "review_status": "unreviewed",
            "spread_days": 3.0,
            "date_likely": pd.Timestamp("2023-05-06"),
            "event": np.where(np.arange(count) < 5, "new", "same"),
        },
        geometry=shapely.box(lon - 0.001, lat - 0.001, lon + 0.001, lat + 0.001),
        crs="EPSG:4326",
    )


def close_up():
    dates = pd.DatetimeIndex(pd.date_range("2021-05-01", "2023-09-20", freq="20D"))
    season = pd.Series(0.7, index=dates[(dates.month > 4) & (dates.month < 10)])
    chip = np.full((3, closeups.SIDE, closeups.SIDE), 500, dtype=np.int16)
    return publish.CloseUp(
        series={"ndvi": season, "nbr": season - 0.1},
        models={"nbr": ([0.6, 0.05, 0.0], 0.03)},
        chips={"before": ("2023-05-01", chip), "after": ("2023-05-11", chip * 2)},
        outline=[[(0.25, 0.25), (0.75, 0.25), (0.75, 0.75), (0.25, 0.25)]],
    )


def about(area="Липецкая область", **changed):
    told = {
        "run_id": "20231101T000000Z",
        "started": dt.datetime(2023, 11, 1, tzinfo=dt.UTC),
        "area_en": "Lipetsk Oblast",
        "area_ru": area,
        "credit": SYNTHETIC_NOTICE,
        "approximate": True,
        "settings": {"name": "job"},
        "stages": {"history": 12.5},
        "scenes": [{"date": "2023-10-25", "id": "S2A_37UEU", "baseline": "05.09"}],
    }
    return publish.About(**{**told, **changed})


def forest_page(folder, table, **changed):
    rng = np.random.default_rng(1)
    path = folder / "report" / "index.html"
    ndvi = raster(folder / "ndvi.tif", "ndvi", rng.integers(2_000, 9_000, (300, 400)))
    status = raster(folder / "status.tif", "status", rng.choice([0, 3, 250, 251], (300, 400)))
    halves = np.repeat([[0], [1]], 150, axis=0) * np.ones(400)
    week = raster(folder / "coverage_week.tif", "coverage_week", halves)
    told = {
        "run": about(),
        "alerts": table,
        "districts": districts(),
        "rasters": {"ndvi": [ndvi], "status": [status], "coverage_week": [week]},
        "close_ups": {"a00000": close_up(), "a00001": close_up()},
    }
    publish.write_forest_report(path, **{**told, **changed})
    return path


def through_the_season():
    """Tables of two issue days; the season has a part in the forecast of wheat alone."""
    days = [(crop, day) for crop in ("winter_wheat", "sugar_beet") for day in ("06-10", "06-30")]
    key = pd.DataFrame(days, columns=["crop", "cutoff"])
    wheat = key["crop"] == "winter_wheat"
    skill = key.merge(
        pd.DataFrame({"forecaster": ["forecast", "plain", "mean"], "nrmse": [11.0, 14.0, 15.0]}),
        how="cross",
    ).assign(n=8, mae=0.4, rmse=0.5, coverage80=0.875, pinball=0.123)
    total = key.assign(cutoff=pd.to_datetime("2026-" + key["cutoff"]), group="lipetsk", year=2026)
    total = total.assign(
        yield_t_ha=[4.2, 4.0, 40.0, 41.0], q05_t_ha=2.0, q10_t_ha=3.5, q90_t_ha=4.75, q95_t_ha=6.0,
        area_ha=2000.0, production_t=8000.0, districts=2, skill=wheat & (key["cutoff"] == "06-30"),
    )  # fmt: skip
    of_day = {"adm_id": "w", "crop": "winter_wheat", "year": 2026, "cutoff": "2026-06-30"}
    return {
        "skill": skill,
        "claims": key.assign(
            lead_days=11, skill=total["skill"], null_nrmse_low=12.0, null_nrmse_high=18.0,
            worst_years="2024 2022", mask=f"wheat {HOSTILE}.tif",
        ),
        "skill_by_year": key.assign(year=2025, n=2, observed_t_ha=4.4, yield_t_ha=4.1, rmse=0.31),
        "forecast_total": total,
        "reasons": pd.DataFrame(
            [{**of_day, "text_en": "peak above the mean", "text_ru": "максимум выше нормы"}]
        ),
        "analogues": pd.DataFrame(
            [{**of_day, "analogue_year": 2019, "observed_t_ha": 3.65, "ratio_mean5": 0.67}]
        ),
    }  # fmt: skip


def harvest_page(folder):
    years = range(2016, 2026)
    shapes = districts()
    both = [(adm_id, crop) for crop in ("winter_wheat", "sugar_beet") for adm_id in ("w", "e")]
    forecast = gpd.GeoDataFrame(
        [
            {
                "adm_id": adm_id,
                "crop": crop,
                "year": 2026,
                "cutoff": dt.date(2026, 6, 30),
                "yield_t_ha": 4.5 if adm_id == "w" else 3.5,
                "q10_t_ha": 3.0,
                "q90_t_ha": 5.5,
                "area_ha": 1_000.0,
                "skill": crop == "winter_wheat",
                "note": "no imagery" if adm_id == "e" else "",
            }
            for adm_id, crop in both
        ],
        geometry=list(shapes.geometry) * 2,
        crs=shapes.crs,
    )
    past = [
        {"adm_id": a, "crop": c, "year": y, "yield_t_ha": 4.0 + (y % 3) / 2}
        for a, c in both
        for y in years
    ]
    hindcast = pd.DataFrame(past).assign(
        cutoff="2025-06-30", observed_t_ha=4.2, q10_t_ha=3.0, q90_t_ha=5.0, plain_t_ha=4.0
    )
    seen = [
        {
            "adm_id": a,
            "cover": "cropland",
            "date": pd.Timestamp(year, 3, 1) + pd.Timedelta(days=10 * step),
            "ndvi": 0.2 + 0.05 * step + 0.01 * (year % 4),
            "clear_share": 0.9,
        }
        for a in ("w", "e")
        for year in (*years, 2026)
        for step in range(12)
    ]
    path = folder / "report" / "index.html"
    publish.write_harvest_report(
        path,
        run=about(),
        forecast=forecast,
        districts=shapes,
        tables={"hindcast": hindcast[hindcast["year"] >= 2022], **through_the_season()},
        ndvi=pd.DataFrame(seen),
        yields=pd.DataFrame(past),
        covers={"winter_wheat": "cropland", "sugar_beet": "cropland"},
        rasters={},
    )
    return path


@pytest.fixture(scope="module")
def browser():
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def forest(tmp_path_factory):
    return forest_page(tmp_path_factory.mktemp("forest"), alerts())


@pytest.fixture(scope="module")
def harvest(tmp_path_factory):
    return harvest_page(tmp_path_factory.mktemp("harvest"))


@pytest.fixture(params=["forest", "harvest"])
def either(request):
    return request.getfixturevalue(request.param)


def shown(page):
    """Numbers of alerts in the line under the filters."""
    return [int(each) for each in re.findall(r"\d+", page.locator(".result").inner_text())[:2]]


def rows_of(path):
    return list(csv.DictReader(path.read_text(encoding="utf-8-sig").splitlines()))


def column(page, place, section="#weeks"):
    return page.locator(f"{section} tbody td:nth-child({place})").all_inner_texts()


def test_a_page_opens_without_complaint_and_fetches_nothing(browser, either):
    with opened(browser, either) as page:
        assert page.locator("h1").inner_text() == "Липецкая область"
        assert page.locator(".leaflet-container").count() == 1
        assert "СИНТЕТИЧЕСКИЕ ДАННЫЕ" in page.locator("header").first.inner_text()
        page.locator(".chart").first.scroll_into_view_if_needed()
        page.locator(".chart canvas").first.wait_for()


@pytest.mark.parametrize("width", [PHONE, 768, DESK])
def test_a_page_needs_no_scrolling_sideways(browser, either, width):
    with opened(browser, either, width=width) as page:
        page.locator(".chart").first.scroll_into_view_if_needed()
        page.locator(".chart canvas").first.wait_for()
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_the_language_switch_changes_every_word_and_keeps_the_focus(browser, either):
    with opened(browser, either) as page:
        page.get_by_role("button", name="English").click()
        assert page.locator("h1").inner_text() == "Lipetsk Oblast"
        assert page.locator("html").get_attribute("lang") == "en"
        assert not re.search(r"[а-яё]", page.locator("main").inner_text().lower())
        assert page.evaluate("document.activeElement.lang") == "en"
        page.keyboard.press("Shift+Tab")
        page.keyboard.press("Enter")
        assert page.locator("h1").inner_text() == "Липецкая область"


def test_filters_change_cards_table_and_the_line_that_counts(browser, forest):
    table = alerts()
    with opened(browser, forest) as page:
        assert shown(page) == [30, 30]
        page.select_option("#filter-status", "low")
        low = int((table["status"] == "low").sum())
        assert shown(page) == [low, 30]
        assert sum(int(each) for each in column(page, 3)) == low
        assert page.locator(".cards .card.confirmed").count() == 0
        page.select_option("#filter-cause", "fire")
        page.select_option("#filter-district", "e")
        page.fill("#filter-from", "2023-05-20")
        wanted = table.query(
            "status == 'low' and cause == 'fire' and adm_id == 'e' and date_max >= '2023-05-20'"
        )
        assert shown(page) == [len(wanted), 30]
        page.get_by_role("button", name="Сбросить").click()
        assert shown(page) == [30, 30]
        assert page.input_value("#filter-from") == ""
        page.fill("#filter-to", "2001-01-01")
        assert "Нет сигналов" in page.locator("#alerts").inner_text()


def test_alerts_of_the_health_channel_are_filtered_and_told_apart(browser, forest, tmp_path):
    table = alerts()
    ill = np.arange(len(table)) % 5 == 0
    table["channel"] = np.where(ill, "health", "removal")
    with opened(browser, forest_page(tmp_path, table)) as page:
        page.select_option("#filter-channel", "health")
        assert shown(page) == [ill.sum(), 30]
        colours = page.evaluate("ALERTS.map((alert) => [alert.channel, colourOf(alert)])")
        assert {tuple(each) for each in colours} == {
            ("health", "#0571b0"), ("removal", "#a50061"), ("removal", "#e08214"),
        }  # fmt: skip
        assert "состояние леса" in page.locator(".cards .card").first.inner_text()
        assert "состояние леса" in page.locator("#map-section .legend").first.inner_text()
    with opened(browser, forest) as page:
        assert page.locator("#filter-channel").count() == 0


def test_a_close_alert_has_its_pictures_chart_and_own_columns_and_others_say_why_not(
    browser, forest
):
    with opened(browser, forest) as page:
        card = page.locator('.cards [data-alert="a00000"]')
        assert card.locator("img").count() == 2
        assert card.locator("img").first.evaluate("image => image.naturalWidth") == closeups.SIDE
        left, width = card.locator(".chip").first.evaluate(
            """chip => {
                const [picture, drawn] = [...chip.querySelectorAll("img, polygon")].map((each) =>
                    each.getBoundingClientRect());
                return [(drawn.x - picture.x) / picture.width, drawn.width / picture.width];
            }"""
        )
        assert (left, width) == pytest.approx((0.25, 0.5), abs=0.02)
        card.scroll_into_view_if_needed()
        card.locator("canvas").first.wait_for()
        assert "рубка" in card.inner_text()
        assert "Forester_note" in card.inner_text()
        assert "не проверен" in card.inner_text()
        assert "Распространялось, дней\n3\n" in card.inner_text()
        assert "Вероятная дата изменения\n6 мая 2023\n" in card.inner_text()
        assert page.locator('.cards [data-alert="a00002"] img').count() == 0
        assert "только для самых новых" in page.locator("#alerts").inner_text()


def test_an_alert_is_found_on_the_map_by_click_and_from_its_card_by_keyboard(browser, forest):
    with opened(browser, forest) as page:
        card = page.locator('.cards [data-alert="a00001"]')
        card.get_by_role("button", name="Показать на карте").focus()
        page.keyboard.press("Enter")
        assert page.locator("#chosen .card").get_attribute("data-alert") == "a00001"
        page.wait_for_timeout(700)
        page.get_by_role("button", name="English").click()
        assert page.locator("#chosen .card").get_attribute("data-alert") == "a00001"


def test_every_control_is_reached_by_the_keyboard_alone(browser, forest):
    with opened(browser, forest) as page:
        reached = []
        for _ in range(14):
            page.keyboard.press("Tab")
            reached.append(
                page.evaluate("document.activeElement.id || document.activeElement.innerText")
            )
        assert reached[0] == "К содержанию"
        assert "English" in reached
        assert "filter-status" in reached
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline != "none"


def test_a_heading_sorts_the_table_and_says_so(browser, harvest):
    with opened(browser, harvest) as page:
        heading = page.locator("#table th").nth(1)
        heading.locator("button").focus()
        page.keyboard.press("Enter")
        assert heading.get_attribute("aria-sort") == "descending"
        assert column(page, 2, "#table") == ["4,50", "3,50"]
        page.keyboard.press("Enter")
        assert heading.get_attribute("aria-sort") == "ascending"
        assert column(page, 2, "#table") == ["3,50", "4,50"]


def test_a_table_comes_down_as_csv_with_all_its_rows(browser, harvest, tmp_path):
    with opened(browser, harvest) as page:
        with page.expect_download() as download:
            page.locator("#table .csv").click()
        download.value.save_as(tmp_path / "table.csv")
        assert download.value.suggested_filename == "forecast_winter_wheat_2026.csv"
    rows = rows_of(tmp_path / "table.csv")
    assert {row["Район"]: row["Прогноз, т/га"] for row in rows} == {
        "Западный район": "4.5",
        "Грязинский район": "3.5",
    }


def test_crops_are_switched_and_each_says_what_may_be_believed(browser, harvest):
    with opened(browser, harvest) as page:
        assert "заявляется:" in page.locator("main > .notice").inner_text()
        page.get_by_role("button", name="Сахарная свёкла").click()
        assert "не заявляется" in page.locator("main > .notice").inner_text()
        assert "нет снимков" in page.locator('.cards [data-district="e"]').inner_text()
        page.locator("#districts .chart").first.scroll_into_view_if_needed()
        page.locator("#districts canvas").first.wait_for()
        assert page.locator("#districts canvas").count() >= 2


def test_the_whole_area_is_told_with_its_interval_and_through_the_season(browser, harvest):
    with opened(browser, harvest) as page:
        figures = page.locator(".figures").inner_text()
        assert "4,00" in figures
        assert "3,50\u00a0–\u00a04,75" in figures  # t/ha
        assert "7\u00a0–\u00a010" in figures  # thousand tonnes: 3.5 and 4.75 on 2000 ha
        assert column(page, 2, "#season") == ["4,20", "4,00"]
        assert column(page, 6, "#season") == ["нет", "да"]
        page.locator("#season").scroll_into_view_if_needed()
        page.locator("#season canvas").nth(2).wait_for()
        assert page.locator("#season canvas").count() == 3
        assert HOSTILE in page.locator("main").inner_text()


def test_a_district_says_why_and_what_years_were_alike_beside_its_record(browser, harvest):
    with opened(browser, harvest) as page:
        west = page.locator('.cards [data-district="w"]')
        assert "максимум выше нормы" in west.locator(".reasons").inner_text()
        assert "2019 3,65 т/га (67 %" in west.locator(".analogues").inner_text()
        east = page.locator('.cards [data-district="e"]')
        assert "по прошлым урожаям" in east.locator(".reasons").inner_text()
        assert column(page, 10, "#table") == ["4 из 4", "4 из 4"]
        page.get_by_role("button", name="English").click()
        assert "peak above the mean" in west.locator(".reasons").inner_text()


def test_past_years_and_all_measures_are_told(browser, harvest):
    with opened(browser, harvest) as page:
        years = page.locator("#years").inner_text()
        assert "2024 2022" in years
        assert column(page, 1, "#years") == ["2025"]
        assert column(page, 4, "#years") == ["0,31"]
        page.locator("#skill summary").click()
        measures = page.locator("#skill details").inner_text()
        assert "Квантильная ошибка" in measures
        assert "0,12" in measures


def test_print_shows_all_charts_and_no_buttons(browser, forest):
    with opened(browser, forest) as page:
        page.emulate_media(media="print")
        page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
        assert not page.locator(".filters").is_visible()
        assert not page.locator(".csv").first.is_visible()
        charts = page.locator(".cards .index > .chart")
        assert charts.count() >= 2
        assert all(chart.locator("canvas").count() for chart in charts.all())
        assert page.pdf(format="A4", print_background=True).startswith(b"%PDF")


def test_hostile_names_stay_text(browser, tmp_path):
    path = forest_page(
        tmp_path,
        alerts(4, name=HOSTILE),
        run=about(HOSTILE, credit=HOSTILE, faults={HOSTILE: HOSTILE}, settings={"x": HOSTILE}),
        districts=districts(HOSTILE),
    )
    with opened(browser, path) as page:
        assert page.title() == f"Изменения леса: {HOSTILE}"
        assert page.locator("h1").inner_text() == HOSTILE
        assert page.locator("img[src='x']").count() == 0
        assert HOSTILE in page.locator("#about").inner_text()
        assert page.locator(".district-name", has_text="onerror").count() == 1


def test_a_formula_in_a_name_is_no_formula_in_the_csv(browser, tmp_path):
    name = '=HYPERLINK("http://x","y")'
    path = forest_page(tmp_path, alerts(6, name=name), districts=districts(name))
    with opened(browser, path) as page:
        with page.expect_download() as download:
            page.locator("#weeks .csv").click()
        download.value.save_as(tmp_path / "weeks.csv")
    rows = rows_of(tmp_path / "weeks.csv")
    assert {row["Район"] for row in rows} == {"Западный район", f"'{name}"}


def test_ten_thousand_alerts_open_and_filter(browser, tmp_path):
    path = forest_page(tmp_path, alerts(10_000))
    assert path.stat().st_size < 10_000_000
    with opened(browser, path) as page:
        assert shown(page)[0] == 10
        page.select_option("#filter-event", "new")
        assert page.locator(".result").inner_text().startswith("Показано: 5 ")
        assert page.locator(".cards .card").count() == 5


def test_the_page_says_how_much_of_the_forest_was_seen_this_week_and_why_not(browser, forest):
    with opened(browser, forest) as page:
        figure = page.locator(".figure", has_text="леса видно за неделю")
        assert figure.locator("strong").inner_text() == "50\u00a0%"
        week = page.locator("#coverage .columns > div", has_text="за последние 7 дней")
        rows = week.locator("tbody tr").all_inner_texts()
        assert sorted(row.split("\t")[0] for row in rows) == ["видно", "облако"]
        assert all("50,0 %" in row for row in rows)


def test_no_alerts_at_all_make_a_page_that_says_so(browser, tmp_path):
    with opened(browser, forest_page(tmp_path, alerts(1).iloc[:0], close_ups={})) as page:
        assert "Нет сигналов" in page.locator("#alerts").inner_text()


def test_the_page_opens_in_the_language_that_was_asked_for(browser, tmp_path):
    path = forest_page(tmp_path, alerts(3), run=about(language="en"))
    with opened(browser, path) as page:
        assert page.title() == "Forest change: Lipetsk Oblast"
        page.get_by_role("button", name="Русский").click()
        assert page.title() == "Изменения леса: Липецкая область"


def test_reasons_are_told_as_text_in_the_language_of_the_page(browser, tmp_path):
    table = alerts(1).assign(
        reasons=[["straight edges", "bare ground"]], reasons_ru=[["прямые границы", "голая почва"]]
    )
    with opened(browser, forest_page(tmp_path, table)) as page:
        card = page.locator('.cards [data-alert="a00000"]')
        assert "прямые границы; голая почва" in card.inner_text()
        assert "straight edges" not in card.inner_text()
        page.get_by_role("button", name="English").click()
        assert "Reasons\nstraight edges; bare ground" in card.inner_text()


def test_outlines_beyond_the_budget_become_dots(monkeypatch):
    shapes = alerts(10).geometry
    kept = outlines.within_budget(shapes, 25)
    assert kept.sum() == 5
    big = gpd.GeoSeries([shapely.box(0, 0, 5, 5), *shapes], crs="EPSG:4326")
    assert outlines.within_budget(big, 5).tolist() == [True] + [False] * 10


def test_an_outline_decodes_to_itself_within_half_a_step():
    ring = shapely.Polygon(
        [(39.6, 52.3), (39.71, 52.3), (39.7, 52.45)],
        [[(39.65, 52.32), (39.66, 52.32), (39.66, 52.33)]],
    )
    ((outer, hole),) = outlines.encoded(ring)
    for steps, wanted in ((outer, ring.exterior), (hole, ring.interiors[0])):
        vertices = np.cumsum(np.reshape(steps, (-1, 2)), axis=0) / outlines.STEPS_PER_DEGREE
        np.testing.assert_allclose(vertices, shapely.get_coordinates(wanted)[:-1], atol=5e-6)


def test_an_overlay_lies_where_its_raster_does(tmp_path):
    path = raster(tmp_path / "ndvi.tif", "ndvi", np.full((300, 400), 5_000))
    (south, west), (north, east) = pictures.overlay(publish.LAYERS["ndvi"], [path])["bounds"]
    with rasterio.open(path) as file:
        wanted = rasterio.warp.transform_bounds(file.crs, "EPSG:4326", *file.bounds)
    assert [west, south, east, north] == pytest.approx(wanted, abs=0.001)


def test_every_text_is_there_in_both_languages():
    assert all(english and russian for english, russian in WORDS.values())
    assert [key for key, (english, _) in WORDS.items() if re.search(r"[а-яё]", english)] == []

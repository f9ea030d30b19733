"""Weather services over a real connection: answers, faults, refusals, tokens that stay at home."""

import datetime as dt
import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
from shapely.geometry import box

from lesniva.config import WeatherSection
from lesniva.errors import CredentialsError, SourceError
from lesniva.pipeline import meteo as wiring
from lesniva.pipeline.running import Report
from lesniva.sources import meteo, remote
from servers.loopback import Answer, Fault, Request, Server, serving

START, END = dt.date(2024, 5, 1), dt.date(2024, 5, 3)
PLACES = {"a": (39.5, 52.6), "b": (38.4, 52.2)}
TOKEN = "4b1d-secret"  # noqa: S105 (a made-up one)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "FIRST_WAIT", 0.01)
    monkeypatch.setattr(remote, "LONGEST_WAIT", 0.1)
    monkeypatch.setattr(meteo, "POLL_SECONDS", 0.01)
    monkeypatch.setenv(meteo.CDS_KEY, TOKEN)


def power(request: Request) -> Answer:
    """Answer as NASA POWER does: a series a parameter, -999 where there is none."""
    first, last = (pd.Timestamp(request.query[name][0]) for name in ("start", "end"))
    days = [f"{day:%Y%m%d}" for day in pd.date_range(first, last)]
    warm = float(request.query["latitude"][0]) - 40
    series = {
        name: {day: value if day != "20240503" else -999.0 for day in days}
        for name, value in (
            ("T2M_MIN", warm - 5), ("T2M_MAX", warm + 5), ("T2M", warm), ("PRECTOTCORR", 1.5)
        )
    }  # fmt: skip
    return Answer.of_json({"header": {"fill_value": -999.0}, "properties": {"parameter": series}})


def hours(*, running: bool) -> pd.DataFrame:
    """Five days of hourly values: a wave of temperature, 2.4 mm on each day, in K and m."""
    time = pd.date_range("2024-04-30", "2024-05-04 23:00", freq="h")
    rain = np.where(time.hour % 2 == 1, 0.0002, 0.0)
    of_day = pd.Series(rain, index=time).groupby((time - pd.Timedelta(hours=1)).floor("D"))
    tp = of_day.cumsum() if running else pd.Series(rain, index=time)
    wave = 283.15 + 5 * np.cos(2 * np.pi * (time.hour - 12) / 24)
    return pd.DataFrame(
        {"valid_time": time, "t2m": wave, "tp": tp.to_numpy(), "swvl1": 0.2, "swvl2": 0.4}
    ).assign(sde=np.where(time.day == 2, 0.12, -1e-9))


class Store:
    """The Climate Data Store: a job is accepted, runs, and has its file elsewhere."""

    def __init__(self, *, running: bool = True, zipped: bool = True) -> None:
        self.hours, self.zipped, self.looks, self.end = (
            hours(running=running),
            zipped,
            0,
            "successful",
        )
        self.home = ""

    def __call__(self, request: Request) -> Answer:
        if request.path == "/file":
            return Answer(body=self.file())
        if request.headers.get("private-token") != TOKEN:
            return Answer.of_json({"detail": "authentication required"}, status=401)
        if request.path.endswith("/execution"):
            return Answer.of_json({"jobID": "j1", "status": "accepted"}, status=201)
        if request.path.endswith("/results"):
            value = {"href": f"{self.home}/file", "type": "application/zip"}
            return Answer.of_json({"asset": {"value": value}})
        self.looks += 1
        return Answer.of_json({"jobID": "j1", "status": "running" if self.looks < 3 else self.end})

    def file(self) -> bytes:
        if not self.zipped:
            return self.hours.to_csv(index=False).encode()
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w") as archive:
            for names in (["t2m"], ["tp"], ["swvl1", "swvl2"], ["sde"]):
                text = self.hours[["valid_time", *names]].to_csv(index=False)
                archive.writestr(f"series-{names[0]}.csv", text)
        return content.getvalue()


@pytest.fixture
def store() -> Iterator[tuple[Store, Server]]:
    route = Store()
    with serving(route) as server:
        route.home = server.url
        yield route, server


def test_power_gives_daily_weather_and_nan_where_it_has_none() -> None:
    with serving(power) as server:
        found = meteo.nasa_power(PLACES, start=START, end=END, url=server.url)
        asked = server.log[0].query
    assert asked["community"] == ["AG"]
    assert asked["start"] == ["20240501"]
    rows = found.set_index(["adm_id", "date"])
    assert rows.loc[("a", "2024-05-02"), ["tmin", "tmax", "tmean", "prec"]].tolist() == (
        pytest.approx([7.6, 17.6, 12.6, 1.5])
    )
    assert rows.loc[("b", "2024-05-03")].isna().all()


def test_a_passing_fault_of_a_service_is_borne() -> None:
    with serving(power) as server:
        server.fail_each_once(Fault(status=503))
        assert len(meteo.nasa_power(PLACES, start=START, end=END, url=server.url)) == 6


def test_an_answer_without_weather_is_a_fault_of_the_source() -> None:
    answer = Answer.of_json({"messages": ["end date is in the future"]})
    with (
        serving(lambda _request: answer) as server,
        pytest.raises(SourceError, match=r"without daily weather .*in the future"),
    ):
        meteo.nasa_power(PLACES, start=START, end=END, url=server.url)


@pytest.mark.parametrize("running", [True, False], ids=["sums since midnight", "sums of hours"])
@pytest.mark.parametrize("zipped", [True, False])
def test_era5_land_hours_become_days(running: bool, zipped: bool) -> None:
    route = Store(running=running, zipped=zipped)
    with serving(route) as server:
        route.home = server.url
        found = meteo.era5_land({"a": PLACES["a"]}, start=START, end=END, url=server.url)
    assert found["date"].dt.day.tolist() == [1, 2, 3]
    assert found["tmax"].to_numpy() == pytest.approx(15.0)
    assert found["tmin"].to_numpy() == pytest.approx(5.0)
    assert found["prec"].to_numpy() == pytest.approx(2.4)
    # 0-28 cm: a quarter of it is the layer above 7 cm
    assert found["soil_moisture"].to_numpy() == pytest.approx(0.35)
    assert found["snow_depth"].tolist() == pytest.approx([0.0, 12.0, 0.0])


def test_era5_land_without_soil_and_snow_gives_the_rest() -> None:
    route = Store()
    route.hours = route.hours[["valid_time", "t2m", "tp"]]
    route.zipped = False
    with serving(route) as server:
        route.home = server.url
        found = meteo.era5_land({"a": PLACES["a"]}, start=START, end=END, url=server.url)
    assert list(found) == ["adm_id", "date", "tmin", "tmax", "tmean", "prec"]


def test_the_token_goes_to_the_store_and_not_to_the_file(store: tuple[Store, Server]) -> None:
    _, server = store
    meteo.era5_land({"a": PLACES["a"]}, start=START, end=END, url=server.url)
    (file,) = server.asked("/file")
    assert "private-token" not in file.headers
    (job,) = [request for request in server.log if request.path.endswith("/execution")]
    inputs = json.loads(job.body)["inputs"]
    assert inputs["location"] == {"longitude": 39.5, "latitude": 52.6}
    assert inputs["date"] == ["2024-05-01/2024-05-04"]


def test_without_a_token_nothing_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(meteo.CDS_KEY)
    with pytest.raises(CredentialsError, match=r"personal access token .* in CDSAPI_KEY"):
        meteo.era5_land(PLACES, start=START, end=END, url="http://127.0.0.1:9")


def test_a_refused_token_is_said_and_never_shown(
    store: tuple[Store, Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(meteo.CDS_KEY, "wrong-secret")
    with pytest.raises(CredentialsError, match="HTTP 401") as refused:
        meteo.era5_land(PLACES, start=START, end=END, url=store[1].url)
    assert "wrong-secret" not in str(refused.value)


def test_a_job_that_fails_or_never_ends_is_a_fault_of_the_source(
    store: tuple[Store, Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    route, server = store
    route.end = "failed"
    with pytest.raises(SourceError, match="the job is failed"):
        meteo.era5_land(PLACES, start=START, end=END, url=server.url)
    route.end = "running"
    monkeypatch.setattr(meteo, "PATIENCE_SECONDS", 0.05)
    with pytest.raises(SourceError, match="still running after"):
        meteo.era5_land(PLACES, start=START, end=END, url=server.url)


def test_a_service_out_of_reach_is_a_fault_of_the_source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "ATTEMPTS", 2)
    with pytest.raises(SourceError, match="cannot be reached"):
        meteo.nasa_power(PLACES, start=START, end=END, url="http://127.0.0.1:9/power")


def test_days_of_a_service_are_asked_for_once(tmp_path: Path) -> None:
    shapes = [box(x - 0.1, y - 0.1, x + 0.1, y + 0.1) for x, y in PLACES.values()]
    districts = gpd.GeoDataFrame({"adm_id": list(PLACES)}, geometry=shapes, crs="EPSG:4326")
    report = Report("job", "harvest", tmp_path, started=dt.datetime.now(dt.UTC))
    with serving(power) as server:
        wanted = WeatherSection(source="nasa-power", url=server.url)
        first = wiring.weather_of(wanted, report, districts, start=START, end=END)
        again = wiring.weather_of(wanted, report, districts, start=START, end=dt.date(2024, 5, 5))
        asked = [request.query["start"][0] for request in server.log]
    # the third day was not there yet
    assert asked == ["20240501", "20240501", "20240503", "20240503"]
    assert (len(first), len(again)) == (4, 8)
    assert {"tmean", "et0"} <= set(again)
    assert "POWER" in report.credits[0]

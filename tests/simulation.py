"""The forest method on a forest played in memory, in the order of the journey, by its defaults."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr
from odc.geo.geobox import GeoBox
from rasterio.transform import Affine

from lesniva import alerts, change, indices, masks
from lesniva.conventions import NODATA_INT16, Status, to_day_number
from lesniva.synthetic import Cause, Truth, simulate_forest, stack

BANDS = ("blue", "green", "red", "rededge1", "nir", "nir08", "swir16", "swir22", "scl")

CAUSE_OF = {
    Cause.CLEAR_CUT: "harvest",
    Cause.WINTER_CLEAR_CUT: "harvest",
    Cause.THINNING: "thinning",
    Cause.DIEBACK: "dieback",
    Cause.WINDTHROW: "windthrow",
    Cause.FIRE: "fire",
}

HISTORY_END = np.datetime64("2020-12-31")

ASKED_DATES = change.PROFILES["standard"].min_dates
"""A change is asked for that was seen on as many dates as a confirmation needs: what was felled
before the last clear scene of an archive nobody can confirm."""


@dataclass(frozen=True)
class Played:
    """What was simulated, and what the monitor made of it, day by day."""

    truth: Truth
    events: xr.Dataset
    first_usable: np.ndarray
    """(y, x) day number of the first observation that counts after the event, 0 = none."""
    n_usable: np.ndarray
    """(y, x) observations that count after the event."""
    early: np.ndarray
    """(y, x) day number of the first date at which the pixel was WINTER_EARLY, 0 = never."""
    dates: np.ndarray
    season: np.ndarray
    """(time) scenes of the season."""
    bands: dict[str, np.ndarray]
    """Band → (time, y, x)."""


def labelled(values):
    return xr.DataArray(values, dims=("time", "y", "x"))


def play(seed, *, index="nbr", health=(), **forest):
    """Simulate a forest and watch it, one scene at a time; its health by further indices."""
    defaults = {"shape": (96, 96), "start": "2018-01-01", "events_from": "2021-01-01"}
    scenes, truth = simulate_forest(seed=seed, **defaults | forest)
    cube = stack(scenes)
    dates = cube["time"].values.astype("datetime64[D]")
    bands = {name: cube[name].values for name in BANDS}
    observed, bright, share = observe(bands, truth.forest, index)
    season = masks.snow_free_season(dates, share, latitude=55)
    past = dates <= HISTORY_END
    model, strata = learn(index, observed[past & season], dates[past & season], truth.forest)
    snowy = share >= masks.SNOWY_SHARE
    state = change.start(model, snow=bright[past & snowy])
    others, ill = {}, {}
    for name in health:
        others[name] = observe(bands, truth.forest, name)[0]
        looked_at = truth.forest & change.looked_at(name, strata)
        seen = np.where(looked_at, others[name][past & season], np.int16(NODATA_INT16))
        model, _ = learn(name, seen, dates[past & season], truth.forest, strata)
        falls = indices.INDICES[name].falls_with_damage
        ill[name] = change.start(model, channel=name, decrease=falls, options=change.HEALTH_PROFILE)
    strata = change.amplitude_strata(change.seasonal_amplitude(state))
    first_usable = np.zeros(truth.day.shape, dtype=np.int64)
    n_usable, early = np.zeros_like(first_usable), np.zeros_like(first_usable)
    for t in np.flatnonzero(~past & (season | snowy)):
        day = int(to_day_number(dates[t : t + 1])[0])
        here = slice(t, t + 1)
        shifts = correct(index, state, observed[here], dates[here], strata, gate=True)
        shifts["rejected"] = shifts["rejected"] | ~season[t]
        for name, of_name in ill.items():
            values = others[name][here]
            of_index = correct(name, of_name, values, dates[here], strata, gate=True)
            of_index["rejected"] = shifts["rejected"]
            ill[name] = change.update(
                of_name,
                labelled(values),
                dates[here],
                corrections=of_index,
                strata=strata,
                options=change.HEALTH_PROFILE,
            )
        offset = change.snow_offset(change.snow_counts(state, bright[here]))
        state = change.update(
            state,
            labelled(observed[here]),
            dates[here],
            corrections=shifts,
            strata=strata,
            snow=labelled(bright[here][: int(snowy[t])]),
            snow_time=dates[here][: int(snowy[t])],
            snow_offset=offset[: int(snowy[t])],
        )
        if not shifts["rejected"].item():
            seen = (observed[t] != NODATA_INT16) & (truth.day > 0) & (truth.day <= day)
            first_usable[seen & (first_usable == 0)] = day
            n_usable[seen] += 1
        if snowy[t]:
            shown = change.events(state)["status"].values == Status.WINTER_EARLY
            early[shown & (early == 0)] = day
    events = change.joined(change.events(state), [change.events(each) for each in ill.values()])
    return Played(truth, events, first_usable, n_usable, early, dates, season, bands)


def learn(index, history, dates, forest, strata=None):
    """Model of the corrected history, and the strata of its first model where none are given."""
    floor = indices.INDICES[index].least_noise
    model = change.fit(labelled(history), dates, sigma_floor=floor)
    if strata is None:
        strata = change.amplitude_strata(change.seasonal_amplitude(model))
    shifts = correct(index, model, history, dates, strata, gate=False)
    stable = change.corrected(labelled(history), strata, shifts)
    model = change.fit(stable, dates, sigma_floor=floor)
    model["status"] = model["status"].where(forest, Status.NOT_FOREST).astype(np.uint8)
    return model, strata


def observe(bands, forest, index):
    """Index and brightness stacks, and the share of snow on open land by scene."""
    observed = np.empty(bands["scl"].shape, dtype=np.int16)
    bright = np.empty_like(observed)
    share = np.full(len(observed), np.nan)
    for t in range(len(observed)):
        scene = {name: values[t] for name, values in bands.items()}
        clear = masks.clear(scene["scl"], blue=scene["blue"]) & ~masks.veiled(scene)
        white = masks.snow(scene)
        told = (clear | white) & ~forest
        if told.sum() >= 30:
            share[t] = white[told].mean()
        indices.scaled(index, scene, clear & ~white & forest, observed[t])
        masks.brightness(scene, forest, bright[t])
    return observed, bright, share


def correct(index, model, observed, dates, strata, *, gate):
    falls = indices.INDICES[index].falls_with_damage
    counts = change.scene_residuals(
        model, labelled(observed), dates, strata, n_strata=6, decrease=falls
    )
    return change.correction(counts, gate=gate)


def score(played):
    """Figures of one or several simulations, of the changes that could be confirmed."""
    table = pd.concat([pixels(each) for each in played], ignore_index=True)
    disturbed, found = table["day"] > 0, table["found"]
    asked = ~disturbed | (table["n_usable"] >= ASKED_DATES)
    table, disturbed, found = table[asked], disturbed[asked], found[asked]
    # what is reported before it happened is a false alarm, not a find
    hits = table[disturbed & found & (table["confirmed"] >= table["day"])]
    delay = hits["confirmed"] - hits["usable"]
    table["hit"] = table.index.isin(hits.index)
    winter = table[disturbed & (table["cause"] == Cause.WINTER_CLEAR_CUT)]
    n_hits, n_found, n_true = len(hits), int(found.sum()), int(disturbed.sum())
    thinned = table[disturbed & (table["cause"] == Cause.THINNING)]
    return {
        "f1": 2 * n_hits / (n_found + n_true),
        "thinning": float(thinned["hit"].mean()),
        "false": float(found[~disturbed].mean()),
        "delay": float(delay.median()),
        "delay90": float(delay.quantile(0.9)),
        "date_error": float((hits["likely"] - hits["day"]).abs().median()),
        "too_early": float((hits["first"] < hits["day"]).mean()),
        "winter_early": float((winter["early"] > 0).mean()),
        "n": n_true,
    }


def pixels(played):
    """One row a forest pixel."""
    forest = played.truth.forest
    events = played.events
    return pd.DataFrame(
        {
            "day": played.truth.day[forest].astype(int),
            "cause": played.truth.cause[forest],
            "cover": played.truth.cover[forest],
            "usable": played.first_usable[forest],
            "n_usable": played.n_usable[forest],
            "early": played.early[forest],
            "found": np.isin(events["status"].values[forest], [Status.CONFIRMED, Status.REARMED]),
            "first": events["first_anomaly"].values[forest].astype(int),
            "likely": events["likely_day"].values[forest].astype(int),
            "confirmed": events["confirmed"].values[forest].astype(int),
        }
    )


def causes(played):
    """True and attributed cause of each alert that lies on an event, by the way of the journey."""
    ground = played.truth.grid
    geobox = GeoBox(played.truth.day.shape, Affine(*ground.transform), f"EPSG:{ground.epsg}")
    found = {name: variable.values for name, variable in played.events.data_vars.items()}
    pixels_ = alerts.changed_pixels(found, first_row=0, first_col=0)
    table = alerts.alerts(pixels_, "utm37n", geobox, min_area_ha=0.2)
    places = alerts.labels(table.to_crs(str(geobox.crs)).geometry, geobox)
    ids = list(table["alert_id"])
    wanted = {
        int(at)
        for day in table["date_max"].to_numpy("datetime64[D]")
        for at in alerts.days_to_read(played.dates, day)
    }
    parts = []
    for at in sorted(wanted):
        scene = {name: values[at] for name, values in played.bands.items()}
        clear = masks.clear(scene["scl"], blue=scene["blue"]) & ~masks.veiled(scene)
        parts.append(
            alerts.sums(places, scene, clear, ids).assign(date=pd.Timestamp(played.dates[at]))
        )
    named = alerts.attribute(table, alerts.features(table, alerts.means(parts)))
    truth = [
        np.bincount(played.truth.cause[places == number], minlength=len(Cause)).argmax()
        for number in range(1, len(ids) + 1)
    ]
    named["truth"] = [CAUSE_OF.get(Cause(cause), "none") for cause in truth]
    return named.loc[named["truth"] != "none", ["truth", "cause"]]

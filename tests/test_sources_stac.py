"""STAC APIs over a real connection: paging, faults, refusals, signatures."""

import json
import logging
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pystac
import pytest
from shapely.geometry import MultiPolygon, box, shape

from lesniva import sources
from lesniva.errors import CredentialsError, InputError, NoDataError, SourceError
from lesniva.sources import Skipped, remote
from lesniva.sources import stac as stac_room
from servers import stac as stub
from servers.loopback import Answer, Fault, Request, Server, serving

SHARED = Path(__file__).parents[1] / ".." / "shared" / "data"
recorded = pytest.mark.skipif(
    not SHARED.is_dir(), reason="recorded responses (../shared/data) are not here"
)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "FIRST_WAIT", 0.01)
    monkeypatch.setattr(remote, "LONGEST_WAIT", 1.0)
    monkeypatch.setattr(remote, "TIMEOUT", (1.0, 1.0))


def feature(number: int) -> dict[str, Any]:
    when = datetime(2023, 1, 1, 8, tzinfo=UTC) + timedelta(days=number)
    outline = box(39.0, 52.0, 40.0, 53.0)
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": f"scene-{number:05d}",
        "collection": "sentinel-2-l2a",
        "geometry": outline.__geo_interface__,
        "bbox": list(outline.bounds),
        "properties": {"datetime": when.isoformat(), "eo:cloud_cover": number % 100},
        "links": [],
        "assets": {"red": {"href": f"HOME/{number}/red.tif"}},
    }


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(stub.api([feature(number) for number in range(25)], page=10)) as running:
        yield running


def find(server: Server, **conditions: Any) -> list[pystac.Item]:
    return sources.search(kind="stac", href=server.url, **conditions)


def replaced(server: Server, page: int, **fields: Any) -> None:
    """Let the page-th search answer carry other fields."""
    right = server.route
    count = iter(range(1, 10_000))

    def route(request: Request) -> Answer:
        answer = right(request)
        if request.path != "/search" or next(count) != page:
            return answer
        return Answer.of_json({**json.loads(answer.body), **fields})

    server.route = route


def test_all_pages_are_read_and_the_question_is_asked_as_the_standard_says(server):
    found = find(
        server, start="2023-01-01", end="2023-01-31", area=box(39.2, 52.2, 39.4, 52.4), max_cloud=80
    )
    assert [item.id for item in found] == [f"scene-{number:05d}" for number in range(25)]
    asked = [request.json() for request in server.asked("/search")]
    assert len(asked) == 3
    assert asked[0]["collections"] == ["sentinel-2-l2a"]
    assert asked[0]["datetime"] == "2023-01-01T00:00:00Z/2023-01-31T23:59:59Z"
    assert asked[0]["query"] == {"eo:cloud_cover": {"lte": 80}}
    assert shape(asked[0]["intersects"]).contains(box(39.2, 52.2, 39.4, 52.4))
    assert [page["token"] for page in asked[1:]] == ["10", "20"]


def test_a_service_that_only_takes_get_is_asked_so():
    features = [feature(number) for number in range(25)]
    with serving(stub.api(features, page=10, methods=("GET",))) as server:
        assert len(find(server, start="2023-01-01", bbox=(39, 52, 40, 53))) == 25
        assert {request.method for request in server.log} == {"GET"}
        assert [request.query.get("token") for request in server.asked("/search")] == [
            None,
            ["10"],
            ["20"],
        ]


def test_what_the_server_lets_through_is_checked_again(server):
    assert len(find(server, end="2023-01-05", max_cloud=2)) == 3


@pytest.mark.parametrize(
    ("conditions", "numbers"),
    [
        ({"start": "2023-01-30", "end": "2023-02-02"}, [29, 30, 31, 32]),
        ({"max_cloud": 1.5}, [0, 1]),
        ({"months": [2], "max_cloud": 32}, [31, 32]),
        ({"tiles": ["37UDB"], "max_cloud": 4}, [0, 2, 4]),
        ({"relative_orbit": [8, 51], "max_cloud": 4}, [1, 3]),
        ({"area": box(10, 10, 11, 11)}, []),
    ],
    ids=["period", "cloud cover", "months", "tiles", "relative orbit", "area"],
)
def test_each_condition_holds_whatever_the_server_lets_through(conditions, numbers):
    features = [feature(number) for number in range(40)]
    for number, one in enumerate(features):
        one["properties"]["grid:code"] = "MGRS-37UDB" if number % 2 == 0 else "MGRS-37UEB"
        one["properties"]["sat:relative_orbit"] = 51 if number % 2 else 94
    with serving(stub.api(features)) as server:
        if not numbers:
            with pytest.raises(NoDataError, match="40 by area left out"):
                find(server, **conditions)
        else:
            found = find(server, **conditions)
            assert [item.id for item in found] == [f"scene-{number:05d}" for number in numbers]


FAULTS = {
    "500": Fault(status=500),
    "502": Fault(status=502),
    "503": Fault(status=503),
    "504": Fault(status=504),
    "429 without header": Fault(status=429),
    "429 seconds": Fault(status=429, headers={"Retry-After": "1"}),
    "429 decimal": Fault(status=429, headers={"Retry-After": "0.1"}),
    "429 nonsense": Fault(status=429, headers={"Retry-After": "soon"}),
    "reset": Fault(reset=True),
    "short": Fault(short=True),
    "zeros": Fault(zeros=True),
    "stall": Fault(stall=1.5),
    "html": Fault(body=b"<html>maintenance</html>"),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
def test_each_request_failing_once_changes_nothing_and_costs_one_request_more(server, fault):
    undisturbed = [item.to_dict() for item in find(server)]
    different = {request.key for request in server.log}
    before = len(server.log)
    if fault.stall:
        server.faults.append(fault)
    else:
        server.fail_each_once(fault)
    assert [item.to_dict() for item in find(server)] == undisturbed
    assert len(server.log) - before == before + (1 if fault.stall else len(different))


def test_a_retry_after_date_is_waited_for(server):
    when = format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True)
    server.faults.append(Fault(status=429, headers={"Retry-After": when}))
    started = time.monotonic()
    find(server)
    assert 0.5 < time.monotonic() - started < 4


def test_a_service_that_is_down_is_told_after_a_few_tries(server):
    server.always = lambda _request: Fault(status=503)
    with pytest.raises(SourceError, match=r"127\.0\.0\.1.*HTTP 503 after 6 tries; check the net"):
        find(server)
    assert len(server.log) == 6


def test_a_service_that_is_not_there_is_told():
    with serving(stub.api([])) as gone:
        pass
    with pytest.raises(SourceError, match="the connection failed after 6 tries"):
        find(gone)


@pytest.mark.parametrize("status", [401, 402, 403])
def test_a_refusal_is_told_at_once_as_a_matter_of_credentials(server, status):
    server.always = lambda _request: Fault(status=status, body=b'{"message": "quota used up"}')
    with pytest.raises(CredentialsError, match=rf"HTTP {status}: .*quota used up.*check the cred"):
        find(server)
    assert len(server.log) == 1


def test_a_wrong_question_is_not_asked_twice(server):
    server.always = lambda r: Fault(status=400, body=b"bad bbox") if r.method == "POST" else None
    with pytest.raises(SourceError, match="HTTP 400: bad bbox"):
        find(server)
    assert len(server.asked("/search")) == 1


def test_no_features_is_nonsense_and_not_nothing(server):
    replaced(server, 2, features=None)
    with pytest.raises(SourceError, match="a page without features after 10 items"):
        find(server)


def test_pages_in_a_circle_end(server):
    here = {"rel": "next", "href": server.url + "/search", "method": "POST", "body": {"token": "0"}}
    replaced(server, 3, links=[here])
    with pytest.raises(SourceError, match="run in circles after 25 items"):
        find(server)
    assert len(server.asked("/search")) == 4


def test_a_next_link_to_another_host_is_not_followed(server):
    away = {"rel": "next", "href": "http://127.0.0.2:9/search", "method": "GET"}
    replaced(server, 1, links=[away])
    with pytest.raises(SourceError, match=r"sends on to http://127\.0\.0\.2:9/search, which is"):
        find(server)


def test_items_the_server_counts_but_does_not_give_are_reported(server):
    replaced(server, 3, links=[], numberMatched=31)
    skipped: list[Skipped] = []
    assert len(find(server, on_skipped=skipped.append)) == 25
    assert [one.why for one in skipped] == ["counts 31 items and gave only 25"]


def test_repeated_and_damaged_items_are_left_out(server):
    broken = {**feature(3), "properties": {"datetime": None}}
    replaced(server, 1, features=[feature(0), feature(0), feature(1), broken, "nonsense"])
    skipped: list[Skipped] = []
    found = find(server, on_skipped=skipped.append)
    assert len({item.id for item in found}) == len(found) == 2 + 15
    assert [one.where for one in skipped] == ["scene-00003", server.url, server.url]
    assert skipped[-1].why == "counts 25 items and gave only 18"


def test_local_files_and_strange_hosts_in_answers_are_refused(server):
    hostile = ["file:///etc/passwd", "/vsicurl/http://127.0.0.1/x.tif", "http://10.0.0.1/x.tif"]
    features = [
        {**feature(number), "assets": {"red": {"href": href}}}
        for number, href in enumerate(hostile)
    ]
    replaced(server, 1, features=features, links=[])
    skipped: list[Skipped] = []
    with pytest.raises(NoDataError, match="3 by damage left out"):
        find(server, on_skipped=skipped.append)
    told = " ".join(one.why for one in skipped)
    for why in ("local file, refused", "virtual path", r"add it as hosts = \['10.0.0.1'\]"):
        assert re.search(why, told)


def test_redirects_to_other_hosts_are_not_followed():
    with serving(lambda _request: Answer(200, b"{}")) as other:
        # The same machine under its other name: for a client that is another host.
        target = other.url.replace("127.0.0.1", "localhost")
        with (
            serving(lambda _request: Answer(302, headers={"Location": target})) as hostile,
            pytest.raises(SourceError, match=r"redirects to http://localhost:.*not followed"),
        ):
            find(hostile)
        assert other.log == []


def test_redirects_within_a_host_are_followed_too(server):
    right = server.route
    moved = Answer(301, headers={"Location": "/"})
    server.route = lambda request: moved if request.path == "/v1" else right(request)
    assert len(sources.search(kind="stac", href=server.url + "/v1")) == 25


def test_authorization_stays_with_its_host():
    with serving(lambda _request: Answer.of_json({})) as other:
        target = other.url.replace("127.0.0.1", "localhost")
        with serving(lambda _request: Answer(302, headers={"Location": target})) as first:
            remote.fetch_json(first.url, headers={"Authorization": "Bearer t"}, hosts=["localhost"])
        assert "authorization" in first.log[0].headers
        assert "authorization" not in other.log[0].headers


def test_an_endless_answer_is_dropped():
    with (
        serving(lambda _request: Answer(200, b" " * 3_000_000)) as server,
        pytest.raises(SourceError, match="more than 1 MB"),
    ):
        remote.fetch(server.url, max_bytes=1_000_000)


def test_what_is_no_api_is_told(server):
    server.route = lambda _request: Answer.of_json({"hello": "world"})
    with pytest.raises(SourceError, match="does not behave as a STAC API"):
        find(server)
    catalog = {"type": "Catalog", "stac_version": "1.0.0", "id": "x", "description": "-"}
    server.route = lambda _request: Answer.of_json({**catalog, "links": []})
    with pytest.raises(InputError, match='offers no item search; write kind = "catalog"'):
        find(server)


def test_a_name_that_is_no_service_lists_the_known_ones():
    with pytest.raises(InputError, match=r"use .* one of earth-search, planetary-computer, cdse"):
        sources.search(kind="stac", href="earthsearch")


def test_nothing_found_is_no_data():
    with serving(stub.api([])) as empty, pytest.raises(NoDataError, match="gave no items"):
        find(empty)


def test_ten_thousand_items_come_in_pages():
    with serving(stub.api([feature(number) for number in range(2_000)], page=100)) as server:
        assert len(find(server)) == 2_000


@recorded
@pytest.mark.parametrize(
    ("path", "count"),
    [
        ("earth_search/test_filter.json", 5),
        ("planetary_computer/test_datetime_results.json", 33),
        ("cdse/items_2026_s2c_0512.json", 1),
    ],
)
def test_recorded_answers_of_every_service_pass_through_the_real_client(path, count):
    features = json.loads((SHARED / "api_responses" / path).read_text())["features"]
    level_2a = [one for one in features if one["collection"].endswith("l2a")]
    with serving(stub.api(level_2a, page=20)) as server:
        found = find(server)
    assert len(found) == len(level_2a) == count
    assert all({"red", "nir", "scl"} <= sources.assets(item).keys() for item in found)


def test_an_area_across_the_antimeridian_is_asked_as_one_narrow_box():
    area = MultiPolygon([box(178, 66, 180, 68), box(-180, 66, -178, 68)])
    with serving(stub.api([feature(0)])) as server, pytest.raises(NoDataError):
        find(server, area=area)
    assert server.asked("/search")[0].json()["bbox"] == [178.0, 66.0, -178.0, 68.0]


def test_signatures_are_kept_a_container_and_renewed_before_they_end():
    href = "https://account.blob.core.windows.net/container/red.tif"
    with serving(stub.api([], signature_lasts=0.6)) as server:
        endpoint = server.url + "/sas"
        first = stac_room.sign(href, endpoint=endpoint)
        assert first == href + "?sig=secret0"
        assert stac_room.sign(href, endpoint=endpoint) == first
        time.sleep(0.4)
        assert stac_room.sign(href, endpoint=endpoint) == href + "?sig=secret1"
        assert [request.path for request in server.log] == ["/sas/account/container"] * 2
    assert stac_room.sign("https://example.org/red.tif") == "https://example.org/red.tif"


def test_keys_of_cdse_are_asked_for_and_never_handed_on(monkeypatch):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID", raising=False)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary-secret")
    with pytest.raises(CredentialsError, match="AWS_ACCESS_KEY_ID is not set"):
        stac_room.s3_options("cdse")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "canary-id")
    assert "canary" not in str(stac_room.s3_options("cdse"))
    assert stac_room.s3_options("earth-search") == {}


def test_no_secret_of_an_address_or_header_is_ever_logged(server, caplog):
    caplog.set_level(logging.DEBUG)
    server.always = lambda _request: Fault(status=503)
    with pytest.raises(SourceError) as caught:
        remote.fetch_json(
            server.url + "/x?sig=canary",
            headers={"Authorization": "Bearer canary"},
            form={"client_secret": "canary"},
            method="POST",
        )
    assert "canary" not in str(caught.value) + caplog.text


@pytest.mark.parametrize(
    "text",
    [
        "GET https://h/x.tif?sig=canary HTTP/1.1",
        '"GET /a/x.tif?sv=1&sig=canary HTTP/1.1" 206 8',
        "Authorization: Bearer canary",
        "authorization: Basic Y2FuYXJ5canary==",
        "body grant_type=client_credentials&client_id=me&client_secret=canary&x=1",
        "Obtained token {'access_token': 'canary', 'expires_in': 3600}",
        '{"access_token":"canary","refresh_token": "canary"}',
        "AWS_SECRET_ACCESS_KEY=canary, AWS_SESSION_TOKEN = canary",
        "X-Amz-Signature: canary",
        "https://me:canary@host.org/x.tif",
        "/vsicurl/https://h/x.tif?X-Amz-Credential=canary&X-Amz-Signature=canary: 403",
    ],
)
@pytest.mark.parametrize("name", ["urllib3.connectionpool", "rasterio._env", "requests_oauthlib.x"])
def test_what_libraries_write_into_their_logs_is_cleaned(caplog, name, text):
    remote.guard_logs()
    caplog.set_level(logging.DEBUG)
    logging.getLogger(name).debug("%s", text)
    assert caplog.records
    assert "canary" not in caplog.text


def test_tracebacks_in_any_log_are_cleaned(caplog):
    remote.guard_logs()
    try:
        Path("https://h/x.tif?sig=canary").stat()
    except OSError:
        logging.getLogger("lesniva.cli").exception("it failed")
    assert "FileNotFoundError" in caplog.text
    assert "canary" not in caplog.text


def test_guarding_twice_guards_once():
    remote.guard_logs()
    once = logging.getLogRecordFactory()
    remote.guard_logs()
    assert logging.getLogRecordFactory() is once

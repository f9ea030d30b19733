"""A folder in an object store: whole when its manifest is there, and sent once."""

import json
from pathlib import Path

import pytest

from lesniva import cli, publish, storage
from lesniva.errors import CredentialsError, EnvironmentFaultError, InputError, SourceError
from servers import loopback, s3

REFUSAL = (
    b"<?xml version='1.0'?><Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    for name in ("alerts.geojson", "rasters/status.tif", "report/index.html", "отчёт.csv"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"what {name} holds")
    publish.write_manifest(folder)
    return folder


def there(address: str) -> dict[str, bytes]:
    with storage.object_store(address) as (store, root):
        return {name.removeprefix(f"{root}/"): store.cat_file(name) for name in store.find(root)}


def on_disk(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "manifest.json"
    }


def test_a_folder_is_there_as_it_is_and_is_sent_once(folder, bucket):
    address = f"s3://{bucket}/lipetsk/forest"
    done = publish.upload(folder, address)
    assert (done.sent, done.known, done.removed) == (4, 0, 0)
    found = there(address)
    named = json.loads(found.pop("manifest.json"))
    assert named == json.loads((folder / "manifest.json").read_text())
    assert found == on_disk(folder)
    again = publish.upload(folder, address)
    assert (again.sent, again.known, again.bytes) == (0, 4, 0)


def test_changed_files_are_sent_and_those_gone_are_removed(folder, bucket):
    address = f"s3://{bucket}"
    publish.upload(folder, address)
    (folder / "alerts.geojson").write_text("new alerts")
    (folder / "отчёт.csv").unlink()
    publish.write_manifest(folder)
    done = publish.upload(folder, address)
    assert (done.sent, done.known, done.removed) == (1, 2, 1)
    found = there(address)
    del found["manifest.json"]
    assert found == on_disk(folder)


def test_what_someone_has_deleted_is_sent_again(folder, bucket):
    publish.upload(folder, f"s3://{bucket}")
    with storage.object_store(f"s3://{bucket}") as (store, root):
        store.rm_file(f"{root}/alerts.geojson")
    assert publish.upload(folder, f"s3://{bucket}").sent == 1


def test_killed_in_the_middle_there_is_no_manifest_until_the_next_time(folder, bucket, monkeypatch):
    import s3fs

    publish.upload(folder, f"s3://{bucket}")
    for name in ("alerts.geojson", "rasters/status.tif"):
        (folder / name).write_text("new")
    publish.write_manifest(folder)
    put = s3fs.S3FileSystem._put_file

    async def dying(self, local, remote, **how):
        if remote.endswith("status.tif"):
            raise RuntimeError("killed")
        return await put(self, local, remote, **how)

    with monkeypatch.context() as patch:
        patch.setattr(s3fs.S3FileSystem, "_put_file", dying)
        s3fs.S3FileSystem.clear_instance_cache()  # what is open has bound its methods
        with pytest.raises(RuntimeError, match="killed"):
            publish.upload(folder, f"s3://{bucket}")
    s3fs.S3FileSystem.clear_instance_cache()
    assert "manifest.json" not in there(f"s3://{bucket}")
    assert publish.upload(folder, f"s3://{bucket}").sent == 4
    found = there(f"s3://{bucket}")
    assert "manifest.json" in found
    assert found.items() >= on_disk(folder).items()


def test_a_folder_that_is_not_whole_is_not_sent(folder, bucket):
    (folder / "alerts.geojson").write_text("damaged")
    with pytest.raises(EnvironmentFaultError, match=r"alerts\.geojson.*run the job again"):
        publish.upload(folder, f"s3://{bucket}")
    assert there(f"s3://{bucket}") == {}


def test_a_bucket_that_is_not_there_is_told(folder, bucket):
    with pytest.raises(InputError, match=r"s3://nowhere.*check bucket and path"):
        publish.upload(folder, "s3://nowhere/out")


def test_what_is_no_object_store_is_refused(folder):
    with pytest.raises(InputError, match="give s3://bucket/path"):
        publish.upload(folder, "ftp://example.org/out")


def test_a_store_out_of_reach_is_a_fault_of_the_source(folder, monkeypatch):
    for name, value in s3.environment("http://127.0.0.1:9").items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SourceError, match="cannot be reached") as caught:
        publish.upload(folder, "s3://bucket/out")
    assert s3.SECRET not in str(caught.value)


def test_a_refusal_is_a_matter_of_credentials(folder, monkeypatch):
    refusing = loopback.Answer(403, REFUSAL, {"Content-Type": "application/xml"})
    with loopback.serving(lambda _request: refusing) as server:
        for name, value in s3.environment(server.url).items():
            monkeypatch.setenv(name, value)
        with pytest.raises(CredentialsError, match=r"is refused .*check the keys"):
            publish.upload(folder, "s3://bucket/out")


def test_the_command_line_says_what_was_sent(folder, bucket, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["lesniva", "publish", str(folder), "--to", f"s3://{bucket}/x"])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == 0
    assert f"s3://{bucket}/x: 4 files sent (0.0 MB), 0 were there, 0 removed" in (
        capsys.readouterr().out
    )

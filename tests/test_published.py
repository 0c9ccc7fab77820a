"""Finding D4RL's own files, and fetching them: resumed, checked, and with a remedy where nothing answers."""

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from combo_common.errors import UserError
from data import d4rl_download as published
from data.reference import resolve

CONTENT = bytes(range(256)) * 40


class Server(http.server.BaseHTTPRequestHandler):
    """Serves CONTENT whatever is asked for, whole or from where it is asked; /cut/ breaks off, /away/ has nothing."""

    asked: list[tuple[str, str | None]] = []  # noqa: RUF012  # of all requests

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.asked.append((self.path, wanted))
        if self.path.startswith("/away/"):
            self.send_error(404)
            return
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and "/whole/" not in self.path else 0
        if start >= len(CONTENT):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        end = 5000 if self.path.startswith("/cut/") else len(CONTENT)
        self.wfile.write(CONTENT[start:end])

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def address() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    Server.asked.clear()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder without datasets."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_files_are_called_as_d4rl_calls_them() -> None:
    assert published.file_name("halfcheetah-medium-v2") == "halfcheetah_medium-v2.hdf5"
    assert published.file_name("hopper-medium-replay-v2") == "hopper_medium_replay-v2.hdf5"
    assert published.file_name("hopper-medium-replay-v0") == "hopper_mixed.hdf5"
    assert published.file_name("walker2d-medium-replay-v0") == "walker_mixed.hdf5"
    assert published.file_name("walker2d-medium-expert-v0") == "walker2d_medium_expert.hdf5"
    assert len(published.published_names()) == 4 * 5 * 2
    with pytest.raises(ValueError, match="none of D4RL's"):
        published.file_name("hopper-medium-v1")


def test_d4rls_own_folder_is_looked_into_and_a_changed_file_is_noticed(tmp_path: Path, home: Path) -> None:
    folder = home / ".d4rl" / "datasets"
    folder.mkdir(parents=True)
    file = folder / "hopper_medium-v2.hdf5"
    file.write_bytes(b"first")
    assert resolve("hopper-medium-v2", None, tmp_path).local == file
    assert resolve("hopper-medium-v2", None, tmp_path).local == file
    assert (tmp_path / "hopper_medium-v2.hdf5.sha256").read_text().split()[1] == "hopper_medium-v2.hdf5"
    file.write_bytes(b"second")
    with pytest.raises(UserError, match="not what it was"):
        resolve("hopper-medium-v2", None, tmp_path).open()


def test_what_was_cut_off_is_gone_on_with(address: str, tmp_path: Path) -> None:
    cut, rest = f"{address}/cut/{{file}}", f"{address}/{{file}}"
    with pytest.raises(UserError, match=r"cut off after 5000 of 10240 bytes.*by hand"):
        published.download("hopper-medium-v2", tmp_path, (cut,))
    assert not (tmp_path / "hopper_medium-v2.hdf5").exists()
    path = published.download("hopper-medium-v2", tmp_path, (rest,))
    assert path.read_bytes() == CONTENT
    assert Server.asked[-1] == ("/hopper_medium-v2.hdf5", "bytes=5000-")
    assert sorted(p.name for p in tmp_path.glob("hopper*")) == [
        "hopper_medium-v2.hdf5",
        "hopper_medium-v2.hdf5.sha256",
    ]


def test_a_server_that_can_not_resume_sends_all_of_it_again(address: str, tmp_path: Path) -> None:
    (tmp_path / "hopper_medium-v2.hdf5.part0").write_bytes(b"x" * 100)
    path = published.download("hopper-medium-v2", tmp_path, (f"{address}/whole/{{file}}",))
    assert path.read_bytes() == CONTENT


def test_a_finished_part_is_taken(address: str, tmp_path: Path) -> None:
    (tmp_path / "hopper_medium-v2.hdf5.part0").write_bytes(CONTENT)
    assert published.download("hopper-medium-v2", tmp_path, (f"{address}/{{file}}",)).read_bytes() == CONTENT


def test_what_another_process_has_fetched_meanwhile_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def waited(path: Path, what: str) -> Iterator[None]:
        assert path == tmp_path / "hopper_medium-v2.hdf5.lock" and what == str(path.with_suffix(""))
        path.with_suffix("").write_bytes(CONTENT)
        yield

    monkeypatch.setattr(published, "waiting_for", waited)
    assert published.download("hopper-medium-v2", tmp_path, ()).read_bytes() == CONTENT  # by no source


def test_the_next_source_is_tried_and_all_failures_are_told(address: str, tmp_path: Path) -> None:
    away, there = f"{address}/away/{{file}}", f"{address}/{{file}}"
    assert published.download("hopper-medium-v2", tmp_path, (away, there)).read_bytes() == CONTENT
    with pytest.raises(UserError, match="404") as error:
        published.download("hopper-expert-v2", tmp_path, (away, "http://127.0.0.1:1/{file}"))
    message = str(error.value)
    assert "\n" not in message and "refused" in message
    assert message.endswith(f"fetch {address}/away/hopper_expert-v2.hdf5 by hand and put it into {tmp_path}")

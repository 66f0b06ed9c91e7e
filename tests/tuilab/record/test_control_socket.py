"""The control socket: commands arrive, nonsense does not, and nobody else may speak."""

import socket
import stat
import struct
from collections.abc import Iterator
from contextlib import closing
from multiprocessing.connection import Client, Listener
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

import pytest

from engine.commands import Command
from tuilab.errors import RunError
from tuilab.record import control_socket as control
from tuilab.record.control_socket import SOCKET_PATH_LIMIT, ControlClient, ControlServer

Inbox = SimpleQueue[Command]


def refuse_negative(command: Command) -> str:
    return "must not be negative" if command.value < 0 else ""


@pytest.fixture
def inbox() -> Inbox:
    return SimpleQueue()


@pytest.fixture
def server(tmp_path: Path, inbox: Inbox) -> Iterator[ControlServer]:
    made = ControlServer(tmp_path, inbox, refuse_negative)
    yield made
    made.close()


@pytest.fixture
def client(server: ControlServer) -> Iterator[ControlClient]:
    made = ControlClient(server.address)
    yield made
    made.close()


def assert_empty(inbox: Inbox) -> None:
    with pytest.raises(Empty):
        inbox.get_nowait()


@pytest.mark.parametrize(
    "command",
    [
        Command("set", "learning_rate", 0.1),
        Command("scale", "momentum", 1e-30),
        Command("pause"),
        Command("resume"),
        Command("step"),
        Command("stop"),
    ],
)
def test_a_command_arrives_as_it_was_sent(
    client: ControlClient, inbox: Inbox, command: Command
) -> None:
    reply = client.send(command)
    assert (reply.accepted, reply.error) == (True, "")
    assert inbox.get(timeout=5) == command


def test_commands_of_one_client_keep_their_order(client: ControlClient, inbox: Inbox) -> None:
    for value in range(50):
        client.send(Command("set", "learning_rate", value))
    assert [inbox.get(timeout=5).value for _ in range(50)] == list(range(50))


def test_a_command_that_cannot_be_applied_is_refused_with_the_reason(
    client: ControlClient, inbox: Inbox
) -> None:
    reply = client.send(Command("set", "learning_rate", -1.0))
    assert (reply.accepted, reply.error) == (False, "must not be negative")
    assert_empty(inbox)


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\x00\xff\xfe",
        b"null",
        b"[]",
        b'"stop"',
        b'{"kind": "explode"}',
        b'{"kind": "\xff"}',
        b'{"kind": "set", "value": "much"}',
        b'{"kind": "set", "value": 1e999}',
        b'{"key": "learning_rate"}',
        b'{"kind": "stop"',
        b'{"x": ' + b"[" * 100_000,
        b"x" * 1_000_000,
    ],
)
def test_bytes_that_are_no_command_are_answered_and_change_nothing(
    server: ControlServer, client: ControlClient, inbox: Inbox, message: bytes
) -> None:
    with Client(server.address, family="AF_UNIX") as raw:
        raw.send_bytes(message)
        assert raw.poll(5)
        assert b'"accepted":false' in raw.recv_bytes()
        assert_empty(inbox)
    assert client.send(Command("pause")).accepted  # the server is well


@pytest.mark.parametrize("header", [b"\x00", struct.pack("!i", 1000) + b"short"])
def test_a_message_that_breaks_off_does_no_harm(
    server: ControlServer, client: ControlClient, inbox: Inbox, header: bytes
) -> None:
    with socket.socket(socket.AF_UNIX) as raw:
        raw.connect(server.address)
        raw.sendall(header)
    assert client.send(Command("pause")).accepted
    assert inbox.get(timeout=5) == Command("pause")
    assert_empty(inbox)


def test_several_clients_are_heard(server: ControlServer, inbox: Inbox) -> None:
    clients = [ControlClient(server.address) for _ in range(5)]
    for client in clients:
        assert client.send(Command("pause")).accepted
    for client in clients:
        client.close()
    assert [inbox.get(timeout=5).kind for _ in clients] == ["pause"] * 5


def test_only_the_owner_may_open_the_socket(server: ControlServer) -> None:
    mode = Path(server.address).stat().st_mode
    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o600


def test_a_path_too_long_for_a_socket_is_replaced_by_a_short_private_one(
    tmp_path: Path, inbox: Inbox
) -> None:
    folder = tmp_path / ("long" * 30)
    folder.mkdir()
    server = ControlServer(folder, inbox, refuse_negative)
    address = Path(server.address)
    with closing(ControlClient(server.address)) as client:
        assert client.send(Command("stop")).accepted
    assert len(server.address) <= SOCKET_PATH_LIMIT
    assert stat.S_IMODE(address.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(address.stat().st_mode) == 0o600
    server.close()
    assert not address.parent.exists()


def test_the_socket_goes_with_the_server(tmp_path: Path, inbox: Inbox) -> None:
    server = ControlServer(tmp_path, inbox, refuse_negative)
    server.close()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(RunError, match="not listening"):
        ControlClient(server.address).send(Command("pause"))


@pytest.mark.parametrize("address", ["", "/nowhere/control.sock"])
def test_a_run_that_has_no_socket_is_told(address: str) -> None:
    with pytest.raises(RunError, match="not listening"):
        ControlClient(address).send(Command("pause"))


def test_a_client_that_was_cut_off_can_send_again(server: ControlServer, inbox: Inbox) -> None:
    client = ControlClient(server.address)
    client.send(Command("pause"))
    assert client._connection is not None
    client._connection.close()  # as when the worker goes and another comes
    with pytest.raises(RunError):
        client.send(Command("pause"))
    assert client.send(Command("resume")).accepted
    client.close()


def test_a_late_answer_is_not_taken_for_that_to_the_next_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "PATIENCE", 0.05)
    address = str(tmp_path / "slow.sock")
    listener = Listener(address, family="AF_UNIX")
    seen: list[Any] = []

    def serve() -> None:
        for answer in (None, b'{"accepted":true}'):
            seen.append(listener.accept())
            seen[-1].recv_bytes()
            if answer is not None:
                seen[-1].send_bytes(answer)

    thread = Thread(target=serve)
    thread.start()
    client = ControlClient(address)
    with pytest.raises(RunError, match="does not answer"):
        client.send(Command("pause"))
    monkeypatch.setattr(control, "PATIENCE", 10.0)
    assert client.send(Command("resume")).accepted  # over a connection of its own
    thread.join(10)
    client.close()
    for connection in seen:
        connection.close()
    listener.close()

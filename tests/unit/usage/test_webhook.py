from __future__ import annotations

import socket
import threading
import time

import pytest
from pytest_httpserver import HTTPServer
from usage_cases import usage

from nimble_lightning.errors import RequestError
from nimble_lightning.usage.webhook import check, post


def test_an_account_arrives_as_json(httpserver: HTTPServer) -> None:
    httpserver.expect_oneshot_request("/runs", method="POST", json=usage()).respond_with_data("")
    assert post(httpserver.url_for("/runs"), usage(), seconds=10) is None
    httpserver.check()


def test_a_refusal_is_told(httpserver: HTTPServer) -> None:
    httpserver.expect_request("/runs").respond_with_data("", status=503)
    assert post(httpserver.url_for("/runs"), usage(), seconds=10) == "answered 503"


def test_nobody_there_is_told() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert post(f"http://127.0.0.1:{port}/", usage(), seconds=10)


def test_somebody_who_never_answers_is_not_waited_for() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        why = post(f"http://127.0.0.1:{silent.getsockname()[1]}/", usage(), seconds=0.3)
        assert time.monotonic() - began < 5
    assert why is not None
    for thread in threading.enumerate():
        if thread.name == "nimble-report":
            thread.join(5)


@pytest.mark.parametrize("address", ["hush.example.org", "ftp://hush@example.org", "https://?hush", ""])
def test_what_is_no_address_is_refused_without_being_repeated(address: str) -> None:
    with pytest.raises(RequestError) as refusal:
        check(address)
    assert "hush" not in str(refusal.value)

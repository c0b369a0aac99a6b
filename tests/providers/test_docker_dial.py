"""Ports of containers that are reached in the container's own network, and where that cannot be."""

from __future__ import annotations

import os
from typing import Any

import pytest

from envup.errors import TransportError
from envup.provider import dialler
from envup.testing.subject import Subject
from envup_docker import containers, dialling, endpoint
from envup_docker.engine import Engine

PROVIDER = "docker"


def test_the_loopback_of_a_container_without_a_network_is_reached(subject: Subject) -> None:
    with subject.running(subject.spec("alone", options={PROVIDER: {"network": "none"}})) as instance:
        assert dialler(subject.provider, instance) is subject.provider
        with pytest.raises(ConnectionRefusedError):
            subject.provider.dial(instance, 9, timeout=5)


def test_a_container_that_does_not_run_is_not_entered(subject: Subject) -> None:
    with subject.running(subject.spec("stopped")) as instance:
        subject.provider.stop(instance, grace=1)
        assert dialler(subject.provider, instance) is None
        with pytest.raises(TransportError, match="cannot be entered"):
            subject.provider.dial(instance, 9, timeout=5)


def test_a_process_that_is_not_the_containers_is_not_entered(subject: Subject) -> None:
    with subject.running(subject.spec("other")) as instance:
        found: Any = containers.inspect(Engine(endpoint.find(os.environ)), instance.labels)
        assert dialling.way(found) is not None
        found["State"]["Pid"] = os.getpid()
        assert dialling.way(found) is None


def test_containers_of_an_engine_elsewhere_are_not_dialled(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    with subject.running(subject.spec("far")) as instance:
        monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
        assert dialler(subject.again(), instance) is None

"""The parts of `up` that need neither servers nor processes."""

import io
import os
import signal as signals
import socket
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from maintenance.conf import Thresholds, parse_configuration
from service.runtime import project_root
from service.up.addresses import command_places
from service.up.errors import StopRequested, UpRefused
from service.up.listening import claim_port, is_listening
from service.up.output import Output, plain_line
from service.up.processes import describe_exit
from service.up.programs import child_environment, flower, stop_order, worker
from service.up.restarts import LONGEST_DELAY_SECONDS, WELL_AFTER_SECONDS, RestartPacer
from service.up.servers import broker_fault
from service.up.stop_requests import StopRequests


def test_commands_are_told_where_a_state_lies_that_is_not_in_its_usual_place() -> None:
    usual = Path("/srv/site/.state")
    assert command_places(usual, usual) == []
    [place] = command_places(Path("/srv/my site/.state-demo"), usual)
    assert place.where == "export MAINTENANCE_STATE='/srv/my site/.state-demo'"


class TestRestarts:
    def test_delays_double_up_to_the_ceiling(self) -> None:
        pacer = RestartPacer()
        assert [pacer.delay_seconds(0.1) for _ in range(7)] == [1, 2, 4, 8, 16, 30, 30]

    def test_a_process_that_was_well_begins_anew(self) -> None:
        pacer = RestartPacer()
        for _ in range(5):
            pacer.delay_seconds(0.1)
        assert pacer.delay_seconds(WELL_AFTER_SECONDS) == 1
        assert pacer.delay_seconds(0.1) == 2

    @given(st.lists(st.floats(0, 1e6), max_size=300))
    def test_no_history_gives_a_delay_out_of_bounds(self, lives: list[float]) -> None:
        pacer = RestartPacer()
        for lived_seconds in lives:
            assert 1 <= pacer.delay_seconds(lived_seconds) <= LONGEST_DELAY_SECONDS


class TestPorts:
    def test_zero_is_any_free_port(self) -> None:
        port = claim_port(0, "the admin", "--web-port", "WEB_PORT")
        assert 1024 <= port < 65536
        assert not is_listening(port)

    def test_a_taken_port_is_refused_with_both_ways_out(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            assert is_listening(port)
            with pytest.raises(UpRefused, match=f"Port {port}, wanted for Flower") as refusal:
                claim_port(port, "Flower", "--flower-port", "FLOWER_PORT")
        assert "--flower-port or FLOWER_PORT" in str(refusal.value)

    @pytest.mark.parametrize("port", [-1, 65536])
    def test_a_number_that_is_no_port_is_refused(self, port: int) -> None:
        with pytest.raises(UpRefused, match="no port number for the admin"):
            claim_port(port, "the admin", "--web-port", "WEB_PORT")


class TestOutput:
    def test_a_line_stands_behind_its_source(self) -> None:
        written = io.StringIO()
        Output(Console(file=written, width=200)).line("beat", "all is well\n")
        assert written.getvalue() == "beat         | all is well\n"

    def test_a_long_line_is_not_broken(self) -> None:
        written = io.StringIO()
        Output(Console(file=written, width=40)).line("beat", "word " * 50)
        assert written.getvalue().count("\n") == 1

    def test_brackets_are_no_markup(self) -> None:
        written = io.StringIO()
        Output(Console(file=written, width=200)).line("beat", "[red]tasks[/red] [1,2]")
        assert "[red]tasks[/red] [1,2]" in written.getvalue()

    def test_each_source_has_a_colour_in_a_terminal(self) -> None:
        written = io.StringIO()
        output = Output(Console(file=written, width=200, force_terminal=True))
        output.line("beat", "one")
        output.line("web", "two")
        first, second = written.getvalue().splitlines()
        assert first.startswith("\x1b[")
        assert first.split("beat")[0] != second.split("web")[0]

    def test_sequences_that_steer_a_terminal_are_removed(self) -> None:
        assert plain_line("\x1b[2J\x1b[31mred\x1b[0m\x07\x1b]0;title\x07 text") == "red0;title text"

    def test_passwords_and_concealed_values_are_hidden(self) -> None:
        text = plain_line("to redis://:s3cret@127.0.0.1/0 with t0ken", ["t0ken"])
        assert text == "to redis://:***@127.0.0.1/0 with ***"

    def test_what_may_not_be_said_is_left_out(self) -> None:
        written = io.StringIO()
        output = Output(Console(file=written, width=200))
        output.relay(io.BytesIO(b"one\n\ntwo\nthree"), "web", lambda line: "two" not in line)
        assert written.getvalue().splitlines() == ["web          | one", "web          | three"]

    def test_bytes_that_are_no_text_are_shown_all_the_same(self) -> None:
        written = io.StringIO()
        Output(Console(file=written, width=200)).relay(
            io.BytesIO(b"caf\xe9\n"), "web", lambda _line: True
        )
        assert "caf\N{REPLACEMENT CHARACTER}" in written.getvalue()


class TestStopRequests:
    def test_the_first_signal_interrupts_and_the_next_one_hurries(self) -> None:
        with StopRequests() as requests:
            assert not requests.were_made
            with pytest.raises(StopRequested, match="SIGTERM"):
                os.kill(os.getpid(), signals.SIGTERM)
            requests.begin_stop()
            assert not requests.hurry
            os.kill(os.getpid(), signals.SIGINT)
            assert requests.hurry

    def test_a_signal_during_an_end_that_came_by_itself_hurries(self) -> None:
        with StopRequests() as requests:
            requests.begin_stop()
            os.kill(os.getpid(), signals.SIGINT)
            assert requests.hurry

    def test_handlers_are_put_back(self) -> None:
        before = signals.getsignal(signals.SIGTERM)
        with StopRequests():
            assert signals.getsignal(signals.SIGTERM) != before
        assert signals.getsignal(signals.SIGTERM) == before


class TestPrograms:
    @pytest.mark.parametrize(
        ("code", "words"), [(3, "exit code 3"), (-9, "signal SIGKILL"), (-99, "signal 99")]
    )
    def test_an_end_is_told_in_words(self, code: int, words: str) -> None:
        assert describe_exit(code) == words

    def test_work_is_sent_no_more_before_it_is_done_no_more(self) -> None:
        assert stop_order() == [
            ["beat"],
            ["worker-high", "worker-medium", "worker-low"],
            ["flower"],
            ["web"],
            ["site"],
        ]

    def test_a_worker_takes_from_its_queue_alone_and_stops_softly(self) -> None:
        program = worker("medium", 2)
        command = " ".join(program.command)
        assert "--queues medium --concurrency 2 --hostname medium@%h" in command
        assert program.environment["REMAP_SIGTERM"] == "SIGQUIT"

    def test_the_login_of_flower_is_in_its_environment_alone(self, tmp_path: Path) -> None:
        program = flower(5555, "pa55", tmp_path / "flower", 8000)
        assert "pa55" not in " ".join(program.command)
        assert program.environment["FLOWER_BASIC_AUTH"] == "admin:pa55"
        assert program.environment["MAINTENANCE_ADMIN_URL"] == "http://127.0.0.1:8000/admin/"
        assert "FLOWER_BASIC_AUTH" not in child_environment()


class TestBroker:
    def test_a_server_that_keeps_messages_is_accepted(self) -> None:
        facts = {"redis_version": "7.2.4", "maxmemory": 10**9, "maxmemory_policy": "noeviction"}
        assert broker_fault(facts) == ""

    def test_without_a_limit_no_policy_ever_drops_a_message(self) -> None:
        facts = {"redis_version": "7.2.4", "maxmemory": 0, "maxmemory_policy": "allkeys-lru"}
        assert broker_fault(facts) == ""

    def test_a_server_that_drops_keys_is_refused(self) -> None:
        facts = {"redis_version": "7.2.4", "maxmemory": 10**9, "maxmemory_policy": "allkeys-lru"}
        assert "allkeys-lru" in broker_fault(facts)
        assert "noeviction" in broker_fault(facts)

    def test_an_old_server_is_refused(self) -> None:
        assert "version 5.0.14" in broker_fault({"redis_version": "5.0.14"})


def test_the_example_configuration_is_valid_and_shows_the_defaults() -> None:
    given_values = tomllib.loads((project_root() / "maintenance.example.toml").read_text())
    configuration = parse_configuration(given_values)
    assert configuration.thresholds == Thresholds()
    assert configuration.streams["home"].redis in configuration.redis

"""The order of events of ``manage.py up``."""

import os
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psycopg2
from django.db import Error as DatabaseError

from maintenance.conf import configuration
from maintenance.core.errors import ConfigurationError, MaintenanceError
from service.embedded.errors import EmbeddedError
from service.embedded.state import StateFolder, default_path
from service.runtime import forget_adopted, remove_runtime, write_runtime
from service.up import demonstration, environment, preparation, programs
from service.up.errors import StopRequested, UpRefused
from service.up.listening import claim_port, is_listening
from service.up.options import UpOptions
from service.up.output import Output
from service.up.processes import Program, ProgramProcess
from service.up.servers import Servers, start_servers
from service.up.stop_requests import StopRequests
from service.up.supervisor import Supervisor

EXIT_OK, EXIT_RUN_FAILED, EXIT_REFUSED = 0, 1, 2
READY_SECONDS = 30.0
ROTATION_SECONDS = 600.0


class Session:
    """One life of ``up``: everything that is started here is stopped here."""

    def __init__(self, options: UpOptions, output: Output) -> None:
        self._options = options
        self._output = output
        self._supervisor = Supervisor(output)
        self._programs: dict[str, ProgramProcess] = {}
        self._web_port = 0
        self._flower_port = 0

    def run(self) -> int:
        """Start, work, stop; return the exit code."""
        with StopRequests() as requests, ExitStack() as folders:
            try:
                return self._work(folders)
            except StopRequested as request:
                self._output.say(f"stopping on {request}")
                return EXIT_RUN_FAILED if self._options.is_once else EXIT_OK
            except (UpRefused, EmbeddedError, ConfigurationError) as refusal:
                self._output.complain(str(refusal))
                return EXIT_REFUSED
            finally:
                requests.begin_stop()
                self._supervisor.stop(programs.stop_order(), lambda: requests.hurry)
                if requests.were_made:
                    self._output.say("everything has ended")

    def _work(self, folders: ExitStack) -> int:
        forget_adopted()
        state = folders.enter_context(StateFolder.open(self._state_path()))
        remove_runtime(
            state.path
        )  # we hold the folder: whoever wrote it is dead, and its variables with it
        self._output.conceal(_secrets_of(state))
        self._claim_ports()
        if self._options.has_sample_site:
            self._keep_apart(state)
        servers = start_servers(state, self._supervisor, self._options.has_sample_site)
        folders.callback(remove_runtime, state.path)
        try:
            self._prepare(state, servers)
        except (DatabaseError, psycopg2.Error) as error:
            raise UpRefused(preparation.refusal_of(error)) from None
        if self._options.sample_scale is not None:
            self._build_site(state, servers, self._options.sample_scale)
        is_quiet = self._options.is_once  # there, the progress of the runs says the same
        self._start(
            [programs.worker(*entry, is_quiet=is_quiet) for entry in programs.WORKERS.items()]
        )
        if self._options.is_once:
            return self._run_once(state)
        return self._run_until_stopped(state, servers)

    def _state_path(self) -> Path:
        """Return the state folder: as named, else the default one; a demonstration keeps to its own."""
        if self._options.state is not None:
            return self._options.state.expanduser().absolute()
        path = default_path()
        return demonstration.folder_beside(path) if self._options.has_sample_site else path

    def _keep_apart(self, state: StateFolder) -> None:
        """Let a demonstration touch nothing of the operator's own service."""
        names = demonstration.forget_named_servers(os.environ)
        if names:
            self._output.say(
                f"the sample site has servers of its own; not used: {', '.join(names)}"
            )
        demonstration.claim_folder(state)
        os.environ["MAINTENANCE_CONFIG"] = str(preparation.sample_configuration())

    def _claim_ports(self) -> None:
        if not self._options.with_web:
            return
        self._web_port = claim_port(self._options.web_port, "the admin", "--web-port", "WEB_PORT")
        self._flower_port = claim_port(
            self._options.flower_port, "Flower", "--flower-port", "FLOWER_PORT"
        )

    def _prepare(self, state: StateFolder, servers: Servers) -> None:
        flower_port = self._flower_port if self._options.with_web else None
        values = preparation.runtime_values(state, servers.environment(), flower_port)
        environment.adopt(values)
        environment.log_to(self._output)
        write_runtime(state.path, values)
        preparation.refuse_failed_checks()
        environment.import_hooks()
        preparation.migrate()
        if self._options.has_sample_site:
            demonstration.refuse_other_schedules(configuration())
        if servers.has_own_database:
            recovered = preparation.recover_runs()
            if recovered:
                self._output.say(f"runs that killed workers held, now queued again: {recovered}")
        self._sync()

    def _sync(self) -> None:
        result = preparation.sync()
        if result.created or result.updated or result.disabled:
            self._output.say(
                f"schedules: {len(result.created)} created, {len(result.updated)} updated,"
                f" {len(result.disabled)} disabled"
            )
        for difference in result.kept:
            self._output.say(f"kept as an operator set it: {difference}")

    def _start(self, wanted: Sequence[Program]) -> None:
        child_environment = programs.child_environment()
        for program in wanted:
            process = ProgramProcess(program, child_environment, self._output)
            self._supervisor.start(process)
            self._programs[program.name] = process

    def _start_pages(self, state: StateFolder) -> None:
        """Start web and Flower and wait until both answer."""
        self._start(
            [
                programs.web(self._web_port),
                programs.flower(
                    self._flower_port,
                    state.secrets.flower_password,
                    state.path / "flower",
                    self._web_port,
                ),
            ]
        )
        ports = (self._web_port, self._flower_port)
        if not self._supervisor.wait_until(
            lambda: all(is_listening(port) for port in ports), READY_SECONDS
        ):
            self._output.say("the web pages do not answer yet")

    def _build_site(self, state: StateFolder, servers: Servers, scale: float) -> None:
        from service.up.site import ensure_site  # noqa: PLC0415 - only where it is asked for

        ensure_site(state.path, servers, scale, self._output, anew=self._options.is_once)
        self._start([programs.sample_pages(servers.site_port)])
        self._supervisor.wait_until(lambda: is_listening(servers.site_port), READY_SECONDS)

    # --- until stopped -------------------------------------------------------------------------

    def _run_until_stopped(self, state: StateFolder, servers: Servers) -> int:
        self._start([programs.beat()])
        # The pages come last: they share two cores with what the schedules wait for.
        self._supervisor.wait_until(self._crew_is_ready, READY_SECONDS)
        self._start_pages(state)
        self._show_addresses(state, servers)
        while not self._output.is_broken:
            self._supervisor.wait_until(lambda: self._output.is_broken, ROTATION_SECONDS)
            servers.rotate_logs()
        return EXIT_OK

    def _crew_is_ready(self) -> bool:
        return all(process.is_ready for process in self._programs.values())

    def _show_addresses(self, state: StateFolder, servers: Servers) -> None:
        from service.up import addresses  # noqa: PLC0415 - needs rich's tables only now

        password = state.secrets.admin_password
        is_ours = preparation.ensure_admin(password)
        login = f"{preparation.ADMIN_USER} / {password if is_ours else '(as you changed it)'}"
        places = [
            *addresses.web_places(
                self._web_port, login, self._flower_port, state.secrets.flower_password
            ),
            *addresses.server_places(servers.named_urls()),
            addresses.Place("State folder", str(state.path)),
            addresses.Place("Reports", str(state.reports)),
            *addresses.command_places(state.path, default_path()),
            *addresses.next_runs(),
        ]
        self._output.show(addresses.address_table(places))

    # --- once ----------------------------------------------------------------------------------

    def _run_once(self, state: StateFolder) -> int:
        from service.up.once import ChecklistRunner, outcome_sentence  # noqa: PLC0415 - models
        from service.up.verdicts import documents_of, verdict_lines  # noqa: PLC0415 - models

        started_at = time.monotonic()
        if self._options.with_web:
            self._start_pages(state)
        runner = ChecklistRunner(self._supervisor, self._output)
        try:
            runner.run(self._options.checklists)
        except MaintenanceError as error:
            raise UpRefused(str(error)) from None
        documents = documents_of(runner.runs)
        for line in verdict_lines(documents):
            self._output.show(line)
        self._output.say(outcome_sentence(runner.runs, started_at))
        self._output.say(f"the reports lie in {state.reports}")
        mail = state.path / "mail"
        if mail.is_dir():
            self._output.say(f"what people would be told lies in {mail}")
        faults_are_missing = self._options.has_sample_site and self._compare(state, documents)
        has_failed = any(run.state == "failed" for run in runner.runs)
        return EXIT_RUN_FAILED if has_failed or faults_are_missing else EXIT_OK

    def _compare(self, state: StateFolder, documents: Sequence[Any]) -> bool:
        """Show planted faults beside named ones; return whether one is missing."""
        from service.sample_site.truth import Truth  # noqa: PLC0415 - only where it is asked for
        from service.up import planted  # noqa: PLC0415 - models
        from service.up.site import truth_path  # noqa: PLC0415 - only where it is asked for

        truth = Truth.read(truth_path(state.path))
        comparisons = planted.compare(truth, documents, configuration())
        self._output.show(planted.comparison_table(comparisons))
        self._output.say(planted.comparison_sentence(comparisons))
        self._output.say(f"what is planted, with numbers: {truth_path(state.path)}")
        return bool(planted.missing(comparisons))


def _secrets_of(state: StateFolder) -> list[str]:
    """Return the values that must not appear in any line that a process prints."""
    secrets = state.secrets
    return [
        secrets.postgres_password,
        secrets.valkey_password,
        secrets.admin_password,
        secrets.flower_password,
        secrets.django_secret_key,
    ]

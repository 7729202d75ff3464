"""A Weights & Biases run: online for a user who is logged in, otherwise in files of the run folder, never a question.

Own, because Lightning's logger starts the run lazily inside training, where an unreachable server would stop it, and
keeps one run for all runs of a process. Nothing but numbers, the config and figures leaves the machine: no weights, no
code, no artifacts.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from training.errors import ConfigurationError
from training.files import write_text_atomically
from training.loggers.base import RunLogger, flatten

INIT_TIMEOUT = 20.0
"""Seconds to wait for the server before going on offline."""
FINISH_TIMEOUT = 300.0
"""Seconds the end of a run may wait for an upload; what is left can be sent later with ``wandb sync``."""


class WandbLogger(RunLogger):
    """Logs to one wandb run whose files lie in ``<run folder>/wandb``.

    The run's identity is kept beside them, so that a resumed run continues the same one online; offline each process
    adds a folder, and ``wandb sync`` of all of them joins them under the same identity.

    Args:
        folder: the run folder.
        project: wandb's project.
        experiment: wandb's group.
        run: wandb's display name.
        config: the resolved config of the run.
        mode: from `choose_mode`.
        say: receives one line when the server does not answer.
    """

    def __init__(
        self,
        folder: Path,
        project: str,
        experiment: str,
        run: str,
        config: Mapping[str, Any],
        mode: Literal["online", "offline"],
        say: Callable[[str], None],
    ) -> None:
        super().__init__(experiment, run)
        _silence()
        import wandb

        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        options: dict[str, Any] = {
            "project": project,
            "group": experiment,
            "name": run,
            "id": _identity(folder),
            "config": dict(config),
            "dir": str(folder),
        }
        if mode == "online":
            try:
                self._run = wandb.init(**options, resume="allow", settings=_settings(wandb, "online"))
            except wandb.errors.Error as error:
                # the half-open run would otherwise keep its identity taken
                wandb.teardown()
                say(f"wandb: the server does not accept the run ({_first_line(error)}); logging offline instead.")
                mode = "offline"
        if mode == "offline":
            self._run = wandb.init(**options, settings=_settings(wandb, "offline"))
        self.mode = mode
        self._wandb = wandb
        self._stored = -1
        self._step = 0
        self._closed = False

    def write(self, metrics: Mapping[str, Any], step: int) -> None:
        if step > self._stored:
            self._step = step
            self._run.log(dict(metrics), step=step)

    def figure(self, name: str, path: Path, step: int) -> None:
        if step >= self._stored:
            self._step = max(step, self._step)
            self._run.log({f"figures/{name}": self._wandb.Image(str(path))}, step=self._step)

    def summary(self, values: Mapping[str, Any], step: int) -> None:
        self._run.summary.update(flatten(values, "/"))

    def resume_from(self, step: int, stored: int) -> None:
        """wandb keeps what it has; a resumed run sends only the steps after it."""
        self._stored = stored

    def close(self, ok: bool) -> None:
        if not self._closed:
            self._closed = True
            self._run.finish(exit_code=0 if ok else 1)


def choose_mode() -> Literal["online", "offline", "disabled"]:
    """``WANDB_MODE`` where the user has set it, else online where wandb finds a key, else offline.

    Raises:
        ConfigurationError: if ``WANDB_MODE`` asks for online and there is no key, or is no mode of wandb.
    """
    wanted = os.environ.get("WANDB_MODE", "").strip().lower()
    if wanted in ("offline", "dryrun"):
        return "offline"
    if wanted == "disabled":
        return "disabled"
    if wanted not in ("", "online", "run", "shared"):
        raise ConfigurationError(f"WANDB_MODE={wanted} is no mode of wandb; use online, offline or disabled.")
    if has_key():
        return "online"
    if wanted:
        raise ConfigurationError(
            f"WANDB_MODE={wanted}, but no key is found. Run 'wandb login' once, set WANDB_API_KEY, or unset WANDB_MODE "
            "to log offline."
        )
    return "offline"


def has_key() -> bool:
    """Whether the user is logged in: a key in the environment, in wandb's settings, or in netrc for wandb's host."""
    _silence()
    import wandb
    from wandb.sdk.lib.wbauth import read_netrc_auth

    # the settings of this process may be older than the environment
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    settings = wandb.setup().settings
    return bool(settings.api_key or settings.identity_token_file or read_netrc_auth(host=settings.base_url))


def _settings(wandb: Any, mode: str) -> Any:
    return wandb.Settings(
        mode=mode,
        console="off",
        silent=True,
        disable_code=True,
        disable_git=True,
        disable_job_creation=True,
        # one process may hold several runs, one after the other or from Python side by side
        reinit="create_new",
        init_timeout=INIT_TIMEOUT,
        finish_timeout=FINISH_TIMEOUT,
    )


def _silence() -> None:
    # wandb reports its own usage to its makers even for an offline run unless told before the first run
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    # what matters of its lines, this module says itself
    os.environ.setdefault("WANDB_SILENT", "true")


def _identity(folder: Path) -> str:
    path = folder / "wandb" / "run_id"
    if not path.exists():
        write_text_atomically(path, secrets.token_hex(4))
    return path.read_text().strip()


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]

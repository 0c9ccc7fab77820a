"""How a run ends before its end: what a line says then."""

from pathlib import Path
from types import TracebackType

from combo_common.errors import StoppedError, UserError
from combo_common.files import FULL, refused
from combo_common.memory import MEMORY, out_of_memory
from latent_combo.pipeline.session import Session
from latent_combo.runtime.run_command import run_command
from latent_combo.runtime.run_folder import SETTINGS

TAKES = {
    "data": ("reading the data", ("rssm.conv.image_size",)),
    "world_model": ("fitting the world model", ("world_model_fit.batch", "world_model_fit.length")),
    "views": ("measuring and drawing", ("views.segments", "views.episodes")),
    "latents": ("encoding the data", ("encode.num_encodings", "encode.episodes_at_once")),
    "agent": ("training the agents", ("agent_fit.rollout_batch_size", "agent.batch", "agent.num_agents")),
    "evaluations": ("scoring the agents", ("score.episodes_during_training", "score.processes", "agent.num_agents")),
    "score": ("scoring the agents", ("score.episodes", "score.processes", "agent.num_agents")),
}
"""By sections of a run's timer: what is done there, and settings by which it takes less memory."""


class Ending:
    """Turns what ends the body into a line: a signal, too little memory, a full disk.

    A signal stops what is being done at once, and raises StoppedError with the command that goes on: what was done
    since the last checkpoint is done again, and comes to the same. The others raise UserError.
    """

    def __init__(self, run: Path, resumes: bool = False) -> None:
        """Name the run's folder, and say whether it is one that goes on."""
        self.run, self._resumes = run, resumes
        self._session: Session | None = None

    def of(self, session: Session) -> Session:
        """Note whose phases they are that are ended."""
        self._session = session
        return session

    def __enter__(self) -> "Ending":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, KeyboardInterrupt):
            raise StoppedError(self._stopped()) from error
        if error is not None and out_of_memory(error):
            raise UserError(self._memory(error)) from error
        if isinstance(error, OSError) and error.errno in FULL:
            raise refused(Path(error.filename or self.run), error) from error

    def _stopped(self) -> str:
        ours = self._resumes or self._session is not None  # before, what is there is of somebody else
        if not ours or not (self.run / SETTINGS).exists():
            return "stopped before there was anything to save; begin again by the same command"
        return f"stopped; continue from the last checkpoint with: {run_command('train', self.run)}"

    def _memory(self, error: BaseException) -> str:
        """What was being done, and which settings have it take less."""
        section = None if self._session is None else self._session.timer.latest
        doing, settings = TAKES.get(section or "", ("training", ("world_model_fit.batch", "agent.batch")))
        device = " of the GPU" if type(error).__name__ == "OutOfMemoryError" else ""
        mapped = ", or set --mapped true, which leaves images on the disk" if section == "data" else ""
        return f"{MEMORY}{device} while {doing}: lower {' or '.join(f'--{name}' for name in settings)}{mapped}"

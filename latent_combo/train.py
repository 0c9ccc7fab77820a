"""`python -m latent_combo.train`: dataset -> world model -> latents -> policy -> score.

An algorithm without a world model goes from stacked frames to the policy.
"""

import sys
from contextlib import closing
from pathlib import Path
from types import ModuleType

import latent_combo.early  # noqa: F401
from combo_common.cli import run_cli
from combo_common.interrupt import Interrupt
from combo_common.memory import keep_freed_memory
from latent_combo.agent.frames import FrameStack
from latent_combo.config.arguments import accepts_changes
from latent_combo.config.command_line import parse, require_dataset, settings_files
from latent_combo.config.schema import Config
from latent_combo.diagnostics.model import ModelViews
from latent_combo.evaluation.result import Result, finished
from latent_combo.evaluation.result_parts import WorldModelResult
from latent_combo.numerics.data_parallel import share_of_process
from latent_combo.pipeline.agent_phase import evaluator_of, fit_agent, policy_of, selected_of
from latent_combo.pipeline.build import build_frame_stack
from latent_combo.pipeline.checks import require_shareable
from latent_combo.pipeline.encode_phase import encode
from latent_combo.pipeline.follow import follow
from latent_combo.pipeline.history import has_other_settings
from latent_combo.pipeline.measure import (
    agent_callbacks,
    context_of,
    measure_model,
    model_callbacks,
    show,
    write_pages,
)
from latent_combo.pipeline.model_phase import fit_world_model, keep_pretrained
from latent_combo.pipeline.needs import check_needs
from latent_combo.pipeline.prepare import prepare
from latent_combo.pipeline.same_data import keep_fingerprint
from latent_combo.pipeline.session import Session
from latent_combo.pipeline.stopping import Ending
from latent_combo.pipeline.summary import dataset_returns, log_result, seconds_of, summarise
from latent_combo.runtime.run_command import run_command
from latent_combo.runtime.run_folder import REPORT
from latent_combo.world_model.base import WorldModel


def train(config: Config, resume: bool = False, accept_changes: bool = False) -> Result:
    """Run all phases, or those that a stopped run has left, and return what they came to.

    A run goes on with the settings and data that it began with, or with `accept_changes` with others, which are noted.
    Raises UserError for a dataset or setting that does not fit, and for a loss or gradient that is not finite (before
    it is used), and StoppedError when stopped by Ctrl-C, SIGTERM, SIGUSR1 or SIGHUP: a step in progress is finished and
    saved, and whatever else is being done is left at once, to be done again.
    """
    keep_freed_memory()
    require_shareable(config)
    with (
        Interrupt(at_once=True) as interrupt,
        Ending(Path(config.out), resume) as ending,
        Session(config, interrupt, resume, accept_changes) as session,
    ):
        ending.of(session)
        config = session.config
        data, split, pretrained = prepare(session)
        check_needs(config, session.task, data, session.device, session.out)
        with (
            session.opened(),
            closing(evaluator_of(session)) as evaluator,
        ):
            keep_fingerprint(session.out, config, data, changed=bool(session.changes.found))
            session.keep_history(data.fingerprint)
            shown = context_of(session, data, split)
            model: WorldModel | FrameStack
            if config.has_world_model:
                # A world model of the dataset (eq. 27), or one that is fitted already
                views = ModelViews(shown)
                if pretrained is None:
                    steps = config.world_model_fit.steps
                    model, meter = fit_world_model(session, data, split, model_callbacks(session, views))
                else:
                    model, steps, meter = pretrained[0], keep_pretrained(session, *pretrained), None
                predictions = measure_model(session, views, model, steps, data, split)
            else:
                model, predictions, meter = build_frame_stack(config, session.task), WorldModelResult(), None
            # The dataset in its latents, or as stacked frames
            dataset, validation = encode(session, model, data, split)
            # Conservative agents on these and on rollouts of the model (algorithm 1)
            callbacks = agent_callbacks(session, model, dataset)
            trained = fit_agent(session, model, dataset, validation, evaluator, callbacks)
            # All of them, or the one that the paper's offline rule chooses, in the environment
            agent, selected = selected_of(session, trained)
            with session.timer.section("score"), session.interrupt.at_once():
                policy = policy_of(session, model, agent, selected or 0)
                score = evaluator.final(policy, record=config.views.episodes)
            # What it came to, written before the last views, so that none of them can cost a score
            returns = dataset_returns(data, split.train, config)
            result = summarise(session, returns, predictions, score, trained, meter, selected)
            result.write(session.out)
            log_result(session.log, config, result)
            diagnostics = show(session, shown, model, agent, dataset, score)
            result = result.with_diagnostics(diagnostics, seconds_of(session))
            result.write(session.out)
            write_pages(session.out)
            return result


def main() -> None:
    """Read the command line and train; what `torchrun` starts beside the first process shares its model's fit."""
    if share_of_process().rank:
        follow()
        return
    config, resume = parse(sys.argv[1:])
    accepts = accepts_changes(sys.argv[1:])
    if resume and not (accepts and has_other_settings(config)) and (result := finished(Path(config.out))) is not None:
        if not (Path(config.out) / REPORT).exists():  # it was stopped then
            write_pages(Path(config.out))
        again = run_command("evaluate", config.out, config.task)
        print(f"{config.out} is finished, and stays as it is; score it again with: {again}")
        print(result.describe(config.out))
        return
    if not resume:
        require_dataset(config)
        print(f"dataset     {config.dataset} ({config.task})")
        print(f"settings    {', '.join(map(str, settings_files(sys.argv[1:])))}", flush=True)
    result = train(config, resume, accepts)
    print(result.describe(config.out))


class _CallableModule(ModuleType):
    """A module that is called as its function of the same name, however `latent_combo.train` was reached."""

    def __call__(self, config: Config, resume: bool = False, accept_changes: bool = False) -> Result:
        """See `train`."""
        return train(config, resume, accept_changes)


sys.modules[__name__].__class__ = _CallableModule

if __name__ == "__main__":
    run_cli(main)

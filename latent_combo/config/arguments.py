"""A command line as words, before anything is known of its settings."""

from collections.abc import Iterator
from pathlib import Path

from combo_common.errors import UserError
from latent_combo.config.parser import setting_types
from latent_combo.runtime.renamed import line, renamed
from latent_combo.runtime.settings_file import read_settings, say


def with_fitted(arguments: list[str]) -> list[str]:
    """A command line whose `--world_model PATH` is `--fitted=PATH`: its other `--world_model.*` are of a new one.

    Raises UserError where no path follows.
    """
    result, following = [], iter(arguments)
    for argument in following:
        name, inline, path = argument.partition("=")
        if name != "--world_model":
            result.append(argument)
            continue
        path = path if inline else next(following, "")
        if not path or path.startswith("--"):
            raise UserError("--world-model names nothing; give the folder of a run or a file of latent_combo.export")
        result.append(f"--fitted={path}")
    return result


def with_new_words(arguments: list[str]) -> list[str]:
    """A command line whose settings have the names that they have now; a line names what was renamed."""
    result, found = [], {}
    for argument in arguments:
        name, equals, value = argument.removeprefix("--").partition("=")
        if argument.startswith("--") and (now := renamed(name)) != name:
            if now in setting_types():  # or else the name is refused, and its own error says what was meant
                found[f"--{name}"] = f"--{now}".replace("_", "-")
            argument = f"--{now}{equals}{value}"
        result.append(argument)
    if found:
        say(line("the command line", found))
    return result


def split_config(arguments: list[str]) -> tuple[list[str], list[str]]:
    """A command line as its `--config=FILE` options and the rest, each in order."""
    files, single, following = [], [], iter(arguments)
    for argument in following:
        if argument == "--config":
            files.append(f"--config={next(following, '')}")
        elif argument.startswith("--config="):
            files.append(argument)
        else:
            single.append(argument)
    return files, single


def config_files(arguments: list[str]) -> Iterator[Path]:
    """The files that `--config` names, in order."""
    return (Path(option.removeprefix("--config=")).expanduser() for option in split_config(arguments)[0])


def peek(arguments: list[str], name: str, default: str) -> str:
    """The value of one option, from the command line or else from the --config file, before the rest is parsed.

    Raises UserError for a file that holds no settings.
    """
    value = default
    for path in config_files(arguments):
        if path.is_file():
            found = read_settings(path).get(name)
            value = value if found is None else str(found)
    single = split_config(arguments)[1]
    for index, argument in enumerate(single):
        key, _, inline = argument.partition("=")
        if key == f"--{name}":
            value = inline or (single[index + 1] if index + 1 < len(single) else "")
    return value


def resumed_folder(arguments: list[str]) -> Path | None:
    """The run that `--resume` names, or None without that option. Raises UserError where anything is beside it."""
    if not any(argument.split("=")[0] == "--resume" for argument in arguments):
        return None
    words = [word for argument in arguments for word in argument.split("=", 1)]
    if len(words) != 2 or words[0] != "--resume":
        raise UserError("--resume RUN stands alone: a run goes on with its own settings")
    return Path(words[1])

"""What is compared: models with the seeds of each, and what the others are measured against."""

from data_prep.errors import InputError
from tf_syncrec.comparison.libraries.bridge import check_interpreter, check_items, settings_of
from tf_syncrec.comparison.libraries.library import Library
from tf_syncrec.comparison.names import ModelName, parse_name
from tf_syncrec.config import Config

Plan = dict[ModelName, tuple[int, ...]]
"""The seeds of each model; of one without chance in it, a single one."""


def read_plan(names: str, seeds: str, reference: str | None) -> tuple[Plan, str]:
    """The plan of a command line, and the name of the model that the others are measured against.

    Args:
        names: `--models`, joined by commas, each perhaps with `@` and seeds of its own.
        seeds: `--seeds`, of all models that have none of their own.
        reference: `--reference`; None for the first model.

    Raises:
        InputError: an option says nothing that can be compared.
    """
    shared = _seeds(seeds, ",", f"--seeds {seeds}")
    plan: Plan = {}
    for text in filter(None, names.split(",")):
        name, at, own = text.partition("@")
        model = parse_name(name)
        if at and not model.seeded:
            raise InputError(f"--models {text}: {name} takes no seeds, chance has no part in it")
        of_model = _seeds(own, "+", f"--models {text}") if at else shared
        # NAME and NAME_cross are the same.
        if (model.base, model.scope) in {(known.base, known.scope) for known in plan}:
            raise InputError(f"--models takes each model once, received {names!r}")
        plan[model] = of_model if model.seeded else of_model[:1]
    if not plan:
        raise InputError(f"--models takes names, received {names!r}")
    texts = [model.text for model in plan]
    reference = reference or texts[0]
    if reference not in texts:
        raise InputError(f"--reference {reference}: not among the models {', '.join(texts)}")
    return plan, reference


def check_library(library: Library, plan: Plan, config: Config) -> None:
    """Says before any work that a library is missing, or that a model of it lacks what it needs.

    Raises:
        InputError: of `check_items` and `check_interpreter`.
    """
    names = [model.in_library for model in plan if model.library == library]
    check_items(library, names, config.data.items.path is not None)
    if names:
        given = getattr(config, library.key)
        settings = {name: settings_of(library, name, given) for name in names}
        check_interpreter(library, library.interpreter, settings)


def _seeds(text: str, separator: str, source: str) -> tuple[int, ...]:
    """Seeds of the command line; an error names the source."""
    try:
        seeds = tuple(int(seed) for seed in text.split(separator))
    except ValueError:
        seeds = ()
    if not seeds or min(seeds) < 0 or len(set(seeds)) < len(seeds):
        raise InputError(
            f"{source}: seeds are whole numbers from 0, each once, joined by {separator!r}, "
            f"received {text!r}"
        )
    return seeds

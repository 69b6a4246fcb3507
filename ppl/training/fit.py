"""`ppl.fit`: train a program.

A run is a sequence of states; step t is a pure function of (state, batch t), and batch t of (seed, t), so stopping and
resuming anywhere gives the same bits. `ppl.runtime.call.take_optimizer_step` takes the steps; the loop is in
`ppl.training.run`, that of compiled code in `compiled_run`, the batches in `batches`; `ppl.runtime.nonfinite` names
what went wrong."""

from __future__ import annotations

from typing import Any

from ppl.choosing.choices import Choices
from ppl.choosing.tuner import make_tuner
from ppl.errors import OptionError
from ppl.names import keywords
from ppl.runtime.prepared import require_program
from ppl.runtime.state import State
from ppl.training.batches import ArrayBatches, order_arguments
from ppl.training.checkpoints import CheckpointFile
from ppl.training.compiled_run import make_run
from ppl.training.history import bounded_history_of
from ppl.training.optim.transform import as_transform
from ppl.training.result import Fit, History
from ppl.training.run import Callback, HyperValues
from ppl.training.setup import check_hyper, check_options, find_start, make_validator
from ppl.training.streams import BatchSource, StreamBatches

__all__ = ["Fit", "History", "fit"]


@keywords
def fit(
    program: Any,
    *data: Any,
    steps: int | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    optimizer: Any,
    seed: int = 0,
    state: State | None = None,
    hyper: HyperValues | None = None,
    validation: Any = None,
    progress: bool = True,
    checkpoint: Any = None,
    callback: Callback | None = None,
    batches: BatchSource | None = None,
    total_rows: int | None = None,
    accumulate: int = 1,
    prefetch: int | None = None,
    history: Any = None,
    tune: bool | Choices = False,
) -> Fit:
    """Minimise the loss of a program by stochastic gradient descent.

    Loss and gradient are divided by the number of rows N before the optimizer sees them. Arguments that
    the outermost data plate opens are cut into minibatches, in a new order every epoch. Other arguments are
    passed whole.

    If the model reads a parameter only through ``table[index]``, few rows of its gradient are not zero. `SGD` and
    `AdaGrad` without `clip_norm` then read and write those rows alone. The result is that of the whole gradient up to
    the order of sums, and does not depend on the number of threads. Other optimizers also move rows of gradient zero
    (momentum, decaying moments), so they pass over the whole table.

    With `tune=True` the best few choices where the run begins are found as `ppl.tune` does, in some seconds, compiled
    and timed once, which pays in trainings that take longer. They are compared before the first step, and again
    whenever that takes at most a twentieth of the time since then: by 16 pairs of gradients each, on noise and
    minibatches of their own. What has the least variance × seconds takes the steps that follow; the choice stays unless
    another one is clearly better. With `allow_bias=True`, biased ones compete by mean squared error. Decisions know
    nothing of the noise of steps that follow, so gradients stay unbiased. Checkpoints have the times and the choices: a
    run that goes on takes the same ones, to the same bits. States that callbacks and validation see, and `fit.state`,
    are of the program that was passed; `fit.program` is the last one. Several processes (`program.on`) and GPUs do not
    choose while they train: `ppl.tune` does before.

    Parameters
    ----------
    program : Program. With `program.on(comm)` (`docs/distributed.md`) all processes of the communicator train together,
        each on its part of every minibatch: all call `fit` with the same options and get the same `Fit`; the first one
        shows progress, validates, calls `callback` and writes the checkpoint.
    *data : arrays in the order of the model's arguments, or one dict of them by name.
    steps, epochs : exactly one of them: training steps, or passes over the rows. They count from `state` if it is
        given. With an existing checkpoint they count from where that run began, so that the same call finishes it.
    batch_size : rows per step; the short last batch of an epoch is kept. None: all rows in every step.
    optimizer : one of `ppl.optim`, a dict of parameter-name globs → optimizer or None (frozen), or any object
        with optax's `init` and `update`.
    seed : of initial parameters, noise and batches. A given `state` brings its own.
    state : where to start (default: `program.init`).
    hyper : values of `ppl.hyper` scalars, or schedules of the step.
    validation : arrays (evaluated by `program.value`, per row) or a callable state → float; after every epoch
        (a step on all rows is one) and after the last step. Without data rows, after the last step only.
    progress : show a progress bar, if stderr is a terminal.
    checkpoint : path, (path, n), or a policy, `ppl.Checkpoints`. The file is written atomically every n steps (every
        30 seconds without n) and at the end of the run. SIGTERM and SIGHUP, if no one handles them, end the process
        after it is written. If the file exists, its run is continued, to the same bits and the same history. The next
        start removes what a killed process was writing.
    callback : called as callback(steps taken, state, metrics) after every step (after those that its attribute `every`
        divides, if it has one); returning True ends the training. `ppl.TensorBoard` is one.
    batches : instead of data, an iterable of tuples of arrays, or a function that returns one for every pass. It is
        called with those of `epoch` (number of the pass), `start` (batches to leave out) and `seed` that it has as
        arguments. An iterator can be passed over once only; training ends with it.
    total_rows : rows of the whole data set, if the data are a part of it or a stream: sums are scaled to it.
    accumulate : minibatches whose gradients are added up before an update: the step on the union of their rows. Steps,
        history and schedules count updates; the last update of an epoch may have fewer minibatches.
    history : how much of the history to keep: None all of it in memory; a number of entries (means over equally many
        steps, which double when there are more); a path, or (path, number), for a CSV file of all entries beside
        10,000, or that number, in memory. `ppl.load_history` reads the file.
    prefetch : steps whose batches a thread reads ahead, of `batches` (default 0) or of memory-mapped arrays (16, or
        of large minibatches down to 2).
    tune : False or None: take all steps with the program that was passed. True: choose estimators and the number of
        particles by measuring, where the run begins and again while it goes on, and take each step with the best so
        far. What `ppl.compile` was given is where it begins; `sample(estimator=)` holds a node's. Choices of a run
        (`fit.choices`): take the same ones at the same steps, without measuring.

    Returns
    -------
    Fit
        (state, params, history), and its attributes `choices` and `program`. Ctrl-C ends the run and returns what it
        has reached. Ctrl-C and other signals with handlers in Python act between two steps, while a user's function
        runs, or while code compiles: within about a tenth of a second, or one step if that is longer. A second Ctrl-C
        while the checkpoint is written has no effect. Python delivers signals to the main thread only.

    Raises
    ------
    FitError
        The loss, the gradient or a parameter became NaN or infinite; a schedule failed or gave a number out of range;
        or the checkpoint could not be written at the end. The error has the last good state, and says where the value
        appeared first.
    ModelError
        `program` has not been compiled.
    EstimatorError
        With `tune=True`, a node has only biased candidates, and the program does not allow bias.
    DataError, OptionError
        Data do not fit the program; a state or checkpoint belongs to another program or optimizer, or is damaged;
        the checkpoint cannot be written; or options contradict each other.
    """
    options = dict(locals())
    require_program("ppl.fit", program)
    if program.processes > 1:
        trained: Fit = program.fit(data, options)
        return trained
    check_options(options)
    transform = as_transform(optimizer)
    checkpoint_file = None if checkpoint is None else CheckpointFile(checkpoint)
    seed = seed if state is None else state.seed
    source, arrays = _make_batches(program, data, batch_size, batches, total_rows, seed, accumulate, prefetch)
    compiled = source.compiled
    check_hyper(hyper, compiled.gradient.hypers)
    tuner = make_tuner(tune, program, arrays, hyper, getattr(transform, "trainable", None))
    member = None if tuner is None else tuner.resume
    begin = find_start(program, arrays, state, checkpoint_file, seed, member, compiled)
    begun = begin.state
    if checkpoint_file is not None:
        checkpoint_file.batches_of(begin.extent, source.extent)
        checkpoint_file.tuning = dict if tuner is None else tuner.arrays_to_store
    transform.check(begun.opt, begun._flat, begun._layouts[0])
    source.seed = begun.seed
    source.resume(begin.place)
    validate = make_validator(program, validation, hyper)
    run = make_run(program if tuner is None else tuner.current, transform, hyper, source, begun, begin.start)
    run.history.update(begin.history)
    run.record = bounded_history_of(history, begun.step, run.history, begin.record, checkpoint_file)
    run.limit(steps, epochs)
    run.checkpoint_file, run.callback, run.validate, run.tuner = checkpoint_file, callback, validate, tuner
    return run.train(progress)


def _make_batches(
    program: Any,
    data: tuple[Any, ...],
    batch_size: int | None,
    batches: Any,
    total_rows: Any,
    seed: int,
    accumulate: int,
    prefetch: int | None,
) -> tuple[ArrayBatches | StreamBatches, tuple[Any, ...]]:
    """Return where batches come from, and the arrays that the program is traced with."""
    if batches is None:
        arrays = order_arguments(program.argument_names, data)
        return ArrayBatches(program, arrays, batch_size, total_rows, accumulate, prefetch), arrays
    if data or batch_size is not None:
        raise OptionError("batches= brings the data: pass neither arrays nor batch_size= with it")
    source = StreamBatches(program, batches, total_rows, seed, accumulate, prefetch or 0)
    return source, source.first

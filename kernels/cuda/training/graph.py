"""Launches that are repeated: recorded once, and on a device captured as one CUDA graph."""

from ppl.kernels.cuda.compat import SIMULATED, cuda
from ppl.kernels.cuda.launch import configured, start


class Recorder:
    """Stands for `start` where launches are to be repeated: keeps (kernel, shape, arguments) of each in `launches`."""

    def __init__(self):
        self.launches = []

    def __call__(self, kernel, shape, *arguments):
        """Keep a launch."""
        self.launches.append((kernel, shape, arguments))

    def replay(self):
        """Launch all in their order."""
        for kernel, shape, arguments in self.launches:
            start(kernel, shape, *arguments)

    def wait(self):
        """Wait until all launches have come to their end."""
        cuda.synchronize()


class Graph:
    """The launches of a `Recorder` as a CUDA graph. They must have run once, so that their code is on the device.

    Capturing allocates, copies and waits for nothing: all arguments are vectors on the device, and numbers.
    """

    def __init__(self, recorder):
        from cuda.core import Device  # type: ignore[import-untyped]  # optional, for those who have a device

        device = Device(cuda.get_current_device().id)
        device.set_current()
        self.arguments = [arguments for _, _, arguments in recorder.launches]
        self.stream = device.create_stream()
        builder = self.stream.create_graph_builder().begin_building()
        stream = cuda.external_stream(int(builder.stream.handle))
        for kernel, shape, arguments in recorder.launches:
            configured(kernel, shape, stream)(*arguments)
        self.graph = builder.end_building().complete()

    def replay(self):
        """Launch the graph."""
        self.graph.launch(self.stream)

    def wait(self):
        """Wait until all launches have come to their end."""
        self.stream.sync()


def repeated(recorder):
    """What repeats recorded launches that have run once: a graph, and in the simulator the recorder itself."""
    return recorder if SIMULATED else Graph(recorder)

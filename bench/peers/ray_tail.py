"""Ray Serve for bench/serving_peers.py: python ray_tail.py TAIL CODEC PORT"""

import signal
import sys

import numpy as np
import ray
from ray import serve
from starlette.requests import Request
from starlette.responses import Response

from pysplitcodec import Codec
from pysplitcodec.runtime import open_model


# 5 requests at a time, the default, would never fill a batch
@serve.deployment(num_replicas=1, max_ongoing_requests=100)
class Tail:
    def __init__(self, tail: str, codec: str) -> None:
        self.tail = open_model(tail)
        self.codec = Codec.load(codec)

    @serve.batch(max_batch_size=8, batch_wait_timeout_s=0)
    async def scores(self, frames: list[bytes]) -> list[bytes]:
        features = np.stack([self.codec.decode(frame) for frame in frames])
        return [one.tobytes() for one in self.tail(features)[0]]

    async def __call__(self, request: Request) -> Response:
        return Response(await self.scores(await request.body()))


if __name__ == "__main__":
    tail, codec, port = sys.argv[1:]
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    serve.start(http_options={"host": "127.0.0.1", "port": int(port)})
    serve.run(Tail.bind(tail, codec))
    signal.sigwait([signal.SIGTERM, signal.SIGINT])
    serve.shutdown()
    ray.shutdown()

"""LitServe for bench/serving_peers.py: python litserve_tail.py TAIL CODEC PORT

Frames come as they are: the annotation has FastAPI hand the body over, which LitServe does not
document, and which spares it base64 in JSON.  Outputs go as they are too.
"""

import sys
from typing import Annotated

import litserve
import numpy as np
from fastapi import Body, Response

from pysplitcodec import Codec
from pysplitcodec.runtime import open_model


class TailAPI(litserve.LitAPI):
    def setup(self, device: str) -> None:
        self.tail = open_model(sys.argv[1])
        self.codec = Codec.load(sys.argv[2])

    def decode_request(self, request: Annotated[bytes, Body()]) -> np.ndarray:
        return self.codec.decode(request)

    def predict(self, features: np.ndarray) -> np.ndarray:
        return self.tail(features)[0]

    def encode_response(self, scores: np.ndarray) -> Response:
        return Response(scores.tobytes())


if __name__ == "__main__":
    # without a millisecond to gather a batch in, and with queues of pipes, it is slower
    api = TailAPI(max_batch_size=8, batch_timeout=0.001)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1, fast_queue=True)
    server.run(
        "127.0.0.1",
        int(sys.argv[3]),
        log_level="warning",
        generate_client_file=False,
        access_log=False,
    )

"""Our Ray Serve application for bench/serving_peers.py: python ray_replicas.py TAIL CODEC PORT N"""

import signal
import sys

import ray
from ray import serve

from pysplitcodec.serve.ray_app import Settings, deployment

if __name__ == "__main__":
    tail, codec, port, replicas = sys.argv[1:]
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    serve.start(http_options={"host": "127.0.0.1", "port": int(port)})
    serve.run(deployment(Settings(sources=tail, codecs=[codec]), num_replicas=int(replicas)))
    signal.sigwait([signal.SIGTERM, signal.SIGINT])
    serve.shutdown()
    ray.shutdown()

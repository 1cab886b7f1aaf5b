"""/health, /ready and /metrics: for what watches a server. Alive is not ready: a server that is loading or
draining is the one and not the other."""

from starlette.responses import JSONResponse, Response

from trimtab.serving.http.bodies import Health
from trimtab.serving.http.desk import Desk, Door

_METRICS_TYPE = "text/plain; version=1.0.0; charset=utf-8"


def doors(desk: Desk) -> tuple[Door, ...]:
    async def health() -> Health:
        """Alive. The one route that is asked for no key."""
        return Health(status="alive")

    async def ready() -> Response:
        """Whether requests are answered without waiting for what was named at the start to be loaded."""
        status = "draining" if desk.traffic.draining else "ready" if desk.ready() else "loading"
        return JSONResponse({"status": status}, 200 if status == "ready" else 503)

    def metrics() -> Response:
        """Counters, as Prometheus reads them."""
        return Response(desk.metrics.text(), media_type=_METRICS_TYPE)

    return (
        Door("GET", "/health", health, Health),
        Door("GET", "/ready", ready, Health),
        Door("GET", "/metrics", metrics, None),
    )

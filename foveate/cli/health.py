"""Whether a gRPC server is there and well, told quickly.

In: `host:port`. Out: yes or no; nobody there, somebody else there and a process that stands still are all no.
Knows nothing of what is served; `children.py` waits by it, `endpoints.py` chooses by it.
"""

from __future__ import annotations

import asyncio

import grpc
from grpc_health.v1 import health_pb2

from foveate import rpc

PATIENCE_S = 2.0


async def grpc_serves(address: str) -> bool:
    """Whether the gRPC server at `host:port` calls itself healthy; the port is tried first, since gRPC backs off."""
    host, _, port = address.rpartition(":")
    try:
        _, writer = await asyncio.wait_for(asyncio.open_connection(host, int(port)), PATIENCE_S)
    except (OSError, ValueError):
        return False
    writer.close()
    async with rpc.channel(address) as channel:
        check = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        try:
            answer = await check(health_pb2.HealthCheckRequest(service=""), timeout=PATIENCE_S)
        except grpc.RpcError:
            return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

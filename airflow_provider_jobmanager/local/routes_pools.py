"""Operations on pools and nodes: from HTTP to the rules and back, nothing decided."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_jobmanager.local import documents
from airflow_provider_jobmanager.local.exchange import Answer, Exchange, tag_headers

if TYPE_CHECKING:
    from airflow_provider_jobmanager.local.records import Doc, Node, Pool


def render_pool(x: Exchange, pool: Pool) -> Doc:
    """A pool as it is read."""
    nodes = list(x.engine.store.nodes(pool.key))
    dedicated = sum(node.dedicated for node in nodes)
    doc = {
        **pool.doc,
        "url": x.url("pools", pool.id),
        "currentDedicatedNodes": dedicated,
        "currentLowPriorityNodes": len(nodes) - dedicated,
    }
    return documents.in_order(doc, documents.POOL_ORDER)


def render_node(x: Exchange, pool: Pool, node: Node) -> Doc:
    """A node as it is read."""
    tasks = [task for task in x.engine.scheduling.on_node(node.id) if task.state == "running"]
    doc = {
        **node.doc,
        "url": x.url("pools", pool.id, "nodes", node.id),
        "totalTasksRun": node.run,
        "runningTasksCount": len(tasks),
        "runningTaskSlotsCount": sum(task.slots for task in tasks),
        "totalTasksSucceeded": node.succeeded,
    }
    return documents.in_order(doc, documents.NODE_ORDER)


def get_pool(x: Exchange) -> Answer:
    """Get a pool."""
    pool = x.engine.pools.get(x.names["pool"])
    x.check(pool.doc)
    return x.element(render_pool(x, pool), "pools")


def pool_exists(x: Exchange) -> Answer:
    """Ask whether a pool exists."""
    pool = x.engine.pools.get(x.names["pool"])
    x.check(pool.doc)
    return Answer(200, headers=tag_headers(pool.doc))


def list_pools(x: Exchange) -> Answer:
    """List the pools of the account."""
    return x.rows("pools", x.engine.store.pools.after, lambda pool: render_pool(x, pool), "pools")


def get_node(x: Exchange) -> Answer:
    """Get a node."""
    pool = x.engine.pools.get(x.names["pool"])
    node = x.engine.pools.node(pool, x.names["node"])
    return x.element(render_node(x, pool, node), "nodes")


def list_nodes(x: Exchange) -> Answer:
    """List the nodes of a pool."""
    pool = x.engine.pools.get(x.names["pool"])
    shelf = x.engine.store.nodes(pool.key)
    return x.rows("nodes", shelf.after, lambda node: render_node(x, pool, node), "nodes")

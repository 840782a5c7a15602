"""Operations on pools and nodes: from HTTP to the rules and back, nothing decided."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_jobmanager.local import documents, orders, usage, versions
from airflow_provider_jobmanager.local.exchange import Answer, Exchange, tag_headers

if TYPE_CHECKING:
    from airflow_provider_jobmanager.local.records import Node, Pool

Doc = dict[str, Any]

NODE_STATES = (
    "creating", "idle", "offline", "preempted", "rebooting", "reimaging", "running", "starting", "startTaskFailed",
    "leavingPool", "unknown", "unusable", "waitingForStartTask", "deallocated", "deallocating", "upgradingOS",
)  # fmt: skip
IMAGES: tuple[Doc, ...] = tuple(
    {
        "nodeAgentSKUId": f"batch.node.{name}",
        "imageReference": {"publisher": publisher, "offer": offer, "sku": sku, "version": "latest"},
        "osType": "linux",
        "verificationType": "verified",
    }
    for name, publisher, offer, sku in (
        ("debian 12", "debian", "debian-12", "12"),
        ("ubuntu 22.04", "canonical", "0001-com-ubuntu-server-jammy", "22_04-lts"),
        ("ubuntu 24.04", "canonical", "ubuntu-24_04-lts", "server"),
    )
)


def render_pool(x: Exchange, pool: Pool) -> Doc:
    """A pool as it is read."""
    nodes = list(x.store.nodes(pool.key))
    dedicated = sum(node.dedicated for node in nodes)
    url = x.url("pools", pool.id)
    doc = {
        **pool.doc,
        "url": url,
        **x.stats(url, lambda: usage.of_pool(pool, nodes, x.now)),
        "currentDedicatedNodes": dedicated,
        "currentLowPriorityNodes": len(nodes) - dedicated,
    }
    return documents.hide_secrets(documents.in_order(versions.pool(doc, x.version), orders.POOL_ORDER))


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
    return documents.hide_secrets(documents.in_order(versions.node(doc, x.version), orders.NODE_ORDER))


def create_pool(x: Exchange) -> Answer:
    """Create a pool."""
    pool = x.engine.pools.create(x.body())
    url = x.url("pools", pool.id)
    return Answer(201, headers={**tag_headers(pool.doc), "Location": url, "DataServiceId": url})


def update_pool(x: Exchange) -> Answer:
    """Change some properties of a pool."""
    pool = _conditional(x)
    x.engine.pools.patch(pool, x.body())
    return _changed(x, pool, 200)


def replace_pool_properties(x: Exchange) -> Answer:
    """Replace the properties of a pool that can be replaced."""
    pool = _conditional(x)
    x.engine.pools.replace_properties(pool, x.body())
    return _changed(x, pool, 204, "updateproperties")


def delete_pool(x: Exchange) -> Answer:
    """Delete a pool."""
    pool = _conditional(x)
    x.engine.pools.delete(pool)
    return Answer(202)


def resize_pool(x: Exchange) -> Answer:
    """Change the number of nodes of a pool."""
    pool = _conditional(x)
    x.engine.pools.resize(pool, x.body())
    return _changed(x, pool, 202, "resize")


def stop_pool_resize(x: Exchange) -> Answer:
    """Stop the resize of a pool."""
    pool = _conditional(x)
    x.engine.pools.stop_resize(pool)
    return _changed(x, pool, 202, "stopresize")


def enable_pool_auto_scale(x: Exchange) -> Answer:
    """Scale a pool by a formula."""
    pool = _conditional(x)
    x.engine.scaling.enable(pool, x.json)
    return _changed(x, pool, 200, "enableautoscale")


def disable_pool_auto_scale(x: Exchange) -> Answer:
    """Scale a pool by a formula no longer."""
    pool = _conditional(x)
    x.engine.scaling.disable(pool)
    return _changed(x, pool, 200, "disableautoscale")


def evaluate_pool_auto_scale(x: Exchange) -> Answer:
    """Evaluate a formula, without consequences."""
    pool = x.engine.pools.changeable(x.names["pool"])
    run = x.engine.scaling.evaluate(pool, x.body())
    fragment = "Microsoft.Azure.Batch.Protocol.Entities.Container.AutoScaleRun"
    headers = {"DataServiceId": x.url("pools", pool.id, "evaluateautoscale")}
    return Answer(200, {"odata.metadata": x.metadata(fragment), **run}, headers)


def remove_nodes(x: Exchange) -> Answer:
    """Remove nodes from a pool."""
    pool = _conditional(x)
    x.engine.pools.remove_nodes(pool, x.body())
    return _changed(x, pool, 202, "removenodes")


def list_pool_node_counts(x: Exchange) -> Answer:
    """Count the nodes of each pool by state."""
    rows = (
        {
            "poolId": pool.id,
            **{kind: _tally(x, pool, dedicated=kind == "dedicated") for kind in ("dedicated", "lowPriority")},
        }
        for pool in x.store.pools
    )
    return x.plain_rows("node counts", rows, "poolId", "poolnodecounts")


def list_supported_images(x: Exchange) -> Answer:
    """List the images that a pool could name; a local node is this machine whatever its image."""
    return x.plain_rows("supported images", IMAGES, "nodeAgentSKUId", "supportedimages")


def reboot_node(x: Exchange) -> Answer:
    """Reboot a node."""
    pool, node = _node(x)
    x.engine.nodes.reboot(node, x.json)
    return _node_changed(x, pool, node, 202, "reboot")


def reimage_node(x: Exchange) -> Answer:
    """Reimage a node."""
    pool, node = _node(x)
    x.engine.nodes.reboot(node, x.json, reimage=True)
    return _node_changed(x, pool, node, 202, "reimage")


def disable_node_scheduling(x: Exchange) -> Answer:
    """Give a node no more tasks."""
    pool, node = _node(x)
    x.engine.nodes.disable_scheduling(node, x.json)
    return _node_changed(x, pool, node, 200, "disablescheduling")


def enable_node_scheduling(x: Exchange) -> Answer:
    """Give a node tasks again."""
    pool, node = _node(x)
    x.engine.nodes.enable_scheduling(node)
    return _node_changed(x, pool, node, 200, "enablescheduling")


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
    return x.rows("pools", x.store.pools.after, lambda pool: render_pool(x, pool), "pools")


def get_node(x: Exchange) -> Answer:
    """Get a node."""
    pool = x.engine.pools.get(x.names["pool"])
    node = x.engine.nodes.get(pool, x.names["node"])
    return x.element(render_node(x, pool, node), "nodes")


def list_nodes(x: Exchange) -> Answer:
    """List the nodes of a pool."""
    pool = x.engine.pools.get(x.names["pool"])
    shelf = x.store.nodes(pool.key)
    return x.rows("nodes", shelf.after, lambda node: render_node(x, pool, node), "nodes")


def _conditional(x: Exchange) -> Pool:
    pool = x.engine.pools.changeable(x.names["pool"])
    x.check(pool.doc)
    return pool


def _changed(x: Exchange, pool: Pool, status: int, *action: str) -> Answer:
    return Answer(status, headers={**tag_headers(pool.doc), "DataServiceId": x.url("pools", pool.id, *action)})


def _node(x: Exchange) -> tuple[Pool, Node]:
    pool = x.engine.pools.changeable(x.names["pool"])
    return pool, x.engine.nodes.get(pool, x.names["node"])


def _node_changed(x: Exchange, pool: Pool, node: Node, status: int, action: str) -> Answer:
    return Answer(status, headers={"DataServiceId": x.url("pools", pool.id, "nodes", node.id, action)})


def _tally(x: Exchange, pool: Pool, *, dedicated: bool) -> Doc:
    found = [node.state for node in x.store.nodes(pool.key) if node.dedicated == dedicated]
    return {name: found.count(name.lower()) for name in NODE_STATES} | {"total": len(found)}

// The JavaScript client against the local service: jobs, tasks, files, pools. Prints one line of JSON, or fails.
import assert from "node:assert/strict";
import { createRequire } from "node:module";

const require = createRequire(`${process.env.NODE_PACKAGES}/`);
const { BatchServiceClient, BatchSharedKeyCredentials } = require("@azure/batch");
const { BATCH_ACCOUNT, BATCH_KEY, BATCH_URL } = process.env;
const client = new BatchServiceClient(new BatchSharedKeyCredentials(BATCH_ACCOUNT, BATCH_KEY), BATCH_URL, {
  noRetryPolicy: true,
});

async function until(look, good) {
  const end = Date.now() + 60_000;
  for (;;) {
    const found = await look();
    if (good(found)) return found;
    assert.ok(Date.now() < end, JSON.stringify(found));
    await new Promise((wake) => setTimeout(wake, 20));
  }
}

async function all(list, next, ...args) {
  const rows = [];
  let page = await list(...args);
  rows.push(...page);
  while (page.odatanextLink) {
    page = await next(page.odatanextLink);
    rows.push(...page);
  }
  return rows;
}

async function text(answer) {
  const parts = [];
  for await (const part of answer.readableStreamBody) parts.push(part);
  return Buffer.concat(parts).toString();
}

const refused = (code, status) => (error) => error.code === code && error.statusCode === status;

async function jobs() {
  const manager = { id: "jm", commandLine: "/bin/true" };
  await client.job.add({ id: "managed", poolInfo: { poolId: "local" }, jobManagerTask: manager });
  const ended = await until(() => client.job.get("managed"), (job) => job.state === "completed");
  assert.equal(ended.executionInfo.terminateReason, "JMComplete");
  await client.job.add({ id: "plain", poolInfo: { poolId: "nowhere" } });
  await assert.rejects(client.job.add({ id: "plain", poolInfo: { poolId: "x" } }), refused("JobExists", 409));
  await client.job.patch("plain", { priority: 7 });
  assert.equal((await client.job.get("plain")).priority, 7);
  await client.job.update("plain", { poolInfo: { poolId: "nowhere" }, priority: 2 });
  await client.job.disable("plain", "requeue");
  await until(() => client.job.get("plain"), (job) => job.state === "disabled");
  await client.job.enable("plain");
  await client.job.terminate("plain", { terminateReason: "enough" });
  const done = await until(() => client.job.get("plain"), (job) => job.state === "completed");
  assert.equal(done.executionInfo.terminateReason, "enough");
  const list = (options) => client.job.list(options);
  const rows = await all(list, (link) => client.job.listNext(link), { jobListOptions: { maxResults: 1, select: "id" } });
  assert.deepEqual(rows.map((row) => row.id), ["managed", "plain"]);
  const filter = "state eq 'completed' and startswith(id,'pl')";
  assert.equal((await client.job.list({ jobListOptions: { filter } })).length, 1);
  await client.job.deleteMethod("plain");
}

async function tasks() {
  await client.job.add({ id: "job", poolInfo: { poolId: "local" } });
  await client.task.add("job", { id: "one", commandLine: "/bin/sh -c 'printf hello'" });
  const added = await client.task.addCollection("job", [
    { id: "two", commandLine: "/bin/false" },
    { id: "one", commandLine: "x" },
  ]);
  assert.deepEqual(Object.fromEntries(added.value.map((row) => [row.taskId, row.status.toLowerCase()])), {
    two: "success",
    one: "clienterror",
  });
  const one = await until(() => client.task.get("job", "one"), (task) => task.state === "completed");
  assert.equal(one.executionInfo.exitCode, 0);
  const two = await until(() => client.task.get("job", "two"), (task) => task.state === "completed");
  assert.equal(two.executionInfo.failureInfo.code, "FailureExitCode");
  assert.equal((await client.task.list("job")).length, 2);
  assert.ok((await client.job.getTaskCounts("job")).taskCounts);
  assert.deepEqual((await client.task.listSubtasks("job", "one")).value, []);
  await client.task.reactivate("job", "two");
  await until(() => client.task.get("job", "two"), (task) => task.state === "completed");
  await client.task.add("job", { id: "long", commandLine: "/bin/sleep 600" });
  await client.task.update("job", "long", { constraints: { maxTaskRetryCount: 2 } });
  await client.task.terminate("job", "long");
  await until(() => client.task.get("job", "long"), (task) => task.state === "completed");
  await client.task.deleteMethod("job", "long");
  await assert.rejects(client.task.get("job", "long"), refused("TaskNotFound", 404));
  return one;
}

async function files(one) {
  const names = (await client.file.listFromTask("job", "one")).map((row) => row.name).sort();
  assert.deepEqual(names, ["stderr.txt", "stdout.txt", "wd"]);
  assert.equal(await text(await client.file.getFromTask("job", "one", "stdout.txt")), "hello");
  const range = { fileGetFromTaskOptions: { ocpRange: "bytes=1-2" } };
  assert.equal(await text(await client.file.getFromTask("job", "one", "stdout.txt", range)), "el");
  const properties = await client.file.getPropertiesFromTask("job", "one", "stdout.txt");
  assert.equal(properties.contentLength, 5);
  const { nodeId, taskRootDirectory } = one.nodeInfo;
  const path = `${taskRootDirectory}/stdout.txt`;
  assert.equal(await text(await client.file.getFromComputeNode("local", nodeId, path)), "hello");
  await client.file.deleteFromTask("job", "one", "stdout.txt");
  await assert.rejects(client.file.getFromTask("job", "one", "stdout.txt"), (error) => error.statusCode === 404);
}

async function pools() {
  const imageReference = { publisher: "canonical", offer: "ubuntu-24_04-lts", sku: "server", version: "latest" };
  const virtualMachineConfiguration = { imageReference, nodeAgentSKUId: "batch.node.ubuntu 24.04" };
  await client.pool.add({ id: "p", vmSize: "Standard_D2s_v3", targetDedicatedNodes: 1, virtualMachineConfiguration });
  const steady = await until(() => client.pool.get("p"), (pool) => pool.currentDedicatedNodes === 1);
  assert.equal(steady.vmSize, "standard_d2s_v3");
  assert.equal((await client.pool.exists("p")).body, true);
  assert.deepEqual((await client.pool.list()).map((pool) => pool.id), ["local", "p"]);
  await client.pool.patch("p", { metadata: [{ name: "a", value: "b" }] });
  await client.pool.resize("p", { targetDedicatedNodes: 2 });
  await until(() => client.pool.get("p"), (pool) => pool.currentDedicatedNodes === 2);
  assert.equal((await client.computeNode.list("p")).length, 2);
  assert.ok((await client.account.listPoolNodeCounts()).length >= 1);
  assert.ok((await client.account.listSupportedImages()).length >= 1);
  await client.pool.enableAutoScale("p", { autoScaleFormula: "$TargetDedicatedNodes = 1;" });
  await until(() => client.pool.get("p"), (pool) => pool.currentDedicatedNodes === 1);
  const run = await client.pool.evaluateAutoScale("p", "$TargetDedicatedNodes = 4;");
  assert.match(run.results, /^\$TargetDedicatedNodes=4;/);
  await client.pool.disableAutoScale("p");
  await client.pool.deleteMethod("p");
}

async function schedules() {
  const jobSpecification = { poolInfo: { poolId: "nowhere" } };
  await client.jobSchedule.add({ id: "hourly", schedule: { recurrenceInterval: "PT1H" }, jobSpecification });
  const look = () => client.jobSchedule.get("hourly");
  const found = await until(look, (schedule) => schedule.executionInfo.recentJob);
  assert.equal(found.executionInfo.recentJob.id, "hourly:job-1");
  assert.equal((await client.job.listFromJobSchedule("hourly")).length, 1);
  await client.jobSchedule.disable("hourly");
  await client.jobSchedule.enable("hourly");
  await client.jobSchedule.terminate("hourly");
  await client.jobSchedule.deleteMethod("hourly");
  assert.deepEqual([...(await client.application.list())], []);
}

await jobs();
await files(await tasks());
await pools();
await schedules();
const wrong = new BatchSharedKeyCredentials(BATCH_ACCOUNT, "d3Jvbmc=");
const stranger = new BatchServiceClient(wrong, BATCH_URL, { noRetryPolicy: true });
await assert.rejects(stranger.job.get("job"), refused("AuthenticationFailed", 403));
console.log(JSON.stringify({ done: true }));

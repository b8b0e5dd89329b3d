/** The tables that a person reads. Everything in them, and more, is in the JSON. */
import { wireCeilingOf } from "./ceilings.mjs";
import { machineLine } from "./machine.mjs";

/** One table for each family of scenarios, with the machine and the terms beside each. */
export function reportText(results) {
  const { machine, options, cells, ceilings, skipped } = results;
  const families = [...new Set(cells.map(({ scenario }) => scenario.family))];
  const parts = families.map((family) => {
    const rows = cells.filter(({ scenario }) => scenario.family === family);
    return familyText(rows, results);
  });
  if (ceilings.length > 0) parts.unshift(ceilingsText(ceilings, machine, options));
  if (skipped.length > 0)
    parts.push(`skipped\n${skipped.map(({ name, reason }) => `  ${name}: ${reason}`).join("\n")}`);
  parts.push(...results.profiles);
  return `\n${parts.join("\n\n")}\n`;
}

function ceilingsText(ceilings, machine, options) {
  const rows = ceilings.map(({ title, bytes, rate }) => [
    title,
    sizeText(bytes),
    number(rate.median),
    range(rate),
  ]);
  const head = ["limit", "bodies", "messages/s", "min – max"];
  return `limits\n${terms(ceilings, machine, options)}\n${tableText(head, rows)}`;
}

function familyText(cells, { machine, options, ceilings }) {
  const { title, unit } = cells[0].scenario;
  const rows = byScenario(cells).map((cell) => rowOf(cell, ceilings));
  const head = [
    ...["", "system", "fsync", unit, "min – max", "LevelDB", "ws", "ok p50/p99 ms"],
    ...["handled p50/p99 ms", "CPU µs/op: server+prod.+cons.", "server MB", "note"],
  ];
  return `${title}\n${terms(cells, machine, options)}\n${tableText(head, rows)}`;
}

/** Rows of one scenario together, however the runs went. */
const byScenario = (cells) =>
  [...new Set(cells.map(({ scenario }) => scenario.name))].flatMap((name) =>
    cells.filter(({ scenario }) => scenario.name === name),
  );

/** What the figures below it were measured on and how. */
function terms(entries, machine, { runs, seconds, warmUpSeconds }) {
  const syncs = entries.flatMap((entry) => entry.runs.map(({ syncMs }) => syncMs));
  const times = `median of ${runs} run(s) of ${seconds} s after ${warmUpSeconds} s of warm-up`;
  return `${machineLine(machine, syncs)}
${times}`;
}

function rowOf({ scenario, system, rate, runs }, ceilings) {
  const start = [shapeText(scenario), titleOf(system), system.durability];
  if (rate === null) return [...start, "failed", "", "", "", "", "", "", "", noteOf(runs)];
  const one = typicalRun(runs, rate);
  return [
    ...start,
    number(rate.median),
    range(rate),
    share(one, scenario, ceilings, "level"),
    share(one, scenario, ceilings, wireCeilingOf(scenario)),
    isBacklog(scenario) ? "" : quantiles(one.acknowledged),
    isBacklog(scenario) ? "" : quantiles(one.handled),
    cpuText(one.cpuMicrosecondsPerOperation),
    one.serverRssMb.toFixed(0),
    noteOf(runs),
  ];
}

const titleOf = ({ title, version }) => (version === "" ? title : `${title} ${version}`);

function shapeText({ shape, bytes, inFlight, ratePerSecond, connections, producers, name }) {
  if (shape !== "") return shape;
  const lanes = inFlight * connections * producers;
  const load = ratePerSecond === null ? `${number(lanes)} in flight` : `${number(ratePerSecond)}/s`;
  return `${name}: ${sizeText(bytes)}, ${load}`;
}

/** The run nearest to the median: its other figures belong together. */
function typicalRun(runs, { median }) {
  const good = runs.filter(({ rate }) => rate !== undefined);
  return good.sort((a, b) => Math.abs(a.rate - median) - Math.abs(b.rate - median))[0];
}

/** Its messages have waited for the consumer to be started. */
const isBacklog = ({ backlogBytes }) => backlogBytes !== null;

/** Messages that passed, as a share of those that the limit alone could pass. */
function share(run, { messages, bytes, ratePerSecond }, ceilings, name) {
  const limit = ceilings.find((ceiling) => ceiling.name === name && ceiling.bytes === bytes);
  // At a fixed rate it would say nothing.
  if (limit === undefined || ratePerSecond !== null) return "–";
  const messageRate = (run.operations * messages) / run.seconds;
  return `${Math.round((messageRate / limit.rate.median) * 100)} %`;
}

const quantiles = ({ p50Ms, p99Ms }) => (p50Ms === null ? "–" : `${ms(p50Ms)} / ${ms(p99Ms)}`);

const ms = (value) => (value < 10 ? value.toFixed(2) : value.toFixed(0));

function cpuText({ server, producers, consumers, relay }) {
  const parts = [server, producers, consumers].map((value) => value.toFixed(1)).join(" + ");
  return relay > 0 ? `${parts} (relay ${relay.toFixed(1)})` : parts;
}

/** Below it are the runner itself and the kernel's own threads. */
const OTHER_CORES_SHOWN = 0.3;

/** What a reader must know before believing the row. */
function noteOf(runs) {
  const errors = runs.filter(({ error }) => error !== undefined);
  const notes = [];
  if (errors.length > 0) {
    const [{ error }] = errors;
    notes.push(`${errors.length} of ${runs.length} runs failed: ${error.split("\n")[0]}`);
  }
  const refusals = runs.flatMap(({ failures = {} }) => Object.entries(failures));
  for (const [code, count] of refusals) notes.push(`${count} × ${code}`);
  const redelivered = runs.reduce((total, run) => total + (run.redelivered ?? 0), 0);
  const late = runs.find(({ lateness }) => lateness?.p99Ms)?.lateness;
  if (late !== undefined) notes.push(`of it the load's own delay ${quantiles(late)}`);
  const disturbed = Math.max(...runs.map(({ otherCores = 0 }) => otherCores));
  if (disturbed > OTHER_CORES_SHOWN)
    notes.push(`other programs took up to ${disturbed.toFixed(1)} cores`);
  if (redelivered > 0) notes.push(`${redelivered} redelivered`);
  return notes.join("; ");
}

function tableText(head, rows) {
  const isKept = head.map((_, column) =>
    rows.some((row) => row[column] !== "" && row[column] !== "–"),
  );
  const lines = [head, ...rows].map((row) => row.filter((_, column) => isKept[column]));
  const widths = lines[0].map((_, column) => Math.max(...lines.map((row) => row[column].length)));
  const text = lines.map(
    (row) => `| ${row.map((cell, at) => cell.padEnd(widths[at])).join(" | ")} |`,
  );
  text.splice(1, 0, `|${widths.map((width) => "-".repeat(width + 2)).join("|")}|`);
  return text.join("\n");
}

const range = ({ min, max }) => `${number(min)} – ${number(max)}`;

const number = (value) => Math.round(value).toLocaleString("en");

function sizeText(bytes) {
  return bytes >= 1024 && bytes % 1024 === 0 ? `${bytes / 1024} KiB` : `${bytes} B`;
}

/**
 * Where each microsecond goes: V8's profiles of EscrowMQ's processes, added up by layer and divided by
 * the operations of the measured run.
 *
 * Invariant F1: only samples of the measured run count. A profile's times and those of clock.mjs are of
 * the same monotonic clock, so the warm-up and the end are cut off exactly.
 */
import { mkdirSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

const SAMPLE_MICROSECONDS = 250;
const FUNCTIONS_SHOWN = 15;

/** First match wins; the path is that of the function's own file, or for a tool that of its caller. */
const LAYERS = [
  ["core: decides", /\/broker\/dist\/core\//],
  ["store: blocks, LevelDB", /\/broker\/dist\/store\/|\/(abstract|classic)-level\/|\/level\//],
  ["server: sessions, loop", /\/broker\/dist\/server\//],
  ["SDK link: calls, batches", /\/protocol\/dist\/client\//],
  ["codec: frames, messages", /\/protocol\/dist\/|\/node_modules\/msgpackr\//],
  ["SDK", /\/(producer|consumer)-sdk\/dist\//],
  [
    "socket: ws, net, streams",
    /\/node_modules\/ws\/|^node:(net|stream|internal\/stream|_http|events)/,
  ],
  ["the bench itself", /\/bench\//],
  ["Node: promises, timers", /^node:/],
];
/** Tools of Node that work for whoever called them. */
const TOOLS =
  /^node:(zlib|buffer|crypto|util|internal\/(buffer|crypto|util|perf|validators|encoding))/;
const COLLECTOR = "garbage collector, this thread's part";
const NATIVE = "native code outside of JavaScript";
const OTHER = "other libraries";
/** V8's own words for what is no function. */
const SPECIAL = { "(garbage collector)": COLLECTOR, "(program)": NATIVE };
const ORDER = [...LAYERS.map(([layer]) => layer), OTHER, NATIVE, COLLECTOR];

/** What a process of this role is started with to leave its profile below `folder`. */
export function profileFlags(folder, role) {
  const directory = join(folder, role);
  mkdirSync(directory, { recursive: true });
  return [
    "--cpu-prof",
    `--cpu-prof-dir=${directory}`,
    `--cpu-prof-interval=${SAMPLE_MICROSECONDS}`,
  ];
}

/** Tables for one measurement, from the profiles that its processes have left. */
export function profileText(folder, scenario, figures) {
  const { operations, startMs, endMs, cpuMicrosecondsPerOperation: cpu } = figures;
  const used = { broker: cpu.server, producer: cpu.producers, consumer: cpu.consumers };
  const roles = Object.keys(used).filter((role) => profilesIn(folder, role).length > 0);
  const sums = roles.map((role) => summed(profilesIn(folder, role), startMs * 1000, endMs * 1000));
  const perOperation = (microseconds) => ((microseconds ?? 0) / operations).toFixed(2);
  const busy = ({ layers }) => [...layers.values()].reduce((total, value) => total + value, 0);
  const rows = [
    ...ORDER.map((layer) => [layer, ...sums.map(({ layers }) => perOperation(layers.get(layer)))]),
    ["main thread, all of it", ...sums.map((sum) => perOperation(busy(sum)))],
    ["all threads of the process", ...roles.map((role) => used[role].toFixed(2))],
  ];
  const title = `${scenario.name}: microseconds of CPU per operation, ${operations} operations, under the profiler`;
  const functions = roles.map((role, at) => functionsText(role, sums[at], perOperation));
  return [title, columns(["", ...roles], rows), ...functions].join("\n\n");
}

function profilesIn(folder, role) {
  const directory = join(folder, role);
  try {
    return readdirSync(directory).map((name) =>
      JSON.parse(readFileSync(join(directory, name), "utf8")),
    );
  } catch (error) {
    // A scenario without consumers has none of theirs.
    if (error.code === "ENOENT") return [];
    throw error;
  }
}

/** Microseconds of self time by layer and by function. */
function summed(profiles, fromMicroseconds, untilMicroseconds) {
  const layers = new Map();
  const functions = new Map();
  const add = (map, key, value) => map.set(key, (map.get(key) ?? 0) + value);
  for (const profile of profiles) {
    const places = placesOf(profile);
    let at = profile.startTime;
    profile.samples.forEach((sample, index) => {
      const spent = profile.timeDeltas[index];
      at += spent;
      const place = places.get(sample);
      // F1
      if (place === null || at < fromMicroseconds || at > untilMicroseconds) return;
      add(layers, place.layer, spent);
      add(functions, place.name, spent);
    });
  }
  return { layers, functions };
}

/** Each node's layer and name; null for the idle one. */
function placesOf({ nodes }) {
  const parents = new Map();
  for (const { id, children = [] } of nodes) for (const child of children) parents.set(child, id);
  const byId = new Map(nodes.map((node) => [node.id, node]));
  const urlOf = (id) => {
    const url = byId.get(id)?.callFrame.url;
    if (url === undefined) return "";
    // A builtin, which has none, works for whoever called it, too.
    return url === "" || TOOLS.test(url) ? urlOf(parents.get(id)) || url : url;
  };
  return new Map(nodes.map(({ id, callFrame }) => [id, placeOf(callFrame, urlOf(id))]));
}

function placeOf({ functionName, lineNumber, url }, nearestUrl) {
  if (functionName === "(idle)" || functionName === "(root)") return null;
  const special = SPECIAL[functionName];
  if (special !== undefined) return { layer: special, name: functionName };
  const file = nearestUrl.split("/").slice(-2).join("/");
  const line = url === nearestUrl ? `:${lineNumber + 1}` : "";
  return { layer: layerOf(nearestUrl), name: `${functionName || "(anonymous)"} ${file}${line}` };
}

function layerOf(url) {
  if (url === "") return NATIVE;
  return LAYERS.find(([, pattern]) => pattern.test(url))?.[0] ?? OTHER;
}

function functionsText(role, { functions }, perOperation) {
  const top = [...functions].sort(([, a], [, b]) => b - a).slice(0, FUNCTIONS_SHOWN);
  const rows = top.map(([name, value]) => [name, perOperation(value)]);
  return columns([`${role}: functions, self time`, "µs"], rows);
}

function columns(head, rows) {
  const widths = head.map((_, at) => Math.max(...[head, ...rows].map((row) => row[at].length)));
  const line = (row) =>
    row
      .map((cell, at) => (at === 0 ? cell.padEnd(widths[at]) : cell.padStart(widths[at])))
      .join("  ");
  return [head, ...rows].map(line).join("\n");
}

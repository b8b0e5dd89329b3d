/**
 * What is measured, as data. A scenario is one shape of load; a family of them makes one table.
 *
 * Fields of a scenario, with what they are when not given:
 * - operation: what one unit of the producers' work is: "send", "transact" (prepare, commit),
 *   "transact-postgres" (a local PostgreSQL transaction in between), "check-back" (prepare, no verdict).
 * - bytes (1024): size of a body. messages (1): how many of them one transaction holds.
 * - producers (1): producer processes. connections (1): of each of them. inFlight (1000): operations
 *   under way on each connection, closed loop.
 * - ratePerSecond (none): open loop instead, paced, latency counted from the intended moment.
 * - topics (1), groups (0): consumer groups; each gets every message; none means that nobody consumes.
 * - backlogBytes (none): that much is written first; then the consumers alone are measured.
 * - systems ("all"): "all" or the names of the systems that can do it.
 * - suites: which suites it belongs to. Each is in "full", and in "peers" if a peer can do it.
 */
import { SYSTEMS } from "./systems.mjs";

const DEFAULTS = {
  operation: "send",
  bytes: 1024,
  messages: 1,
  producers: 1,
  connections: 1,
  inFlight: 1000,
  ratePerSecond: null,
  topics: 1,
  groups: 1,
  backlogBytes: null,
  systems: "all",
  suites: [],
};

const OURS = ["escrowmq"];
/** PostgreSQL allows 100 connections, and what follows says more about the relay than about the rest. */
const BROKERS = SYSTEMS.map(({ name }) => name).filter((name) => name !== "outbox");
const TRANSACTIONAL = ["escrowmq", "outbox"];
const HEADLINE = ["quick", "headline"];
/** Large bodies would otherwise be 256 MB under way. */
const BYTES_IN_FLIGHT_MAX = 16 * 1_048_576;

const counted = (count, noun) => `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;

const FAMILIES = [
  {
    family: "send",
    title: "durable send: ok means that the message is stored, nobody consumes",
    unit: "messages/s",
    scenarios: [{ name: "send", groups: 0, suites: HEADLINE }],
  },
  {
    family: "deliver",
    title: "send + deliver + ack",
    unit: "messages/s",
    scenarios: [{ name: "deliver", suites: HEADLINE }],
  },
  {
    family: "transact",
    title: "full transaction: prepare, commit, deliver, ack (outbox: commit, relay, deliver, ack)",
    unit: "transactions/s",
    scenarios: [
      {
        name: "transact",
        shape: "1 message",
        operation: "transact",
        systems: TRANSACTIONAL,
        suites: HEADLINE,
      },
      {
        name: "transact-5",
        shape: "5 messages",
        operation: "transact",
        messages: 5,
        systems: TRANSACTIONAL,
        suites: ["headline"],
      },
    ],
  },
  {
    family: "transact-postgres",
    title: "full transaction around a local PostgreSQL transaction (BEGIN, one row, COMMIT)",
    unit: "transactions/s",
    scenarios: [
      {
        name: "transact-postgres",
        operation: "transact-postgres",
        inFlight: 100,
        systems: TRANSACTIONAL,
        suites: ["headline"],
      },
    ],
  },
  {
    family: "check-back",
    title: "transaction settled by check-back: prepared, no verdict, asked, delivered, acked",
    unit: "transactions/s",
    scenarios: [
      { name: "check-back", operation: "check-back", systems: OURS, suites: ["headline"] },
    ],
  },
  {
    family: "latency",
    title: "latency at a fixed rate, from the intended moment of sending to the handler",
    unit: "messages/s",
    scenarios: [
      { name: "latency", ratePerSecond: 2000, suites: HEADLINE },
      {
        name: "latency-transact",
        operation: "transact",
        ratePerSecond: 1000,
        systems: TRANSACTIONAL,
      },
    ],
  },
  {
    family: "connections",
    title: "many connections, each with one unbatched durable send under way",
    unit: "messages/s",
    scenarios: [
      { connections: 1, producers: 1, suites: [] },
      { connections: 16, producers: 1, suites: [] },
      { connections: 128, producers: 2, suites: ["headline"] },
      { connections: 250, producers: 4, suites: [] },
    ].map((scenario) => ({
      ...scenario,
      name: `connections-${scenario.connections * scenario.producers}`,
      shape: counted(scenario.connections * scenario.producers, "connection"),
      inFlight: 1,
      groups: 0,
      systems: BROKERS,
    })),
  },
  {
    family: "size",
    title: "send + deliver + ack by size of the body",
    unit: "messages/s",
    scenarios: [
      { bytes: 100, shape: "100 B" },
      { bytes: 1024, shape: "1 KiB" },
      { bytes: 16_384, shape: "16 KiB" },
      { bytes: 262_144, shape: "256 KiB" },
    ].map((scenario) => ({
      ...scenario,
      name: `size-${scenario.bytes}`,
      inFlight: Math.min(1000, BYTES_IN_FLIGHT_MAX / scenario.bytes),
      systems: BROKERS,
    })),
  },
  {
    family: "topics",
    title: "send + deliver + ack, spread over topics",
    unit: "messages/s",
    scenarios: [1, 10, 1000].map((topics) => ({
      name: `topics-${topics}`,
      shape: counted(topics, "topic"),
      topics,
      systems: OURS,
    })),
  },
  {
    family: "groups",
    title: "fan-out: each group gets every message",
    unit: "deliveries/s",
    scenarios: [1, 4, 16].map((groups) => ({
      name: `groups-${groups}`,
      shape: counted(groups, "group"),
      groups,
      systems: OURS,
    })),
  },
  {
    family: "backlog",
    title: "cold backlog: 300 MB, more than the broker's cache, written before the consumer starts",
    unit: "messages/s",
    scenarios: [{ name: "backlog", backlogBytes: 300_000_000, systems: BROKERS }],
  },
];

/** All scenarios, complete. */
export const SCENARIOS = FAMILIES.flatMap(({ scenarios, ...family }) =>
  scenarios.map((scenario) => ({ ...DEFAULTS, shape: "", ...scenario, ...family })),
);

export const SUITES = ["quick", "headline", "peers", "full"];

/** Those of a suite, or those whose name or family is among `modes`. */
export function chosenScenarios(suite, modes) {
  if (modes.length > 0)
    return SCENARIOS.filter(({ name, family }) => modes.includes(name) || modes.includes(family));
  if (suite === "full") return SCENARIOS;
  if (suite === "peers") return SCENARIOS.filter(({ systems }) => systems !== OURS);
  return SCENARIOS.filter(({ suites }) => suites.includes(suite));
}

export const topicsOf = ({ topics, name }) =>
  Array.from({ length: topics }, (_, at) => `${name}-${at}`);

export const groupsOf = ({ groups }) => Array.from({ length: groups }, (_, at) => `group-${at}`);

/** How often one operation makes some consumer's handler run. */
export const deliveriesPerOperation = ({ messages, groups }) => messages * groups;

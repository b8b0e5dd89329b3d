/** The command line. */
import { tmpdir } from "node:os";
import { parseArgs } from "node:util";
import { SCENARIOS, SUITES } from "./scenarios.mjs";
import { SYSTEMS } from "./systems.mjs";

export const USAGE = `npm run bench -- [options]

  --suite NAME           quick: EscrowMQ alone, one run; headline (default): the main modes beside the
                         peers; peers: all modes that a peer can do; full: everything
  --mode A,B             only these modes or families of modes, whatever the suite
  --systems A,B          only these systems; default all that are here
  --no-peers             EscrowMQ alone
  --no-ceilings          without the limits: no shares in the tables
  --seconds N            measured time of one run; default 3
  --warm-up-seconds N    default 1
  --runs N               default 3, quick 1
  --bytes N, --in-flight N, --rate N   instead of the modes' own body size, operations under way on
                         each connection, operations a second
  --store FOLDER         EscrowMQ starts on a copy of this store, which restart.mjs --keep filled
  --dir FOLDER           where all data lies meanwhile; default the system's folder for such things
  --json                 everything that was measured, as JSON, instead of tables
  --profile              profiles EscrowMQ's processes: where each microsecond goes (1 run, no peers, no limits)
  --list                 the modes and the systems

Modes: ${SCENARIOS.map(({ name }) => name).join(", ")}
Systems: ${SYSTEMS.map(({ name }) => name).join(", ")}
`;

const OPTIONS = {
  suite: { type: "string", default: "headline" },
  mode: { type: "string", default: "" },
  systems: { type: "string", default: "" },
  peers: { type: "boolean", default: true },
  ceilings: { type: "boolean", default: true },
  seconds: { type: "string", default: "3" },
  "warm-up-seconds": { type: "string", default: "1" },
  runs: { type: "string" },
  bytes: { type: "string" },
  "in-flight": { type: "string" },
  rate: { type: "string" },
  store: { type: "string", default: "" },
  dir: { type: "string", default: tmpdir() },
  json: { type: "boolean", default: false },
  profile: { type: "boolean", default: false },
  list: { type: "boolean", default: false },
  help: { type: "boolean", default: false },
};

/** Throws an Error whose message is for a person. */
export function readOptions(args) {
  const { values } = parseArgs({ args, options: OPTIONS, allowNegative: true });
  if (!SUITES.includes(values.suite)) throw new Error(`--suite must be one of ${SUITES}`);
  const { profile } = values;
  const isQuick = values.suite === "quick";
  return {
    ...values,
    modes: known("--mode", words(values.mode), modeNames()),
    systems: known("--systems", words(values.systems), SYSTEMS.map(nameOf)),
    peers: values.peers && !profile && !isQuick,
    ceilings: values.ceilings && !profile,
    seconds: positive("--seconds", values.seconds),
    warmUpSeconds: positive("--warm-up-seconds", values["warm-up-seconds"]),
    runs: profile ? 1 : positive("--runs", values.runs ?? (isQuick ? "1" : "3")),
    overrides: overridesOf(values),
    inFlight: positive("--in-flight", values["in-flight"] ?? "1000"),
  };
}

/** Fields of scenarios that the command line replaces. */
function overridesOf(values) {
  const given = {
    bytes: values.bytes,
    inFlight: values["in-flight"],
    ratePerSecond: values.rate,
  };
  return Object.fromEntries(
    Object.entries(given)
      .filter(([, text]) => text !== undefined)
      .map(([field, text]) => [field, positive(field, text)]),
  );
}

const words = (text) => text.split(",").filter((word) => word !== "");
const nameOf = ({ name }) => name;
const modeNames = () => SCENARIOS.flatMap(({ name, family }) => [name, family]);

function known(option, names, all) {
  const unknown = names.find((name) => !all.includes(name));
  if (unknown !== undefined) throw new Error(`${option}: there is no ${unknown}; see --list`);
  return names;
}

function positive(option, text) {
  const number = Number(text);
  if (!(number > 0)) throw new Error(`${option} must be a positive number`);
  return number;
}

/**
 * `npm run bench`: what EscrowMQ does on this machine, beside its limits and its peers. See README.md.
 */

import { machineOf } from "./machine.mjs";
import { readOptions, USAGE } from "./options.mjs";
import { killAll } from "./process.mjs";
import { reportText } from "./report.mjs";
import { chosenScenarios } from "./scenarios.mjs";
import { Suite, scratch } from "./suite.mjs";

// Tables and JSON go to the output, everything else to the person who waits.
const say = (text) => console.error(text);

async function main() {
  const options = readOptions(process.argv.slice(2));
  if (options.help || options.list) return console.log(USAGE);
  const scenarios = chosenScenarios(options.suite, options.modes).map((scenario) => ({
    ...scenario,
    ...options.overrides,
    // Its own words would not be true any more.
    ...(Object.keys(options.overrides).length > 0 && { shape: "" }),
  }));
  const { folder, remove } = scratch(options.dir, "escrowmq-bench");
  process.once("exit", () => {
    killAll();
    remove();
  });
  const machine = machineOf();
  const results = {
    machine,
    options,
    ...(await new Suite({ options, folder, scenarios, say }).run()),
  };
  console.log(options.json ? JSON.stringify(results, null, 2) : reportText(results));
}

for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.once(signal, () => process.exit(1));

try {
  await main();
} catch (error) {
  say(error.message);
  process.exitCode = 1;
}

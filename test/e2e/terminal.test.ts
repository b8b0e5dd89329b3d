/** The command line on a real terminal: questions, bars, tables. */
import { describe, expect, it } from "vitest";
import { useBench } from "../support/e2e-broker.ts";
import { HAS_TERMINALS, Terminal } from "../support/e2e-terminal.ts";

const CTRL_C = "\x03";
const CTRL_D = "\x04";

const bench = useBench();

async function stage() {
  const { url } = await bench.broker();
  const admin = await bench.admin(url, "orders");
  const terminal = (line: string, columns = 80): Terminal => {
    const started = new Terminal(url, line, columns);
    bench.later(() => started.kill());
    return started;
  };
  const topics = async () =>
    (await admin.request("topic.list", {})).items.map(({ topic }) => topic);
  return { admin, terminal, topics, url };
}

const needs = HAS_TERMINALS ? "" : " [skipped: no util-linux script]";

describe.runIf(HAS_TERMINALS)(`on a terminal${needs}`, () => {
  it("a topic is deleted when its name is typed, and not before", async () => {
    const { terminal, topics } = await stage();
    const doing = terminal("topic delete orders --reason old");
    await doing.shows("Type orders to go on: ");
    expect(await topics()).toEqual(["orders"]);
    doing.type("orders\r");
    expect(await doing.exited).toBe(0);
    expect(await topics()).toEqual([]);
  });

  it.each([
    ["another name", "order\r", "That was not orders."],
    ["Ctrl-C", `orders${CTRL_C}`, "orders was not typed."],
    ["Ctrl-D", CTRL_D, "orders was not typed."],
  ])("nothing is deleted on %s", async (_what, keys, says) => {
    const { terminal, topics } = await stage();
    const doing = terminal("topic delete orders --reason old");
    await doing.shows("Type orders to go on: ");
    doing.type(keys);
    expect(await doing.exited).toBe(1);
    expect(doing.shown).toContain(`\nescrow: NOT_CONFIRMED: ${says} Nothing was done.`);
    expect(await topics()).toEqual(["orders"]);
  });

  it("work that is interrupted says how far it came, and leaves the terminal as it was", async () => {
    const { terminal } = await stage();
    const doing = terminal("send --topic orders --body x --count 10000000");
    await doing.shows("/10000000");
    doing.type(CTRL_C);
    expect(await doing.exited).toBe(130);
    expect(doing.shown).toContain("Stopped on the way: ");
    // Neither is the cursor hidden, nor the wrapping of lines turned off.
    expect(doing.shown).not.toContain("\x1b[?");
  });

  it("a table is no wider than the terminal, and says what it left out", async () => {
    const { terminal, url } = await stage();
    const onCheck = () => "unknown" as const;
    const producer = await bench.producer({ url, group: "order-service-eu-west-1", onCheck });
    let shown = "";
    await producer.transaction(async (tx) => {
      await tx.prepare([{ topic: "orders", body: "x" }]);
      const listing = terminal("tx list");
      expect(await listing.exited).toBe(0);
      expect(listing.shown).toContain(tx.id);
      shown = listing.shown;
    });
    expect(shown).toContain("Not shown here: ");
    const widths = shown.split("\r\n").map(({ length }) => length);
    expect(Math.max(...widths)).toBeLessThanOrEqual(80);
  });
});

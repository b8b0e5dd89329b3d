/** Request and reply: what the broker knows of it, which is where replies go. */
import { describe, expect, test } from "vitest";
import { codeOf, Driver, type Effects, type Reply } from "../support/sim-driver.ts";

const body = Uint8Array.of(1, 2, 3);

const inboxOf = (driver: Driver, connection: number): string => {
  const { reply } = driver.request(connection, { type: "inbox" });
  return reply.type === "ok" ? (reply.inbox ?? "") : "";
};

const reply = (driver: Driver, from: number, inbox: string, correlation = "r1") =>
  driver.request(from, { type: "reply", inbox, correlation, body });

const repliesIn = ({ sends }: Effects & { readonly reply: Reply }) =>
  sends.filter((send) => send.kind === "reply");

describe("a reply", () => {
  test("goes to the connection that opened the inbox, with its correlation, and is in no log", () => {
    const driver = new Driver();
    const [asker, handler] = [driver.connect(), driver.connect()];
    const inbox = inboxOf(driver, asker);
    const effects = reply(driver, handler, inbox);
    expect(repliesIn(effects)).toEqual([
      { kind: "reply", to: asker, inbox, correlation: "r1", body },
    ]);
    expect([codeOf(effects.reply), effects.records]).toEqual(["ok", []]);
  });

  test("finds nobody once the connection has ended, nor after a restart", () => {
    const driver = new Driver();
    const asker = driver.connect();
    const inbox = inboxOf(driver, asker);
    driver.disconnect(asker);
    expect(codeOf(reply(driver, driver.connect(), inbox).reply)).toBe("INBOX_NOT_FOUND");
    const other = inboxOf(driver, driver.connect());
    driver.crash();
    expect(codeOf(reply(driver, driver.connect(), other).reply)).toBe("INBOX_NOT_FOUND");
  });

  test("is refused while the owner does not read, and goes through again when it does", () => {
    const driver = new Driver();
    const [connection, handler] = [driver.connect(), driver.connect()];
    const inbox = inboxOf(driver, connection);
    driver.step({ kind: "congested", connection, isCongested: true });
    const refused = reply(driver, handler, inbox);
    expect([codeOf(refused.reply), repliesIn(refused)]).toEqual(["INBOX_FULL", []]);
    driver.step({ kind: "congested", connection, isCongested: false });
    expect(codeOf(reply(driver, handler, inbox).reply)).toBe("ok");
  });

  test("needs no room on the disk", () => {
    const driver = new Driver();
    driver.step({ kind: "admission", admission: "none" });
    const inbox = inboxOf(driver, driver.connect());
    expect(codeOf(reply(driver, driver.connect(), inbox).reply)).toBe("ok");
  });
});

describe("an inbox", () => {
  test("is one for each connection, however often it is asked for", () => {
    const driver = new Driver();
    const [one, other] = [driver.connect(), driver.connect()];
    expect(inboxOf(driver, one)).toBe(inboxOf(driver, one));
    expect(inboxOf(driver, one)).not.toBe(inboxOf(driver, other));
  });

  test("never has the name of an earlier one: a late reply cannot reach a stranger", () => {
    const names = new Set<string>();
    const driver = new Driver();
    for (let start = 0; start < 5; start++) {
      // The shell numbers connections from 1 at each start.
      driver.step({ kind: "connected", connection: 1_000, client: "first" });
      names.add(inboxOf(driver, 1_000));
      driver.crash();
    }
    expect(names.size).toBe(5);
  });
});

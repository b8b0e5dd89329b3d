/** Check-back endpoints as operators set them: URL, signing keys, and what a repetition does. */
import { expect, test } from "vitest";
import { codeOf, Driver } from "../support/sim-driver.ts";

const URL = "https://checks.example/";

const keysOf = (driver: Driver): readonly string[] | undefined =>
  driver.engine.core.state.endpoints.get("shop")?.secrets;

/** The answer that holds K1 is lost, so it is asked for again: whoever answers checks has K0 all the time. */
test("the key in use stays valid when a rotation is repeated, over a restart, too", () => {
  const driver = new Driver();
  for (const key of ["K0", "K1", "K2"]) driver.setEndpoint("shop", URL, key);
  expect(keysOf(driver)).toEqual(["K2", "K1", "K0"]);
  driver.crash();
  expect(keysOf(driver)).toEqual(["K2", "K1", "K0"]);
  driver.setEndpoint("shop", URL, "K3");
  expect(keysOf(driver)).toEqual(["K3", "K2", "K1"]);
});

test("removing an endpoint ends all its keys", () => {
  const driver = new Driver();
  driver.setEndpoint("shop", URL, "leaked");
  driver.setEndpoint("shop", null);
  driver.setEndpoint("shop", URL, "new");
  expect(keysOf(driver)).toEqual(["new"]);
});

test("removing one that is not there says so, and nothing about the group", () => {
  const driver = new Driver();
  driver.producer("shop");
  const { reply, records } = driver.setEndpoint("shop", null);
  expect(reply).toMatchObject({
    code: "GROUP_NOT_FOUND",
    message: "No check-back endpoint is set for shop.",
  });
  expect(records).toEqual([]);
});

test("on a full disk nothing is set or removed, and what is not there is answered as ever", () => {
  const driver = new Driver();
  driver.setEndpoint("shop", URL, "K0");
  driver.step({ kind: "admission", admission: "none" });
  for (const { reply, records } of [
    driver.setEndpoint("shop", URL, "K1"),
    driver.setEndpoint("cron", URL, "K1"),
    driver.setEndpoint("shop", null),
  ]) {
    expect(codeOf(reply)).toBe("DISK_FULL");
    expect(records).toEqual([]);
  }
  expect(keysOf(driver)).toEqual(["K0"]);
  expect(codeOf(driver.setEndpoint("cron", null).reply)).toBe("GROUP_NOT_FOUND");
});

/** What installing an SDK brings along: no native addon, no storage engine, and no part of the broker. */
import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

interface Manifest {
  readonly name: string;
  readonly dependencies?: Readonly<Record<string, string>>;
}

const project = fileURLToPath(new URL("../..", import.meta.url));
let packed = "";
beforeAll(() => {
  packed = mkdtempSync(join(tmpdir(), "escrowmq-pack-"));
});
afterAll(() => rmSync(packed, { recursive: true, force: true }));

const manifestAt = (path: string): Manifest => JSON.parse(readFileSync(path, "utf8"));

/** As Node looks for it from `from`; by path, because a package's exports may hide its package.json. */
function findManifest(name: string, from: string): string {
  const { resolve } = createRequire(join(from, "package.json"));
  // With a file behind it, the name of a built-in module is a package's, too.
  for (const folder of resolve.paths(`${name}/package.json`) ?? []) {
    const path = join(folder, name, "package.json");
    if (existsSync(path)) return path;
  }
  throw new Error(`${name} is not installed`);
}

/** Optional dependencies are left out: msgpackr's accelerator may be missing anywhere. */
function closureOf(manifest: Manifest, from: string, found = new Set<string>()): Set<string> {
  for (const name of Object.keys(manifest.dependencies ?? {})) {
    if (found.has(name)) continue;
    found.add(name);
    const path = findManifest(name, from);
    closureOf(manifestAt(path), dirname(path), found);
  }
  return found;
}

function pack(folder: string): { readonly manifest: Manifest; readonly files: readonly string[] } {
  const target = mkdtempSync(join(packed, "one-"));
  const args = ["pack", "--ignore-scripts", "--offline", "--pack-destination", target];
  execFileSync("npm", args, { cwd: join(project, folder), stdio: "ignore" });
  const [archive = ""] = readdirSync(target);
  execFileSync("tar", ["-xzf", archive], { cwd: target });
  const files = readdirSync(join(target, "package"), { recursive: true }).map(String);
  return { manifest: manifestAt(join(target, "package", "package.json")), files };
}

describe("an SDK as it is published", () => {
  const shared = ["@escrowmq/protocol", "msgpackr", "ws"];
  it.each([
    ["producer-sdk", ["@noble/hashes"]],
    ["consumer-sdk", []],
  ])("%s needs the protocol, msgpackr, ws and %j, and no LevelDB", (folder, more) => {
    const { manifest, files } = pack(folder);
    const closure = closureOf(manifest, join(project, folder));
    expect([...closure].sort()).toEqual([...shared, ...more].sort());
    expect(files).toContain(join("dist", "index.js"));
    expect(files.filter((file) => file.endsWith(".ts") && !file.endsWith(".d.ts"))).toEqual([]);
  });

  it("differs in that from the broker, which has LevelDB", () => {
    const { manifest } = pack("broker");
    expect(closureOf(manifest, join(project, "broker"))).toContain("classic-level");
  });
});

describe("the command `escrow`", () => {
  it("runs Node with the flags of `npm start`", () => {
    const flags = (text: string): readonly string[] => text.match(/--[a-z-]+-size=\d+/g) ?? [];
    const { bin } = JSON.parse(readFileSync(join(project, "cli/package.json"), "utf8"));
    const [shebang = ""] = readFileSync(join(project, "cli", bin.escrow), "utf8").split("\n");
    const { scripts } = JSON.parse(readFileSync(join(project, "package.json"), "utf8"));
    expect(shebang).toMatch(/^#!\/usr\/bin\/env -S node /);
    expect(flags(shebang)).toEqual(flags(scripts.start));
    expect(flags(shebang)).toHaveLength(2);
  });
});

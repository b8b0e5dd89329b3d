/** The version of this program, from the one place that has it. */
import { createRequire } from "node:module";

// The same path from src and from dist.
const manifest: { readonly version: string } = createRequire(import.meta.url)("../package.json");

export const VERSION = manifest.version;

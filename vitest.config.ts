import { defineConfig } from "vitest/config";

/** Tests are promises; the slow ones (real processes) stand in test/e2e and have a project of their own. */
export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    testTimeout: 30_000,
    hookTimeout: 30_000,
    maxWorkers: 2,
  },
});
